"""Algorithm 1 of the examination: what it draws, what it adds, what it counts."""

import math

import pytest
import torch

from gp_bo.examination.algorithm1 import _draw, algorithm1, exam_grid, shares, success
from gp_bo.examination.algorithm1_figure import algorithm1_figure
from gp_bo.examination.chains import described_chains
from gp_bo.examination.sheet import EXAM_NOISE, exam_data, exam_function, fit_exam
from pyro_models import UsageError
from pyro_models.seeds import stream

QUICK = {"inference": "laplace", "num_draws": 30, "restarts": 2}

# what they say of themselves is tested with NUTS
short_chains = pytest.mark.filterwarnings("ignore::gp_bo.fit.InferenceWarning")


@pytest.fixture(scope="module")
def run():
    return algorithm1(4, seed=3, **QUICK)


def test_the_grid_and_the_first_data_are_the_sheets(run):
    assert run.grid.tolist() == pytest.approx([-1 + 2 * i / 199 for i in range(200)], abs=1e-15)
    assert run.steps[0].x.tolist() == [-1, -0.5, 0, 0.5, 1]
    assert torch.equal(run.steps[0].y, exam_function(run.steps[0].x))


def test_each_turn_adds_the_minimum_of_its_function(run):
    for before, after in zip(run.steps, run.steps[1:], strict=False):
        assert before.index == int(before.f_star.argmin())
        assert before.x_new == run.grid[before.index]
        assert before.y_new == exam_function(run.grid)[before.index]
        assert torch.equal(after.x, torch.cat([before.x, before.x.new_tensor([before.x_new])]))
        assert len(after.y) == 5 + after.k


def test_the_function_is_drawn_jointly_under_one_theta():
    x, y = exam_data()
    fitted = fit_exam(x, y, **QUICK)
    grid = exam_grid()[60:64]  # neighbours: almost the same value, were it not for the noise
    means, covariances = fitted.predictive_draws(grid, include_noise=True)
    w = fitted.weights
    mean = (w[:, None] * means).sum(0)
    spread = means - mean
    total = (w[:, None, None] * (covariances + spread[:, :, None] * spread[:, None])).sum(0)
    drawn = torch.stack([_draw(fitted, grid, seed=s)[1] for s in range(300)])
    # the mixture is heavy-tailed, so the error of each entry is taken from the draws themselves
    products = (drawn - mean)[:, :, None] * (drawn - mean)[:, None]
    error = products.std(0) / math.sqrt(len(drawn))
    assert ((products.mean(0) - total).abs() < 4 * error).all()
    correlation = total[0, 1] / (total[0, 0] * total[1, 1]).sqrt()
    assert correlation > 0.9
    assert set(_draw(fitted, grid, seed=0)[0]) == {"lengthscale", "variance", "noise"}


def test_the_noise_of_the_sheet_is_in_the_drawn_function():
    fitted = fit_exam(**QUICK)
    x, _ = exam_data()
    at_data = torch.stack([_draw(fitted, x, seed=s)[1] for s in range(200)])
    means, covariances = fitted.predictive_draws(x)
    clean = covariances.diagonal(dim1=1, dim2=2).mean(0) + means.var(0, correction=0)
    noise = at_data.var(0) - clean
    error = at_data.var(0) * math.sqrt(2 / 200)
    assert ((noise - EXAM_NOISE).abs() < 4 * error).all()
    assert (noise > EXAM_NOISE / 4).all()


def test_the_band_is_the_mixtures(run):
    step = run.steps[2]
    fitted = fit_exam(step.x, step.y, seed=stream(3, "algorithm 1, turn 2"), **QUICK)
    means, variances = fitted.predictive_marginals(run.grid)
    torch.testing.assert_close(step.mean, means.mean(0), atol=1e-8, rtol=0)
    mixture = variances.mean(0) + means.var(0, correction=0)
    torch.testing.assert_close(step.variance, mixture, atol=1e-8, rtol=0)


def test_counting_is_by_the_grids_minimum(run):
    least = int(run.truth.argmin())
    assert run.grid[least] == pytest.approx(0.2327, abs=0.006)
    chosen = [step.index for step in run.steps]
    assert run.found_at == (chosen.index(least) if least in chosen else None)
    assert (run.regret >= 0).all()
    assert (run.regret.diff() <= 0).all()
    counted = success([run, run])
    assert counted["found"] in (0.0, 1.0)
    assert counted["found_error"] == pytest.approx((4 / 6 * 2 / 6 / 6) ** 0.5)  # (2 + 2)/(2 + 4)
    with pytest.raises(UsageError, match="no run"):
        success([])


def test_a_share_of_runs_has_an_interval_inside_0_and_1(run):
    for count in (1, 5, 20):
        counted = success([run] * count)
        for name in ("found", "near"):
            low, high = counted[f"{name}_low"], counted[f"{name}_high"]
            assert 0 <= low <= counted[name] <= high <= 1
            assert high > low
    assert "±" not in str(shares([run])[0])


def test_the_chains_of_each_turn_are_kept(run):
    assert all(step.chains is None for step in run.steps)  # of laplace there are none
    few = {"num_draws": 16, "warmup": 20, "restarts": 2}
    [step] = algorithm1(0, **few).steps
    assert step.chains.num_draws == 16
    assert step.chains.is_short
    assert step.messages
    line = described_chains([step.chains, None])
    assert line.startswith("chains of 1 fit of 16 draws: R-hat up to ")
    assert "below 400 in 1" in line


@pytest.mark.parametrize("choose", ["thompson_new_points", "log_ei"])
def test_a_remedy_repeats_no_point(choose):
    run = algorithm1(5, choose=choose, seed=0, **QUICK)
    assert run.repeats == 0
    assert len({step.index for step in run.steps}) == 6


def test_the_same_seed_gives_the_same_turns():
    first, again = (algorithm1(1, seed=5, **QUICK) for _ in range(2))
    assert [s.index for s in first.steps] == [s.index for s in again.steps]
    assert torch.equal(first.steps[1].f_star, again.steps[1].f_star)


@short_chains
def test_nuts_survives_points_on_top_of_each_other():
    options = {"num_draws": 40, "warmup": 30, "num_chains": 2, "restarts": 2}
    x = torch.cat([exam_data()[0], torch.tensor([0.23, 0.23, 0.23 + 1e-9]).double()])
    fitted = fit_exam(x, exam_function(x), inference="nuts", seed=0, **options)
    theta, f_star = _draw(fitted, exam_grid(), seed=0)
    assert f_star.isfinite().all()
    assert theta["lengthscale"] > 0


def test_wrong_options_are_refused_in_one_line():
    with pytest.raises(UsageError, match="choose is one of thompson"):
        algorithm1(1, choose="guess")
    with pytest.raises(UsageError, match="turns must be at least 0"):
        algorithm1(-1)


def test_figures_show_the_turns_that_were_asked_for(run):
    figure = algorithm1_figure(run, turns=(0, 2, 4))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["k = 0", "k = 2", "k = 4"]
    [star] = [line for line in figure.axes[1].lines if line.get_label() == "added"]
    assert star.get_xdata()[0] == run.steps[2].x_new
    with pytest.raises(UsageError, match="k = 0 … 4"):
        algorithm1_figure(run, turns=(7,))
