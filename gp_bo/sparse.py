"""Sparse variational Gaussian processes: ten thousand rows and more, in minibatches.

Titsias (2009), Variational learning of inducing variables; Hensman, Fusi & Lawrence (2013),
Gaussian processes for big data; whitened as in Hensman, Matthews & Ghahramani (2015).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gp_bo.cholesky import cholesky
from gp_bo.fitted import FittedGP
from gp_bo.inference.draws import HyperDraws
from gp_bo.inference.maximize import maximize, starting_points
from gp_bo.kernels import Pairs
from gp_bo.means import mean_values
from gp_bo.model import GPModel, HyperPosterior
from gp_bo.problem import Problem
from inference.progress import bar
from pyro_models import UsageError
from pyro_models.brief import Brief
from pyro_models.counts import check_counts

__all__ = ["SPARSE", "Ascent", "InducingPoints", "SparseGP", "centers", "first_guess", "sparse_gp"]

SPARSE = "sparse_variational"
_FIRST_ROWS = 256

CHUNK = 4096
"""Rows whose covariances with Z are held at once."""


@dataclass(frozen=True, eq=False, repr=False)
class SparseGP(FittedGP):
    """A :class:`FittedGP` whose posterior of f goes through inducing points and q(v); S = 1."""

    inducing: InducingPoints | None = None

    @cached_property
    def conditional(self) -> Any:
        """q(f*), in scaled units."""
        assert self.inducing is not None
        return SparseConditional(self.gp, self.scaled_hyperparameters, self.inducing)


def sparse_gp(
    problem: Problem,
    *,
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
    with log p(θ) added. θ starts at the mode of p(θ | y) of 256 rows drawn at random.

    Parameters
    ----------
    seed
        Random seed of the starting points, the batches and k-means.
    num_inducing
        M; they start at the centres of k-means. Work per step grows as M² · batch + M³.
    batch_size, epochs
        Rows per step, and passes over the data.
    lr
        First rate of Adam; falls to 0 along a cosine.
    forgetting
        Length of a natural-gradient step, in (0, 1]; 1 is exact when a batch is all data.
    progress
        Show a bar with the bound per row.
    """
    check_counts(num_inducing=num_inducing, batch_size=batch_size, epochs=epochs)
    if not 0 < lr < math.inf or not 0 < forgetting <= 1:
        raise UsageError("epochs is at least 1, lr above 0 and forgetting in (0, 1]")
    gp, rows = problem.gp, len(problem.y)
    fixed = gp.hyperparameters.fixed.get("noise")
    if fixed is not None and float(fixed) == 0:
        raise UsageError("minibatches need some noise: a variance above 0, or 'learned'")
    generator = torch.Generator().manual_seed(seed)
    batch_size = min(batch_size, rows)
    steps = epochs * math.ceil(rows / batch_size)
    inducing = centers(gp, min(num_inducing, rows), seed)
    u = first_guess(gp, generator)
    ascent = Ascent(gp, inducing, u, steps=steps, lr=lr, forgetting=forgetting)
    history = []
    with bar(steps, unit="steps", what="GP", shown=progress) as done:
        for _ in range(epochs):
            total = 0.0
            for batch in torch.randperm(rows, generator=generator).to(gp.device).split(batch_size):
                per_row = ascent.step(batch) / rows
                total += per_row * len(batch) / rows
                done.update()
                done.say(f"{per_row:.3f} nats per row")
            history.append(total)
    gain = history[-1] - history[-2] if epochs > 1 else 0.0
    message = (
        f"the bound still rises, by {gain:.3f} nats per row in the last epoch: take more epochs"
    )
    draws = HyperDraws.equal(
        ascent.end(),
        messages=(message,) if gain > 0.01 else (),
        details={"bound_per_row": history, "num_inducing": len(inducing.Z)},
    )
    own = (gp, problem.scaling, draws, problem.X, problem.y, SPARSE, seed, problem.priors)
    return SparseGP(*own, inducing=inducing)


def first_guess(gp: GPModel, generator: torch.Generator) -> Tensor:
    """u, (1, p): the mode of p(θ | y) of some rows, from which Adam has less far to go."""
    if not gp.hyperparameters.size:
        return gp.y.new_zeros(1, 0)
    rows = torch.randperm(len(gp.y), generator=generator)[:_FIRST_ROWS].to(gp.device)
    part = gp.with_data(gp.X[rows], gp.y[rows])
    starts = starting_points(part, 2, generator=generator)
    return maximize(HyperPosterior(part, jacobian=False), starts, max_steps=50).points[:1]


def centers(gp: GPModel, count: int, seed: int) -> InducingPoints:
    """Centres of k-means, and q(v) = p(v)."""
    distinct = torch.unique(gp.X, dim=0)
    if len(distinct) <= count:
        Z = distinct
    else:
        from sklearn.cluster import MiniBatchKMeans  # as slow to import as torch

        means = MiniBatchKMeans(count, random_state=seed, n_init=1, batch_size=4 * count + 1024)
        near = (gp.X - gp.origin).cpu().numpy()  # where squared distances keep their digits
        found = np.unique(means.fit(near).cluster_centers_, axis=0)
        Z = torch.from_numpy(found).to(gp.device) + gp.origin
    eye = torch.eye(len(Z), dtype=Z.dtype, device=Z.device)
    return InducingPoints(Z.clone(), Z.new_zeros(len(Z)), eye)


class Ascent:
    """The bound climbed by minibatches: θ and Z by Adam, q(v) by natural gradients.

    They start at u, (1, p), and at the inducing inputs; q(v) is made the best one there. ``steps``
    are those to come, ``lr`` and ``forgetting`` as for :func:`sparse_gp`.
    """

    def __init__(
        self,
        gp: GPModel,
        inducing: InducingPoints,
        u: Tensor,
        *,
        steps: int,
        lr: float,
        forgetting: float,
    ) -> None:
        self.gp, self.inducing, self.forgetting = gp, inducing, forgetting
        self.u = u.clone()
        self.refresh()
        self.u.requires_grad_()
        inducing.Z.requires_grad_()
        self._optimizer = torch.optim.Adam([p for p in (self.u, inducing.Z) if p.numel()], lr=lr)
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimizer, steps)

    def step(self, batch: Tensor) -> float:
        """One step with some rows, (B,) integers; the bound of all rows, estimated, nats."""
        gp, hyper, rows = self.gp, self.gp.hyperparameters, len(self.gp.y)
        self._optimizer.zero_grad()
        own, data = (gp, hyper.constrain(self.u), self.inducing), (gp.X[batch], gp.y[batch])
        bound = _bound(*own, *data, forgetting=self.forgetting)
        (-bound / rows).backward()
        if self.u.grad is not None:
            u = self.u.detach()
            self.u.grad -= hyper.log_prior(u, hyper.constrain(u), jacobian=False)[1] / rows
        self._optimizer.step()
        self._schedule.step()
        return float(bound.detach())

    @torch.no_grad()
    def refresh(self) -> None:
        """Make q(v) the best one for θ and Z as they are, with all rows.

        Λ = I + A Aᵀ / σ², Λ m = A (y − m(X)) / σ².
        """
        gp, inducing = self.gp, self.inducing
        theta = gp.hyperparameters.constrain(self.u)
        precision = torch.eye(len(inducing.Z), dtype=gp.y.dtype, device=gp.device)
        weighted = gp.y.new_zeros(len(inducing.Z))
        for X, y in zip(gp.X.split(CHUNK), gp.y.split(CHUNK), strict=True):
            A = inducing.project(gp, theta, X)
            precision += A @ A.mT / theta["noise"][0]
            weighted += A @ (y - mean_values(theta, X)[0]) / theta["noise"][0]
        inducing.precision, inducing.weighted_mean = precision, weighted

    def end(self) -> Tensor:
        """q(v) saw an older θ and Z last: make it exact for these; returns u, (1, p)."""
        self.inducing.Z = self.inducing.Z.detach()
        self.u = self.u.detach()
        self.refresh()
        return self.u


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
    noise, residual = theta["noise"][0], y - mean_values(theta, X)[0]
    weight = len(gp.y) / len(y)
    with torch.no_grad():
        precision = torch.eye(len(A), dtype=A.dtype, device=A.device) + weight / noise * (A @ A.mT)
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


@dataclass(eq=False)
class InducingPoints(Brief):
    """q(v) = N(m, Λ⁻¹) of the whitened values v = L⁻¹ (f(Z) − m(Z)) at M inducing inputs.

    L Lᵀ = k(Z, Z), so the prior is p(v) = N(0, I). Z is (M, d) in scaled units, ``weighted_mean``
    Λ m, (M,), and ``precision`` Λ, (M, M).
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
        own = Pairs(self.Z, self.Z, expanded=True, origin=gp.origin)
        L, failed = cholesky(gp.kernel.covariance(theta, own))
        if failed is not None:
            raise UsageError(
                "the covariance of the inducing inputs is singular: take fewer, or a smaller lr"
            )
        cross = gp.kernel.covariance(theta, Pairs(self.Z, X, expanded=True, origin=gp.origin))
        return torch.linalg.solve_triangular(L, cross, upper=False)[0]


class SparseConditional:
    """q(f*) = ∫ p(f* | v) q(v) dv in place of p(f* | y); the face of ``Conditional``, one draw."""

    def __init__(self, gp: GPModel, theta: Mapping[str, Tensor], inducing: InducingPoints) -> None:
        self.gp, self.inducing = gp, inducing
        self.theta = {name: value.to(gp.X) for name, value in theta.items()}
        with torch.no_grad():
            self._mean, self._factor = inducing.moments()

    def marginal(self, Xs: Tensor, *, indices: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Means and variances of f*, each (S, M*)."""
        means, variances = [], []
        for part in Xs.to(self.gp.X).split(CHUNK):
            A = self.inducing.project(self.gp, self.theta, part)
            prior = self.gp.kernel.variance(self.theta, part)[0]
            known = (prior - A.square().sum(0)).clamp_min(0.0)
            means.append(self._mean @ A + mean_values(self.theta, part)[0])
            variances.append(known + (self._factor @ A).square().sum(0))
        mean, variance = torch.cat(means)[None], torch.cat(variances)[None]
        return self._repeat(mean, indices), self._repeat(variance, indices)

    def joint(self, Xs: Tensor, *, indices: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Means (S, M*) and covariances (S, M*, M*) of f*."""
        Xs = Xs.to(self.gp.X)
        A = self.inducing.project(self.gp, self.theta, Xs)
        spread = self._factor @ A
        prior = self.gp.kernel.covariance(self.theta, Pairs(Xs, Xs))[0]
        covariance = prior - A.mT @ A + spread.mT @ spread
        mean = self._mean @ A + mean_values(self.theta, Xs)
        return self._repeat(mean, indices), self._repeat(covariance[None], indices)

    @staticmethod
    def _repeat(value: Tensor, indices: Tensor | None) -> Tensor:
        return value if indices is None else value[indices.to(value.device)]
