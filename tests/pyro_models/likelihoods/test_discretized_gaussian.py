"""The rounded Gaussian, against the normal distribution function in many digits."""

import math

import mpmath
import pytest
import torch

from pyro_models import UsageError
from pyro_models.likelihoods import likelihood_named
from pyro_models.likelihoods.discretized_gaussian import DiscretizedGaussianPixels


def log_mass(level: int, k: int, loc: float, scale: float) -> float:
    """log [Φ(b) − Φ(a)] of the upper or the lower tail, in 60 digits more than cancel."""
    with mpmath.workdps(60):
        m, s, half = mpmath.mpf(loc), mpmath.mpf(scale), mpmath.mpf(1) / (2 * (k - 1))
        grey = mpmath.mpf(level) / (k - 1)
        a = -mpmath.inf if level == 0 else (grey - half - m) / s
        b = mpmath.inf if level == k - 1 else (grey + half - m) / s
        if a > 0:
            a, b = -b, -a
        low, high = (mpmath.erfc(-v / mpmath.sqrt(2)) / 2 for v in (a, b))
        return float(mpmath.log(high - low))


@pytest.mark.parametrize(
    ("dtype", "rel"), [(torch.float64, 1e-9), (torch.float32, 1e-4)], ids=["float64", "float32"]
)
@pytest.mark.parametrize("k", [2, 17, 256])
@pytest.mark.parametrize("scale", [1e-3, 0.03, 0.5, 20.0])
def test_the_mass_of_a_level_is_that_of_the_distribution_function(
    k: int, scale: float, dtype: torch.dtype, rel: float
) -> None:
    for loc in (-0.2, 0.31, 1.1):
        p_x = DiscretizedGaussianPixels(*torch.tensor([loc, scale], dtype=dtype), k)
        for level in sorted({0, 1, k // 2, k - 2, k - 1}):
            found = float(p_x.log_prob(torch.tensor(level / (k - 1), dtype=dtype)))
            parameters = float(p_x.loc), float(p_x.scale)
            assert found == pytest.approx(log_mass(level, k, *parameters), rel=rel, abs=rel)


def test_all_levels_together_have_mass_one_however_wide_or_narrow() -> None:
    levels = torch.arange(256).double() / 255
    for scale in (1e-3, 0.5, 0.7, 1e4):
        for loc in (-3.0, 0.0, 0.5, 1.0):
            p_x = DiscretizedGaussianPixels(*torch.tensor([loc, scale]).double(), 256)
            assert float(p_x.log_prob(levels).logsumexp(0)) == pytest.approx(0, abs=1e-8)


def test_far_levels_keep_their_slope() -> None:
    """A hundred σ away the log-probability falls as the square of the distance does."""
    loc = torch.tensor(0.0, requires_grad=True)
    DiscretizedGaussianPixels(loc, torch.tensor(5e-3), 256).log_prob(torch.tensor(0.5)).backward()
    edge = (round(0.5 * 256) - 0.5) / 255  # the nearer one of the level 128
    assert float(loc.grad) == pytest.approx(edge / 5e-3**2, rel=1e-2)


def test_draws_have_the_mean_that_is_said() -> None:
    p_x = DiscretizedGaussianPixels(torch.tensor(0.9), torch.tensor(0.3), 5)
    drawn = p_x.sample((20_000,))
    assert set(drawn.tolist()) == {0.0, 0.25, 0.5, 0.75, 1.0}
    error = float(drawn.std()) / math.sqrt(len(drawn))
    assert float(drawn.mean()) == pytest.approx(float(p_x.mean), abs=4 * error)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"levels": 1}, "levels must be a whole number from 2 to 1024; got 1"),
        ({"floor": 0.0}, "must be positive; got 0.0"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, float], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        likelihood_named("discretized_gaussian", (1,), options)
