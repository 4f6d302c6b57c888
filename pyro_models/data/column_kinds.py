"""What kind of column each of a table is, found from its type and values, or said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pyro_models.data.table import KINDS, TableColumn, floats, plain
from pyro_models.errors import UsageError

__all__ = ["UNUSED", "column_found", "left_out"]

UNUSED = "unused"  # the kind of a column that is left out
_BY_CHANCE = 0.001
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([ T]|$)|\d{1,2}[./]\d{1,2}[./]\d{2,4}([ T]|$)")
MOST_CATEGORIES = 100  # more are names rather than categories, unless one says so


def column_found(series: Any, name: str, kind: str | None, who: str) -> TableColumn:
    """What a column is: by its type and values, or of the kind that is said."""
    from pandas import CategoricalDtype
    from pandas.api import types

    where = f"{who}: column {name!r}"
    values = series.dropna()
    if not len(values):
        raise UsageError(f"{where} is all missing: {left_out(name)}, or fill it")
    if types.is_object_dtype(values.dtype):
        values = values.convert_dtypes()
    dtype = values.dtype
    is_categories = isinstance(dtype, CategoricalDtype)
    if types.is_datetime64_any_dtype(dtype) or types.is_timedelta64_dtype(dtype):
        raise _of_dates(where, name)
    is_text = is_categories or types.is_string_dtype(dtype) or types.is_object_dtype(dtype)
    whole = types.is_integer_dtype(dtype) or types.is_bool_dtype(dtype)
    number = whole or types.is_float_dtype(dtype)
    if number and len(values) < len(series):  # pandas writes 3 as 3.0 beside empty cells
        whole = whole or bool((values % 1 == 0).all())
    if kind is None:
        kind = _kind_of(values, is_text=is_text, whole=whole, boolean=types.is_bool_dtype(dtype))
        chosen = False
    elif kind not in KINDS:
        known = ", ".join((*KINDS, UNUSED))
        raise UsageError(f"{where}: unknown kind {kind!r}: choose from {known}")
    else:
        chosen = True
    if kind in ("real", "count"):
        floats(values, where)
        return TableColumn(name, kind, whole=bool(whole))
    found = list(dtype.categories) if is_categories else list(values.unique())
    if types.is_bool_dtype(dtype) or (number and kind == "binary" and set(found) <= {0, 1}):
        found = [False, True] if types.is_bool_dtype(dtype) else [0, 1]
    try:
        ordered = found if is_categories else sorted(found)
    except TypeError:  # of several types
        ordered = sorted(found, key=str)
    categories = tuple(plain(value) for value in ordered)
    if not chosen and len(categories) > MOST_CATEGORIES and _are_dates(categories):
        raise _of_dates(where, name)
    _check_categories(categories, kind, len(values), where, name, chosen=chosen)
    return TableColumn(name, kind, categories)


def _kind_of(values: Any, *, is_text: bool, whole: bool, boolean: bool) -> str:
    if boolean:
        return "binary"
    if is_text:
        return "binary" if values.nunique() == 2 else "categorical"
    if not whole:
        return "real"
    if int(values.min()) >= 0 and int(values.max()) <= 1:
        return "binary"
    return "count" if int(values.min()) >= 0 and _may_be_counts(values.astype(float)) else "real"


def _may_be_counts(values: Any) -> bool:
    """Whether values may vary as little by chance if they are Poisson: Fisher's dispersion test.

    (n − 1) variance / mean is then χ² of n − 1 degrees of freedom; variances that are smaller once
    in 1,000 such columns are none of counts.
    """
    from scipy.stats import chi2

    n, mean = len(values), float(values.mean())
    if n < 2 or mean == 0:
        return True
    return bool((n - 1) * float(values.var(ddof=1)) / mean >= chi2.ppf(_BY_CHANCE, n - 1))


def left_out(name: str) -> str:
    """What to say to be rid of a column."""
    return f"leave it out by kinds={{{name!r}: {UNUSED!r}}} (--kinds '{{{name}: {UNUSED}}}')"


def _of_dates(where: str, name: str) -> UsageError:
    return UsageError(
        f"{where} holds dates or durations: give numbers, such as days since the first, or "
        f"{left_out(name)}"
    )


def _are_dates(values: Sequence[Any]) -> bool:
    """Whether text is of dates, such as 2026-11-29 or 29.11.2026."""
    return all(isinstance(value, str) and _DATE.match(value) for value in values)


def _check_categories(
    found: Sequence[Any], kind: str, rows: int, where: str, name: str, *, chosen: bool
) -> None:
    if len(found) < 2:
        raise UsageError(f"{where} has one value, {found[0]!r}, in all rows: {left_out(name)}")
    if kind == "binary" and len(found) != 2:
        raise UsageError(f"{where} has {len(found)} values, and binary columns two: categorical?")
    if not chosen and len(found) > MOST_CATEGORIES:
        raise UsageError(
            f"{where} has {len(found)} different values in {rows} rows, too many for categories "
            f"that nobody asked for: {left_out(name)}, or say another kind of it"
        )
