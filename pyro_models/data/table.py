"""What the columns of a table are: from values of any kind to numbers, and back.

=================  =====================================  ====================  ================
kind               found by itself                        becomes               likelihood
=================  =====================================  ====================  ================
``real``           numbers with a point; whole numbers    standardised          normal
                   that are negative, or vary less
                   than any Poisson counts would
``count``          other whole numbers from 0 on          itself                negative_binomial
``binary``         booleans, text of two values, whole    0 or 1                bernoulli
                   numbers that are 0 or 1
``categorical``    other text; pandas' own categories     one 0 or 1 for each   categorical:k
                                                          of its k categories
=================  =====================================  ====================  ================

Numbers with a point that are all whole, beside empty cells, count as whole numbers: pandas has
nothing else for these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_models.brief import Brief
from pyro_models.errors import UsageError

__all__ = ["KINDS", "Table", "TableColumn", "floats", "plain"]

KINDS = {
    "real": "normal",
    "count": "negative_binomial",
    "binary": "bernoulli",
    "categorical": "categorical",
}


@dataclass(frozen=True)
class TableColumn(Brief):
    """One column: its name and kind, the values of categories in order, and its units.

    A real column is (value − ``centre``) / ``scale``; ``whole`` says that its values were whole.
    """

    name: str
    kind: str
    values: tuple[Any, ...] = ()
    centre: float = 0.0
    scale: float = 1.0
    whole: bool = False

    @property
    def size(self) -> int:
        """Numbers that a value becomes."""
        return len(self.values) if self.kind == "categorical" else 1

    @property
    def discrete(self) -> bool:
        """Whether it is of named values."""
        return self.kind in ("binary", "categorical")

    def numbers(self, series: Any, who: str) -> tuple[np.ndarray, np.ndarray]:
        """Values in plain numbers (N, size), not yet standardised, 0 where missing; what is not."""
        seen = series.notna().to_numpy(dtype=bool)
        if not self.discrete:
            values = floats(series, f"{who}: column {self.name!r}")
            self._check_counts(values, seen, who)
            return np.where(seen, values, 0.0)[:, None], seen
        lookup = {value: code for code, value in enumerate(self.values)}
        codes = series.astype(object).map(lookup).to_numpy(dtype=float, na_value=np.nan)
        unknown = np.flatnonzero(seen & np.isnan(codes))
        if len(unknown):
            known = ", ".join(map(repr, self.values[:6])) + (", …" if len(self.values) > 6 else "")
            raise UsageError(
                f"{who}: column {self.name!r} holds {plain(series.iloc[unknown[0]])!r} in row "
                f"{unknown[0]}, and was learned with {known}: leave such rows out, or their value "
                "empty"
            )
        codes = np.where(seen, codes, 0).astype(int)
        numbers = np.eye(self.size)[codes] if self.size > 1 else codes[:, None].astype(float)
        return np.where(seen[:, None], numbers, 0.0), seen

    def _check_counts(self, values: np.ndarray, seen: np.ndarray, who: str) -> None:
        bad = np.isinf(values) & seen
        if self.kind == "count":
            bad |= ((values < 0) | (values != np.round(values))) & seen
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            what = "infinite" if np.isinf(values[row]) else "no count 0, 1, 2, …"
            hint = "" if np.isinf(values[row]) else f', or say kinds={{"{self.name}": "real"}}'
            raise UsageError(
                f"{who}: column {self.name!r} holds {values[row]:g} in row {row}, which is {what}: "
                f"correct it{hint}"
            )

    def restored(self, x: np.ndarray, *, rounded: bool) -> Any:
        """Values of numbers (N, size): in the column's units, or the most probable category."""
        if self.discrete:
            codes = x.argmax(1) if self.size > 1 else (x[:, 0] > 0.5).astype(int)
            return np.array(self.values, dtype=object)[codes]
        values = self.centre + self.scale * x[:, 0]
        if self.kind == "count" and rounded:
            return np.round(values).clip(0).astype(np.int64)
        return np.round(values).astype(np.int64) if self.whole and rounded else values


@dataclass(frozen=True)
class Table(Brief):
    """The columns of a table, in the order of the values of a datum, and its label.

    Attributes
    ----------
    columns
        What each is; those of all training and new rows alike.
    label
        The column of classes, if there is one; it is none of ``columns``.
    missing
        ``"unseen"`` where empty cells count as unseen.

    Examples
    --------
    >>> table = Table((TableColumn("age", "real"), TableColumn("sex", "binary", ("f", "m"))))
    >>> table.likelihoods, table.size
    ({'age': 'normal', 'sex': 'bernoulli'}, 2)
    """

    columns: tuple[TableColumn, ...]
    label: TableColumn | None = None
    missing: str | None = None

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return [column.name for column in self.columns]

    @property
    def size(self) -> int:
        """Values of a datum, D."""
        return sum(column.size for column in self.columns)

    @property
    def likelihoods(self) -> dict[str, str]:
        """What the likelihood ``mixed`` takes as its ``columns``: a kind for each."""
        return {
            c.name: f"{KINDS[c.kind]}{f':{c.size}' if c.kind == 'categorical' else ''}"
            for c in self.columns
        }

    @property
    def places(self) -> dict[str, slice]:
        """Which of the D values are of each column."""
        ends = np.cumsum([column.size for column in self.columns]).tolist()
        found = zip(self.columns, ends, strict=True)
        return {column.name: slice(end - column.size, end) for column, end in found}

    def likelihoods_with(self, changes: Mapping[str, str] | None) -> dict[str, str]:
        """The same with other kinds for some columns by name."""
        for name in changes or {}:
            self._check_known(name)
        return {**self.likelihoods, **(changes or {})}

    def _check_known(self, name: str) -> None:
        if name not in self.names:
            raise UsageError(f"there is no column {name!r}: the table has {', '.join(self.names)}")

    def of_values(self, by_column: Tensor) -> Tensor:
        """What is said of each column (N, C), of each of its values (N, D)."""
        sizes = torch.tensor([column.size for column in self.columns], device=by_column.device)
        return by_column.repeat_interleave(sizes, -1)

    def of_columns(self, by_value: Tensor) -> Tensor:
        """What is the same for all values of a column, (\\*batch, D), of each column."""
        first = [places.start for places in self.places.values()]
        return by_value[..., torch.tensor(first, device=by_value.device)]

    def frame(
        self, x: Tensor, mask: Tensor | None = None, *, rounded: bool = True, index: Any = None
    ) -> Any:
        """Data (N, D) as a data frame in the units and names of the table, empty where unseen.

        Of means of categories it has the most probable one. Counts and other whole numbers are
        ``rounded``, or are means with a point.
        """
        import pandas

        if x.dim() != 2 or x.shape[1] != self.size:
            raise UsageError(f"a table of {self.size} values has data (N, {self.size}); got "
                             f"{tuple(x.shape)}")  # fmt: skip
        values = x.detach().double().cpu().numpy()
        found = {}
        for column in self.columns:
            places = self.places[column.name]
            series = pandas.Series(column.restored(values[:, places], rounded=rounded), index=index)
            if mask is not None:
                series = series.where(mask[:, places.start].cpu().numpy())
            found[column.name] = series.infer_objects()
        return pandas.DataFrame(found)

    def standardised(self, x: Tensor) -> Tensor:
        """Plain numbers (N, D), float64, in the units of the columns."""
        by_column = [(c.centre, c.scale) for c in self.columns for _ in range(c.size)]
        centre, scale = torch.tensor(by_column, dtype=x.dtype, device=x.device).unbind(1)
        return (x - centre) / scale

    def with_units(self, centres: Mapping[str, float], scales: Mapping[str, float]) -> Table:
        """The same, with units of its real columns."""
        columns = tuple(
            replace(c, centre=float(centres[c.name]), scale=float(scales[c.name]))
            if c.name in centres
            else c
            for c in self.columns
        )
        return replace(self, columns=columns)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Table:
        """What :meth:`to_dict` wrote."""

        def column(given: Mapping[str, Any]) -> TableColumn:
            return TableColumn(**{**given, "values": tuple(given["values"])})

        label = values.get("label")
        columns = tuple(map(column, values["columns"]))
        return cls(columns, None if label is None else column(label), values.get("missing"))


def plain(value: Any) -> Any:
    """A value of pandas or numpy as Python's own."""
    return value.item() if hasattr(value, "item") else value


def floats(series: Any, who: str) -> np.ndarray:
    """A column as numbers in float64, NaN where missing; what holds none is refused."""
    import pandas

    try:
        numeric = pandas.to_numeric(series)
        found: np.ndarray = numeric.to_numpy(dtype=float, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{who} does not hold numbers ({' '.join(str(error).split())}): give numbers, or leave "
            "it out"
        ) from error
    return found
