"""A guide that leaves a latent out, or has one of its own, is refused before the first step."""

import pyro
import pytest

from inference import evaluate, fit, particles
from pyro_models import Guide, Model, ModelAndGuide, UsageError, load_data
from pyro_models.likelihoods import Bernoulli
from pyro_models.networks import DenseDecoder, make_encoder
from pyro_models.priors import StandardNormal

SHAPE = (1, 8, 8)


class OneOrTwo(Model):
    def __init__(self, latents):
        super().__init__(Bernoulli(SHAPE))
        self.prior, self.latents = StandardNormal(3), latents
        self.decoder = DenseDecoder(3, [], (1, *SHAPE))

    def story(self, y):
        return self.decoder(sum(pyro.sample(name, self.prior()) for name in self.latents))


class Encoded(Guide):
    def __init__(self, latents):
        super().__init__(SHAPE)
        self.encoder, self.latents = make_encoder("dense", SHAPE, [8], 3), latents

    def story(self, x, y):
        for name in self.latents:
            pyro.sample(name.strip("*"), self.encoder(x), infer={"is_auxiliary": "*" in name})


class Pair(ModelAndGuide):
    def __init__(self, data_shape=SHAPE, *, latents, own):
        super().__init__(OneOrTwo(latents), Encoded(own))


def pair_of(model, guide):
    return Pair(latents=model, own=guide)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", preparation="threshold")


@pytest.mark.parametrize("objective", ["elbo", "iwae", "rws", "trace", "trace_mean_field"])
@pytest.mark.parametrize(
    ("latents", "line"),
    [
        ((["z", "w"], ["z"]), "the guide does not sample the latent 'w' of the model"),
        ((["z"], ["z", "v"]), "the guide samples 'v', and the model has no such site"),
    ],
)
def test_the_site_is_named_and_nothing_is_trained(latents, line, objective, digits, tmp_path):
    pair = pair_of(*latents)
    before = {name: value.clone() for name, value in pair.state_dict().items()}
    with pytest.raises(UsageError, match=f"^{line}.*\\Z"):
        fit(pair, digits, objective=objective, out=tmp_path / "run", progress=False)
    assert all((before[name] == value).all() for name, value in pair.state_dict().items())
    assert not (tmp_path / "run" / "run.json").exists()


def test_nor_is_it_weighed_or_evaluated(digits):
    pair = pair_of(["z", "w"], ["z"])
    with pytest.raises(UsageError, match="does not sample the latent 'w'"):
        particles(pair, None, digits.split("test").x[:2].round(), num_particles=3)
    with pytest.raises(UsageError, match="does not sample the latent 'w'"):
        evaluate(pair, digits, limit=2, num_particles=3)


@pytest.mark.parametrize("objective", ["iwae", "trace"])
def test_an_auxiliary_site_of_the_guide_may_stand_alone(objective, digits):
    pair = pair_of(["z"], ["z", "v*"])
    assert fit(pair, digits, objective=objective, epochs=1, progress=False).history.epochs
