"""Where a fit ends does not hang on its rate, and a family is not below one that it contains."""

import math
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from inference.evaluation import compare_guides
from inference.posterior import Plateau, infer
from inference.posterior.guides import GUIDES
from inference.posterior.paired import rising
from pyro_models import PPCA, TwoLayerVAE
from pyro_models.likelihoods import Gaussian
from pyro_models.pair import LatentSite, data_plate

OUTCOMES = torch.tensor([28.0, 8, -3, 7, -1, 1, 18, 12])
ERRORS = torch.tensor([15.0, 10, 16, 11, 9, 11, 10, 18])


class SchoolsModel(nn.Module):
    """Eight schools (Rubin 1981): θ_j = 5 μ + τ η_j, τ half-Cauchy(5) as a function of a Normal."""

    def __init__(self):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))

    def forward(self, x=None, *, y=None, n=None, mask=None):
        with data_plate(x, n, self.anchor):
            z = pyro.sample("z", dist.Normal(torch.zeros(10), 1.0).to_event(1))
            share = dist.Normal(0.0, 1.0).cdf(z[..., 9:]).clamp(1e-6, 1 - 1e-6)
            effects = 5 * z[..., 8:9] + 5 * (math.pi / 2 * share).tan() * z[..., :8]
            return pyro.sample("x", dist.Normal(effects, ERRORS).to_event(1), obs=x)


class Schools(nn.Module):
    num_classes, data_shape = None, (8,)

    def __init__(self):
        super().__init__()
        self.model, self.guide, self.likelihood = SchoolsModel(), nn.Identity(), Gaussian((8,))

    @property
    def latent_sites(self):
        return {"z": LatentSite((10,))}

    def decode(self, latents, *, y=None):
        raise NotImplementedError

    def elbo(self):
        return pyro.infer.Trace_ELBO(max_plate_nesting=1)

    def config(self):
        return {}


@pytest.fixture(scope="module")
def ppca():
    generator = torch.Generator().manual_seed(0)
    pair = PPCA((8,), latent_dim=3).double()
    with torch.no_grad():
        pair.model.W.copy_(2 * torch.randn(8, 3, generator=generator).double())
        pair.model.set_sigma(1.0)
    return pair


@pytest.fixture(scope="module")
def x(ppca):
    torch.manual_seed(1)
    return ppca.model(n=6).detach()


@pytest.mark.parametrize("lr", [0.0003, 0.003, 0.03, 0.3])
def test_what_is_called_converged_is_so_at_every_rate(ppca, x, lr):
    """The best independent Normals are known: the exact means, and one over the precisions."""
    exact = ppca.exact_posterior(x)
    precision = exact.precision_matrix.detach()
    best = dist.Normal(exact.mean, precision.diagonal(dim1=-2, dim2=-1).rsqrt()).to_event(1)
    best = dist.MultivariateNormal(exact.mean, torch.diag_embed(best.variance))
    wanted = ppca.exact_log_prob(x) - torch.distributions.kl_divergence(best, exact)
    found = infer(ppca, x, guide="normal", lr=lr, max_steps=6000)
    bound = found.elbo(num_particles=2000)
    lacking = (wanted.detach() - bound.value)[[s == "converged" for s in found.stopped]]
    assert float(lacking.max()) < 0.15
    assert found.stopped.count("converged") >= 5


def test_the_default_rate_is_not_touched_where_it_has_converged(ppca, x):
    found = infer(ppca, x, guide="normal")
    assert set(found.stopped) == {"converged"}
    assert int(found.steps.max()) < 1200


def test_a_line_is_followed_as_far_as_it_rises():
    """Bounds −(p − 10)²: from 0 by 1 the best point is at 1 + 4, and from the top there is none."""

    def bounds(values):
        return -(values["p"] - 10).square().mean(-1).expand(3, -1)

    now = {"p": torch.tensor([[1.0, 1.0], [10.0, 10.0]])}
    before = {"p": torch.tensor([[0.0, 0.0], [9.0, 9.0]])}
    rows, found = rising(bounds, now, before, tolerance=0.02)
    assert rows.tolist() == [True, False]
    assert found["p"].tolist() == [[5.0, 5.0], [10.0, 10.0]]


@pytest.mark.parametrize("seed", [2])
def test_a_family_is_not_below_one_that_it_contains(seed):
    posterior = {
        name: infer(Schools(), OUTCOMES[None], guide=name, seed=seed)
        for name in ("normal", "full_covariance")
    }
    normal, full = (p.elbo(num_particles=20_000) for p in posterior.values())
    noise = float((normal.standard_error.square() + full.standard_error.square()).sqrt())
    assert float(full.value - normal.value) > -0.05 - 3 * noise


def test_members_of_a_contained_family_are_members():
    normal = GUIDES["normal"]
    assert GUIDES["full_covariance"].contains is normal
    assert GUIDES["low_rank"].contains is normal


def test_a_member_keeps_its_sites_whatever_their_order():
    """The model has z2 before z1, and names are sorted elsewhere."""
    torch.manual_seed(0)
    pair = TwoLayerVAE((4,), latent_dims=(3, 2), hidden=[4], likelihood="gaussian")
    normal = infer(pair, torch.randn(2, 4), guide="normal", max_steps=3)
    family, target = GUIDES["full_covariance"], normal.target
    member = family.within(target, family(target, {}, name="full_covariance"), normal.guide)
    for name, mean in normal.guide.means().items():
        assert torch.equal(member.means()[name], mean)


def test_what_an_optimisation_lost_is_not_its_familys(ppca, x):
    """A full covariance that hardly moved, beside Normals that were fitted."""
    normal = infer(ppca, x, guide="normal")
    lost = infer(ppca, x, guide="normal", max_steps=2, stopping=Plateau(window=2))
    stuck = replace(lost, name="full_covariance", guide=lost.guide)
    found = compare_guides(ppca, x, guides=[normal, stuck], num_particles=500)
    row = found["full_covariance"]
    assert row.best_of_family == "normal"
    torch.testing.assert_close(row.approximation_gap, found["normal"].gap)
    torch.testing.assert_close(row.optimisation_gap + row.approximation_gap, row.gap)
    assert "nats of its gap are its optimisation's, not its family's: normal" in str(found)
    assert found["normal"].optimisation_gap is None
