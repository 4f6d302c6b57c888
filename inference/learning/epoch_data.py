"""What an epoch sees: the training data, their order, fresh pixels, and batches of them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from inference.learning.batches import batches
from inference.learning.data_parallel import Processes, Share
from inference.learning.preparation import for_start
from inference.learning.settings import Settings
from pyro_models import ImageData, UsageError
from pyro_models.data import Split
from pyro_models.data.preparation import prepare
from pyro_models.data.rows import SAMPLE, sample_of
from pyro_models.memory import free_memory
from pyro_models.observed import Observed
from pyro_models.seeds import stream

__all__ = ["EpochData"]

Batch = tuple[int, Callable[[], Observed], Share | None]
"""How many data a batch has, what gives this process's, and what share of it they are."""


class EpochData:
    """The data that one training sees, epoch by epoch.

    They are on the device, all of them, if it holds them. Otherwise each batch is read from memory,
    or from a file, when it is needed: one ahead, in a thread, and to a GPU through pinned memory.
    Pixels that are drawn are then drawn batch by batch.

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

    Attributes
    ----------
    streams
        Whether batches are read when they are needed.
    fixed
        All training data on the device, where no epoch draws them anew and it holds them.
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
        self.streams = _streams(data, settings.stream, device)
        self.fixed: Observed | None = None
        self._drawn = data
        if self.streams and not (data.redraws or data.is_streamed):
            prepared = {"train": data.prepared("train")}
            self._drawn = replace(data, preparation="grey", splits=prepared)
        elif not self.streams and data.redraws:
            self._drawn = self._where_it_is_drawn(data)
        elif not self.streams:
            self.fixed = self.on_device(data.prepared("train"))

    def share(self, other: EpochData) -> None:
        """See the pixels of another that are the same, to have them once."""
        if other.data is self.data and other.fixed is not None:
            self.fixed = other.fixed

    def shuffle(self) -> None:
        """Draw the order of the next epoch."""
        self._unshuffled = self.shuffling.get_state()
        self.permutation = torch.randperm(self.num_train, generator=self.shuffling)

    def epoch(self) -> Observed:
        """Pixels of one epoch: fresh draws where the preparation is random.

        Where they are streamed, it is what they are read from.
        """
        if self.fixed is not None:
            return self.fixed
        if self.streams:
            return self._drawn.split("train")
        return self.on_device(self._drawn.draw("train", self.drawing))

    def batches(self, data: Observed) -> Iterator[Batch]:
        """Each batch of an epoch."""
        rows = batches(
            self.permutation if self.streams else self.permutation.to(self.device),
            batch_size=self.settings.batch_size,
            y=data.y,
            labelled_per_batch=self.settings.labelled_per_batch,
        )
        parts = ((len(whole), *self.processes.part(whole, data.y)) for whole in rows)
        if self.streams:
            yield from self._read_ahead(parts)
            return
        for size, own, share in parts:
            yield size, partial(data.rows, own), share

    def _read_ahead(self, parts: Iterator[tuple[int, Tensor, Share | None]]) -> Iterator[Batch]:
        """The batches; while one is learned from, the next is being read."""
        pixels = torch.Generator(self.drawing.device)  # of several processes, one's own
        seed = torch.randint(2**62, (), generator=self.drawing, device=self.drawing.device)
        pixels.manual_seed(int(seed) + self.processes.rank)
        ahead: deque[Batch] = deque()
        with ThreadPoolExecutor(1) as reader:
            for size, own, share in parts:
                read = reader.submit(self._read, own)
                ahead.append((size, partial(self._arrived, read, pixels), share))
                if len(ahead) > 1:
                    yield ahead.popleft()
            yield from ahead

    def _read(self, rows: Tensor) -> Observed:
        """Some of the training data here, prepared unless their pixels are to be drawn."""
        data = self._drawn
        split = data.split("train")
        batch = split.rows(rows) if data.redraws else data.draw("train", self.drawing, rows=rows)
        if self.device.type != "cuda":
            return batch
        pinned = (None if v is None else v.pin_memory() for v in (batch.x, batch.y, batch.mask))
        return Observed.unchecked(*pinned)  # type: ignore[arg-type]

    def _arrived(self, batch: Future[Observed], pixels: torch.Generator) -> Observed:
        """What was read, on the device, its pixels drawn."""
        found = batch.result().to(self.device, non_blocking=True)
        if self.data.redraws:
            how: dict[str, Any] = {"levels": self.data.levels, "generator": pixels}
            x = prepare(found.x, self.data.preparation, **how)
            found = Observed.unchecked(x, found.y, found.mask)
        return self.on_device(found)

    def for_start(self) -> Tensor:
        """What a pair is started from; of data that are streamed a sample."""
        if not self.streams:
            return for_start(self.epoch())
        rows = sample_of(self._drawn.split("train").x.shape)
        return for_start(self.on_device(self._drawn.draw("train", self.drawing, rows=rows)))

    def chunks(self, name: str, *, limit: int | None = None) -> Iterator[Observed]:
        """A split, or its first data, as :meth:`prepared`, as many at a time as memory holds."""
        own = self.processes.own(len(self.data.split(name).x[:limit]))
        if not self.streams:
            yield self.prepared(name, limit=limit)[own]
            return
        size = max(1, SAMPLE // math.prod(self.data.data_shape))
        if not self.data.is_streamed:
            here = self.data.prepared(name, seed=self.settings.seed, limit=limit)[own]
            yield from map(self.on_device, here.chunks(size) if len(here) else [here])
            return
        seed = stream(self.settings.seed, f"pixels of process {self.processes.rank}")
        pixels = torch.Generator().manual_seed(seed if self.processes.rank else self.settings.seed)
        for begin in range(own.start, max(own.stop, own.start + 1), size):
            rows = torch.arange(begin, min(begin + size, own.stop))
            yield self.on_device(self.data.draw(name, pixels, rows=rows))

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
            "shuffling": self._unshuffled,
            "drawing": self.drawing.get_state(),
            "streams": self.streams,
        }

    def load_state(self, state: dict[str, Any], *, epochs: int) -> None:
        """Take up the state after so many epochs."""
        if state.get("streams", False) != self.streams:
            was, now = ("not ", "") if self.streams else ("", "not ")
            raise UsageError(
                f"the data of this run were {was}streamed, and are {now}now: give "
                f"stream={not self.streams}"
            )
        self.shuffling.set_state(state["shuffling"])
        if "permutation" in state:  # of an earlier release
            self.permutation = state["permutation"]
        else:
            self.shuffle()
        if len(state["drawing"]) == len(self.drawing.get_state()):
            self.drawing.set_state(state["drawing"])
        else:  # the run was begun on another kind of device
            seed = stream(self.settings.seed, f"pixels from epoch {epochs} on")
            self.drawing.manual_seed(seed)


def _streams(data: ImageData, stream: bool | None, device: torch.device) -> bool:
    """Whether batches are read when they are needed: as told, or if a GPU cannot hold the data."""
    if data.is_streamed:
        if stream is False:
            raise UsageError(
                f"{data.name} is streamed from its file: give stream=False to load_data, which "
                "reads it into memory"
            )
        return True
    if stream is not None or device.type != "cuda":
        return bool(stream)
    x = data.split("train").x
    copies = 3 if data.redraws else 2
    return copies * x.numel() * x.dtype.itemsize > free_memory(device)
