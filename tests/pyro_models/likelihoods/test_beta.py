"""The Beta: its density, what ε does to it, and the concentration that ignores z."""

import math

import pytest
import torch
from scipy import stats

from pyro_models import VAE, UsageError
from pyro_models.likelihoods import likelihood_named

SHAPE = (1, 3, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [0.1, 1.0, 50.0, 3000.0])
def test_the_density_is_the_reference_one(dtype: torch.dtype, size: float) -> None:
    torch.manual_seed(0)
    likelihood = likelihood_named("beta", (40,), {"floor": 0.01, "epsilon": 1e-3})
    outputs = (size * torch.randn(2, 40)).to(dtype)
    x = torch.rand(40).to(dtype).clamp(1e-3, 1 - 1e-3)
    p_x = likelihood.pixels(outputs)
    alpha, beta = p_x.alpha, p_x.beta
    expected = 0.01 + torch.nn.functional.softplus(outputs)
    torch.testing.assert_close(torch.stack([alpha, beta]), expected)
    found = p_x.log_prob(x)
    truth = stats.beta.logpdf(x.double(), alpha.double(), beta.double())
    torch.testing.assert_close(found, torch.as_tensor(truth), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("epsilon", [1e-4, 1e-3, 0.1])
def test_pixels_are_clamped_to_epsilon_and_the_measure_says_so(epsilon: float) -> None:
    likelihood = likelihood_named("beta", (3,), {"epsilon": epsilon}).double()
    outputs = torch.randn(2, 3).double()
    ends = torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64)
    inside = torch.tensor([epsilon, 1 - epsilon, 0.5], dtype=torch.float64)
    torch.testing.assert_close(
        likelihood(outputs).log_prob(ends), likelihood(outputs).log_prob(inside)
    )
    assert likelihood.measure == (
        f"Lebesgue on [0,1], pixels clamped to [ε, 1 − ε], ε = {epsilon:g}"
    )
    assert "clamped" in likelihood.why_no_bits(preparation="dequantised", levels=256)
    draws = likelihood(outputs).sample((100,))
    assert float(draws.min()) >= epsilon
    assert float(draws.max()) <= 1 - epsilon


def test_without_epsilon_pixels_inside_are_left_alone_and_those_at_the_ends_refused() -> None:
    likelihood = likelihood_named("beta", SHAPE, {"epsilon": 0})
    assert likelihood.measure == "Lebesgue on [0,1]"
    assert likelihood.why_no_bits(preparation="dequantised", levels=256) == ""
    assert "grey" in likelihood.why_no_bits(preparation="grey", levels=256)
    x = torch.full((2, *SHAPE), 0.5)
    likelihood.check(x)
    x[1, 0, 2, 2] = 0
    with pytest.raises(UsageError, match=r"exactly 0 or 1, .*: dequantise them"):
        likelihood.check(x)
    mask = x != 0
    likelihood.check(x, mask)
    outputs = torch.randn(2, 2, *SHAPE, requires_grad=True)
    log_prob = likelihood(outputs, mask).log_prob(x)
    log_prob.sum().backward()
    assert bool(log_prob.isfinite().all())
    assert outputs.grad is not None
    assert bool(outputs.grad.isfinite().all())


@pytest.mark.parametrize("concentration", [1e-3, 0.5, 3.0])
def test_draws_follow_the_density_even_where_nearly_all_mass_is_at_the_ends(
    concentration: float,
) -> None:
    """By the distribution function at some points; Gamma draws of 1e-3 underflow half the time."""
    torch.manual_seed(0)
    options = {"epsilon": 0, "concentration": (concentration, 2 * concentration)}
    likelihood = likelihood_named("beta", (1,), {**options, "allow_ignoring_z": True})
    draws = likelihood(torch.zeros(1, 1)).sample((20_000,))
    likelihood.check(draws)
    for point in (1e-6, 0.2, 0.49, 0.51, 0.8):
        share = float((draws < point).double().mean())
        expected = float(stats.beta.cdf(point, concentration, 2 * concentration))
        error = math.sqrt(expected * (1 - expected) / len(draws))
        assert share == pytest.approx(expected, abs=5 * error + 1e-4)


def test_a_fixed_concentration_ignores_z_and_must_be_allowed() -> None:
    with pytest.raises(UsageError, match=r"^with a fixed .* whatever z is, .* ignores z .*\Z"):
        likelihood_named("beta", SHAPE, {"concentration": (2, 2)})
    options = {"concentration": [2, 2], "allow_ignoring_z": True}
    vae = VAE(SHAPE, hidden=[8], likelihood="beta", likelihood_options=options)
    p_x = vae.decode({"z": torch.randn(4, vae.latent_dim)})["x"]
    x = torch.rand(1, *SHAPE).clamp(0.01, 0.99)
    expected = (6 * x * (1 - x)).log().sum()  # Beta(2, 2)
    torch.testing.assert_close(p_x.log_prob(x), expected.expand(4))
    assert bool((p_x.mean == 0.5).all())
    mean = torch.rand(SHAPE)
    likelihood = vae.likelihood
    assert likelihood.outputs_for(mean).shape == (likelihood.num_parameters, *SHAPE)
    assert likelihood.config()["concentration"] == [2.0, 2.0]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"epsilon": 0.5}, r"epsilon.* is in \[0, 0.5\); got 0.5"),
        ({"epsilon": -1e-3}, r"epsilon.* got -0.001"),
        ({"epsilon": math.nan}, r"epsilon.* got nan"),
        ({"floor": 0.0}, r"the floor of α and β must be in \(0, 1\); got 0.0"),
        ({"concentration": (2, 2, 2), "allow_ignoring_z": True}, "two positive numbers"),
        ({"concentration": (2, 0), "allow_ignoring_z": True}, "two positive numbers"),
    ],
)
def test_options_it_cannot_have_are_one_line(options: dict[str, object], line: str) -> None:
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        likelihood_named("beta", SHAPE, options)
