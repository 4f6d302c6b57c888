"""State files: all digits come back, and nothing else is taken for one."""

import dataclasses
import json
import math

import pytest

from gp_bo.optimize import State, load_state, save_state, space_from
from pyro_models import UsageError

SPACE = space_from({"heat": (0.0, 1.0), "kind": ["a", "b"]})


def filled():
    state = State(SPACE, maximize=True, problem="tea", seed=4, settings={"acquisition": "ucb"})
    for i in range(3):
        state = state.with_asked((math.pi / (i + 4), "a"))
    state = state.with_observed((math.pi / 4, "a"), 0.1 + 0.2)
    return state.with_observed((math.pi / 5, "a"), None, "the pot broke")


def test_a_state_comes_back_with_every_digit(tmp_path):
    save_state(filled(), tmp_path / "tea.json")
    assert load_state(tmp_path / "tea.json") == filled()


def test_what_was_asked_is_pending_until_it_is_told():
    state = filled()
    assert state.pending == ((math.pi / 6, "a"),)
    assert state.asked == 3
    assert [e.value for e in state.evaluations] == [0.1 + 0.2, None]


def test_a_point_asked_twice_is_pending_once_more_after_one_value():
    state = (
        State(SPACE).with_asked((0.5, "a")).with_asked((0.5, "a")).with_observed((0.5, "a"), 1.0)
    )
    assert state.pending == ((0.5, "a"),)


def test_the_best_follows_the_direction_and_ignores_failures():
    state = filled().with_observed((0.2, "b"), 7.0).with_observed((0.3, "b"), -7.0)
    assert state.best.value == 7.0
    assert dataclasses.replace(state, maximize=False).best.value == -7.0
    assert State(SPACE).best is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"space": space_from([(0, 1)])}, "inputs, bounds"),
        ({"maximize": False}, "maximised"),
        ({"problem": "coffee"}, "tea"),
        ({"seed": 5}, "seed is 4"),
    ],
    ids=["space", "direction", "name", "seed"],
)
def test_another_problem_is_told_apart(change, words):
    assert words in dataclasses.replace(filled(), **change).differs_from(filled())
    assert filled().differs_from(filled()) == ""


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": "other"}', "\x00\xff", "[" * 100_000], ids=lambda t: t[:20]
)
def test_a_file_that_is_no_state_is_refused(tmp_path, text):
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(UsageError, match="no state"):
        load_state(tmp_path / "file.json")


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(UsageError, match="there is no state file"):
        load_state(tmp_path / "none.json")


def test_a_state_spoilt_by_hand_is_refused_in_one_line(tmp_path):
    record = json.loads(filled().to_json())
    for spoil in (
        {"pending": [[9.0, "a"]]},
        {"seed": "x"},
        {"seed": math.inf},
        {"evaluations": [{}]},
        {"claims": [[]]},
        {"maximize": "no"},  # a text is no false
    ):
        text = json.dumps({**record, **spoil}).replace("Infinity", "1e400")
        (tmp_path / "file.json").write_text(text)
        with pytest.raises(UsageError, match="changed by hand") as refusal:
            load_state(tmp_path / "file.json")
        assert "\n" not in str(refusal.value)
