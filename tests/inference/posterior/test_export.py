"""Draws go to ArviZ by chain, draw and datum."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from inference.posterior import condition, hmc, infer, to_arviz
from pyro_models import PPCA, UsageError


@pytest.fixture
def ppca():
    return PPCA((6,), latent_dim=2)


@pytest.fixture(params=["before 1", "since 1"])
def arviz(request, monkeypatch):
    """ArviZ's from_dict, as it was before version 1 and as it is since; gives what it is given."""
    module = ModuleType("arviz")
    if request.param == "before 1":
        module.from_dict = lambda posterior=None, *, dims=None, sample_stats=None: (
            posterior,
            dims,
            sample_stats,
        )
    else:
        module.from_dict = lambda data, *, dims=None: (
            data["posterior"],
            dims,
            data.get("sample_stats"),
        )
    monkeypatch.setitem(sys.modules, "arviz", module)


@pytest.mark.usefixtures("arviz")
def test_chains_of_hmc_stay_chains(ppca):
    draws = hmc(condition(ppca, torch.randn(3, 6)), num_samples=5, num_chains=2, warmup=20)
    values, dims, stats = to_arviz(draws)
    assert values["z"].shape == (2, 5, 3, 2)
    np.testing.assert_array_equal(values["z"][1, 4], draws.z[4, 1].numpy())
    known = {"acceptance_rate": ["datum"], "diverging": ["datum"]}
    assert dims == {"z": ["datum", "z_dim_0"], **known}
    assert stats["diverging"].shape == (2, 5, 3)
    np.testing.assert_allclose(
        stats["acceptance_rate"].mean((0, 1)), draws.acceptance.numpy(), rtol=1e-5
    )


@pytest.mark.usefixtures("arviz")
@pytest.mark.parametrize("guide", ["hmc", "nuts"])
def test_chains_of_a_posterior_stay_chains(ppca, guide):
    options = {"num_samples": 6, "warmup": 20, "num_chains": 2}
    posterior = infer(ppca, torch.randn(3, 6), guide=guide, guide_options=options)
    values, dims, stats = to_arviz(posterior)
    assert values["z"].shape == (2, 6, 3, 2)
    kept = posterior.guide.draws["z"]  # (B, S · C, D), all chains of a draw side by side
    np.testing.assert_array_equal(values["z"][1, 4], kept[:, 4 * 2 + 1].numpy())
    assert not np.array_equal(values["z"][0], values["z"][1])
    assert stats["diverging"].shape == (2, 6, 3)
    assert dims["z"] == ["datum", "z_dim_0"]
    few, _, _ = to_arviz(posterior.select([2]))
    np.testing.assert_array_equal(few["z"], values["z"][:, :, 2:])


@pytest.mark.usefixtures("arviz")
def test_draws_of_any_posterior_are_one_chain(ppca):
    posterior = infer(ppca, torch.randn(3, 6), guide="encoder")
    values, _, stats = to_arviz(posterior, num_draws=7, seed=2)
    assert values["z"].shape == (1, 7, 3, 2)
    assert stats is None
    np.testing.assert_array_equal(values["z"][0], posterior.sample(7, seed=2)["z"].numpy())


def test_without_arviz_one_line_says_what_to_do(ppca, monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    posterior = infer(ppca, torch.randn(3, 6), guide="encoder")
    with pytest.raises(UsageError, match=r"pip install \"pyro-models\[diagnostics\]\""):
        to_arviz(posterior)
