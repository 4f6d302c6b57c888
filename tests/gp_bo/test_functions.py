"""Functions to try an optimiser on: their least values are the least."""

import numpy as np
import pytest
from scipy.optimize import minimize as descend

from gp_bo.functions import FUNCTIONS, function_named
from pyro_models import UsageError

EACH = pytest.mark.parametrize("name", list(FUNCTIONS))


@EACH
def test_the_minimum_is_taken_at_every_minimiser(name):
    function = FUNCTIONS[name]
    for point in function.minimizers:
        assert function(point) == pytest.approx(
            function.minimum, abs=2e-10 if name != "ackley" else 1e-14
        )
        assert all(a <= x <= b for x, (a, b) in zip(point, function.bounds, strict=True))


@EACH
def test_no_point_of_the_box_is_lower(name):
    function = FUNCTIONS[name]
    low, high = np.array(function.bounds).T
    points = low + (high - low) * np.random.default_rng(0).random((20000, function.dimension))
    values = function.values(points)
    for start in points[values.argsort()[:5]]:
        end = descend(function, start, method="L-BFGS-B", bounds=function.bounds)
        assert end.fun >= function.minimum - 1e-12
    assert values.min() > function.minimum


@pytest.mark.parametrize("name", ["branin", "hartmann6", "exam", "gramacy-lee"])
def test_the_gradient_vanishes_at_every_minimiser(name):
    function = FUNCTIONS[name]
    for point in np.array(function.minimizers):
        for step in 1e-4 * np.eye(function.dimension):
            slope = (function(point + step) - function(point - step)) / 2e-4
            curvature = (
                function(point + step) + function(point - step) - 2 * function(point)
            ) / 1e-8
            assert abs(slope) < 1e-5 * max(1, curvature)
            assert curvature > 0


def test_one_dimensional_functions_are_least_on_a_fine_grid():
    for name in ("exam", "gramacy-lee"):
        function = FUNCTIONS[name]
        [(low, high)] = function.bounds
        grid = np.linspace(low, high, 200001)[:, None]
        assert function.values(grid).min() == pytest.approx(function.minimum, abs=2e-7)


def test_the_exam_function_is_the_sheets():
    assert function_named("exam")(0.5) == pytest.approx(
        np.sin(10) + 2 * np.cos(7) - 2 * np.sin(3), abs=1e-15
    )


def test_an_unknown_function_and_a_point_of_wrong_size_are_refused():
    with pytest.raises(UsageError, match="there are branin"):
        function_named("rosenbrock")
    with pytest.raises(UsageError, match="2 inputs; got 3"):
        function_named("branin")([1, 2, 3])
