"""R̂ and effective draws against the numbers of ArviZ, and against chains whose truth is known."""

import math
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from inference.mcmc.diagnostics import (
    RHAT,
    bulk_ess,
    effective_sample_size,
    r_hat,
    rank_normalized,
    tail_ess,
)
from pyro_models import UsageError


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
    assert (r_hat(draws), bulk_ess(draws), tail_ess(draws)) == pytest.approx(ARVIZ[kind], rel=1e-6)


def test_rank_normalised_draws_are_normal_scores() -> None:
    scores = rank_normalized(np.array([[3.0, 1.0], [2.0, 2.0]]))
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
    assert r_hat(draws) < 1.01
    assert r_hat(draws + np.array([0, 0, 0, 1.0])[:, None]) > 1.1
    assert r_hat(draws * np.array([1, 1, 1, 4.0])[:, None]) > 1.1
    drifting = draws + np.linspace(0, 2, 300)
    assert r_hat(drifting) > 1.1


def test_draws_that_never_move_have_no_diagnosis() -> None:
    still = np.ones((4, 50))
    assert math.isnan(r_hat(still))
    assert math.isnan(bulk_ess(still))
    assert math.isnan(tail_ess(np.full((2, 3), 0.5)))


@pytest.mark.parametrize(
    ("offset", "dtype"),
    [
        (0.0, torch.float32),
        (-1e3, torch.float32),
        (0.0, torch.float64),
        (1e9, torch.float64),
    ],
)
def test_r_hat_does_not_depend_on_where_the_chains_are(offset: float, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(4, 500, 3, dtype=torch.float64, generator=generator)
    z[0] += 1.0
    spacing = torch.finfo(dtype).eps * max(1.0, abs(offset))
    moved = (z + offset).to(dtype)
    np.testing.assert_allclose(r_hat(moved), r_hat(z), rtol=10 * spacing + 1e-6)
    assert r_hat(moved).min() > 1.1


def test_r_hat_of_chains_that_do_not_move_is_not_known() -> None:
    for value, dtype in ((0.1, torch.float32), (0.1, torch.float64), (1e9 + 0.3, torch.float64)):
        still = torch.full((4, 100, 2), value, dtype=dtype)
        assert np.isnan(r_hat(still)).all()
        stuck = still + torch.arange(4)[:, None, None].to(dtype)
        assert (r_hat(stuck) > 1e3).all()  # each at a place of its own


def test_any_number_of_quantities_is_measured_at_once() -> None:
    """Each as if it were alone, also where they are looked at in several parts."""
    kinds = [np.resize(_chains(kind), (4, 100)) for kind in ("plain", "shifted", "slow", "ties")]
    together = np.stack([*kinds, np.ones((4, 100)), np.full((4, 100), np.nan)], -1)
    together = together.reshape(4, 100, 2, 3)
    for measure in (r_hat, bulk_ess, tail_ess, effective_sample_size):
        found = measure(together)
        assert found.shape == (2, 3)
        assert np.isnan(found[1, 1:]).all()
        alone = [measure(kind) for kind in kinds]
        np.testing.assert_array_equal(found.reshape(-1)[:4], alone)
        np.testing.assert_array_equal(measure(torch.from_numpy(together)), found)


def test_parts_do_not_change_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(0).normal(size=(3, 40, 7))
    whole = r_hat(draws), tail_ess(draws)
    monkeypatch.setattr("inference.mcmc.diagnostics._MAX_ELEMENTS", 300)
    np.testing.assert_array_equal(whole, (r_hat(draws), tail_ess(draws)))


def test_independent_draws_agree_and_stuck_chains_do_not() -> None:
    random = np.random.default_rng(2)
    draws = random.normal(size=(4, 500, 200))
    assert (r_hat(draws) < 1.03).all()
    bulk = bulk_ess(draws)
    assert abs(bulk.mean() / 2000 - 1) < 0.02
    stuck = draws.copy()
    stuck[0] = random.normal(size=200)  # one of the chains never moves
    assert (r_hat(stuck) > RHAT).all()
    stuck[0] = 2.0
    assert (r_hat(stuck) > 1.3).all()
    assert (bulk_ess(stuck) < 0.05 * bulk).all()


@pytest.mark.parametrize("scale", [2.0**-1000, 2.0**-60, 2.0**1000])
def test_the_unit_of_the_draws_does_not_matter(scale: float) -> None:
    draws = _chains("slow")
    for measure in (r_hat, bulk_ess, tail_ess, effective_sample_size):
        assert measure(draws * scale) == measure(draws)


def test_draws_of_any_type_are_measured() -> None:
    draws = _chains("plain")
    heads = draws > np.median(draws)
    coarse = torch.from_numpy(draws).bfloat16()
    for measure in (r_hat, bulk_ess, tail_ess, effective_sample_size):
        assert measure(heads) == measure(heads.astype(float))
        assert measure(coarse) == measure(coarse.double())
        assert np.isnan([measure(np.zeros(shape)) for shape in ((4, 0), (0, 4))]).all()
        with pytest.raises(UsageError, match=r"draws are of several chains.*the shape \(4,\)"):
            measure(np.arange(4.0))


def test_too_few_draws_have_no_diagnosis() -> None:
    few = np.random.default_rng(3).normal(size=(4, 3, 2))
    for measure in (r_hat, bulk_ess, tail_ess):
        assert np.isnan(measure(few)).all()


@pytest.mark.skipif(find_spec("arviz") is None, reason="needs ArviZ")
@pytest.mark.parametrize("kind", ARVIZ)
def test_numbers_are_those_of_the_arviz_that_is_installed(kind: str) -> None:
    import arviz

    draws = _chains(kind)
    assert float(r_hat(draws)) == pytest.approx(float(arviz.rhat(draws)), rel=1e-6)
    assert float(bulk_ess(draws)) == pytest.approx(float(arviz.ess(draws)), rel=1e-6)
