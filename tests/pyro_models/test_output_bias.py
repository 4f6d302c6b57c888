"""The output bias: decoders that start at the mean of the data."""

import pytest
import torch

from inference import fit
from pyro_models import CVAE, VAE, UsageError, load_data
from pyro_models.likelihoods import LIKELIHOODS

NETWORKS = [{"network": "dense", "hidden": [16]}, {"network": "conv", "hidden": [4, 8]}]


@pytest.mark.parametrize("options", NETWORKS)
@pytest.mark.parametrize("likelihood", [name for name in LIKELIHOODS if name != "bernoulli"])
def test_the_decoded_image_of_no_signal_is_the_mean_of_the_data(options, likelihood):
    x = load_data("digits").split("train").x
    vae = VAE(x.shape[1:], latent_dim=2, likelihood=likelihood, output_bias="data", **options)
    assert not vae.started
    assert vae.start_from(x) == "output bias from the mean of the data"
    assert vae.started
    last = vae.model.decoder.body[-1]
    with torch.no_grad():
        last.weight.zero_()
        image = vae.decode({"z": torch.randn(3, 2)})["x"].mean
    dense = options["network"] == "dense"
    mean = x.mean(0) if dense else x.mean().expand_as(x[0])
    torch.testing.assert_close(image, mean.clamp(1e-3).expand_as(image), atol=2e-3, rtol=0)


@pytest.mark.parametrize("family", [VAE, CVAE])
def test_fit_starts_once_and_says_so(family):
    data = load_data("digits")
    classes = {"num_classes": 10} if family is CVAE else {}
    pair = family(data.data_shape, hidden=[8], output_bias="data", **classes)
    first = fit(pair, data, epochs=1, progress=False)
    assert first.history.start == "output bias from the mean of the data"
    bias = pair.model.decoder.body[-1].bias.detach().clone()
    again = fit(pair, data, epochs=1, lr=1e-9, progress=False)
    assert again.history.start is None
    torch.testing.assert_close(pair.model.decoder.body[-1].bias.detach(), bias)
    rebuilt = type(pair)(**pair.config())
    rebuilt.load_state_dict(pair.state_dict())
    assert rebuilt.started


def test_a_pair_with_the_default_bias_is_left_alone():
    data = load_data("digits")
    vae = VAE(data.data_shape, hidden=[8])
    assert vae.started
    assert fit(vae, data, epochs=1, progress=False).history.start is None


def test_an_unknown_start_is_one_line():
    with pytest.raises(UsageError, match="unknown output_bias 'mean': choose from default, data"):
        VAE((1, 8, 8), output_bias="mean")
