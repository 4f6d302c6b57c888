"""Gaussian-process classification as a scikit-learn classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d, validate_data

from gp_bo.estimators.fitting import GPEstimator
from gp_bo.kernels import Kernel
from pyro_models import UsageError

__all__ = ["GPClassifier"]


class GPClassifier(ClassifierMixin, GPEstimator):
    """Gaussian-process classification into two classes, p(y = 1 | x) = σ(f(x)), f ~ GP.

    f is inferred by Laplace's approximation at each θ (Rasmussen & Williams 2006, chapter 3). For
    more classes take ``sklearn.multiclass.OneVsRestClassifier(GPClassifier())``.

    Parameters
    ----------
    kernel, inference, mean, priors, scale, device
        As for :func:`gp_bo.fit_gp`; but that θ is inferred by ``"map"`` unless given.
    inference_options
        Options of the inference by name.
    random_state
        Of the starts and all draws: an int, a ``RandomState``, or ``None``.

    Attributes
    ----------
    classes_
        The two labels in order; f is the log-odds of the second.

    Examples
    --------
    >>> X = np.linspace(-2, 2, 20)[:, None]
    >>> gp = GPClassifier(random_state=0).fit(X, np.where(X[:, 0] > 0, "right", "left"))
    >>> gp.predict([[-1.5], [1.5]]).tolist()
    ['left', 'right']
    """

    def __init__(
        self,
        kernel: str | Kernel = "rbf",
        *,
        inference: str = "map",
        mean: str = "constant",
        priors: Mapping[str, Any] | None = None,
        scale: bool | None = None,
        inference_options: Mapping[str, Any] | None = None,
        device: str | torch.device | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.kernel = kernel
        self.inference = inference
        self.mean = mean
        self.priors = priors
        self.scale = scale
        self.inference_options = inference_options
        self.device = device
        self.random_state = random_state

    noise = "learned"  # the likelihood has none of its own

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Infer the hyper-parameters from inputs (N, D) and labels (N,) of two classes.

        Raises
        ------
        UsageError
            If a parameter or the data are wrong: one line says which.
        """
        inputs, labels = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        labels = column_or_1d(labels)
        check_classification_targets(labels)
        kind = type_of_target(labels, input_name="y")
        if kind != "binary":
            raise UsageError(
                f"Only binary classification is supported. The type of the target is {kind}: take "
                "OneVsRestClassifier of sklearn.multiclass"
            )
        classes, numbers = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise UsageError("labels need two classes; y has 1 class")
        self.classes_ = classes
        self._fit(inputs, numbers.astype(np.float64), "bernoulli")
        return self

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """p(y | x), (M, 2), over all draws of θ and the uncertainty of f."""
        inputs = self._inputs(X)
        with torch.no_grad():
            second = self.fitted_.predict(inputs).mean.cpu().numpy()
        return np.stack([1 - second, second], axis=1)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The more probable label of each input, (M,)."""
        best = self.predict_proba(X).argmax(1)
        return np.asarray(self.classes_[best])

    def _record(self) -> dict[str, Any]:
        return {"classes": self.classes_.tolist(), "dtype": str(self.classes_.dtype)}

    def _restore(self, record: Mapping[str, Any]) -> None:
        self.classes_ = np.array(record["classes"], dtype=record["dtype"])
