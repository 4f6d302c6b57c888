"""Completions against exact conditionals, and what must not matter to them."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from inference.posterior import complete, infer
from pyro_models import (
    PPCA,
    VAE,
    BernoulliMixture,
    CompletionCVAE,
    SemiSupervisedVAE,
    UsageError,
    load_data,
)
from pyro_models.data.masks import seen_pixels

SHAPE = (1, 8, 8)
LEFT = seen_pixels("left", SHAPE)
FEW = {"max_steps": 20}


@pytest.fixture(scope="module")
def dense() -> Tensor:
    return load_data("digits", preparation="dequantised").prepared("train").x.double()


@pytest.fixture(scope="module")
def binary() -> Tensor:
    return load_data("digits", preparation="threshold").prepared("test").x


@pytest.fixture(scope="module")
def ppca(dense: Tensor) -> PPCA:
    return PPCA.maximum_likelihood(dense, latent_dim=3)


def vae() -> VAE:
    return VAE(SHAPE, latent_dim=3, hidden=[16], likelihood="bernoulli")


def test_the_exact_completion_is_the_conditional_of_the_data(ppca: PPCA, dense: Tensor) -> None:
    x, n = dense[:3], 4000
    found = complete(ppca, x, "left", num_samples=n, seed=1)
    assert found.guide == "exact"
    wanted = ppca.exact_conditional(x, LEFT)
    unseen = ~LEFT.flatten()
    torch.testing.assert_close(
        found.mean.flatten(1)[:, unseen], wanted.mean.detach()[:, unseen], rtol=1e-9, atol=1e-9
    )
    draws = found.samples.flatten(2)[..., unseen]
    variance = wanted.variance.detach()[:, unseen]
    error = (variance / n).sqrt()
    off = (draws.mean(0) - wanted.mean.detach()[:, unseen]) / error
    assert float(off.abs().max()) < 4.5
    assert float((draws.var(0) / variance - 1).abs().max()) < 4.5 * math.sqrt(2 / n)


def test_a_fitted_guide_completes_like_the_exact_conditional(ppca: PPCA, dense: Tensor) -> None:
    """Diagonal Normals have the mean of a Gaussian posterior; only the draws are too narrow."""
    x = dense[5:8]
    exact = complete(ppca, x, "top", guide="exact")
    found = complete(
        ppca, x, "top", guide="normal", num_latents=4000, infer_options={"max_steps": 300}
    )
    assert found.guide == "normal"
    assert found.posterior is not None
    assert float((found.mean - exact.mean).detach().abs().max()) < 0.05
    again = complete(ppca, x, "top", guide=found.posterior, num_latents=4000)
    assert torch.equal(again.mean, found.mean)


def test_the_encoder_fed_zeros_explains_zeros_that_nobody_saw(ppca: PPCA, dense: Tensor) -> None:
    x, n = dense[:4], 4000
    black = torch.where(LEFT, x, 0.0)
    z = ppca.exact_posterior(black)
    wanted = ppca.decode({"z": z.mean})["x"].mean.detach()
    found = complete(ppca, x, "left", guide="encoder_zeros", num_latents=n)
    W = ppca.model.W.detach()
    error = (W @ z.covariance_matrix[0].detach() @ W.T).diagonal().div(n).sqrt().unflatten(0, SHAPE)
    unseen = ~LEFT.expand_as(x)
    off = ((found.mean - wanted) / error)[unseen]
    assert float(off.abs().max()) < 4.5
    richer = PPCA.maximum_likelihood(dense, latent_dim=10)
    errors = {
        guide: (complete(richer, dense[:100], "left", guide=guide).mean - dense[:100]).square()
        for guide in ("exact", "encoder_zeros")
    }
    assert float(errors["encoder_zeros"].mean()) > 1.5 * float(errors["exact"].mean())


PAIRS = {
    "ppca": lambda: PPCA(SHAPE, latent_dim=2),
    "mixture": lambda: BernoulliMixture(SHAPE, num_components=3),
    "vae": vae,
    "cvae": lambda: CompletionCVAE(SHAPE, latent_dim=2, hidden=[8]),
    "m2": lambda: SemiSupervisedVAE(
        SHAPE, num_classes=3, latent_dim=2, hidden=[8], likelihood="bernoulli"
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_seen_pixels_are_as_given_and_unseen_ones_matter_to_nothing(
    name: str, binary: Tensor
) -> None:
    pair, x = PAIRS[name](), binary[:5]
    fitted = name in ("vae", "m2")
    options = {"infer_options": FEW} if fitted else {}
    before = {n: p.clone() for n, p in pair.state_dict().items()}
    state = torch.get_rng_state()
    first = complete(pair, x, "left", num_samples=4, num_latents=5, seed=3, **options)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.guide == {"vae": "normal", "m2": "normal", "cvae": "trained"}.get(name, "exact")
    assert first.samples.shape == (4, 5, *SHAPE)
    seen = LEFT.expand_as(x)
    assert torch.equal(first.mask, seen)
    assert torch.equal(first.mean[seen], x[seen])
    for sample in first.samples:
        assert torch.equal(sample[seen], x[seen])
    if name != "ppca":
        assert bool(((first.samples == 0) | (first.samples == 1)).all())
    dirty = torch.where(seen, x, math.nan)
    again = complete(pair, dirty, LEFT, num_samples=4, num_latents=5, seed=3, **options)
    assert torch.equal(first.mean, again.mean)
    assert torch.equal(first.samples, again.samples)
    assert not torch.equal(
        first.samples,
        complete(pair, x, LEFT, num_samples=4, num_latents=5, seed=4, **options).samples,
    )
    assert all(torch.equal(p, before[n]) for n, p in pair.state_dict().items())
    assert all(p.grad is None for p in pair.parameters())


@pytest.mark.parametrize("guide", ["trained", "encoder_zeros", "exact"])
def test_small_memory_gives_as_many_data(guide: str, binary: Tensor) -> None:
    pair = {"trained": PAIRS["cvae"], "exact": PAIRS["mixture"]}.get(guide, vae)()
    whole, parts = (
        complete(pair, binary[:7], "left", guide=guide, num_latents=400, max_elements=limit)
        for limit in (2**24, 64 * 400 * 3)
    )
    assert parts.mean.shape == whole.mean.shape
    assert parts.samples.shape == whole.samples.shape
    assert float((parts.mean - whole.mean).detach().abs().max()) < 4.5 * math.sqrt(0.5 / 400)


def test_a_trained_pair_completes_from_its_own_prior(binary: Tensor) -> None:
    """Its mean is E[x | x_C] under p(z | x_C): here by Gauss–Hermite quadrature over one latent."""
    pair = CompletionCVAE(SHAPE, masks=["top", "left"], latent_dim=1, hidden=[8])
    with torch.no_grad():
        pair.model.decoder.body[0].weight[:, 0].mul_(20)  # so that z matters
    alone, x = pair.conditioned_on(LEFT), binary[:4]
    with torch.no_grad():
        x_seen, given, _ = alone.model.given(x, None, 4)
        prior = alone.model.prior.head(alone.model.features(x_seen, given))
        nodes, weights = (torch.as_tensor(v) for v in np.polynomial.hermite.hermgauss(60))
        z = prior.mean + math.sqrt(2) * prior.stddev * nodes[:, None, None].float()
        means = alone.decode({"z": z}, x=x)["x"].mean
        wanted = torch.einsum("k,kb...->b...", (weights / math.sqrt(math.pi)).float(), means)
    found = complete(pair, x, "left", num_latents=4000, pixels="mean", num_samples=2000)
    assert float(found.samples.std(0).max()) > 0.02
    error = found.samples.std(0) / math.sqrt(4000)
    assert float(((found.mean - wanted).abs() - 4.5 * error).max()) < 1e-5


@pytest.mark.parametrize(
    ("name", "mask", "options", "line"),
    [
        ("vae", "lefft", {}, "unknown mask 'lefft'"),
        ("vae", torch.zeros(8, 8), {}, "sees nothing"),
        ("vae", torch.ones(7, 8), {}, "does not fit data of shape"),
        ("vae", "left", {"guide": "exact"}, "does not know p.x_unseen . x_seen. exactly"),
        ("vae", "left", {"guide": "trained"}, "VAE is not trained to complete"),
        ("vae", "left", {"guide": "nope"}, "unknown guide 'nope'"),
        ("vae", "left", {"num_samples": 0}, "num_samples and num_latents must be at least 1"),
        ("vae", "left", {"pixels": "nope"}, "pixels is 'mean' or 'sample'"),
        ("mixture", "left", {"pixels": "mean"}, "exact completions are drawn"),
        ("mixture", "left", {"infer_options": FEW}, "infer_options are for a guide that is fitted"),
        ("mixture", "left", {"guide": "encoder_zeros"}, "has no encoder of k to feed zeros to"),
        ("mixture", "left", {"guide": "normal"}, "no continuous latent"),
        ("cvae", "top", {}, "made to complete from left, and from no other pixels"),
        ("cvae", "left", {"guide": "normal"}, "completes by its own p.z . x_C.: guide trained"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)
def test_what_cannot_be_completed_is_one_line(
    name: str, mask: str | Tensor, options: dict, line: str, binary: Tensor
) -> None:
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        complete(PAIRS[name](), binary[:3], mask, **options)


def test_data_and_posteriors_that_do_not_fit_are_one_line(binary: Tensor) -> None:
    pair = vae()
    with pytest.raises(UsageError, match=r"^x is one datum of shape .1, 8, 8.: give a batch.*\Z"):
        complete(pair, binary[0], "left")
    with pytest.raises(UsageError, match=r"^.*pixels that are 0 or 1.*\Z"):
        complete(pair, binary[:2] / 2, "left")
    posterior = infer(pair, binary[:3], mask=LEFT, guide="normal", max_steps=5)
    assert len(complete(pair, binary[:3], "left", guide=posterior)) == 3
    for x, mask in ((binary[:2], "left"), (binary[:3], "right"), (binary[3:6], "left")):
        with pytest.raises(UsageError, match=r"^.*other data, or from other pixels\Z"):
            complete(pair, x, mask, guide=posterior)
    with pytest.raises(UsageError, match="other data"):
        complete(vae(), binary[:3], "left", guide=posterior)
