"""What an epoch sees: the training data, their order, fresh pixels, and batches of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from inference.learning.batches import batches
from inference.learning.data_parallel import Processes, Share
from inference.learning.preparation import for_start
from inference.learning.settings import Settings
from pyro_models import ImageData
from pyro_models.data import Split
from pyro_models.observed import Observed
from pyro_models.seeds import stream

__all__ = ["EpochData"]


class EpochData:
    """The data that one training sees, epoch by epoch.

    Parameters
    ----------
    data
        What it learns from.
    settings
        How.
    device, dtype
        Where the pair is, and its float type.
    processes
        Who trains it together, each on its rows of every batch.
    """

    def __init__(
        self,
        data: ImageData,
        settings: Settings,
        *,
        device: torch.device,
        dtype: torch.dtype,
        processes: Processes,
    ) -> None:
        self.data, self.settings, self.processes = data, settings, processes
        self.device, self.dtype = device, dtype
        self.num_train = len(data.split("train"))
        self.steps_per_epoch = -(-self.num_train // settings.batch_size)
        self.shuffling = torch.Generator().manual_seed(settings.seed)
        # pixels are drawn where the pair is, where another processor than this one does it
        where = device if device.type == "cuda" else "cpu"
        self.drawing = torch.Generator(where).manual_seed(settings.seed + 1)
        self.shuffle()
        self.fixed = None if data.redraws else self.on_device(data.prepared("train"))
        self._drawn = data if self.fixed is not None else self._where_it_is_drawn(data)

    def share(self, other: EpochData) -> None:
        """See the pixels of another that are the same, to have them once."""
        if other.data is self.data and other.fixed is not None:
            self.fixed = other.fixed

    def shuffle(self) -> None:
        """Draw the order of the next epoch."""
        self.permutation = torch.randperm(self.num_train, generator=self.shuffling)

    def epoch(self) -> Observed:
        """Pixels of one epoch: fresh draws where the preparation is random."""
        if self.fixed is not None:
            return self.fixed
        return self.on_device(self._drawn.draw("train", self.drawing))

    def batches(self, data: Observed) -> Iterator[tuple[int, Callable[[], Observed], Share | None]]:
        """How many data each batch of an epoch has, what reads this process's, and their share."""
        rows = batches(
            self.permutation.to(self.device),
            batch_size=self.settings.batch_size,
            y=data.y,
            labelled_per_batch=self.settings.labelled_per_batch,
        )
        for whole in rows:
            own, share = self.processes.part(whole, data.y)
            yield len(whole), partial(data.rows, own), share

    def for_start(self) -> Tensor:
        """What a pair is started from."""
        return for_start(self.epoch())

    def prepared(self, name: str, *, limit: int | None = None) -> Observed:
        """A split, or its first data, with the same pixels each time."""
        seed = self.settings.seed
        return self.on_device(self.data.prepared(name, seed=seed, limit=limit))

    def on_device(self, data: Observed) -> Observed:
        """The data where the pair is, in its float type."""
        return data.to(self.device, self.dtype)

    def _where_it_is_drawn(self, data: ImageData) -> ImageData:
        """The grey training pixels beside their generator."""
        if self.drawing.device.type == "cpu":
            return data
        grey = data.split("train")
        y, mask = (None if v is None else v.to(self.device) for v in (grey.y, grey.mask))
        return replace(data, splits={"train": Split(grey.x.to(self.device), y, mask)})

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {
            "shuffling": self.shuffling.get_state(),
            "drawing": self.drawing.get_state(),
            "permutation": self.permutation,
        }

    def load_state(self, state: dict[str, Any], *, epochs: int) -> None:
        """Take up the state after so many epochs."""
        self.shuffling.set_state(state["shuffling"])
        self.permutation = state["permutation"]
        if len(state["drawing"]) == len(self.drawing.get_state()):
            self.drawing.set_state(state["drawing"])
        else:  # the run was begun on another kind of device
            seed = stream(self.settings.seed, f"pixels from epoch {epochs} on")
            self.drawing.manual_seed(seed)
