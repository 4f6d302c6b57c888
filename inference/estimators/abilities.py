"""What an estimator can do with its model, known before it is fitted wherever the class says it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from pyro_models import Pair
from pyro_models.contract import fulfills
from pyro_models.models import PAIRS
from pyro_models.registry import UnknownNameError

__all__ = ["class_of", "infers_labels", "inverts", "is_mixture", "predicts", "samples",
           "subject_of", "transforms", "uses_labels"]  # fmt: skip


def class_of(model: Any) -> Any:
    """The class, or the function, that a model is built by; a pair that is given is itself.

    ``None`` where there is none of the name, which ``fit`` refuses in a line of its own.
    """
    if isinstance(model, Mapping):
        model = model.get("class_path")
    try:
        return PAIRS[model] if isinstance(model, str) else model
    except UnknownNameError:
        return None


def subject_of(estimator: Any) -> Any:
    """Whom to ask: the pair once it is there, else the class of the model."""
    return getattr(estimator, "pair_", None) or class_of(estimator.model)


def uses_labels(subject: Any) -> bool:
    """Whether a model is of labelled data."""
    if fulfills(subject, Pair):
        return subject.num_classes is not None
    return callable(subject) and "num_classes" in inspect.signature(subject).parameters


def infers_labels(subject: Any) -> bool:
    """Whether it has a classifier of its own, as :class:`pyro_models.pair.Classifies` says."""
    return hasattr(subject, "classify")


def is_mixture(subject: Any) -> bool:
    """Whether its one latent is discrete: the component that a datum is from."""
    if fulfills(subject, Pair):
        sites = list(subject.latent_sites.values())
        return len(sites) == 1 and sites[0].discrete and not uses_labels(subject)
    return hasattr(subject, "responsibilities")


def predicts(estimator: Any) -> bool:
    """Whether there are labels, or components, to predict."""
    subject = subject_of(estimator)
    return uses_labels(subject) or is_mixture(subject)


def transforms(estimator: Any) -> bool:
    """Whether latents stand for a datum; those of a diffusion are the datum with noise, T times."""
    return not hasattr(subject_of(estimator), "step_bound")


def inverts(estimator: Any) -> bool:
    """Whether latents alone decide the mean of a datum."""
    return transforms(estimator) and samples(estimator)


def samples(estimator: Any) -> bool:
    """Whether whole data are drawn; what completes data does not."""
    return not hasattr(subject_of(estimator), "conditioning")
