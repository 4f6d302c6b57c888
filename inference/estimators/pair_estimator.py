"""Any pair as a scikit-learn estimator: learned by ``fit``, asked by the usual methods."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import TransformerTags
from sklearn.utils.validation import check_consistent_length, check_is_fitted
from torch import Tensor, nn

from inference.declared import takes
from inference.estimators.abilities import class_of, is_mixture, transforms, uses_labels
from inference.estimators.answers import FLOATS, Answers
from inference.estimators.densities import kind_of
from inference.estimators.latents import shapes_of
from inference.estimators.learning import Recipe
from inference.estimators.nested import NestedOptions
from inference.estimators.random_state import seed_of
from inference.estimators.rows import labelled_data, shape_of
from inference.estimators.storing import load_estimator, save_estimator
from inference.learning import Callback, Fit, History, Settings
from pyro_models import Pair, UsageError
from pyro_models.contract import check_pair
from pyro_models.counts import check_counts
from pyro_models.registry import check_choice

__all__ = ["PairEstimator"]


def _model_first(init: Any) -> Any:
    """The signature of a constructor with its model first, as it is called."""
    parameters = dict(inspect.signature(init).parameters)
    first = [parameters.pop("self"), parameters.pop("model").replace(kind=_EITHER)]
    init.__signature__ = inspect.Signature([*first, *parameters.values()])
    return init


_EITHER = inspect.Parameter.POSITIONAL_OR_KEYWORD


class PairEstimator(NestedOptions, Answers, BaseEstimator):
    """A pair as a scikit-learn estimator.

    ``transform`` gives E[z | x], ``inverse_transform`` E[x | z], ``score_samples`` log p(x) and
    ``score`` its mean, so that ``GridSearchCV`` chooses by it; ``sample`` draws new rows. A model
    of labelled data has ``predict`` and ``predict_proba`` of labels, a mixture those of its
    components. An estimator has the methods that its model has: ``hasattr`` tells.

    It computes in the float type of X, as scikit-learn's estimators do: give float32 to learn large
    networks. Entries of mappings are parameters, too: ``set_params(options__latent_dim=5)``.

    Parameters
    ----------
    model
        A name of :data:`pyro_models.models.PAIRS`, ``"mine.py:Factors"``, a class, a function that
        builds a pair, or a pair, of which each ``fit`` learns a copy.
    options
        Options of the model. Unless they say otherwise, a model of plain rows that has the option
        has the likelihood ``"gaussian"``, and ``dequantise=None``: rows are numbers of any range.
    data_shape
        Shape of one datum, such as (1, 8, 8) of images, whose values a row holds; then the model's
        own defaults count, which are of pixels in [0, 1].
    solver
        ``"maximum_likelihood"``: the model's own, in closed form or by EM, whose further options
        stand among those of the model; ``"gradient"``: by the settings of training. ``"auto"``: the
        first, where the model has it and all is seen.
    missing
        ``"unseen"``: NaN in X is unseen, in learning as in all that follows. Refused unless given.
    binarize
        X is 1 where it is above this, and 0 elsewhere, for likelihoods of bits; X as it is unless
        given. (``sklearn.naive_bayes.BernoulliNB`` calls it so.)
    validation_fraction
        Fraction of the rows that is kept to validate, for ``patience`` and ``restore_best``.
    num_particles
        Draws K of the guide for each row, where log p(x) is not known exactly.
    guide, infer_options
        A guide that is fitted to each row instead of the encoder, with options of
        :func:`inference.infer`, such as ``{"max_steps": 500}``; a pair without an encoder, such as
        the generator, has ``"normal"`` unless given.
    callbacks
        Called in training, as :func:`inference.fit` has it.
    verbose
        Show a progress bar.
    random_state
        Of the weights, of training and of all draws: an int, a ``RandomState``, or ``None``.
    settings
        Those of training, of :class:`inference.Settings`, but for the seed: ``objective``, ``lr``,
        ``epochs``, ``batch_size``, ``patience``, … Unless ``capture`` says otherwise, steps are not
        recorded where they are fewer than 1,000.

    Attributes
    ----------
    pair_
        The pair that was learned; all of ``inference`` takes it.
    result_
        The pair with the history of its training, and its folder: :class:`inference.Fit`.
    solver_
        The one that learned it.
    n_features_in_, feature_names_in_
        Of X, as scikit-learn has them.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> ppca = PairEstimator("ppca", options={"latent_dim": 2}).fit(X)
    >>> ppca.transform(X).shape, ppca.score_kind_, ppca.get_feature_names_out().tolist()
    ((100, 2), 'exact', ['z_0', 'z_1'])
    >>> hasattr(ppca, "inverse_transform"), hasattr(ppca, "predict")
    (True, False)
    """

    mappings: ClassVar[tuple[str, ...]] = (
        "options",
        "infer_options",
        *(f.name for f in fields(Settings) if f.name.endswith("_options")),
    )

    result_: Fit
    solver_: str

    @_model_first
    @takes(Settings, without=("seed",))
    def __init__(
        self,
        model: Any = "vae",
        *,
        options: Mapping[str, Any] | None = None,
        data_shape: Sequence[int] | None = None,
        solver: str = "auto",
        missing: str | None = None,
        binarize: float | None = None,
        validation_fraction: float = 0.0,
        num_particles: int = 100,
        guide: str | Mapping[str, Any] | None = None,
        infer_options: Mapping[str, Any] | None = None,
        callbacks: Sequence[Callback] = (),
        verbose: bool = False,
        random_state: int | np.random.RandomState | None = None,
        **settings: Any,
    ) -> None:
        """Keep the parameters; nothing is checked before ``fit``.

        Parameters
        ----------
        settings
        """
        self.model = model
        self.options = options
        self.data_shape = data_shape
        self.solver = solver
        self.missing = missing
        self.binarize = binarize
        self.validation_fraction = validation_fraction
        self.num_particles = num_particles
        self.guide = guide
        self.infer_options = infer_options
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state
        for field in fields(Settings):
            if field.name != "seed":
                default = None if field.name.endswith("_options") else field.default
                setattr(self, field.name, settings.pop(field.name, default))
        if settings:
            raise TypeError(f"{type(self).__name__} has no parameter {', '.join(settings)}")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = "density_estimator"
        tags.input_tags.allow_nan = self.missing == "unseen"
        tags.target_tags.required = uses_labels(class_of(self.model))
        kept = ["float64", "float32"]
        tags.transformer_tags = TransformerTags(preserves_dtype=kept) if transforms(self) else None
        return tags

    def save(self, folder: str | Path, *, force: bool = False) -> None:
        """Write a run folder, of plain text and safetensors, which :meth:`load` reads.

        It is one for ``pyro-models`` as well. A run that is there is replaced by ``force`` alone.
        """
        check_is_fitted(self, "pair_")
        save_estimator(self, folder, force=force)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        device: str = "cpu",
        model: type[nn.Module] | None = None,
    ) -> Self:
        """The fitted estimator that :meth:`save` wrote; it answers the same numbers.

        ``model`` is the class of its pair where that is neither registered nor of a file.
        """
        return load_estimator(cls, folder, device=device, model=model)

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Learn the model from rows (N, D) and, if it is of labelled data, their labels (N,).

        Labels are of any kind that scikit-learn takes; −1, NaN and ``None`` are missing ones for a
        model that learns from data without them. Other models ignore y.

        Raises
        ------
        UsageError
            If the model, an option or the data are wrong: one line says which.
        """
        seed = seed_of(self.random_state)
        values = {n: getattr(self, n) for n in (f.name for f in fields(Settings)) if n != "seed"}
        settings = Settings(seed=seed, **values)
        check_counts(num_particles=self.num_particles)
        if self.missing is not None:
            check_choice("missing", self.missing, ("unseen",))
        if not isinstance(self.binarize, Real | None):
            raise UsageError(f"binarize is a number; got {self.binarize!r}")
        if not isinstance(self.callbacks, Sequence):
            raise UsageError(f"callbacks are a list of functions; got {self.callbacks!r}")
        rows = self._rows(X, y)
        shape = shape_of(self.data_shape, rows.shape[1])
        plain = self.data_shape is None
        recipe = Recipe(self.model, self.options, self.solver, settings, of_rows=plain)
        data, classes = labelled_data(
            rows,
            shape,
            y if uses_labels(class_of(self.model)) else None,
            takes_missing=recipe.takes_missing_labels,
            validation_fraction=self.validation_fraction,
            seed=seed,
        )
        try:
            done = recipe.learn(data, callbacks=self.callbacks, progress=self.verbose)
        except UsageError as error:
            if rows.shape[1] > 1:
                raise
            raise UsageError(f"{error} (X has 1 feature(s))") from error
        self.solver_, self.result_ = done.solver, done.result
        self.remember(done.pair, seed, classes, data.split("train").y)
        return self

    @classmethod
    def of_pair(
        cls, pair: Pair, *, classes: ArrayLike | None = None, class_prior: ArrayLike | None = None,
        **parameters: Any,
    ) -> Self:  # fmt: skip
        """The fitted estimator of a pair that is learned already.

        Parameters
        ----------
        pair
            The pair, which the estimator then shares.
        classes, class_prior
            The labels that 0, 1, … of the pair stand for, and their probabilities, all the same
            unless given.
        parameters
            Of the estimator.

        Examples
        --------
        >>> import torch
        >>> from pyro_models import PPCA
        >>> ppca = PPCA.maximum_likelihood(torch.randn(50, 4), latent_dim=2)
        >>> PairEstimator.of_pair(ppca).transform(np.zeros((3, 4))).shape
        (3, 2)
        """
        check_pair(pair)
        made = cls(pair, **{"data_shape": tuple(pair.data_shape), **parameters})
        made.n_features_in_ = math.prod(pair.data_shape)
        made.solver_, made.result_ = "none", Fit(pair, History((), "", stopped="not learned"), None)
        number = pair.num_classes
        if number is None:
            made.remember(pair, seed_of(made.random_state), None, None)
            return made
        names = np.arange(number) if classes is None else np.asarray(classes)
        prior = np.full(number, 1 / number) if class_prior is None else np.asarray(class_prior)
        if len(names) != number or prior.shape != (number,):
            raise UsageError(
                f"the pair has {number} classes; got {len(names)} names and {prior.size} "
                "probabilities"
            )
        made.remember(pair, seed_of(made.random_state), names, None)
        made.class_log_prior_ = np.log(prior)
        return made

    def remember(
        self, pair: Pair, seed: int, classes: np.ndarray | None, labels: Tensor | None
    ) -> None:
        """What every method asks: the pair, the seed of its draws, and the classes."""
        self.pair_, self.seed_ = pair, seed
        self.score_kind_ = kind_of(pair, half_seen=self.missing == "unseen")
        self.class_log_prior_ = None
        self.__dict__.pop("classes_", None)  # of an earlier fit
        if classes is not None:
            self.classes_ = classes
        if labels is not None:
            counts = labels[labels >= 0].bincount(minlength=len(self.classes_))
            self.class_log_prior_ = (counts / counts.sum()).log().numpy()
        elif is_mixture(pair):
            (site,) = pair.latent_sites.values()
            self.classes_ = np.arange(site.num_values or 0)
        self._n_features_out = sum(math.prod(shape) for shape in shapes_of(pair).values())

    def _rows(self, X: ArrayLike, y: ArrayLike | None) -> np.ndarray:
        """X to learn from, checked, in the float type that is computed in."""
        labels = None if y is None else "no_validation"
        mps = str(self.device).startswith("mps")  # which has nothing wider than float32
        rows = self._checked(X, labels, reset=True, kinds=np.float32 if mps else FLOATS)
        if y is not None:
            check_consistent_length(rows, y)
        return rows
