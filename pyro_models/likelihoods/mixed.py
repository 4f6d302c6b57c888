"""Columns of a table side by side, each by a likelihood of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn import functional as F

from pyro_models.errors import UsageError
from pyro_models.likelihoods.columns import (
    COLUMNS,
    LEAST_FREEDOM,
    Column,
    ColumnKind,
    Parameters,
    columns_of,
)
from pyro_models.likelihoods.likelihood import LEBESGUE, Likelihood
from pyro_models.moments import mean_of, spread_of
from pyro_models.registry import check_choice

__all__ = ["Mixed"]

FLOOR = 1e-2  # of σ, in units of the column
_LEAST_SHAPE = 1e-2
_START = math.log(math.expm1(1 - FLOOR))  # σ starts at one unit
_START_SHAPE = math.log(math.expm1(5.0))


class Mixed(Likelihood):
    r"""Columns of a table, each column j of a kind of its own (Nazabal et al. 2020).

    .. math:: p(x | z) = \prod_j p_j(x_j | η_j(z))

    With the centre c and the unit s of each column, which a pair takes from the data it starts
    from (0 and 1 until then), and the decoder's outputs η:

    - ``normal``: N(c + s η, σ²);
    - ``student_t``: location c + s η, scale σ, ν > 2 degrees of freedom;
    - ``poisson``, ``negative_binomial``: counts of mean μ = s softplus(η + log(e − 1)); the latter
      of variance μ + μ²/r;
    - ``bernoulli``: 0 or 1, with log-odds c + η;
    - ``categorical:k``: k values of which one is 1, with probabilities softmax(c + η).

    ν and r are learned for each column. Measure: the product of counting on columns of whole
    numbers and categories, and Lebesgue on the others, on the scale of the data.

    Parameters
    ----------
    data_shape
        (D,), the values of a datum; of images all are ``normal``.
    columns
        A kind for each column, by name or in their order, as ``data.table.likelihoods`` has them;
        all ``normal`` unless given.
    scale
        ``"column"``: one learned σ for each column. ``"decoder"``: σ(z) from the decoder. At least
        a hundredth of a unit.

    Examples
    --------
    >>> mixed = Mixed((5,), columns={"age": "normal", "visits": "poisson", "kind": "categorical:3"})
    >>> mixed.measure, [round(float(v), 2) for v in mixed.mean(torch.zeros(1, 5))]
    ('counting on 2 columns × Lebesgue on 1', [0.0, 1.0, 0.33, 0.33, 0.33])
    """

    name = "mixed"
    preparation = "grey"
    of_columns = True
    for_other_data = "use the likelihood gaussian"
    centre: Tensor
    unit: Tensor
    order: Tensor
    groups: Tensor

    def __init__(
        self,
        data_shape: tuple[int, ...],
        *,
        columns: Mapping[str, str] | Sequence[str] | None = None,
        scale: str = "column",
    ) -> None:
        super().__init__(data_shape)
        check_choice("scale of the likelihood mixed", scale, ("column", "decoder"))
        D = math.prod(self.data_shape)
        if columns is not None and len(self.data_shape) != 1:
            raise UsageError(f"columns are of data of shape (D,), not {self.data_shape}")
        if columns is None:
            self.columns, self._columns = None, tuple(Column("", "normal") for _ in range(D))
        else:
            self.columns = dict(columns) if isinstance(columns, Mapping) else list(columns)
            self._columns = columns_of(self.columns, D)
        self.scale = scale
        kinds = [c.kind for c in self._columns for _ in range(c.size)]  # of each value
        self._kinds = tuple(dict.fromkeys(kinds))
        places = [[i for i, k in enumerate(kinds) if k == kind] for kind in self._kinds]
        for kind, index in zip(self._kinds, places, strict=True):
            self.register_buffer(f"places_{kind}", torch.tensor(index), persistent=False)
        order = torch.tensor([i for index in places for i in index]).argsort()
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("groups", self._groups(), persistent=False)
        self.register_buffer("centre", torch.zeros(D))
        self.register_buffer("unit", torch.ones(D))
        self._scaled = any(COLUMNS[kind].scaled for kind in self._kinds)
        self.num_parameters = 2 if scale == "decoder" and self._scaled else 1
        if scale == "column" and self._scaled:
            self.raw_scale = nn.Parameter(torch.full((D,), _START))
        if any(COLUMNS[kind].shaped for kind in self._kinds):
            self.raw_shape = nn.Parameter(torch.full((D,), _START_SHAPE))
        whole = sum(COLUMNS[column.kind].whole for column in self._columns)
        rest = len(self._columns) - whole
        counting = f"counting on {whole} columns"
        both = f"{counting} × {LEBESGUE} on {rest}" if rest else counting
        self.measure = both if whole else LEBESGUE

    def _groups(self) -> Tensor:
        """Which of the categorical values go together: (columns, most categories), −1 for none."""
        sizes = [column.size for column in self._columns if column.kind == "categorical"]
        groups = torch.full((len(sizes), max(sizes, default=0)), -1)
        begin = 0
        for row, size in zip(groups, sizes, strict=True):
            row[:size] = torch.arange(begin, begin + size)
            begin += size
        return groups

    @property
    def of_any_scale(self) -> bool:
        """Columns may be in any units."""
        return True

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        """The value in each place, batch shape (\\*batch, \\*data_shape)."""
        n = len(self.data_shape)
        eta, *raw = (part.flatten(-n) for part in outputs.unbind(-1 - n))
        scale, shape = self.unit, self.unit
        if self._scaled:
            scale = self.unit * (FLOOR + F.softplus(raw[0] if raw else self.raw_scale))
        if hasattr(self, "raw_shape"):
            shape = _LEAST_SHAPE + F.softplus(self.raw_shape)
        parts = []
        for name, kind, index in self._parts():
            location = kind.located(eta[..., index], self.centre[index], self.unit[index])
            if name == "categorical":
                location = _log_softmax(location, self.groups)
            own = shape[index] + (LEAST_FREEDOM if name == "student_t" else 0)
            sigma = scale[..., index].expand(location.shape)
            parts.append((name, Parameters(location, sigma, own.expand(location.shape))))
        return _Columns(parts, self)

    def _parts(self) -> list[tuple[str, ColumnKind, Tensor]]:
        """Each kind that there is, and the places of its values."""
        return [(k, COLUMNS[k], self.get_buffer(f"places_{k}")) for k in self._kinds]

    def mode(self, outputs: Tensor) -> Tensor:
        """The most probable value of each column, (\\*batch, \\*data_shape)."""
        found: Tensor = self.pixels(outputs).mode
        return found

    @torch.no_grad()
    def start_units(self, x: Tensor) -> str:
        """Take the centre and the unit of each column from whole data (N, D).

        Normal columns have their mean and standard deviation, counts their mean, and the others
        the log-odds or log-probabilities of their frequencies.
        """
        mean, spread = mean_of(x), spread_of(x)
        for name, kind, index in self._parts():
            m, s = mean[index], spread[index]
            if kind.scaled:
                self.centre[index] = m.to(self.centre)
                self.unit[index] = torch.where(s > 0, s, torch.ones_like(s)).to(self.unit)
            elif not kind.what.startswith("0 and 1"):
                least = 1 / len(x)  # a column that is 0 in all data
                self.unit[index] = m.clamp_min(least).to(self.unit)
            else:
                p = (m * len(x) + 0.5) / (len(x) + 1)
                start = p.log() if name == "categorical" else p.logit()
                self.centre[index] = start.to(self.centre)
        return "centres and units of the columns"

    def outputs_for(self, mean: Tensor) -> Tensor:
        """Outputs that make this the mean, and the σ of one unit where the decoder gives it."""
        flat = mean.flatten()
        eta = torch.empty_like(flat)
        for name, kind, index in self._parts():
            m, c, s = flat[index], self.centre[index].to(flat), self.unit[index].to(flat)
            if kind.scaled:
                eta[index] = (m - c) / s
            elif name == "categorical":
                eta[index] = m.clamp_min(1e-3).log() - c
            elif name == "bernoulli":
                eta[index] = torch.logit(m, eps=1e-3) - c
            else:
                above = (m / s).clamp_min(1e-3)
                eta[index] = above + torch.log(-torch.expm1(-above)) - math.log(math.expm1(1.0))
        start = torch.full_like(eta, _START)
        return torch.stack([eta, start][: self.num_parameters]).unflatten(1, mean.shape)

    def check(self, x: Tensor, mask: Tensor | None = None) -> None:
        """Refuse what a column cannot hold, naming it, and a column of which a part is seen."""
        super().check(x, mask)
        if self.columns is None:
            return
        seen = torch.ones_like(x, dtype=torch.bool) if mask is None else mask.expand_as(x)
        begin = 0
        for column in self._columns:
            places = slice(begin, begin + column.size)
            _check_column(column, x[:, places], seen[:, places])
            begin += column.size

    def why_no_bits(self, *, preparation: str, levels: int | None) -> str:
        """Columns are no pixels."""
        return "columns of a table are no pixels"


def _check_column(column: Column, x: Tensor, seen: Tensor) -> None:
    kind = COLUMNS[column.kind]
    if bool((seen != seen[:, :1]).any()):
        raise UsageError(
            f"{column.title} has {column.size} values of which only some are seen: a mask sees all "
            "of them or none"
        )
    wrong = kind.wrong(x) & seen
    if column.size > 1:
        wrong |= (x.sum(1, keepdim=True) != 1) & seen
    if bool(wrong.any()):
        row, place = (int(i) for i in wrong.nonzero()[0])
        hint = "normal or student_t for it" if column.size == 1 else "the kind that its values have"
        raise UsageError(
            f"{column.title} is {column.kind}, of {kind.what}, and row {row} holds "
            f"{float(x[row, place]):g}: choose {hint}"
        )


def _padded(values: Tensor, groups: Tensor) -> Tensor:
    """Values (\\*batch, V) by group, (\\*batch, G, K), −∞ where there are fewer than K."""
    nothing = values.new_full((1,), -math.inf).expand(*values.shape[:-1], 1)
    return torch.cat([values, nothing], -1)[..., groups]


def _log_softmax(logits: Tensor, groups: Tensor) -> Tensor:
    """log softmax within each group, (\\*batch, V)."""
    # the values of a group follow each other, and so do the groups
    return _padded(logits, groups).log_softmax(-1)[..., groups >= 0]


def _one_hot(scores: Tensor, groups: Tensor) -> Tensor:
    """1 for the largest of each group and 0 for the others, (\\*batch, V)."""
    best = _padded(scores, groups).argmax(-1)
    return F.one_hot(best, groups.shape[-1]).to(scores.dtype)[..., groups >= 0]


class _Columns(TorchDistribution):
    """Values of several kinds, in the order of the data; batch shape (\\*batch, \\*data_shape)."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    support = constraints.real

    def __init__(self, parts: Sequence[tuple[str, Parameters]], of: Mixed) -> None:
        self._parts, self._of = parts, of
        batch = parts[0][1].location.shape[:-1]
        super().__init__(torch.Size((*batch, *of.data_shape)), validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> _Columns:
        """The same distribution with a larger batch shape."""
        lead = tuple(batch_shape)[: len(batch_shape) - len(self._of.data_shape)]

        def larger(p: Parameters) -> Parameters:
            size = (*lead, p.location.shape[-1])
            return Parameters(*(v.expand(size) for v in (p.location, p.scale, p.shape)))

        return _Columns([(name, larger(p)) for name, p in self._parts], self._of)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x), nats, of each value of x that broadcasts with the parameters."""
        x, of = value.flatten(-len(self._of.data_shape)), self._of
        places = {name: index for name, _, index in of._parts()}
        parts = [COLUMNS[name].log_prob(x[..., places[name]], p) for name, p in self._parts]
        return self._joined(parts)

    @property
    def mean(self) -> Tensor:
        """E[x]; the probability of each category."""
        return self._joined([COLUMNS[name].mean(p) for name, p in self._parts])

    @property
    def variance(self) -> Tensor:
        """Var x."""
        return self._joined([COLUMNS[name].variance(p) for name, p in self._parts])

    @property
    def mode(self) -> Tensor:
        """The most probable value of each column."""

        def most_probable(name: str, p: Parameters) -> Tensor:
            if name == "categorical":
                return _one_hot(p.location, self._of.groups)
            return COLUMNS[name].mode(p)

        return self._joined([most_probable(name, p) for name, p in self._parts])

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of each column."""
        wide = self.expand(torch.Size((*sample_shape, *self._batch_shape)))

        def drawn(name: str, p: Parameters) -> Tensor:
            if name == "categorical":  # the largest of log p + Gumbel noise
                noise = -torch.empty_like(p.location).exponential_().log()
                return _one_hot(p.location + noise, self._of.groups)
            return COLUMNS[name].sample(p)

        return self._joined([drawn(name, p) for name, p in wide._parts])

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Values by kind in the order of the data."""
        joined = parts[0] if len(parts) == 1 else torch.cat(list(parts), -1)
        return joined[..., self._of.order].unflatten(-1, self._of.data_shape)
