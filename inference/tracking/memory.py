"""What a run remembers of its trackers: ``trackers.json`` in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pyro_models.files import write_atomically

__all__ = ["Memory"]


class Memory:
    """What one tracker keeps of a run, by the tracker's key; of a run without a folder, in memory.

    A file that is damaged is as good as none.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Memory(Path(folder), "mine").keep(id="a1")
    ...     Memory(Path(folder), "mine").content
    {'id': 'a1'}
    """

    def __init__(self, folder: Path | None, key: str) -> None:
        self.path = None if folder is None else folder / "trackers.json"
        self.key = key
        found = self._read().get(key)
        self.content: dict[str, Any] = found if isinstance(found, dict) else {}

    def _read(self) -> dict[str, Any]:
        try:
            read = json.loads(self.path.read_text(encoding="utf-8")) if self.path else {}
        except (OSError, ValueError):
            return {}
        return read if isinstance(read, dict) else {}

    def keep(self, **values: Any) -> None:
        """Add to what is kept, and write it."""
        self.content.update(values)
        if self.path is not None:
            text = json.dumps({**self._read(), self.key: self.content}, indent=2)
            write_atomically(self.path, f"{text}\n")
