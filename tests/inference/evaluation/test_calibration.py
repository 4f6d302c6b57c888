"""A posterior that is right passes at the stated level; one that is not is found out, and how."""

from itertools import product

import joblib
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import binom
from torch import Tensor, nn

from inference import calibrate, infer
from inference.evaluation import Calibration
from inference.evaluation.calibration import Ranks, band, symmetric_p_value, uniform_p_value
from inference.evaluation.calibration.uniformity import boundaries, counts_below, smallest_tail
from pyro_models import GMM, PPCA, UsageError
from pyro_models.pair import data_plate


def ranks_of(n: int, *, shift: float = 0.0, width: float = 1.0, seed: int = 0) -> Tensor:
    """Ranks of θ ~ N(0, 1) among 99 draws of N(shift · width, width²)."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(n, generator=generator, dtype=torch.float64)
    noise = torch.randn(99, n, generator=generator, dtype=torch.float64)
    return (width * (shift + noise) < truth).sum(0)


def every_ranks(n: int, num_draws: int) -> list[np.ndarray]:
    return [np.array(each) for each in product(range(num_draws + 1), repeat=n)]


def test_p_values_of_uniform_ranks_are_those_of_all_that_there_are() -> None:
    n, num_draws = 3, 4
    every = every_ranks(n, num_draws)
    gammas = np.array([smallest_tail(each, num_draws) for each in every])
    for each, gamma in zip(every[::7], gammas[::7], strict=True):
        expected = np.mean(gammas <= gamma * (1 + 1e-12))
        assert uniform_p_value(each, num_draws) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("level", [0.05, 0.3])
def test_ranks_leave_the_band_exactly_where_their_p_value_is_small(level: float) -> None:
    n, num_draws = 3, 4
    limits = band(n, num_draws, level)
    outside = []
    for each in every_ranks(n, num_draws):
        share = counts_below(each, num_draws) / n
        outside.append(bool(((share < limits.lower) | (share > limits.upper)).any()))
        assert outside[-1] == (uniform_p_value(each, num_draws) <= level)
    assert np.mean(outside) <= level


def test_the_band_is_no_narrower_than_a_pointwise_one_and_no_wider_than_bonferroni() -> None:
    n, limits, p = 200, band(200, 99), boundaries(99) / 100
    assert (limits.lower * n <= binom.ppf(0.025, n, p)).all()
    assert (limits.lower * n >= binom.ppf(0.025 / len(p), n, p)).all()
    assert np.allclose(limits.lower, 1 - limits.upper[::-1])


def test_p_values_of_symmetric_ranks_are_those_of_all_signs() -> None:
    num_draws, ranks = 9, np.array([0, 0, 9, 2, 7, 5])

    def distance(ranks: np.ndarray) -> int:
        low = [(ranks <= t).sum() - (ranks >= num_draws - t).sum() for t in range(5)]
        return int(np.abs(low).max())

    mirrored = [np.where(flip, num_draws - ranks, ranks) for flip in product([0, 1], repeat=6)]
    expected = np.mean([distance(each) >= distance(ranks) for each in mirrored])
    assert symmetric_p_value(ranks, num_draws) == pytest.approx(expected, abs=1e-12)


def test_a_right_posterior_is_said_to_be_wrong_no_more_often_than_the_level_says() -> None:
    found = [Calibration({"mu": ranks_of(60, seed=seed)}, 99, level=0.2) for seed in range(80)]
    wrong = sum(not each.is_calibrated for each in found)
    assert wrong <= binom.ppf(0.999, 80, 0.2)
    p = [each.ranks["mu"].uniform_p for each in found]
    assert binom.ppf(0.001, 80, 0.5) <= sum(x <= 0.5 for x in p) <= binom.ppf(0.999, 80, 0.5)


@pytest.mark.parametrize(
    ("shift", "width", "said"),
    [
        (0.0, 0.5, "standard deviations too narrow, 0.5"),
        (0.0, 2.0, "standard deviations too wide, "),
        (0.6, 1.0, "shifted upwards by 0."),
        (-0.6, 1.0, "shifted downwards by 0."),
        (1.0, 0.5, "shifted upwards by "),
    ],
)
def test_what_is_wrong_is_said_with_its_direction_and_size(
    shift: float, width: float, said: str
) -> None:
    found = Calibration({"mu": ranks_of(400, shift=shift, width=width)}, 99)
    (finding,) = found.findings
    assert finding.startswith(f"mu: {said}")
    assert ("no bias found" in finding) == (shift == 0)
    assert ("standard deviations too" in finding) == (width != 1)
    ranks = found.ranks["mu"]
    assert abs(ranks.shift[0] - shift) < 4 * ranks.shift[1]
    # L draws say a little less of the width than infinitely many would
    assert abs(ranks.width[0] - width) < 4 * ranks.width[1] + 0.02 * width
    assert str(found).count(finding) == 1


def test_nothing_found_says_how_little_would_be_seen() -> None:
    found = Calibration({"mu": ranks_of(200)}, 99)
    assert found.is_calibrated
    assert found.findings[0].startswith("no miscalibration found with n = 200 simulations")


def test_a_posterior_far_away_is_found_and_its_numbers_are_finite() -> None:
    nowhere = Ranks("mu", np.full(50, 99), 99)
    assert nowhere.uniform_p < 1e-9
    assert nowhere.symmetric_p < 1e-9
    assert np.isfinite([*nowhere.shift, *nowhere.width]).all()


def test_coverage_is_that_of_normal_intervals() -> None:
    found = Calibration({"mu": ranks_of(1500, width=0.5)}, 99)
    curve = found.coverage("mu")
    normal = torch.distributions.Normal(0.0, 1.0)
    ends = normal.icdf(torch.as_tensor((1 + curve.credibility[:-1]) / 2)) * 0.5
    expected = (2 * normal.cdf(ends) - 1).numpy()
    assert np.abs(curve.covered[:-1] - expected).max() < 4 * 0.5 / np.sqrt(1500) + 0.01
    with pytest.raises(UsageError, match="odd number of draws"):
        Calibration({"mu": torch.tensor([1, 2])}, 4).coverage("mu")


# two functions of one's own: μ ~ N(0, 1), four data N(μ, 1) ------------------------------------


def simulate(seed: int) -> tuple[dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mu = torch.randn((), generator=generator, dtype=torch.float64)
    return {"mu": mu}, mu + torch.randn(4, generator=generator, dtype=torch.float64)


def exact(x: Tensor, n: int, seed: int) -> dict[str, Tensor]:
    noise = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return {"mu": x.sum() / 5 + noise / 5**0.5}


def narrow(x: Tensor, n: int, seed: int) -> dict[str, Tensor]:
    return {"mu": x.sum() / 5 + 0.4 * (exact(x, n, seed)["mu"] - x.sum() / 5)}


def test_two_functions_are_calibrated() -> None:
    sign = {"is positive": lambda values, x: values["mu"] > x.mean()}  # ties by the hundred
    right = calibrate((simulate, exact), num_simulations=150, quantities=sign)
    assert list(right.values) == ["mu", "tarp", "is positive"]
    assert right.is_calibrated
    wrong = calibrate((simulate, narrow), num_simulations=150)
    assert "too narrow, 0.4" in wrong.findings[0]
    assert wrong.findings[1] == "tarp: credible regions hold the truth less often than they say"


def test_what_is_shown_is_asked_for_by_name_and_tests_stay_those_of_all() -> None:
    functions, asked = (simulate, narrow), ["tarp"]
    every = calibrate(functions, num_simulations=150)
    found = calibrate(functions, num_simulations=150, quantities=asked)
    assert [row[0] for row in found.table.rows] == asked
    assert [line[0] for line in found.table.records] == ["quantity", *asked]
    assert found.adjusted == every.adjusted
    assert found.findings == every.findings
    assert every.findings[1] in found.to_text()
    assert "miscalibrated, and not shown: mu" in found.to_text()
    with pytest.raises(UsageError, match="unknown quantity 'my': choose from mu, tarp"):
        calibrate(functions, quantities=["my"])


def test_a_kill_and_another_start_give_the_same(tmp_path) -> None:
    calls = []

    def interrupted(x: Tensor, n: int, seed: int) -> Tensor:
        calls.append(seed)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return exact(x, n, seed)

    how = {"num_draws": 9, "resume": tmp_path / "kept"}
    with pytest.raises(KeyboardInterrupt):
        calibrate((simulate, interrupted), num_simulations=10, **how)
    found = calibrate((simulate, interrupted), num_simulations=12, **how)
    assert len(calls) == 6 + 7  # five were kept
    whole = calibrate((simulate, exact), num_simulations=12, num_draws=9)
    assert torch.equal(found.values["mu"], whole.values["mu"])
    assert torch.equal(found.values["tarp"], whole.values["tarp"])
    with joblib.parallel_config(backend="threading"):
        shared = calibrate((simulate, exact), num_simulations=12, num_draws=9, workers=2)
    assert torch.equal(shared.values["tarp"], whole.values["tarp"])
    with pytest.raises(UsageError, match="holds blocks of another evaluation"):
        calibrate((simulate, narrow), num_simulations=12, **how)


def test_simulations_without_a_posterior_are_left_out_and_said() -> None:
    def half(x: Tensor, n: int, seed: int) -> Tensor:
        return exact(x, n, seed)["mu"] if x.sum() > 0 else torch.full((n,), torch.nan)

    def theta(seed: int) -> tuple[Tensor, Tensor]:
        truth, x = simulate(seed)
        return truth["mu"], x

    found = calibrate((theta, half), num_simulations=20)
    assert 0 < found.num_failed < 20
    assert len(found) == 20 - found.num_failed
    assert f"{found.num_failed} of 20 simulations had no posterior" in str(found)
    assert list(found.values) == ["theta", "tarp"]
    with pytest.raises(UsageError, match="none of 3 simulations has a posterior"):
        calibrate((theta, lambda x, n, seed: torch.full((n,), torch.nan)), num_simulations=3)


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ((simulate, lambda x, n, seed: {"tau": x}), {}, "draws of 'mu' of shape .* got none"),
        ((simulate, lambda x, n, seed: 1 / 0), {}, "ZeroDivisionError"),
        ((lambda seed: 3, exact), {}, r"must return the two of \(truth, data\)"),
        ((simulate, exact), {"guide": "normal"}, "two functions are model and guide"),
        ((simulate, exact), {"quantities": {"mu": len}}, "'mu' is there already"),
        ((simulate, exact), {"quantities": {"a": lambda v, x: x}}, "one number for each"),
        ((simulate, exact), {"num_draws": 0}, "num_draws must be at least 1"),
        ((simulate, exact), {"level": 1.0}, "level is a probability"),
        (GMM((3,), num_components=2), {}, "no continuous latent"),
        (PPCA((3,), latent_dim=1), {"guide": "other"}, "unknown guide 'other'"),
    ],
)
def test_mistakes_are_one_line(model, options, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        calibrate(model, num_simulations=2, **options)
    assert "\n" not in str(caught.value)


# pairs --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ppca() -> PPCA:
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return PPCA.maximum_likelihood(x, latent_dim=2)


class Moved(nn.Module):
    """The exact guide of a PPCA, moved and narrowed."""

    def __init__(self, pair: PPCA, *, by: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        self.pair, self.by, self.scale = pair, by, scale

    def forward(self, x=None, *, n=None, mask=None, **_) -> None:
        q = self.pair.exact_posterior(x, mask)
        sd = q.covariance_matrix.diagonal(dim1=-2, dim2=-1).sqrt()
        tril = self.scale * q.scale_tril
        with data_plate(x, n, x):
            pyro.sample("z", dist.MultivariateNormal(q.mean + self.by * sd, scale_tril=tril))


def test_an_exact_encoder_passes_and_moves_no_generator(ppca: PPCA) -> None:
    before = torch.get_rng_state()
    for seed in range(3):
        found = calibrate(ppca, seed=seed, level=0.01)
        assert found.is_calibrated
        assert (found.guide, found.model) == ("encoder", "PPCA")
    seen = torch.tensor([True, True, True, False, False])
    assert calibrate(ppca, "encoder", mask=seen, level=0.01).is_calibrated
    assert torch.equal(torch.get_rng_state(), before)


def test_wrong_guides_of_a_pair_are_found(ppca: PPCA) -> None:
    narrow = calibrate(ppca, Moved(ppca, scale=0.5))
    for name in ("z[0]", "z[1]"):
        assert any(line.startswith(f"{name}: standard dev") for line in narrow.findings)
    held_less = "credible regions hold the truth less often than they say"
    assert {f"tarp: {held_less}", f"log_q: {held_less}"} <= set(narrow.findings)
    shifted = calibrate(ppca, Moved(ppca, by=-0.7))
    for name in ("z[0]", "z[1]"):
        assert any(line.startswith(f"{name}: shifted downwards") for line in shifted.findings)


def test_a_guide_that_does_not_use_the_data_is_found_by_the_likelihood_alone(ppca: PPCA) -> None:
    (finding,) = calibrate(ppca, "prior", num_simulations=300, level=0.01).findings
    assert finding.startswith("log_likelihood: draws fit the data worse than the truth does")


def test_guides_that_are_fitted_and_chains_are_calibrated_in_one_batch(ppca: PPCA) -> None:
    few = {"num_simulations": 20, "num_draws": 19}
    fitted = calibrate(ppca, "normal", max_steps=2, **few)
    assert fitted.num_unfinished == 20
    assert "20 of 20 simulations had a fit that did not converge" in str(fitted)
    options = {"num_samples": 10, "num_chains": 2, "warmup": 20, "num_leapfrog": 2}
    chains = calibrate(ppca, "hmc", guide_options=options, **few)
    assert chains.num_correlated > 0
    assert "log_q" not in chains.values
    with pytest.raises(UsageError, match=r"keeps 20 draws, which is fewer than num_draws \(21\)"):
        calibrate(ppca, "hmc", guide_options=options, num_simulations=2, num_draws=21)
    with pytest.raises(UsageError, match="belongs to its data"):
        calibrate(ppca, infer(ppca, torch.zeros(1, 5), guide="encoder"))


def test_a_pair_goes_on_in_a_folder(ppca: PPCA, tmp_path) -> None:
    how = {"num_simulations": 30, "num_draws": 19}
    first = calibrate(ppca, resume=tmp_path / "kept", **how)
    again = calibrate(ppca, resume=tmp_path / "kept", **how)
    assert torch.equal(first.values["tarp"], again.values["tarp"])
    with pytest.raises(UsageError, match="another evaluation"):
        calibrate(ppca, guide="prior", resume=tmp_path / "kept", **how)
