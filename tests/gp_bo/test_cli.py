"""The gp-bo command, end to end, and every mistake a person makes with it."""

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from gp_bo import SparseGP, load_gp
from gp_bo.cli import COMMANDS
from gp_bo.examination.algorithm1 import _FEW as ALGORITHM_1
from gp_bo.examination.algorithm1 import exam_grid
from gp_bo.examination.sheet import exam_function
from gp_bo.optimize import load_state

pytestmark = pytest.mark.usefixtures("elsewhere")

TEA = "{heat: [20, 80], cups: {kind: integer, low: 1, high: 5}, solvent: [water, oil]}"


def printed_rows(capsys):
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


@pytest.fixture
def table(tmp_path):
    rows = [f"{i / 3},{i % 4},{math.sin(i / 3) + 0.1 * (i % 4)}" for i in range(14)]
    path = tmp_path / "data.csv"
    path.write_text("\n".join(["t,p,y", *rows]) + "\n")
    return path


def test_a_laboratory_asks_and_tells_by_hand(call, capsys, tmp_path):
    assert call("ask", "tea.json", "--space", TEA, "--maximize", "--n", 2) == 0
    first, second = printed_rows(capsys)
    assert first.keys() == {"heat", "cups", "solvent"}
    rounded = f"{float(first['heat']):.2f},{first['cups']},{first['solvent']}"
    assert call("tell", "tea.json", 1.5, "--point", rounded) == 0
    assert call("tell", "tea.json", "--failed", "spilt") == 0
    state = load_state("tea.json")
    assert not state.pending
    assert state.maximize
    assert [e.value for e in state.evaluations] == [1.5, None]
    assert state.evaluations[0].point[0] == float(first["heat"])
    assert state.evaluations[1].point[0] == float(second["heat"])
    assert state.evaluations[1].failure == "spilt"
    assert call("ask", "tea.json", "--acquisition", "thompson") == 0
    assert load_state("tea.json").settings["acquisition"] == "thompson"
    assert "heat" in capsys.readouterr().out


def test_results_may_come_as_a_table(call, capsys, tmp_path):
    (tmp_path / "space.yaml").write_text(TEA)
    call("ask", "tea.json", "--space", "space.yaml")
    (tmp_path / "done.csv").write_text(
        "solvent,heat,cups,yield\nwater,30,2,1.0\noil,40,3,\nwater,50,5,2.5\n"
    )
    assert call("tell", "tea.json", "--data", "done.csv", "--column", "yield") == 0
    assert "best value 1 at heat = 30" in capsys.readouterr().out
    assert [e.value for e in load_state("tea.json").evaluations] == [1.0, None, 2.5]


def test_a_search_is_drawn_from_its_state(call, refused, tmp_path):
    call("ask", "tea.json", "--space", TEA)
    assert "two values or more" in refused("plot", "tea.json", "tea.png")
    call("tell", "tea.json", 1.5)
    for heat in (30, 60):
        call("tell", "tea.json", heat / 20, "--point", f"{heat}, 2, oil")
    before = (tmp_path / "tea.json").read_text()
    assert call("plot", "tea.json", "tea.png", "--input_name", "heat") == 0
    assert (tmp_path / "tea.png").read_bytes().startswith(b"\x89PNG")
    assert "continuous input: heat" in refused(
        "plot", "tea.json", "cups.png", "--input_name", "cups"
    )
    assert (tmp_path / "tea.json").read_text() == before


@pytest.mark.parametrize("value", ["-1.5", "-1e-3", "-.5", "-2.5E+3"])
def test_what_begins_with_a_minus_is_a_value(call, value):
    call("ask", "s.json", "--space", "{a: [-5, 5], b: [-1, 1]}")
    assert call("tell", "s.json", value, "--point", "-1.25,0.5") == 0
    [told] = load_state("s.json").evaluations
    assert told.value == float(value)
    assert told.point == (-1.25, 0.5)


def test_a_category_may_hold_a_comma(call, tmp_path):
    call("ask", "s.json", "--space", "{heat: [20, 80], solvent: [water, 'oil, hot']}")
    assert call("tell", "s.json", 1, "--point", '30, "oil, hot"') == 0
    (tmp_path / "done.csv").write_text('heat,solvent,value\n40,"oil, hot",2\n50,water,3\n')
    assert call("tell", "s.json", "--data", "done.csv") == 0
    points = [e.point for e in load_state("s.json").evaluations]
    assert points == [(30.0, "oil, hot"), (40.0, "oil, hot"), (50.0, "water")]


@pytest.mark.parametrize("repeats", [False, True])
def test_a_table_that_grows_may_be_told_again(call, capsys, tmp_path, repeats):
    call("ask", "s.json", "--space", "{heat: [20, 80]}", "--repeats", str(repeats).lower())
    [asked] = load_state("s.json").pending
    rows = f"heat,value\n{asked[0]:.2f},1.0\n30,2.0\n40,\n"
    (tmp_path / "done.csv").write_text(rows)
    assert call("tell", "s.json", "--data", "done.csv") == 0
    (tmp_path / "done.csv").write_text(rows + "50,1.0\n30,2.5\n")
    capsys.readouterr()
    assert call("tell", "s.json", "--data", "done.csv") == 0
    values = [e.value for e in load_state("s.json").evaluations]
    again = [1.0, 2.0, None] if repeats else []
    assert values == [1.0, 2.0, None, *again, 1.0, 2.5]
    assert ("3 rows were told before" in capsys.readouterr().out) is not repeats
    assert call("tell", "s.json", "--data", "done.csv") == 0  # nothing new at all


def test_a_table_is_fitted_under_a_prior_by_name(call, capsys, table):
    prior = ["--priors.lengthscale.class_path", "LogNormal"]
    numbers = [f"--priors.lengthscale.init_args.{n}" for n in ("loc=0.0", "scale=0.001")]
    assert call("fit", table, "y", "gp", "--inference", "map", *prior, *numbers) == 0
    found = capsys.readouterr().out.partition("lengthscale[t]")[2].split()[0]
    assert float(found) == pytest.approx(1.0, rel=0.01)


def test_a_table_is_fitted_predicted_and_drawn(call, capsys, table, tmp_path):
    assert call("fit", table, "y", "gp", "--inference", "map", "--kernel", "rbf") == 0
    assert "lengthscale[p]" in capsys.readouterr().out
    assert call("predict", "gp", table) == 0
    rows = printed_rows(capsys)
    for i, row in enumerate(rows):
        truth = math.sin(i / 3) + 0.1 * (i % 4)
        sigma = float(row["standard_deviation"])
        assert abs(float(row["y"]) - truth) < 4 * sigma + 0.02
        assert float(row["plus_2sd"]) - float(row["minus_2sd"]) == pytest.approx(4 * sigma)
    assert call("predict", "gp", table, "--out", "p.csv", "--include_noise") == 0
    noisy = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert all(
        float(a["standard_deviation"]) > float(b["standard_deviation"])
        for a, b in zip(noisy, rows, strict=True)
    )
    assert call("plot", "gp", "gp.png", "--input_name", "p") == 0
    assert (tmp_path / "gp.png").read_bytes().startswith(b"\x89PNG")


def test_a_demonstration_is_minimised_and_gone_on_with(call, capsys, tmp_path):
    options = ("--state", "s.json", "--progress", "false")
    assert call("minimize", "exam", "--budget", 5, *options) == 0
    said = capsys.readouterr().out
    assert "simple regret" in said
    assert call("minimize", "exam", "--budget", 6, *options, "--figure", "f.png") == 0
    assert len(json.loads((tmp_path / "s.json").read_text())["evaluations"]) == 6
    assert (tmp_path / "f.png").exists()


def test_the_examination_is_one_command(call, capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(ALGORITHM_1, "warmup", 20)
    options = ("--turns", 0, "--seeds", 1, "--remedies", "false", "--draws", 500)
    assert call("exam", "exam", *options, "--progress", "false") == 0
    said = capsys.readouterr().out
    assert "500 draws by NUTS" in said
    assert "log variance" in said
    assert "log noise" not in said  # it is fixed
    assert "found in" in said
    assert "100 for each chain: take more" in said  # 500 draws are few
    assert "of 1 runs; it or a neighbour in " in said
    assert "95 % interval" in said
    assert "±" not in said
    assert "chains of 1 fit of 500 draws: R-hat up to 1." in said
    written = {path.name for path in (tmp_path / "exam").iterdir()}
    figures = {"hyper_posterior.png", "traces.png", "fit.png", "algorithm1.png"}
    assert written == {*figures, "algorithm1.csv", "turns.csv"}
    [turn] = csv.DictReader((tmp_path / "exam" / "turns.csv").read_text().splitlines())
    grid = exam_grid()
    assert float(turn["x"]) == float(grid[int(turn["p"])])
    assert float(turn["y"]) == float(exam_function(grid)[int(turn["p"])])
    assert float(turn["lengthscale"]) > 0
    assert float(turn["rhat"]) > 0.99
    assert 0 < float(turn["tail_ess"]) < 400
    assert int(turn["divergences"]) >= 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frob"], "unknown command 'frob'"),
        (["ask", "new.json"], "say what may be varied"),
        (["ask", "new.json", "--space", "{a: [1, 0]}"], "lower bound must be below"),
        (["ask", "new.json", "--space", "[[0, .inf]]"], "finite"),
        (["ask", "new.json", "--space", "none.yaml"], "no file none.yaml"),
        (["ask", "new.json", "--space", "}{"], "written like"),
        (["ask", "new.json", "--space", "[[0, 1]]", "--n", "0"], "one point or more"),
        (["tell", "none.json", "1.0"], "no state file"),
        (["tell", "none.json", "abc"], "no finite number"),
        (["tell", "none.json", "nan"], "told with --failed"),
        (["ask", "new.json", "--space", "[[0, .nan]]"], "finite"),
        (["ask", "new.json", "--space", "{a: {kind: integer, low: 5, high: 1}}"], "must be below"),
        (["ask", "new.json", "--space", "[[-1.0e+308, 1.0e+308]]"], "too far apart"),
        (["ask", "new.json", "--space", "{a: [yes, no]}"], "need quotes"),
        (["ask", "new.json", "--space", "{a: {kind: categorical, values: abc}}"], "list of names"),
        (["ask", "new.json", "--space", "{a: {low: 1, high: 2, log: perhaps}}"], "true or false"),
        (["ask", "new.json", "--space", "{inputs: {a: [0, 1]}, candidates: 3}"], "list of points"),
        (["ask", "new.json", "--space", "[[0, 1]]", "--seed", "-1"], "a seed is"),
        (["minimize", "exam", "--seed", "99999999999"], "a seed is"),
        (["exam", "out", "--seed", "-1"], "a seed is"),
        (["exam", "out", "--draws", "7"], "multiple of num_chains"),
        (["fit", "none.csv", "y", "out"], "no file none.csv"),
        (["predict", "none", "none.csv"], "none"),
        (["minimize", "rosenbrock"], "there are branin"),
        (["minimize", "exam", "--acquisition", "best"], "acquisition is one of"),
        (["minimize", "exam", "--inference", "guess"], "inference"),
        (["minimize", "exam", "--budget", "0"], "budget"),
        (["minimize", "exam", "--figure", "f.txt"], "must end in"),
        (["exam", "out", "--prior_on", "both", "--seeds", "1"], "prior_on"),
        (["exam", "out", "--seeds", "0"], "1 or more"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_code_2(refused, arguments, message):
    assert message in refused(*arguments)


def test_mistakes_with_a_state_are_one_line(call, refused, tmp_path):
    call("ask", "tea.json", "--space", TEA, "--n", 2)
    assert "leave out --space" in refused("ask", "tea.json", "--space", TEA)
    assert "2 points are pending" in refused("tell", "tea.json", 1.0)
    assert "say one of" in refused("tell", "tea.json")
    assert "outside" in refused("tell", "tea.json", 1.0, "--point", "90,2,oil")
    assert "3 values" in refused("tell", "tea.json", 1.0, "--point", "90")
    (tmp_path / "bad.csv").write_text("heat,cups,solvent,value\n30,2,oil,good\n")
    assert "row 2: the value 'good'" in refused("tell", "tea.json", "--data", "bad.csv")
    for mark, what in ((";", "semicolons"), ("\t", "tabs")):
        (tmp_path / "marks.csv").write_text(f"x{mark}y\n1,5{mark}2\n3{mark}4\n")
        assert f"by commas, not by {what}" in refused("fit", "marks.csv", "y", "gp")
    (tmp_path / "gaps.csv").write_text("heat,cups,solvent,value\n\n30,2,oil,1\n\n300,2,oil,1\n")
    told = refused("tell", "tea.json", "--data", "gaps.csv")
    assert "gaps.csv, row 5: heat = 300 is outside" in told
    assert "no column yield" in refused(
        "tell", "tea.json", "--data", "bad.csv", "--column", "yield"
    )
    (tmp_path / "own.csv").write_text("heat,cups,solvent\n30,2,oil\n")
    assert "heat is an input" in refused(
        "tell", "tea.json", "--data", "own.csv", "--column", "heat"
    )
    assert len(load_state("tea.json").evaluations) == 0


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("settings", "initial"), "many"),
        (("settings", "acquisition"), []),
        (("settings", "acquisition_options"), 3),
        (("settings", "inference"), {}),
        (("settings", "gp"), 1.5),
        (("settings", "repeats"), math.nan),
        (("settings",), [[1, 2]]),
        (("space", "inputs", "heat", "log"), math.nan),
        (("asked",), 10**30),
        (("asked",), -1),
        (("seed",), -1),
        (("pending",), 3),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else repr(value),
)
def test_a_state_spoilt_anywhere_is_one_line_and_left_alone(call, refused, tmp_path, keys, value):
    call("ask", "tea.json", "--space", TEA)
    path = tmp_path / "tea.json"
    inner = state = json.loads(path.read_text())
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(state))
    refused("ask", "tea.json")
    assert path.read_text() == json.dumps(state)


def test_a_state_cut_off_anywhere_is_one_line(call, refused, tmp_path):
    call("ask", "tea.json", "--space", TEA)
    path = tmp_path / "tea.json"
    whole = path.read_text()
    for end in range(0, len(whole) - 2, 97):
        path.write_text(whole[:end])
        assert "no state of an optimisation" in refused("tell", "tea.json", 1.0)


def test_mistakes_with_tables_and_folders_are_one_line(refused, table, tmp_path):
    assert "no column z" in refused("fit", table, "z", "gp")
    assert "other than y" in refused("fit", table, "y", "gp", "--inputs", "[y]")
    (tmp_path / "bad.csv").write_text("x,y\n1,2\n3,\n")
    assert "bad.csv, row 3: y = ''" in refused("fit", "bad.csv", "y", "gp")
    (tmp_path / "ragged.csv").write_text("x,y\n1,2,3\n")
    assert "row 2: 3 cells under 2 names" in refused("fit", "ragged.csv", "y", "gp")
    (tmp_path / "gaps.csv").write_text('x,y\n\n1,"2"\n\n\n3,many\n')
    assert "gaps.csv, row 6: y = 'many'" in refused("fit", "gaps.csv", "y", "gp")
    (tmp_path / "empty.csv").write_text("x,y\n")
    assert "at least one row" in refused("fit", "empty.csv", "y", "gp")
    (tmp_path / "one.csv").write_text("x,y\n1,2\n")
    assert "at least two points" in refused("fit", "one.csv", "y", "gp")
    (tmp_path / "twice.csv").write_text("x,y\n0,1\n0,2\n1,3\n")
    assert "two different outputs" in refused("fit", "twice.csv", "y", "gp", "--noise", 0)
    (tmp_path / "nan.csv").write_text("x,y\n0,1\nnan,2\n1,3\n")
    assert "no finite number" in refused("fit", "nan.csv", "y", "gp")
    assert "at least 0" in refused("fit", table, "y", "gp", "--noise=-1")
    assert "at least 0" in refused("fit", table, "y", "gp", "--noise", "inf")
    assert "different columns" in refused("fit", table, "y", "gp", "--inputs", "[t, t]")
    (tmp_path / "wide.csv").write_text(f"x,y\n1,{'9' * 200_000}\n2,3\n")
    assert "is no CSV file" in refused("fit", "wide.csv", "y", "gp")
    (tmp_path / "huge.csv").write_text("x,y\n0,1e300\n1,-1e300\n2,0\n")
    assert "another unit" in refused("fit", "huge.csv", "y", "gp")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\x80")
    assert "no text" in refused("fit", table, "y", "gp", "--config", "bytes.yaml")
    options = ("fit", table, "y", "gp", "--inference", "map")
    assert "no option draws" in refused(*options, "--options.draws", 5)
    assert "whole number" in refused(*options, "--options.restarts", "x")
    assert "give --kernel itself" in refused(*options, "--options.kernel", "rbf")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert "not empty" in refused("fit", table, "y", "full")
    assert "not empty" in refused("exam", "full")


def test_a_fit_that_did_not_converge_says_so_whenever_it_is_used(call, capsys, table):
    few = ("--options.num_draws", 16, "--options.warmup", 20)
    assert call("fit", table, "y", "gp", *few) == 0
    assert "warning: nuts: " in capsys.readouterr().out
    for command in (("predict", "gp", table), ("plot", "gp", "gp.png")):
        assert call(*command) == 0
        assert "warning: nuts: " in capsys.readouterr().err


def test_a_search_says_what_its_fits_did_not_reach(call, capsys, monkeypatch):
    from gp_bo.optimize import ask_tell

    fit = ask_tell.fit_surrogate

    def short(*data, **options):
        return replace(fit(*data, **options), messages=("the chains have NOT converged",))

    monkeypatch.setattr(ask_tell, "fit_surrogate", short)
    assert call("minimize", "exam", "--budget", 7, "--progress", "false", "--state", "s.json") == 0
    told = capsys.readouterr().err
    assert told.startswith("warning: after 5: the chains have NOT converged (and 1 more)")
    assert call("ask", "s.json") == 0
    assert "warning: after 7" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_computed(
    call, refused, table, tmp_path, monkeypatch
):
    commands = [
        ("fit", table, "y", "{}/gp"),
        ("exam", "{}/exam"),
        ("minimize", "exam", "--figure", "{}/f.png"),
    ]
    for command in commands:
        within = [str(a).format(table) for a in command]
        assert "is no folder" in refused(*within)
    (tmp_path / "mine").mkdir()
    monkeypatch.setattr("os.access", lambda path, _: Path(path).name == "mine")
    assert call("fit", table, "y", "mine", "--inference", "map") == 0  # whoever owns what is above
    for command in commands:
        there = [str(a).format("new") for a in command]
        assert "may not be written to" in refused(*there)


def test_a_fixed_noise_and_options_of_the_inference_are_passed_on(call, table):
    options = ("--inference", "sparse_variational", "--noise", 0.04)
    sparse = ("--options.num_inducing", 6, "--options.progress", "false")
    assert call("fit", table, "y", "gp", *options, *sparse) == 0
    fitted = load_gp("gp")
    assert isinstance(fitted, SparseGP)
    assert fitted.diagnostics["num_inducing"] == 6
    assert float(fitted.hyperparameters["noise"]) == pytest.approx(0.04)


def test_files_of_another_problem_or_changed_by_hand_are_one_line(call, refused, table, tmp_path):
    call("minimize", "exam", "--budget", 1, "--state", "s.json", "--progress", "false")
    told = refused("minimize", "branin", "--state", "s.json", "--progress", "false")
    assert "state of another problem" in told
    assert "no state of an optimisation" in refused("tell", table, 1.0)
    state = json.loads((tmp_path / "s.json").read_text())
    state["settings"]["colour"] = 1
    (tmp_path / "s.json").write_text(json.dumps(state))
    assert "unknown: colour" in refused("ask", "s.json")
    call("fit", table, "y", "gp", "--inference", "map")
    settings = json.loads((tmp_path / "gp" / "gp.json").read_text())
    del settings["kernel"]
    (tmp_path / "gp" / "gp.json").write_text(json.dumps(settings))
    assert "changed by hand" in refused("predict", "gp", table)
    for spoilt in ("", "[]", '{"inputs": 3, "target": "y"}', '{"inputs": ["t"], "target": "y"}'):
        call("fit", table, "y", "gp", "--inference", "map", "--force")
        (tmp_path / "gp" / "columns.json").write_text(spoilt)
        assert "does not name its columns" in refused("predict", "gp", table)
    (tmp_path / "gp" / "gp.json").write_text("[]")
    assert "no Gaussian process of ours" in refused("predict", "gp", table)


def test_every_command_has_help(call, capsys):
    for name in COMMANDS:
        assert call(name, "--help") == 0
        assert "options" in capsys.readouterr().out


def test_pending_points_are_forgotten_by_hand_and_by_age(call, capsys, refused):
    call("ask", "s.json", "--space", "{heat: [20, 80]}", "--n", 3)
    first, second, third = load_state("s.json").pending
    assert "say which" in refused("forget", "s.json")
    assert call("forget", "s.json", "--point", f"{second[0]:.3f}") == 0
    assert load_state("s.json").pending == (first, third)
    assert "is not pending" in refused("forget", "s.json", "--point", "50")
    assert "a number of hours; got -1" in refused("forget", "s.json", "--older_than", -1)
    assert call("forget", "s.json", "--older_than", 1) == 0
    assert load_state("s.json").pending == (first, third)
    assert call("forget", "s.json", "--all") == 0
    assert load_state("s.json").pending == ()
    assert "0 points pending" in capsys.readouterr().out


def test_where_values_are_noisy_the_best_is_said_to_be_lucky(call, capsys):
    call("ask", "s.json", "--space", "{heat: [20, 80]}", "--repeats")
    for value in (1.0, 1.4, 0.6):
        assert call("tell", "s.json", value, "--point", 30) == 0
    assert call("tell", "s.json", 3.0, "--point", 70) == 0
    said = capsys.readouterr().out
    assert "best value 0.6 at heat = 30" in said
    assert "recommended, by the posterior mean" in said


def test_labels_are_fitted_predicted_and_drawn_from_a_table(call, capsys, refused, tmp_path):
    rows = [f"{i / 3},{int(i > 6)},{i / 2}" for i in range(14)]
    (tmp_path / "labels.csv").write_text("\n".join(["t,ill,half", *rows]) + "\n")
    fit = ("fit", "labels.csv", "ill", "gp", "--inputs", "[t]", "--inference", "map")
    assert call(*fit, "--likelihood", "bernoulli") == 0
    assert "bernoulli likelihood" in capsys.readouterr().out
    assert call("predict", "gp", "labels.csv") == 0
    predicted = printed_rows(capsys)
    assert predicted[0].keys() == {"t", "ill", "standard_deviation", "low_95", "high_95"}
    for row in predicted:
        low, p, high = (float(row[name]) for name in ("low_95", "ill", "high_95"))
        assert 0 <= low <= p <= high <= 1
    assert float(predicted[0]["ill"]) < 0.5 < float(predicted[-1]["ill"])
    assert call("plot", "gp", "gp.png") == 0
    halves = ("fit", "labels.csv", "half", "other", "--inputs", "[t]", "--likelihood")
    assert "labels of a bernoulli likelihood are 0 or 1" in refused(*halves, "bernoulli")
    assert "counts of a poisson likelihood" in refused(*halves, "poisson")
