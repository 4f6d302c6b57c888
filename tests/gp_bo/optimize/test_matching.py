"""A result counts for the point that it is of, at every door."""

import json

import numpy as np
import pytest
import torch

from gp_bo.optimize import Integer, Optimizer, State, load_state, space_from
from gp_bo.optimize.matching import observed_before, observed_point
from pyro_models import UsageError

WIDE = space_from([(0, 10_000)])


def pending(*values, space=WIDE):
    return State(space, pending=tuple((v,) for v in values))


@pytest.mark.parametrize(
    ("told", "counts_for"),
    [
        (4879.0, 4879.0),  # equal, though another within a thousandth comes first
        (4876, 4876.0),
        (4878.8, 4879.0),  # the nearest, clearly
        (4877.5, 4877.5),  # halfway: which one is open
        (4900.0, 4900.0),  # none within a thousandth
        (17.3, 17.26),
        (np.float32(17.26), 17.26),
    ],
    ids=str,
)
def test_the_equal_point_comes_first_then_the_nearest_that_is_clear(told, counts_for):
    assert observed_point(pending(4876.0, 4879.0, 17.26), told) == (counts_for,)


def test_a_point_that_is_pending_twice_is_no_riddle():
    assert observed_point(pending(17.26, 17.26), 17.3) == (17.26,)


def test_whole_numbers_and_categories_count_only_if_they_are_equal():
    space = space_from({"cups": Integer(1, 100_000), "kind": ["a", "b"]})
    state = State(space, pending=((50_000, "a"),))
    assert observed_point(state, (50_000.0, "a")) == (50_000, "a")
    for other in ((50_001, "a"), (50_000, "b")):
        assert observed_point(state, other) == other


def test_a_rounded_point_may_lie_just_outside_the_bounds_if_it_is_pending():
    low = np.float64(0.1) + 1e-12
    space = space_from([(low, 0.7)])
    state = pending(low, space=space)
    assert observed_point(state, [0.1]) == (low,)
    with pytest.raises(UsageError, match="outside"):
        observed_point(state, [0.05])


def test_a_logarithmic_input_is_compared_by_its_logarithm():
    space = space_from({"acid": {"low": 1e-6, "high": 1.0, "log": True}})
    state = pending(2.345e-6, 2.4e-4, space=space)
    assert observed_point(state, 2.35e-6) == (2.345e-6,)
    assert observed_point(state, 3e-6) == (3e-6,)
    assert observed_point(State(space, pending=((1e-6,),)), 1.0) == (1.0,)


def test_what_was_evaluated_or_is_a_candidate_is_that_point_and_no_other():
    evaluated = pending(0.5).with_observed((0.5001,), 1.0)
    assert observed_point(evaluated, 0.5001) == (0.5001,)
    assert observed_point(evaluated, 0.5002) == (0.5,)
    near = space_from(None, candidates=[0.0, 0.5, 0.5001, 1.0])
    assert observed_point(pending(0.5, space=near), 0.5001) == (0.5001,)
    assert observed_point(pending(0.5, space=near), 0.49999) == (0.5,)


@pytest.mark.parametrize(
    "written",
    [
        lambda x: np.array(x, dtype=np.float32),
        lambda x: torch.tensor(x, dtype=torch.float32),
        lambda x: [round(v, 4) for v in x],
        lambda x: {"x1": f"{x[0]:.5f}", "x2": x[1]},
    ],
    ids=["float32", "tensor", "rounded", "text"],
)
def test_python_tells_points_with_fewer_digits_and_none_stays_pending(written):
    optimizer = Optimizer([(-3.0, 7.0), (0.0, 1.0)], initial=50)
    points = optimizer.ask(5)
    for point in points:
        optimizer.tell(written(point), sum(point))
    assert not optimizer.pending
    assert [e.point for e in optimizer.evaluations] == points
    assert not optimizer.messages


def test_a_new_point_while_others_are_pending_is_said():
    optimizer = Optimizer([(0.0, 1.0)])
    optimizer.tell([0.2], 1.0)
    assert not optimizer.messages
    [asked] = optimizer.ask()
    optimizer.tell([0.25], 1.0)
    assert optimizer.messages == ["a new point, none that is pending: x = 0.25"]
    assert optimizer.pending == (asked,)


def test_a_row_told_before_is_known_though_its_point_has_more_digits():
    state = State(WIDE).with_observed((4876.0,), 1.0).with_observed((4885.0,), 1.0)
    # both are within a thousandth of the first row; each evaluation is one row
    assert observed_before(state, [(4880.0,), (4884.0,), (4888.0,)], [1.0] * 3) == [
        True,
        True,
        False,
    ]
    assert observed_before(state, [(4876.0,)], [2.0]) == [False]
    again = State(WIDE, pending=((4880.0,),)).with_observed((4876.0,), 1.0)
    assert observed_before(again, [(4880,)], [1.0]) == [False]


@pytest.mark.usefixtures("elsewhere")
def test_the_command_tells_the_equal_point_and_tables_land_on_one(call, capsys, tmp_path):
    state = tmp_path / "s.json"
    call("ask", "s.json", "--space", "{a: [0, 10000]}")
    record = json.loads(state.read_text())
    state.write_text(json.dumps({**record, "pending": [[4876.0], [4879.0]]}))
    assert call("tell", "s.json", 2.0, "--point", 4879) == 0
    assert load_state("s.json").pending == ((4876.0,),)
    assert load_state("s.json").evaluations[0].point == (4879.0,)
    (tmp_path / "done.csv").write_text("a,value\n4876.3,1.5\n")
    assert call("tell", "s.json", "--data", "done.csv") == 0
    # a point nearby is pending now, and the same table is told again
    Optimizer.resume("s.json").ask()
    record = json.loads(state.read_text())
    state.write_text(json.dumps({**record, "pending": [[4876.4]]}))
    assert call("tell", "s.json", "--data", "done.csv") == 0
    assert "1 rows were told before" in capsys.readouterr().out
    known = load_state("s.json")
    assert [e.point for e in known.evaluations] == [(4879.0,), (4876.0,)]
    assert known.pending == ((4876.4,),)
    assert call("tell", "s.json", 1.0, "--point", 5000) == 0
    assert "a new point, none that is pending: a = 5000" in capsys.readouterr().err
