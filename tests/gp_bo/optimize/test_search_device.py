"""A search whose Gaussian process is on another device, and one whose values are all equal."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from gp_bo.optimize import Optimizer, minimize
from gp_bo.optimize.figures import search_figure
from pyro_models import UsageError


def _simulated() -> ModuleType:
    """tests/simulated_device.py, once for all tests of a process."""
    if "simulated_device" not in sys.modules:
        path = Path(__file__).parents[2] / "simulated_device.py"
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[path.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[path.stem])
    return sys.modules["simulated_device"]


needs_simulation = pytest.mark.skipif(
    not _simulated().simulate(), reason="this torch lets no test make a device"
)
FEW = {"restarts": 2, "priors": {"lengthscale": 0.3, "mean": 0.0}}


@needs_simulation
def test_a_search_goes_through_the_same_points_on_every_device(tmp_path):
    def f(x):
        return float((x[0] - 0.3) ** 2)

    given = {"budget": 7, "initial": 5, "gp": FEW}
    here = minimize(f, [(0.0, 1.0)], **given)
    state = tmp_path / "s.json"
    there = minimize(f, [(0.0, 1.0)], device="sim", state=state, **given)
    assert [e.point for e in there.evaluations] == [e.point for e in here.evaluations]
    assert "sim" not in state.read_text()
    again = Optimizer.resume(state, device="sim:0")
    assert again.surrogate().device == torch.device("sim:0")
    assert search_figure(again).axes
    assert Optimizer.resume(state).surrogate().device == torch.device("cpu")


def test_a_device_that_is_not_there_is_said_before_anything_is_asked():
    with pytest.raises(UsageError, match="unknown device"):
        Optimizer([(0.0, 1.0)], device="cudas")


@pytest.mark.parametrize("value", [0.1, 1e9, -1e-12])
def test_values_that_are_all_equal_have_no_spread_of_rounding(value):
    optimizer = Optimizer([(0.0, 1.0)], seed=0)
    for i in range(6):
        optimizer.tell([i / 5], value * (1 + 2e-16 * (i % 2)))
    mean, spread = optimizer.standardization
    assert mean == pytest.approx(value)
    assert spread >= 1
    assert optimizer.surrogate().y.abs().max() < 1e-6
