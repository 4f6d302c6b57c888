"""A CSV, TSV or Parquet file, or a data frame, as a data set: named columns, scaled one by one."""

from __future__ import annotations

import os
import warnings
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_models.data.column_kinds import UNUSED, column_found, left_out
from pyro_models.data.from_arrays import labels_of, split_whole
from pyro_models.data.identity import checksum
from pyro_models.data.images import ImageData
from pyro_models.data.precision import loses
from pyro_models.data.split import Split
from pyro_models.data.table import Table
from pyro_models.errors import UsageError

__all__ = ["ENDINGS", "from_table", "is_frame", "is_table", "read_table"]

_NAMED = 6  # columns of a kind
_OTHER_SEPARATORS = (";", "\t", "|", ",")

ENDINGS = (".csv", ".tsv", ".parquet")
TAB = "\t"


def is_frame(source: object) -> bool:
    """Whether it is a data frame of pandas."""
    return all(hasattr(source, name) for name in ("columns", "dtypes", "iloc", "to_numpy"))


def is_table(source: object) -> bool:
    """Whether it is a data frame, or the name of a file of one."""
    return is_frame(source) or (
        isinstance(source, str | Path) and Path(source).suffix.lower() in ENDINGS
    )


def from_table(
    source: Any,
    *,
    name: str | None = None,
    labels: Any = None,
    label: str | None = None,
    columns: Sequence[str] | None = None,
    kinds: Mapping[str, str] | None = None,
    missing: str | None = None,
    like: Table | ImageData | None = None,
    seed: int = 0,
    test_fraction: float | None = None,
) -> ImageData:
    """A table as splits; the arguments are as of :func:`pyro_models.load_data`."""
    if like is not None and (label, columns, kinds, test_fraction) != (None,) * 4:
        raise UsageError("like says what the columns are: leave the other options out")
    frame = source if is_frame(source) else read_table(Path(source))
    who = name or (f"a table of {len(frame)} rows" if is_frame(source) else str(source))
    check_names(frame, who)
    if like is None:
        table = _found(frame, who, label=label, columns=columns, kinds=kinds or {})
    else:
        table = _table_of(like)
        missing = missing or table.missing
    table = replace(table, missing=missing)
    x, mask = _numbers(table, frame, who)
    y = labels_of(labels, len(frame), who) if labels is not None else _labels(table, frame, who)
    _check_seen(table, frame, mask, y, who)
    seen = None if bool(mask.all()) else mask
    name = name or (_name_of(x, table, seed) if is_frame(source) else str(source))
    places = torch.arange(len(frame)).unsqueeze(1)
    if like is None:
        splits, split_seed = split_whole(Split(places, y), name, seed, test_fraction)
        table = _scaled(table, x, mask, splits["train"].x[:, 0], who)
    else:
        splits, split_seed = {kind: Split(places, y) for kind in ("train", "test")}, None
    x = table.standardised(x)
    default = torch.get_default_dtype()
    x = x if loses(x, default, seen=seen) is not None else x.to(default)
    rows = {kind: split.x[:, 0] for kind, split in splits.items()}
    known = max((int(y.max()) + 1 for y in (y,) if y is not None and len(y)), default=0)
    classes = known if table.label is None else len(table.label.values)
    return ImageData(
        name,
        {
            kind: Split(x[i], None if y is None else y[i], None if seen is None else seen[i])
            for kind, i in rows.items()
        },
        num_classes=(classes or None) if y is not None else None,
        split_seed=split_seed,
        test_fraction=test_fraction,
        scaling=f"columns: {_kinds_of(table)}; real ones standardised by the training split",
        source=None if is_frame(source) else os.path.abspath(source),
        missing=missing,
        table=table,
    )


def _kinds_of(table: Table) -> str:
    """How many columns are of each kind, and the first of them by name."""
    words = []
    for kind, count in Counter(column.kind for column in table.columns).items():
        names = [column.name for column in table.columns if column.kind == kind]
        more = ", …" if len(names) > _NAMED else ""
        words.append(f"{count} {kind} ({', '.join(names[:_NAMED])}{more})")
    return ", ".join(words)


def _table_of(like: Table | ImageData) -> Table:
    table = like.table if isinstance(like, ImageData) else like
    if not isinstance(table, Table):
        raise UsageError(f"like is a table, or data that are one; got {like!r:.80}")
    return table


def read_table(path: Path) -> Any:
    """A file as a data frame: whole numbers stay whole beside empty cells."""
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    try:
        import pandas

        if path.suffix.lower() == ".parquet":
            return pandas.read_parquet(path)
        separator = TAB if path.suffix.lower() == ".tsv" else ","
        options: dict[str, Any] = {"sep": separator, "encoding": "utf-8-sig"}
        names = pandas.read_csv(path, header=None, nrows=1, dtype=str, **options).iloc[0].tolist()
        _check_separated([str(each) for each in names], path)
        _check_once([str(each) for each in names], str(path))
        options |= {"dtype_backend": "numpy_nullable", "index_col": False}
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            return pandas.read_csv(path, **options)
    except UsageError:
        raise
    except ImportError as error:
        lacks = "pyarrow" if "arrow" in str(error) else "pandas"
        instead = ", or give the table as a CSV file" if lacks == "pyarrow" else ""
        raise UsageError(
            f"{path} cannot be read without {lacks}: pip install {lacks}{instead}"
        ) from error
    except pandas.errors.ParserWarning as error:  # pandas would leave out the last cells
        raise UsageError(
            f"{path} has more cells in a row than headings: give each column a heading, and have "
            f"columns separated by {'tabs' if separator == TAB else 'commas'} throughout"
        ) from error
    except Exception as error:  # a damaged file can fail in any way
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"{path} is no readable {path.suffix} table ({why})") from error


def _check_separated(names: Sequence[str], path: Path) -> None:
    """Refuse a first line that is one name, and holds what others separate cells by."""
    used = [mark for mark in _OTHER_SEPARATORS if len(names) == 1 and mark in names[0]]
    if used:
        own = "tabs" if path.suffix.lower() == ".tsv" else "commas"
        raise UsageError(
            f"{path}: cells of a {path.suffix} file have {own} between, and these {used[0]!r}: "
            f"give the data frame pandas.read_csv({path.name!r}, sep={used[0]!r}) (decimal=',' "
            f"where 1,5 is one and a half), or write it as a file with {own}"
        )


def check_names(frame: Any, who: str) -> None:
    """Refuse a table without rows or columns, or two columns of one name."""
    if not len(frame) or not len(frame.columns):
        raise UsageError(f"{who} has no rows or no columns")
    wrong = [name for name in frame.columns if not isinstance(name, str | int)]
    if wrong:
        raise UsageError(f"{who}: names of columns are text; got {wrong[0]!r}")
    _check_once([str(name) for name in frame.columns], who)


def _check_once(names: Sequence[str], who: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UsageError(f"{who} has two columns of the name {twice[0]!r}: rename one")


def _column(frame: Any, name: str, who: str) -> Any:
    known = {str(own): own for own in frame.columns}
    if name not in known:
        close = get_close_matches(name, known, n=1)
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        raise UsageError(f"{who} has no column {name!r}{meant}: it has {', '.join(known)}")
    return frame[known[name]]


def _found(
    frame: Any,
    who: str,
    *,
    label: str | None,
    columns: Sequence[str] | None,
    kinds: Mapping[str, str],
) -> Table:
    """What the columns of a table are."""
    every = [str(name) for name in frame.columns]
    if isinstance(columns, str):
        raise UsageError(f"columns is a list of names; got {columns!r}")
    unused = {name for name, kind in kinds.items() if kind == UNUSED}
    kinds = {name: kind for name, kind in kinds.items() if kind != UNUSED}
    of_label = {label} if label is not None else set()
    chosen = [n for n in (every if columns is None else columns) if n not in unused | of_label]
    _check_once(chosen, "columns")
    for name in (*chosen, *kinds, *unused, *of_label):
        _column(frame, name, who)
    of_none = [name for name in kinds if name not in chosen]
    if of_none:
        raise UsageError(f"kinds are of columns that are used, and {of_none[0]!r} is not")
    if not chosen:
        raise UsageError(f"{who} has no column besides the label {label!r}")
    found = [column_found(_column(frame, n, who), n, kinds.get(n), who) for n in chosen]
    classes = None
    if label is not None:
        series = _column(frame, label, who)
        if getattr(series.dtype, "kind", "O") == "f":
            raise UsageError(
                f"{who}: the label {label!r} is of numbers with a point, and labels are classes: "
                "make it whole numbers or text, or leave label out, and it is a column as others"
            )
        classes = column_found(series, label, "categorical", who)
    return Table(tuple(found), classes)


def _numbers(table: Table, frame: Any, who: str) -> tuple[Tensor, Tensor]:
    """Plain numbers (N, D) in float64, 0 where missing, and what is seen."""
    parts = [column.numbers(_column(frame, column.name, who), who) for column in table.columns]
    x = torch.from_numpy(np.concatenate([values for values, _ in parts], 1))
    seen = torch.from_numpy(np.stack([seen for _, seen in parts], 1))
    return x, table.of_values(seen)


def _labels(table: Table, frame: Any, who: str) -> Tensor | None:
    """Classes by number, −1 where missing; of new rows there may be none."""
    column = table.label
    if column is None or column.name not in map(str, frame.columns):
        return None
    of_class = replace(column, kind="categorical")
    numbers, seen = of_class.numbers(_column(frame, column.name, who), who)
    return torch.from_numpy(np.where(seen, numbers.argmax(1), -1))


def _check_seen(table: Table, frame: Any, mask: Tensor, y: Tensor | None, who: str) -> None:
    """Refuse empty cells that nobody said are unseen, and rows of which nothing is seen."""
    if table.missing not in (None, "unseen"):
        raise UsageError(f"missing is 'unseen', or left out; got {table.missing!r}")
    seen = table.of_columns(mask)
    unlabelled = y is not None and table.label is not None and bool((y < 0).any())
    if table.missing is None and (unlabelled or not bool(seen.all())):
        if bool(seen.all()):
            assert y is not None
            assert table.label is not None
            row, name, count = int((y < 0).nonzero()[0]), table.label.name, int((y < 0).sum())
        else:
            (row, place), count = (~seen).nonzero()[0].tolist(), int((~seen).sum())
            name = table.names[place]
        raise UsageError(
            f"{who} has {count:,} empty cells, the first in row {row}, column {name!r}: leave such "
            'rows out, or say missing="unseen", which learns from the rest'
        )
    blind = (~seen.any(1)).nonzero().flatten().tolist()
    if blind:
        raise UsageError(f"{who}: row {blind[0]} is all missing: leave it out")


def _scaled(table: Table, x: Tensor, mask: Tensor, train: Tensor, who: str) -> Table:
    """The table with the units that its real columns have in the training split."""
    from sklearn.preprocessing import StandardScaler

    real = [column for column in table.columns if column.kind == "real"]
    for column in table.columns:
        if not bool(mask[train, table.places[column.name].start].any()):
            raise UsageError(
                f"{who}: column {column.name!r} is all missing in the training split: "
                f"{left_out(column.name)}, or choose another seed"
            )
    if not real:
        return table
    places = [table.places[column.name].start for column in real]
    values = torch.where(mask, x, torch.nan)[train][:, places]
    scaler = StandardScaler().fit(values.numpy())
    names = [column.name for column in real]
    return table.with_units(
        dict(zip(names, scaler.mean_.tolist(), strict=True)),
        dict(zip(names, scaler.scale_.tolist(), strict=True)),
    )


def _name_of(x: Tensor, table: Table, seed: int) -> str:
    content = f"{checksum(x)} {table.names} {seed}"
    return f"table-{len(x)}x{len(table.columns)}_{zlib.crc32(content.encode()):08x}"
