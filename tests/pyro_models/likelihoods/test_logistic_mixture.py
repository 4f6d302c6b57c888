"""The discretised mixture of logistics, against the logistic distribution function itself."""

import math

import mpmath
import pytest
import torch

from pyro_models import UsageError
from pyro_models.likelihoods import likelihood_named
from pyro_models.likelihoods.logistic_mixture import LogisticMixturePixels


def mass(level: int, k: int, loc: float, scale: float):
    """Of one logistic, in 50 digits."""
    half = mpmath.mpf(1) / (2 * (k - 1))
    grey, s = mpmath.mpf(level) / (k - 1), mpmath.mpf(scale)

    def cdf(x):
        return 1 / (1 + mpmath.exp(-(x - mpmath.mpf(loc)) / s))

    high = 1 if level == k - 1 else cdf(grey + half)
    return high - (0 if level == 0 else cdf(grey - half))


@pytest.mark.parametrize("k", [2, 17, 256])
@pytest.mark.parametrize("scale", [1e-3, 0.03, 0.5, 20.0])
def test_the_mass_of_a_level_is_that_of_the_distribution_function(k: int, scale: float) -> None:
    torch.manual_seed(0)
    logits, loc = torch.randn(3).double(), torch.tensor([-0.2, 0.31, 1.1]).double()
    p_x = LogisticMixturePixels(logits, loc, torch.full((3,), scale, dtype=torch.float64), k)
    weights = logits.softmax(-1).tolist()
    for level in sorted({0, 1, k // 2, k - 2, k - 1}):
        with mpmath.workdps(2000 if scale < 0.01 else 50):
            parts = [
                w * mass(level, k, m, scale) for w, m in zip(weights, loc.tolist(), strict=True)
            ]
            expected = float(mpmath.log(sum(parts)))
        found = float(p_x.log_prob(torch.tensor(level / (k - 1)).double()))
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_all_levels_together_have_mass_one_however_wide_or_narrow(dtype: torch.dtype) -> None:
    levels = torch.arange(256).to(dtype).unsqueeze(-1) / 255
    for scale in (1e-3, 1.0, 1e4):
        for loc in (-3.0, 0.0, 0.5, 1.0):
            parts = (torch.full((1, 1), v).to(dtype) for v in (0.0, loc, scale))
            total = LogisticMixturePixels(*parts, 256).log_prob(levels).logsumexp(0)
            assert float(total) == pytest.approx(0, abs=3e-5 if dtype == torch.float32 else 1e-11)


def test_far_levels_keep_their_slope() -> None:
    """A hundred scales away the log-probability falls by 1/s, where 1 − σ would be 0 long since."""
    loc = torch.tensor([[0.0]], requires_grad=True)
    p_x = LogisticMixturePixels(torch.zeros(1, 1), loc, torch.full((1, 1), 5e-3), 256)
    p_x.log_prob(torch.tensor([0.5])).sum().backward()
    assert float(loc.grad) == pytest.approx(200, rel=1e-5)


def test_a_mixture_is_the_weighted_sum_of_its_components() -> None:
    torch.manual_seed(0)
    likelihood = likelihood_named(
        "logistic_mixture", (4,), {"components": 2, "levels": 17}
    ).double()
    outputs, x = torch.randn(6, 4).double(), torch.randint(0, 17, (4,)).double() / 16
    one = likelihood_named("logistic_mixture", (4,), {"components": 1, "levels": 17}).double()
    weights = outputs[:2].softmax(0)
    alone = [one.pixels(outputs[[i, 2 + i, 4 + i]]).log_prob(x).exp() for i in range(2)]
    expected = (weights[0] * alone[0] + weights[1] * alone[1]).log()
    torch.testing.assert_close(likelihood.pixels(outputs).log_prob(x), expected)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"components": 0}, "components must be at least 1; got 0"),
        ({"levels": 1}, "levels must be a whole number from 2 to 1024; got 1"),
        ({"floor": 0.0}, "must be positive; got 0.0"),
        ({"floor": math.inf}, "must be positive; got inf"),
    ],
)
def test_options_it_cannot_have_are_one_line(options: dict[str, float], line: str) -> None:
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        likelihood_named("logistic_mixture", (1,), options)
