"""A latent Gaussian process with its hyper-parameters inferred: what it predicts of the data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from gp_bo.arrays import Array, as_outputs
from gp_bo.conditional import Conditional
from gp_bo.fitted import FittedGP
from gp_bo.latent.model import LatentGPModel
from gp_bo.likelihoods import LIKELIHOODS
from gp_bo.prediction import LEVELS, Prediction, PredictiveScores
from inference.standard_error import mean_and_error
from pyro_models import UsageError
from pyro_models.seeds import seeded

__all__ = ["LatentGP"]

_NODES = 32  # of Gauss–Hermite's rule
_DRAWS = 4000  # behind intervals of measurements
_MAX_ELEMENTS = 2**22


@dataclass(frozen=True, eq=False, repr=False)
class LatentGP(FittedGP):
    """A :class:`FittedGP` whose data depend on f by a likelihood of their own.

    p(f* | y, θ_s) is Laplace's approximation, N(m_s, v_s). Predictions are on the scale of the
    response, E[y | f]: a probability, a rate, for Student's t the function. Their integrals over f*
    are by Gauss–Hermite's rule. What is said of f* itself (:meth:`predictive_marginals` and
    :meth:`predictive_draws`) is in its own unit: log-odds, the logarithm of a rate.
    """

    def facts(self) -> Mapping[str, object]:
        """Kernel, hyper-parameters, data, and p(y | f)."""
        name = LIKELIHOODS.name_of(type(self.likelihood)) or type(self.likelihood).__name__
        return {**super().facts(), "likelihood": name}

    @property
    def likelihood(self) -> Any:
        """p(y | f)."""
        return self.gp.likelihood

    @cached_property
    def conditional(self) -> Conditional:
        """q(f* | y, θ_s) per draw, in scaled units."""
        return LatentConditional(self.gp, self.scaled_hyperparameters)

    def predict(self, Xs: Array, *, include_noise: bool = False) -> Prediction:
        """Mean and variance of E[y* | f*], or with the noise of y*: mixtures over all draws.

        The mean is p(y* = 1) of labels, the expected count of counts.
        """
        means, variances = [], []
        for f, mass, theta in self._nodes(Xs):
            response = self.likelihood.response(f)
            mean = (mass * response).sum((0, 1))
            variance = (mass * (response - mean).square()).sum((0, 1))
            if include_noise:
                noise = self.likelihood.distribution(f, theta).variance.nan_to_num(nan=torch.inf)
                variance = variance + (mass * noise).sum((0, 1))
            means.append(mean)
            variances.append(variance)
        return Prediction(*self._response_back(torch.cat(means), torch.cat(variances)))

    def predictive_marginals(
        self, Xs: Array, *, include_noise: bool = False
    ) -> tuple[Tensor, Tensor]:
        """m_s and v_s of f* at each input, for each draw: (S, M) each."""
        self._refuse_noise(include_noise)
        return super().predictive_marginals(Xs)

    def predictive_draws(
        self, Xs: Array, *, include_noise: bool = False, indices: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Means (S, M) and covariances (S, M, M) of f* for each draw, or some of them."""
        self._refuse_noise(include_noise)
        return super().predictive_draws(Xs, indices=indices)

    @torch.no_grad()
    def sample(
        self, Xs: Array, n: int, *, joint: bool = True, include_noise: bool = False, seed: int = 0
    ) -> Tensor:
        """n functions E[y | f] at Xs, (n, M), or with the noise n draws of the data there.

        Arguments are those of :meth:`FittedGP.sample`.
        """
        f, chosen = self._drawn(
            Xs, n, joint=joint, extra=self.weights.new_zeros(self.num_draws), seed=seed
        )
        if not include_noise:
            return self._response_back(self.likelihood.response(f))[0]
        theta = {name: v[chosen] for name, v in self.scaled_hyperparameters.items()}
        with seeded(seed, self.device):
            return self._response_back(self.likelihood.distribution(f, theta).sample())[0]

    @torch.no_grad()
    def interval(
        self, Xs: Array, *, level: float = 0.95, include_noise: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Ends of the central interval of E[y* | f*], (M,) each; with the noise that of y*.

        Quantiles of the mixture of Normals over f*, to which E[y | f] is then applied; those of y*
        are of 4,000 draws.
        """
        _check_level(level)
        tails = ((1 - level) / 2, (1 + level) / 2)
        if include_noise:
            drawn = self.sample(Xs, _DRAWS, joint=False, include_noise=True)
            low, high = (_quantile(drawn, tail) for tail in tails)
            return low, high
        marginals = self._scaled_marginals(Xs)
        low, high = (self._quantile(*marginals, tail) for tail in tails)
        return (
            self._response_back(self.likelihood.response(low))[0],
            self._response_back(self.likelihood.response(high))[0],
        )

    band_label: ClassVar[str] = "95 %"

    def band(self, Xs: Array, *, include_noise: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """The mean, and the ends of the central 95 % interval, (M,) each."""
        mean = self.predict(Xs, include_noise=include_noise).mean
        return (mean, *self.interval(Xs, include_noise=include_noise))

    @torch.no_grad()
    def score(
        self, Xs: Array, ys: Array, *, levels: tuple[float, ...] = LEVELS
    ) -> PredictiveScores:
        """Log p(y*), RMSE and coverage at outputs that were not learned from.

        log Σ_s w_s ∫ p(y* | f) N(f; m_s, v_s) df, nats per datum. The error is that of E[y*]: of
        labels its square is the Brier score. Coverage is of intervals of y*; labels have none.
        """
        for level in levels:
            _check_level(level)
        inputs = self._inputs(Xs)
        ys = as_outputs(ys, len(inputs), device=self.device)
        self.likelihood.check(ys)
        outputs = self.scaling.outputs(ys) if self.likelihood.in_unit_of_outputs else ys
        log_density, means, start = [], [], 0
        for f, mass, theta in self._nodes(Xs):
            y = outputs[start : start + f.shape[-1]]
            start += f.shape[-1]
            each = self.likelihood.distribution(f, theta).log_prob(y)
            log_density.append((each + mass.log()).flatten(0, 1).logsumexp(0))
            means.append((mass * self.likelihood.response(f)).sum((0, 1)))
        value, error = mean_and_error(torch.cat(log_density))
        squared = (outputs - torch.cat(means)).square()
        rmse = float(squared.mean().sqrt())
        coverage = {}
        for level in levels if self.likelihood.has_intervals else ():
            low, high = self.interval(Xs, level=level, include_noise=True)
            coverage[level] = float(((low <= ys) & (ys <= high)).double().mean())
        found = PredictiveScores(
            log_density=value,
            log_density_error=error,
            rmse=rmse,
            rmse_error=mean_and_error(squared)[1] / (2 * rmse) if rmse else 0.0,
            coverage=coverage,
            coverage_error={a: math.sqrt(a * (1 - a) / len(ys)) for a in coverage},
            num_data=len(ys),
        )
        return found.in_unit(self._unit)

    @property
    def _unit(self) -> float:
        return float(self.scaling.spread) if self.likelihood.in_unit_of_outputs else 1.0

    def _response_back(self, mean: Tensor, variance: Tensor | None = None) -> tuple[Tensor, ...]:
        parts = (mean,) if variance is None else (mean, variance)
        if not self.likelihood.in_unit_of_outputs:
            return parts
        return (self.scaling.mean_back(mean), *(self.scaling.variance_back(v) for v in parts[1:]))

    def _refuse_noise(self, include_noise: bool) -> None:
        if include_noise:
            raise UsageError(
                "f* has no noise where the likelihood is not normal: predict and sample have it, "
                "on the scale of the data"
            )

    def _scaled_marginals(self, Xs: Array, *, include_noise: bool = False) -> tuple[Tensor, Tensor]:
        return self.conditional.marginal(self._inputs(Xs))

    def _nodes(self, Xs: Array) -> Iterator[tuple[Tensor, Tensor, dict[str, Tensor]]]:
        """f* at nodes, (S, J, M), their masses, (S, J, 1), and θ; some inputs at a time."""
        x, mass = (torch.from_numpy(v).to(self.device) for v in _gauss_hermite())
        means, variances = self._scaled_marginals(Xs)
        mass = self.weights[:, None, None] * mass[:, None]
        at_once = max(1, _MAX_ELEMENTS // (len(means) * len(x)))
        for m, v in zip(means.split(at_once, 1), variances.split(at_once, 1), strict=True):
            f = m[:, None] + v.sqrt()[:, None] * x[:, None]
            yield f, mass, self.scaled_hyperparameters

    def _quantile(self, means: Tensor, variances: Tensor, tail: float) -> Tensor:
        """f with Σ_s w_s Φ((f − m_s)/√v_s) = tail, (M,), by bisection."""
        deviation = variances.sqrt().clamp_min(1e-12)
        low, high = (means - 10 * deviation).amin(0), (means + 10 * deviation).amax(0)
        for _ in range(80):
            middle = 0.5 * (low + high)
            below = self.weights @ torch.special.ndtr((middle - means) / deviation) < tail
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return 0.5 * (low + high)


class LatentConditional(Conditional):
    """m_s(x) = m + k*ᵀ K⁻¹ (f̂ − m), Σ_s(x, x') = k(x, x') − k*ᵀ (K + W⁻¹)⁻¹ k*'.

    Rasmussen & Williams (2006), eq. 3.21 and 3.24.
    """

    gp: LatentGPModel

    def _reduced(self, factor: tuple[Tensor, Tensor], cross: Tensor) -> tuple[Tensor, Tensor]:
        return cross, factor[0] @ cross


def _gauss_hermite() -> tuple[np.ndarray, np.ndarray]:
    """Nodes x and weights w with Σ w g(x) = E[g(x)], x ~ N(0, 1)."""
    x, w = np.polynomial.hermite_e.hermegauss(_NODES)
    return x, w / w.sum()


def _quantile(drawn: Tensor, tail: float) -> Tensor:
    """The smallest draw with a share ``tail`` at or below it, (M,): a count stays one."""
    return drawn.sort(0).values[min(len(drawn) - 1, max(0, math.ceil(tail * len(drawn)) - 1))]


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise UsageError(f"the level of an interval lies between 0 and 1; got {level}")
