"""What may happen between epochs besides training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from inference.learning.history import Epoch
from pyro_models import ImageData, Pair, UsageError
from pyro_models.brief import Brief
from pyro_models.counts import is_count
from pyro_models.files import write_atomically

if TYPE_CHECKING:
    from inference.learning.settings import Settings

__all__ = ["Callback", "CallbackState", "Snapshots", "check_moments", "is_moment"]


@dataclass(frozen=True)
class CallbackState(Brief):
    """The state that a callback sees: after ``epoch`` of ``epochs``, or before training at 0.

    ``last`` says that training stops here, early or not; ``settings`` and ``data`` are what the
    pair is trained by and on. ``objective`` names what is maximised, ``unit`` its unit, and
    ``remark`` says why it bounds no evidence, where it does not.
    """

    pair: Pair
    epoch: int
    epochs: int
    history: tuple[Epoch, ...]
    out: Path | None
    last: bool = False
    settings: Settings | None = None
    data: ImageData | None = None
    objective: str = ""
    unit: str = "nats per datum"
    remark: str = ""


class Callback(Protocol):
    """Called before the first epoch and after each; a string it returns stops training, as why.

    A training that is resumed calls it after its next epoch. One that is a context manager, too, is
    entered before the training and left after it, whatever ends it.
    """

    def __call__(self, state: CallbackState) -> str | None:
        """Look at the state; leave the parameters alone."""
        ...


class Snapshots(Brief):
    """Figures of the pair after named epochs.

    Parameters
    ----------
    draw
        From a pair to a matplotlib Figure, e.g. ``lambda pair: figures.class_grid(pair)``.
    at
        Epoch numbers, or ``"start"`` (before training), ``"half"`` and ``"end"``.
    folder
        Where PNG files go; ``figures`` in the run folder unless given.

    Attributes
    ----------
    figures
        The figures drawn so far, by epoch.

    Raises
    ------
    UsageError
        If a moment is neither a number nor one of the three words.
    """

    def __init__(
        self,
        draw: Callable[[Pair], Any],
        *,
        at: Sequence[int | str] = ("start", "half", "end"),
        folder: str | Path | None = None,
    ) -> None:
        check_moments(at, what="snapshots")
        self.draw = draw
        self.at = tuple(at)
        self.folder = None if folder is None else Path(folder)
        self.figures: dict[int, Any] = {}

    def facts(self) -> Mapping[str, object]:
        """When it draws, and what it has drawn."""
        return {"at": self.at, "drawn at epochs": list(self.figures), "folder": self.folder}

    def __call__(self, state: CallbackState) -> str | None:
        """Draw and save, if this is one of the moments."""
        beyond = [at for at in self.at if isinstance(at, int) and not 0 <= at <= state.epochs]
        if beyond and len(beyond) == len(self.at):  # a shortened run draws those that are left
            raise UsageError(
                f"there is no epoch {beyond[0]} to draw a snapshot at: the run has {state.epochs}"
            )
        if not is_moment(self.at, state):
            return None
        figure = self.draw(state.pair)
        self.figures[state.epoch] = figure
        folder = self.folder or (state.out / "figures" if state.out else None)
        if folder is not None:
            path = folder / f"epoch-{state.epoch:04d}.png"
            write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=150))
        return None


def check_moments(at: Sequence[int | str], *, what: str) -> None:
    """Refuse moments that are neither epoch numbers nor ``"start"``, ``"half"`` or ``"end"``."""
    for moment in at:
        if not is_count(moment, least=0) and moment not in ("start", "half", "end"):
            raise UsageError(f"{what} are at epoch numbers, start, half or end; got {moment!r}")


def is_moment(at: Sequence[int | str], state: CallbackState) -> bool:
    """Whether a state is at one of these moments; the end is where training stops, early or not."""
    end = state.epoch if state.last else state.epochs
    words = {"start": 0, "half": (state.epochs + 1) // 2, "end": end}
    return state.epoch in {words.get(m, m) if isinstance(m, str) else m for m in at}
