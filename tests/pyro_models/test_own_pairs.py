"""Pairs of a user's own do all that ours do."""

from __future__ import annotations

import copy
import sys
from typing import TYPE_CHECKING

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from inference import Run, evaluate, fit, generate, latent_means, reconstruct
from inference.cli import main
from inference.posterior import posterior_sites
from pyro_models import VAE, Guide, Model, ModelAndGuide, UsageError, build, load_data
from pyro_models.likelihoods import Bernoulli, Likelihood
from pyro_models.models import EmptyGuide
from pyro_models.networks import DenseDecoder, make_encoder
from pyro_models.priors import StandardNormal

if TYPE_CHECKING:
    from collections.abc import Sequence as KnownToTypeCheckersAlone

SHAPE = (1, 8, 8)


@pytest.fixture
def data():
    return load_data("digits", preparation="threshold")


@pytest.fixture
def x(data):
    return data.prepared("test", limit=6).x


class Encoding(Guide):
    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.encoder = make_encoder("dense", data_shape, [8], 2)

    def story(self, x, y):
        pyro.sample("z", self.encoder(x))


def beside(a, b):
    batch = torch.broadcast_shapes(a.shape[:-1], b.shape[:-1])
    return torch.cat([a.expand(*batch, -1), b.expand(*batch, -1)], -1)


class KindModel(Model):
    """A kind k, and z: one network of both."""

    def __init__(self, data_shape):
        super().__init__(Bernoulli(data_shape))
        self.prior = StandardNormal(2)
        self.logits = nn.Parameter(torch.tensor([0.5, 0.0, -1.0]))
        self.of_kind = nn.Parameter(torch.randn(3, 2))
        self.decoder = DenseDecoder(4, [], (1, *data_shape))

    def story(self, y):
        k = pyro.sample("k", dist.Categorical(logits=self.logits), infer={"enumerate": "parallel"})
        return self.decoder(beside(self.of_kind[k], pyro.sample("z", self.prior())))


class Kinds(ModelAndGuide):
    def __init__(self, data_shape: KnownToTypeCheckersAlone[int], *, tag: str = "") -> None:
        super().__init__(KindModel(data_shape), Encoding(data_shape))


class CoinsModel(KindModel):
    def story(self, y):
        k = pyro.sample("k", dist.Categorical(logits=self.logits), infer={"enumerate": "parallel"})
        e = self.of_kind[k]
        return self.decoder(beside(e, torch.zeros_like(e)))


class Coins(ModelAndGuide):
    def __init__(self, data_shape):
        super().__init__(CoinsModel(data_shape), EmptyGuide())


def log_joint(model, x, z):
    """log p(k) p(x | z, k), (B, 3), by hand; and E[x | z, k], (B, 3, 64)."""
    e = model.of_kind.expand(len(x), 3, 2)
    logits = model.decoder(torch.cat([e, z[:, None].expand(-1, 3, -1)], -1)).flatten(2)
    log_p_x = dist.Bernoulli(logits=logits).log_prob(x.flatten(1)[:, None]).sum(-1)
    return model.logits.log_softmax(0) + log_p_x, logits.sigmoid()


def test_a_site_left_to_enumeration_is_drawn_and_averaged_given_the_others(data, x):
    torch.manual_seed(0)
    pair = Kinds(SHAPE)
    fit(pair, data, epochs=1, lr=1e-2, progress=False)
    assert {"elbo", "log_likelihood", "mse_mean"} <= set(
        evaluate(pair, data, num_particles=3, limit=9).scores
    )
    z = pair.guide.encoder(x).mean
    joint, images = log_joint(pair.model, x, z)
    expected = (joint.softmax(-1)[..., None] * images).sum(1).reshape(x.shape)
    torch.testing.assert_close(reconstruct(pair, x, latents="mean"), expected)
    torch.testing.assert_close(latent_means(pair, x), z)
    assert reconstruct(pair, x).shape == x.shape
    with pytest.raises(UsageError, match="the guide has no site 'k'"):
        posterior_sites(pair, x)


def test_the_posterior_of_a_site_that_is_alone_is_found_by_enumeration(data, x):
    torch.manual_seed(0)
    pair = Coins(SHAPE)
    fit(pair, data, epochs=1, lr=1e-2, progress=False)
    joint, images = log_joint(pair.model, x, torch.zeros(len(x), 2))
    torch.testing.assert_close(posterior_sites(pair, x)["k"].probs, joint.softmax(-1))
    expected = (joint.softmax(-1)[..., None] * images).sum(1).reshape(x.shape)
    torch.testing.assert_close(reconstruct(pair, x, latents="mean"), expected)
    assert evaluate(pair, data, num_particles=2, limit=9).scores["elbo"].value < 0


class NormedModel(Model):
    def __init__(self, data_shape):
        super().__init__(Bernoulli(data_shape))
        self.prior = StandardNormal(2)
        self.decoder = nn.Sequential(
            nn.Linear(2, 9), nn.BatchNorm1d(9), nn.Dropout(), nn.Linear(9, 64)
        )

    def story(self, y):
        z = pyro.sample("z", self.prior())
        return self.decoder(z.reshape(-1, 2)).reshape(*z.shape[:-1], 1, *self.data_shape)


class Normed(ModelAndGuide):
    def __init__(self, data_shape):
        super().__init__(NormedModel(data_shape), Encoding(data_shape))


def test_networks_that_behave_otherwise_in_training_are_asked_as_trained(x):
    pair = Normed(SHAPE)
    before = copy.deepcopy(pair.state_dict())
    first, second = (reconstruct(pair, x, latents="mean") for _ in range(2))
    assert torch.equal(first, second)
    assert pair.training
    assert all(torch.equal(v, before[k]) for k, v in pair.state_dict().items())
    assert torch.equal(generate(pair, n=2), generate(copy.deepcopy(pair), n=2))


class LabelModel(Model):
    def __init__(self, data_shape, num_classes):
        super().__init__(Bernoulli(data_shape), num_classes=num_classes)
        self.prior = StandardNormal(2)
        self.of_label = nn.Embedding(num_classes, 2)
        self.decoder = DenseDecoder(4, [], (1, *data_shape))

    def story(self, y):
        return self.decoder(beside(self.of_label(y), pyro.sample("z", self.prior())))


class Labelled(ModelAndGuide):
    def __init__(self, data_shape, *, num_classes: int) -> None:
        super().__init__(LabelModel(data_shape, num_classes), Encoding(data_shape))


def test_a_step_of_a_pair_with_labels_is_captured_and_the_numbers_are_the_same(data):
    def trained(capture):
        torch.manual_seed(0)
        options = {"objective": "iwae", "objective_options": {"num_particles": 2}}
        pair = Labelled(SHAPE, num_classes=10)
        return fit(pair, data, epochs=1, capture=capture, progress=False, **options)

    one, other = (trained(capture).history.epochs[-1].train for capture in (True, False))
    assert one == pytest.approx(other, rel=1e-6)


class Learned(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(size))

    def forward(self):
        return dist.Normal(self.loc, 1.0).to_event(1)


class Decided(VAE):
    """It decides some options of its family itself."""

    def __init__(self, data_shape, *, wide: int = 3, latent_dim: int = 2, **options):
        prior = Learned(latent_dim)
        super().__init__(
            data_shape, latent_dim=latent_dim, hidden=[wide], prior=prior, output_bias="data",
            likelihood="gaussian", **options,
        )  # fmt: skip


class Further(Decided):
    def __init__(self, data_shape, *, depth: int = 2, **options):
        super().__init__(data_shape, wide=2 * depth, **options)


class Tagged:
    def __init__(self, *args, tag: str = "none", **options):
        super().__init__(*args, **options)
        self.tag = tag


class TaggedVAE(Tagged, VAE):
    pass


class OtherTagged(Tagged, Further):
    def __init__(self, data_shape, *, more: int = 1, **options):
        super().__init__(data_shape, **options)


def test_a_family_that_decides_options_of_the_one_it_builds_on_is_rebuilt(data, tmp_path):
    pair = Further(SHAPE, depth=3, activation="tanh")
    assert (pair.hidden, pair.wide, pair.output_bias) == ((6,), 6, "data")
    config = pair.config()
    assert config["depth"] == 3
    assert config["activation"] == "tanh"
    assert config["latent_dim"] == 2
    assert not {"hidden", "wide", "prior", "output_bias", "likelihood"} & set(config)
    fit(pair, data, epochs=1, progress=False, out=tmp_path / "run")
    assert bool(pair.bias_set)
    again = Run(tmp_path / "run").load_pair(model=Further)
    assert str(again) == str(pair)
    assert again.config() == config
    with pytest.raises(UsageError, match="decides one of these itself"):
        build(Further, SHAPE, hidden=[4])


@pytest.mark.parametrize(("cls", "given"), [(TaggedVAE, {}), (OtherTagged, {"more": 3})])
def test_options_of_what_is_mixed_in_are_kept(cls, given):
    pair = cls(SHAPE, tag="mine", latent_dim=3, **given)
    assert (pair.tag, pair.latent_dim) == ("mine", 3)
    assert {"tag": "mine", "latent_dim": 3, **given}.items() <= pair.config().items()
    again = copy.deepcopy(cls(**pair.config()))
    assert again.config() == pair.config()
    assert str(again) == str(pair)
    with pytest.raises(TypeError, match=f"{cls.__name__}: .*unexpected keyword argument 'hiden'"):
        cls(SHAPE, hiden=[3])


class Laplace(Likelihood):
    name = "own"
    measure = "Lebesgue"
    preparation = "grey"

    def pixels(self, outputs):
        return dist.Laplace(outputs[..., 0, :, :, :], 0.3)


def test_a_likelihood_without_a_name_is_said_before_anything_is_trained(tmp_path):
    pair = VAE(SHAPE, hidden=[8], likelihood=Laplace)
    with pytest.raises(UsageError, match=r"likelihood of this VAE is an object \(Laplace\)"):
        fit(pair, load_data("digits"), epochs=1, progress=False, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert type(VAE(**pair.config()).likelihood) is Laplace


FILE = """
import pyro
from sizes_beside import WIDE
from pyro_models import VAE as Ours

class VAE(Ours):
    def __init__(self, data_shape, **options):
        super().__init__(data_shape, hidden=[WIDE], likelihood="bernoulli", **options)
"""


def test_a_file_imports_what_lies_beside_it_from_anywhere(tmp_path, monkeypatch, capsys):
    models, elsewhere = tmp_path / "models", tmp_path / "elsewhere"
    models.mkdir()
    elsewhere.mkdir()
    (models / "sizes_beside.py").write_text("WIDE = 7\n")
    (models / "mine.py").write_text(FILE)
    monkeypatch.chdir(elsewhere)
    before = list(sys.path)
    options = ["--epochs", "1", "--progress", "false"]
    assert main(["train", "--model", "../models/mine.py:VAE", *options]) == 0
    assert sys.path == before
    run = elsewhere / "runs" / "VAE-digits"  # nothing is written beside the file
    pair = Run(run).load_pair()
    assert pair.hidden == (7,)
    assert type(pair) is not VAE
    assert sorted(p.name for p in models.iterdir() if p.suffix) == ["mine.py", "sizes_beside.py"]
    for text, line in (
        ("def broken(:", "cannot be run (SyntaxError"),
        ("raise SystemExit(3)", "cannot be run (SystemExit: 3)"),
    ):
        (models / "mine.py").write_text(text)
        capsys.readouterr()
        assert main(["evaluate", str(run)]) == 2
        error = capsys.readouterr().err
        assert line in error
        assert "damaged" not in error
    (models / "mine.py").unlink()
    assert main(["evaluate", str(run)]) == 2  # and is not taken for our own VAE
    assert "mine.py, which is not there" in capsys.readouterr().err
