"""CSV files with a header: read as columns of text or numbers, written in one step."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inference.learning.files import write_atomically
from pyro_models import UsageError

__all__ = ["numbers", "read_table", "write_table"]


def read_table(path: str | Path) -> dict[str, list[str]]:
    """Column → its cells, from a CSV file whose first line names the columns.

    Raises
    ------
    UsageError
        If the file is not there, is no CSV, has no rows, or a row has another number of cells.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except (UnicodeDecodeError, IsADirectoryError):
        raise UsageError(f"{path} is no CSV file of text") from None
    try:
        rows = [row for row in csv.reader(io.StringIO(text)) if row]
    except csv.Error as error:
        raise UsageError(f"{path} is no CSV file: {error}") from None
    if len(rows) < 2:
        raise UsageError(f"{path} needs a line of column names and at least one row below it")
    head = [name.strip() for name in rows[0]]
    if len(set(head)) < len(head) or "" in head:
        raise UsageError(f"{path}: every column needs a name of its own; got {', '.join(head)}")
    for i, row in enumerate(rows[1:], start=2):
        if len(row) != len(head):
            raise UsageError(f"{path}, row {i}: {len(row)} cells under {len(head)} names")
    return {name: [row[j].strip() for row in rows[1:]] for j, name in enumerate(head)}


def numbers(table: dict[str, list[str]], columns: Sequence[str], *, path: str | Path) -> np.ndarray:
    """(n, len(columns)), float64.

    Raises
    ------
    UsageError
        If a column is missing, or a cell is no finite number; the message says which.
    """
    absent = [name for name in columns if name not in table]
    if absent:
        raise UsageError(f"{path} has no column {', '.join(absent)}; it has {', '.join(table)}")
    values = np.empty((len(next(iter(table.values()))), len(columns)))
    for j, name in enumerate(columns):
        for i, cell in enumerate(table[name]):
            try:
                values[i, j] = float(cell)
            except ValueError:
                values[i, j] = math.nan
            if not math.isfinite(values[i, j]):
                raise UsageError(f"{path}, row {i + 2}: {name} = {cell!r} is no finite number")
    return values


def write_table(path: Path | None, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV file, or print it where there is no path."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([head, *rows])
    if path is None:
        print(out.getvalue(), end="")
    else:
        write_atomically(path, out.getvalue())
