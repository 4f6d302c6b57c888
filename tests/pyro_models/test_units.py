"""Gaussian pairs of data in any units: they start and learn as they would in others.

With x' = c x + d a density shifts by −D log c and nothing else changes. Data that are neither far
from 0 nor large nor tiny are left as they are.
"""

import math

import pyro
import pytest
import torch
from pyro.infer import SVI
from pyro.optim import Adam, ClippedAdam
from safetensors.torch import load_file, save_file
from torch.distributions import MultivariateNormal

from inference import Run, evaluate, fit
from inference.posterior import infer
from pyro_models import (
    CVAE,
    PPCA,
    VAE,
    CompletionCVAE,
    SemiSupervisedVAE,
    TwoLayerVAE,
    UsageError,
    load_data,
)
from pyro_models.units import Units, units_of

N, SHAPE = 40, (1, 4, 4)
D = math.prod(SHAPE)
REFERENCE = 100.0  # of these units, too, networks see values of ordinary size
UNITS = [(1e-9, 0.0), (1e9, 0.0), (1.0, 1e9), (1e-9, -1e9), (1e9, 1e9)]  # c, and d / c
EXTREME = pytest.mark.parametrize(("scale", "offset"), UNITS, ids=lambda v: f"{v:g}")


def images():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(N, 2, generator=generator, dtype=torch.float64)
    W = torch.randn(2, D, generator=generator, dtype=torch.float64)
    noise = torch.randn(N, D, generator=generator, dtype=torch.float64)
    return (z @ W + 0.3 * noise).unflatten(1, SHAPE)


def labels():
    return torch.arange(N) % 3


def gaussian(kind, floor=None):
    return {"likelihood": "gaussian", "likelihood_options": {"scale": kind, "floor": floor}}


def small(shape, kind, **options):
    return {
        "vae": lambda: VAE(shape, hidden=[8], **gaussian(kind), **options),
        "conv": lambda: VAE(shape, network="conv", hidden=[4], **gaussian(kind), **options),
        "cvae": lambda: CVAE(
            shape, num_classes=3, latent_dim=2, hidden=[8], **gaussian(kind), **options
        ),
        "m2": lambda: SemiSupervisedVAE(
            shape, num_classes=3, latent_dim=2, hidden=[8], **gaussian(kind), **options
        ),
        "two_layer": lambda: TwoLayerVAE(
            shape, latent_dims=[3, 2], hidden=[8], top_hidden=[4], **gaussian(kind), **options
        ),
        "completion": lambda: CompletionCVAE(
            shape, masks=["left"], latent_dim=2, hidden=[8], **gaussian(kind), **options
        ),
        "ppca": lambda: PPCA(shape, latent_dim=2),
        "ppca-linear": lambda: PPCA(shape, latent_dim=2, guide="linear"),
    }


FAMILIES = list(small(SHAPE, "global"))


def learned(family, x, *, kind="global", steps=20, mask=None, **options):
    """The bound of a pair as started, and after some steps of SVI, per datum."""
    pyro.set_rng_seed(0)
    pair = small(SHAPE, kind, **options)[family]().double()
    pair.start_from(x)
    y = labels() if pair.num_classes else None
    elbo = pair.elbo()
    svi = SVI(pair.model, pair.guide, Adam({"lr": 1e-2}), elbo)
    pyro.set_rng_seed(1)
    losses = [svi.step(x, y=y, mask=mask) for _ in range(steps)]
    return pair, -torch.tensor([losses[0], losses[-1]], dtype=torch.float64) / len(x)


def dimensions(family, mask):
    """How many values a density is of."""
    left = D // 2 if family == "completion" else 0
    return D - left if mask is None else int(mask.sum()) - left


@EXTREME
@pytest.mark.parametrize("family", FAMILIES)
def test_units_shift_the_bound_and_nothing_else(family, scale, offset):
    x = images()
    given = scale * (x + offset)
    rounded = given / scale - offset  # what is left of x in these units
    _, plain = learned(family, REFERENCE * rounded)
    _, bound = learned(family, given)
    shift = dimensions(family, None) * math.log(REFERENCE / scale)
    tolerance = 1e-6 if not offset else 2e-2
    torch.testing.assert_close(bound, plain + shift, rtol=0, atol=D * tolerance)
    assert bound[1] > bound[0] or family.startswith("ppca")


@pytest.mark.parametrize("output_bias", ["default", "data"])
@pytest.mark.parametrize("kind", ["pixel", "decoder"])
@pytest.mark.parametrize("family", ["vae", "conv"])
def test_every_kind_of_noise_is_in_units_of_the_data(family, kind, output_bias):
    x = images()
    options = {"kind": kind, "output_bias": output_bias}
    _, plain = learned(family, REFERENCE * x, **options)
    for scale in (1e-9, 1e9):
        _, bound = learned(family, scale * x, **options)
        shift = D * math.log(REFERENCE / scale)
        torch.testing.assert_close(bound, plain + shift, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_unseen_is_nothing_in_any_units(family):
    x, mask = images(), torch.rand(SHAPE, generator=torch.Generator().manual_seed(1)) < 0.7
    mask[..., :2] = True
    _, plain = learned(family, REFERENCE * x, mask=mask)
    for scale, offset, stands in ((1e9, 0.0, math.nan), (1e9, 300.0, -1.0)):
        holed = torch.where(mask, scale * (x + offset), stands)
        pair, _ = learned(family, scale * (x + offset), steps=1)
        y = labels() if pair.num_classes else None
        losses = []
        for values in (holed, scale * (x + offset)):
            pyro.set_rng_seed(1)
            losses.append(pair.elbo().loss(pair.model, pair.guide, values, y=y, mask=mask))
        assert losses[0] == losses[1]
        _, bound = learned(family, scale * (x + offset), mask=mask)
        shift = dimensions(family, mask) * math.log(REFERENCE / scale)
        torch.testing.assert_close(bound, plain + shift, rtol=0, atol=D * 1e-5)


@pytest.mark.parametrize("family", ["vae", "ppca", "ppca-linear"])
def test_columns_of_unlike_units_have_their_own(family):
    """A time stamp, a concentration and a distance side by side."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 3, generator=generator, dtype=torch.float64)
    factor = torch.tensor([1.0, 1e-5, 1e9], dtype=torch.float64)
    given = x * factor + torch.tensor([1.7e9, 0.0, 0.0], dtype=torch.float64)
    pyro.set_rng_seed(0)
    pair = {
        "vae": lambda: VAE((3,), hidden=[8], output_bias="data", **gaussian("pixel")),
        "ppca": lambda: PPCA((3,), latent_dim=2),
        "ppca-linear": lambda: PPCA((3,), latent_dim=2, guide="linear"),
    }[family]().double()
    pair.start_from(given)
    with torch.no_grad():
        bound = -pair.elbo().loss(pair.model, pair.guide, given) / len(x)
    if family == "vae":  # about that of independent Normals
        entropy = 1.5 * (1 + math.log(2 * math.pi)) + float(factor.log().sum())
        assert -entropy - 10 < bound < -entropy + 1
    assert math.isfinite(bound)


@pytest.mark.parametrize(("scale", "offset"), [(1e9, 0.0), (1e-9, 0.0), (1.0, 1e6)])
def test_fit_and_infer_hold(scale, offset):
    """One learning rate for all; the same nats per datum, once the units are taken off."""
    x = images().flatten(1)
    given = scale * (x + offset)
    data = load_data(given.numpy())
    pyro.set_rng_seed(0)
    vae = VAE((D,), hidden=[16], latent_dim=2, output_bias="data", **gaussian("global")).double()
    fit(vae, data, epochs=100, batch_size=10, lr=1e-2, progress=False)
    found = evaluate(vae, data, split="train").scores["elbo"].value + D * math.log(scale)
    assert -25 < found < 0
    posterior = infer(vae, given[:4], guide="normal")
    mean = vae.decode({"z": posterior.sample(50)["z"]})["x"].mean.mean(0)
    error = (mean / scale - offset - x[:4]).square().mean().sqrt()
    assert float(error.detach()) < 1.0


def test_ppca_by_svi_reaches_its_closed_form_in_any_units():
    x = images()[:, 0, 0]
    best = PPCA.maximum_likelihood(x, latent_dim=2)
    for scale, offset in ((1.0, 0.0), (1e-9, 0.0), (1e9, 1e3)):
        given = scale * (x + offset)
        pyro.set_rng_seed(0)
        pair = PPCA((4,), latent_dim=2).double()
        pair.start_from(given)
        svi = SVI(pair.model, pair.guide, ClippedAdam({"lr": 3e-2, "lrd": 0.995}), pair.elbo())
        for _ in range(1000):
            svi.step(given)
        with torch.no_grad():
            gap = best.exact_log_prob(x) - pair.exact_log_prob(given) - 4 * math.log(scale)
            assert float(gap.mean()) < 0.05
            loc, sigma = pair.model.loc / scale - offset, pair.model.sigma / scale
            loadings = pair.model.loadings / scale
            covariance = loadings @ loadings.T + sigma.square() * torch.eye(4)
            wanted = MultivariateNormal(loc, covariance).log_prob(x)
            torch.testing.assert_close(pair.exact_log_prob(given) + 4 * math.log(scale), wanted)


def test_data_of_ordinary_size_stay_as_they_are():
    for x in (torch.rand(50, *SHAPE), torch.randn(50, 6), 3 + torch.randn(50, 6)):
        centre, scale = units_of(x)
        assert not centre.any()
        assert (scale == 1).all()
    assert VAE(SHAPE, **gaussian("global")).started
    assert VAE((6,), likelihood="bernoulli").started
    vae = VAE((6,), hidden=[8], **gaussian("global"))
    assert not vae.started
    assert vae.start_from(torch.rand(50, 6)) == ""
    assert vae.started
    assert all(m.as_they_are for m in vae.modules() if isinstance(m, Units))


def test_units_are_stored_and_older_weights_have_none():
    x = 1e6 * images()
    pair, _ = learned("vae", x, steps=1)
    again = VAE(**pair.config()).double()
    again.load_state_dict(pair.state_dict())
    older = {k: v for k, v in pair.state_dict().items() if "units" not in k}
    before = VAE(**pair.config()).double()
    before.load_state_dict(older)
    losses = []
    for which in (pair, again):
        pyro.set_rng_seed(0)
        losses.append(which.elbo().loss(which.model, which.guide, x))
    assert losses[0] == losses[1]
    assert all(m.as_they_are for m in before.modules() if isinstance(m, Units))


def test_a_constant_column_and_constant_data_have_a_unit():
    x = torch.zeros(10, 3, dtype=torch.float64)
    x[:, 0] = 1e9 * torch.arange(10)
    centre, scale = units_of(x)
    assert bool((scale > 0).all())
    torch.testing.assert_close(centre, x.mean(0))
    assert bool((units_of(torch.full((5, 2), 3e9))[1] > 0).all())
    assert bool((units_of(torch.zeros(5, 2))[1] > 0).all())


def test_a_run_of_before_there_were_units_loads(tmp_path):
    data = load_data(images().flatten(1).numpy())
    pair = VAE((D,), hidden=[8], **gaussian("global"))
    fit(pair, data, epochs=1, out=tmp_path / "run", progress=False)
    weights = tmp_path / "run" / "weights.safetensors"
    older = {k: v for k, v in load_file(weights).items() if "units" not in k}
    save_file(older, weights)
    found = Run(tmp_path / "run").load_pair()
    assert all(torch.equal(v, pair.state_dict()[k]) for k, v in found.state_dict().items())
    save_file({k: v for k, v in older.items() if "decoder" not in k}, weights)
    with pytest.raises(UsageError, match="the weights of another pair"):
        Run(tmp_path / "run").load_pair()
