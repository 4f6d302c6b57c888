"""What a fitted pair answers: latents, densities, labels and new rows, as arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from inference.estimators.abilities import (
    infers_labels,
    inverts,
    predicts,
    samples,
    transforms,
    uses_labels,
)
from inference.estimators.densities import Draws, evidence_of, log_joint_of
from inference.estimators.latents import decoded, encoded, probabilities, seen_by, shapes_of
from inference.estimators.random_state import seed_of
from inference.estimators.rows import observed_rows, rows_of
from inference.evaluation.evidence import Evidence
from inference.isolated import isolated
from inference.posterior import generate
from pyro_models import Observed, Pair, UsageError
from pyro_models.device import device_of, like_of

__all__ = ["FLOATS", "Answers"]

FLOATS = (np.float64, np.float32)
"""Float types that are computed in; others become the first."""


class Answers(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """The methods of a fitted estimator, which are there where its model has them.

    Attributes
    ----------
    pair_
        The pair that was learned.
    seed_
        Seed of the draws behind what is estimated.
    classes_, class_log_prior_
        Labels in order, or numbers of components; and log p(y) of a model of labelled data.
    score_kind_
        What log p(x) is: ``"exact"``, ``"lower bound"``, or ``"objective only"``.
    """

    pair_: Pair
    seed_: int
    classes_: np.ndarray
    class_log_prior_: np.ndarray | None
    score_kind_: str
    n_features_in_: int
    num_particles: int
    guide: str | Mapping[str, Any] | None
    infer_options: Mapping[str, Any] | None
    missing: str | None
    binarize: float | None
    random_state: Any

    def _checked(
        self, X: ArrayLike, y: Any = "no_validation", *, reset: bool = False, kinds: Any = FLOATS
    ) -> np.ndarray:
        """X as rows of real numbers, or of bits; NaN stays where it is unseen."""
        how: dict[str, Any] = {"dtype": kinds, "ensure_min_samples": 2 if reset else 1}
        finite: Any = "allow-nan" if self.missing == "unseen" else True
        rows: np.ndarray = validate_data(self, X, y, reset=reset, ensure_all_finite=finite, **how)
        if self.binarize is None:
            return rows
        bits = (rows > self.binarize).astype(rows.dtype)
        return np.where(np.isnan(rows), rows, bits)

    def _seen(self, X: ArrayLike, y: int | None = None) -> tuple[Observed, np.dtype]:
        """Rows as data where the pair is, and the float type that they came in."""
        check_is_fitted(self, "pair_")
        rows = self._checked(X)
        return seen_by(self.pair_, observed_rows(rows, tuple(self.pair_.data_shape)), y), rows.dtype

    @property
    def _log_prior(self) -> Tensor | None:
        """log p(y) of a pair that is given labels, which then are summed out."""
        if self.class_log_prior_ is None or infers_labels(self.pair_):
            return None
        return torch.from_numpy(np.asarray(self.class_log_prior_))

    @property
    def _draws(self) -> Draws:
        return Draws(self.num_particles, self.seed_, self.guide, self.infer_options)

    def evidence(self, X: ArrayLike) -> Evidence:
        """log p(x_seen) of each row with its Monte-Carlo error, and what kind of number it is.

        Exact where the model knows it, or else the lower bound L_K by ``num_particles`` draws of
        the guide. Of a model that is given labels, log Σ_y p(y) p(x | y).
        """
        data, _ = self._seen(X)
        return evidence_of(self.pair_, data, self._log_prior, self._draws)

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """log p(x_seen) of each row, (N,), nats, as :meth:`evidence` has it.

        ``score_kind_`` says what it is: exact, a lower bound, or, where the likelihood is no
        probability, no more than an objective.
        """
        return np.asarray(self.evidence(X).value.cpu().numpy(), dtype=np.float64)

    def score(self, X: ArrayLike, y: ArrayLike | None = None) -> float:
        """The mean of :meth:`score_samples`; y is ignored."""
        return float(self.score_samples(X).mean())

    def transform(self, X: ArrayLike) -> np.ndarray:
        """E[z | x_seen], (N, L): all continuous latents side by side.

        Of a mixture the probabilities of its components, of a flow the noise of x. Of a model that
        is given labels Σ_y p(y | x) E[z | x, y].
        """
        data, kind = self._seen(X)
        prior = self._log_prior
        if prior is None:
            return rows_of(encoded(self.pair_, data, self._draws), kind)
        log_joint, _ = log_joint_of(self.pair_, data, prior, self._draws)
        of_classes = [
            encoded(self.pair_, self._seen(X, y=c)[0], self._draws) for c in range(len(prior))
        ]
        mean = torch.einsum("nc,cnl->nl", log_joint.softmax(1), torch.stack(of_classes))
        return rows_of(mean, kind)

    def inverse_transform(self, Z: ArrayLike, y: ArrayLike | None = None) -> np.ndarray:
        """E[x | z], (N, D), of latents (N, L) as :meth:`transform` gives them.

        Labels that are not given are summed out under p(y | z).
        """
        check_is_fitted(self, "pair_")
        latents = check_array(Z, dtype=FLOATS)
        if latents.shape[1] != self._n_features_out:
            raise UsageError(
                f"this estimator has {self._n_features_out} latents; got {latents.shape[1]} columns"
            )
        labels = None if y is None else self._numbers(y, len(latents))
        prior, z = self._log_prior, torch.from_numpy(np.array(latents))
        return rows_of(decoded(self.pair_, z, prior, labels), latents.dtype)

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """p(y | x), (N, C), in the order of ``classes_``; of a mixture those of its components.

        By the model's classifier, or else by Bayes' rule, p(y | x) ∝ p(y) p(x | y).
        """
        data, _ = self._seen(X)
        prior = self._log_prior
        if infers_labels(self.pair_):
            with isolated(self.pair_):
                found = self.pair_.classify(data.x, data.mask)  # type: ignore[attr-defined]
        elif prior is None:
            found = probabilities(self.pair_, data)
        else:
            found = log_joint_of(self.pair_, data, prior, self._draws)[0].softmax(1)
        return np.asarray(found.cpu().numpy(), dtype=np.float64)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The most probable label of each row, (N,), or the component of a mixture."""
        best = self.predict_proba(X).argmax(1)
        return np.asarray(self.classes_[best])

    def sample(
        self, n_samples: int = 1, *, y: ArrayLike | None = None, random_state: Any = None
    ) -> np.ndarray:
        """Rows x ~ p(x), (n_samples, D).

        Parameters
        ----------
        n_samples
            How many.
        y
            Labels (n_samples,), or one for all; drawn from p(y) unless given.
        random_state
            Of the draws; that of the estimator unless given.
        """
        check_is_fitted(self, "pair_")
        seed = seed_of(self.random_state if random_state is None else random_state)
        labels, prior = None, self._log_prior
        if y is not None:
            labels = self._numbers(y, n_samples)
        elif prior is not None:
            generator = torch.Generator().manual_seed(seed)
            labels = prior.exp().multinomial(n_samples, replacement=True, generator=generator)
        drawn = generate(self.pair_, n=n_samples, y=labels, pixels="sample", seed=seed)
        return rows_of(drawn, np.dtype(str(like_of(self.pair_).dtype).removeprefix("torch.")))

    def _numbers(self, y: ArrayLike, count: int) -> Tensor:
        """Labels as numbers of classes, one for each of ``count`` data."""
        if not uses_labels(self.pair_):
            raise UsageError(f"a {type(self.pair_).__name__} has no labels: leave y out")
        given = np.broadcast_to(np.asarray(y), (count,))
        unknown = sorted(set(given.tolist()) - set(self.classes_.tolist()))
        if unknown:
            known = ", ".join(map(str, self.classes_))
            raise UsageError(f"y holds {unknown[0]!r}, and the classes are {known}")
        return torch.from_numpy(np.searchsorted(self.classes_, given)).to(device_of(self.pair_))

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Names of the latents, ``z_0`` and so on, by the model's own name of each."""
        check_is_fitted(self, "pair_")
        super().get_feature_names_out(input_features)  # checks them
        shapes = shapes_of(self.pair_)
        names = [f"{name}_{i}" for name, s in shapes.items() for i in range(math.prod(s))]
        return np.array(names, dtype=object)


for _name, _ability in {
    "transform": transforms,
    "fit_transform": transforms,
    "get_feature_names_out": transforms,
    "inverse_transform": inverts,
    "predict": predicts,
    "predict_proba": predicts,
    "sample": samples,
}.items():  # once the class is there: TransformerMixin has wrapped transform by then
    setattr(Answers, _name, available_if(_ability)(getattr(Answers, _name)))
