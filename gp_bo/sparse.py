"""Sparse variational Gaussian processes: ten thousand rows and more, in minibatches.

Hensman, Fusi & Lawrence (2013), Gaussian processes for big data; whitened as in Hensman, Matthews
& Ghahramani (2015).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor
from tqdm import tqdm

from gp_bo.cholesky import cholesky
from gp_bo.fit import InferenceWarning, build_model
from gp_bo.fitted import Array, FittedGP, as_inputs, as_outputs
from gp_bo.inference.climb import starting_points
from gp_bo.inference.draws import HyperDraws
from gp_bo.kernels import Kernel, Pairs
from gp_bo.means import mean_values
from gp_bo.model import GPModel
from gp_bo.scaling import Scaling
from pyro_models import UsageError

__all__ = ["InducingPoints", "SparseConditional", "SparseGP", "fit_sparse_gp"]

_CHUNK = 4096


@dataclass(eq=False)
class InducingPoints:
    """q(v) = N(m, Λ⁻¹) of the whitened values v = L⁻¹ (f(Z) − m(Z)) at M inducing inputs.

    L Lᵀ = k(Z, Z), so the prior is p(v) = N(0, I).

    Attributes
    ----------
    Z
        Inducing inputs in scaled units, (M, d).
    weighted_mean
        Λ m, (M,).
    precision
        Λ, (M, M).
    """

    Z: Tensor
    weighted_mean: Tensor
    precision: Tensor

    def moments(self) -> tuple[Tensor, Tensor]:
        """m, (M,), and a factor F with Λ⁻¹ = Fᵀ F, (M, M)."""
        L, _ = cholesky(self.precision)
        mean = torch.cholesky_solve(self.weighted_mean[:, None], L)[:, 0]
        return mean, torch.linalg.inv(L)

    def project(self, gp: GPModel, theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
        """A = L⁻¹ k(Z, X), (M, B); differentiable in θ and Z."""
        L, failed = cholesky(gp.kernel.covariance(theta, Pairs(self.Z, self.Z)))
        if failed is not None:
            raise UsageError("inducing inputs coincide: take fewer")
        cross = gp.kernel.covariance(theta, Pairs(self.Z, X))
        return torch.linalg.solve_triangular(L, cross, upper=False)[0]


class SparseConditional:
    """q(f*) = ∫ p(f* | v) q(v) dv in place of p(f* | y); the face of ``Conditional``, one draw."""

    def __init__(self, gp: GPModel, theta: Mapping[str, Tensor], inducing: InducingPoints) -> None:
        self.gp, self.theta, self.inducing = gp, dict(theta), inducing
        self.num_draws = 1
        with torch.no_grad():
            self._mean, self._factor = inducing.moments()

    def marginal(self, Xs: Tensor, *, indices: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Means and variances of f*, each (S, M*)."""
        parts = [self._marginal(part) for part in Xs.split(_CHUNK)]
        mean, variance = (torch.cat(column)[None] for column in zip(*parts, strict=True))
        return self._repeat(mean, indices), self._repeat(variance, indices)

    def joint(self, Xs: Tensor, *, indices: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Means (S, M*) and covariances (S, M*, M*) of f*."""
        A = self.inducing.project(self.gp, self.theta, Xs)
        spread = self._factor @ A
        prior = self.gp.kernel.covariance(self.theta, Pairs(Xs, Xs))[0]
        covariance = prior - A.mT @ A + spread.mT @ spread
        mean = self._mean @ A + _prior_mean(self.theta, Xs)
        return self._repeat(mean[None], indices), self._repeat(covariance[None], indices)

    def _marginal(self, Xs: Tensor) -> tuple[Tensor, Tensor]:
        A = self.inducing.project(self.gp, self.theta, Xs)
        spread = (self._factor @ A).square().sum(0)
        prior = self.gp.kernel.variance(self.theta, Xs)[0]
        variance = (prior - A.square().sum(0)).clamp_min(0.0) + spread
        return self._mean @ A + _prior_mean(self.theta, Xs), variance

    @staticmethod
    def _repeat(value: Tensor, indices: Tensor | None) -> Tensor:
        return value if indices is None else value[indices]


def _prior_mean(theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
    mean = mean_values(theta, X)
    return X.new_zeros(()) if mean is None else mean[0]


@dataclass(frozen=True, eq=False)
class SparseGP(FittedGP):
    """A :class:`FittedGP` whose posterior of f goes through inducing points; S = 1.

    Attributes
    ----------
    inducing
        Their inputs and q(v); None only while it is made.
    """

    inducing: InducingPoints | None = None

    @cached_property
    def conditional(self) -> Any:
        """q(f*), in scaled units."""
        assert self.inducing is not None
        return SparseConditional(self.gp, self.scaled_hyperparameters, self.inducing)


def fit_sparse_gp(
    X: Array,
    y: Array,
    *,
    kernel: str | Kernel = "rbf",
    noise: str | float = "learned",
    mean: str = "constant",
    priors: Mapping[str, Any] | None = None,
    scale: bool | None = None,
    seed: int = 0,
    num_inducing: int = 200,
    batch_size: int = 1024,
    epochs: int = 20,
    lr: float = 0.03,
    forgetting: float = 0.1,
    progress: bool = True,
) -> SparseGP:
    """Gaussian-process regression of many rows by minibatches: a point estimate of θ (MAP).

    The bound Σ_i E_q[log p(y_i | f_i)] − KL(q(v) ‖ p(v)) ≤ log p(y | θ) is maximised: q(v) by
    natural-gradient steps, in closed form for Gaussian noise, θ and the inducing inputs by Adam,
    with log p(θ) added.

    Parameters
    ----------
    X, y, kernel, noise, mean, priors, scale, seed
        As for :func:`gp_bo.fit_gp`.
    num_inducing
        M; they start at the centres of k-means. Work per step grows as M² · batch + M³.
    batch_size
        Rows per step.
    epochs
        Passes over the data.
    lr
        First rate of Adam; falls to 0 along a cosine.
    forgetting
        Length of a natural-gradient step, in (0, 1]; 1 is exact when a batch is all data.
    progress
        Show a bar with the bound per row.

    Raises
    ------
    UsageError
        As for :func:`gp_bo.fit_gp`, or if a number is out of range.
    """
    for name, value in (("num_inducing", num_inducing), ("batch_size", batch_size)):
        if value < 1:
            raise UsageError(f"{name} must be at least 1; got {value}")
    if epochs < 1 or not 0 < forgetting <= 1:
        raise UsageError("epochs must be at least 1 and forgetting in (0, 1]")
    X = as_inputs(X)
    y = as_outputs(y, len(X))
    if len(X) < 2:
        raise UsageError(f"a Gaussian process needs at least two points; got {len(X)}")
    if noise != "learned" and not isinstance(noise, str) and noise <= 0:
        raise UsageError("minibatches need some noise: a variance above 0, or 'learned'")
    priors = dict(priors or {})
    scale = not priors if scale is None else scale
    scaling = Scaling.of(X, y) if scale else Scaling.none(X.shape[1])
    gp = build_model(X, y, kernel=kernel, mean=mean, noise=noise, priors=priors, scaling=scaling)
    generator = torch.Generator().manual_seed(seed)
    inducing = _start(gp, min(num_inducing, len(X)), seed)
    u, history = _learn(
        gp,
        inducing,
        generator=generator,
        batch_size=min(batch_size, len(X)),
        epochs=epochs,
        lr=lr,
        forgetting=forgetting,
        progress=progress,
    )
    messages: tuple[str, ...] = ()
    if len(history) > 1 and history[-1] - history[-2] > 0.01:
        messages = (
            f"the bound still rises, by {history[-1] - history[-2]:.3f} nats per row in the "
            "last epoch: take more epochs",
        )
        warnings.warn(f"sparse_variational: {messages[0]}", InferenceWarning, stacklevel=2)
    draws = HyperDraws(
        u,
        torch.ones(1, dtype=torch.float64),
        messages=messages,
        details={"bound_per_row": history, "num_inducing": len(inducing.Z)},
    )
    return SparseGP(gp, scaling, draws, X, y, "sparse_variational", seed, priors, inducing=inducing)


def _start(gp: GPModel, count: int, seed: int) -> InducingPoints:
    """Centres of k-means, and q(v) = p(v)."""
    distinct = torch.unique(gp.X, dim=0)
    if len(distinct) <= count:
        Z = distinct
    else:
        means = MiniBatchKMeans(count, random_state=seed, n_init=1, batch_size=4 * count + 1024)
        Z = torch.from_numpy(np.unique(means.fit(gp.X.numpy()).cluster_centers_, axis=0))
    eye = torch.eye(len(Z), dtype=torch.float64)
    return InducingPoints(Z.clone(), torch.zeros(len(Z), dtype=torch.float64), eye)


def _learn(
    gp: GPModel,
    inducing: InducingPoints,
    *,
    generator: torch.Generator,
    batch_size: int,
    epochs: int,
    lr: float,
    forgetting: float,
    progress: bool,
) -> tuple[Tensor, list[float]]:
    """u, (1, p), and the bound per row by epoch, nats of the scaled outputs; q(v) in place."""
    hyper, rows = gp.hyperparameters, len(gp.y)
    u = starting_points(gp, 1, generator=generator).requires_grad_()
    inducing.Z.requires_grad_()
    optimiser = torch.optim.Adam([p for p in (u, inducing.Z) if p.numel()], lr=lr)
    steps = epochs * math.ceil(rows / batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    history = []
    with tqdm(total=steps, unit="step", disable=not progress, leave=False) as bar:
        for _ in range(epochs):
            total = 0.0
            for batch in torch.randperm(rows, generator=generator).split(batch_size):
                optimiser.zero_grad()
                X, y = gp.X[batch], gp.y[batch]
                theta = hyper.constrain(u)
                bound = _bound(gp, theta, inducing, X, y, forgetting=forgetting)
                (-bound / rows).backward()
                if u.grad is not None:
                    own = u.detach()
                    slope = hyper.log_prior(own, hyper.constrain(own), jacobian=False)[1]
                    u.grad -= slope / rows
                optimiser.step()
                schedule.step()
                total += float(bound.detach()) / rows * len(batch)
                bar.update()
                bar.set_postfix_str(f"{float(bound.detach()) / rows:.3f} nats per row")
            history.append(total / rows)
    inducing.Z = inducing.Z.detach()
    u = u.detach()
    # q(v) last saw an older θ and Z: one pass over all data makes it exact for these
    _refresh(gp, hyper.constrain(u), inducing)
    return u, history


def _bound(
    gp: GPModel,
    theta: Mapping[str, Tensor],
    inducing: InducingPoints,
    X: Tensor,
    y: Tensor,
    *,
    forgetting: float,
) -> Tensor:
    """The bound of all rows from one batch, after a natural-gradient step of q(v) on it."""
    A = inducing.project(gp, theta, X)
    noise = theta["noise"][0]
    residual = y - _prior_mean(theta, X)
    weight = len(gp.y) / len(y)
    with torch.no_grad():
        eye = torch.eye(len(A), dtype=A.dtype)
        precision = eye + weight / noise * (A @ A.mT)
        inducing.precision.lerp_(precision, forgetting)
        inducing.weighted_mean.lerp_(weight / noise * (A @ residual), forgetting)
        m, factor = inducing.moments()
        half_log_det = -factor.diagonal().log().sum()  # ½ log |Λ|
        kl = 0.5 * (factor.square().sum() + m.square().sum() - len(m)) + half_log_det
    spread = (factor @ A).square().sum(0)
    variance = gp.kernel.variance(theta, X)[0] - A.square().sum(0) + spread
    error = (residual - m @ A).square() + variance
    fit = -0.5 * (2 * math.pi * noise).log() - 0.5 * error / noise
    return weight * fit.sum() - kl


@torch.no_grad()
def _refresh(gp: GPModel, theta: Mapping[str, Tensor], inducing: InducingPoints) -> None:
    """The best q(v) for these θ and Z: Λ = I + A Aᵀ / σ², Λ m = A (y − m(X)) / σ²."""
    noise = theta["noise"][0]
    precision = torch.eye(len(inducing.Z), dtype=torch.float64)
    weighted = torch.zeros(len(inducing.Z), dtype=torch.float64)
    for X, y in zip(gp.X.split(_CHUNK), gp.y.split(_CHUNK), strict=True):
        A = inducing.project(gp, theta, X)
        precision += A @ A.mT / noise
        weighted += A @ (y - _prior_mean(theta, X)) / noise
    inducing.precision, inducing.weighted_mean = precision, weighted
