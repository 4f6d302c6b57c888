"""Draws of hyper-parameters go to ArviZ by chain and draw, with what the sampler did."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from gp_bo import FittedGP, fit_gp, load_gp, to_arviz
from gp_bo.examination.sheet import fit_exam
from gp_bo.model import HyperPosterior
from inference.mcmc.diagnostics import r_hat
from pyro_models import UsageError


@pytest.fixture(params=["before 1", "since 1"])
def arviz(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """ArviZ's from_dict, as it was before version 1 and as it is since; gives what it is given."""

    def before(
        posterior: Any = None, *, dims: Any = None, coords: Any = None, **others: Any
    ) -> Any:
        return {"posterior": posterior, **others}, dims, coords

    def since(data: Any, *, dims: Any = None, coords: Any = None) -> Any:
        return data, dims, coords

    module = ModuleType("arviz")
    module.from_dict = before if request.param == "before 1" else since  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "arviz", module)


@pytest.fixture(scope="module")
def chains() -> FittedGP:
    with pytest.warns():  # few draws, for speed
        return fit_exam(num_draws=36, num_chains=3, warmup=20, restarts=2)


@pytest.fixture(scope="module")
def plane() -> FittedGP:
    """Two inputs, draws that are of no chain."""
    X = torch.rand(8, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return fit_gp(X, X.sum(1), inference="laplace", num_draws=9, restarts=2)


@pytest.mark.usefixtures("arviz")
def test_chains_stay_chains_in_original_units_without_warm_up(chains: FittedGP) -> None:
    groups, dims, coords = to_arviz(chains)
    posterior = groups["posterior"]
    assert set(posterior) == {"lengthscale", "variance"}  # the fixed noise is no draw
    assert posterior["variance"].shape == (3, 12)
    assert posterior["lengthscale"].shape == (3, 12, 1)
    second = chains.hyperparameters["variance"][12:24].numpy()
    np.testing.assert_array_equal(posterior["variance"][1], second)
    assert r_hat(posterior["variance"]) == pytest.approx(chains.diagnostics["rhat"]["variance"])
    assert dims["lengthscale"] == ["input"]
    assert coords == {"input": ["x"], "row": [0, 1, 2, 3, 4]}
    np.testing.assert_array_equal(groups["observed_data"]["y"], chains.y)
    np.testing.assert_array_equal(groups["constant_data"]["X"], chains.X)


@pytest.mark.usefixtures("arviz")
def test_statistics_say_what_each_transition_did(chains: FittedGP) -> None:
    stats = to_arviz(chains)[0]["sample_stats"]
    assert {value.shape for value in stats.values()} == {(3, 12)}
    value, _ = HyperPosterior(chains.gp)(chains.draws.unconstrained)
    np.testing.assert_allclose(stats["lp"].reshape(-1), value, rtol=1e-12)
    assert (stats["energy"] + stats["lp"] >= 0).all()  # the kinetic energy
    assert stats["diverging"].dtype == bool
    assert int(stats["diverging"].sum()) == chains.diagnostics["divergences"]
    assert int(stats["n_steps"].sum()) == chains.diagnostics["gradients"]
    assert (stats["n_steps"] >= 2 ** stats["tree_depth"] - 1).all()
    assert stats["acceptance_rate"].mean() == pytest.approx(chains.diagnostics["acceptance"])
    assert (stats["step_size"] == chains.diagnostics["step_size"]).all()


@pytest.mark.usefixtures("arviz")
def test_statistics_are_saved_with_the_draws(chains: FittedGP, tmp_path: Path) -> None:
    chains.save(tmp_path)
    before, after = to_arviz(chains)[0], to_arviz(load_gp(tmp_path))[0]
    for group, values in before.items():
        assert set(values) == set(after[group])
        for name, value in values.items():
            np.testing.assert_array_equal(value, after[group][name])


@pytest.mark.usefixtures("arviz")
def test_draws_of_no_chain_are_one_chain_and_inputs_have_names(plane: FittedGP) -> None:
    groups, dims, coords = to_arviz(plane, inputs=["heat", "time"])
    assert groups["posterior"]["lengthscale"].shape == (1, 9, 2)
    assert dims["lengthscale"] == ["input"]
    assert dims["variance"] == []
    assert coords["input"] == ["heat", "time"]
    assert "sample_stats" not in groups


@pytest.mark.usefixtures("arviz")
def test_draws_with_weights_are_drawn_again_by_weight() -> None:
    grid = fit_exam(inference="quadrature", num_points=21, restarts=2)
    draws = to_arviz(grid, num_draws=2000, seed=1)[0]["posterior"]["lengthscale"]
    assert draws.shape == (1, 2000, 1)
    logs = grid.hyperparameters["lengthscale"][:, 0].log()
    mean = float(grid.weights @ logs)
    deviation = float((grid.weights @ (logs - mean).square()).sqrt())
    assert abs(np.log(draws).mean() - mean) < 4 * deviation / 2000**0.5


def test_what_cannot_be_exported_is_told_in_one_line(
    plane: FittedGP, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="2 inputs; got 1 names"):
        to_arviz(plane, inputs=["heat"])
    with pytest.raises(UsageError, match="one point, not draws"):
        to_arviz(fit_exam(inference="map", restarts=2))
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(UsageError, match=r"pip install \"pyro-models\[diagnostics\]\""):
        to_arviz(plane)
