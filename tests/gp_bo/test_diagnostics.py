"""R̂ and effective draws against the numbers of ArviZ, and against chains whose truth is known."""

import math

import numpy as np
import pytest

from gp_bo.diagnostics import bulk_ess, effective_sample_size, rank_normalised, rhat, tail_ess


def _chains(kind: str) -> np.ndarray:
    """Draws that need no generator, so that they are the same everywhere."""
    i = np.arange(1, 401).reshape(4, 100)
    noise = np.sin(12.9898 * i**1.1) * 43758.5453 % 1 + np.sin(78.233 * i**1.2) * 1234.567 % 1
    if kind == "shifted":
        return noise + 0.2 * np.arange(4)[:, None]
    if kind == "slow":
        return noise.cumsum(1) * 0.05 + noise
    if kind == "odd":
        return noise[:2, :51]
    return np.round(noise, 1) if kind == "ties" else noise


# rhat (rank), ess (bulk) and ess (tail, 0.05 and 0.95) of arviz-stats, to ten digits
ARVIZ = {
    "plain": (1.003067454, 512.915452, 356.5450413),
    "shifted": (1.214751702, 14.54231582, 73.16682122),
    "slow": (1.713335947, 6.634032848, 29.05819549),
    "odd": (0.99960524, 113.0624577, 122.3312175),
    "ties": (1.003591048, 501.5655577, 343.0821321),
}


@pytest.mark.parametrize("kind", ARVIZ)
def test_numbers_are_those_of_arviz(kind: str) -> None:
    draws = _chains(kind)
    assert (rhat(draws), bulk_ess(draws), tail_ess(draws)) == pytest.approx(ARVIZ[kind], rel=1e-6)


def test_rank_normalised_draws_are_normal_scores() -> None:
    scores = rank_normalised(np.array([[3.0, 1.0], [2.0, 2.0]]))
    middle = (2.5 - 0.375) / 4.25
    assert scores[1, 0] == scores[1, 1]
    assert 0.5 * math.erfc(-scores[1, 0] / math.sqrt(2)) == pytest.approx(middle)


@pytest.mark.parametrize("phi", [0.0, 0.6, -0.4])
def test_effective_draws_of_an_autoregression_are_known(phi: float) -> None:
    """AR(1): τ = (1 + φ) / (1 − φ)."""
    random = np.random.default_rng(0)
    x = np.zeros((8, 2500))
    x[:, 0] = random.normal(size=8) / math.sqrt(1 - phi**2)
    noise = random.normal(size=x.shape)
    for t in range(1, x.shape[1]):
        x[:, t] = phi * x[:, t - 1] + noise[:, t]
    expected = x.size * (1 - phi) / (1 + phi)
    assert effective_sample_size(x) == pytest.approx(expected, rel=0.1)
    assert bulk_ess(x) == pytest.approx(expected, rel=0.1)


def test_chains_of_another_location_or_scale_are_seen() -> None:
    draws = np.random.default_rng(1).normal(size=(4, 300))
    assert rhat(draws) < 1.01
    assert rhat(draws + np.array([0, 0, 0, 1.0])[:, None]) > 1.1
    assert rhat(draws * np.array([1, 1, 1, 4.0])[:, None]) > 1.1
    drifting = draws + np.linspace(0, 2, 300)
    assert rhat(drifting) > 1.1


def test_draws_that_never_move_have_no_diagnosis() -> None:
    still = np.ones((4, 50))
    assert math.isnan(rhat(still))
    assert math.isnan(bulk_ess(still))
    assert math.isnan(tail_ess(np.full((2, 3), 0.5)))
