"""Rows of numbers and labels, as scikit-learn has them, as the data of a pair, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor

from pyro_models import ImageData, Observed, UsageError
from pyro_models.counts import is_count
from pyro_models.data import Split

__all__ = ["classes_of", "labelled_data", "observed_rows", "rows_of", "shape_of"]


def shape_of(data_shape: Sequence[int] | None, num_features: int) -> tuple[int, ...]:
    """The shape of one datum: (D,), or the one asked for, if it has as many values.

    >>> shape_of((1, 8, 8), 64), shape_of(None, 3)
    ((1, 8, 8), (3,))
    """
    counts = isinstance(data_shape, Sequence) and all(map(is_count, data_shape))
    if data_shape is not None and not counts:
        raise UsageError(f"data_shape is some whole numbers, such as (1, 8, 8); got {data_shape!r}")
    shape = (num_features,) if data_shape is None else tuple(data_shape)
    if math.prod(shape) != num_features:
        raise UsageError(
            f"data_shape {shape} has {math.prod(shape)} values, and X has {num_features} feature(s)"
        )
    return shape


def observed_rows(X: np.ndarray, shape: tuple[int, ...], y: Tensor | None = None) -> Observed:
    """Rows (N, D) as data (N, \\*shape), of which NaN is unseen."""
    x = torch.from_numpy(np.array(X, order="C")).reshape(len(X), *shape)
    seen = ~x.isnan()
    return Observed(x, y, None if bool(seen.all()) else seen)


def rows_of(x: Tensor, like: np.dtype) -> np.ndarray:
    """Data (N, \\*shape) as rows of a float type."""
    rows: np.ndarray = x.detach().flatten(1).cpu().numpy().astype(like, copy=False)
    return rows


def labelled_data(
    X: np.ndarray,
    shape: tuple[int, ...],
    y: Any,
    *,
    takes_missing: Callable[[ImageData], bool],
    validation_fraction: float,
    seed: int,
) -> tuple[ImageData, np.ndarray | None]:
    """Training data, some of which may validate, and the classes of their labels if there are y.

    A model is asked whether it takes labels that are missing where some may be.
    """
    fraction: dict[str, Any] = {"validation_fraction": validation_fraction, "seed": seed}
    if y is None:
        return _split(observed_rows(X, shape), None, **fraction), None
    classes, labels = classes_of(y, missing=True)
    data = _split(observed_rows(X, shape, labels), max(2, len(classes)), **fraction)
    if bool((labels < 0).any()) and not takes_missing(data):
        classes, labels = classes_of(y, missing=False)
        data = _split(observed_rows(X, shape, labels), len(classes), **fraction)
    if len(classes) < 2:
        raise UsageError(f"labels need two classes or more; y has {len(classes)} class(es)")
    return data, classes


def _split(
    data: Observed, num_classes: int | None, *, validation_fraction: float, seed: int
) -> ImageData:
    """A fraction that is drawn by the seed is kept to validate."""
    if not 0 <= validation_fraction < 1:
        raise UsageError(
            f"validation_fraction is at least 0 and below 1; got {validation_fraction!r}"
        )
    count = math.ceil(len(data) * validation_fraction)
    if count >= len(data):
        raise UsageError(f"a validation_fraction of {validation_fraction} leaves nothing to learn")
    splits = {"train": Split.of(data)}
    if count:
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
        parts = {"train": order[count:], "validation": order[:count]}
        splits = {name: Split.of(data[rows]) for name, rows in parts.items()}
    return ImageData("X", splits, num_classes=num_classes)


def _is_nan(label: object) -> bool:
    return isinstance(label, float) and math.isnan(label)


def classes_of(y: Any, *, missing: bool) -> tuple[np.ndarray, Tensor]:
    """The classes in order, and the number of each label (N,), −1 where it is missing.

    If labels may be missing, −1, NaN and ``None`` say that they are.

    >>> classes_of([3, -1, 7], missing=True)
    (array([3, 7]), tensor([ 0, -1,  1]))
    """
    labels = column_or_1d(y, warn=True)
    absent = np.zeros(len(labels), dtype=bool)
    if missing and labels.dtype.kind == "O":
        absent = np.array([label is None or label == -1 or _is_nan(label) for label in labels])
    elif missing and labels.dtype.kind in "if":
        absent = np.isnan(labels) | (labels == -1)
    known = labels[~absent]
    if len(known):
        assert_all_finite(known, input_name="y")
        check_classification_targets(known)
    classes, numbers = np.unique(known, return_inverse=True)
    found = torch.full((len(labels),), -1, device="cpu")
    found[torch.from_numpy(~absent)] = torch.from_numpy(numbers)
    return classes, found
