"""Does a narrower float type tell data apart? Time stamps of 1.7e9 ± 1 are one in float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyro_models.errors import UsageError

__all__ = ["check_float32_suffices", "loses"]

TOLERANCE = 1e-3  # of a column's standard deviation
NOISE = 16  # units in the last place: a column that varies by no more is constant


def loses(x: Tensor, dtype: torch.dtype, *, seen: Tensor | None = None) -> tuple[int, ...] | None:
    """The first column that a cast would round by more than 1/1000 of its spread; ``None`` if none.

    A column is one place of a datum over all data (N, \\*data_shape), where it is ``seen``, (N or
    1, \\*data_shape); its spread is its standard deviation. One that is constant but for rounding
    has no spread to lose. Values that are not finite are left out.

    >>> stamps = torch.tensor([[1.7e9, 0.1], [1.7e9 + 1, 0.2]], dtype=torch.float64)
    >>> loses(stamps, torch.float32), loses(stamps - stamps[0], torch.float32)
    ((0,), None)
    """
    if not len(x) or not _is_narrower(dtype, x.dtype):
        return None
    columns = x.detach().flatten(1)
    rounded = columns.to(dtype).to(columns.dtype)
    values, error = columns.double(), (columns - rounded).abs().double()
    noise: Tensor | float = 0.0
    if not columns.is_floating_point():
        values = (columns - columns[:1]).double()  # exact where the numbers themselves are not
    counts = _rows(x, seen) & values.isfinite()
    known, overflows = counts & error.isfinite(), counts & ~error.isfinite()
    error, values = error.where(known, 0.0), values.where(known, 0.0)
    count = known.sum(0).clamp_min(1)
    centered = (values - values.sum(0) / count).where(known, 0.0)
    spread = (centered.square().sum(0) / count).sqrt()
    if columns.is_floating_point():
        noise = NOISE * torch.finfo(columns.dtype).eps * values.abs().amax(0)
    lost = (error.amax(0) > TOLERANCE * spread) & (spread > noise)
    found = (lost | overflows.any(0)).nonzero().flatten()
    if not len(found):
        return None
    return tuple(int(i) for i in torch.unravel_index(found[0], x.shape[1:]))


def check_float32_suffices(
    x: Tensor,
    dtype: torch.dtype = torch.float32,
    *,
    name: str = "the data",
    seen: Tensor | None = None,
) -> None:
    """Refuse a cast of data, called ``name``, after which a column could not be told apart.

    The arguments are as for :func:`loses`. The error names the column, and what to do: subtract an
    offset, or use a pair in float64.
    """
    column = loses(x, dtype, seen=seen)
    if column is None:
        return
    place: Any = (slice(None), *column)
    counts = _rows(x, seen).unflatten(1, x.shape[1:])[place]
    values = x[place].double()
    values = values[values.isfinite() & counts]
    word = str(dtype).removeprefix("torch.")
    where = f"column {column[0]}" if len(column) == 1 else f"pixel {column}"
    raise UsageError(
        f"{word} cannot tell the values of {where} of {name} apart: they lie at "
        f"{float(values.mean()):.10g} and spread by {float(values.std(correction=0)):.3g}. "
        "Subtract an offset (x - x.mean(0)), or use a pair in float64 (pair.double())"
    )


def _rows(x: Tensor, seen: Tensor | None) -> Tensor:
    """Which values count, (N, D)."""
    if seen is None:
        return torch.ones_like(x, dtype=torch.bool).flatten(1)
    return seen.expand(x.shape).flatten(1)


def _is_narrower(to: torch.dtype, source: torch.dtype) -> bool:
    if not source.is_floating_point:
        return source != torch.bool
    return torch.promote_types(to, source) != to
