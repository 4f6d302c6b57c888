"""What is seen of some data: x, which of its pixels, and labels, checked against a pair once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pyro_models.data import check_float32_suffices, loses
from pyro_models.data.arrays import check_plain, holds_array, to_tensor
from pyro_models.device import placed
from pyro_models.errors import UsageError
from pyro_models.labels import labels_for
from pyro_models.likelihoods import Likelihood
from pyro_models.masks import Mask, seen_pixels
from pyro_models.pair import Pair, fill_unseen, needed_mask

__all__ = ["Observed", "checked", "observed", "training_data"]


class _OfData(Protocol):
    """What of a pair decides which data it may be asked about."""

    @property
    def data_shape(self) -> tuple[int, ...]: ...

    @property
    def likelihood(self) -> Likelihood: ...

    def parameters(self, recurse: bool = True) -> Any: ...


@dataclass(frozen=True, eq=False)
class Observed:
    """Data as a model is asked about them: on its device and, x, in its float type.

    Attributes
    ----------
    x
        (B, \\*data_shape); 0 where unseen.
    mask
        True = seen, (B, \\*data_shape); ``None`` if all is seen.
    y
        Labels (B,), −1 where missing; ``None`` if there are none.
    """

    x: Tensor
    mask: Tensor | None = None
    y: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Tensor | slice) -> Observed:
        """Some of the data."""
        mask = None if self.mask is None else self.mask[rows]
        y = None if self.y is None else self.y[rows]
        return replace(self, x=self.x[rows], mask=mask, y=y)

    def chunks(self, size: int) -> Iterator[Observed]:
        """The data in their order, at most ``size`` at a time."""
        for i in range(0, len(self), size):
            yield self[i : i + size]

    @property
    def conditions(self) -> dict[str, Tensor | None]:
        """What model and guide are called with beside x."""
        return {"y": self.y, "mask": self.mask}


def observed(
    pair: Pair,
    x: Tensor | np.ndarray,
    *,
    mask: Mask | None = None,
    y: Tensor | np.ndarray | int | None = None,
    fraction: float = 0.5,
    seed: int = 0,
) -> Observed:
    """Check data against a pair and put them where it is.

    Parameters
    ----------
    pair
        Whose data they are.
    x
        Prepared data, (B, \\*data_shape), on any device and of any float type.
    mask
        What is seen, True or 1: a name such as ``"left"``, a ``.npy`` file, or an array of any
        shape that :func:`pyro_models.pair.pixel_mask` takes. All is seen unless given.
    y
        Labels (B,), or one for all; −1 where missing, for pairs that take missing labels.
    fraction, seed
        Fraction of the pixels that the mask ``"random"`` sees of each datum, and its seed.

    Raises
    ------
    UsageError
        If shapes do not fit, there are no data, nothing is seen of a datum, or a seen pixel is not
        what the likelihood is of.

    Examples
    --------
    >>> from pyro_models import PPCA
    >>> ppca = PPCA((1, 2, 4), latent_dim=2)
    >>> seen = observed(ppca, np.zeros((3, 1, 2, 4)), mask="left")
    >>> seen.x.dtype, seen.mask[0, 0].sum(-1)
    (torch.float32, tensor([2, 2]))
    """
    values, seen = checked(pair, x, mask, fraction=fraction, seed=seed)
    if seen is not None:
        _check_sees(seen)
        seen = seen.expand(values.shape)
    return Observed(values.detach(), seen, labels_for(y, len(values), values.device))


def checked(
    pair: _OfData,
    x: Tensor | np.ndarray,
    mask: Mask | None = None,
    *,
    fraction: float = 0.5,
    seed: int = 0,
) -> tuple[Tensor, Tensor | None]:
    """Data as a pair is asked about them, where nothing may be seen of a datum.

    Parameters
    ----------
    pair, x, mask, fraction, seed
        As for :func:`observed`. A gradient flows back to x.

    Returns
    -------
    x, mask
        (B, \\*data_shape), 0 where unseen, on the device and in the float type of the pair; and
        what is seen, (B or 1, \\*data_shape), or ``None`` for everything.

    Raises
    ------
    UsageError
        As :func:`observed`, but that a mask may see nothing.

    Examples
    --------
    >>> from pyro_models import PPCA
    >>> x, seen = checked(PPCA((4,), latent_dim=2), np.zeros((3, 4)), np.array([1, 1, 0, 0]))
    >>> x.dtype, seen
    (torch.float32, tensor([[ True,  True, False, False]]))
    """
    values = _tensor(x)
    _check_shape(pair, values)
    seen = None
    if mask is not None:
        seen = _seen(mask, pair.data_shape, values, fraction=fraction, seed=seed)
    values = fill_unseen(values, seen)  # first, so that what stood there is no matter at all
    _check_pixels(values)
    like = next(iter(pair.parameters()))
    check_float32_suffices(values, like.dtype, name="x", seen=seen)
    values = placed(values if values.is_floating_point() else values.to(like.dtype), like)
    seen = placed(seen, like)
    pair.likelihood.check(values, seen)
    return values, seen


def training_data(
    x: Tensor | np.ndarray, data_shape: tuple[int, ...] | None = None, *, least: int = 1
) -> Tensor:
    """Data that a pair is started from or learned from in closed form, in their own float type.

    Whole numbers and booleans become the default float type, or float64 where that would round
    their differences away.

    Parameters
    ----------
    x
        Prepared data (N, \\*data_shape), on any device.
    data_shape
        Shape of one datum, if it is known.
    least
        Least number of data.

    Raises
    ------
    UsageError
        If it does not hold finite real numbers, has another shape, or too few data.

    Examples
    --------
    >>> training_data(np.array([[0, 1], [1, 0]])).dtype
    torch.float32
    """
    values = _tensor(x).detach()
    shape = "*data_shape" if data_shape is None else ", ".join(map(str, data_shape))
    if values.dim() < 2 or (data_shape is not None and tuple(values.shape[1:]) != data_shape):
        raise UsageError(f"give data of shape (N, {shape}); got {tuple(values.shape)}")
    if len(values) < least:
        raise UsageError(f"give {least} data or more; got {len(values)}")
    _check_pixels(values)
    if not values.is_floating_point():
        default = torch.get_default_dtype()
        values = values.to(torch.float64 if loses(values, default) is not None else default)
    if not bool(values.isfinite().all()):
        row = int((~values.isfinite()).flatten(1).any(1).nonzero()[0])
        raise UsageError(f"x holds NaN or infinite values, the first in row {row}: leave them out")
    return values


def _seen(
    mask: Mask, data_shape: tuple[int, ...], x: Tensor, *, fraction: float, seed: int
) -> Tensor:
    """A mask by name, of a file or as an array: (B or 1, \\*data_shape), where x is."""
    if not isinstance(mask, Tensor):
        mask = seen_pixels(
            mask, data_shape, num_data=len(x), fraction=fraction, seed=seed, may_be_blind=True
        )
    return needed_mask(mask, data_shape, num_data=len(x)).to(x.device)


def _check_sees(seen: Tensor) -> None:
    blind = (~seen.flatten(1).any(1)).nonzero().flatten().tolist()
    if blind:
        what = "the mask sees nothing" if len(seen) == 1 else f"nothing is seen of image {blind[0]}"
        raise UsageError(f"{what}: a mask is True where a pixel is seen")


def _tensor(x: Any) -> Tensor:
    """Data of whatever kind as a tensor of real numbers, where they are."""
    if isinstance(x, Tensor):
        return check_plain(x, "x")
    if not holds_array(x):
        raise UsageError(f"x is a tensor or an array of prepared data; got a {type(x).__name__}")
    return to_tensor(x, "x")


def _check_pixels(x: Tensor) -> None:
    """Refuse images of whole numbers above 1, which were not prepared."""
    if not x.is_floating_point() and x.dim() == 4 and x.numel() and int(x.max()) > 1:
        raise UsageError(
            f"x holds pixels as whole numbers up to {int(x.max())}: prepare them as the pair's "
            "training data were (load_data does; or x / 255)"
        )


def _check_shape(pair: _OfData, x: Tensor) -> None:
    shape = tuple(pair.data_shape)
    if tuple(x.shape) == shape:
        raise UsageError(f"x is one datum of shape {shape}: give a batch, x[None]")
    if tuple(x.shape[1:]) != shape or not len(x):
        raise UsageError(
            f"x of shape {tuple(x.shape)} does not fit {type(pair).__name__}, which is of data of "
            f"shape (B, {', '.join(map(str, shape))}) with B ≥ 1"
        )
