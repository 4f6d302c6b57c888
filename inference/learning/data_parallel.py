"""Several processes that train one pair: each its rows of every batch, one sum of gradients.

All hold the same parameters and go through the same permutation. A process takes the gradient on
its own rows, with random numbers of its own; one all-reduce then makes of these, weighted by the
number of rows, the gradient on the whole batch, so that every process takes the same step. The
first process alone writes files, shows progress and calls callbacks.
"""

from __future__ import annotations

import io
import os
import socket
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from inference.learning.optimizers import laid_out_as
from pyro_models import UsageError
from pyro_models.seeds import generator_states, restore_generators, seeded, stream

__all__ = [
    "ProcessLostError",
    "Processes",
    "Share",
    "is_first",
    "launched",
    "own_device",
    "processes_on",
    "several",
]

_LAUNCHED = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
_PATIENCE = 3.0  # seconds for a process that is lost to say why
_LONGEST = 30.0  # seconds for the others to hear that this one has said it


class ProcessLostError(UsageError):
    """Another process of the training has ended, or does not answer."""


def several() -> bool:
    """Whether this process is one of several that torch.distributed has joined."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def is_first() -> bool:
    """Whether this process is the one that writes, being alone or of rank 0."""
    return not several() or dist.get_rank() == 0


def own_device(device: str | torch.device | None) -> str | torch.device | None:
    """The device of this one of several processes: ``cuda`` is ``cuda:LOCAL_RANK``.

    So is none given, where they communicate by nccl.
    """
    if not several() or (device is None and dist.get_backend() != "nccl"):
        return device
    if device is not None and str(device) != "cuda":
        return device
    local = os.environ.get("LOCAL_RANK")
    number = int(local) if local else dist.get_rank() % max(1, torch.cuda.device_count())
    return f"cuda:{number}"


@dataclass(frozen=True)
class Share:
    """What of a whole batch is in this process: how many of its data, and the labels of all."""

    own: int
    whole: int
    y: Tensor | None

    def of_labelled(self, known: int) -> float:
        """By what a mean over ``known`` data with a label here is multiplied.

        Weighted as the mean over all data here, it then adds to the mean over all with a label.
        """
        assert self.y is not None
        return known * self.whole / (self.own * int((self.y >= 0).sum()))


@dataclass(eq=False)
class Processes:
    """The processes of one training; alone, unless there are several.

    Attributes
    ----------
    rank, size
        Which of how many this is.
    words, sums
        The groups of torch.distributed for what is said on the host, and for gradients.

    Examples
    --------
    >>> [Processes(rank, 3).own(7) for rank in range(3)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
    """

    rank: int = 0
    size: int = 1
    words: Any = None
    sums: Any = None

    def own(self, count: int) -> slice:
        """Which of so many rows are this process's; it may have none."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def share(self, count: int) -> float:
        """The fraction of so many rows that are this process's."""
        own = self.own(count)
        return (own.stop - own.start) / count

    def part(self, rows: Tensor, y: Tensor | None) -> tuple[Tensor, Share | None]:
        """This process's rows of a batch, and what share of it they are; alone, all and none.

        ``y`` are the labels of all data, −1 where missing.
        """
        if self.size == 1:
            return rows, None
        own = rows[self.own(len(rows))]
        return own, Share(len(own), len(rows), None if y is None else y[rows])

    @property
    def can_be_graphed(self) -> bool:
        """Whether a CUDA graph can hold the sum of gradients."""
        return self.size == 1 or self.sums is not self.words

    def sum_gradients(
        self,
        parameters: Sequence[nn.Parameter],
        bound: Tensor,
        *,
        weight: float,
        moved: bool = False,
    ) -> Tensor:
        """Make every gradient the weighted sum over processes; returns that of the bound.

        With ``moved`` every parameter has a gradient in some process, and nothing is read by the
        host; without, those that none has moved are left without.
        """
        found = bound
        for dtype in dict.fromkeys(p.dtype for p in parameters):
            own = [p for p in parameters if p.dtype == dtype]
            parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in own]
            parts.append(bound.to(own[0]))
            if not moved:
                parts.append(
                    torch.tensor([p.grad is not None for p in own], device="cpu").to(own[0])
                )
            flat = torch.cat([part.detach().reshape(-1) for part in parts]).mul_(weight)
            with _answers() if self.sums is self.words else nullcontext():
                dist.all_reduce(flat, group=self.sums)
            *sums, found = flat[: flat.numel() - (0 if moved else len(own))].split(
                [part.numel() for part in parts[: len(own) + 1]]
            )
            by_any = [True] * len(own) if moved else (flat[-len(own) :] > 0).tolist()
            for p, summed, has in zip(own, sums, by_any, strict=True):
                p.grad = laid_out_as(summed.view(p.shape), p) if has else None
        return found.squeeze()

    def mean(self, value: float, count: int = 1) -> float:
        """The mean over all data of which ``count``, with this mean, are here."""
        if self.size == 1:
            return value
        sums = torch.tensor(
            [value * count if count else 0.0, count], dtype=torch.float64, device="cpu"
        )
        with _answers():
            dist.all_reduce(sums, group=self.words)
        return float(sums[0] / sums[1])

    def joined(self, values: Tensor, whole: int) -> Tensor:
        """Values (K,) of the rows here, after those of all processes before; (ΣK,).

        Their mean is that over the ``whole`` data, also where they are of blocks of data.
        """
        if self.size == 1:
            return values
        parts = self.gathered(values.cpu())
        count = sum(map(len, parts))
        weights = [Processes(rank, self.size).share(whole) for rank in range(self.size)]
        return torch.cat(
            [p * (w * count / len(p)) for p, w in zip(parts, weights, strict=True) if len(p)]
        )

    def first_word(self, word: str | None) -> str:
        """What the first process says that says anything; of each, empty if it does not."""
        if self.size == 1:
            return word or ""
        said = (each.decode() for each in self._gathered((word or "").encode()))
        return next(filter(None, said), "")

    def wait(self) -> None:
        """Wait until all have come here, or one has ended."""
        self.mean(0.0)

    def gathered(self, content: Any) -> list[Any]:
        """What every process has, in their order: tensors and plain values."""
        return (
            [content] if self.size == 1 else [_loaded(c) for c in self._gathered(_saved(content))]
        )

    def from_first(self, content: Any) -> Any:
        """What the first process has, in all: tensors and plain values."""
        if self.size == 1:
            return content
        sent = torch.frombuffer(bytearray(_saved(content)), dtype=torch.uint8)
        length = torch.tensor(len(sent), device="cpu")
        with _answers():
            dist.broadcast(length, 0, group=self.words)
            sent = sent if self.rank == 0 else sent.new_empty(int(length))
            dist.broadcast(sent, 0, group=self.words)
        return content if self.rank == 0 else _loaded(sent.numpy().tobytes())

    def share_state(self, module: nn.Module) -> None:
        """Give every process the parameters and buffers of the first."""
        if self.size == 1:
            return
        own = module.state_dict()
        state = self.from_first(own)
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(state[name])

    def draw_apart(self, seed: int, device: torch.device) -> None:
        """Seed the global generators by rank; those of the first are left as they are."""
        if self.rank:
            with seeded(stream(seed, f"process {self.rank}"), device):
                states = generator_states(device)
            restore_generators(states, device)

    def _gathered(self, content: bytes) -> list[bytes]:
        lengths = [torch.tensor(0, device="cpu") for _ in range(self.size)]
        with _answers():
            dist.all_gather(lengths, torch.tensor(len(content), device="cpu"), group=self.words)
            longest = max(1, *map(int, lengths))
            padded = torch.frombuffer(bytearray(content.ljust(longest)), dtype=torch.uint8)
            found = [torch.empty_like(padded) for _ in range(self.size)]
            dist.all_gather(found, padded, group=self.words)
        return [f[: int(n)].numpy().tobytes() for f, n in zip(found, lengths, strict=True)]


def _saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _loaded(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


@contextmanager
def _answers() -> Iterator[None]:
    """What fails inside, fails because another process is gone."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLostError(
            "another process of this training has ended or does not answer: look at what it said, "
            "and go on from the last checkpoint (--resume)"
        ) from error


@contextmanager
def processes_on(device: torch.device) -> Iterator[Processes]:
    """The processes that train together, each on a device; whoever leaves, leaves the others too.

    Gradients go by nccl where each has a CUDA device of its own, by gloo otherwise.
    """
    if not several():
        yield Processes()
        return
    processes = Processes(dist.get_rank(), dist.get_world_size())
    with _answers():
        processes.words = processes.sums = dist.new_group(backend="gloo")
    try:
        if device.type == "cuda" and dist.is_nccl_available():
            own = str(torch.cuda.get_device_properties(device).uuid)
            if len(set(processes.gathered(own))) == processes.size:
                processes.sums = dist.new_group(backend="nccl")
            elif processes.rank == 0:
                warnings.warn(
                    "several processes share one GPU, which is slower than one alone: start one "
                    "for each, with --device cuda",
                    stacklevel=2,
                )
        yield processes
    except BaseException:
        with suppress(RuntimeError):
            processes.sums.abort()  # what it was asked for will not be
        raise
    finally:
        for group in {processes.words, processes.sums}:
            with suppress(RuntimeError, ValueError, AssertionError):
                dist.destroy_process_group(group)
        # nothing may hold it, or its connections stay open, and another waits for this process
        processes.words = processes.sums = group = None


@contextmanager
def launched() -> Iterator[None]:
    """Join the processes that ``torchrun`` has started, for one command of them all.

    The first alone prints. Of a mistake that ends them all, one prints its line.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or not (os.environ.keys() >= _LAUNCHED and dist.is_available()):
        yield
        return
    with _answers():
        store, rank, _ = next(dist.rendezvous("env://"))
        backend = "nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        unread = io.StringIO()
        with (
            redirect_stdout(unread) if rank else nullcontext(),
            redirect_stderr(unread) if rank else nullcontext(),
        ):
            yield
    except (UsageError, OSError, KeyboardInterrupt) as error:
        if not _speaks(store, rank, size, error):
            raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 2) from None
        raise
    finally:
        dist.destroy_process_group()


def _speaks(store: Any, rank: int, size: int, error: BaseException) -> bool:
    """Whether it is this process that says why all end: the first that has a reason of its own."""
    lost = isinstance(error, ProcessLostError)
    speaks, until = True, time.monotonic() + (_PATIENCE if lost else _LONGEST)
    with suppress(OSError, RuntimeError):  # the store may be gone with the process that kept it
        socket.create_connection(
            (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
        ).close()
        while lost and not store.check(["said"]) and time.monotonic() < until:
            time.sleep(0.05)
        speaks = store.compare_set("said", "", str(rank)).decode() == str(rank)
        left = store.add("left", 1)
        while rank == 0 and left < size and time.monotonic() < until:
            time.sleep(0.05)
            left = store.add("left", 0)
    return speaks
