"""The door for data: whatever they are handed in as, they are checked and moved to a pair once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_models.contract import fulfills
from pyro_models.data import ImageData, Observed
from pyro_models.data.masks import Mask, fill_unseen
from pyro_models.data.observed import seen_of
from pyro_models.data.precision import check_float32_suffices, loses
from pyro_models.data.reading import read
from pyro_models.device import placed
from pyro_models.errors import UsageError
from pyro_models.labels import check_range, labels_for
from pyro_models.pair import Classifies, Pair

__all__ = ["Data", "Observed", "checked", "observed", "training_data"]

Data = Any
"""A tensor, array, data frame, torch ``Dataset`` or ``DataLoader``, a split or ``Observed``."""

Labels = Tensor | np.ndarray | int


def observed(
    pair: Pair,
    x: Data,
    *,
    mask: Mask | None = None,
    y: Labels | None = None,
    fraction: float = 0.5,
    seed: int = 0,
    may_be_blind: bool = False,
    differentiable: bool = False,
) -> Observed:
    """Check data against a pair and put them where it is, x in its float type.

    x are prepared data (B, \\*data_shape) of any kind that :func:`pyro_models.data.reading.read`
    takes, and the mask says what is seen of them: a name such as ``"left"``, a ``.npy`` file, or an
    array of any shape that :func:`pyro_models.data.masks.pixel_mask` takes; everything unless
    given, here or with x. ``fraction`` and ``seed`` are of the mask ``"random"``. Nothing may be
    seen of a datum if it ``may_be_blind``, and a gradient flows back to x if it is
    ``differentiable``.

    Labels y are (B,), or one for all; −1 where missing, for pairs that take missing labels. Labels
    that come with x go to a pair that needs them. One that infers them is given those alone that
    are said here or by an ``Observed``.

    It is refused if shapes do not fit, there are no data, nothing is seen of a datum, or a seen
    pixel is not what the likelihood is of.

    >>> from pyro_models import PPCA
    >>> ppca = PPCA((1, 2, 4), latent_dim=2)
    >>> seen = observed(ppca, np.zeros((3, 1, 2, 4)), mask="left")
    >>> seen.x.dtype, seen.mask[0, 0].sum(-1)
    (torch.float32, tensor([2, 2]))
    """
    num_classes = getattr(pair, "num_classes", None)
    given = read(x, with_labels=num_classes is not None)
    values, seen = checked(pair, given, mask, fraction=fraction, seed=seed)
    if seen is not None:
        sees = seen.flatten(1).any(1)
        if not may_be_blind and not bool(sees.all()):
            of = f"nothing is seen of image {int((~sees).nonzero()[0])}"
            what = "the mask sees nothing" if len(seen) == 1 else of
            raise UsageError(f"{what}: a mask is True where a pixel is seen")
        seen = seen.expand(values.shape)
    if given.y is not None and y is not None and type(x) is Observed:
        raise UsageError("labels are given twice, by y and with x: leave one out")
    if y is None and (type(x) is Observed or not fulfills(pair, Classifies)):
        y = given.y
    values = values if differentiable else values.detach()
    labels = labels_for(y, len(values), values.device)
    if labels is not None and num_classes is not None:
        may_miss = getattr(pair, "takes_missing_labels", False) or fulfills(pair, Classifies)
        check_range(labels, num_classes, who=type(pair).__name__, may_miss=may_miss)
    return Observed.unchecked(values, labels, seen)


def checked(
    pair: Any, x: Data, mask: Mask | None = None, *, fraction: float = 0.5, seed: int = 0
) -> tuple[Tensor, Tensor | None]:
    """x (B, \\*data_shape) and what is seen of it (B or 1, \\*data_shape), where the pair is.

    As :func:`observed`, but that nothing may be seen of a datum, and a gradient flows back to x:
    data as a pair itself is asked about them. x is 0 where unseen; ``None`` is for everything.

    >>> from pyro_models import PPCA
    >>> x, seen = checked(PPCA((4,), latent_dim=2), np.zeros((3, 4)), np.array([1, 1, 0, 0]))
    >>> x.dtype, seen
    (torch.float32, tensor([[ True,  True, False, False]]))
    """
    given = read(x, with_labels=False)
    values, shape = given.x, tuple(pair.data_shape)
    _check_shape(pair, values)
    if mask is not None and given.mask is not None:
        raise UsageError("a mask is given twice, by mask and with x: leave one out")
    seen = seen_of(
        given.mask if mask is None else mask, shape, values, fraction=fraction, seed=seed
    )
    values = fill_unseen(values, seen)  # first, so that what stood there is no matter at all
    _check_pixels(values)
    like = next(iter(pair.parameters()))
    check_float32_suffices(values, like.dtype, name="x", seen=seen)
    values = placed(values if values.is_floating_point() else values.to(like.dtype), like)
    seen = placed(seen, like)
    pair.likelihood.check(values, seen)
    return values, seen


def training_data(x: Data, data_shape: tuple[int, ...] | None = None, *, least: int = 1) -> Tensor:
    """Data that a pair is started from or learned from in closed form, in their own float type.

    Whole numbers and booleans become the default float type, or float64 where that would round
    their differences away; floats of 16 bits become those of 32. They are refused if they are no
    finite real numbers, of another shape, fewer than ``least``, or not all seen. Of a whole data
    set it is the training split.

    >>> training_data(np.array([[0, 1], [1, 0]])).dtype
    torch.float32
    """
    given = read(x.prepared("train") if isinstance(x, ImageData) else x, with_labels=False)
    if given.mask is not None and not bool(given.mask.all()):
        raise UsageError("closed forms are of whole data, and some pixels are unseen: use fit")
    values = given.x.detach()
    shape = "*data_shape" if data_shape is None else ", ".join(map(str, data_shape))
    if values.dim() < 2 or (data_shape is not None and tuple(values.shape[1:]) != data_shape):
        raise UsageError(f"give data of shape (N, {shape}); got {tuple(values.shape)}")
    if len(values) < least:
        raise UsageError(f"give {least} data or more; got {len(values)}")
    _check_pixels(values)
    if not values.is_floating_point():
        default = torch.get_default_dtype()
        values = values.to(torch.float64 if loses(values, default) is not None else default)
    elif torch.finfo(values.dtype).bits < 32:
        values = values.float()
    if not bool(values.isfinite().all()):
        row = int((~values.isfinite()).flatten(1).any(1).nonzero()[0])
        raise UsageError(f"x holds NaN or infinite values, the first in row {row}: leave them out")
    return values


def _check_pixels(x: Tensor) -> None:
    """Refuse images of whole numbers above 1, which were not prepared."""
    if not x.is_floating_point() and x.dim() == 4 and x.numel() and int(x.max()) > 1:
        raise UsageError(
            f"x holds pixels as whole numbers up to {int(x.max())}: prepare them as the pair's "
            "training data were (load_data does; or x / 255)"
        )


def _check_shape(pair: Pair, x: Tensor) -> None:
    shape = tuple(pair.data_shape)
    if tuple(x.shape) == shape:
        raise UsageError(f"x is one datum of shape {shape}: give a batch, x[None]")
    if tuple(x.shape[1:]) != shape or not len(x):
        raise UsageError(
            f"x of shape {tuple(x.shape)} does not fit {type(pair).__name__}, which is of data of "
            f"shape (B, {', '.join(map(str, shape))}) with B ≥ 1"
        )
