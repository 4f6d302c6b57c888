"""A .npy or .npz file as a data set: read as a whole, or row by row where it is too large."""

from __future__ import annotations

import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pyro_models.data.from_arrays import from_arrays
from pyro_models.data.images import ImageData
from pyro_models.data.rows import Rows, is_streamed, is_too_large
from pyro_models.errors import UsageError
from pyro_models.memory import in_words

__all__ = ["from_file"]


def from_file(path: Path, *, stream: bool | None = None, **split: Any) -> ImageData:
    """The data of a file, in memory or streamed from it; ``split`` is what from_arrays takes."""
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    try:
        _refuse_large_archive(path)
        mapped = _mapped(path)
        streamed = is_streamed(mapped, stream)
        if not streamed:
            with path.open("rb") as file:
                content = np.load(file, allow_pickle=False)
                arrays = {"x": content} if isinstance(content, np.ndarray) else dict(content)
    except UsageError:
        raise
    except MemoryError as error:
        raise UsageError(f"{path} is larger than memory: stream it (stream=True)") from error
    except Exception as error:  # a damaged file can fail in any way
        raise UsageError(f"{path} is not a readable {path.suffix} file of plain arrays") from error
    if streamed and mapped is not None:
        arrays = {"x": Rows.of(mapped, str(path), levels=split.get("levels"))}
    data = from_arrays(str(path), arrays, **split)
    return replace(data, source=os.path.abspath(path))


def _mapped(path: Path) -> np.memmap[Any, Any] | None:
    """The array of a .npy file, of which nothing is read; ``None`` of anything else."""
    with path.open("rb") as file:
        if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
            return None
    return np.lib.format.open_memmap(path, mode="r")


def _refuse_large_archive(path: Path) -> None:
    """Refuse an archive whose arrays are too large to be held in memory."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if is_too_large(size):
        raise UsageError(
            f"{path} holds {in_words(size)}, more than memory can hold, and an archive cannot be "
            "streamed: save x alone by numpy.save, as a .npy file"
        )
