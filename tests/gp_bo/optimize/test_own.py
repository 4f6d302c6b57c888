"""A kernel and an acquisition function of one's own: given as objects, or registered by name."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from gpytorch.kernels import LinearKernel, RBFKernel, ScaleKernel
from torch import Tensor

from gp_bo import Optimizer, minimize, register_acquisition, register_kernel
from gp_bo.cli import main
from gp_bo.kernels import KERNELS, HyperParameter, Leaf, Matern52, Pairs
from gp_bo.optimize import ACQUISITIONS, Region, Surrogate
from gp_bo.optimize.acquisition import LogExpectedImprovement, UpperConfidenceBound
from pyro_models import UsageError

BOUNDS = [(0.0, 1.0), (0.0, 2.0)]


def valley(x: Any) -> float:
    return float((x[0] - 0.3) ** 2 + (x[1] - 1.0) ** 2)


def points(result: Any) -> list[Any]:
    return [e.point for e in result.evaluations]


@pytest.fixture(autouse=True)
def registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is forgotten."""
    before = dict(KERNELS), dict(ACQUISITIONS)
    yield
    for registry, names in zip((KERNELS, ACQUISITIONS), before, strict=True):
        registry.clear()
        registry.update(names)  # type: ignore[arg-type]


def lower_bound(surrogate: Surrogate, z: Tensor) -> Tensor:
    """As ucb with β = 4, written anew."""
    mean, variance = surrogate.moments(z)
    return (2 * variance.sqrt() - mean).mean(0)


def first_candidate(surrogate: Surrogate, region: Region, *, seed: int) -> Tensor:
    return region.candidates(8, seed=seed)[0]


@dataclass(frozen=True)
class Laplacian(Leaf):
    """k = σ² exp(−Σ_d |x_d − x'_d| / ℓ_d): Matérn 1/2 of one input."""

    name = "laplacian"

    def own_hyperparameters(self, dim: int) -> list[HyperParameter]:
        return [self._lengthscale(dim), *self._variance()]

    def value(self, theta: Any, pairs: Pairs) -> Tensor:
        lengthscale = self._per_input(theta["lengthscale"], pairs.dim)[..., None, None]
        k = (-(pairs.differences.abs() / lengthscale).sum(1)).exp()
        return k * theta["variance"][:, None, None] if self.scaled else k


@pytest.mark.parametrize(
    "acquisition", [lower_bound, UpperConfidenceBound, UpperConfidenceBound(beta=4.0)]
)
def test_an_object_searches_as_its_name_does(acquisition: Any) -> None:
    by_name = minimize(valley, BOUNDS, budget=9, acquisition="ucb", seed=2)
    assert points(minimize(valley, BOUNDS, budget=9, acquisition=acquisition, seed=2)) == points(
        by_name
    )


def test_one_that_gives_a_point_is_called_as_it_is() -> None:
    found = minimize(valley, BOUNDS, budget=8, acquisition=first_candidate, seed=2)
    assert len(set(points(found))) == 8


def test_a_registered_function_has_a_name_here_and_at_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register_acquisition("bound", lower_bound)
    state = tmp_path / "search.json"
    by_name = minimize(valley, BOUNDS, budget=9, acquisition="bound", seed=2, state=state)
    assert points(by_name) == points(minimize(valley, BOUNDS, budget=9, acquisition="ucb", seed=2))
    assert Optimizer.resume(state).ask()
    assert main(["minimize", "branin", "--budget", "6", "--acquisition", "bound"]) == 0
    with pytest.raises(SystemExit):
        main(["minimize", "--help"])
    assert "max_value_entropy, bound" in " ".join(capsys.readouterr().out.split())


def test_an_object_with_a_name_is_kept_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    optimizer = Optimizer(BOUNDS, acquisition=UpperConfidenceBound(beta=1.0), state=path)
    optimizer.ask()
    settings = json.loads(path.read_text())["settings"]
    assert (settings["acquisition"], settings["acquisition_options"]) == ("ucb", {"beta": 1.0})
    assert Optimizer.resume(path).state.settings == optimizer.state.settings
    with pytest.raises(UsageError, match=r"register it, with gp_bo.optimize.register_acquisition"):
        Optimizer(BOUNDS, acquisition=lower_bound, state=tmp_path / "b.json")


@pytest.mark.parametrize(
    ("acquisition", "options", "why"),
    [
        ("best", {}, "acquisition is one of log_ei"),
        (3, {}, "an acquisition is a name, or is called with"),
        (lambda: 0, {}, "an acquisition is a name, or is called with"),
        (lower_bound, {"beta": 1}, "lower_bound is a function, and has no options: leave beta out"),
        (LogExpectedImprovement, {"beta": 1}, "does not take beta"),
    ],
)
def test_mistakes_with_an_acquisition_are_one_line(
    acquisition: Any, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        Optimizer(BOUNDS, acquisition=acquisition, acquisition_options=options)


def test_values_of_another_shape_are_refused() -> None:
    with pytest.raises(UsageError, match="gives a value for each of"):
        minimize(valley, BOUNDS, budget=9, acquisition=lambda surrogate, z: z)
    with pytest.raises(UsageError, match="there is an acquisition 'pi' already"):
        register_acquisition("pi", lower_bound)


@pytest.mark.parametrize(
    "kernel", [Laplacian, Laplacian(ard=False), ScaleKernel(RBFKernel()) + LinearKernel()]
)
def test_a_kernel_of_ones_own_searches(kernel: Any) -> None:
    found = minimize(valley, BOUNDS, budget=9, kernel=kernel, seed=1)
    assert found.y < 0.6
    again = minimize(valley, BOUNDS, budget=9, gp={"kernel": kernel}, seed=1)
    assert points(again) == points(found)


def test_our_kernel_is_the_same_by_name_and_as_an_object() -> None:
    found = [
        points(minimize(valley, BOUNDS, budget=8, kernel=kernel, seed=3))
        for kernel in (None, "matern52", Matern52, Matern52())
    ]
    assert all(each == found[0] for each in found)


@pytest.mark.parametrize("kernel", [Matern52(ard=False), ScaleKernel(RBFKernel(ard_num_dims=2))])
def test_a_kernel_is_kept_in_the_file(kernel: Any, tmp_path: Path) -> None:
    path = tmp_path / "search.json"
    found = minimize(valley, BOUNDS, budget=8, kernel=kernel, state=path, seed=1)
    optimizer = Optimizer.resume(path)
    assert optimizer.space.names == found.space.names
    z = torch.rand(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = Optimizer(BOUNDS, kernel=kernel, seed=1)
    for each in found.evaluations:
        whole.tell(each.point, each.value)
    for a, b in zip(optimizer.surrogate().moments(z), whole.surrogate().moments(z), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_registered_kernel_has_a_name_at_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register_kernel("laplacian", Laplacian)
    table = tmp_path / "data.csv"
    table.write_text("x,y\n" + "".join(f"{i / 7},{(i / 7) ** 2}\n" for i in range(8)))
    out = str(tmp_path / "gp")
    options = ["--inference", "map", "--options.restarts", "2"]
    command = ["fit", str(table), "y", out, "--kernel", "laplacian + linear", *options]
    assert main(command) == 0
    assert "laplacian.lengthscale" in capsys.readouterr().out
    assert main(["predict", out, str(table)]) == 0
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    assert "linear, laplacian" in " ".join(capsys.readouterr().out.split())
    del KERNELS["laplacian"]
    assert main(["predict", out, str(table)]) == 2
    assert "the kernel 'laplacian' is unknown here: register it first" in capsys.readouterr().err
    assert sys.exc_info() == (None, None, None)


@pytest.mark.parametrize(
    ("name", "make", "why"),
    [
        ("rbf", Laplacian, "there is a kernel 'rbf' already"),
        ("my kernel", Laplacian, "one word"),
        ("mine", 3, "registered by its class"),
    ],
)
def test_mistakes_with_a_kernel_are_one_line(name: str, make: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        register_kernel(name, make)
    with pytest.raises(UsageError, match="the kernel is given twice"):
        Optimizer(BOUNDS, kernel="rbf", gp={"kernel": "rbf"})


OWN = """
from dataclasses import dataclass
from gp_bo.kernels import Leaf

@dataclass(frozen=True)
class Laplacian(Leaf):
    name = "laplacian"

    def own_hyperparameters(self, dim):
        return [self._lengthscale(dim)]

    def value(self, theta, pairs):
        lengthscale = self._per_input(theta["lengthscale"], pairs.dim)
        return (-(pairs.differences.abs() / lengthscale[..., None, None]).sum(1)).exp()

def mean(surrogate, z):
    return -surrogate.moments(z)[0].mean(0)
"""


def test_what_stands_in_a_file_of_ones_own_works_at_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    table = tmp_path / "data.csv"
    table.write_text("x,y\n" + "".join(f"{i / 7},{(i / 7) ** 2}\n" for i in range(8)))
    out, kernel = str(tmp_path / "gp"), f"{tmp_path / 'mine.py'}:Laplacian"
    command = ["fit", str(table), "y", out, "--kernel", kernel, "--inference", "map"]
    assert main(command) == 0
    assert main(["predict", out, str(table)]) == 0
    state = tmp_path / "search.json"
    command = ["--acquisition", f"{tmp_path / 'mine.py'}:mean", "--kernel", kernel]
    for _ in range(2):  # the second goes on from the file
        options = ["--budget", "7", "--state", str(state), *command]
        assert main(["minimize", "exam", *options]) == 0
    assert Optimizer.resume(state).ask()
    assert main(["minimize", "exam", "--acquisition", f"{tmp_path / 'mine.py'}:median"]) == 2
    assert "has no 'median'" in capsys.readouterr().err


def test_old_spellings_still_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(DeprecationWarning, match="maximise of .* is now maximize"):
        optimizer = Optimizer(BOUNDS, maximise=True)  # type: ignore[call-arg]
    assert optimizer.state.maximize
    with pytest.warns(DeprecationWarning, match="maximise of minimize is now maximize"):
        found = minimize(valley, BOUNDS, budget=5, maximise=True)  # type: ignore[call-arg]
    assert found.maximize
    path = tmp_path / "old.json"
    assert main(["ask", str(path), "--space", "[[0, 1]]", "--maximise"]) == 0
    path.write_text(path.read_text().replace('"maximize"', '"maximise"'))
    assert Optimizer.resume(path).state.maximize
    capsys.readouterr()


def test_old_names_of_attributes_and_in_files_still_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = minimize(valley, BOUNDS, budget=5)
    optimizer = Optimizer(BOUNDS)
    for tell in range(2):
        optimizer.tell((tell, tell), float(tell))
    state = optimizer.state
    for thing, old, new in (
        (found, "maximise", "maximize"),
        (state, "maximise", "maximize"),
        (state, "standardisation", "standardization"),
        (state, "with_told", "with_observed"),
        (optimizer, "standardisation", "standardization"),
    ):
        with pytest.warns(DeprecationWarning, match=f"{old} is now {new}"):
            assert getattr(thing, old) == getattr(thing, new)
    options = tmp_path / "options.yaml"
    options.write_text('maximise: true\nspace: "{heat: [20, 80]}"\n')
    assert main(["ask", str(tmp_path / "s.json"), "--config", str(options)]) == 0
    assert json.loads((tmp_path / "s.json").read_text())["maximize"] is True


OWN_GPYTORCH = """
from gpytorch.kernels import RBFKernel, ScaleKernel

class Mine(RBFKernel):
    pass

def scaled():
    return ScaleKernel(Mine())

def fails(surrogate, z):
    raise RuntimeError("not\\nhere")

def detached(surrogate, z):
    return surrogate.moments(z)[0].mean(0).detach()
"""


@pytest.mark.parametrize("name", ["Mine", "scaled"])
def test_a_kernel_of_gpytorch_in_a_file_is_opened_again(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, table, folder = tmp_path / "mine.py", tmp_path / "d.csv", str(tmp_path / "gp")
    file.write_text(OWN_GPYTORCH)
    table.write_text("a,y\n" + "".join(f"{i / 8},{(i / 8) ** 2}\n" for i in range(8)))
    given = ["--kernel", f"{file}:{name}", "--inference", "map"]
    assert main(["fit", str(table), "y", folder, *given]) == 0
    assert main(["predict", folder, str(table)]) == 0
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "why"), [("fails", "RuntimeError: not here"), ("detached", "without detach()")]
)
def test_what_an_acquisition_of_ones_own_does_wrong_is_one_line(
    name: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(OWN_GPYTORCH)
    given = ["--acquisition", f"{tmp_path}/mine.py:{name}", "--progress", "false"]
    assert main(["minimize", "branin", "--budget", "8", *given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert why in line


def test_a_class_is_not_stored_as_the_one_that_it_extends(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from gp_bo.kernels import RBF\nclass K(RBF): ...\n")
    found = KERNELS[f"{tmp_path}/mine.py:K"]
    extended = type("Extended", (found,), {"name": "extended"})
    assert found().config()[0].endswith("mine.py:K")
    assert extended().config()[0] == "extended"
