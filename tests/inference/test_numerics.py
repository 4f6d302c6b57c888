"""Spreads far from the origin, weights of 0, weights that are all the same: known answers."""

import math
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from inference.evaluation.annealing import relative_error
from inference.evaluation.diagnostics import weighed_with_moments
from inference.evaluation.estimates import log_weights
from inference.objectives import Renyi
from inference.pareto import pareto_k_hat
from inference.particles import effective_sample_size, log_mean_exp
from inference.posterior.bound import elbo_of, importance_bound_of
from inference.posterior.latents import resampled_latents
from inference.posterior.separate_fits import SeparateFits
from pyro_models import PPCA, UsageError

K, NOTHING = 200, -math.inf


def weights(kind: str, dtype: torch.dtype = torch.float64) -> Tensor:
    """Log-weights (K, 1)."""
    values = torch.full((K, 1), NOTHING, dtype=dtype)
    if kind == "one":
        values[7] = -3.0
    elif kind == "half":
        values[::2] = -1e4
    elif kind == "equal":
        values = torch.full((K, 1), -12345.678, dtype=dtype)
    return values


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("kind", "size", "mean"),
    [
        ("none", 0.0, NOTHING),
        ("one", 1.0, -3.0 - math.log(K)),
        ("half", K / 2, -1e4 - math.log(2)),
        ("equal", float(K), -12345.678),
    ],
)
def test_weights_of_nothing_count_for_nothing(
    kind: str, size: float, mean: float, dtype: torch.dtype
) -> None:
    log_w = weights(kind, dtype)
    assert effective_sample_size(log_w).item() == pytest.approx(size, rel=1e-5)
    assert effective_sample_size(log_w).item() <= K
    assert log_mean_exp(log_w).item() == pytest.approx(mean, rel=1e-6)
    assert importance_bound_of(log_w).value.item() == pytest.approx(mean, rel=1e-6)
    error = importance_bound_of(log_w).standard_error.item()
    assert error == pytest.approx(math.sqrt(1 / size - 1 / K) if size else math.inf, abs=1e-6)
    assert elbo_of(log_w).value.item() == (log_w[0].double().item() if kind == "equal" else NOTHING)
    other = relative_error(log_w).item()
    # one weight carries all: without it there is no estimate
    wanted = {"none": math.nan, "one": math.inf}.get(kind, error)
    assert other == pytest.approx(wanted, rel=0.01, abs=1e-6, nan_ok=True)
    drawn = SimpleNamespace(log_weight=log_w)
    for alpha in (0.0, 0.5, 0.95, 2.0):
        found = Renyi(alpha=alpha)(drawn).item()
        power = 1 - alpha
        expected = mean if kind == "equal" else NOTHING
        if alpha < 1 and size:
            expected = log_w.max().item() + math.log(size / K) / power
        assert found == pytest.approx(expected, rel=1e-4), alpha


def test_k_hat_of_weights_of_nothing() -> None:
    assert pareto_k_hat(weights("none")).isnan().all()
    assert float(pareto_k_hat(weights("one"))) > 0.7
    assert float(pareto_k_hat(weights("equal"))) == NOTHING
    infinite = weights("equal")
    infinite[0] = math.inf
    assert pareto_k_hat(infinite).isnan().all()


def test_nothing_to_redraw_is_one_line() -> None:
    z = torch.randn(K, 2, 3)
    log_w = torch.cat([weights("none"), weights("one")], 1)
    with pytest.raises(UsageError, match=r"^for 1 of 2 data no particle has a finite weight.*\Z"):
        resampled_latents(SimpleNamespace(log_weight=log_w, latents={"z": z}))
    found = resampled_latents(SimpleNamespace(log_weight=log_w[:, 1:], latents={"z": z[:, 1:]}))
    assert torch.equal(found["z"], z[7:8, 1:].expand(K, 1, 3))


@pytest.mark.parametrize("offset", [0.0, -1e9])
def test_the_error_of_a_window_is_that_of_its_bounds(offset: float) -> None:
    """Whatever the first of them was."""
    bounds = offset + torch.randn(50, 4, dtype=torch.float64)
    bounds[0] += 1e6
    fits = SeparateFits.__new__(SeparateFits)
    fits.given = SimpleNamespace(x=bounds, __len__=lambda: 4)
    fits.mean, fits.squares = torch.zeros(4).double(), torch.zeros(4).double()
    fits.guide, fits.total = nn.Module(), {}
    fits.optimizer, fits.slowed = SimpleNamespace(step=lambda: None), False
    fits.count, fits.failed = torch.zeros(()).double(), torch.zeros(4).double()
    for row in bounds:
        fits.bound = lambda row=row: (row, [])
        fits._step()
    fits.seen = len(bounds)
    mean, error = fits._window()
    torch.testing.assert_close(mean, bounds.mean(0), rtol=1e-12, atol=1e-6)
    torch.testing.assert_close(error, bounds.std(0, correction=0) / 7, rtol=1e-7, atol=0)


class Wide(nn.Module):
    """A guide of two levels far from the origin: z1 of mean 1e7 + z2, both Normal."""

    def forward(self, x: Tensor, *, y: None = None, n: None = None, mask: None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z2 = pyro.sample("z2", dist.Normal(x.new_zeros(1), x.new_ones(1)).to_event(1))
            pyro.sample("z1", dist.Normal(1e7 + z2, x.new_ones(1)).to_event(1))


class Far(nn.Module):
    """A model of those latents, to which x says little."""

    def forward(self, x: Tensor, *, y: None = None, n: None = None, mask: None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z2 = pyro.sample("z2", dist.Normal(x.new_zeros(1), x.new_ones(1)).to_event(1))
            z1 = pyro.sample("z1", dist.Normal(1e7 + z2, x.new_ones(1)).to_event(1))
            pyro.sample("x", dist.Normal(z1 - 1e7, x.new_full((1,), 9.0)).to_event(1), obs=x)


def test_moments_of_latents_far_from_the_origin() -> None:
    pyro.set_rng_seed(0)
    pair = SimpleNamespace(
        model=Far(),
        guide=Wide(),
        data_shape=(1,),
        latent_sites={},
        likelihood=SimpleNamespace(num_parameters=1),
    )
    x = torch.zeros(3, 1).double()
    count = 4000
    _, found = weighed_with_moments(pair, x, num_particles=count, max_elements=3000)
    error = math.sqrt(2 / count)
    assert bool(((found.mean[:, 1] - 1e7).abs() < 4.5 * math.sqrt(1 / count)).all())
    assert bool(((found.variance[:, 1] - 2).abs() < 4.5 * error).all())
    torch.testing.assert_close(found.variance[:, 0], torch.ones(3).double())
    assert bool(((found.noise[:, 1] * count - 1).abs() < 4.5 * error).all())
    assert float(found.noise[:, 0].max()) == 0


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_weights_that_are_all_the_same_have_no_error(unit: float) -> None:
    """log w of the exact guide is the evidence: there is nothing to estimate, in any units."""
    generator = torch.Generator().manual_seed(0)
    x = unit * (1e6 + torch.randn(40, 300, dtype=torch.float64, generator=generator))
    pair = PPCA.maximum_likelihood(x, latent_dim=3)
    found = log_weights(pair, x, num_particles=100, max_elements=20_000)
    torch.testing.assert_close(found.bound, pair.exact_log_prob(x).detach(), rtol=1e-7, atol=1e-6)
    assert float(found.elbo_error.max()) < 1e-6
    assert float(found.bound_error.max()) < 1e-6
    assert bool((found.effective_sample_size > 100 - 1e-6).all())
    assert bool((found.effective_sample_size <= 100).all())
