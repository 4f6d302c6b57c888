"""Asking and telling: designs, batches, failures, state files."""

import errno
import itertools
import json
import math
import os

import numpy as np
import pytest
import torch

from gp_bo.optimize import Integer, Optimizer, ask_tell, load_state
from pyro_models import UsageError

BOX = [(-1.0, 1.0), (0.0, 2.0)]
# a GP whose hyper-parameters are fixed: nothing is inferred
QUICK = {
    "kernel": "rbf",
    "noise": 1e-6,
    "priors": {"lengthscale": 0.3, "variance": 1.0, "mean": 0.0},
}


def bowl(point):
    return (point[0] - 0.2) ** 2 + (point[1] - 1.3) ** 2


def made(**options):
    return Optimizer(BOX, **{"gp": QUICK, **options})


def filled(count=8, **options):
    optimizer = made(**options)
    for _ in range(count):
        [point] = optimizer.ask()
        optimizer.tell(point, bowl(point))
    return optimizer


def test_the_design_comes_first_and_then_the_model():
    optimizer = made(initial=5)
    design = optimizer.ask(5)
    assert len(set(design)) == 5
    optimizer.tell(design, [bowl(p) for p in design])
    assert not optimizer.pending
    [point] = optimizer.ask()
    assert point not in design
    assert bowl(point) < min(bowl(p) for p in design)


def test_points_asked_for_and_not_told_are_designed_around():
    optimizer = made(initial=3)
    points = list(itertools.chain.from_iterable(optimizer.ask() for _ in range(6)))
    assert len(set(points)) == 6
    assert optimizer.pending == tuple(points)


@pytest.mark.parametrize("acquisition", ["log_ei", "thompson"])
def test_a_batch_holds_different_points(acquisition):
    few = {"candidates": 100} if acquisition == "thompson" else {}
    batch = filled(6, acquisition=acquisition, acquisition_options=few).ask(4)
    distance = np.abs(np.array(batch)[:, None] - np.array(batch)[None]).max(-1)
    assert distance[~np.eye(4, dtype=bool)].min() > 1e-6


def test_the_next_point_depends_on_the_seed_and_on_nothing_else():
    first, again, other = (filled(7, seed=s).ask() for s in (3, 3, 4))
    assert first == again
    assert first != other


def test_what_is_told_without_being_asked_counts():
    optimizer = made(initial=5)
    rows = np.random.default_rng(0).random((6, 2))
    optimizer.tell(rows, [bowl(row) for row in rows])
    assert optimizer.best.value == min(bowl(row) for row in rows)
    [point] = optimizer.ask()
    assert bowl(point) < optimizer.best.value


def test_maximising_is_minimising_the_negative():
    down = filled(10)
    up = made(maximize=True)
    for _ in range(10):
        [point] = up.ask()
        up.tell(point, -bowl(point))
    assert [e.point for e in up.evaluations] == [e.point for e in down.evaluations]
    assert up.best.value == -down.best.value


def test_units_of_inputs_and_values_change_no_choice():
    plain, scaled = filled(9), Optimizer([(-1000.0, 1000.0), (0.0, 0.2)], gp=QUICK)
    for _ in range(9):
        [point] = scaled.ask()
        scaled.tell(point, 1e4 + 500 * bowl((point[0] / 1000, point[1] * 10)))
    ours = np.array([e.point for e in plain.evaluations])
    theirs = np.array([e.point for e in scaled.evaluations]) / [1000.0, 0.1]
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
    "bad", [float("nan"), float("inf"), None, -1e300], ids=["nan", "inf", "none", "huge"]
)
def test_a_failed_evaluation_is_recorded_and_avoided(bad):
    optimizer = filled(8, initial=6)
    [point] = optimizer.ask()
    optimizer.tell(point, bad)
    assert optimizer.evaluations[-1].value is None
    assert optimizer.evaluations[-1].failure
    [after] = optimizer.ask()
    assert max(abs(a - b) for a, b in zip(after, point, strict=True)) > 0.02
    optimizer.tell_failure(after, "smoke")
    assert optimizer.evaluations[-1].failure == "smoke"


def test_a_design_that_fails_goes_on_until_there_are_values():
    optimizer = made(initial=3)
    points = []
    for i in range(8):
        [point] = optimizer.ask()
        points.append(point)
        optimizer.tell(point, math.nan if i < 4 else bowl(point))
    assert len(set(points)) == 8
    assert len(optimizer.state.successes) == 4


def test_a_region_that_always_fails_is_left():
    optimizer = Optimizer([(0.0, 1.0)], gp=QUICK, initial=4)
    for _ in range(14):
        [(x,)] = optimizer.ask()
        # better and better towards the part where nothing works
        optimizer.tell(x, math.nan if x < 0.3 else x)
    late = [e.point[0] for e in optimizer.evaluations[7:]]
    assert sum(x < 0.3 for x in late) <= 4
    assert 0.3 <= optimizer.best.point[0] < 0.4


def test_a_finite_space_is_tried_once_each_and_then_exhausted():
    optimizer = Optimizer({"n": Integer(1, 3), "kind": ["a", "b"]}, gp=QUICK, initial=2)
    points = []
    for _ in range(6):
        points += optimizer.ask()
        optimizer.tell(points[-1], points[-1][0])
    assert len(set(points)) == 6
    assert optimizer.exhausted
    with pytest.raises(UsageError, match="every point of the space was tried"):
        optimizer.ask()


def test_repeats_are_allowed_where_values_are_noisy():
    optimizer = Optimizer(candidates=[0.0, 0.5, 1.0], gp=QUICK, initial=2, repeats=True)
    rng = np.random.default_rng(0)
    for _ in range(8):
        [point] = optimizer.ask()
        optimizer.tell(point, point[0] + 0.1 * rng.standard_normal())
    assert not optimizer.exhausted


@pytest.mark.parametrize("repeats", [False, True])
def test_a_large_space_is_repeated_in_only_if_that_is_allowed(repeats):
    greedy = {"acquisition": "ucb", "acquisition_options": {"beta": 0.0}}
    space = {"n": Integer(0, 100_000)}
    optimizer = Optimizer(space, gp=QUICK, initial=3, repeats=repeats, **greedy)
    points = []
    for _ in range(8):  # the least value is at the edge, and no lower mean is expected elsewhere
        points += optimizer.ask()
        optimizer.tell(points[-1], points[-1][0] / 1e5)
    assert (len(set(points)) < len(points)) == repeats


def test_only_candidates_are_asked_for():
    candidates = np.random.default_rng(1).random((30, 2))
    optimizer = Optimizer(candidates=candidates, gp=QUICK)
    for _ in range(10):
        [point] = optimizer.ask()
        assert list(point) in candidates.tolist()
        optimizer.tell(point, bowl(point))
    assert optimizer.best.value <= np.sort([bowl(c) for c in candidates])[1]


def test_a_mixed_space_is_searched_in_all_its_inputs():
    space = {"x": (0.0, 1.0), "n": Integer(0, 9), "kind": ["a", "b", "c"]}
    optimizer = Optimizer(space, gp=QUICK, seed=2, initial=8)
    for _ in range(22):
        [(x, n, kind)] = optimizer.ask()
        optimizer.tell((x, n, kind), (x - 0.4) ** 2 + (n - 6) ** 2 / 20 + (kind != "b"))
    assert optimizer.best.point[1:] == (6, "b")
    assert optimizer.best.value < 0.02


def test_each_ask_and_tell_is_in_the_file_before_it_returns(tmp_path):
    path = tmp_path / "state.json"
    optimizer = made(state=path, initial=3)
    [point] = optimizer.ask()
    assert load_state(path).pending == (point,)
    optimizer.tell(point, bowl(point))
    assert load_state(path) == optimizer.state
    assert not list(tmp_path.glob(".*"))


def test_what_another_process_tells_meanwhile_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "s.json"
    ours = Optimizer([(0.0, 1.0)], gp=QUICK, initial=2, state=path)
    for x in (0.1, 0.9):
        ours.tell([x], x)
    [ours_asked] = ours.ask()
    theirs = Optimizer.resume(path)
    theirs.tell([0.5], 0.25)
    [theirs_asked] = theirs.ask()
    assert theirs_asked != ours_asked
    ours.tell([0.7], 0.49)
    assert [e.value for e in ours.evaluations] == [0.1, 0.9, 0.25, 0.49]
    assert load_state(path) == ours.state
    assert ours.pending == (ours_asked, theirs_asked)

    fit = Optimizer.surrogate

    def interrupted_by_a_tell(self):
        theirs.tell(theirs_asked, 0.0)
        return fit(self)

    monkeypatch.setattr(Optimizer, "surrogate", interrupted_by_a_tell)
    [last] = ours.ask()
    assert load_state(path).pending == (ours_asked, last)
    assert [e.value for e in load_state(path).evaluations][-1] == 0.0


def test_an_optimisation_interrupted_anywhere_asks_for_the_same_points(tmp_path):
    whole = filled(9)
    path = tmp_path / "state.json"
    for _ in range(9):
        optimizer = made(state=path)
        [point] = optimizer.ask()
        again = made(state=path)
        assert again.pending == (point,)
        again.tell(point, bowl(point))
    assert load_state(path).evaluations == whole.evaluations
    assert Optimizer.resume(path).ask() == whole.ask()


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"maximize": True}, {"problem": "tea"}, {"space": [(0.0, 1.0)]}],
    ids=["seed", "direction", "problem", "space"],
)
def test_the_state_of_another_problem_is_refused_and_left_alone(tmp_path, change):
    path = tmp_path / "state.json"
    filled(3, state=path)
    before = path.read_text()
    space = change.pop("space", BOX)
    with pytest.raises(UsageError, match="another problem") as refusal:
        Optimizer(space, state=path, **change)
    assert "\n" not in str(refusal.value)
    assert path.read_text() == before


def test_settings_may_change_when_it_goes_on(tmp_path):
    path = tmp_path / "state.json"
    filled(7, state=path, acquisition="ucb")
    optimizer = Optimizer(BOX, state=path, acquisition="thompson", gp=QUICK)
    optimizer.ask()
    assert load_state(path).settings["acquisition"] == "thompson"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"acquisition": "best"}, "acquisition is one of"),
        ({"inference": "guess"}, "inference"),
        ({"design": "grid"}, "design is one of"),
        ({"initial": 1}, "two points"),
        ({"initial": 2.5}, "two points"),
        ({"initial": "many"}, "two points"),
        ({"gp": 3}, "gp map names"),
        ({"acquisition_options": [1]}, "acquisition_options map names"),
        ({"seed": -1}, "seed"),
        ({"gp": {"scale": True}}, "itself"),
        ({"gp": {"noise": -1}}, "at least 0"),
        ({"gp": {"mean": "cubic"}}, "unknown mean"),
        ({"gp": {"priors": {"width": 1.0}}}, "no hyper-parameter width"),
        ({"gp": {"priors": {"lengthscale": [1.0, 2.0, 3.0]}}}, "the prior of lengthscale"),
        ({"gp": {"restarts": "few"}}, "a whole number"),
        ({"gp": {"kept_draws": 0}}, "kept_draws"),
        ({"gp": {"num_draws": 8}}, "no option num_draws"),
        ({"inference": "quadrature"}, "one or two hyper-parameters"),
        ({"gp": {"kernel": "cubic"}}, "cubic"),
        ({"gp": {"priors": {"noise": print}}}, "JSON"),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_before_anything_is_asked(options, message):
    with pytest.raises(UsageError, match=message) as refusal:
        Optimizer(BOX, **options)
    assert "\n" not in str(refusal.value)


def test_a_batch_that_cannot_be_had_leaves_nothing_pending(monkeypatch):
    optimizer = Optimizer(candidates=[0.0, 1.0, 2.0, 3.0], gp=QUICK, initial=2)
    for x in (0.0, 1.0):
        optimizer.tell([x], x)
    with pytest.raises(UsageError, match="every point"):
        optimizer.ask(3)
    assert not optimizer.pending
    assert len(optimizer.ask(2)) == 2

    def interrupted(*_):
        raise KeyboardInterrupt

    other = filled(7, initial=6)
    monkeypatch.setattr(ask_tell, "by_acquisition", interrupted)
    with pytest.raises(KeyboardInterrupt):
        other.ask()
    assert not other.pending


def test_values_and_points_must_fit():
    optimizer = made()
    with pytest.raises(UsageError, match="one value for each"):
        optimizer.tell([(0.0, 1.0), (0.5, 1.0)], [1.0])
    with pytest.raises(UsageError, match="outside"):
        optimizer.tell((5.0, 1.0), 1.0)
    with pytest.raises(UsageError, match="a value is a number"):
        optimizer.tell((0.0, 1.0), "good")
    with pytest.raises(UsageError, match="a value is a number"):
        optimizer.tell([(0.0, 1.0), (0.5, 1.0)], [1.0, "good"])
    with pytest.raises(UsageError, match="a point and its value"):
        optimizer.tell(0.9, [1.0])
    with pytest.raises(UsageError, match="a point is"):
        optimizer.tell(None, 1.0)
    with pytest.raises(UsageError, match="one point or more"):
        optimizer.ask("two")
    with pytest.raises(UsageError, match="one point or more"):
        optimizer.ask(0)
    with pytest.raises(UsageError, match="two values"):
        optimizer.surrogate()
    assert not optimizer.evaluations


@pytest.mark.parametrize(
    "given",
    [np.array([0.5]), np.array([[0.5]]), np.float32(0.5), torch.tensor([0.5]), torch.tensor(0.5)],
    ids=["array", "matrix", "float32", "tensor", "tensor without dimensions"],
)
def test_an_array_of_one_element_is_a_value(given):
    optimizer = made()
    optimizer.tell((0.0, 1.0), given)
    optimizer.tell([(0.5, 1.0)], np.atleast_1d(np.asarray(given)))
    optimizer.tell(np.array([[0.2, 1.0], [0.3, 1.0]]), np.array([[0.5], [0.5]]))  # as BoTorch's
    assert [e.value for e in optimizer.evaluations] == [0.5] * 4


@pytest.mark.parametrize(
    "given",
    [1j, np.array([1j]), np.array([1.0, 2.0, 3.0]), object()],
    ids=["complex", "complex array", "several", "object"],
)
def test_what_is_no_real_number_is_no_value(given):
    optimizer = made()
    with pytest.raises(UsageError):
        optimizer.tell((0.0, 1.0), given)
    assert not optimizer.evaluations


def test_pending_points_of_the_dead_are_forgotten_by_age_and_by_hand(tmp_path):
    path = tmp_path / "s.json"
    optimizer = made(state=path, initial=50)
    points = optimizer.ask(4)
    assert optimizer.forget(older_than=3600) == ()
    assert optimizer.forget([[round(v, 5) for v in points[1]]]) == (points[1],)
    record = json.loads(path.read_text())
    record["claims"][0]["since"] -= 7200
    path.write_text(json.dumps(record))
    assert optimizer.forget(older_than=3600) == (points[0],)
    assert load_state(path).pending == (points[2], points[3])
    with pytest.raises(UsageError, match="is not pending"):
        optimizer.forget([points[0]])
    with pytest.raises(UsageError, match="older_than"):
        optimizer.forget(older_than=-1)
    assert optimizer.forget() == (points[2], points[3])
    assert not load_state(path).pending


def test_a_value_that_cannot_be_written_is_not_kept_and_the_error_has_it(tmp_path, monkeypatch):
    optimizer = made(state=tmp_path / "s.json", initial=50)
    [point] = optimizer.ask()
    before = optimizer.state

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(UsageError, match=r"s\.json could not be written .*: 0\.625$"):
            optimizer.tell(point, 0.625)
        with pytest.raises(UsageError, match="No space left"):
            optimizer.ask()
    assert optimizer.state == before == load_state(tmp_path / "s.json")
    optimizer.tell(point, 0.625)
    assert [e.value for e in load_state(tmp_path / "s.json").evaluations] == [0.625]


def test_a_point_given_away_while_it_was_chosen_is_chosen_again(tmp_path, monkeypatch):
    ours = filled(7, initial=6, state=tmp_path / "s.json")
    theirs, propose, given = Optimizer.resume(tmp_path / "s.json"), ask_tell.by_acquisition, []

    def faster(*arguments):
        if not given:
            given.append(None)
            given[:] = theirs.ask()
        return propose(*arguments)

    monkeypatch.setattr(ask_tell, "by_acquisition", faster)
    [asked] = ours.ask()
    assert given
    assert asked not in given
    assert load_state(tmp_path / "s.json").pending == (*given, asked)


def test_the_recommended_point_is_not_the_luckiest():
    rng = np.random.default_rng(0)
    optimizer = Optimizer([(0.0, 1.0)], gp={**QUICK, "noise": 0.3}, repeats=True)
    x = np.repeat(np.linspace(0, 1, 11), 4)
    values = 8 * (x - 0.5) ** 2 - 2 + 0.5 * rng.standard_normal(len(x))
    optimizer.tell(x[:, None], values)
    found = optimizer.recommend()
    assert optimizer.best.value < -2.5
    assert abs(found.mean + 2) < 3 * found.standard_deviation
    assert abs(found.x[0] - 0.5) < 0.11
    up = Optimizer([(0.0, 1.0)], gp={**QUICK, "noise": 0.3}, repeats=True, maximize=True)
    up.tell(x[:, None], -values)
    assert up.recommend().x == found.x
    assert up.recommend().mean == pytest.approx(-found.mean)


@pytest.mark.parametrize("seed", range(3))
def test_a_search_of_noisy_values_does_not_take_the_luckiest_for_certain(seed):
    """8 (x − 0.3)² with noise of standard deviation ½: no value is certain."""
    x = np.linspace(0, 1, 16)
    y = 8 * (x - 0.3) ** 2 + 0.5 * np.random.default_rng(seed).normal(size=16)
    optimizer = Optimizer([(0.0, 1.0)], repeats=True)
    optimizer.tell(x[:, None], y)
    found = optimizer.recommend()
    assert found.standard_deviation > 0.05
    assert found.mean > y.min() + 0.1
    assert abs(found.mean - 8 * (found.x[0] - 0.3) ** 2) < 4 * found.standard_deviation
