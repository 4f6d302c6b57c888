"""A mean and its standard error are computed, and written, in one way."""

import math

import pytest
import torch

from inference.standard_error import error_of_mean, mean_and_error, with_error


def test_the_error_of_a_mean_is_that_of_independent_values():
    values = torch.tensor([1.0, 2.0, 6.0])
    mean, error = mean_and_error(values)
    assert mean == pytest.approx(3.0)
    assert error == pytest.approx(math.sqrt((4 + 1 + 9) / 2 / 3))
    assert math.isnan(mean_and_error(values[:1])[1])
    assert error_of_mean(torch.tensor([3.0, 4.0])) == pytest.approx(2.5)
    assert math.isnan(error_of_mean(torch.tensor([3.0, math.nan])))


@pytest.mark.parametrize(
    ("value", "error", "digits", "says"),
    [
        (-90.0, 0.5, 2, "-90.00 ± 0.50"),
        (-90.0, None, 2, "-90.00"),
        (-90.0, math.nan, 2, "-90.00"),
        (-90.0, 0.0, 2, "-90.00 ± 0.00"),
        (-90.0, math.inf, 2, "-90.00 ± inf"),
        (math.nan, math.nan, 2, "nan"),
        (-math.inf, 0.5, 2, "-inf ± 0.50"),
        (-1e-9, 0.5, 3, "0.000 ± 0.500"),
        (-1.067e7, 5e4, 2, "-10670000.00 ± 50000.00"),
        (-1.5e300, 1e299, 2, "-1.5e+300 ± 1e+299"),
        (1.5, 0.5, None, "1.50 ± 0.50"),
        (1.5, 0.005, None, "1.5000 ± 0.0050"),
        (150.0, 50.0, None, "150 ± 50"),
        (1.5, 1e-12, None, "1.500000 ± 0.000000"),
        (1.5, 0.0, None, "1.500"),
        (1.5, math.nan, None, "1.500"),
        (1.5, math.inf, None, "1.500 ± inf"),
    ],
)
def test_every_number_is_written_with_what_is_known_of_its_error(value, error, digits, says):
    assert with_error(value, error, digits=digits) == says


def test_a_difference_bears_its_sign():
    assert with_error(0.25, 0.125, digits=4, signed=True) == "+0.2500 ± 0.1250"
    assert with_error(-0.25, digits=1, signed=True) == "-0.2"
