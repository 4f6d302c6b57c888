"""A mistake in a class of one's own is one line that says whose it is, at the command line too."""

import numpy as np
import pytest
import torch
from torch import nn

from inference import Experiment, fit
from inference.cli import main
from pyro_models import UsageError, build, load_data
from pyro_models.likelihoods import Beta, likelihood_for
from pyro_models.likelihoods.likelihood import Likelihood

HEAD = """
import pyro
import pyro.distributions as dist
import torch
from torch import nn
from pyro_models import Guide, Model, ModelAndGuide
from pyro_models.likelihoods import Bernoulli
from pyro_models.networks import DenseDecoder, make_encoder
from pyro_models.priors import StandardNormal

class M(Model):
    def __init__(self, data_shape):
        super().__init__(Bernoulli(data_shape))
        self.prior = StandardNormal(2)
        self.decoder = DenseDecoder(2, [], (1, *data_shape))
    def story(self, y):
        STORY

class G(Guide):
    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.encoder = make_encoder("dense", data_shape, [8], 2)
    def story(self, x, y):
        pyro.sample("z", self.encoder(x))

class Own(ModelAndGuide):
    def __init__(self, data_shape):
        super().__init__(M(data_shape), G(data_shape))

class Needs(Own):
    def __init__(self, data_shape, latent_dim):
        super().__init__(data_shape)

class Bare(ModelAndGuide):
    pass
"""
STORIES = {
    "nothing returned": 'self.decoder(pyro.sample("z", self.prior()))',
    "flat": 'return self.decoder(pyro.sample("z", self.prior())).flatten(1)[:, :5]',
    "no event": 'return self.decoder(pyro.sample("z", dist.Normal(torch.zeros(2), 1.0)))',
    "a division by zero": "return 1 / 0",
}


@pytest.mark.parametrize("what", STORIES)
def test_a_mistake_in_a_story_is_one_line(what, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(HEAD.replace("STORY", STORIES[what]))
    assert main(["train", "--model", "own.py:Own", "--epochs", "1", "--out", "run"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert [line.startswith("pyro-models: error: ") for line in lines[-1:]] == [True]
    assert "Traceback" not in "".join(lines)
    assert "Own" in lines[-1]
    assert not (tmp_path / "run" / "weights.safetensors").exists()


@pytest.mark.parametrize("name", ["Needs", "Bare"])
def test_a_class_that_cannot_be_made_is_one_line(name, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(HEAD.replace("STORY", STORIES["nothing returned"]))
    with pytest.raises(UsageError, match=name):
        build(f"{file}:{name}", (1, 8, 8))


def test_a_likelihood_that_does_not_say_what_it_is_is_one_line():
    class Nameless(Likelihood):
        preparation = "grey"

    class Unmeasured(Likelihood):
        name, preparation = "unmeasured", "grey"

    with pytest.raises(UsageError, match="the likelihood Nameless lacks name: what it is called"):
        likelihood_for(Nameless, (4,))
    with pytest.raises(UsageError, match="the likelihood unmeasured lacks a measure"):
        likelihood_for(Unmeasured, (4,))


def test_an_experiment_with_a_class_is_kept_and_one_with_a_function_is_not_mistaken(tmp_path):
    small = Experiment("vae", "digits", options={"hidden": [4], "likelihood": Beta})
    small = small.replace(epochs=1, curve_size=0)
    small.run(out=tmp_path / "class", progress=False)
    assert Experiment.load(tmp_path / "class") == small
    assert small.to_dict()["options"]["likelihood"] == "beta"
    own = small.replace(objective=lambda p: p.log_weight.mean(0))
    own.run(out=tmp_path / "function", progress=False)
    with pytest.raises(UsageError, match="was an object, <lambda>: build the experiment yourself"):
        Experiment.load(tmp_path / "function")
    with pytest.raises(UsageError, match="the option likelihood of this experiment is an object"):
        small.replace(options={"likelihood": Beta((1, 8, 8))}).to_dict()


def test_pixels_of_few_levels_are_told_what_to_do():
    x = np.arange(17.0).reshape(1, 1, 17).repeat(20, 0).repeat(2, 1)
    with pytest.raises(UsageError, match="of whole numbers up to 16 give x / 16"):
        load_data(x)
    with pytest.raises(UsageError, match="a name goes with an array; a tuple brings its own"):
        load_data((x, x), name="mine")


def test_a_pair_of_ours_raises_as_it_did():
    data = load_data("digits")
    with pytest.raises(UsageError, match="pixels that are 0 or 1"):
        fit(build("vae", (1, 8, 8), likelihood="bernoulli"), data, epochs=1, progress=False)


class Shrugs(nn.Module):
    """An encoder, or a decoder, that returns what is asked for."""

    def __init__(self, returned):
        super().__init__()
        self.returned = returned
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.weight + self.returned


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (torch.zeros(2, 64), r"returned \(2, 64\): it returns .*, here \(2, 1, 1, 8, 8\)"),
        (torch.full((2, 1, 1, 8, 8), torch.nan), "returned values that are not finite"),
        (torch.zeros(3, 1, 1, 8, 8), r"returned \(3, 1, 1, 8, 8\): it returns .*"),
    ],
)
def test_a_decoder_of_ones_own_is_asked_once(returned, said):
    for name in ("vae", "generator"):
        with pytest.raises(UsageError, match=rf"^the decoder Shrugs of z \(2, 2\) {said}\Z"):
            build(name, (1, 8, 8), latent_dim=2, hidden=[8], decoder=Shrugs(returned))


def test_an_encoder_of_ones_own_that_returns_no_distribution_is_one_line():
    pair = build("vae", (1, 8, 8), latent_dim=2, hidden=[8], encoder=Shrugs(0.0))
    with pytest.raises(UsageError, match=r"^a step of VAE cannot be computed .*\Z"):
        fit(pair, load_data("digits"), epochs=1, progress=False)
