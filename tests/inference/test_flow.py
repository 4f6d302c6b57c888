"""A flow of pixels against quadrature over the bins, of vectors against its own exact log p(x)."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from pyro import poutine
from torch import Tensor

from inference import (
    compare_guides,
    complete,
    condition,
    diagnose,
    evaluate,
    evidence,
    figures,
    fit,
    generate,
    infer,
    particles,
    reconstruct,
)
from inference.posterior.identity import model_checksum
from pyro_models import Flow, ImageData, UsageError, build, load_data
from pyro_models.flows import Layer
from pyro_models.flows.layer import summed
from pyro_models.models.dequantisation import UniformDequantisation

DENSE: dict[str, Any] = {"class_path": "dense", "init_args": {"couplings": 2, "hidden": [16]}}
NSF: dict[str, Any] = {
    "class_path": "nsf",
    "init_args": {"transforms": 2, "bins": 4, "hidden_features": [16]},
}
OWN: dict[str, Any] = {"class_path": "variational", "init_args": {"flow": DENSE}}


def two_pixels(dequantise: str) -> Flow:
    """Four levels of two pixels, with weights well away from the start."""
    torch.manual_seed(0)
    small = {"class_path": "dense", "init_args": {"couplings": 3, "hidden": [8]}}
    flow = Flow((2,), flow=small, dequantise=dequantise, levels=4).double()
    for part, size in ((flow.model, 0.15), (flow.guide, 0.05)):
        for parameter in part.parameters():
            parameter.data.add_(size * torch.randn(parameter.shape))
    return flow


def every_image() -> Tensor:
    return torch.tensor(list(itertools.product(range(4), repeat=2))).double() / 3


def nodes(x: Tensor) -> tuple[Tensor, Tensor]:
    """40 Gauss–Legendre nodes v a pixel in the bins of each x, and their log-weights."""
    at, weight = (torch.as_tensor(a) for a in np.polynomial.legendre.leggauss(40))
    u = torch.cartesian_prod((at + 1) / 2, (at + 1) / 2)
    w = torch.cartesian_prod(weight / 8, weight / 8).prod(-1)
    return (3 * x + u.unsqueeze(1)) / 4, w.log().unsqueeze(1)


def by_quadrature(flow: Flow, x: Tensor) -> Tensor:
    """log P(x) = log ∫ p(v) dv over the bins."""
    v, log_w = nodes(x)
    return (flow.model.density().log_prob(v) + log_w).logsumexp(0)


@pytest.mark.parametrize("dequantise", ["uniform", "variational"])
@torch.no_grad()
def test_probabilities_add_up_to_one_and_bounds_lie_below_and_tend_to_them(dequantise: str) -> None:
    flow, x = two_pixels(dequantise), every_image()
    truth = by_quadrature(flow, x)
    assert float(truth.exp().sum()) == pytest.approx(1, abs=1e-4)
    drawn = particles(flow, None, x, num_particles=5_000)
    assert bool((drawn.log_likelihood == 0).all())
    weights = (drawn.log_weight - truth).exp()
    error = weights.std(0) / math.sqrt(len(weights))
    assert bool(((weights.mean(0) - 1).abs() < 4.5 * error + 1e-5).all())
    v, log_w = nodes(x)
    q = poutine.trace(flow.guide).get_trace(x).nodes["v"]["fn"]
    log_q = q.log_prob(v)
    torch.testing.assert_close(
        (log_q + log_w).logsumexp(0).exp(), torch.ones(16).double(), atol=1e-3, rtol=0
    )
    exact = (flow.model.density().log_prob(v) - log_q).mul((log_q + log_w).exp()).sum(0)
    elbo, noise = drawn.elbo(), drawn.log_weight.std(0) / math.sqrt(5_000)
    assert bool(((elbo - exact).abs() < 4.5 * noise + 1e-3).all())
    assert bool((elbo < truth).all())
    few = drawn.log_weight.unflatten(0, (-1, 10)).logsumexp(1).mean(0) - math.log(10)
    assert bool(((elbo < few) & (few < truth + 3 * error)).all())


@torch.no_grad()
def test_draws_of_the_model_have_these_probabilities() -> None:
    flow, x = two_pixels("uniform"), every_image()
    drawn = flow.model(n=5_000)
    seen = (drawn.unsqueeze(1) == x).all(-1).double().mean(0)
    assert float(seen.sum()) == pytest.approx(1)
    p = by_quadrature(flow, x).exp()
    assert bool(((seen - p).abs() < 4 * (p * (1 - p) / 5_000).sqrt() + 1e-5).all())


@torch.no_grad()
def test_a_mask_leaves_pixels_out_of_the_bound() -> None:
    flow, x = two_pixels("uniform"), every_image()
    truth = by_quadrature(flow, x).view(4, 4).logsumexp(1)
    drawn = particles(flow, None, x[::4], num_particles=5_000, mask=torch.tensor([True, False]))
    weights = (drawn.log_weight - truth).exp()
    error = weights.std(0) / math.sqrt(len(weights))
    assert bool(((weights.mean(0) - 1).abs() < 4.5 * error + 1e-4).all())


def test_half_seen_continuous_data_are_weighed_and_never_completed_by_noise() -> None:
    flow, x = Flow((2,), flow=DENSE, dequantise=None), torch.randn(6, 2)
    seen = torch.tensor([True, False])
    assert evidence(flow, x, mask=seen, num_particles=4).method == "importance"
    assert evidence(flow, x, mask=torch.tensor([True, True])).method == "exact"
    with pytest.raises(UsageError, match=r"own guide, which puts noise where nothing is seen\Z"):
        complete(flow, x, seen, guide="encoder")


def test_a_flow_of_levels_is_another_model_than_one_of_continuous_data() -> None:
    flows = [Flow((1, 4, 4), flow=DENSE, dequantise=d) for d in ("uniform", "variational", None)]
    for flow in flows:
        flow.model.layers.load_state_dict(flows[0].model.layers.state_dict())
    levels, same, continuous = map(model_checksum, flows)
    assert levels == same != continuous


class Flat(Layer):
    """From logits to what is Normal if v is uniform."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.dims = len(shape)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = torch.special.ndtri(torch.sigmoid(x.double()))
        log_slope = -x.abs() - 2 * torch.nn.functional.softplus(-x.abs())
        each = log_slope + 0.5 * (z.square() + math.log(2 * math.pi))
        return z.to(x), summed(each, self.dims).to(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return torch.logit(torch.special.ndtr(z))


def test_pixels_that_are_uniform_have_the_bits_of_their_levels() -> None:
    data = load_data("digits")
    flow = Flow(data.data_shape, flow=Flat, levels=17)
    found = evaluate(flow, data, num_particles=3, limit=20)
    bits = found.scores["bits_per_dimension"]
    assert bits.value == pytest.approx(math.log2(17), abs=2e-3)
    assert bits.measure == "counting on 17 levels"
    assert found.scores["mse_sampled"].value == found.scores["mse_mean"].value == 0


@pytest.fixture(scope="module")
def trained(few: ImageData) -> dict[str, Flow]:
    flows = {}
    for name, dequantise in (("uniform", "uniform"), ("variational", OWN)):
        torch.manual_seed(0)
        flow = Flow(few.data_shape, flow=DENSE, dequantise=dequantise, levels=17)
        how = {"epochs": 30, "batch_size": 48, "lr": 5e-3, "curve_size": 0, "progress": False}
        if name == "uniform":  # a recording takes as long as this training
            how["capture"] = False
        result = fit(flow, few, **how)
        flows[name] = flow
    assert (result.history.recorded, result.history.not_recorded) == (True, "")
    return flows


def test_variational_dequantisation_has_the_higher_bound(
    trained: dict[str, Flow], few: ImageData
) -> None:
    found = {
        name: evaluate(flow, few, split="train", num_particles=10) for name, flow in trained.items()
    }
    bounds = {name: of.per_datum["elbo"] for name, of in found.items()}
    gain = bounds["variational"] - bounds["uniform"]
    assert float(gain.mean()) > 3 * float(gain.std()) / math.sqrt(len(gain))
    for of in found.values():
        assert bool((of.per_datum["elbo"] <= of.per_datum["importance_bound"]).all())
        assert of.scores["bits_per_dimension"].value < math.log2(17)


def test_what_there_is_for_pairs_is_there_for_flows(
    trained: dict[str, Flow], few: ImageData
) -> None:
    flow, x = trained["variational"], few.prepared("test", limit=4).x
    found = compare_guides(
        flow, x, guides=["encoder", UniformDequantisation(few.data_shape, 17)], num_particles=60
    )
    assert found["encoder"].elbo.mean() > found["UniformDequantisation"].elbo.mean()
    assert found.evidence.method == "importance"
    assert len(diagnose(flow, few, num_particles=30, limit=5).k_hat) == 5
    assert torch.equal(reconstruct(flow, x), x)
    again = flow.of_noise(flow.noise(x))
    torch.testing.assert_close(again, x)
    assert generate(flow, n=3).shape == (3, *few.data_shape)
    way = figures.interpolation(flow, x[:2], x[2:], steps=3)
    assert "f(start)" in way.axes[0].get_xlabel()
    for figure in (way, figures.prior_samples(flow, n=4), figures.reconstructions(flow, x)):
        figure.canvas.draw()


@pytest.mark.parametrize(
    "call",
    [
        lambda flow, x: infer(flow, x, guide="normal"),
        lambda flow, x: infer(flow, x, guide="hmc"),
        lambda flow, x: infer(flow, x, guide="prior"),
        condition,
        lambda flow, x: evidence(flow, x, method="annealing"),
    ],
    ids=["normal", "hmc", "prior", "condition", "annealing"],
)
def test_what_needs_a_smooth_posterior_is_refused_in_one_line(call: Any, few: ImageData) -> None:
    flow = Flow(few.data_shape, flow=DENSE, levels=17)
    with pytest.raises(UsageError, match=r"^v of a flow.*\Z"):
        call(flow, few.prepared("test", limit=4).x)


@pytest.mark.parametrize("guide", ["best", "normal", "trained", "encoder", "encoder_zeros"])
def test_no_guide_is_advised_that_completes_nothing(guide: str, few: ImageData) -> None:
    flow = Flow(few.data_shape, flow=DENSE, levels=17)
    with pytest.raises(UsageError, match=r"^a Flow completes nothing: .*\Z"):
        complete(flow, few.prepared("test", limit=4).x, "left", guide=guide)


def test_vectors_that_are_no_pixels_want_no_dequantisation() -> None:
    with pytest.raises(UsageError, match=r"^a flow of grey levels .* dequantise=None .*\Z"):
        fit(Flow((2,), flow=DENSE), 10 * torch.randn(50, 2), epochs=1)


def test_levels_that_are_not_the_datas_are_refused_with_those_that_are(few: ImageData) -> None:
    for data, levels in ((few, 17), (few.with_preparation("threshold"), 2)):
        for use in (fit, evaluate):
            with pytest.raises(
                UsageError, match=rf"^.*256 levels.*digits has {levels}.*={levels} "
            ):
                use(Flow(few.data_shape, flow=DENSE), data)


def test_vectors_have_an_exact_density_that_training_raises() -> None:
    pytest.importorskip("zuko")
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(600, 2, generator=generator)
    x = 1e3 + 50 * torch.stack([z[:, 0], z[:, 0].square() + 0.3 * z[:, 1]], 1)  # a banana
    torch.manual_seed(0)
    pair = build("flow", (2,), flow=NSF, dequantise=None)
    how = {"epochs": 20, "batch_size": 100, "lr": 2e-2, "curve_size": 0, "progress": False}
    result = fit(pair, x, capture=False, **how)
    new = x[:200]
    exact = pair.exact_log_prob(new).detach()
    drawn = particles(pair, None, new, num_particles=2)
    torch.testing.assert_close(drawn.log_weight.detach(), exact.expand(2, -1))
    found = evidence(pair, new)
    assert found.kind == found.method == "exact"
    torch.testing.assert_close(found.value, exact)
    entropy = 2 * 0.5 * math.log(2 * math.pi * math.e) + math.log(0.3) + 2 * math.log(50)
    normal = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov()).log_prob(new).mean()
    assert float(exact.mean()) > float(normal) + 0.2
    assert float(exact.mean()) < -entropy + 0.25
    assert result.history.epochs[-1].running > result.history.epochs[0].running
    with pytest.raises(UsageError, match="importance"):
        pair.exact_log_prob(new, torch.tensor([True, False]))
    assert not hasattr(Flow((2,), levels=4), "exact_log_prob")


def test_dequantised_pixels_have_an_exact_density_and_bits() -> None:
    data = load_data("digits", preparation="dequantised")
    flow = Flow(data.data_shape, flow=DENSE, dequantise=None)
    found = evaluate(flow, data, num_particles=2, limit=10)
    assert found.scores["log_likelihood"].kind == "exact"
    assert found.scores["bits_per_dimension"].kind == "upper bound"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"dequantise": "nope"}, "unknown dequantisation 'nope': choose from uniform, variational"),
        ({"dequantise": {"class_path": "uniform", "init_args": {"scale": 2}}}, "uniform .*scale"),
        ({"levels": 1}, "from 2 to 1024; got 1"),
        ({"alpha": 0.0}, "between 0 and 1"),
        ({"flow": "multiscale", "data_shape": (1, 6, 6)}, "must be even"),
    ],
)
def test_what_cannot_be_built_is_one_line(options: dict[str, Any], line: str) -> None:
    shape = options.pop("data_shape", (1, 8, 8))
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        build("flow", shape, **options)
