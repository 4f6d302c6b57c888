"""Kernels against GPyTorch's, with their gradients."""

import pytest
import torch
from torch import Tensor

from gp_bo.kernels import (
    KERNELS,
    RBF,
    Kernel,
    Linear,
    Matern32,
    Pairs,
    Periodic,
    Product,
    kernel_from_config,
    make_kernel,
)
from gp_bo.kernels import pairs as pairs_file
from pyro_models import UsageError
from tests.gp_bo.kernels.reference import gpytorch_kernel

FORMULAS = (*KERNELS, "rbf + periodic", "rbf * periodic + linear", "(rbf + linear) * matern32")


def _theta(kernel: Kernel, dim: int, count: int, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        h.name: torch.rand(count, *h.shape, generator=generator, dtype=torch.float64) + 0.3
        for h in kernel.hyperparameters(dim)
    }


def _inputs(seed: int, dim: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    X = torch.rand(6, dim, generator=generator, dtype=torch.float64)
    Xs = torch.rand(4, dim, generator=generator, dtype=torch.float64)
    Xs[0] = X[0]  # a kink, where a kernel has one
    return X, Xs


def _gpytorch(kernel: Kernel, theta: dict[str, Tensor], X: Tensor, Xs: Tensor) -> Tensor:
    own = {name: value[0] for name, value in theta.items()}
    return gpytorch_kernel(kernel, own, dim=X.shape[1])(X, Xs).to_dense()


@pytest.mark.parametrize("ard", [True, False])
@pytest.mark.parametrize("formula", FORMULAS)
def test_covariance_is_that_of_gpytorch(formula: str, ard: bool) -> None:
    kernel = make_kernel(formula)
    if not ard:
        if formula not in KERNELS:
            pytest.skip("composed kernels are of the same parts")
        kernel = KERNELS[formula](ard=False)
    for dim, seed in ((1, 0), (3, 1), (3, 2)):
        X, Xs = _inputs(seed, dim)
        Xs = Xs[1:]  # GPyTorch rounds the distance 0 of equal inputs to 1e-8
        theta = _theta(kernel, dim, 1, seed)
        for other in (X[:3].flip(0) + 0.1, Xs):
            ours = kernel.covariance(theta, Pairs(X, other))[0]
            assert (ours - _gpytorch(kernel, theta, X, other)).abs().max() < 1e-10
        diagonal = kernel.covariance(theta, Pairs(X, X))[0].diagonal()
        assert (kernel.variance(theta, X)[0] - diagonal).abs().max() < 1e-12


@pytest.mark.parametrize("formula", FORMULAS)
def test_gradient_by_hand_is_that_of_autograd_for_many_hyperparameters_at_once(
    formula: str,
) -> None:
    kernel = make_kernel(formula)
    X, Xs = _inputs(4, 2)
    theta = {n: v.requires_grad_() for n, v in _theta(kernel, 2, 3, 5).items()}
    G = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    K, pull_back = kernel.covariance_and_pullback(theta, Pairs(X, Xs))
    expected = torch.autograd.grad((G * K).sum(), list(theta.values()))
    with torch.no_grad():
        ours = pull_back(G)
    for name, gradient in zip(theta, expected, strict=True):
        assert ours[name].shape == theta[name].shape
        assert (ours[name] - gradient).abs().max() < 1e-10


@pytest.mark.parametrize("formula", ["rbf", "matern12", "matern32", "matern52"])
def test_gradient_is_that_of_gpytorch(formula: str) -> None:
    kernel = make_kernel(formula)
    X, Xs = _inputs(7, 2)
    theta = _theta(kernel, 2, 1, 8)
    G = torch.randn(6, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    reference = gpytorch_kernel(kernel, {n: v[0] for n, v in theta.items()}, dim=2)
    (G * reference(X, Xs).to_dense()).sum().backward()
    ours = kernel.covariance_and_pullback(theta, Pairs(X, Xs))[1](G[None])
    # GPyTorch keeps log(exp(θ) − 1): dθ/draw = 1 − exp(−θ)
    for name, raw in (
        ("lengthscale", reference.base_kernel.raw_lengthscale),
        ("variance", reference.raw_outputscale),
    ):
        expected = raw.grad.reshape(-1) / (1 - (-theta[name]).exp()).reshape(-1)
        assert (ours[name].reshape(-1) - expected).abs().max() < 1e-10


@pytest.mark.parametrize("formula", ["rbf", "matern12", "matern32", "matern52"])
def test_many_inputs_take_the_other_way_to_the_same_numbers(
    formula: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = make_kernel(formula)
    X, _ = _inputs(1, 3)
    theta = _theta(kernel, 3, 2, 2)
    G = torch.randn(2, 6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    K, pull_back = kernel.covariance_and_pullback(theta, Pairs(X, X))
    few = pull_back(G)
    monkeypatch.setattr(pairs_file, "_MAX_STORED", 0)
    K_many, pull_back = kernel.covariance_and_pullback(theta, Pairs(X, X))
    assert (K - K_many).abs().max() < 1e-13
    for name, gradient in pull_back(G).items():
        assert (gradient - few[name]).abs().max() < 1e-12


@pytest.mark.parametrize("formula", ["rbf", "matern12", "matern32", "matern52", "periodic"])
def test_gradients_in_the_inputs_are_finite_where_two_inputs_meet(formula: str) -> None:
    kernel = make_kernel(formula)
    X, Xs = _inputs(1, 2)
    Xs.requires_grad_()
    kernel.covariance(_theta(kernel, 2, 2, 0), Pairs(X, Xs)).sum().backward()
    assert Xs.grad is not None
    assert Xs.grad.isfinite().all()


def test_a_product_has_one_scale() -> None:
    def names(kernel: Kernel) -> list[str]:
        return [h.name for h in kernel.hyperparameters(1) if h.name.endswith("variance")]

    assert names(RBF() * Periodic()) == ["rbf.variance"]
    assert names(RBF() * Linear()) == ["linear.variance"]
    assert names((RBF() + Matern32()) * Periodic()) == ["rbf.variance", "matern32.variance"]
    assert names(RBF() + RBF()) == ["rbf_1.variance", "rbf_2.variance"]


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_kernel_is_rebuilt_from_its_configuration(formula: str) -> None:
    kernel = make_kernel(formula)
    assert kernel_from_config(kernel.config()) == kernel


def test_sums_and_products_are_flat() -> None:
    kernel = RBF() * Periodic() * Linear()
    assert isinstance(kernel, Product)
    assert len(kernel.parts) == 3


@pytest.mark.parametrize("formula", ["rfb", "rbf - linear", "rbf +", "", "rbf(2)", "3"])
def test_what_is_no_kernel_is_refused_in_one_line(formula: str) -> None:
    with pytest.raises(UsageError, match="kernel") as caught:
        make_kernel(formula)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("formula", ["rbf", "matern12", "rational_quadratic + rbf"])
def test_expanded_distances_give_the_same_covariance_and_gradient(formula: str) -> None:
    kernel = make_kernel(formula)
    X, Xs = _inputs(5, 3)
    theta = _theta(kernel, 3, 2, 5)
    found = []
    for expanded in (False, True):
        Z = Xs[1:].clone().requires_grad_()
        K = kernel.covariance(theta, Pairs(X, Z, expanded=expanded))
        (gradient,) = torch.autograd.grad(K.square().sum(), Z)
        found.append((K, gradient))
        own = kernel.covariance(theta, Pairs(X, X, expanded=expanded))
        assert (own.diagonal(dim1=1, dim2=2) - kernel.variance(theta, X)).abs().max() < 1e-12
    for a, b in zip(*found, strict=True):
        assert (a - b).abs().max() < 1e-11


def test_a_bracket_that_is_missing_is_named() -> None:
    with pytest.raises(UsageError, match="which lacks a closing bracket: write names"):
        make_kernel("rbf * (periodic + linear")
