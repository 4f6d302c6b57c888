"""The continuous Bernoulli against 50 digits, at logits near 0 and far from it."""

import math

import mpmath
import pytest
import torch
from torch import Tensor

from pyro_models.likelihoods import likelihood_named
from pyro_models.likelihoods.continuous_bernoulli import ContinuousBernoulliPixels

LOGITS = [0.0, 1e-12, 1e-7, 1e-4, 1e-3, 0.0199, 0.02, 0.0201, 0.5, 1.0, 3.0, 8.0, 20.0, 50.0, 80.0]
LOGITS += [-value for value in LOGITS[1:]]
PIXELS = [0.0, 1e-9, 1e-4, 0.1, 1 / 3, 0.5, 0.77, 0.999, 1 - 2**-24, 1.0]


def grid(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    logits, x = torch.tensor(LOGITS, dtype=dtype), torch.tensor(PIXELS, dtype=dtype)
    return logits.unsqueeze(1).requires_grad_(), x


def of_every_pair(function, logits: Tensor, x: Tensor) -> Tensor:
    """A function of two numbers in 50 digits, on the grid, rounded to float64."""
    with mpmath.workdps(50):
        rows = [
            [float(function(mpmath.mpf(l), mpmath.mpf(v))) for v in x.double().tolist()]
            for l in logits.detach().double().flatten().tolist()  # noqa: E741
        ]
    return torch.tensor(rows, dtype=torch.float64)


def log_density(l, x):  # noqa: E741
    return l * x + mpmath.log(l / mpmath.expm1(l)) if l else mpmath.mpf(0)


def mean_of(l):  # noqa: E741
    with mpmath.workdps(50):
        return 1 / (1 - mpmath.exp(-l)) - 1 / l if l else mpmath.mpf(1) / 2


@pytest.mark.parametrize(
    ("dtype", "error"), [(torch.float32, 1e-6), (torch.float64, 1e-12)], ids=str
)
def test_log_density_and_gradient_are_exact(dtype: torch.dtype, error: float) -> None:
    logits, x = grid(dtype)
    found = ContinuousBernoulliPixels(logits).log_prob(x)
    expected = of_every_pair(log_density, logits, x)
    assert float((found.detach() - expected).abs().max()) < error
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    slope = of_every_pair(lambda logit, v: v - mean_of(logit), logits, x).sum(1, keepdim=True)
    assert float((gradient.double() - slope).abs().max()) < len(PIXELS) * error


def test_torch_itself_is_wrong_where_we_are_right() -> None:
    """Why the distribution is ours."""
    logits, x = torch.tensor([20.0]), torch.tensor([0.1])
    truth = of_every_pair(log_density, logits, x).squeeze()
    theirs = torch.distributions.ContinuousBernoulli(logits=logits).log_prob(x)
    ours = ContinuousBernoulliPixels(logits).log_prob(x)
    assert float((theirs - truth).abs()) > 0.1
    assert float((ours - truth).abs()) < 1e-6


def test_mean_and_variance_are_exact() -> None:
    logits = torch.tensor(LOGITS)
    p_x = ContinuousBernoulliPixels(logits)
    with mpmath.workdps(50):
        means = [float(mean_of(mpmath.mpf(logit))) for logit in logits.tolist()]
        variances = [
            float(1 / mpmath.mpf(v) ** 2 - 1 / (4 * mpmath.sinh(mpmath.mpf(v) / 2) ** 2))
            if v
            else 1 / 12
            for v in logits.tolist()
        ]
    assert float((p_x.mean.double() - torch.tensor(means).double()).abs().max()) < 1e-7
    torch.testing.assert_close(p_x.variance, torch.tensor(variances), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_inverse_of_the_distribution_function_is_exact(dtype: torch.dtype) -> None:
    logits, u = grid(dtype)

    def inverse(l, v):  # noqa: E741
        return mpmath.log1p(v * mpmath.expm1(l)) / l if l else v

    found = ContinuousBernoulliPixels(logits.detach()).icdf(u)
    assert found.dtype == dtype
    error = (found.double() - of_every_pair(inverse, logits, u)).abs().max()
    assert float(error) < {torch.float32: 1e-7, torch.float64: 1e-13}[dtype]


@pytest.mark.parametrize("logit", [0.0, 1e-6, -2e-3, 0.3, -5.0, 80.0, -80.0, 1e4, -1e4])
@pytest.mark.parametrize("seed", [0, 1])
def test_draws_follow_the_distribution_and_carry_its_gradient(logit: float, seed: int) -> None:
    """The draws' distribution function is uniform; their mean moves by the variance per logit."""
    torch.manual_seed(seed)
    logits = torch.tensor(logit, dtype=torch.float64, requires_grad=True)
    p_x = ContinuousBernoulliPixels(logits)
    n = 20_000
    draws = p_x.rsample((n,))
    assert bool(((draws >= 0) & (draws <= 1)).all())
    error = float(draws.detach().std()) / math.sqrt(n)
    assert float(draws.detach().mean()) == pytest.approx(float(p_x.mean.detach()), abs=5 * error)
    slopes = torch.autograd.grad(draws.sum(), logits)[0] / n
    # d E[x] / dl = Var x; the slope of one draw is at most a few variances
    assert float(slopes) == pytest.approx(float(p_x.variance.detach()), rel=0.1)


@pytest.mark.parametrize("logit", [1e-3, -0.3, 4.0, -40.0])
def test_draws_pass_a_kolmogorov_smirnov_test(logit: float) -> None:
    torch.manual_seed(3)
    draws = ContinuousBernoulliPixels(torch.tensor(logit).double()).sample((5000,)).sort().values
    uniform = torch.expm1(logit * draws) / math.expm1(logit)
    steps = torch.arange(5000).double() / 5000
    distance = torch.maximum(uniform - steps, steps + 1 / 5000 - uniform).max()
    assert float(distance) < 1.95 / math.sqrt(5000)  # p = 0.001


def test_the_sum_over_an_image_is_in_the_type_of_the_image() -> None:
    likelihood = likelihood_named("continuous_bernoulli", (1, 28, 28))
    outputs = 80 * torch.randn(3, 1, 1, 28, 28)
    x = torch.rand(3, 1, 28, 28)
    assert likelihood(outputs).log_prob(x).dtype == torch.float32
    exact = likelihood(outputs.double()).log_prob(x.double())
    torch.testing.assert_close(likelihood(outputs).log_prob(x).double(), exact, rtol=6e-8, atol=0)
