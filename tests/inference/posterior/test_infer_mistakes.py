"""What a person may do wrong with ``infer``: one line that says what to do."""

import importlib

import pytest
import torch
from torch import nn

from inference.posterior import GUIDES, Plateau, infer, register_guide
from inference.posterior.guides.normal import NormalGuide
from pyro_models import CVAE, GMM, PPCA, VAE, UsageError

SHAPE = (1, 8, 8)
X = torch.full((3, *SHAPE), 0.5)


def vae(**options):
    return VAE(SHAPE, hidden=[4], latent_dim=2, **options)


def cvae():
    return CVAE(SHAPE, num_classes=10, hidden=[4], latent_dim=2)


def blind():
    mask = torch.ones(3, 1, 8, 8, dtype=torch.bool)
    mask[1] = False
    return mask


class Nothing(nn.Module):
    """A guide that samples nothing."""

    def forward(self, x, **conditions):
        pass


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: infer(vae(), X, mask=torch.ones(7, 8)), "mask of shape .7, 8. does not fit"),
        (lambda: infer(vae(), X, mask="lefft"), "unknown mask 'lefft'"),
        (lambda: infer(vae(), X, mask=0.5 * torch.ones(8, 8)), "a mask is 1 .or True."),
        (lambda: infer(vae(), X.tolist()), "x is a tensor or an array.*; got a list"),
        (lambda: infer(vae(), "digits"), "x is a tensor or an array.*; got a str"),
        (lambda: infer(vae(), X.numpy().astype(str)), "x does not hold numbers but text"),
        (lambda: infer(vae(), X.to(torch.complex64)), "x holds complex numbers"),
        (lambda: infer(vae(), (255 * X).to(torch.uint8)), "whole numbers up to 127"),
        (lambda: infer(vae(), X, guide=lambda given: None), "is made as None: return an nn.Module"),
        (lambda: infer(vae(), X, mask=blind()), "nothing is seen of image 1"),
        (lambda: infer(vae(), X, guide="gaussian"), "unknown guide 'gaussian': choose from prior,"),
        (lambda: infer(vae(), X, guide=3), "a guide is a name, a module or a function"),
        (lambda: infer(GMM(SHAPE), X), "GMM has no continuous latent to infer"),
        (lambda: infer(cvae(), X), "needs labels"),
        (lambda: infer(cvae(), X, y=torch.tensor([1, 2])), "give 3 labels"),
        (lambda: infer(vae(), X[0]), r"give a batch, x\[None\]"),
        (lambda: infer(vae(), X[..., :4]), "does not fit VAE"),
        (lambda: infer(vae(likelihood="bernoulli"), X), "pixels that are 0 or 1"),
        (lambda: infer(vae(), X * torch.nan), "NaN or infinite"),
        (lambda: infer(vae(), X, guide="normal", guide_options={"rank": 2}), "no option rank"),
        (lambda: infer(vae(), X, guide="low_rank", guide_options={"rank": 0}), "rank must be"),
        (
            lambda: infer(vae(), X, guide="low_rank", guide_options={"rank": 1.5}),
            "low_rank takes rank as a whole number; got 1.5",
        ),
        (
            lambda: infer(vae(), X, guide="normal", guide_options={"scale": "x"}),
            "normal takes scale as a number; got 'x'",
        ),
        (lambda: infer(vae(), X, guide="normal", guide_options={"scale": 0.0}), "positive scale"),
        (lambda: infer(vae(), X, max_steps=0), "max_steps must be at least 1"),
        (lambda: infer(vae(), X, num_particles=0), "num_particles must be at least 1"),
        (lambda: infer(vae(), X, lr=-1.0), "lr must be a positive number"),
        (lambda: infer(vae(), X, optimizer="Adamant"), "unknown optimizer 'Adamant'"),
        (lambda: infer(vae(), X, optimizer="Adafactor"), "moves one image's parameters"),
        (lambda: infer(vae(), X, estimator="score"), "estimator is 'path' or 'kl'"),
        (lambda: Plateau(window=1), "window must be at least 2"),
        (lambda: Plateau(decay=0.0), "decay is a factor"),
        (lambda: Plateau(min_improvement=-1.0), "min_improvement cannot be negative"),
        (
            lambda: infer(vae(), X, guide=lambda given: Nothing()),
            "does not sample the latent z",
        ),
        (lambda: infer(vae(), X, guide="prior").sample(0), "n must be at least 1"),
        (lambda: infer(vae(), X, guide="prior").log_prob({}), "log_prob needs the site 'z'"),
        (lambda: infer(vae(), X, guide="prior", resample=0), "resample .K. must be"),
        (lambda: infer(vae(), X, guide="prior")(X[:2]), "is of 3 data, and 2 are given"),
        (lambda: infer(vae(), X, guide="prior").complete(num_samples=0), "n must be at least 1"),
    ],
)
def test_mistakes_are_refused_in_one_line(call, says):
    with pytest.raises(UsageError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_flows_name_what_is_to_be_installed(monkeypatch):
    real = importlib.import_module

    def absent(name, package=None):
        if name.startswith("zuko"):
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", absent)
    for guide in ("flow", "amortised_flow"):
        with pytest.raises(UsageError, match=r'pip install "pyro-models\[flows\]"'):
            infer(vae(), X, guide=guide, max_steps=1)


def test_a_guide_of_ones_own_is_registered_in_one_line():
    try:
        register_guide("narrow", lambda given, *, scale=0.5: NormalGuide(given.prior))
        posterior = infer(
            PPCA(SHAPE, latent_dim=2), X, guide="narrow", guide_options={"scale": 2.0}, max_steps=3
        )
        assert posterior.name == "narrow"
        with pytest.raises(UsageError, match="there is a guide 'narrow' already"):
            register_guide("narrow", NormalGuide)
    finally:
        GUIDES.pop("narrow", None)


def test_a_guide_that_is_given_is_fitted_where_it_is():
    pair = PPCA(SHAPE, latent_dim=2)
    start = infer(pair, X, guide="normal", max_steps=1)
    guide = NormalGuide(start.target.prior)
    posterior = infer(pair, X, guide=guide, max_steps=20)
    assert guide.loc["z"].requires_grad
    assert torch.equal(guide.loc["z"], posterior.guide.loc["z"])
    assert guide.loc["z"].abs().sum() > 0
