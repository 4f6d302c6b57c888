"""What is seen of some data: x, labels, and which pixels; one value from the loader to log p(x)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyro_models.brief import Brief
from pyro_models.data.arrays import tensor_of
from pyro_models.data.masks import Mask, fill_unseen, needed_mask, seen_pixels
from pyro_models.data.rows import Rows
from pyro_models.errors import UsageError

__all__ = ["Observed", "labels_for"]


@dataclass(frozen=True, eq=False)
class Observed(Brief):
    """Some data, their labels, and which of their pixels are seen; checked when it is made.

    It may be handed in wherever data are asked for, and is what every function works on inside.

    Parameters
    ----------
    x
        Data (B, \\*data_shape), a tensor or an array. What stands in an unseen pixel, NaN included,
        is no matter: it becomes 0.
    y
        Labels (B,), or one for all; −1 where missing. ``None`` if there are none.
    mask
        What is seen, True or 1: a name such as ``"left"``, a ``.npy`` file, or an array of any
        shape that :func:`pyro_models.data.masks.pixel_mask` takes. It becomes (B, \\*data_shape);
        ``None`` if everything is seen.

    Raises
    ------
    UsageError
        If x holds no real numbers, or labels or mask do not fit it.

    Examples
    --------
    >>> seen = Observed(np.ones((3, 1, 2, 4)), y=[0, 1, 1], mask="left")
    >>> seen.x[0, 0, 0].tolist(), seen.y, len(seen[1:])
    ([1.0, 1.0, 0.0, 0.0], tensor([0, 1, 1]), 2)
    """

    x: Tensor
    y: Tensor | None = None
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        x = tensor_of(self.x, "x")
        if not x.dim():
            raise UsageError("x is one number: give data (B, *data_shape)")
        seen = seen_of(self.mask, tuple(x.shape[1:]), x)
        seen = None if seen is None else seen.expand(x.shape)
        self._set(fill_unseen(x, seen), labels_for(self.y, len(x), x.device), seen)

    def _set(self, x: Tensor, y: Tensor | None, mask: Tensor | None) -> None:
        for name, value in (("x", x), ("y", y), ("mask", mask)):
            object.__setattr__(self, name, value)

    @staticmethod
    def unchecked(x: Tensor, y: Tensor | None = None, mask: Tensor | None = None) -> Observed:
        """The value of tensors that were checked already; nothing of them is looked at."""
        made = object.__new__(Observed)
        made._set(x, y, mask)
        return made

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Tensor | slice | int) -> Observed:
        """Some of the data, or of several stacks of data one."""
        parts = (None if v is None else v[index] for v in (self.x, self.y, self.mask))
        return Observed.unchecked(*parts)  # type: ignore[arg-type]

    def rows(self, index: Tensor) -> Observed:
        """The data of these numbers in 0…N − 1, gathered faster than any index can be."""
        if isinstance(self.x, Rows):
            x = self.x.read(index)
        else:
            x = self.x.flatten(1).index_select(0, index).unflatten(1, self.x.shape[1:])
        y, mask = (None if v is None else v.index_select(0, index) for v in (self.y, self.mask))
        return Observed.unchecked(x, y, mask)

    def chunks(self, size: int) -> Iterator[Observed]:
        """The data in their order, at most ``size`` at a time."""
        for i in range(0, len(self), size):
            yield self[i : i + size]

    def to(
        self, device: torch.device, dtype: torch.dtype | None = None, *, non_blocking: bool = False
    ) -> Observed:
        """The same on a device, x in a float type; ``non_blocking`` as for tensors."""
        y, mask = (
            None if v is None else v.to(device, non_blocking=non_blocking)
            for v in (self.y, self.mask)
        )
        x = self.x.to(device, dtype or self.x.dtype, non_blocking=non_blocking)
        return Observed.unchecked(x, y, mask)

    @property
    def half_seen(self) -> bool:
        """Whether anything is not seen."""
        return self.mask is not None and not bool(self.mask.all())

    @property
    def conditions(self) -> dict[str, Tensor | None]:
        """What model and guide are called with beside x."""
        return {"y": self.y, "mask": self.mask}

    def with_seen(self, x: Tensor) -> Tensor:
        """Values (\\*batch, B, \\*data_shape), seen pixels exactly as they are here."""
        return x if self.mask is None else torch.where(self.mask, self.x, x)


def seen_of(
    mask: Mask | None, data_shape: Sequence[int], x: Tensor, *, fraction: float = 0.5, seed: int = 0
) -> Tensor | None:
    """A mask by name, of a file or as an array: (B or 1, \\*data_shape), where x is."""
    if mask is None:
        return None
    if not isinstance(mask, Tensor):
        mask = seen_pixels(
            mask, data_shape, num_data=len(x), fraction=fraction, seed=seed, may_be_blind=True
        )
    return needed_mask(mask, tuple(data_shape), num_data=len(x)).to(x.device)


def labels_for(
    y: Tensor | np.ndarray | Sequence[int] | int | None, count: int, device: torch.device
) -> Tensor | None:
    """Integer labels (count,) on the device, from one label for all or one for each."""
    if y is None:
        return None
    try:
        labels = tensor_of(y, "y")
    except UsageError as error:
        raise UsageError(f"labels are integers, −1 where missing ({error})") from error
    labels = labels.to(device)
    if labels.is_floating_point() or labels.dtype == torch.bool:
        dtype = labels.dtype
        raise UsageError(f"labels are integers, −1 where missing; got {dtype}: give integer labels")
    if labels.numel() == 1:
        return labels.reshape(()).expand(count)
    if labels.shape != (count,):
        shape = tuple(labels.shape)
        raise UsageError(f"give {count} labels, one label per datum; got shape {shape}")
    return labels
