"""Shares of counted cases with intervals."""

import math

import pytest

from gp_bo.prediction import PredictiveScores
from gp_bo.share import Share
from pyro_models import UsageError


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (10, 20), (1, 300), (0, 1)])
def test_the_interval_is_wilsons(k: int, n: int) -> None:
    z = 1.959963984540054
    p = k / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert Share(k, n).interval == pytest.approx((centre - half, centre + half), abs=1e-12)
    low, high = Share(k, n).interval
    assert 0 <= low < high <= 1


def test_all_of_five_is_no_certainty() -> None:
    assert str(Share(5, 5)) == "100 % (95 % interval 57 – 100 %)"
    assert str(Share(0, 400)) == "0.0 % (95 % interval 0.0 – 1.0 %)"


@pytest.mark.parametrize(("k", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_what_is_no_share_is_refused(k: int, n: int) -> None:
    with pytest.raises(UsageError, match="a share is of one case or more"):
        Share(k, n)


def test_the_coverage_in_text_stays_between_0_and_100() -> None:
    scores = PredictiveScores(0.0, 0.1, 1.0, 0.1, {0.95: 1.0}, {0.95: 0.1}, 5)
    assert "95 %: 100 % (95 % interval 57 – 100 %)" in str(scores)
