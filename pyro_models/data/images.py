"""Data in memory: named splits of pixels and labels, and how they are prepared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyro_models.data.preparation import PREPARATIONS, is_random, prepare
from pyro_models.errors import UsageError

__all__ = ["ImageData", "Split"]


@dataclass(frozen=True)
class Split:
    """Some data: ``x`` (N, \\*data_shape) and, where there are labels, ``y`` integers (N,)."""

    x: Tensor
    y: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class ImageData:
    """A data set in memory.

    Attributes
    ----------
    name
        Name that goes with every number computed on it.
    splits
        ``train``, ``validation`` (absent when all training data are used) and ``test``; grey.
    preparation
        Name of the pixel preparation, applied at each use (see ``pyro_models.data.preparation``).
    levels
        Number of grey levels: 256 for 8-bit pixels, ``None`` if unknown or not pixels.
    num_classes
        Number of labels, or ``None``.
    """

    name: str
    splits: Mapping[str, Split]
    preparation: str = "grey"
    levels: int | None = None
    num_classes: int | None = None

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of one datum, (C, H, W) or (D,)."""
        return tuple(self.splits["train"].x.shape[1:])

    @property
    def is_images(self) -> bool:
        """Whether data are images rather than vectors."""
        return len(self.data_shape) == 3

    def split(self, name: str) -> Split:
        """The grey pixels and labels of a split.

        Raises
        ------
        UsageError
            If there is no such split.
        """
        if name not in self.splits:
            raise UsageError(
                f"{self.name} has no {name} split here; it has {', '.join(self.splits)}"
            )
        return self.splits[name]

    def prepared(self, name: str, *, seed: int = 0, limit: int | None = None) -> Split:
        """A split with its pixels prepared; the same draws for the same seed."""
        return self.draw(name, torch.Generator().manual_seed(seed), limit=limit)

    def draw(self, name: str, generator: torch.Generator, *, limit: int | None = None) -> Split:
        """A split, or its first ``limit`` data, prepared by the next draws of ``generator``."""
        split = self.split(name)
        x = prepare(split.x[:limit], self.preparation, levels=self.levels, generator=generator)
        return Split(x, None if split.y is None else split.y[:limit])

    @property
    def redraws(self) -> bool:
        """Whether each use of a split draws its pixels anew."""
        return is_random(self.preparation)

    def with_preparation(self, preparation: str) -> ImageData:
        """The same data prepared in another way.

        Raises
        ------
        UsageError
            If the name is unknown, or the data are vectors, which are used as they are.
        """
        if preparation not in PREPARATIONS:
            raise UsageError(
                f"unknown preparation {preparation!r}: choose from {', '.join(PREPARATIONS)}"
            )
        if preparation != "grey" and not self.is_images:
            raise UsageError(f"{self.name} holds vectors, not pixels: leave its preparation out")
        return replace(self, preparation=preparation)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(split):,}" for name, split in self.splits.items())
        return f"ImageData({self.name}, {self.data_shape}, {sizes}, {self.preparation})"
