"""Units: what a Gaussian process predicts does not depend on them, however far from 0 they lie."""

import math

import pytest
import torch
from torch import Tensor

from gp_bo import fit_gp
from gp_bo.arrays import resolution
from gp_bo.kernels import Pairs, make_kernel
from gp_bo.optimize.fitting import fit_surrogate
from gp_bo.scaling import EPSILON, Scaling, far_origin, location_and_spread, margin, widths
from gp_bo.sparse import SPARSE
from pyro_models import UsageError

Data = tuple[Tensor, Tensor]

FEW = {
    "map": {"restarts": 4},
    "laplace": {"restarts": 4, "num_draws": 16},
    SPARSE: {"epochs": 2, "num_inducing": 6, "batch_size": 6, "progress": False},
}
# y at 10⁹ comes in steps of 1.2e-7, so what is predicted there has errors of that size
UNITS = [(1e-9, 0.0), (1e-12, 3e-12), (1e9, 0.0), (1.0, 1e9), (1e-3, 1e9), (-2.0, -1e9), (1e6, 1e9)]

messages = pytest.mark.filterwarnings("ignore::gp_bo.InferenceWarning")  # so few steps and draws


@messages
@pytest.mark.parametrize("inference", FEW)
@pytest.mark.parametrize(("c", "d"), UNITS)
def test_a_model_of_outputs_in_another_unit_predicts_in_it(
    surface: Data, inference: str, c: float, d: float
) -> None:
    X, y = surface
    Xs, ys = X[:5] * 0.97 + 0.01, y[:5] + 0.1
    if c < 0 and inference != "map":
        pytest.skip("draws and starts of the mean are not mirrored with the outputs")
    one, other = (fit_gp(X, v, inference=inference, **FEW[inference]) for v in (y, c * y + d))  # type: ignore[arg-type]
    a, b = (each.predict(Xs, include_noise=True) for each in (one, other))
    # steps of the outputs, beside their own spread; and where a climb ends
    error = 1e-5 + 20 * EPSILON * abs(d / c)
    spread = float(a.variance.sqrt().min())
    assert ((b.mean - d) / c - a.mean).abs().max() < error + EPSILON * abs(d / c)
    assert (b.variance / c**2 / a.variance - 1).abs().max() < 10 * error / spread
    first, second = one.score(Xs, ys), other.score(Xs, c * ys + d)
    assert second.log_density == pytest.approx(
        first.log_density - math.log(abs(c)), abs=20 * error / spread
    )
    assert second.rmse == pytest.approx(abs(c) * first.rmse, rel=10 * error / spread)


@messages
@pytest.mark.parametrize(("c", "d"), [(1e-9, 0.0), (1e9, 0.0), (1.0, 1e9), (1e-3, -1e6)])
@pytest.mark.parametrize("inference", ["map", SPARSE])
def test_inputs_in_another_unit_predict_the_same(
    surface: Data, inference: str, c: float, d: float
) -> None:
    X, y = surface
    Xs = X[:5] * 0.97 + 0.01
    one, other = (fit_gp(x, y, inference=inference, **FEW[inference]) for x in (X, c * X + d))  # type: ignore[arg-type]
    a, b = one.predict(Xs), other.predict(c * Xs + d)
    assert (a.mean - b.mean).abs().max() < 1e-4
    assert (a.variance - b.variance).abs().max() < 1e-4


@messages
@pytest.mark.parametrize("inference", ["maximum_likelihood", *FEW])
@pytest.mark.parametrize(
    ("value", "unit"),
    [(0.0, 1.0), (0.1, 1.0), (-1e-12, 1.0), (1e9, 15.0), (1e20, 1.5e12)],
)
def test_constant_outputs_have_no_spread_of_rounding(
    surface: Data, inference: str, value: float, unit: float
) -> None:
    X, _ = surface
    steps = torch.arange(len(X), dtype=torch.float64).remainder(3)
    for y in (torch.full_like(steps, value), value * (1 + EPSILON * steps)):
        fitted = fit_gp(X, y, inference=inference, **FEW.get(inference, {}))  # type: ignore[arg-type]
        assert float(fitted.scaling.spread) == pytest.approx(unit, rel=0.01)
        prediction = fitted.predict(X + 0.1, include_noise=True)
        assert (prediction.mean - value).abs().max() < 0.01 * unit
        # of maximum likelihood the noise ends a factor 10⁶ or so below the unit's square
        assert (prediction.standard_deviation > 1e-5 * unit).all()
        assert (prediction.standard_deviation < unit).all()
        assert fitted.score(X, y).log_density < 12 - math.log(unit)


@pytest.mark.parametrize("level", [0.3, 0.0, -1e9])
def test_a_column_that_is_constant_up_to_rounding_is_constant(surface: Data, level: float) -> None:
    X, y = surface
    exact = torch.full_like(y, level)
    rounded = level * (1 + 2 * EPSILON * torch.arange(len(y)).remainder(2))
    with_exact, with_rounded = (
        fit_gp(torch.stack([X[:, 0], column], 1), y, inference="map", restarts=4)
        for column in (exact, rounded)
    )
    assert torch.equal(with_rounded.gp.X, with_exact.gp.X)
    assert with_rounded.gp.X[:, 1].abs().max() == 0
    Xs = torch.stack([X[:, 0] * 0.9, exact], 1)
    a, b = with_exact.predict(Xs), with_rounded.predict(Xs)
    assert (a.mean - b.mean).abs().max() < 1e-6
    assert (a.variance - b.variance).abs().max() < 1e-6


def test_rounding_is_that_of_the_type_the_data_came_in() -> None:
    x = torch.linspace(0, 1, 6)
    y = torch.full((6,), 1000.0) + torch.tensor([0.0, 6e-5, 0.0, 6e-5, 0.0, 0.0])
    assert 0 < float(y.std()) < 1e-4
    assert float(fit_gp(x, y, inference="map").scaling.spread) == 1.0
    real = fit_gp(x, 1000 + 6e-5 * (y > 1000).double(), inference="map").scaling.spread
    assert float(real) == pytest.approx(3.1e-5, rel=0.01)
    assert resolution(y) == resolution(y.numpy()) == 2.0**-23
    assert resolution(y.numpy().astype(int)) == resolution([1.0]) == EPSILON


def test_statistics_far_from_zero_are_those_of_the_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    steps = torch.randint(0, 40, (1000,), generator=generator).double()
    ulp = 2.0**-23
    mean, spread = location_and_spread(1e9 + ulp * steps)
    assert float(mean - 1e9) == pytest.approx(ulp * float(steps.mean()), abs=ulp)
    assert float(spread) == pytest.approx(ulp * float(steps.std()), rel=1e-12)
    low, width = widths((1e9 + ulp * steps)[:, None])
    assert float(width) == ulp * float(steps.max() - steps.min())
    assert float(low) == 1e9 + ulp * float(steps.min())
    near = torch.randn(50, generator=generator, dtype=torch.float64) + 3
    assert torch.equal(
        torch.stack(location_and_spread(near)), torch.stack([near.mean(), near.std()])
    )


def test_nothing_is_taken_for_rounding_where_nothing_is_scaled() -> None:
    X = torch.linspace(0, 1e-3, 5, dtype=torch.float64)[:, None]
    y = 1e-3 * X[:, 0].sin()
    same = Scaling.none(1).data(X, y)
    assert torch.equal(same[0], X)
    assert torch.equal(same[1], y)


@messages
@pytest.mark.parametrize("noise", ["learned", 0.01])
@pytest.mark.parametrize("inference", ["maximum_likelihood", *FEW])
def test_two_equal_rows_are_enough(inference: str, noise: str | float) -> None:
    X = torch.tensor([[1.0, 2.0], [1.0, 2.0]], dtype=torch.float64)
    for y in (torch.tensor([3.0, 3.0]), torch.tensor([2.0, 4.0])):
        fitted = fit_gp(X, y, inference=inference, noise=noise, **FEW.get(inference, {}))  # type: ignore[arg-type]
        prediction = fitted.predict(X, include_noise=True)
        assert (prediction.mean - 3).abs().max() < 0.2
        assert (prediction.variance > 0).all()
        assert prediction.variance.isfinite().all()
        one = fitted.score(X[:1], y[:1])
        assert math.isfinite(one.log_density)


@pytest.mark.parametrize(
    ("X", "y", "scale", "words"),
    [
        ([0.0, 1.0, 2.0], [0.0, 1e-170, 3e-170], True, "outputs spread so little"),
        ([0.0, 1e-170, 2e-170], [0.0, 1.0, 2.0], False, "inputs spread so little"),
        ([0.0, 1e170, 2e170], [0.0, 1.0, 2.0], False, "inputs spread too far"),
        ([1.0], [1.0], True, "at least two points"),
    ],
)
def test_a_unit_whose_square_is_no_number_is_refused(
    X: list[float], y: list[float], scale: bool, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        fit_gp(X, y, inference="map", scale=scale)  # type: ignore[arg-type]


@pytest.mark.parametrize("expanded", [False, True])
def test_expanded_squares_keep_their_digits_far_from_zero(
    expanded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gp_bo.kernels.pairs._MAX_STORED", 1)
    generator = torch.Generator().manual_seed(1)
    X = torch.randint(0, 64, (7, 2), generator=generator).double() / 64
    kernel = make_kernel("rbf")
    theta = {"lengthscale": X.new_full((1, 2), 0.4), "variance": X.new_ones(1)}
    G = torch.randn(1, 7, 7, generator=generator, dtype=torch.float64)
    found = []
    for at in (X, X + 1e9):
        pairs = Pairs(at, at.clone(), expanded=expanded, origin=far_origin(at))
        K, pullback = kernel.covariance_and_pullback(theta, pairs)
        found.append((K, pullback(G)["lengthscale"]))
    for near, far in zip(*found, strict=True):
        assert torch.allclose(near, far, atol=1e-12)


@messages
def test_a_sparse_one_of_unscaled_inputs_far_from_zero_is_that_of_near_ones(surface: Data) -> None:
    X, y = surface
    X = (X * 8).round() / 8
    near, far = (
        fit_gp(x, y - y.mean(), inference=SPARSE, scale=False, **FEW[SPARSE])  # type: ignore[arg-type]
        for x in (X, X + 1e9)
    )
    assert torch.allclose(near.predict(X).mean, far.predict(X + 1e9).mean, atol=1e-5)


def test_a_surrogate_of_a_search_holds_where_all_values_are_equal() -> None:
    x = torch.linspace(0, 1, 6, dtype=torch.float64)[:, None]
    surrogate = fit_surrogate(x, torch.zeros(6), inference="map", seed=0)
    mean, variance = surrogate.moments(x + 0.05)
    assert mean.abs().max() < 1e-6
    assert variance.isfinite().all()
    assert (variance > 0).all()


def test_a_figure_has_a_width_where_the_inputs_have_none() -> None:
    assert margin(torch.tensor([0.0, 2.0]).double(), 0.1) == pytest.approx(0.2)
    for x in (torch.full((3,), 0.3).double(), torch.tensor([0.3, 0.1 + 0.2, 0.3]).double()):
        assert margin(x, 0.1) == 0.5
