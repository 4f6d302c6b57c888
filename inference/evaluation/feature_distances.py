"""Distances of features of data and of samples; whether samples are near data, and everywhere."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from inference.standard_error import mean_and_error
from pyro_models import UsageError

__all__ = [
    "coverage",
    "coverage_of",
    "density",
    "density_of",
    "frechet_distance",
    "in_balls",
    "kernel_distance",
]

NEIGHBOURS = 5
_BLOCKS = 10  # of features, for standard errors
_SET = 1000  # features of which a kernel is computed at once
_AT_ONCE = 500  # features whose distances to all others are computed in one call


class _Given(nn.Module):
    """Features in the place of a network that makes them."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, x: Tensor) -> Tensor:
        return x


def _by_torchmetrics(name: str, real: Tensor, drawn: Tensor, **options: Any) -> float:
    """One of its distances, in float64."""
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance
        from torchmetrics.image.kid import KernelInceptionDistance
    except ImportError as error:
        raise UsageError(
            'distances of samples need the package torchmetrics: pip install "pyro-models[samples]"'
        ) from error
    make = {"fid": FrechetInceptionDistance, "kid": KernelInceptionDistance}[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the kernel distance, that it keeps features
        metric = make(feature=_Given(real.shape[1]), **options).set_dtype(torch.float64)
    metric.update(real, real=True)
    metric.update(drawn, real=False)
    found = metric.compute()
    return float(found[0] if isinstance(found, tuple) else found)


def _checked(real: Tensor, drawn: Tensor, *, least: int, what: str) -> tuple[Tensor, Tensor]:
    if real.shape != drawn.shape:
        raise UsageError(
            f"as many samples as data are compared; got features {tuple(drawn.shape)} and "
            f"{tuple(real.shape)}"
        )
    if len(real) < least:
        raise UsageError(f"{what} needs at least {least} images; there are {len(real)}")
    return real.detach().cpu().double(), drawn.detach().cpu().double()


def _jackknife(
    distance: Callable[[Tensor], float], count: int, sets: int = 1
) -> tuple[float, float]:
    """A distance of rows, and its standard error by leaving out each tenth of them, of each set."""
    rows = torch.arange(count, device="cpu")
    without = [distance(rows[rows // sets % _BLOCKS != block]) for block in range(_BLOCKS)]
    spread = float(torch.tensor(without, dtype=torch.float64, device="cpu").var(correction=0))
    return distance(rows), math.sqrt((_BLOCKS - 1) * spread)


def frechet_distance(real: Tensor, drawn: Tensor) -> tuple[float, float]:
    """The Fréchet distance of two sets of features (Heusel et al. 2017).

    ‖μ − μ′‖² + tr(Σ + Σ′ − 2 (Σ Σ′)^½), by torchmetrics: that of two Gaussians with the means and
    covariances of the sets. It is biased: of two sets from one distribution it is about
    proportional to 1/N, so that only values of the same N may be compared.

    Parameters
    ----------
    real, drawn
        Features of data and of samples, (N, D) each, N > D.

    Returns
    -------
    value, error
        The squared distance, and its standard error by a jackknife of ten blocks.

    Raises
    ------
    UsageError
        If N ≤ D, the sets differ in size, or torchmetrics is not installed.

    Examples
    --------
    >>> x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0)).double()
    >>> round(frechet_distance(x, x + 3)[0], 6)
    18.0
    """
    least = real.shape[1] + 1
    real, drawn = _checked(
        real, drawn, least=least, what=f"a Fréchet distance of {real.shape[1]} features"
    )
    return _jackknife(lambda rows: _by_torchmetrics("fid", real[rows], drawn[rows]), len(real))


def kernel_distance(real: Tensor, drawn: Tensor) -> tuple[float, float]:
    """The kernel distance of two sets of features, unbiased whatever N (Bińkowski et al. 2018).

    MMD² = E[k(x, x′)] + E[k(y, y′)] − 2 E[k(x, y)] with k(x, y) = (x·y/D + 1)³, by torchmetrics:
    the mean of the unbiased estimates of sets of at most 1,000. For equal distributions it is about
    0, and below it as often as above.

    Parameters
    ----------
    real, drawn
        Features of data and of samples, (N, D) each, N ≥ 20.

    Returns
    -------
    value, error
        MMD², and its standard error over the sets, or of fewer than ten by a jackknife.

    Raises
    ------
    UsageError
        If N < 20, the sets differ in size, or torchmetrics is not installed.

    Examples
    --------
    >>> x, y = torch.randn(2, 500, 2, generator=torch.Generator().manual_seed(0)).double()
    >>> value, error = kernel_distance(x, y)
    >>> abs(value) < 3 * error
    True
    """
    real, drawn = _checked(real, drawn, least=2 * _BLOCKS, what="a kernel distance")
    sets = math.ceil(len(real) / _SET)

    def of_sets(rows: Tensor) -> Tensor:
        each = [rows[rows % sets == i] for i in range(sets)]
        of = [(real[own], drawn[own], len(own)) for own in each]
        found = [_by_torchmetrics("kid", x, y, subsets=1, subset_size=size) for x, y, size in of]
        return torch.tensor(found, dtype=torch.float64, device="cpu")

    if sets >= _BLOCKS:
        return mean_and_error(of_sets(torch.arange(len(real), device="cpu")))
    return _jackknife(lambda rows: float(of_sets(rows).mean()), len(real), sets)


def in_balls(real: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """In how many balls each sample is, how many samples each ball holds, and for each sample how
    many hold no other.

    The ball of a datum reaches to its k-th nearest other datum, k = 5.
    """
    real, drawn = _checked(real, drawn, least=NEIGHBOURS + 2, what="density and coverage")
    balls, alone = torch.zeros(2, len(drawn), device="cpu")
    held = []
    for part in real.split(_AT_ONCE):
        radius = torch.cdist(part, real).topk(NEIGHBOURS + 1, largest=False).values[:, -1:]
        inside = torch.cdist(part, drawn) < radius
        count = inside.sum(1)
        held.append(count)
        balls += inside.sum(0)
        alone += inside[count == 1].sum(0)
    return balls.double(), torch.cat(held).double(), alone.double()


def density(real: Tensor, drawn: Tensor) -> tuple[float, float]:
    """How near samples are to data: 1 where they are data, above where they crowd (Naeem 2020).

    (1/(k M)) Σ_j Σ_i 1[y_j ∈ B(x_i)], where the ball B(x_i) reaches to the k-th nearest other
    datum, k = 5; few data far from all others do not count for much.

    Parameters
    ----------
    real, drawn
        Features of data and of samples, (N, D) each, N ≥ 7.

    Returns
    -------
    value, error
        The density, and its standard error from the sampling of both sets, radii as they are.

    Raises
    ------
    UsageError
        If N < 7, or the sets differ in size.
    """
    return density_of(*in_balls(real, drawn))


def density_of(balls: Tensor, held: Tensor, alone: Tensor) -> tuple[float, float]:
    """The density, of what :func:`in_balls` counts."""
    (value, of_samples), (_, of_data) = mean_and_error(balls), mean_and_error(held)
    return value / NEIGHBOURS, math.hypot(of_samples, of_data) / NEIGHBOURS


def coverage(real: Tensor, drawn: Tensor) -> tuple[float, float]:
    """Whether samples are wherever data are: the share of data with a sample near (Naeem 2020).

    (1/N) Σ_i 1[some y_j ∈ B(x_i)], with balls as of :func:`density`. Of data against data it is
    about 1 − 2⁻⁵ = 0.97, whatever the distribution.

    Parameters
    ----------
    real, drawn
        Features of data and of samples, (N, D) each, N ≥ 7.

    Returns
    -------
    value, error
        The coverage, and its standard error from the sampling of both sets, radii as they are; it
        is rather too large than too small.

    Raises
    ------
    UsageError
        If N < 7, or the sets differ in size.
    """
    return coverage_of(*in_balls(real, drawn))


def coverage_of(balls: Tensor, held: Tensor, alone: Tensor) -> tuple[float, float]:
    """The coverage, of what :func:`in_balls` counts."""
    (value, of_data), (_, of_samples) = mean_and_error((held > 0).double()), mean_and_error(alone)
    return value, math.hypot(of_data, of_samples)
