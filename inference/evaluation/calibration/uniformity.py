"""Are ranks uniform? A band around their ECDF that holds everywhere at once, and an exact p-value.

Of n ranks that are uniform on {0, …, L}, so many lie below k as a binomial with n trials and
probability k / (L + 1) says. The counts at all boundaries k are a Markov chain, since a count that
is known leaves the rest of the ranks uniform above it; so the probability that all of them stay
within their limits is a sum over this chain and needs no simulation (Säilynoja, Bürkner & Vehtari
2022, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from scipy.special import bdtr, gammaln

from pyro_models.brief import Brief

__all__ = [
    "Band",
    "band",
    "binomial_quantile",
    "boundaries",
    "counts_below",
    "smallest_tail",
    "uniform_p_value",
]

MOST_BOUNDARIES = 100
SMALLEST_P = 1e-12
"""Below it a p-value is the rounding of sums that are nearly 1."""


@dataclass(frozen=True, eq=False)
class Band(Brief):
    """Limits of the ECDF of uniform ranks.

    Attributes
    ----------
    fraction
        k / (L + 1) at the boundaries k, (P,): the share of uniform ranks below k.
    lower, upper
        Between which shares of n ranks lie at all boundaries at once, (P,).
    level
        The probability that uniform ranks leave the band anywhere is this, or just less.
    """

    fraction: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    level: float


def boundaries(num_draws: int) -> np.ndarray:
    """Where ranks 0…L are looked at: k = 1…L, or a hundred of these, (P,) whole numbers."""
    points = np.linspace(1, num_draws, min(num_draws, MOST_BOUNDARIES))
    return np.unique(points.round().astype(int))


def counts_below(ranks: np.ndarray, num_draws: int) -> np.ndarray:
    """How many of n ranks lie below each boundary, (P,)."""
    return np.searchsorted(np.sort(ranks), boundaries(num_draws), side="left")


def smallest_tail(ranks: np.ndarray, num_draws: int) -> float:
    """γ = min_k 2 min{P(B_k ≤ c_k), P(B_k ≥ c_k)} of counts c_k, B_k ~ Bin(n, k / (L + 1)).

    The test statistic: the smaller it is, the farther is the count at some boundary from where the
    count of uniform ranks would be.
    """
    counts, n = counts_below(ranks, num_draws), len(ranks)
    p = boundaries(num_draws) / (num_draws + 1)
    tails = np.minimum(bdtr(counts, n, p), bdtr(n - counts, n, 1 - p))
    return float(min(1.0, 2 * tails.min()))


def uniform_p_value(ranks: np.ndarray, num_draws: int) -> float:
    """P(γ of n uniform ranks ≤ the γ of these), exact at the boundaries that are looked at.

    It is at most ``level`` exactly where the ECDF leaves the band of that level.

    Examples
    --------
    >>> narrow = np.r_[np.zeros(10, int), np.full(10, 99), np.arange(0, 100, 5)]
    >>> uniform_p_value(np.arange(100), 99) > 0.99, uniform_p_value(narrow, 99) < 0.01
    (True, True)
    """
    gamma = smallest_tail(ranks, num_draws)
    if gamma < SMALLEST_P:
        return SMALLEST_P
    if gamma == 1:
        return 1.0
    inside = _coverage(gamma * (1 + 1e-9), len(ranks), num_draws)
    return float(np.clip(1 - inside, SMALLEST_P, 1.0))


@cache
def band(n: int, num_draws: int, level: float = 0.05) -> Band:
    """The simultaneous band for the ECDF of n ranks among L draws: the widest γ that covers.

    Examples
    --------
    >>> found = band(200, 99)
    >>> float((found.upper - found.lower).max().round(3))
    0.21
    """
    low, high = np.log(level / MOST_BOUNDARIES), 0.0  # Bonferroni's is wide enough
    for _ in range(20):
        middle = (low + high) / 2
        if _coverage(np.exp(middle), n, num_draws) >= 1 - level:
            low = middle
        else:
            high = middle
    fraction = boundaries(num_draws) / (num_draws + 1)
    lower, upper = _limits(np.exp(low), n, num_draws)
    return Band(fraction, lower / n, upper / n, level)


def _limits(gamma: float, n: int, num_draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts, both inclusive, whose two-sided tail area at their boundary is γ or more, (P,)."""
    p = boundaries(num_draws) / (num_draws + 1)
    half = min(gamma, 1.0) / 2
    lower, upper = binomial_quantile(half, n, p), n - binomial_quantile(half, n, 1 - p)
    return lower, np.maximum(upper, lower)


def binomial_quantile(q: float, n: int, p: np.ndarray) -> np.ndarray:
    """The least c with P(B ≤ c) ≥ q for B ~ Bin(n, p), of each p, (P,), whole numbers.

    >>> binomial_quantile(0.025, 10, np.array([0.1, 0.5])).tolist()
    [0, 2]
    """
    found: np.ndarray = (_cdf(n, tuple(p.tolist())) < q).sum(1)
    return found


@lru_cache(maxsize=8)
def _cdf(n: int, p: tuple[float, ...]) -> np.ndarray:
    """P(B ≤ c) for c = 0…n − 1, (P, n)."""
    found: np.ndarray = bdtr(np.arange(n), n, np.array(p)[:, None])
    return found


def _coverage(gamma: float, n: int, num_draws: int) -> float:
    """P(the counts of n uniform ranks are within the limits of γ at every boundary)."""
    p = boundaries(num_draws) / (num_draws + 1)
    lower, upper = _limits(gamma, n, num_draws)
    log_factorial = gammaln(np.arange(n + 1) + 1.0)
    counts, chances, before = np.zeros(1, int), np.ones(1), 0.0
    for low, high, at in zip(lower, upper, p, strict=True):
        q = (at - before) / (1 - before)  # of what is above the boundary before
        then = np.arange(low, high + 1)
        left, more = n - counts[:, None], then - counts[:, None]
        possible = (more >= 0) & (more <= left)
        more = np.where(possible, more, 0)
        log_pmf = log_factorial[left] - log_factorial[more] - log_factorial[left - more]
        log_pmf = log_pmf + more * np.log(q) + (left - more) * np.log1p(-q)
        chances = chances @ np.where(possible, np.exp(log_pmf), 0.0)
        counts, before = then, at
    return float(chances.sum())
