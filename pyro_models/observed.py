"""What is seen of some data: x, which of its pixels, and labels, checked against a pair once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_models.device import placed
from pyro_models.errors import UsageError
from pyro_models.labels import labels_for
from pyro_models.masks import Mask, seen_pixels
from pyro_models.pair import Pair, fill_unseen, pixel_mask

__all__ = ["Observed", "observed"]


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
    values = _tensor(x)
    _check_shape(pair, values)
    like = next(iter(pair.parameters()))
    values = placed(values.detach(), like)
    seen = None
    if mask is not None:
        seen = _seen(mask, pair.data_shape, values, fraction=fraction, seed=seed)
    pair.likelihood.check(values, seen)
    return Observed(fill_unseen(values, seen), seen, labels_for(y, len(values), values.device))


def _seen(
    mask: Mask, data_shape: tuple[int, ...], x: Tensor, *, fraction: float, seed: int
) -> Tensor:
    """A mask by name, of a file or as an array: (B, \\*data_shape), where x is."""
    if not isinstance(mask, Tensor):
        mask = seen_pixels(mask, data_shape, num_data=len(x), fraction=fraction, seed=seed)
    seen: Tensor = pixel_mask(mask, data_shape, x)  # type: ignore[assignment]  # of a mask, one
    blind = (~seen.flatten(1).any(1)).nonzero().flatten().tolist()
    if blind:
        which = "the mask" if len(seen) == 1 else f"image {blind[0]}"
        raise UsageError(f"nothing is seen of {which}: mask is True where a pixel is seen")
    return seen.expand(x.shape)


def _tensor(x: Any) -> Tensor:
    """Data of whatever kind as a tensor of real numbers with a point."""
    if not isinstance(x, Tensor | np.ndarray):
        raise UsageError(f"x is a tensor or an array of prepared data; got a {type(x).__name__}")
    try:
        values = torch.as_tensor(x)
    except (TypeError, ValueError) as error:
        raise UsageError(f"x holds no numbers: an array of {x.dtype}") from error
    if values.is_complex():
        raise UsageError("x holds complex numbers: give real ones")
    return values if values.is_floating_point() else values.to(torch.get_default_dtype())


def _check_shape(pair: Pair, x: Tensor) -> None:
    shape = tuple(pair.data_shape)
    if tuple(x.shape) == shape:
        raise UsageError(f"x is one datum of shape {shape}: give a batch, x[None]")
    if tuple(x.shape[1:]) != shape or not len(x):
        raise UsageError(
            f"x of shape {tuple(x.shape)} does not fit {type(pair).__name__}, which is of data of "
            f"shape (B, {', '.join(map(str, shape))}) with B ≥ 1"
        )
