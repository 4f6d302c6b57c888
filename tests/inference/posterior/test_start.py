"""Where fits begin: modes that gradients from the prior's mean never find."""

import pytest
import torch

from inference.posterior import infer
from pyro_models import VAE, UsageError


def two_valleys():
    """x = −2 tanh(4 (z + 1)) + ½ tanh(4 (z − ½)) + noise: from z = 0 it rises towards z > ½, while
    x = 1.5 is only reached beyond z < −1."""
    torch.manual_seed(0)
    options = {"activation": "tanh", "likelihood_options": {"scale": 0.2}}
    vae = VAE((1,), hidden=[2], latent_dim=1, likelihood="gaussian", **options).double()
    first, last = (m for m in vae.model.decoder.modules() if isinstance(m, torch.nn.Linear))
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[4.0], [4.0]]))
        first.bias.copy_(torch.tensor([4.0, -2.0]))
        last.weight.copy_(torch.tensor([[-2.0, 0.5]]))
        last.bias.zero_()
    return vae


def test_the_decoder_is_the_one_described():
    z = torch.tensor([[-2.0], [0.0], [2.0]], dtype=torch.float64)
    mean = two_valleys().decode({"z": z})["x"].mean.flatten()
    assert mean.tolist() == pytest.approx([1.5, -2.48, -1.5], abs=0.01)


@pytest.mark.parametrize("guide", ["normal", "auto_normal", "full_covariance", "laplace", "point"])
def test_a_fit_begins_where_the_prior_s_draws_are_best(guide):
    x = torch.full((5, 1), 1.5, dtype=torch.float64)
    few = {"max_steps": 200}
    found = infer(two_valleys(), x, guide=guide, **few)
    stuck = infer(two_valleys(), x, guide=guide, starts=0, **few)
    assert bool((found.mean["z"] < -1.2).all())
    assert int((stuck.mean["z"] > 0).sum()) >= 3  # noise may lead one out


def test_the_best_start_does_not_hang_on_memory():
    x = torch.full((5, 1), 1.5, dtype=torch.float64)
    found = [
        infer(two_valleys(), x, guide="point", max_steps=1, max_elements=n).mean["z"]
        for n in (10**6, 40)
    ]
    assert all(bool((z < -1.2).all()) for z in found)


def test_a_negative_count_is_one_line():
    with pytest.raises(UsageError, match=r"^starts must be at least 0; got -1\Z"):
        infer(two_valleys(), torch.zeros(1, 1), guide="normal", starts=-1)
