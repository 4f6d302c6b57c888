"""Spaces: what is a point of them, and their map to the unit cube and back."""

import numpy as np
import pytest
import torch

from gp_bo.optimize import Categorical, Continuous, Integer, Space, design_points, space_from
from pyro_models import UsageError

MIXED = {
    "heat": Continuous(20, 80),
    "acid": Continuous(1e-3, 10, log=True),
    "cups": Integer(1, 5),
    "solvent": ["water", "ethanol", "none"],
}


@pytest.mark.parametrize("seed", [0, 1])
def test_every_point_comes_back_from_the_unit_cube(seed):
    space = space_from(MIXED)
    points = design_points(space, 50, seed=seed)
    unit = space.encode(points)
    assert unit.shape == (50, 6)
    assert unit.min() >= 0
    assert unit.max() <= 1
    for point, back in zip(points, space.decode(unit), strict=True):
        assert back[2:] == point[2:]
        assert back[:2] == pytest.approx(point[:2], rel=1e-12)


def test_a_logarithmic_input_is_halfway_at_its_geometric_mean():
    space = space_from({"acid": Continuous(0.01, 100, log=True)})
    assert space.encode([(1.0,)]).item() == pytest.approx(0.5, abs=1e-15)


def test_whole_numbers_and_categories_are_snapped_to():
    space = space_from({"n": Integer(0, 4), "kind": ["a", "b"]})
    snapped = space.snap(torch.tensor([[0.3, 0.2, 0.7]], dtype=torch.float64))
    assert snapped.tolist() == [[0.25, 0.0, 1.0]]
    assert space.decode(snapped) == [(1, "b")]


def test_snapping_goes_to_the_nearest_candidate():
    space = space_from(None, candidates=np.linspace(-1, 1, 5))
    near = space.snap(torch.tensor([[0.3], [0.9]], dtype=torch.float64))
    assert space.decode(near) == [(-0.5,), (1.0,)]


def test_points_are_given_by_name_or_in_order():
    space = space_from(MIXED)
    named = {"solvent": "none", "heat": 30, "acid": 1.0, "cups": 2.0}
    assert space.check(named) == space.check([30, 1.0, 2, "none"]) == (30.0, 1.0, 2, "none")


def test_a_single_input_takes_a_plain_number():
    assert space_from([(0, 1)]).check(0.25) == space_from((0, 1)).check([0.25]) == (0.25,)


def test_a_candidate_written_with_fewer_digits_is_that_candidate():
    space = space_from(None, candidates=[[0.123456789], [1.0]])
    assert space.check(0.1234568) == (0.123456789,)
    with pytest.raises(UsageError, match="none of the candidates"):
        space.check(0.2)


def test_bounds_are_allowed_and_rounding_beyond_them_is_cut():
    space = space_from([(0.0, 0.3)])
    assert space.check(0.1 + 0.2) == (0.3,)


@pytest.mark.parametrize("given", [[(-5, 10), (0, 15)], MIXED], ids=["box", "mixed"])
def test_a_space_is_rebuilt_from_its_config(given):
    space = space_from(given)
    assert space_from(space.config()) == space


def test_candidates_are_rebuilt_too_and_equal_ones_are_one():
    space = space_from([(0, 1), (0, 1)], candidates=[[0, 0], [1, 0.5], [0, 0]])
    assert space.size == 2
    assert space_from(space.config()) == space


def test_the_size_of_a_finite_space_is_known():
    assert space_from({"n": Integer(1, 3), "kind": ["a", "b"]}).size == 6
    assert space_from(MIXED).size == float("inf")


@pytest.mark.parametrize("space", [[(0, 1)] * 3, MIXED], ids=["box", "mixed"])
def test_a_longer_design_begins_with_the_shorter_one(space):
    space = space_from(space)
    for design in ("sobol", "random"):
        long = design_points(space, 12, seed=3, design=design)
        assert long[:5] == design_points(space, 5, seed=3, design=design)
        assert len(set(long)) == 12


def test_the_design_of_a_finite_space_tries_every_point_once():
    points = design_points(space_from({"n": Integer(1, 3), "kind": ["a", "b"]}), 6, seed=1)
    assert len(set(points)) == 6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([(1, 0)], "lower bound must be below"),
        ([(1, 1)], "lower bound must be below"),
        ([(0, float("inf"))], "finite"),
        ([(float("nan"), 1)], "finite"),
        ([(0, 1, 2)], "needs bounds"),
        ([], "pairs"),
        ("ab", "pairs"),
        ({"x": {"kind": "real", "low": 0}}, "kind is one of"),
        ({"x": {"low": 0}}, "does not take"),
        ({"x": ["one"]}, "two or more"),
        ({"x": {"kind": "continuous", "low": 0, "high": 1, "log": True}}, "positive"),
        ({"x": {"kind": "integer", "low": 0.5, "high": 2}}, "whole"),
        ({}, "at least one"),
    ],
    ids=str,
)
def test_a_space_that_is_none_is_refused_in_one_line(given, message):
    with pytest.raises(UsageError, match=message) as refusal:
        space_from(given)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ((30, 1.0, 2), "a point has 4 values"),
        ((30, 1.0, 2.5, "none"), "whole number"),
        ((30, 1.0, 6, "none"), "outside"),
        ((90, 1.0, 2, "none"), "outside"),
        ((30, 1.0, 2, "acetone"), "is one of"),
        (("warm", 1.0, 2, "none"), "heat is a number"),
        (({"heat": 30}), "missing"),
        (({"heat": 30, "acid": 1, "cups": 1, "solvent": "none", "x": 1}), "no x"),
    ],
    ids=str,
)
def test_a_point_that_does_not_fit_is_refused_in_one_line(point, message):
    with pytest.raises(UsageError, match=message) as refusal:
        space_from(MIXED).check(point)
    assert "\n" not in str(refusal.value)


def test_points_become_arrays_of_numbers_or_objects():
    assert space_from([(0, 1)] * 2).as_array([(0.5, 1.0)]).dtype == np.float64
    assert space_from(MIXED).as_array([(30, 1.0, 2, "none")]).dtype == object


def test_categories_given_as_an_input_are_kept():
    assert Space({"kind": Categorical(("a", "b"))}).columns == 2
