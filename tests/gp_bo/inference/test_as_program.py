"""A Gaussian process is a Pyro model: ``infer`` of it, and ``fit_gp``, say the same of θ."""

import math

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from gp_bo import FittedGP, fit_gp
from gp_bo.cholesky import cholesky
from gp_bo.examination.sheet import EXAM_NOISE, exam_data
from inference import infer
from inference.programs import Program
from pyro_models import UsageError

PRIORS = {"lengthscale": dist.LogNormal(-1.0, 1.0), "variance": dist.LogNormal(0.0, 1.0)}
MODEL = {"kernel": "rbf", "mean": "zero", "noise": EXAM_NOISE, "priors": PRIORS}


@pytest.fixture(scope="module")
def reference() -> FittedGP:
    return fit_gp(*exam_data(), inference="quadrature", num_points=41, **MODEL)  # type: ignore[arg-type]


def _moments(u: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    mean = weights @ u
    return mean, (weights @ (u - mean).square()).sqrt()


def _logs(draws: dict[str, Tensor]) -> Tensor:
    return torch.cat([draws["lengthscale"], draws["variance"][:, None]], 1).log()


def test_its_density_is_that_of_the_closed_form(reference: FittedGP) -> None:
    program = Program(reference.gp)
    assert not program.looped
    u = reference.draws.unconstrained[::20]
    from gp_bo.model import HyperPosterior

    assert (program.log_joint(u) - HyperPosterior(reference.gp)(u)[0]).abs().max() < 1e-6


def test_chains_and_grids_of_both_agree(reference: FittedGP) -> None:
    mean, sd = _moments(reference.draws.unconstrained, reference.weights)
    chains = infer(reference.gp, guide="nuts", guide_options={"num_samples": 25, "warmup": 30})
    drawn = _logs(chains.draws)
    # chains are worth a third of their draws or more
    assert ((drawn.mean(0) - mean) / sd).abs().max() < 4 * math.sqrt(3 / len(drawn))
    grid = infer(reference.gp, guide="quadrature", guide_options={"num_points": 31})
    again, wide = _moments(_logs(grid.sample(4000)), torch.full((4000,), 1 / 4000).double())
    assert ((again - mean) / sd).abs().max() < 4 / math.sqrt(4000)
    assert (wide / sd - 1).abs().max() < 0.08


def test_a_guide_of_pyro_models_is_an_inference_by_its_name(reference: FittedGP) -> None:
    fitted = fit_gp(*exam_data(), inference="laplace", num_draws=4000, **MODEL)  # type: ignore[arg-type]
    program = infer(reference.gp, guide="laplace")
    mine, theirs = fitted.draws.unconstrained, _logs(program.sample(4000))
    assert ((mine.mean(0) - theirs.mean(0)) / mine.std(0)).abs().max() < 5 * math.sqrt(2 / 4000)
    assert (mine.std(0) / theirs.std(0) - 1).abs().max() < 0.1
    guided = fit_gp(*exam_data(), inference="pathfinder", num_paths=1, **MODEL)  # type: ignore[arg-type]
    assert guided.diagnostics["elbo"] < reference.diagnostics["log_evidence"]
    assert program.importance_bound(500).value == pytest.approx(
        reference.diagnostics["log_evidence"], abs=0.2
    )


def test_a_word_that_only_one_has_is_refused_with_all_that_there_are(reference: FittedGP) -> None:
    with pytest.raises(UsageError, match=r"unknown inference 'x'.*quadrature, .*full_covariance"):
        fit_gp(*exam_data(), inference="x")
    with pytest.raises(UsageError, match="unknown guide 'maximum_likelihood'"):
        infer(reference.gp, guide="maximum_likelihood")


def test_a_vectorised_factor_has_the_jitter_that_it_needs() -> None:
    x = torch.linspace(0, 1, 12, dtype=torch.float64)
    scales = torch.tensor([0.01, 0.3, 3.0, math.nan], dtype=torch.float64)
    K = torch.exp(-0.5 * ((x[:, None] - x) / scales[:, None, None]) ** 2)
    together = torch.func.vmap(lambda one: cholesky(one)[0])(K)
    assert torch.equal(together.isnan(), cholesky(K)[0].isnan())
    assert (together[:3] - cholesky(K[:3])[0]).abs().max() < 1e-9
