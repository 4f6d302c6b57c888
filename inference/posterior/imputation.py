"""The empty cells of a table: draws of each from p(x_unseen | x_seen), and what they say."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inference.isolated import isolated
from inference.posterior.decoding import check_completes, decoded_from
from inference.posterior.guides.draws import DrawsGuide
from inference.posterior.infer import infer
from inference.posterior.posterior import Posterior
from pyro_models import ImageData, Pair, UsageError, load_data
from pyro_models.brief import Brief
from pyro_models.contract import check_pair, fulfills, has_encoder
from pyro_models.counts import check_counts
from pyro_models.data import Table
from pyro_models.data.from_table import is_frame, is_table, read_table
from pyro_models.observed import Observed, observed
from pyro_models.pair import CompletesExactly, Exact
from pyro_models.seeds import check_seed, stream

__all__ = ["Imputation", "impute"]


@dataclass(frozen=True, eq=False)
class Imputation(Brief):
    """A table whose empty cells were drawn many times, given what is seen of their rows.

    Every frame is in the units and names of the table, with its index.

    Attributes
    ----------
    table
        What its columns are.
    frame
        The table that was given.
    mean
        The table with empty cells filled by E[x | x_seen], or the most probable category.
    sd
        Standard deviations of the filled cells; empty where seen, and of categories.
    probabilities
        By column of categories: a frame of their probabilities in the rows where it is empty.
    draws
        (M, B, D), the numbers that each datum became; seen ones as given.
    data
        What was given as numbers, with what is seen.
    guide
        What stood for p(z | x_seen): ``"exact"``, or the name of a guide.
    posterior
        q(z | x_seen), resampled; ``None`` where the pair knows p(x_unseen | x_seen) exactly.
    """

    pair: Pair = field(repr=False)
    table: Table = field(repr=False)
    frame: Any = field(repr=False)
    mean: Any = field(repr=False)
    sd: Any = field(repr=False)
    probabilities: Mapping[str, Any] = field(repr=False)
    draws: Tensor = field(repr=False)
    data: Observed = field(repr=False)
    guide: str
    posterior: Posterior | None = field(default=None, repr=False)

    def facts(self) -> Mapping[str, object]:
        """The table, how much of it was empty, and by which guide."""
        return {
            "": f"{len(self):,} rows of {len(self.table.columns)} columns",
            "imputed cells": int((~self._seen).sum()),
            "guide": self.guide,
            "draws": len(self.draws),
        }

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def seen(self) -> Any:
        """Which cells were seen, as a frame of booleans."""
        return _frame_of(self._seen, self)

    @property
    def _seen(self) -> Tensor:
        return self.table.of_columns(_mask_of(self.data))

    def imputations(self, m: int = 5) -> list[Any]:
        """m completed tables, each a draw of all empty cells together (Rubin 1987)."""
        check_counts(m=m)
        if m > len(self.draws):
            raise UsageError(f"there are {len(self.draws)} draws: give num_draws={m} to impute")
        every = (self.table.frame(x, index=self.frame.index) for x in self.draws[:m])
        return [_filled(self.frame, found, self.table, self._seen) for found in every]

    def interval(self, level: float = 0.9) -> tuple[Any, Any]:
        """Ends of central intervals of numeric cells, two frames; empty where seen."""
        if not 0 < level < 1:
            raise UsageError(f"the level of an interval lies between 0 and 1; got {level}")
        ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
        low, high = self.draws.double().cpu().quantile(ends, dim=0)
        return _numeric(low, self), _numeric(high, self)

    def cells(self, level: float = 0.9) -> Any:
        """One row for each empty cell: its row, column, value, sd, interval or probability."""
        import pandas

        low, high = self.interval(level)
        ends = [f"{end}_{level:g}" for end in ("low", "high")]
        parts = []
        for name, known in zip(self.table.names, self._seen.T.cpu().numpy(), strict=True):
            empty = {
                "value": self.mean.rename(columns=str),
                "sd": self.sd,
                ends[0]: low,
                ends[1]: high,
            }
            values = {title: frame[name].to_numpy()[~known] for title, frame in empty.items()}
            p = self.probabilities.get(name)
            best = math.nan if p is None else p.max(axis=1).to_numpy()
            of = {"row": self.frame.index[~known], "column": name, **values, "probability": best}
            parts.append(pandas.DataFrame({"at": (~known).nonzero()[0], **of}))
        found = pandas.concat([part for part in parts if len(part)] or parts[:1])
        return found.sort_values("at", kind="stable").drop(columns="at").reset_index(drop=True)

    def log_prob(self, truth: Any) -> Any:
        """log p(cell | x_seen) of the true values of empty cells, nats, a frame; empty where seen.

        Densities are in the units of the table. They are exact where the pair knows log p(x_seen)
        exactly, and then of numeric columns alone unless its likelihood is of categories; else the
        log-mean over the draws of z of p(cell | z), and so too low by about its variance over two.

        Parameters
        ----------
        truth
            A frame with the same rows, whole where cells were empty.
        """
        given = load_data(truth, like=self.table, missing="unseen").split("test")
        x, known = given.x.to(self.data.x), self.table.of_columns(_mask_of(given)).to(self._seen)
        if x.shape != self.data.x.shape:
            raise UsageError(f"the truth has {len(x)} rows, and {len(self)} were imputed")
        x = self.data.with_seen(x) if self.data.mask is not None else x
        by_column = self._exactly(x) if self.posterior is None else self._by_draws(x)
        scale = torch.tensor([c.scale for c in self.table.columns], dtype=torch.float64)
        found = by_column.double().cpu() - scale.log()
        return _frame_of(found.where((known & ~self._seen).cpu(), math.nan), self)

    def _exactly(self, x: Tensor) -> Tensor:
        """log p(x_seen, cell) − log p(x_seen), (B, C)."""
        seen, columns = _mask_of(self.data), self.table.columns
        if not fulfills(self.pair, Exact):
            raise UsageError(f"{type(self.pair).__name__} does not know log p(x_seen)")
        of_categories = self.pair.likelihood.measure != "Lebesgue"
        found = []
        with torch.no_grad():
            before = self.pair.exact_log_prob(self.data.x, seen)
            for column in columns:
                more = seen.clone()
                more[:, self.table.places[column.name]] = True
                after = self.pair.exact_log_prob(x, more)
                known = of_categories or not column.discrete
                found.append(after - before if known else torch.full_like(before, math.nan))
        return torch.stack(found, 1)

    def _by_draws(self, x: Tensor) -> Tensor:
        """log (1/M) Σ_m p(x_j | z_m), (B, C)."""
        assert self.posterior is not None
        places = self.table.places.values()
        with isolated(self.pair):
            each = []
            for p_x in _decoded(self.posterior, len(self.draws)):
                values = p_x.base_dist.log_prob(x).double()
                of_columns = torch.stack([values[..., place].sum(-1) for place in places], -1)
                each.append(of_columns.logsumexp(0))
        return torch.stack(each).logsumexp(0) - math.log(len(self.draws))


_AT_ONCE = 100  # draws decoded at once


@torch.no_grad()
def _decoded(posterior: Posterior, count: int) -> Iterator[Any]:
    """p(x | z) of so many resampled z, some of them at a time."""
    pair, guide = posterior.pair, posterior.guide
    stored = guide.draws if isinstance(guide, DrawsGuide) else {}
    if set(stored) == set(pair.latent_sites):  # which are draws already
        latents = {name: z.transpose(0, 1)[:count] for name, z in stored.items()}
    else:
        latents = posterior.sample(count)
    whole = Observed.unchecked(posterior.x, posterior.y)
    for begin in range(0, count, _AT_ONCE):
        some = {name: z[begin : begin + _AT_ONCE] for name, z in latents.items()}
        yield decoded_from(pair, some, whole)


def impute(
    pair: Pair,
    rows: Any,
    *,
    like: Table | ImageData | None = None,
    split: str = "test",
    guide: Any = "best",
    num_particles: int = 1000,
    num_draws: int = 1000,
    infer_options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Imputation:
    """Fill in the empty cells of a table, with their uncertainty.

    A pair that knows p(x_unseen | x_seen) draws from it (PPCA, mixtures). Of all others K draws z
    of the guide q(z | x_seen) are resampled by their weights p(x_seen, z) / q(z), and x_unseen is
    drawn from p(x | z): MIWAE's imputation (Mattei & Frellsen 2019), which is that of the model
    itself as K grows.

    Parameters
    ----------
    pair
        A trained pair.
    rows
        A data frame or the file of a table with empty cells, like that the pair was trained on; or
        data that are a table, of which a split is completed.
    like
        The table, or the data, that the pair was trained on; needed unless ``rows`` are such data.
    split
        Of data: which.
    guide
        ``"best"``: exact if there is such, else the pair's own guide, or ``"normal"`` where it has
        none. ``"exact"``, or anything that :func:`inference.infer` takes.
    num_particles
        K, at least as many as ``num_draws``.
    num_draws
        M, draws of every empty cell.
    infer_options
        Options of :func:`inference.infer`, for a guide that is fitted.
    seed
        Random seed of all draws; the caller's generators do not move.

    Raises
    ------
    UsageError
        If the table does not fit, or holds categories that were not learned.

    Examples
    --------
    >>> import pandas
    >>> from pyro_models import PPCA
    >>> x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)).cumsum(1).numpy()
    >>> data = load_data(pandas.DataFrame(x, columns=["a", "b"]))
    >>> ppca = PPCA.maximum_likelihood(data.split("train").x, latent_dim=1)
    >>> found = impute(ppca, pandas.DataFrame({"a": [1.0, None], "b": [None, 2.0]}), like=data)
    >>> found.mean.round(1).isna().sum().sum(), found.guide
    (np.int64(0), 'exact')
    """
    check_pair(pair)
    check_seed(seed)
    check_counts(num_particles=num_particles, num_draws=num_draws)
    table, frame, given = _given(rows, like, split)
    data = observed(pair, given)
    if guide == "best":
        own = "encoder" if has_encoder(pair) else "normal"
        guide = "exact" if fulfills(pair, CompletesExactly) else own
    posterior = None
    if data.mask is None:
        draws, mean = data.x.unsqueeze(0).expand(num_draws, *data.x.shape), data.x
    elif isinstance(guide, str) and guide == "exact":
        if not fulfills(pair, CompletesExactly):
            raise UsageError(f"{type(pair).__name__} does not know p(x_unseen | x_seen) exactly")
        with isolated(pair, seed=seed):
            mean = pair.conditional_mean(data.x, data.mask)
            draws = pair.conditional_sample(data.x, data.mask, n=num_draws)
    else:
        if not isinstance(guide, str) or guide == "encoder":
            check_completes(pair)
        redrawn = max(num_particles, num_draws)
        how = {"seed": seed, **(infer_options or {})}
        posterior = infer(pair, data, guide=guide, resample=redrawn, **how)
        guide = posterior.name
        with isolated(pair, seed=stream(seed, "imputations")):
            parts = [(p.mean.sum(0), p.sample()) for p in _decoded(posterior, num_draws)]
        mean = data.with_seen(torch.stack([mean for mean, _ in parts]).sum(0) / num_draws)
        draws = data.with_seen(torch.cat([drawn for _, drawn in parts]))
    seen = table.of_columns(_mask_of(data))
    values = table.frame(mean, rounded=False, index=frame.index)
    blank = Imputation(pair, table, frame, None, None, {}, draws, data, str(guide), posterior)
    return Imputation(
        pair,
        table,
        frame,
        _filled(frame, values, table, seen),
        _numeric(draws.double().std(0, correction=int(len(draws) > 1)), blank, centred=True),
        _probabilities(table, mean, seen, frame.index),
        draws,
        data,
        str(guide),
        posterior,
    )


def _given(rows: Any, like: Table | ImageData | None, split: str) -> tuple[Table, Any, Observed]:
    """The table, its rows as a frame, and as numbers."""
    if isinstance(rows, ImageData):
        if rows.table is None:
            raise UsageError(f"{rows.name} is no table: complete fills in images and arrays")
        own = rows.split(split)
        return rows.table, rows.table.frame(own.x, own.mask), own
    if not is_table(rows):
        raise UsageError(f"rows are a data frame, or the file of a table; got {rows!r:.80}")
    if like is None:
        raise UsageError("new rows need like, the data (or table) that the pair was trained on")
    loaded = load_data(rows, like=like, missing="unseen")
    assert loaded.table is not None
    return loaded.table, rows if is_frame(rows) else read_table(Path(rows)), loaded.split("test")


def _mask_of(data: Observed) -> Tensor:
    return torch.ones_like(data.x, dtype=torch.bool) if data.mask is None else data.mask


def _filled(frame: Any, values: Any, table: Table, seen: Tensor) -> Any:
    """A table with its empty cells taken from another; all others exactly as they were."""
    own = {str(name): name for name in frame.columns}
    made = frame.copy()
    for column, known in zip(table.columns, seen.T.cpu().numpy(), strict=True):
        if not known.all():
            series, drawn = frame[own[column.name]], values[column.name]
            filled = series.astype(object).where(known, drawn.astype(object))
            made[own[column.name]] = filled.infer_objects()
    return made


def _numeric(x: Tensor, of: Imputation, *, centred: bool = False) -> Any:
    """Numbers (B, D) of numeric columns in their units, or spreads of them; empty where seen."""
    found = torch.full(of._seen.shape, math.nan, dtype=torch.float64)
    for j, column in enumerate(of.table.columns):
        if not column.discrete:
            values = x[:, of.table.places[column.name].start].double().cpu() * column.scale
            found[:, j] = values if centred else column.centre + values
    return _frame_of(found.where(~of._seen.cpu(), math.nan), of)


def _frame_of(values: Tensor, of: Imputation) -> Any:
    import pandas

    return pandas.DataFrame(values.cpu().numpy(), columns=of.table.names, index=of.frame.index)


def _probabilities(table: Table, mean: Tensor, seen: Tensor, index: Any) -> dict[str, Any]:
    """Of each column of categories the probability of each, in the rows where it is empty."""
    import pandas

    found = {}
    for column, known in zip(table.columns, seen.T.cpu(), strict=True):
        if column.discrete and not bool(known.all()):
            p = mean[:, table.places[column.name]].double().cpu()[~known].clamp(0, 1)
            p = torch.cat([1 - p, p], 1) if column.size == 1 else p
            p = p / p.sum(1, keepdim=True).clamp_min(1e-12)
            rows = index[(~known).numpy()]
            found[column.name] = pandas.DataFrame(p.numpy(), columns=column.values, index=rows)
    return found
