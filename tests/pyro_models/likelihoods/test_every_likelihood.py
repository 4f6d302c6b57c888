"""p(x | z): what each likelihood says of data, of extreme outputs, and which data it refuses."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pyro_models import VAE, UsageError
from pyro_models.data import PREPARATIONS, prepare
from pyro_models.likelihoods import LIKELIHOODS, Likelihood, likelihood_named

SHAPE = (1, 3, 4)
every_likelihood = pytest.mark.parametrize("name", LIKELIHOODS)


def pixels(likelihood: Likelihood, dtype: torch.dtype = torch.float32) -> Tensor:
    """Five images as this likelihood wants them, black and white pixels among them."""
    grey = torch.rand(5, *SHAPE, dtype=dtype)
    grey[:, 0, 0, 0], grey[:, 0, 0, 1] = 0, 1
    generator = torch.Generator().manual_seed(0)
    return prepare(grey, likelihood.preparation, levels=256, generator=generator)


@every_likelihood
def test_says_what_it_is(name: str) -> None:
    likelihood = likelihood_named(name, SHAPE)
    assert likelihood.name == name
    assert likelihood.preparation in PREPARATIONS
    assert (
        likelihood.measure is None
        or "counting" in likelihood.measure
        or "Lebesgue" in (likelihood.measure)
    )
    rebuilt = likelihood_named(name, SHAPE, likelihood.config())
    assert rebuilt.config() == likelihood.config()


@every_likelihood
@pytest.mark.parametrize("batch", [(), (5,), (2, 5)], ids=str)
def test_shapes(name: str, batch: tuple[int, ...]) -> None:
    likelihood = likelihood_named(name, SHAPE)
    outputs = torch.randn(*batch, likelihood.num_parameters, *SHAPE)
    p_x = likelihood(outputs)
    assert p_x.batch_shape == batch
    assert p_x.event_shape == SHAPE
    assert likelihood.mean(outputs).shape == batch + SHAPE
    torch.testing.assert_close(likelihood.mean(outputs), p_x.mean)
    likelihood.check(p_x.sample())


@every_likelihood
@pytest.mark.parametrize("extreme", [1e4, -1e4, 0.0])
def test_extreme_outputs_give_finite_values_and_gradients(name: str, extreme: float) -> None:
    likelihood = likelihood_named(name, SHAPE)
    x = pixels(likelihood)
    outputs = torch.full((5, likelihood.num_parameters, *SHAPE), extreme, requires_grad=True)
    log_prob = likelihood(outputs).log_prob(x)
    assert bool(log_prob.isfinite().all())
    parameters = [outputs, *likelihood.parameters()]
    gradients = torch.autograd.grad(log_prob.sum(), parameters)
    assert all(bool(g.isfinite().all()) for g in gradients)
    assert bool(likelihood.mean(outputs).isfinite().all())


@every_likelihood
def test_outputs_of_both_extremes_side_by_side_give_finite_values_and_gradients(name: str) -> None:
    """Each parameter of a pixel at its own of ±1e4 and 0, as a weight at one end and a mean at the
    other."""
    likelihood = likelihood_named(name, SHAPE)
    torch.manual_seed(0)
    signs = torch.randint(-1, 2, (5, likelihood.num_parameters, *SHAPE))
    outputs = (1e4 * signs).requires_grad_()
    log_prob = likelihood(outputs).log_prob(pixels(likelihood))
    (gradient,) = torch.autograd.grad(log_prob.sum(), outputs)
    assert bool(log_prob.isfinite().all())
    assert bool(gradient.isfinite().all())
    likelihood.check(likelihood(outputs.detach()).sample())


@every_likelihood
def test_the_gradient_is_that_of_finite_differences(name: str) -> None:
    likelihood = likelihood_named(name, (2,), SMALLER.get(name)).double()
    x = torch.tensor([[0.0, 1.0], [0.25, 0.9]]).double()
    x = x.round() if name == "bernoulli" else x
    torch.manual_seed(0)
    for scale in (1e-4, 1.0, 10.0):
        outputs = scale * torch.randn(2, likelihood.num_parameters, 2).double()
        assert torch.autograd.gradcheck(
            lambda o: likelihood(o).log_prob(x), outputs.requires_grad_(), atol=1e-4
        )


SMALLER = {
    "categorical": {"bins": 17},
    "logistic_mixture": {"levels": 17, "components": 2},
    "discretized_gaussian": {"levels": 17},
}
SUPPORT = {  # one pixel: its values, and the weight of each in a sum or an integral
    "counting": lambda k: (torch.arange(k).double() / (k - 1), torch.ones(k).double()),
    "Lebesgue on": lambda _: quadrature(0.0, 1.0),
    "Lebesgue": lambda _: quadrature(-20.0, 20.0),
}


def quadrature(low: float, high: float) -> tuple[Tensor, Tensor]:
    """Gauss–Legendre nodes and weights, 400 each."""
    nodes, weights = (torch.as_tensor(v) for v in np.polynomial.legendre.leggauss(400))
    return low + (high - low) * (nodes + 1) / 2, weights * (high - low) / 2


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", [name for name in LIKELIHOODS if name != "cross_entropy"])
def test_it_sums_or_integrates_to_one_with_the_mean_it_gives(name: str, seed: int) -> None:
    """Relative to the measure it names. α, β ≥ 1 for the Beta: no pole at the ends."""
    options = {"beta": {"epsilon": 0.0}}.get(name, SMALLER.get(name))
    likelihood = likelihood_named(name, (1,), options).double()
    torch.manual_seed(seed)
    outputs = 2 * torch.randn(likelihood.num_parameters, 1).double()
    outputs = outputs.abs() + 0.6 if name == "beta" else outputs
    measure = likelihood.measure
    assert measure is not None
    key = next(key for key in SUPPORT if measure.startswith(key))
    k = 2 if "{0,1}" in measure else int(measure.split()[-2]) if key == "counting" else 0
    values, weights = SUPPORT[key](k)
    with torch.no_grad():
        mass = weights * likelihood(outputs.unsqueeze(0)).log_prob(values.unsqueeze(-1)).exp()
        assert float(mass.sum()) == pytest.approx(1, abs=1e-6)
        if getattr(likelihood, "values_are_grey", True):
            assert float(mass @ values) == pytest.approx(float(likelihood.mean(outputs)), abs=1e-6)


@every_likelihood
@pytest.mark.parametrize("seed", [0, 1])
def test_draws_have_the_mean_and_levels_it_gives(name: str, seed: int) -> None:
    likelihood = likelihood_named(name, SHAPE)
    torch.manual_seed(seed)
    outputs = 2 * torch.randn(likelihood.num_parameters, *SHAPE)
    p_x = likelihood(outputs)
    draws = p_x.sample((4000,))
    likelihood.check(draws)
    # 0.001: what the Beta's draws are clamped by
    tolerance = 5 * draws.std(0) / math.sqrt(len(draws)) + 1.1e-3
    assert bool(((draws.mean(0) - p_x.mean).abs() < tolerance).all())
    measure = likelihood.measure or ""
    if "levels" in measure:
        steps = draws * (int(measure.split()[-2]) - 1)
        torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)


@every_likelihood
def test_it_can_be_expanded_over_particles(name: str) -> None:
    likelihood = likelihood_named(name, SHAPE, SMALLER.get(name))
    x = pixels(likelihood)
    p_x = likelihood(torch.randn(5, likelihood.num_parameters, *SHAPE))
    many = p_x.expand((3, 5))
    assert many.batch_shape == (3, 5)
    assert many.sample().shape == (3, 5, *SHAPE)
    torch.testing.assert_close(many.log_prob(x), p_x.log_prob(x).expand(3, 5))
    single = p_x.expand((5,)).base_dist.expand((2, 5, *SHAPE)).to_event(3)
    torch.testing.assert_close(single.log_prob(x)[1].to(x.dtype), p_x.log_prob(x))


@every_likelihood
def test_a_mask_leaves_pixels_out_one_by_one(name: str) -> None:
    """With each pixel alone seen in turn the log-probabilities sum to that of the image."""
    likelihood = likelihood_named(name, SHAPE).double()
    x = pixels(likelihood, torch.float64)
    outputs = torch.randn(5, likelihood.num_parameters, *SHAPE, dtype=torch.float64)
    alone = torch.eye(12).bool().view(12, 1, *SHAPE)
    parts = [likelihood(outputs, mask).log_prob(x) for mask in alone]
    torch.testing.assert_close(sum(parts), likelihood(outputs).log_prob(x))
    assert bool((likelihood(outputs, torch.zeros(1, *SHAPE).bool()).log_prob(x) == 0).all())


@pytest.mark.parametrize("name", list(LIKELIHOODS))
def test_the_outputs_for_a_mean_image_have_that_mean(name: str) -> None:
    scales: list[dict[str, str]] = [{}] if name != "gaussian" else [{}, {"scale": "decoder"}]
    for options in scales:
        likelihood = likelihood_named(name, SHAPE, options)
        mean = torch.rand(SHAPE).clamp(0.01, 0.99)
        found = likelihood.mean(likelihood.outputs_for(mean).unsqueeze(0)).squeeze(0)
        torch.testing.assert_close(found, mean)


@pytest.mark.parametrize(
    ("name", "bad", "line"),
    [
        ("bernoulli", 0.5, "pixels that are 0 or 1: binarise them"),
        ("bernoulli", 2.0, "pixels that are 0 or 1: binarise them"),
        ("cross_entropy", 1.5, r"pixels in \[0, 1\]; divide 0…255 pixels by 255"),
        ("cross_entropy", -0.1, r"pixels in \[0, 1\]"),
        ("continuous_bernoulli", 1.5, r"the continuous Bernoulli is of pixels in \[0, 1\]"),
        ("beta", -0.1, r"the Beta likelihood is of pixels in \[0, 1\]"),
        ("categorical", 255.0, r"the likelihood categorical is of pixels in \[0, 1\]"),
        ("logistic_mixture", -1.0, r"the likelihood logistic_mixture is of pixels in \[0, 1\]"),
        *((name, bad, "NaN or infinite") for name in LIKELIHOODS for bad in (math.nan, math.inf)),
    ],
)
def test_data_it_cannot_have_are_refused_unless_unseen(name: str, bad: float, line: str) -> None:
    likelihood = likelihood_named(name, SHAPE)
    x = pixels(likelihood)
    likelihood.check(x)
    x[1, 0, 2, 2] = bad
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        likelihood.check(x)
    shared = torch.ones(1, *SHAPE).bool()
    shared[..., 2, 2] = False
    likelihood.check(x, shared)
    per_datum = torch.ones(5, *SHAPE).bool()
    per_datum[1, 0, 2, 2] = False
    likelihood.check(x, per_datum)
    per_datum[1, 0, 2, 2], per_datum[2, 0, 2, 2] = True, False
    with pytest.raises(UsageError, match=line):
        likelihood.check(x, per_datum)


@pytest.mark.parametrize("autocast", [False, True])
def test_log_probabilities_are_float32_or_better_under_autocast(autocast: bool) -> None:
    vae = VAE((1, 8, 8), latent_dim=2, hidden=[8], likelihood="bernoulli")
    x = torch.rand(3, 1, 8, 8).round()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        assert vae.decode({"z": torch.zeros(3, 2)})["x"].log_prob(x).dtype == torch.float32
        assert vae.guide.encoder(x).rsample().dtype == torch.float32
