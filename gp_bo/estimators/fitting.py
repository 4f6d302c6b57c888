"""What the regressor and the classifier share: parameters, learning, and what is known of θ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from gp_bo.estimators.evidence import log_evidence
from gp_bo.fit import fit_gp
from gp_bo.fitted import FittedGP
from gp_bo.kernels import Kernel
from gp_bo.storing import load_gp
from inference.estimators.nested import NestedOptions
from inference.estimators.random_state import seed_of
from pyro_models import UsageError
from pyro_models.files import write_atomically

__all__ = ["GPEstimator"]

RECORD = "estimator.json"


class GPEstimator(NestedOptions, BaseEstimator):
    """A Gaussian process that is learned by ``fit``; the parameters are those of ``fit_gp``.

    Attributes
    ----------
    fitted_
        What :func:`gp_bo.fit_gp` returned.
    kernel_, X_train_, y_train_
        Its kernel, and the data as they were learned from.
    n_features_in_, feature_names_in_
        Of X, as scikit-learn has them.
    """

    mappings: ClassVar[tuple[str, ...]] = ("priors", "inference_options")
    _likelihood: Any

    fitted_: FittedGP

    def __init__(
        self,
        kernel: str | Kernel = "rbf",
        *,
        inference: str = "map",
        noise: str | float = "learned",
        mean: str = "constant",
        priors: Mapping[str, Any] | None = None,
        scale: bool | None = None,
        inference_options: Mapping[str, Any] | None = None,
        device: str | torch.device | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.kernel = kernel
        self.inference = inference
        self.noise = noise
        self.mean = mean
        self.priors = priors
        self.scale = scale
        self.inference_options = inference_options
        self.device = device
        self.random_state = random_state

    def _fit(self, X: np.ndarray, y: np.ndarray, likelihood: Any) -> None:
        options = self.inference_options
        if not isinstance(options, Mapping | None):
            raise UsageError(f"inference_options are a mapping of options by name; got {options!r}")
        fitted = fit_gp(
            np.array(X),  # torch takes no array that cannot be written to
            np.array(y),
            kernel=self.kernel,
            inference=self.inference,
            noise=self.noise,
            mean=self.mean,
            likelihood=likelihood,
            priors=self.priors,
            scale=self.scale,
            seed=seed_of(self.random_state),
            device=self.device,
            **(options or {}),
        )
        self._take(fitted)

    def _take(self, fitted: FittedGP) -> None:
        self.fitted_, self.kernel_ = fitted, fitted.gp.kernel
        self.X_train_, self.y_train_ = _array(fitted.X), _array(fitted.y)

    def _inputs(self, X: ArrayLike) -> np.ndarray:
        """X checked against what was learned from."""
        check_is_fitted(self, "fitted_")
        return np.array(validate_data(self, X, reset=False, dtype=np.float64))

    @property
    def hyperparameters_(self) -> dict[str, np.ndarray]:
        """Name → (S, \\*shape) in the units of the data; S = 1 for a point estimate."""
        check_is_fitted(self, "fitted_")
        return {name: _array(value) for name, value in self.fitted_.hyperparameters.items()}

    @property
    def log_marginal_likelihood_value_(self) -> float:
        """log p(y | X, θ), nats, in the unit of y: its mean over draws of θ where there are some.

        Of ``sparse_variational`` the bound on it that was maximised.
        """
        check_is_fitted(self, "fitted_")
        return log_evidence(self.fitted_)

    def save(self, folder: str | Path) -> None:
        """Write a folder of plain text and safetensors, which :meth:`load` and ``load_gp`` read."""
        check_is_fitted(self, "fitted_")
        self.fitted_.save(folder)
        names = getattr(self, "feature_names_in_", None)
        record = {
            "class": type(self).__name__,
            "feature_names_in": None if names is None else names.tolist(),
            **self._record(),
        }
        write_atomically(Path(folder) / RECORD, json.dumps(record, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | Path, *, device: str | torch.device = "cpu") -> Self:
        """The fitted estimator that :meth:`save` wrote; it predicts the same numbers."""
        path = Path(folder) / RECORD
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            kind, names = record["class"], record["feature_names_in"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"no estimator in {folder}: {RECORD} is not there, or damaged") from (
                error
            )
        if kind != cls.__name__:
            raise UsageError(f"{folder} holds a {kind}: load it by that class")
        fitted = load_gp(folder, device=device)
        own = {"inference": fitted.inference, "random_state": fitted.seed, "mean": fitted.gp.mean}
        made = cls(fitted.gp.kernel, priors=dict(fitted.priors) or None, **own)  # type: ignore[arg-type]
        made._take(fitted)
        made.n_features_in_ = fitted.X.shape[1]
        if names is not None:
            made.feature_names_in_ = np.array(names, dtype=object)
        made._restore(record)
        return made

    def _record(self) -> dict[str, Any]:
        """What else is written."""
        return {}

    def _restore(self, record: Mapping[str, Any]) -> None:
        """Take what else was written."""


def _array(value: Tensor) -> np.ndarray:
    found: np.ndarray = value.detach().cpu().numpy()
    return found
