"""p(x | z): what each likelihood says of data, of extreme outputs, and which data it refuses."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

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


@pytest.mark.parametrize("scale", ["global", "pixel", "decoder", 0.1])
@pytest.mark.parametrize("extreme", [1e4, -1e4])
def test_extreme_scales_of_the_gaussian(scale: str | float, extreme: float) -> None:
    likelihood = likelihood_named("gaussian", SHAPE, {"scale": scale})
    outputs = torch.zeros(5, likelihood.num_parameters, *SHAPE)
    outputs[:, -1] = extreme
    outputs.requires_grad_()
    for parameter in likelihood.parameters():
        torch.nn.init.constant_(parameter, extreme)
    log_prob = likelihood(outputs).log_prob(torch.rand(5, *SHAPE))
    log_prob.sum().backward()
    assert bool(log_prob.isfinite().all())
    assert outputs.grad is not None
    assert bool(outputs.grad.isfinite().all())


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


def test_bernoulli_is_minus_the_binary_cross_entropy() -> None:
    logits, x = torch.randn(5, *SHAPE).double(), torch.rand(5, *SHAPE).double()
    ce = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum((1, 2, 3))
    ours = likelihood_named("cross_entropy", SHAPE)(logits.unsqueeze(1)).log_prob(x)
    torch.testing.assert_close(ours, ce)
    binary = likelihood_named("bernoulli", SHAPE)(logits.unsqueeze(1)).log_prob(x.round())
    expected = (x.round() * logits).sum((1, 2, 3)) - F.softplus(logits).sum((1, 2, 3))
    torch.testing.assert_close(binary, expected)


def test_bernoulli_sums_to_one_over_all_binary_images() -> None:
    likelihood = likelihood_named("bernoulli", (3,))
    images = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    outputs = torch.randn(1, 3)
    total = likelihood(outputs.expand(8, 1, 3)).log_prob(images).logsumexp(0)
    torch.testing.assert_close(total, torch.zeros(()), atol=1e-6, rtol=0)


@pytest.mark.parametrize("scale", ["global", "pixel", "decoder", 0.25])
def test_gaussian_density(scale: str | float) -> None:
    likelihood = likelihood_named("gaussian", SHAPE, {"scale": scale, "floor": 0.02}).double()
    x = torch.rand(5, *SHAPE).double()
    outputs = torch.randn(5, likelihood.num_parameters, *SHAPE).double()
    for parameter in likelihood.parameters():
        torch.nn.init.normal_(parameter)
    loc, sigma = outputs[:, 0], torch.tensor(0.25).double()
    if isinstance(scale, str):
        raw = outputs[:, 1] if scale == "decoder" else likelihood.raw_scale.detach()
        sigma = 0.02 + F.softplus(raw)
    density = -0.5 * ((x - loc) / sigma) ** 2 - sigma.log() - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(likelihood(outputs).log_prob(x).detach(), density.sum((1, 2, 3)))
    shapes = {"global": [()], "pixel": [SHAPE]}
    assert [tuple(p.shape) for p in likelihood.parameters()] == shapes.get(str(scale), [])


def test_gaussian_starts_at_the_scale_of_a_pixel() -> None:
    for scale in ("global", "pixel"):
        p_x = likelihood_named("gaussian", SHAPE, {"scale": scale, "floor": 0.05})
        assert bool(((p_x(torch.zeros(1, *SHAPE)).variance.sqrt() - 0.35).abs() < 1e-6).all())


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


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"scale": "nope"}, "unknown Gaussian scale 'nope': global, pixel, decoder"),
        ({"scale": 0.0}, "must be a positive number; got 0.0"),
        ({"scale": math.inf}, "must be a positive number; got inf"),
        ({"scale": math.nan}, "must be a positive number; got nan"),
        ({"floor": -1.0}, "must be positive, .*; got -1.0"),
        ({"floor": 0.0, "scale": "decoder"}, "must be positive, .*; got 0.0"),
        ({"floor": 0.0, "scale": "pixel"}, "must be positive, .*; got 0.0"),
        ({"width": 1.0}, "likelihood gaussian: .*width"),
    ],
)
def test_options_it_cannot_have_are_one_line(options: dict[str, float | str], line: str) -> None:
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        likelihood_named("gaussian", SHAPE, options)


@pytest.mark.parametrize("autocast", [False, True])
def test_log_probabilities_are_float32_or_better_under_autocast(autocast: bool) -> None:
    vae = VAE((1, 8, 8), latent_dim=2, hidden=[8], likelihood="bernoulli")
    x = torch.rand(3, 1, 8, 8).round()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        assert vae.decode({"z": torch.zeros(3, 2)})["x"].log_prob(x).dtype == torch.float32
        assert vae.guide.encoder(x).rsample().dtype == torch.float32
