"""``gp-bo show`` and ``forget --index``, and priors at the command line."""

import csv
import io
import json
from pathlib import Path

import pytest

from gp_bo import load_gp
from gp_bo.optimize import Integer, Optimizer, load_state
from gp_bo.optimize.search import GPSearch
from inference.selection.search import Tried
from inference.selection.space import Choice, Number, Whole

pytestmark = pytest.mark.usefixtures("elsewhere")

TEA = "{heat: [20, 80], cups: {kind: integer, low: 1, high: 5}, solvent: [water, oil]}"


@pytest.fixture
def told(call):
    """A state with three values, the second a slip of the pen, and a failure."""
    prior = ["--prior.lengthscale", "lognormal(0, 1)", "--prior.noise", "1e-4"]
    assert call("ask", "tea.json", "--space", TEA, "--maximize", "--problem", "taste", *prior) == 0
    for value, point in [(3.5, "40, 2, oil"), (900, "50, 3, oil"), (2.0, "60, 4, water")]:
        assert call("tell", "tea.json", value, "--point", point) == 0
    assert call("tell", "tea.json", "--failed", "spilt", "--point", "70, 5, water") == 0


def test_a_state_is_shown(told, call, capsys):
    capsys.readouterr()
    assert call("show", "tea.json") == 0
    out = capsys.readouterr().out
    assert "taste: maximize, seed 0" in out
    assert "heat: number in [20, 80]" in out
    assert "cups: whole number in [1, 5]" in out
    assert "solvent: one of water, oil" in out
    assert "kernel matern52, inference map, acquisition log_ei" in out
    assert "prior of lengthscale: lognormal(0, 1)" in out
    assert "prior of noise: fixed at 0.0001" in out
    assert "failed: spilt" in out
    assert "best value 900 at heat = 50, cups = 3, solvent = oil" in out
    assert "pending: " in out
    assert call("show", "tea.json", "--csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["value"] for row in rows] == ["3.5", "900.0", "2.0", ""]
    assert [row["index"] for row in rows] == ["0", "1", "2", "3"]


def test_a_told_value_is_taken_back_and_kept(told, call, capsys):
    assert call("forget", "tea.json", "--index", "[1, 3]") == 0
    assert "forgotten: 900 at heat = 50" in capsys.readouterr().out
    state = load_state("tea.json")
    assert [e.value for e in state.evaluations] == [3.5, 2.0]
    assert [e.value for e in state.forgotten] == [900.0, None]
    assert state.best.value == 3.5
    assert call("ask", "tea.json") == 0  # the next change keeps them
    assert len(json.loads(Path("tea.json").read_text())["forgotten"]) == 2
    capsys.readouterr()
    call("show", "tea.json")
    assert "forgotten: 900 at heat = 50, cups = 3, solvent = oil" in capsys.readouterr().out
    assert call("tell", "tea.json", 9, "--point", "50, 3, oil") == 0  # it may be told anew
    assert load_state("tea.json").best.value == 9.0


def test_mistakes_cost_one_line(told, refused):
    assert "there is no evaluation 4: there are 0 to 3" in refused(
        "forget", "tea.json", "--index", 4
    )
    assert "say which: one of" in refused("forget", "tea.json", "--all", "--index", 1)
    assert "there is no state file" in refused("show", "nothing.json")
    prior = "--priors.lengthscale"
    assert "unknown prior 'lognrmal'" in refused("ask", "tea.json", prior, "lognrmal(0, 1)")
    assert "write lognormal(0, 1), say" in refused("ask", "tea.json", prior, "lognormal(0, a)")
    assert "no hyper-parameter size" in refused("ask", "tea.json", "--priors.size", "gamma(1, 1)")
    assert len(load_state("tea.json").evaluations) == 4


def test_a_prior_that_is_written_is_the_distribution(call, capsys):
    rows = "\n".join(f"{i / 5},{(i / 5) ** 2}" for i in range(8))
    Path("data.csv").write_text(f"x,y\n{rows}\n")
    how = ["--inference", "map", "--noise", 1e-4]
    for name, prior in [("a", "LogNormal(0.0, 0.001)"), ("b", "log_normal(0, scale=1e-3)")]:
        assert call("fit", "data.csv", "y", name, *how, "--prior.lengthscale", prior) == 0
    found = [load_gp(name).hyperparameters["lengthscale"].item() for name in "ab"]
    assert found[0] == found[1] == pytest.approx(1.0, abs=0.01)


def test_minimize_takes_priors(call):
    how = ["--budget", 7, "--progress", "false", "--state", "s.json"]
    assert call("minimize", "branin", *how, "--priors.noise", 1e-6) == 0
    assert load_state("s.json").settings["gp"]["priors"] == {"noise": 1e-6}


def test_a_whole_number_may_be_logarithmic():
    units = Integer(1, 1000, log=True)
    assert [units.back([u]) for u in (0.0, 1 / 3, 2 / 3, 1.0)] == [1, 10, 100, 1000]
    assert all(units.back(units.to(n)) == n for n in range(1, 1001))
    optimizer = Optimizer({"n": units}, seed=0)
    assert Optimizer({"n": units.config()}).space.config() == optimizer.space.config()


def test_a_search_of_settings_finds_the_better_end():
    space = {
        "lr": Number(1e-4, 1e-1, log=True),
        "options.units": Whole(4, 64, log=True),
        "options.activation": Choice(("relu", [1, 2])),
    }
    tried = []
    for _ in range(14):
        setting = GPSearch()(space, tried, seed=1, maximize=True)
        assert setting not in [each.setting for each in tried]
        off = abs(setting["lr"] - 1e-2) / setting["lr"] + (setting["options.activation"] != "relu")
        tried.append(Tried(setting, -off))
    assert max(each.value for each in tried[9:]) > max(each.value for each in tried[:9]) - 1e-9
    running = [*tried[:10], Tried(tried[10].setting)]
    assert GPSearch()(space, running, seed=1, maximize=True) != tried[10].setting


def test_a_space_is_given_input_by_input(call, refused, capsys):
    line = refused("ask", "new.json")
    assert "there is no new.json yet" in line
    assert '--space.heat "[20, 80]"' in line
    space = ["--space.heat", "[20, 80]", "--space.solvent", "[water, oil]"]
    assert call("ask", "new.json", *space) == 0
    assert capsys.readouterr().out.splitlines()[0] == "heat,solvent"
    assert "heat needs bounds" in refused("ask", "other.json", "--space.heat", "hot")
