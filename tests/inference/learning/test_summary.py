"""What a training will do is said in a few lines, truly, before it begins."""

from typing import Any

import pytest
import torch

from inference.learning import fit, summarize
from inference.learning.callbacks import CallbackState
from inference.learning.history import Epoch
from inference.learning.summary import FirstEpoch
from inference.progress import quiet
from pyro_models import VAE, UsageError, load_data

DATA = load_data("digits", preparation="threshold")


def vae(**options: Any) -> VAE:
    given = {"hidden": [8], "latent_dim": 3, "likelihood": "bernoulli", **options}
    return VAE(DATA.data_shape, **given)


def test_every_parameter_is_counted_once() -> None:
    pair = vae()
    found = summarize(pair, DATA, epochs=3, batch_size=100)
    assert found.num_parameters == sum(p.numel() for p in pair.parameters())
    assert found.modules[0].shapes == ((8, 3), (8,))
    assert found.batches_per_epoch == 13  # of 1,257
    assert "39 = 3 epochs of 13" in str(found)


def test_what_is_frozen_is_said() -> None:
    pair = vae()
    for parameter in pair.guide.parameters():
        parameter.requires_grad_(False)
    found = summarize(pair, DATA)
    assert found.num_learned < found.num_parameters
    assert f"{found.num_learned:,} of {found.num_parameters:,} learned" in str(found)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "recorded once and run again"),
        ({"capture": False}, "run one by one: capture is off"),
        ({"precision": "bfloat16"}, "networks in bfloat16"),
        ({"objective": "iwae"}, "maximised  iwae, K = 5"),
        ({"lr": "find"}, "lr find"),
        ({"schedule": "OneCycleLR"}, "schedule OneCycleLR"),
    ],
)
def test_how_steps_are_taken_is_said(options: dict[str, Any], says: str) -> None:
    assert says in str(summarize(vae(), DATA, **options))


def test_it_fits_into_80_columns_however_deep_the_pair_is() -> None:
    pair = vae(hidden=[8] * 20)
    text = str(summarize(pair, DATA, objective="iwae"))
    assert max(map(len, text.splitlines())) <= 80
    assert "… 24 modules" in text


def test_nothing_changes() -> None:
    pair = vae(output_bias="data")
    before = {name: value.clone() for name, value in pair.state_dict().items()}
    drawn = torch.get_rng_state()
    summarize(pair, DATA)
    assert torch.equal(torch.get_rng_state(), drawn)
    for name, value in pair.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_what_does_not_fit_is_refused_as_by_fit() -> None:
    with pytest.raises(UsageError, match="made for data of shape"):
        summarize(VAE((1, 4, 4), hidden=[4]), DATA)


def test_fit_says_it_on_request_and_then_how_long_it_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    how: dict[str, Any] = {"epochs": 2, "curve_size": 0, "progress": False}
    fit(vae(), DATA, **how)
    assert not capsys.readouterr().out
    fit(vae(), DATA, summary=True, **how)
    text = capsys.readouterr().out
    assert "maximised  elbo" in text
    assert "the first epoch took" in text
    assert "; 1 more take about" in text
    fit(vae(), DATA, summary=True, **{**how, "epochs": 1})
    assert "the first epoch took" not in capsys.readouterr().out  # all is done
    with quiet():
        fit(vae(), DATA, summary=True, **how)
    assert not capsys.readouterr().out


def test_of_several_seeds_the_first_epoch_is_that_of_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    epoch = Epoch(1, -1.0, None, None, 1e-3, 1.0, 1.0)
    first = FirstEpoch(copies=2)
    state = CallbackState(vae(), 1, 5, (epoch,), None)
    first(state)
    assert not capsys.readouterr().out
    first(state)
    assert "; 4 more take about" in capsys.readouterr().out
    first(state)
    assert not capsys.readouterr().out
