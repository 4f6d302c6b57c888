"""Data that a narrower float type would round together are refused before they are cast."""

import pytest
import torch

from pyro_models import UsageError
from pyro_models.data import check_float32_suffices, loses

NOISE = torch.randn(100, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(
    ("x", "lost"),
    [
        (NOISE, None),
        (NOISE + 1e3, None),
        (NOISE * torch.tensor([1e-30, 1e30]), None),
        (NOISE + torch.tensor([0.0, 1.7e9]), (1,)),
        (NOISE * 1e-9 + 1, (0,)),
        (NOISE * 0 + 0.1, None),  # constant: nothing to lose
        (0.1 + NOISE * 1e-17, None),  # constant but for rounding
        (NOISE * 1e60, (0,)),  # overflows
        ((NOISE + 1.7e9).float(), None),  # has lost already
        ((NOISE * 100).long() + 2**40, (0,)),
        ((NOISE * 100).long(), None),
        ((NOISE + 1.7e9)[:, None, :, None], (0, 0, 0)),
        (NOISE[:0], None),
        (torch.tensor([[float("nan")], [1.0], [2.0]], dtype=torch.float64), None),
    ],
)
def test_a_column_is_lost_if_rounding_hides_its_spread(x, lost):
    assert loses(x, torch.float32) == lost


def test_whole_numbers_beyond_float64_are_lost_there_too():
    x = torch.arange(10).reshape(5, 2) + 2**60
    assert loses(x, torch.float64) == (0,)
    assert loses(x - 2**60, torch.float64) is None


def test_the_error_names_column_and_remedy():
    line = r"^float32 cannot tell the values of column 1 of stamps apart: they lie at 17000000\d\d"
    with pytest.raises(UsageError, match=line + r".*x - x\.mean\(0\).*pair\.double\(\).*\Z"):
        check_float32_suffices(NOISE + torch.tensor([0.0, 1.7e9]), name="stamps")
    check_float32_suffices(NOISE + 1.7e9, torch.float64)
