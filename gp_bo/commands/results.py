"""Results as a person writes them, on the line or in a table, matched to what a search knows."""

from __future__ import annotations

import csv
import math
from contextlib import suppress

from gp_bo.commands.tables import read_table
from gp_bo.optimize import Optimizer
from gp_bo.optimize.matching import observed_point
from gp_bo.optimize.space import Point
from pyro_models import UsageError

__all__ = ["cells_of", "measured_value", "pending_point", "read_results"]


def pending_point(optimizer: Optimizer) -> Point:
    """The one point that is pending; a ``UsageError``, if there is none, or more than one."""
    if len(optimizer.pending) != 1:
        raise UsageError(
            f"{len(optimizer.pending)} points are pending: say which was tried with --point"
        )
    return optimizer.pending[0]


def cells_of(text: str) -> list[str]:
    """The cells of one line of CSV, as ask prints it.

    Examples
    --------
    >>> cells_of('30, "oil, hot"')
    ['30', 'oil, hot']
    """
    rows = list(csv.reader([text], skipinitialspace=True))
    return [cell.strip() for cell in rows[0]] if rows else []


def measured_value(text: str) -> float:
    """A value as a finite number; an evaluation that failed is told otherwise."""
    with suppress(ValueError):
        value = float(text)
        if math.isfinite(value):
            return value
    raise UsageError(
        f"the value {text!r} is no finite number; an evaluation that failed is told with "
        "--failed WHY"
    )


def read_results(
    optimizer: Optimizer, path: str, column: str
) -> tuple[list[list[str]], list[float]]:
    """Points, as they are written, and values of a CSV file; an empty value is NaN.

    It has a column for each input, and one of values, whose name is given. The message of what is
    wrong says in which row.
    """
    table = read_table(path)
    names = optimizer.space.names
    if column in names:
        raise UsageError(f"{column} is an input: name the column of values with --column")
    *inputs, results = table.pick([*names, column])
    points: list[list[str]] = []
    values: list[float] = []
    for line, cell, *row in zip(table.lines, results, *inputs, strict=True):
        try:
            observed_point(optimizer.state, row)  # it fits the space
            points.append(row)
            values.append(_value_of(cell))
        except UsageError as error:
            raise UsageError(f"{path}, row {line}: {error}") from None
    return points, values


def _value_of(cell: str) -> float:
    try:
        return float(cell) if cell else math.nan
    except ValueError:
        raise UsageError(f"the value {cell!r} is no number") from None
