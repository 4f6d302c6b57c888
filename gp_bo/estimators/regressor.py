"""Gaussian-process regression as a scikit-learn regressor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.utils.validation import validate_data

from gp_bo.estimators.fitting import GPEstimator
from gp_bo.kernels import Kernel
from gp_bo.latent.fitted import LatentGP
from inference.estimators.random_state import seed_of
from pyro_models import UsageError

__all__ = ["GPRegressor"]


class GPRegressor(RegressorMixin, GPEstimator):
    """Gaussian-process regression, y = f(x) + ε, by any inference of :func:`gp_bo.fit_gp`.

    Parameters
    ----------
    kernel, inference, noise, mean, likelihood, priors, scale, device
        As for :func:`gp_bo.fit_gp`; but that θ is inferred by ``"map"`` unless given.
    inference_options
        Options of the inference by name.
    random_state
        Of the starts and all draws: an int, a ``RandomState``, or ``None``.

    Examples
    --------
    >>> X = np.linspace(0, 6, 12)[:, None]
    >>> y = np.sin(X[:, 0])
    >>> gp = GPRegressor("matern52", noise=1e-4, random_state=0).fit(X, y)
    >>> mean, std = gp.predict([[1.5]], return_std=True)
    >>> bool(abs(mean[0] - np.sin(1.5)) < 0.05), bool(std[0] < 0.2), gp.score(X, y) > 0.99
    (True, True, True)
    """

    def __init__(
        self,
        kernel: str | Kernel = "rbf",
        *,
        inference: str = "map",
        noise: str | float = "learned",
        mean: str = "constant",
        likelihood: Any = "gaussian",
        priors: Mapping[str, Any] | None = None,
        scale: bool | None = None,
        inference_options: Mapping[str, Any] | None = None,
        device: str | torch.device | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(
            kernel,
            inference=inference,
            noise=noise,
            mean=mean,
            priors=priors,
            scale=scale,
            inference_options=inference_options,
            device=device,
            random_state=random_state,
        )
        self.likelihood = likelihood

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Infer the hyper-parameters from inputs (N, D) and outputs (N,).

        Raises
        ------
        UsageError
            If a parameter or the data are wrong: one line says which.
        """
        how: dict[str, Any] = {"dtype": np.float64, "y_numeric": True, "ensure_min_samples": 2}
        inputs, outputs = validate_data(self, X, y, **how)
        self._fit(inputs, outputs, self.likelihood)
        return self

    def predict(
        self,
        X: ArrayLike,
        return_std: bool = False,
        return_cov: bool = False,
        *,
        include_noise: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """The mean of f at inputs (M, D), (M,), over all draws of θ, in the unit of y.

        Parameters
        ----------
        X
            The inputs.
        return_std, return_cov
            Return the standard deviations (M,), or the covariance (M, M), as well; at most one.
        include_noise
            Those of y rather than of f.
        """
        inputs = self._inputs(X)
        if return_std and return_cov:
            raise UsageError("of return_std and return_cov at most one is given")
        with torch.no_grad():
            found = self.fitted_.predict(inputs, include_noise=include_noise)
            mean: np.ndarray = found.mean.cpu().numpy()
            if return_std:
                return mean, found.variance.clamp_min(0).sqrt().cpu().numpy()
            if return_cov:
                return mean, self._covariance(inputs, include_noise=include_noise)
        return mean

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """R² of the mean at inputs (M, D); higher is better, and 1 is the most.

        Where y is constant there is none: 1 if the mean is that constant up to a millionth, else 0,
        which scikit-learn's rule is for numbers without rounding.
        """
        values = np.asarray(y, dtype=np.float64).ravel()
        if len(values) and (values == values[0]).all():
            near = np.abs(self.predict(X) - values[0]) <= 1e-6 * max(1.0, abs(values[0]))
            return float(near.all())
        found: float = super().score(X, y, sample_weight)
        return found

    def _covariance(self, inputs: np.ndarray, *, include_noise: bool) -> np.ndarray:
        """Σ_s w_s (Σ_s + (m_s − m) (m_s − m)ᵀ)."""
        if isinstance(self.fitted_, LatentGP):
            raise UsageError(
                "of a likelihood that is not gaussian the covariance of E[y | f] is not known: "
                "take return_std, or draws of sample_y"
            )
        means, covariances = self.fitted_.predictive_draws(inputs, include_noise=include_noise)
        weights = self.fitted_.weights
        apart = means - weights @ means
        total = torch.einsum("s,sij->ij", weights, covariances)
        total = total + torch.einsum("s,si,sj->ij", weights, apart, apart)
        found: np.ndarray = total.cpu().numpy()
        return found

    def sample_y(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        random_state: Any = 0,
        *,
        include_noise: bool = False,
    ) -> np.ndarray:
        """Functions drawn at inputs (M, D), (M, n_samples); of y, with its noise, if asked for."""
        inputs = self._inputs(X)
        how: dict[str, Any] = {"include_noise": include_noise, "seed": seed_of(random_state)}
        found: np.ndarray = self.fitted_.sample(inputs, n_samples, **how).T.cpu().numpy()
        return found
