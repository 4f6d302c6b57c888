"""CSV files with a header: read as columns of text or numbers, written in one step."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyro_models import UsageError
from pyro_models.files import write_atomically

__all__ = ["Table", "numbers", "read_table", "write_table"]


@dataclass(frozen=True)
class Table:
    """A CSV file whose first line names the columns.

    ``columns`` are cells by name; ``lines`` says in which line of the file each row ends, as empty
    lines are no rows.
    """

    path: Path
    columns: dict[str, list[str]]
    lines: tuple[int, ...]

    def pick(self, names: Sequence[str]) -> list[list[str]]:
        """Some columns, in this order; that one is missing is said with those that there are."""
        absent = [name for name in names if name not in self.columns]
        if absent:
            raise UsageError(
                f"{self.path} has no column {', '.join(absent)}; it has {', '.join(self.columns)}"
            )
        return [self.columns[name] for name in names]


def read_table(path: str | Path) -> Table:
    """A CSV file as text; what is none, or has rows of different lengths, is a ``UsageError``."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except (UnicodeDecodeError, IsADirectoryError):
        raise UsageError(f"{path} is no CSV file of text") from None
    try:
        reader = csv.reader(io.StringIO(text))
        numbered = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise UsageError(f"{path} is no CSV file: {error}") from None
    if len(numbered) < 2:
        raise UsageError(f"{path} needs a line of column names and at least one row below it")
    head = [name.strip() for name in numbered[0][1]]
    if len(head) == 1 and (other := next((mark for mark in ";\t" if mark in head[0]), None)):
        mark = "semicolons" if other == ";" else "tabs"
        raise UsageError(f"{path}: cells are separated by commas, not by {mark}")
    if len(set(head)) < len(head) or "" in head:
        raise UsageError(f"{path}: every column needs a name of its own; got {', '.join(head)}")
    for line, row in numbered[1:]:
        if len(row) != len(head):
            raise UsageError(f"{path}, row {line}: {len(row)} cells under {len(head)} names")
    columns = {name: [row[j].strip() for _, row in numbered[1:]] for j, name in enumerate(head)}
    return Table(path, columns, tuple(line for line, _ in numbered[1:]))


def numbers(table: Table, columns: Sequence[str]) -> np.ndarray:
    """Columns as float64, (n, len(columns)); a cell that is no finite number is refused."""
    values = np.empty((len(table.lines), len(columns)))
    for j, (name, cells) in enumerate(zip(columns, table.pick(columns), strict=True)):
        for i, (line, cell) in enumerate(zip(table.lines, cells, strict=True)):
            values[i, j] = math.nan
            with suppress(ValueError):
                values[i, j] = float(cell)
            if not math.isfinite(values[i, j]):
                raise UsageError(f"{table.path}, row {line}: {name} = {cell!r} is no finite number")
    return values


def write_table(path: Path | None, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV file, or print it where there is no path."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([head, *rows])
    if path is None:
        print(out.getvalue(), end="")
    else:
        write_atomically(path, out.getvalue())
