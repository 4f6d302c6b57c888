"""Units do not matter: pairs of data of any real values, started or learned from c x + d.

With x' = c x + d a density shifts by −D log c and nothing else changes: not the start, not the
posterior, not what is said of unseen values.
"""

import math
from collections.abc import Callable

import pyro
import pytest
import torch
from torch import Tensor

from inference.particles import particles
from pyro_models import GMM, PPCA, VAE
from pyro_models.likelihoods import likelihood_named
from pyro_models.models.gmm import COVARIANCES
from pyro_models.pair import Exact, Pair

D, N, K = 5, 60, 3
FLOOR = 1e-3

SCALES = [1e-9, 1.0, 1e9]
OFFSETS = [0.0, -1e9]  # in units of the scale
every_unit = pytest.mark.parametrize(
    ("scale", "offset"), [(c, d) for c in SCALES for d in OFFSETS], ids=lambda v: f"{v:g}"
)


def data() -> Tensor:
    """Three clusters of correlated values, of unlike sizes."""
    generator = torch.Generator().manual_seed(0)
    centre = 4 * torch.randn(K, D, dtype=torch.float64, generator=generator)
    noise = torch.randn(N, D, dtype=torch.float64, generator=generator).cumsum(1)
    return centre[torch.arange(N) % K] + 0.3 * noise


def in_units(scale: float, offset: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """c x + d, rounded to the float type."""
    return (scale * (data() + offset)).to(dtype)


def as_rounded(scale: float, offset: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """The x that those units were of, once rounding is taken into account."""
    return in_units(scale, offset, dtype).double() / scale - offset


def seen() -> Tensor:
    mask = torch.rand(N, D, generator=torch.Generator().manual_seed(1)) < 0.6
    mask[:, 0], mask[:, -1] = True, False
    return mask


def closed_form(x: Tensor, unit: float) -> Pair:
    return PPCA.maximum_likelihood(x, latent_dim=2)


def regularised(x: Tensor, unit: float) -> Pair:
    return PPCA.maximum_likelihood(x, latent_dim=4, floor=FLOOR * unit**2)


def started_ppca(guide: str) -> Callable[[Tensor, float], Pair]:
    def make(x: Tensor, unit: float) -> Pair:
        pair = PPCA((D,), latent_dim=2, guide=guide).to(x.dtype)
        assert pair.start_from(x) == "mean and total variance of the data"
        return pair

    return make


def started_gmm(covariance: str, guide: str) -> Callable[[Tensor, float], Pair]:
    def make(x: Tensor, unit: float) -> Pair:
        pyro.set_rng_seed(0)
        pair = GMM(
            (D,),
            num_components=K,
            covariance=covariance,
            floor=FLOOR * unit**2,
            guide=guide,
            hidden=[4],
        ).to(x.dtype)
        assert pair.start_from(x) == "k-means++"
        return pair

    return make


MAKERS = {
    "ppca-closed-form": closed_form,
    "ppca-closed-form-floor": regularised,
    "ppca-exact": started_ppca("exact"),
    "ppca-linear": started_ppca("linear"),
    **{
        f"gmm-{covariance}-{guide}": started_gmm(covariance, guide)
        for covariance in COVARIANCES
        for guide in ("enumerate", "amortised")
    },
}
every_maker = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def tolerance(offset: float, dtype: torch.dtype = torch.float64) -> dict[str, float]:
    """What is left of the digits beside the offset; a density is of D values, 1/σ² ≤ 1000 each."""
    left = torch.finfo(dtype).eps * max(1.0, abs(offset))
    return {"rtol": 1e-9 + 100 * left, "atol": 1e-9 + 1000 * left}


def posterior_of(pair: Exact, x: Tensor, mask: Tensor | None) -> Tensor:
    found = pair.exact_posterior(x, mask)
    return found.probs if hasattr(found, "probs") else found.mean


@every_unit
@every_maker
def test_units_shift_the_density_and_nothing_else(
    make: Callable[[Tensor, float], Pair], scale: float, offset: float
) -> None:
    x, given = as_rounded(scale, offset), in_units(scale, offset)
    plain, pair = make(x, 1.0), make(given, scale)
    close = tolerance(offset)
    with torch.no_grad():
        for mask in (None, seen()):
            count = D if mask is None else mask.sum(1).double()
            torch.testing.assert_close(
                pair.exact_log_prob(given, mask) + count * math.log(scale),
                plain.exact_log_prob(x, mask),
                **close,
            )
            torch.testing.assert_close(
                posterior_of(pair, given, mask), posterior_of(plain, x, mask), **close
            )
        torch.testing.assert_close(
            pair.conditional_mean(given, seen()) / scale - offset,
            plain.conditional_mean(x, seen()),
            **close,
        )
        draws = []
        for which, values in ((pair, given), (plain, x)):
            pyro.set_rng_seed(3)
            draws.append(which.conditional_sample(values, seen(), n=3))
        torch.testing.assert_close(draws[0] / scale - offset, draws[1], **close)
        weights = []
        for which, values in ((pair, given), (plain, x)):
            pyro.set_rng_seed(3)
            weights.append(particles(which, None, values, num_particles=3).log_weight)
        torch.testing.assert_close(weights[0] + D * math.log(scale), weights[1], **close)
        losses = []
        for which, values in ((pair, given), (plain, x)):
            pyro.set_rng_seed(3)
            losses.append(which.elbo().loss(which.model, which.guide, values))
        assert losses[0] - N * D * math.log(scale) == pytest.approx(
            losses[1], rel=close["rtol"], abs=N * close["atol"]
        )


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("offset", [0.0, 300.0])
@every_maker
def test_units_do_not_matter_in_float32_either(
    make: Callable[[Tensor, float], Pair], scale: float, offset: float
) -> None:
    given = in_units(scale, offset, torch.float32)
    x = as_rounded(scale, offset, torch.float32)
    plain, pair = make(x, 1.0), make(given, scale)
    close = {"rtol": 1e-3, "atol": 1e-3 + 3e-2 * (offset > 0)}
    with torch.no_grad():
        for mask in (None, seen()):
            count = D if mask is None else mask.sum(1).double()
            shifted = pair.exact_log_prob(given, mask) + count * math.log(scale)
            torch.testing.assert_close(shifted.double(), plain.exact_log_prob(x, mask), **close)
            torch.testing.assert_close(
                posterior_of(pair, given, mask).double(), posterior_of(plain, x, mask), **close
            )


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_floor_of_a_gaussian_mixture_follows_the_units(covariance: str) -> None:
    """Nobody gives one: pixels have 1e-3, and data of another size a share of their variance."""
    found = {}
    for scale in (1.0, 1e-6, 1e-9, 1e6, 1e9):
        x = in_units(scale, 0.0)
        gmm = GMM((D,), num_components=K, covariance=covariance).double()
        gmm.start_from(x)
        found[scale] = gmm.exact_log_prob(x).mean().item() + D * math.log(scale)
        rebuilt = GMM(**gmm.config()).double()
        rebuilt.load_state_dict(gmm.state_dict())
        assert torch.equal(rebuilt.exact_log_prob(x), gmm.exact_log_prob(x))
    for scale in (1e-6, 1e6, 1e9):
        assert found[scale] == pytest.approx(found[1e-9], abs=1e-6)
    assert found[1.0] == pytest.approx(found[1e-9], abs=0.5)  # its floor is 1e-3 as for pixels
    images = torch.rand(100, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    gmm = GMM((1, 3, 3), num_components=K, covariance=covariance)
    gmm.start_from(images)
    assert float(gmm.model.floor) == pytest.approx(1e-3)


@pytest.mark.parametrize("kind", ["global", "pixel", "decoder"])
@every_unit
def test_a_gaussian_decoder_started_from_data_has_their_units(
    kind: str, scale: float, offset: float
) -> None:
    x = in_units(scale, offset)
    options = {"scale": kind, "floor": 1e-3 * scale}
    vae = VAE(
        (D,),
        hidden=[4],
        latent_dim=2,
        likelihood="gaussian",
        likelihood_options=options,
        output_bias="data",
    ).double()
    vae.start_from(x)
    with torch.no_grad():
        vae.model.decoder.body[-1].weight.zero_()
        p_x = vae.decode({"z": torch.zeros(1, 2).double()})["x"]
        mean, sigma = p_x.mean[0] / scale - offset, p_x.variance[0].sqrt() / scale
    plain = as_rounded(scale, offset)
    spread = plain.var(0, correction=0)
    spread = (spread.mean().expand(D) if kind == "global" else spread).sqrt()
    close = tolerance(offset)
    torch.testing.assert_close(mean, plain.mean(0), **close)
    torch.testing.assert_close(sigma, spread, **close)


def test_outputs_of_a_mean_in_any_units() -> None:
    mean = torch.tensor([1e9, -1e-9, 0.0, 5e4], dtype=torch.float64)
    p_x = likelihood_named("gaussian", (4,), {"scale": "decoder", "floor": 1e-12}).double()
    p_x.start_at(torch.tensor([1e3, 1e-10, 0.0, 1.0], dtype=torch.float64))
    found = p_x(p_x.outputs_for(mean).unsqueeze(0))
    assert torch.equal(found.mean[0], mean)
    expected = torch.tensor([1e3, 1e-10, 1.01e-12, 1.0], dtype=torch.float64)
    torch.testing.assert_close(found.variance[0].sqrt(), expected, rtol=1e-9, atol=0)
