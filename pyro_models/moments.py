"""Means, spreads and directions of data that may lie far from the origin, or be tiny.

A variance as E[x²] − E[x]² loses all digits once the offset is some 10⁸ spreads; here everything
is computed from x − E[x], in float64, whatever the float type of the data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Directions", "centred", "directions", "mean_of", "spread_of"]


def _wide(device: torch.device) -> torch.dtype:
    """float64, where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def mean_of(x: Tensor) -> Tensor:
    """Mean over data, (\\*data_shape), accumulated in float64.

    >>> float(mean_of(torch.full((3, 1), 0.1)))  # as near as float32 has 0.1
    0.10000000149011612
    """
    return x.detach().mean(0, dtype=_wide(x.device))


def centred(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and x − mean of data as vectors, (D,) and (N, D), in float64.

    The mean is corrected by that of the residuals, so that these add up to 0 at any offset.
    """
    flat = x.detach().flatten(1).to(_wide(x.device))
    mean = flat.mean(0)
    residual = flat - mean
    rest = residual.mean(0)
    return mean + rest, residual.sub_(rest)


def spread_of(x: Tensor) -> Tensor:
    """Standard deviation over data (N, \\*data_shape), in float64; 0 where only rounding varies.

    What varies by a few units in the last place of its own values, in the float type of the data,
    or by less than float64 resolves beside the largest spread, is constant.

    >>> x = torch.tensor([[1e9, 0.0], [1e9 + 1, 1e-17], [1e9 + 2, 0.0]], dtype=torch.float64)
    >>> [round(s, 6) for s in spread_of(x).tolist()]
    [0.816497, 0.0]
    """
    _, residual = centred(x)
    spread = residual.square().mean(0).sqrt()
    least = (4 * _rounding(x)).clamp_min(torch.finfo(spread.dtype).eps * spread.max())
    return torch.where(spread > least, spread, torch.zeros_like(spread)).unflatten(0, x.shape[1:])


def _rounding(x: Tensor) -> Tensor:
    """Half a unit in the last place of the largest value of each column, (D,)."""
    kind = x.dtype if x.is_floating_point() else torch.float64
    size = x.detach().abs().flatten(1).amax(0).to(_wide(x.device))
    return 0.5 * torch.finfo(kind).eps * size


@dataclass(frozen=True, eq=False)
class Directions:
    """The principal directions of N data of D values, with their mean (D,).

    ``scales`` are the singular values of the centred data, largest first, (min(N, D),), λ_i N =
    scales_i²; ``vectors`` are orthonormal columns, (D, min(N, D)); in ``rank`` directions the data
    vary by more than the rounding of their float type.
    """

    mean: Tensor
    scales: Tensor
    vectors: Tensor
    rank: int


def directions(x: Tensor) -> Directions:
    """Principal directions of data (N, \\*data_shape) of any offset and scale, in float64.

    By singular values of x − mean, which no covariance matrix squares.

    >>> x = torch.tensor([[0.0, 1e9], [1.0, 1e9], [2.0, 1e9]], dtype=torch.float64)
    >>> directions(x).rank, [round(v, 6) for v in directions(x).scales.tolist()]
    (1, [1.414214, 0.0])
    """
    mean, residual = centred(x)
    N, D = residual.shape
    size = residual.abs().max()
    unit = torch.where(size > 0, size, torch.ones_like(size))  # squares of tiny data stay normal
    part = residual / unit
    R = torch.linalg.qr(part, mode="r").R if N > D else part
    _, scales, rows = torch.linalg.svd(R, full_matrices=False)
    scales = scales * unit
    # singular values up to here are rounding: of the data's float type, or of the computation
    rounding = torch.where(residual.abs().amax(0) > 0, _rounding(x), torch.zeros_like(residual[0]))
    of_data = math.sqrt(N) * rounding.max() + torch.linalg.vector_norm(rounding)
    least = torch.maximum(of_data, max(N, D) * torch.finfo(scales.dtype).eps * scales.max())
    return Directions(mean, scales, rows.T, int((scales > least).sum()))
