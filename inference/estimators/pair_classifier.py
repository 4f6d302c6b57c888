"""A pair of labelled data as a scikit-learn classifier."""

from __future__ import annotations

import inspect
from typing import Any, Self

from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin

from inference.estimators.abilities import class_of, uses_labels
from inference.estimators.pair_estimator import PairEstimator
from pyro_models import UsageError

__all__ = ["PairClassifier"]


def _as_of_base(init: Any) -> Any:
    """The signature with the parameters of the base, each by its name and default."""
    base = inspect.signature(PairEstimator.__init__).parameters
    own = inspect.signature(init).parameters
    init.__signature__ = inspect.Signature([own.get(n, p) for n, p in base.items()])
    return init


class PairClassifier(ClassifierMixin, PairEstimator):
    """A pair of labelled data as a classifier: a :class:`PairEstimator` that is scored by accuracy.

    With ``"m2"`` labels may be missing (−1, NaN or ``None``), and the rows without one are learned
    from as well. With ``"cvae"``, or another model that is given labels, p(y | x) follows by Bayes'
    rule, with p(y) as it is in the training data.

    Parameters
    ----------
    model
        A model of labelled data.
    parameters
        As for :class:`PairEstimator`.

    Attributes
    ----------
    classes_
        The labels, in the order of the columns of ``predict_proba``.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(60, 3))
    >>> y = np.where(X[:, 0] > 0, "right", "left")
    >>> y = np.where(np.arange(60) % 3 > 0, y.astype(object), None)  # of two thirds it is known
    >>> options = {"hidden": [16], "latent_dim": 2, "classification_weight": 10.0}
    >>> found = PairClassifier(options=options, epochs=50, lr=1e-2, random_state=0).fit(X, y)
    >>> found.predict([[2.0, 0.0, 0.0], [-2.0, 0.0, 0.0]])
    array(['right', 'left'], dtype=object)
    """

    @_as_of_base
    def __init__(self, model: Any = "m2", **parameters: Any) -> None:
        super().__init__(model, **parameters)

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """As :meth:`PairEstimator.fit`; a model without labels is refused."""
        if (cls := class_of(self.model)) is not None and not uses_labels(cls):
            raise UsageError(
                f"{self.model!r} is no model of labelled data, which a PairClassifier needs: take "
                "m2 or cvae, or PairEstimator"
            )
        return super().fit(X, y)
