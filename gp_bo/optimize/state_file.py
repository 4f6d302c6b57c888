"""The state file of a search that goes on: written whole, and read again where another wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gp_bo.optimize.state import State, load_state, save_state
from pyro_models import UsageError
from pyro_models.files import holding

__all__ = ["StateFile"]


class StateFile:
    """A state file, and what it held when this process last read or wrote it.

    Parameters
    ----------
    path
        Where it is, or will be.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._known = ""

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else writes it inside; whoever does is waited for."""
        with holding(self.path.with_name(f".{self.path.name}.lock")):
            yield

    def write(self, state: State) -> None:
        """Replace what the file holds, in one step."""
        save_state(state, self.path)
        self._known = state.to_json()

    def newer_than(self, state: State) -> State | None:
        """What the file holds, if another process wrote it since; ``None`` if none did.

        Parameters
        ----------
        state
            What is known here; the file must be of the same problem.

        Raises
        ------
        UsageError
            If the file holds no state, or that of another problem.
        """
        if not self.path.exists() or self._is_known():
            return None
        found = load_state(self.path)
        difference = state.differs_from(found)
        if difference:
            raise UsageError(
                f"{self.path} is the state of another problem ({difference}); name another file"
            )
        self._known = found.to_json()
        return found

    def _is_known(self) -> bool:
        try:
            return self.path.read_text(encoding="utf-8") == self._known
        except ValueError:  # no text: load_state says so
            return False
