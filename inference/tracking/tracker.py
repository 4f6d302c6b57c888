"""A tracker: a callback that tells a tracking service of each epoch, and never stops a training."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from torch import Tensor

from inference.figures.registry import figure_named
from inference.learning.callbacks import CallbackState, check_moments, is_moment
from inference.tracking.contents import (
    figures_of,
    histograms_of,
    hyper_parameters,
    numbers_of,
    usual_figures,
)
from inference.tracking.memory import Memory
from pyro_models import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Ending", "Log", "TrackedRun", "Tracker", "check_installed"]

Ending = Literal["finished", "failed", "interrupted"]
"""How a training ended."""


@dataclass(frozen=True)
class TrackedRun:
    """One training, as a tracker is told of it when it begins or is gone on with.

    Attributes
    ----------
    name
        Of the run: its folder, from the present one, or else model, data, seed and time.
    folder
        The run folder, if it has one.
    epoch
        Number of epochs that are done: what a service knows of later ones was lost, and is told
        anew.
    settings
        Hyper-parameters by name, in plain values.
    numbers
        Names of the numbers that stand for the training in a table of runs.
    memory
        What the run folder keeps for the tracker, empty at first: what the service knows the
        training by, which the tracker adds, and the last ``"epoch"`` that it was told of.
    """

    name: str
    folder: Path | None
    epoch: int
    settings: Mapping[str, bool | int | float | str]
    numbers: tuple[str, ...] = ()
    memory: dict[str, Any] = field(default_factory=dict)


class Log(Protocol):
    """What a service has of one training; steps are epochs, 0 before the first."""

    @property
    def last_epoch(self) -> int:
        """The last epoch whose numbers it has; −1 if none."""
        ...

    def numbers(self, values: Mapping[str, float], epoch: int) -> None:
        """Keep numbers by name."""
        ...

    def figure(self, name: str, figure: Figure, epoch: int) -> None:
        """Keep a matplotlib figure."""
        ...

    def histogram(self, name: str, values: Tensor, epoch: int) -> None:
        """Keep how values are distributed, a tensor of any shape on the CPU."""
        ...

    def close(self, ending: Ending) -> None:
        """Write what is left, and say how the training ended."""
        ...


class Tracker(ABC):
    """A callback that tells a service of a training: curves, hyper-parameters, figures, histograms.

    A tracker of one's own is a subclass with :meth:`open`. Whatever the service raises is said once
    in a warning, and the training goes on without it. A run that is resumed goes on in the service,
    too, each epoch once; epochs that it was not told of are told then.

    Parameters
    ----------
    figures
        Names of figures of a pair, drawn of validation data; samples and reconstructions unless
        given. One that this pair does not have is left out, which is said if it was named.
    at
        Epochs after which they are drawn: numbers, ``"start"``, ``"half"`` and ``"end"``.
    histograms
        Whether weights and latent means are told of at these epochs, too.

    Raises
    ------
    UsageError
        If a moment is none of these, or there is no figure of a name.

    Examples
    --------
    >>> class Printed:
    ...     last_epoch = -1
    ...     def numbers(self, values, epoch): print(epoch, *values)
    ...     def figure(self, name, figure, epoch): print(epoch, "figure", name)
    ...     def histogram(self, name, values, epoch): pass
    ...     def close(self, ending): print(ending)
    >>> class Printer(Tracker):
    ...     def open(self, run): return Printed()
    >>> from inference import fit
    >>> from pyro_models import PPCA, load_data
    >>> data = load_data("digits", preparation="dequantised")
    >>> few = {"epochs": 1, "curve_size": 0, "progress": False}
    >>> result = fit(PPCA(data.data_shape), data, callbacks=[Printer(at=["end"])], **few)
    1 bound/running training/learning_rate training/beta training/seconds
    1 figure prior_samples
    1 figure reconstructions
    finished
    """

    def __init__(
        self,
        *,
        figures: Sequence[str] | None = None,
        at: Sequence[int | str] = ("start", "half", "end"),
        histograms: bool = True,
    ) -> None:
        check_moments(at, what="figures of a tracker")
        for name in figures or ():
            figure_named(name)
        self.figures = None if figures is None else tuple(figures)
        self.at, self.histograms = tuple(at), histograms
        self._begin()

    @property
    def key(self) -> str:
        """What it is told apart by from other trackers of a run, in its memory of this one."""
        return type(self).__name__

    @abstractmethod
    def open(self, run: TrackedRun) -> Log:
        """Begin to tell of a training, or go on; called before its first number."""

    def _begin(self) -> None:
        self._logs: dict[Any, tuple[Log, Memory]] = {}
        self._failed = False
        self._left_out: set[str] = set()

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        failed: Ending = "interrupted" if interrupted else "failed"
        for log, _ in self._logs.values():
            self._try(partial(log.close, failed if kind else "finished"))
        self._begin()

    def __call__(self, state: CallbackState) -> None:
        """Tell of an epoch, or of the pair before the first."""
        self._try(partial(self._tell, state))

    def _try(self, tell: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            tell()
        except Exception as error:  # a service can fail in any way
            self._failed = True
            why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            name = type(self).__name__
            warnings.warn(f"{name} failed ({why}): the training goes on without it", stacklevel=4)

    def _tell(self, state: CallbackState) -> None:
        key = state.out or id(state.pair)
        if key not in self._logs:
            self._logs[key] = self._opened(state)
        log, memory = self._logs[key]
        told = log.last_epoch
        for epoch in state.history:
            if epoch.epoch > told:
                log.numbers(numbers_of(epoch, state), epoch.epoch)
        if is_moment(self.at, state) and state.epoch > told:
            self._show(log, state)
        memory.keep(epoch=state.epoch)

    def _opened(self, state: CallbackState) -> tuple[Log, Memory]:
        memory = Memory(state.out, self.key)
        what = "objective" if state.remark else "bound"
        run = TrackedRun(
            _name_of(state),
            state.out,
            max(0, state.epoch - 1),
            hyper_parameters(state),
            (f"{what}/validation", f"{what}/train"),
            memory.content,
        )
        log = self.open(run)
        memory.keep()
        return log, memory

    def _show(self, log: Log, state: CallbackState) -> None:
        names = usual_figures(state.pair) if self.figures is None else self.figures
        for name, figure in figures_of(state, [n for n in names if n not in self._left_out]):
            if not isinstance(figure, UsageError):
                log.figure(name, figure, state.epoch)
                continue
            if state.epoch:  # the curves have nothing to show before the first
                self._left_out.add(name)
            if self.figures is not None and state.epoch:
                warnings.warn(f"{type(self).__name__} shows no {name}: {figure}", stacklevel=6)
        if self.histograms:
            for name, values in histograms_of(state):
                log.histogram(name, values, state.epoch)


def _name_of(state: CallbackState) -> str:
    """The run folder, seen from the present one; without one model, data, seed and time."""
    if state.out is not None:
        place = state.out.resolve()
        near = place.is_relative_to(Path.cwd())
        return place.relative_to(Path.cwd()).as_posix() if near else place.name
    data = "" if state.data is None else f"-{Path(state.data.name).stem}"
    seed = "" if state.settings is None else f"-seed-{state.settings.seed}"
    return f"{type(state.pair).__name__}{data}{seed}-{datetime.now():%Y%m%d-%H%M%S}"


def check_installed(package: str) -> None:
    """Refuse a tracker whose package is missing; the extra has the name of the package."""
    try:
        import_module(package)
    except ImportError as error:
        raise UsageError(
            f'this tracker needs the package {package}: pip install "pyro-models[{package}]"'
        ) from error
