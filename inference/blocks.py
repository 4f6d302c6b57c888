"""Blocks of data, each with random numbers of its own: computed here or by others, and kept.

How many data make a block hangs on the pair and on constants alone, neither on the memory that may
be used nor on who computes. A block's generators are seeded by its place, so that its numbers are
the same in whatever order blocks are computed, by how many processes, and after a kill.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import cloudpickle
import joblib
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from inference.isolated import isolated
from inference.precision import DEFAULT, precision_of
from inference.workers import device_of_worker, parallel, threads
from pyro_models import Pair, UsageError
from pyro_models.counts import check_counts
from pyro_models.data import Identity, weights_checksum
from pyro_models.device import device_of
from pyro_models.files import holding_folder, is_free, write_atomically
from pyro_models.registry import modules_of_files
from pyro_models.seeds import seeded, stream

__all__ = ["HERE", "Blocks", "computed", "spread"]

FORMAT = "pyro-models blocks 1"
RECORD = "blocks.json"

Part = TypeVar("Part")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Blocks:
    """Who computes blocks, and where finished ones are kept.

    So many processes with one thread of torch each, or this one if ``None``; and a folder, nowhere
    if ``None``, which :func:`spread` has checked.
    """

    workers: int | None = None
    folder: Path | None = None

    def file(self, purpose: str, number: int) -> Path | None:
        """Where a block is kept, if it is."""
        name = f"{purpose.replace(' ', '-')}-{number:06d}.safetensors"
        return None if self.folder is None else self.folder / name


HERE = Blocks()
"""In this process, and nothing is kept."""


@dataclass(frozen=True)
class _Task(Generic[Part, Result]):
    """One block: what is computed of which part of the data, from which seed."""

    compute: Callable[[Part], Result]
    part: Part
    pair: Pair | None
    seed: int | None

    def run(self) -> Result:
        if self.seed is None:
            return self.compute(self.part)
        own: AbstractContextManager[Any] = seeded(self.seed, torch.device("cpu"))
        with own if self.pair is None else isolated(self.pair, seed=self.seed):
            return self.compute(self.part)


def computed(
    compute: Callable[[Part], Result],
    part: Callable[[slice | Tensor], Part],
    *,
    pair: Pair | None,
    count: int,
    size: int,
    seed: int | None,
    purpose: str,
    blocks: Blocks = HERE,
    progress: Callable[[int], object] | None = None,
) -> list[Result]:
    """What a function gives of every block of ``size`` of the ``count`` data, in their order.

    Parameters
    ----------
    compute, part
        The function, of what ``part`` makes of the rows of a block; with workers or a folder it
        returns a tuple of tensors.
    pair, seed, purpose
        Whose devices' generators are seeded for each block, by :func:`pyro_models.seeds.stream`;
        without a pair, the CPU's. Without a seed, blocks draw from the generators as they are, one
        after the other.
    blocks, progress
        Who computes; called with 1 for every datum that is done.
    """
    device = _device(pair)
    rows = [slice(i, min(i + size, count)) for i in range(0, count, size)]
    found: dict[int, Result] = {}

    def done(number: int, result: Result) -> None:
        found[number] = result
        for _ in range(rows[number].stop - rows[number].start if progress else 0):
            progress(1)  # type: ignore[misc]

    for number in range(len(rows)):
        kept = _load(blocks.file(purpose, number), device if blocks.folder else None)
        if kept is not None:
            done(number, kept)  # type: ignore[arg-type]

    def task(number: int) -> _Task[Part, Result]:
        own, where = None if seed is None else stream(seed, purpose, number), rows[number]
        if blocks.workers is None:
            return _Task(compute, part(where), pair, own)
        # a slice would be sent with all that it is a view of
        index = torch.arange(where.start, where.stop, device=device)
        return _Task(compute, part(index), pair, own)

    left = [number for number in range(len(rows)) if number not in found]
    for number, result in _results(task, left, blocks.workers, device):
        file = blocks.file(purpose, number)
        if file is not None:
            whole = torch.contiguous_format  # and no two in one storage, which no file may hold
            tensors = {str(i): v.cpu().clone(memory_format=whole) for i, v in enumerate(result)}
            write_atomically(file, safetensors.torch.save(tensors))
        done(number, result)
    return [found[number] for number in range(len(rows))]


def _results(
    task: Callable[[int], _Task[Any, Any]],
    numbers: Sequence[int],
    workers: int | None,
    device: torch.device,
) -> Iterator[tuple[int, Any]]:
    """The results of blocks by their numbers, as they come."""
    if workers is None or not numbers:
        for number in numbers:
            yield number, task(number).run()
        return
    for module in modules_of_files():
        cloudpickle.register_pickle_by_value(module)
    finished = 0
    try:
        for number, result in parallel(workers)(
            joblib.delayed(_at_work)(number, _packed(task(number)), device) for number in numbers
        ):
            finished += 1
            yield number, tuple(value.to(device) for value in result)
    except UsageError:
        raise
    except (RuntimeError, OSError, pickle.PicklingError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UsageError(
            f"the workers gave up after {finished} of {len(numbers)} blocks ({reason:.300}): what "
            "was finished is kept where resume names a folder; or leave workers out"
        ) from error


def _packed(task: _Task[Any, Any]) -> bytes:
    content = io.BytesIO()
    torch.save(task, content, pickle_module=cloudpickle)
    return content.getvalue()


def _at_work(number: int, packed: bytes, device: torch.device) -> tuple[int, tuple[Tensor, ...]]:
    """A block, in a process of its own: what its parent sent, on the GPU that is this worker's."""
    whole = "cuda" if device.type == "cuda" and not device.index else device
    there = torch.device(device_of_worker(whole) or device)
    # pickled by its own parent a moment ago; no file is ever loaded so
    task: _Task[Any, Any] = torch.load(io.BytesIO(packed), map_location=there, weights_only=False)
    with threads(1):
        return number, tuple(value.cpu() for value in task.run())


def _load(file: Path | None, device: torch.device | None) -> tuple[Tensor, ...] | None:
    """A block that was kept; one that is damaged is computed again."""
    if file is None or not file.is_file():
        return None
    try:
        tensors = safetensors.torch.load(file.read_bytes())
        return tuple(tensors[str(i)].to(device) for i in range(len(tensors)))
    except (safetensors.SafetensorError, KeyError):
        return None


@contextmanager
def spread(
    workers: int | None,
    resume: str | Path | None,
    pair: Pair | None,
    *,
    identity: Identity,
    settings: Mapping[str, Any],
    guides: Sequence[Any] = (),
) -> Iterator[Blocks]:
    """Blocks that so many workers compute and that are kept in a folder, which is held inside.

    What is kept there is of the pair's kind of device and precision, of the data and weights of an
    identity, of settings and of guides.

    Raises
    ------
    UsageError
        If ``workers`` is no count; another evaluation is at work in the folder; or it holds other
        things, or blocks of another pair, other data or other settings.
    """
    if workers is not None:
        check_counts(workers=workers)
    if resume is None:
        yield Blocks(workers)
        return
    folder = Path(resume)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; resume names a folder")
    precision = None if pair is None else precision_of(pair)
    own: dict[str, Any] = {"precision": precision or DEFAULT, "device": _device(pair).type}
    own |= {"guides": [*map(_checksum, guides)]}
    now = {"format": FORMAT, "identity": identity.to_dict(), "settings": {**settings, **own}}
    now = json.loads(json.dumps(now, default=int))  # as it is read; whole numbers may be NumPy's
    with holding_folder(folder, refusal=f"another evaluation is at work in {folder}: wait for it"):
        record = folder / RECORD
        if record.is_file():
            _check_record(record, now)
        elif not is_free(folder):
            raise UsageError(f"{folder} holds no blocks: name another folder (resume)")
        else:
            write_atomically(record, json.dumps(now, indent=2) + "\n")
        yield Blocks(workers, folder)


def _device(pair: Pair | None) -> torch.device:
    return torch.device("cpu") if pair is None else device_of(pair)


def _check_record(record: Path, now: Mapping[str, Any]) -> None:
    try:
        was = json.loads(record.read_text(encoding="utf-8"))
        identity, before = Identity.from_dict(was["identity"]), dict(was["settings"])
        if was["format"] != FORMAT or identity is None:
            raise ValueError("another format")
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{record} is damaged: name another folder (resume)") from error
    own = Identity.from_dict(now["identity"])
    why = own and own.differs_from(identity)
    for name in {**before, **now["settings"]}:
        other, value = before.get(name), now["settings"].get(name)
        if not why and value != other:
            why = f"{name} {value!r}, not {other!r}"
    if why:
        raise UsageError(
            f"{record.parent} holds blocks of another evaluation ({why}): name another folder "
            "(resume)"
        )


def _checksum(guide: Any) -> str | None:
    """What tells one guide from another; ``None`` where there is none."""
    if guide is None:
        return None
    module = guide if isinstance(guide, nn.Module) else getattr(guide, "guide", None)
    if not isinstance(module, nn.Module):
        raise UsageError("resume must know of which guide blocks are: give a module or a posterior")
    return weights_checksum(module)
