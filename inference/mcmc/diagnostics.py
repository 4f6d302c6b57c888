"""Whether Markov chains agree, and how many independent draws theirs are worth.

Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Rank-normalization, folding, and
localization: an improved R̂. Draws are (C, S, \\*shape): S draws of each of C chains, of any number
of quantities at once; what is returned has the shape of these, (\\*shape).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from torch import Tensor, bfloat16

from pyro_models.errors import UsageError

__all__ = [
    "ESS_PER_CHAIN",
    "RHAT",
    "bulk_ess",
    "effective_sample_size",
    "r_hat",
    "rank_normalized",
    "tail_ess",
]

RHAT = 1.01
"""Above it chains are said not to agree."""
ESS_PER_CHAIN = 100
"""Below it, times the number of chains, draws are said to be too few; of bulk and tail."""

_MAX_ELEMENTS = 2**22  # numbers that are looked at together

Draws = np.ndarray | Tensor


def r_hat(draws: Draws) -> np.ndarray:
    """R̂: 1 when all halves of all chains have one distribution; above 1.05 they have not.

    The larger of the split R̂ of rank-normalised draws, which sees locations, and of draws folded
    at their median, which sees scales. NaN for fewer than four draws, and where nothing varies but
    rounding; infinite where every chain stands still at a place of its own.

    Examples
    --------
    >>> draws = np.random.default_rng(0).normal(size=(4, 500))
    >>> [round(float(r_hat(each)), 2) for each in (draws, draws + 0.5 * np.arange(4)[:, None])]
    [1.0, 1.16]
    """
    return _of_each(draws, _r_hat)


def bulk_ess(draws: Draws) -> np.ndarray:
    """Effective number of draws for the middle of the distribution: of rank-normalised draws."""
    return _of_each(draws, lambda each: _ess(rank_normalized(_split(each))))


def tail_ess(draws: Draws) -> np.ndarray:
    """The smaller effective number of draws of the 5 % and of the 95 % quantile."""

    def measure(each: np.ndarray) -> np.ndarray:
        halves = _split(each)
        ends = np.quantile(each, (0.05, 0.95), axis=(-2, -1), keepdims=True)
        low, high = (_ess((halves <= end).astype(float)) for end in ends)
        return np.minimum(low, high)

    return _of_each(draws, measure)


def effective_sample_size(draws: Draws) -> np.ndarray:
    """C S / τ with τ the autocorrelation time of all chains together, for the mean.

    τ = −1 + 2 Σ_k P_k, P_k = ρ_2k + ρ_2k+1 up to the first that is negative, each no larger than
    the one before (Geyer 1992); ρ counts the spread between chains as correlation.
    """
    return _of_each(draws, _ess)


def rank_normalized(draws: np.ndarray) -> np.ndarray:
    """Φ⁻¹((r − 3/8) / (N + 1/4)), r the average rank among all N = C S draws (Blom 1958).

    Draws are (\\*shape, C, S) here.
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata  # half a second, which few commands need

    rank = rankdata(draws.reshape(*draws.shape[:-2], -1), axis=-1).reshape(draws.shape)
    return ndtri((rank - 0.375) / (draws.shape[-2] * draws.shape[-1] + 0.25))


def _of_each(draws: Draws, measure: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """A measure of (Q, C, S) for every quantity; NaN where its draws are none, or stand still."""
    if isinstance(draws, Tensor):  # NumPy has no bfloat16
        draws = (draws if draws.dtype != bfloat16 else draws.float()).detach().cpu().numpy()
    array = np.asarray(draws, dtype=float if np.asarray(draws).dtype == bool else None)
    if array.ndim < 2:
        raise UsageError(f"draws are of several chains, (C, S, ...); got the shape {array.shape}")
    chains, length, *shape = array.shape
    quantities = np.moveaxis(array.reshape(chains, length, math.prod(shape)), -1, 0)
    found = np.full(len(quantities), math.nan)
    size = max(1, _MAX_ELEMENTS // max(1, chains * length))
    for first in range(0, len(quantities) if length >= 4 and chains else 0, size):
        some = quantities[first : first + size]
        spacing = np.finfo(some.dtype).eps if some.dtype.kind == "f" else 0.0
        with np.errstate(invalid="ignore"):  # what is not finite is not moving either
            width = some.max((1, 2)) - some.min((1, 2))
            moves = width > 4 * spacing * np.abs(some).max((1, 2))
        moves &= np.isfinite(some).all((1, 2))
        if moves.any():
            with np.errstate(divide="ignore", invalid="ignore"):  # chains that each stand still
                _, power = np.frexp(width[moves].astype(np.float64))  # of 2, which rounds nothing
                own = np.ldexp(some[moves].astype(np.float64), -power[:, None, None])
                found[first + np.flatnonzero(moves)] = measure(own)
    return found.reshape(shape)[()]


def _r_hat(draws: np.ndarray) -> np.ndarray:
    halves = _split(draws)
    folded = np.abs(halves - np.median(halves, axis=(-2, -1), keepdims=True))
    return np.fmax(*(_split_r_hat(rank_normalized(each)) for each in (halves, folded)))


def _split_r_hat(halves: np.ndarray) -> np.ndarray:
    length = halves.shape[-1]
    within = halves.var(axis=-1, ddof=1).mean(-1)
    between = length * halves.mean(-1).var(axis=-1, ddof=1)
    return np.sqrt((between / within + length - 1) / length)


def _ess(chains: np.ndarray) -> np.ndarray:
    num_chains, length = chains.shape[-2:]
    total = num_chains * length
    covariance = _autocovariance(chains).mean(-2)
    within = covariance[..., 0] * length / (length - 1)
    variance = covariance[..., 0]
    if num_chains > 1:
        variance = variance + chains.mean(-1).var(axis=-1, ddof=1)
    rho = 1 - (within[..., None] - covariance) / variance[..., None]
    rho[..., 0] = 1.0
    pairs = rho[..., 0 : length - length % 2 : 2] + rho[..., 1::2]
    usable = max(1, (length - 3) // 2)  # the last lags rest on too few products
    pairs = pairs[..., :usable]
    negative = pairs < 0
    end = np.where(negative.any(-1), negative.argmax(-1), usable)[..., None]
    falling = np.where(np.arange(usable) < end, np.minimum.accumulate(pairs, -1), 0.0)
    last = np.take_along_axis(rho, np.minimum(2 * end, length - 1), -1)
    rest = np.where(2 * end < length, np.maximum(last, 0.0), 0.0)[..., 0]
    time = -1 + 2 * falling.sum(-1) + rest
    found = total / np.maximum(time, 1 / math.log10(total))
    still = np.ptp(chains, axis=(-2, -1)) < 1e-15
    return np.where(still, float(total), found)


def _autocovariance(chains: np.ndarray) -> np.ndarray:
    """The autocovariance of each chain at lags 0…S − 1, divided by S."""
    length = chains.shape[-1]
    size = 1 << (2 * length - 1).bit_length()
    spectrum = np.fft.rfft(chains - chains.mean(-1, keepdims=True), size)
    return np.fft.irfft((spectrum * spectrum.conj()).real, size)[..., :length] / length


def _split(draws: np.ndarray) -> np.ndarray:
    """Halves of the chains as chains; the middle draw of an odd number is left out."""
    half = draws.shape[-1] // 2
    return np.concatenate([draws[..., :half], draws[..., -half:]], axis=-2)
