"""What a training will do, in a few lines before it begins; then how long it takes."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from inference.declared import takes
from inference.denormals import denormals_flushed
from inference.learning.begin import begun
from inference.learning.callbacks import CallbackState
from inference.learning.data_parallel import own_device
from inference.learning.settings import FIND, Settings
from inference.learning.training import Training
from inference.precision import precision_of
from inference.progress import announce
from pyro_models import ImageData, Pair
from pyro_models.contract import check_pair
from pyro_models.data.masks import Mask
from pyro_models.device import check_device, device_of
from pyro_models.errors import in_one_line
from pyro_models.observed import Data

__all__ = ["FirstEpoch", "ModuleRow", "Summary", "duration", "summarize"]

WIDTH = 80
_MOST = 18  # modules that are named; of more, the first and the last


@dataclass(frozen=True)
class ModuleRow:
    """A module with parameters of its own: where it is, their shapes, how many numbers they are."""

    name: str
    shapes: tuple[tuple[int, ...], ...]
    count: int
    learned: int


@dataclass(frozen=True)
class Summary:
    """What a training will do.

    Attributes
    ----------
    pair
        What is trained.
    modules
        Every module of model and guide that has parameters of its own, in their order.
    data, sizes, data_shape, preparation
        The data, how many there are of each split, the shape of one, and how pixels are prepared.
    objective, unit, remark
        What is maximised, its unit, and what must be said of it.
    optimizer, lr, schedule
        How it is maximised.
    epochs, batch_size, batches_per_epoch
        Passes over the training data, data in each step, steps in each pass.
    device, precision
        Where and in what it is computed.
    steps
        How a step is taken: recorded, recorded and compiled, or run, and why.
    """

    pair: str
    modules: tuple[ModuleRow, ...]
    data: str
    sizes: dict[str, int]
    data_shape: tuple[int, ...]
    preparation: str
    objective: str
    unit: str
    remark: str
    optimizer: str
    lr: float | str
    schedule: str | None
    epochs: int
    batch_size: int
    batches_per_epoch: int
    device: str
    precision: str
    steps: str

    @property
    def num_parameters(self) -> int:
        """Number of parameters of model and guide."""
        return sum(row.count for row in self.modules)

    @property
    def num_learned(self) -> int:
        """Number of those that are not frozen."""
        return sum(row.learned for row in self.modules)

    @classmethod
    def of(cls, training: Training, *, lr: float | str | None = None) -> Summary:
        """That of a training which is ready to begin; ``lr`` stands in place of its rate."""
        settings, data, step = training.settings, training.data, training.step
        plain = settings.plain()
        steps = "recorded once and run again"
        if settings.compile:
            steps = "recorded and compiled into fused kernels"
        if training.launcher is not None:
            steps += ", many in one launch"
        if step.not_recorded:
            steps = f"run one by one: {step.not_recorded}"
        computed = precision_of(training.pair) or "float32"
        if settings.precision == "bfloat16":
            computed += ", networks in bfloat16"
        return cls(
            type(training.pair).__name__,
            tuple(_modules(training.pair)),
            data.name,
            {name: len(split) for name, split in data.splits.items()},
            data.data_shape,
            "a table" if data.table else data.preparation_in_words,
            training.objective.name,
            training.objective.unit,
            training.objective.remark,
            str(plain["optimizer"]),
            settings.lr if lr is None else lr,
            plain["schedule"],
            settings.epochs,
            settings.batch_size,
            training.steps_per_epoch,
            str(training.device),
            computed,
            steps,
        )

    def __str__(self) -> str:
        return "\n".join([*self._table(), "", *self._lines()])

    def _table(self) -> list[str]:
        rows = [(row.name, _shapes(row.shapes), f"{row.count:,}") for row in self.modules]
        if len(rows) > _MOST:
            left = self.modules[_MOST // 2 : -(_MOST // 2)]
            count = sum(row.count for row in left)
            rows[_MOST // 2 : -(_MOST // 2)] = [(f"… {len(left)} modules", "", f"{count:,}")]
        total = f"{self.num_parameters:,}"
        if self.num_learned < self.num_parameters:
            total = f"{self.num_learned:,} of {total} learned"
        rows = [(self.pair, "shapes", "parameters"), *rows]
        last = max(len(row[2]) for row in rows)
        first = min(max(len(row[0]) for row in rows), 34)
        middle = min(max(len(row[1]) for row in rows), WIDTH - first - last - 4)
        lines = [
            f"{_cut(a, first):<{first}}  {_cut(b, middle):<{middle}}  {c:>{last}}"
            for a, b, c in rows
        ]
        return [*lines, f"{total:>{len(lines[0])}}"]

    def _lines(self) -> Iterator[str]:
        sizes = ", ".join(f"{name} {count:,}" for name, count in self.sizes.items())
        shape = "×".join(map(str, self.data_shape))
        yield from _said("data", f"{self.data}: {sizes}; of {shape}, {self.preparation}")
        yield from _said("maximised", f"{self.objective}, {self.unit}")
        rate = self.lr if isinstance(self.lr, str) else f"{self.lr:.3g}"
        schedule = f", schedule {self.schedule}" if self.schedule else ""
        yield from _said("by", f"{self.optimizer}, lr {rate}{schedule}")
        steps = self.epochs * self.batches_per_epoch
        yield from _said(
            "steps",
            f"{steps:,} = {self.epochs:,} epochs of {self.batches_per_epoch:,}, "
            f"{self.batch_size:,} data each; {self.steps}",
        )
        yield from _said("on", f"{self.device}, in {self.precision}")


def _said(word: str, text: str) -> list[str]:
    indent = " " * 11
    return textwrap.wrap(
        text, WIDTH, initial_indent=f"{word:<11}", subsequent_indent=indent, break_on_hyphens=False
    )


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _shapes(shapes: tuple[tuple[int, ...], ...]) -> str:
    return ", ".join("×".join(map(str, shape)) or "1" for shape in shapes)


def _modules(pair: Pair) -> Iterator[ModuleRow]:
    """Modules with parameters of their own; what model and guide share is the model's."""
    known: set[int] = set()
    for part in ("model", "guide"):
        of_part: nn.Module = getattr(pair, part)
        for name, module in of_part.named_modules():
            own = [p for p in module.parameters(recurse=False) if id(p) not in known]
            known.update(map(id, own))
            if own:
                yield ModuleRow(
                    f"{part}.{name}" if name else part,
                    tuple(tuple(p.shape) for p in own),
                    sum(p.numel() for p in own),
                    sum(p.numel() for p in own if p.requires_grad),
                )
    rest = [p for p in pair.parameters() if id(p) not in known]
    if rest:
        learned = sum(p.numel() for p in rest if p.requires_grad)
        shapes = tuple(tuple(p.shape) for p in rest)
        yield ModuleRow("pair", shapes, sum(p.numel() for p in rest), learned)


@takes(Settings)
def summarize(
    pair: Pair,
    data: ImageData | Data,
    *,
    mask: Mask | None = None,
    fraction: float = 0.5,
    init_from: str | Path | None = None,
    settings: Settings | None = None,
    **options: Any,
) -> Summary:
    """Say what ``fit`` with the same arguments would do; nothing of the pair changes.

    Parameters
    ----------
    pair, data, mask, fraction, init_from, settings
        As for :func:`inference.learning.fit`.
    options
        One of :class:`Settings`.

    Returns
    -------
    Summary
        Parameters by module, data, objective, steps, device and precision; its text fits into 80
        columns.

    Raises
    ------
    UsageError
        For settings or data that do not fit, as ``fit`` would.

    Examples
    --------
    >>> from pyro_models import PPCA, load_data
    >>> data = load_data("digits", preparation="dequantised")
    >>> print(summarize(PPCA(data.data_shape, latent_dim=2), data, epochs=5))
    PPCA              shapes    parameters
    model             64×2, 64         192
    model.likelihood  1                  1
                                       193
    <BLANKLINE>
    data       digits: train 1,257, validation 180, test 360; of 1×8×8, dequantised
               pixels
    maximised  elbo (Trace_ELBO), nats per datum
    by         Adam, lr 0.001
    steps      50 = 5 epochs of 10, 128 data each; recorded once and run again
    on         cpu, in float32
    """
    check_pair(pair)
    given = (settings or Settings()).replace(**options)
    device = check_device(own_device(given.device) or device_of(pair))
    wanted, given = given.lr, given.replace(device=str(device))
    if wanted == FIND:
        given = given.replace(lr=given.rate)
    with in_one_line(f"a copy of this {type(pair).__name__}"):  # its optimizer goes with it
        copy, given = deepcopy((pair, given))
    with ExitStack() as inside:
        inside.enter_context(denormals_flushed())
        how: dict[str, Any] = {"mask": mask, "fraction": fraction, "init_from": init_from}
        training = begun(copy, data, given, inside, tried=True, **how)
        return Summary.of(training, lr=wanted)


class FirstEpoch:
    """A callback that says, after the first epoch of so many copies, how long the others take."""

    def __init__(self, *, copies: int = 1) -> None:
        self.left, self.began = copies, time.perf_counter()

    def __call__(self, state: CallbackState) -> None:
        """Say it."""
        if not state.epoch or not self.left:
            return
        self.left -= 1
        if self.left or state.last:
            return
        seconds, more = time.perf_counter() - self.began, state.epochs - state.epoch
        announce(
            f"the first epoch took {duration(seconds)}; {more:,} more take about "
            f"{duration(seconds * more)}"
        )


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(0.034), duration(75), duration(4000), duration(200_000)
    ('0.03 s', '1 min 15 s', '1 h 6 min', '2 d 7 h')
    """
    if seconds < 60:
        digits = 2 if seconds < 1 else 1 if seconds < 10 else 0
        return f"{seconds:.{digits}f} s"
    for size, unit, smaller, below in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} {int(seconds % size // smaller)} {below}"
    whole = math.floor(seconds)
    return f"{whole // 60} min {whole % 60} s"
