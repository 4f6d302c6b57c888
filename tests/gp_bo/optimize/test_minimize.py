"""Minimising in one call, and what is left of it when the process is killed."""

import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from gp_bo.functions import function_named
from gp_bo.optimize import NoNumberError, Optimizer, load_state, minimize
from pyro_models import UsageError

# a GP whose hyper-parameters are fixed: nothing is inferred
QUICK = {
    "kernel": "rbf",
    "noise": 1e-6,
    "priors": {"lengthscale": 0.3, "variance": 1.0, "mean": 0.0},
}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_minimum_of_a_wavy_function_is_found(seed):
    function = function_named("exam")
    fixed = {**QUICK, "kernel": "matern52", "priors": {**QUICK["priors"], "lengthscale": 0.1}}
    result = minimize(function, function.bounds, budget=22, seed=seed, gp=fixed)
    assert function.regret(result.y) < 0.01
    assert result.y == function(result.x) == min(e.value for e in result.evaluations)


def test_branin_is_found_with_hyper_parameters_learned_along_the_way():
    branin = function_named("branin")
    options = {"kernel": "rbf", "noise": 1e-6, "restarts": 2}
    result = minimize(branin, branin.bounds, budget=14, seed=0, gp=options)
    assert branin.regret(result.y) < 2


def test_a_result_says_what_was_found_and_why_it_stopped():
    result = minimize(lambda x: x[0] ** 2, [(-1.0, 2.0)], budget=6, seed=0, gp=QUICK)
    assert len(result.evaluations) == 6
    assert result.stopped == "the budget of 6 evaluations is spent"
    assert result.trace[-1] == result.y
    assert (np.diff(result.trace) <= 0).all()
    np.testing.assert_allclose(result.regret(0.0), result.trace)
    assert "least value" in str(result)
    with pytest.raises(AttributeError):
        result.y = 0.0


def test_it_stops_at_a_target_and_when_all_was_tried():
    first = minimize(lambda x: x[0] ** 2, [(-1.0, 2.0)], budget=20, target=0.5, gp=QUICK)
    assert first.y <= 0.5
    assert first.stopped == "the target 0.5 is reached"
    assert len(first.evaluations) < 20
    second = minimize(lambda x: x[0], candidates=[1.0, 2.0, 3.0], budget=20, gp=QUICK)
    assert second.stopped == "every point was tried"
    assert second.y == 1.0
    top = minimize(lambda x: x[0], [(0.0, 1.0)], budget=20, target=0.9, maximize=True, gp=QUICK)
    assert top.y >= 0.9


def test_a_function_that_raises_is_a_failed_evaluation():
    def fragile(x):
        if x[0] < 0.25:
            raise RuntimeError("too cold")
        return float("nan") if x[0] > 0.9 else x[0]

    result = minimize(fragile, [(0.0, 1.0)], budget=16, seed=1, gp=QUICK)
    failures = {e.failure for e in result.evaluations if e.value is None}
    assert "RuntimeError: too cold" in failures
    assert 0.25 <= result.y < 0.35
    assert "failed" in str(result)


def test_a_function_that_always_fails_is_said_so(tmp_path):
    def broken(x):
        raise OSError("no power")

    said = "all 4 evaluations failed; the first: OSError: no power"
    with pytest.raises(UsageError, match=f"{said}$"):
        minimize(broken, [(0.0, 1.0)], budget=4)
    state = tmp_path / "s.json"
    with pytest.raises(UsageError, match=f"{said}; mend f and begin anew, without .*s.json"):
        minimize(broken, [(0.0, 1.0)], budget=4, state=state)


def test_what_is_not_a_failure_of_the_function_ends_the_search_and_is_gone_on_from(tmp_path):
    calls = []

    def interrupted(x):
        calls.append(x[0])
        if len(calls) == 7:
            raise KeyboardInterrupt
        return (x[0] - 0.6) ** 2

    options = {"budget": 9, "gp": QUICK, "state": tmp_path / "s.json"}
    with pytest.raises(KeyboardInterrupt):
        minimize(interrupted, [(0.0, 1.0)], **options)
    state = load_state(tmp_path / "s.json")
    assert len(state.evaluations) == 6
    assert [p[0] for p in state.pending] == calls[-1:]
    result = minimize(interrupted, [(0.0, 1.0)], **options)
    assert calls[7] == calls[6]
    whole = minimize(lambda x: (x[0] - 0.6) ** 2, [(0.0, 1.0)], budget=9, gp=QUICK)
    assert result.evaluations == whole.evaluations


SCRIPT = """
import json, pathlib, sys
from gp_bo.optimize import minimize
folder = pathlib.Path(sys.argv[1])
def f(x):
    with (folder / "log").open("a") as log:
        log.write(json.dumps([x[0], x[1]]) + "\\n")
    return (x[0] - 0.3) ** 2 + (x[1] - 0.6) ** 2
def search():
    gp = {"priors": {"lengthscale": 0.3, "variance": 1.0, "mean": 0.0}}
    return minimize(f, [(0, 1), (0, 1)], budget=12, gp=gp, state=folder / "s.json")
if __name__ == "__main__":
    search()
"""


def test_a_process_that_is_killed_loses_no_evaluation_and_repeats_none(tmp_path, monkeypatch):
    (tmp_path / "run.py").write_text(SCRIPT)
    state = tmp_path / "s.json"

    def told():
        return len(json.loads(state.read_text())["evaluations"]) if state.exists() else 0

    with subprocess.Popen(
        [sys.executable, "-W", "ignore", tmp_path / "run.py", tmp_path],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        # between tells: asked points are pending only while f runs, which takes no time here
        deadline = time.monotonic() + 300  # to import is minutes where a machine is busy
        while told() < 7 and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert told() >= 7
    monkeypatch.setattr(sys, "argv", ["run.py", str(tmp_path)])
    runpy.run_path(str(tmp_path / "run.py"))["search"]()  # as another process would go on
    evaluated = [tuple(json.loads(line)) for line in (tmp_path / "log").read_text().splitlines()]
    recorded = [e.point for e in load_state(state).evaluations]
    # only an evaluation that was running when the process died may be made again
    assert list(dict.fromkeys(evaluated)) == recorded
    assert len(evaluated) - len(set(evaluated)) <= 1
    assert len(recorded) == len(set(recorded)) == 12


@pytest.mark.parametrize(
    ("f", "budget", "message"), [(3, 2, "f is a function"), (sum, 2.5, "one evaluation or more")]
)
def test_what_is_no_function_and_no_budget_is_refused_before_anything_is_asked(f, budget, message):
    with pytest.raises(UsageError, match=message):
        minimize(f, [(0.0, 1.0)], budget=budget)


def test_a_budget_below_one_is_refused():
    with pytest.raises(UsageError, match="budget"):
        minimize(lambda x: 0.0, [(0, 1)], budget=0)


ONE = {
    "array": lambda y: np.array([y]),
    "tensor": lambda y: torch.tensor([[y]], dtype=torch.float64),
    "number": np.float64,
}


@pytest.mark.parametrize("wrap", ONE.values(), ids=ONE)
def test_one_element_is_a_number(wrap):
    result = minimize(lambda x: wrap(float(x[0]) ** 2), [(-1.0, 2.0)], budget=4)
    assert [e.value for e in result.evaluations] == [e.point[0] ** 2 for e in result.evaluations]


NO_NUMBERS = [None, "3.5", 1 + 2j, [1.0, 2.0], np.zeros(3), np.ma.masked]


@pytest.mark.parametrize("given", NO_NUMBERS, ids=str)
def test_what_is_no_number_is_said_at_once_and_what_was_kept_stays(given, tmp_path):
    calls = []

    def odd(x):
        calls.append(x)
        return given if len(calls) == 3 else 1.0

    with pytest.raises(NoNumberError, match="a value is a number") as refusal:
        minimize(odd, [(0.0, 1.0)], budget=30, state=tmp_path / "s.json")
    assert len(calls) == 3
    assert "\n" not in str(refusal.value)
    state = load_state(tmp_path / "s.json")
    assert refusal.value.evaluations == state.evaluations
    assert len(state.evaluations) == 2
    minimize(odd, [(0.0, 1.0)], budget=4, state=tmp_path / "s.json")
    assert (calls[3] == calls[2]).all()  # the point that had no value


@pytest.mark.parametrize("given", [10**400, -(10**400)], ids=["large", "small"])
def test_a_whole_number_beyond_all_floats_is_a_failed_evaluation(given):
    result = minimize(lambda x: given if x[0] > 0.5 else float(x[0]), [(0.0, 1.0)], budget=4)
    assert {e.value is None for e in result.evaluations if e.point[0] > 0.5} == {True}


def test_a_first_evaluation_that_fails_is_said_at_once(caplog):
    with pytest.raises(UsageError, match="all 3 evaluations failed"):
        minimize(lambda x: float("nan"), [(0.0, 1.0)], budget=3)
    [warning] = caplog.messages
    assert warning.startswith("the first evaluation failed, at x = ")
    assert "the value is nan" in warning


def test_two_searches_with_one_file_share_the_budget_and_no_point(tmp_path):
    options = {"budget": 12, "initial": 50, "state": tmp_path / "s.json"}
    evaluated, began = [], threading.Barrier(3, timeout=60)

    def f(x):
        if len(evaluated) < 3:
            began.wait()  # all three are at it
        evaluated.append(x[0])
        return x[0]

    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(minimize, f, [(0.0, 1.0)], **options) for _ in range(3)]
        results = [job.result() for job in jobs]
    state = load_state(tmp_path / "s.json")
    assert len(state.evaluations) == len(set(evaluated)) == len(evaluated) == 12
    assert not state.pending
    assert all("the budget of 12 evaluations is spent" in result.stopped for result in results)


def test_a_point_asked_for_by_hand_is_left_to_whoever_asked(tmp_path):
    optimizer = Optimizer([(0.0, 1.0)], state=tmp_path / "s.json", initial=50)
    [asked] = optimizer.ask()
    minimize(lambda x: x[0], [(0.0, 1.0)], budget=3, initial=50, state=tmp_path / "s.json")
    state = load_state(tmp_path / "s.json")
    assert state.pending == (asked,)
    assert asked not in [e.point for e in state.evaluations]


def test_a_noisy_search_recommends_by_the_posterior_mean_and_says_both():
    rng = np.random.default_rng(1)

    def noisy(x):
        return 8 * (x[0] - 0.5) ** 2 - 2 + 0.5 * rng.standard_normal()

    gp = {**QUICK, "noise": 0.3}
    result = minimize(noisy, [(0.0, 1.0)], budget=30, gp=gp, repeats=True, initial=20)
    assert result.y < -2.4
    found = result.recommended
    assert abs(found.mean + 2) < 3 * found.standard_deviation + 0.1
    assert f"least value seen: {result.y:.6g}" in str(result)
    assert f"recommended, by the posterior mean {found.mean:.6g}" in str(result)
