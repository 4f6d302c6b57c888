"""Names, classes and instances stand for the same thing, wherever something can be swapped."""

import copy
import json

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from inference import Run, evaluate, fit
from inference.cli import main
from pyro_models import CVAE, VAE, SemiSupervisedVAE, TwoLayerVAE, UsageError, build, load_data
from pyro_models.likelihoods import Beta, Gaussian, Likelihood, likelihood_for
from pyro_models.models import PAIRS, name_of
from pyro_models.networks import Architecture, DenseDecoder, DenseFeatures
from pyro_models.registry import Registry, UnknownNameError

SHAPE = (1, 8, 8)
PAIR = """
import pyro
from torch import nn
from pyro_models import Guide, Model, ModelAndGuide
from pyro_models.likelihoods import Bernoulli
from pyro_models.networks import DenseDecoder, make_encoder
from pyro_models.priors import StandardNormal

class FactorModel(Model):
    def __init__(self, data_shape, latent_dim):
        super().__init__(Bernoulli(data_shape))
        self.prior = StandardNormal(latent_dim)
        self.decoder = DenseDecoder(latent_dim, [], (1, *data_shape))
    def story(self, y):
        return self.decoder(pyro.sample("z", self.prior()))

class FactorGuide(Guide):
    def __init__(self, data_shape, latent_dim):
        super().__init__(data_shape)
        self.encoder = make_encoder("dense", data_shape, [8], latent_dim)
    def story(self, x, y):
        pyro.sample("z", self.encoder(x))

class Factors(ModelAndGuide):
    def __init__(self, data_shape, *, latent_dim: int = 5):
        super().__init__(FactorModel(data_shape, latent_dim), FactorGuide(data_shape, latent_dim))
"""


def loss(pair, x, y=None):
    pyro.set_rng_seed(1)
    return pair.elbo().loss(pair.model, pair.guide, x, y=y)


@pytest.fixture
def x():
    return load_data("digits", preparation="threshold").prepared("test", limit=6).x


def seeded(make):
    pyro.set_rng_seed(0)
    return make()


@pytest.mark.parametrize(
    "likelihood", ["beta", Beta, lambda: Beta(SHAPE)], ids=["name", "class", "instance"]
)
def test_a_likelihood_is_a_name_a_class_or_an_instance(likelihood, x):
    given = likelihood() if not isinstance(likelihood, str | type) else likelihood
    pair = seeded(lambda: VAE(SHAPE, hidden=[8], likelihood=given))
    named = seeded(lambda: VAE(SHAPE, hidden=[8], likelihood="beta"))
    assert loss(pair, x) == loss(named, x)
    assert pair.config() == named.config()
    assert type(VAE(**pair.config()).likelihood) is Beta


def test_a_likelihood_for_other_data_or_with_options_twice_is_one_line():
    with pytest.raises(UsageError, match=r"is for data of shape \(4,\), not \(1, 8, 8\)"):
        VAE(SHAPE, likelihood=Beta((4,)))
    with pytest.raises(UsageError, match="is given with its options: leave out scale"):
        VAE(SHAPE, likelihood=Gaussian(SHAPE), likelihood_options={"scale": 0.1})
    with pytest.raises(UsageError, match="a likelihood is a name, a class or an instance"):
        VAE(SHAPE, likelihood=nn.Linear)


def test_encoder_and_decoder_may_be_modules(x):
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 4)

        def forward(self, x):
            loc, raw = self.linear(x.flatten(1)).chunk(2, -1)
            return dist.Normal(loc, raw.exp()).to_event(1)

    decoder = DenseDecoder(2, [5], (1, *SHAPE), "tanh")
    pair = VAE(SHAPE, latent_dim=2, encoder=Encoder(), decoder=decoder, output_bias="data")
    assert pair.model.decoder is decoder
    data = load_data("digits")
    before = pair.guide.encoder.linear.weight.detach().clone()
    fit(pair, data, epochs=1, progress=False)
    assert not torch.equal(pair.guide.encoder.linear.weight, before)
    assert evaluate(pair, data, num_particles=2).scores["elbo"].value < 0
    assert loss(copy.deepcopy(pair), x) == loss(pair, x)
    again = VAE(**pair.config())
    assert loss(again, x) == loss(pair, x)


def test_what_no_run_folder_can_hold_is_said_before_anything_is_written(tmp_path):
    pair = VAE(SHAPE, latent_dim=2, decoder=DenseDecoder(2, [], (1, *SHAPE)))
    with pytest.raises(UsageError, match=r"decoder of this VAE is an object \(DenseDecoder\)"):
        fit(pair, load_data("digits"), epochs=1, progress=False, out=tmp_path / "run")


def test_a_decoder_that_cannot_start_at_the_mean_is_one_line():
    decoder = nn.Sequential(nn.Linear(2, 64), nn.Unflatten(1, (1, *SHAPE)))
    pair = VAE(SHAPE, latent_dim=2, decoder=decoder, output_bias="data")
    with pytest.raises(UsageError, match="the decoder Sequential cannot start at the mean"):
        pair.start_from(torch.rand(5, *SHAPE))


def test_networks_and_activations_of_ones_own(x):
    def features(data_shape, hidden, context, activation):
        return DenseFeatures(data_shape, [3], context, activation)

    own = Architecture(features, DenseDecoder)
    for make, y in (
        (lambda: VAE(SHAPE, network=own, activation=nn.ELU), None),
        (lambda: CVAE(SHAPE, num_classes=10, network=own, activation=nn.ELU), torch.arange(6)),
        (lambda: SemiSupervisedVAE(SHAPE, num_classes=10, network=own), torch.arange(6)),
        (lambda: TwoLayerVAE(SHAPE, latent_dims=[3, 2], network=own), None),
    ):
        pair = make()
        assert pair.guide.encoder.features.out_features == 3
        assert loss(pair, x, y) > 0


def test_a_prior_of_ones_own_is_the_one_that_is_sampled_and_scored(x):
    class Narrow(nn.Module):
        def forward(self):
            return dist.Normal(torch.zeros(2), 1e-3 * torch.ones(2)).to_event(1)

    pair = seeded(lambda: VAE(SHAPE, latent_dim=2, hidden=[8], prior=Narrow()))
    wide = seeded(lambda: VAE(SHAPE, latent_dim=2, hidden=[8]))
    assert loss(pair, x) > loss(wide, x) + 1e4
    pyro.set_rng_seed(0)
    assert (
        float(pyro.poutine.trace(pair.model).get_trace(n=9).nodes["z"]["value"].abs().max()) < 0.1
    )


def test_a_pair_in_a_file_is_trained_kept_and_loaded_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(PAIR)
    options = ["--options.latent_dim", "3", "--epochs", "1", "--out", "run"]
    assert main(["train", "--model", "mine.py:Factors", *options]) == 0
    assert main(["evaluate", "run", "--num_particles", "2"]) == 0
    assert "log_likelihood" in capsys.readouterr().out
    pair = Run("run").load_pair()
    assert pair.latent_dim == 3
    assert name_of(pair) == f"{tmp_path / 'mine.py'}:Factors"
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["config"] == {"data_shape": [1, 8, 8], "latent_dim": 3}
    (tmp_path / "mine.py").rename(tmp_path / "moved.py")
    assert main(["evaluate", "run"]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "mine.py, which is not there: register it" in line
    assert type(Run("run").load_pair(model=type(pair))) is type(pair)
    PAIRS.register("mine", type(pair))
    try:
        assert type(Run("run").load_pair()) is type(pair)
    finally:
        del PAIRS["mine"]


def test_code_that_comes_with_a_run_folder_is_not_run(tmp_path):
    run = tmp_path / "run"
    (tmp_path / "mine.py").write_text(PAIR)
    pair = build(f"{tmp_path / 'mine.py'}:Factors", SHAPE)
    fit(pair, load_data("digits", preparation="threshold"), epochs=1, progress=False, out=run)
    (run / "evil.py").write_text("raise SystemExit('run')")
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "model": f"{run / 'evil.py'}:Factors"}))
    with pytest.raises(UsageError, match="code from there is never run"):
        Run(run).load_pair()


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        ("", "Factors", "has no 'Factors'; it has no class"),
        ("1/0", "X", r"cannot be run \(ZeroDivisionError: division by zero\)"),
        ("def f(:", "X", r"cannot be run \(SyntaxError: "),
        ("class Thing: ...", "Thing", "Thing cannot be made of data_shape and options"),
        ("Thing = 3", "Thing", "a model is a name or a class; got 3"),
    ],
)
def test_a_file_without_a_pair_is_one_line(content, name, said, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(content)
    with pytest.raises(UsageError, match=said):
        build(f"{file}:{name}", SHAPE)


def test_a_file_is_read_again_once_it_has_changed(tmp_path):
    things = Registry("thing", {})
    file = tmp_path / "mine.py"
    for value in (1, 2):
        file.write_text(f"class A:\n    value = {value}\n")
        assert things[f"{file}:A"].value == value
        assert things[f"{file}:A"] is things[f"{file}:A"]


def test_a_registry_is_a_mapping_that_refuses_a_name_twice():
    numbers = Registry("number", {"one": 1}, hint="a number")
    numbers.register("two", 2)
    assert dict(numbers) == {"one": 1, "two": 2}
    assert numbers.register("two", 2) == 2
    assert numbers.help() == "one or two"
    with pytest.raises(UsageError, match="there is a number 'two' already: choose another name"):
        numbers.register("two", 3)
    with pytest.raises(UnknownNameError) as error:
        numbers.check("three")
    assert str(error.value) == "unknown number 'three': choose from one, two, or a number"
    assert numbers.get("three") is None
    assert "three" not in numbers


def test_a_likelihood_of_ones_own_is_registered_and_asked_for_by_name():
    class Unit(Gaussian):
        name = "unit"

        def __init__(self, data_shape):
            super().__init__(data_shape, scale=1.0)

        def config(self):
            return {}

    from pyro_models.likelihoods import LIKELIHOODS

    LIKELIHOODS.register("unit", Unit)
    try:
        pair = VAE(SHAPE, hidden=[8], likelihood="unit")
        assert isinstance(pair.likelihood, Likelihood)
        assert type(VAE(**pair.config()).likelihood) is Unit
        assert likelihood_for(Unit, SHAPE).name == "unit"
    finally:
        del LIKELIHOODS["unit"]


def test_a_family_built_on_another_hands_its_options_on():
    class Loud(VAE):
        def __init__(self, *args, volume: int = 11, **options):
            super().__init__(*args, **options)

    class Louder(Loud):
        """Has no constructor of its own."""

    for family in (Loud, Louder):
        pair = family(SHAPE, hidden=[8], latent_dim=3, volume=12)
        assert (pair.volume, pair.latent_dim, pair.hidden) == (12, 3, (8,))
        again = family(**pair.config())
        assert again.config() == pair.config()
        again.load_state_dict(pair.state_dict())
    with pytest.raises(TypeError, match="Loud: got an unexpected keyword argument 'colour'"):
        Loud(SHAPE, colour=1)
    with pytest.raises(UsageError, match=r"has no option colour; it has .*volume.*latent_dim"):
        build(Loud, SHAPE, colour=1)


def test_sites_are_found_without_a_trace_of_it(x):
    decoder = nn.Sequential(nn.Linear(2, 64), nn.BatchNorm1d(64), nn.Unflatten(1, (1, *SHAPE)))
    pair = VAE(SHAPE, latent_dim=2, hidden=[8], decoder=decoder)
    before = copy.deepcopy(pair.state_dict())
    state = torch.get_rng_state()
    assert list(pair.latent_sites) == ["z"]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in pair.state_dict().items())
    assert all(part.training for part in pair.modules())


def test_what_was_probably_meant_is_said():
    with pytest.raises(UnknownNameError, match=r"unknown model 'veae': .*; did you mean vae\?$"):
        build("veae", SHAPE)
    with pytest.raises(UsageError, match=r"no option latent_dims; .*did you mean latent_dim\?$"):
        build("vae", SHAPE, latent_dims=3)
