"""A Gaussian process with its hyper-parameters inferred: what it predicts, and how well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from gp_bo.arrays import Array, as_inputs, as_outputs
from gp_bo.conditional import Conditional, draw_functions
from gp_bo.inference.draws import HyperDraws
from gp_bo.model import GPModel
from gp_bo.prediction import LEVELS, Prediction, PredictiveScores, mixture_moments, score_mixture
from gp_bo.saving import save_gp
from gp_bo.scaling import Scaling
from pyro_models.brief import Brief
from pyro_models.counts import check_counts
from pyro_models.seeds import check_seed

__all__ = ["FittedGP"]


@dataclass(frozen=True, eq=False)
class FittedGP(Brief):
    """What :func:`gp_bo.fit_gp` returns. Everything in and out is in original units.

    What is given may be on any device and of any number type, inputs Xs (M, d), or (M,) when d = 1;
    what is returned is on :attr:`device`, in float64.

    Attributes
    ----------
    gp
        The model with its scaled data.
    scaling
        From original to scaled units.
    draws
        Weighted points of the hyper-posterior, in unconstrained, scaled space.
    X, y
        The data, (n, d) and (n,).
    inference, seed
        How the hyper-parameters were inferred.
    priors
        As the user gave them.
    """

    gp: GPModel
    scaling: Scaling
    draws: HyperDraws
    X: Tensor
    y: Tensor
    inference: str
    seed: int
    priors: Mapping[str, Any] = field(default_factory=dict)

    def facts(self) -> Mapping[str, object]:
        """Kernel, hyper-parameters and data."""
        n, d = self.X.shape
        return {
            "kernel": repr(self.gp.kernel),
            "θ": "a point" if self.num_draws == 1 else f"{self.num_draws} draws",
            "by": self.inference,
            "data": f"{n:,} of {d} input{'' if d == 1 else 's'}",
        }

    @property
    def device(self) -> torch.device:
        """Where everything is computed, and whatever is returned."""
        return self.y.device

    @cached_property
    def scaled_hyperparameters(self) -> dict[str, Tensor]:
        """Name → (S, \\*shape), in the units the model computes in; fixed ones included."""
        return self.gp.hyperparameters.constrain(self.draws.unconstrained)

    @cached_property
    def hyperparameters(self) -> dict[str, Tensor]:
        """Name → (S, \\*shape) in original units; S = 1 for a point estimate."""
        declared = list(self.gp.hyperparameters.declared.values())
        return self.scaling.hyperparameters_back(self.scaled_hyperparameters, declared)

    @property
    def weights(self) -> Tensor:
        """Weight of each draw, (S,), summing to 1."""
        return self.draws.weights

    @property
    def num_draws(self) -> int:
        """S."""
        return len(self.weights)

    @property
    def diagnostics(self) -> dict[str, Any]:
        """Numbers of the inference by name, and ``messages``: what a reader must know.

        ``log_evidence``, ``elbo`` and ``bound_per_row`` are log densities of the outputs in their
        own unit: log p(y) = log p((y − a)/b) − n log b. ``objective``, ``mode`` and ``step_size``
        are of the scaled problem, where the inference worked.
        """
        found = dict(self.draws.details)
        per_row = float(self.scaling.spread.log())
        for name in ("log_evidence", "elbo"):
            if name in found:
                found[name] = found[name] - len(self.gp.y) * per_row
        if "bound_per_row" in found:
            found["bound_per_row"] = [bound - per_row for bound in found["bound_per_row"]]
        return {**found, "messages": list(self.draws.messages)}

    @cached_property
    def conditional(self) -> Conditional:
        """p(f* | y, θ_s) per draw, in scaled units."""
        return Conditional(self.gp, self.scaled_hyperparameters)

    def predict(self, Xs: Array, *, include_noise: bool = False) -> Prediction:
        """Mean and variance of f* (of y* with the noise): the mixture over all draws.

        m = Σ_s w_s m_s, v = Σ_s w_s (v_s + m_s²) − m². Inputs that require a gradient get one;
        the noise is σ_n² of each draw.
        """
        marginals = self._scaled_marginals(Xs, include_noise=include_noise)
        return Prediction(*self._back(*mixture_moments(*marginals, self.weights)))

    band_label: ClassVar[str] = "m ± 2√v"
    """What :meth:`band` gives, in figures and tables."""

    def band(self, Xs: Array, *, include_noise: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """m, m − 2√v and m + 2√v, (M,) each."""
        found = self.predict(Xs, include_noise=include_noise)
        deviation = found.variance.clamp_min(0).sqrt()
        return found.mean, found.mean - 2 * deviation, found.mean + 2 * deviation

    def predictive_marginals(
        self, Xs: Array, *, include_noise: bool = False
    ) -> tuple[Tensor, Tensor]:
        """m_s and v_s at each input, for each draw: (S, M) each."""
        return self._back(*self._scaled_marginals(Xs, include_noise=include_noise))

    def predictive_draws(
        self, Xs: Array, *, include_noise: bool = False, indices: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Means (S, M) and covariances (S, M, M) of f* for each draw, or for those of ``indices``.

        With the noise, σ_n² of each draw is added to the diagonals.
        """
        means, covariances = self.conditional.joint(self._inputs(Xs), indices=indices)
        if include_noise:
            noise = self.scaled_hyperparameters["noise"]
            noise = noise if indices is None else noise[indices.to(self.device)]
            eye = torch.eye(means.shape[1], dtype=means.dtype, device=self.device)
            covariances = covariances + noise[:, None, None] * eye
        return self._back(means, covariances)

    @torch.no_grad()
    def sample(
        self, Xs: Array, n: int, *, joint: bool = True, include_noise: bool = False, seed: int = 0
    ) -> Tensor:
        """n functions at Xs, (n, M): for each one θ_s, then one draw of N(m_s, Σ_s).

        Parameters
        ----------
        joint
            One draw of the joint distribution at all inputs, as a function has it. Without it each
            input is drawn alone: no function, but enough for intervals.
        include_noise
            Σ_s + σ_s² I in place of Σ_s.
        seed
            Random seed of the draws; they are the same on every device.
        """
        extra = self.scaled_hyperparameters["noise"] * include_noise
        return self.scaling.mean_back(self._drawn(Xs, n, joint=joint, extra=extra, seed=seed)[0])

    def _drawn(
        self, Xs: Array, n: int, *, joint: bool, extra: Tensor, seed: int
    ) -> tuple[Tensor, Tensor]:
        """n draws of f* + ε, ε of variance ``extra``, (n, M), scaled, and the θ of each, (n,)."""
        check_counts(n=n)
        check_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        chosen = self.weights.cpu().multinomial(n, replacement=True, generator=generator)
        chosen, inputs = chosen.to(self.device), self._inputs(Xs)
        normal = torch.randn(n, len(inputs), generator=generator, dtype=torch.float64)
        drawn = draw_functions(
            self.conditional,
            inputs,
            chosen=chosen,
            normal=normal.to(self.device),
            extra=extra,
            joint=joint,
        )
        return drawn, chosen

    @torch.no_grad()
    def score(
        self, Xs: Array, ys: Array, *, levels: tuple[float, ...] = LEVELS
    ) -> PredictiveScores:
        """Log density, RMSE and coverage at outputs that were not learned from, noise included.

        The outputs are (M,), the log density is that of the mixture over draws, per datum, and
        ``levels`` are those of the central intervals whose coverage is counted. Each number has its
        standard error.
        """
        means, variances = self._scaled_marginals(Xs, include_noise=True)
        ys = self.scaling.outputs(as_outputs(ys, len(means[0]), device=self.device))
        scored = score_mixture(ys, means, variances, self.weights, levels=levels)
        return scored.in_unit(float(self.scaling.spread))

    def save(self, folder: str | Path) -> None:
        """Write a folder from which :func:`gp_bo.load_gp` makes the same object again."""
        save_gp(self, Path(folder))

    def _scaled_marginals(self, Xs: Array, *, include_noise: bool) -> tuple[Tensor, Tensor]:
        """m_s and v_s, (S, M) each, where a large offset of the outputs costs no digits."""
        means, variances = self.conditional.marginal(self._inputs(Xs))
        if include_noise:
            variances = variances + self.scaled_hyperparameters["noise"][:, None]
        return means, variances

    def _back(self, means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
        """Means, and variances or covariances, in original units."""
        return self.scaling.mean_back(means), self.scaling.variance_back(variances)

    def _inputs(self, Xs: Array) -> Tensor:
        return self.scaling.inputs(as_inputs(Xs, dim=self.X.shape[1], device=self.device))
