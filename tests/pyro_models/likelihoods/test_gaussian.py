"""The Gaussian, with one scale, one per pixel, one from the decoder, or a fixed one."""

import math

import pytest
import torch
from torch.nn import functional as F

from pyro_models import UsageError
from pyro_models.likelihoods import likelihood_named

SHAPE = (1, 3, 4)


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
        ({"width": 1.0}, "likelihood gaussian has no option width"),
    ],
)
def test_options_it_cannot_have_are_one_line(options: dict[str, float | str], line: str) -> None:
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        likelihood_named("gaussian", SHAPE, options)
