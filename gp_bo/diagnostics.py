"""Whether Markov chains agree, and how many independent draws theirs are worth.

Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Rank-normalization, folding, and
localization: an improved R̂. Draws are (chains, draws per chain).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

__all__ = [
    "ESS_PER_CHAIN",
    "RHAT",
    "ChainSummary",
    "bulk_ess",
    "described_chains",
    "effective_sample_size",
    "rank_normalised",
    "rhat",
    "tail_ess",
]

RHAT = 1.01
"""Above it chains are said not to agree."""
ESS_PER_CHAIN = 100
"""Below it, times the number of chains, draws are said to be too few; of bulk and tail."""


@dataclass(frozen=True)
class ChainSummary:
    """The worst of one fit's chains over all hyper-parameters.

    Attributes
    ----------
    rhat
        The largest R̂; infinite where one never moved.
    bulk_ess, tail_ess
        The least effective numbers of draws; 0 likewise.
    divergences
        Transitions that diverged.
    num_draws, num_chains
        Of all chains together, and their number.
    """

    rhat: float
    bulk_ess: float
    tail_ess: float
    divergences: int
    num_draws: int
    num_chains: int

    @classmethod
    def of(cls, details: Mapping[str, Any], num_draws: int) -> ChainSummary | None:
        """Of a fit's diagnostics by name; None where there were no chains."""
        if "rhat" not in details:
            return None
        bulk, tail = (
            min(0.0 if math.isnan(v) else v for v in details[name].values())
            for name in ("bulk_ess", "tail_ess")
        )
        return cls(
            max(math.inf if math.isnan(v) else v for v in details["rhat"].values()),
            bulk,
            tail,
            details["divergences"],
            num_draws,
            details["num_chains"],
        )

    @property
    def disagrees(self) -> bool:
        """Whether R̂ is above 1.01."""
        return self.rhat > RHAT

    @property
    def is_short(self) -> bool:
        """Whether an effective number of draws is below 100 for each chain."""
        return min(self.bulk_ess, self.tail_ess) < ESS_PER_CHAIN * self.num_chains


def described_chains(fits: Iterable[ChainSummary | None]) -> str:
    """What the chains of several fits came to, in one line; empty if there were none.

    Examples
    --------
    >>> print(described_chains([ChainSummary(1.03, 135.0, 98.0, 2, 500, 4)]))  # doctest: +ELLIPSIS
    chains of 1 fit of 500 draws: R-hat up to 1.030, above 1.01 in 1; ...
    """
    chains = [each for each in fits if each is not None]
    if not chains:
        return ""
    first, count = chains[0], len(chains)
    bulk, tail = min(c.bulk_ess for c in chains), min(c.tail_ess for c in chains)
    divergent = sum(c.divergences for c in chains)
    return (
        f"chains of {count} fit{'s' if count > 1 else ''} of {first.num_draws} draws: R-hat up to "
        f"{max(c.rhat for c in chains):.3f}, above {RHAT} in {sum(c.disagrees for c in chains)}; "
        f"effective draws from {bulk:.0f} (bulk) and {tail:.0f} (tail), below "
        f"{ESS_PER_CHAIN * first.num_chains} in {sum(c.is_short for c in chains)}; {divergent} "
        f"divergent transition{'' if divergent == 1 else 's'} in "
        f"{sum(c.divergences > 0 for c in chains)}"
    )


def rhat(draws: np.ndarray) -> float:
    """R̂: 1 when all halves of all chains have one distribution; above 1.05 they have not.

    The larger of the split R̂ of rank-normalised draws, which sees locations, and of draws folded
    at their median, which sees scales. NaN for fewer than four draws, or draws that never move.

    Examples
    --------
    >>> draws = np.random.default_rng(0).normal(size=(4, 500))
    >>> round(rhat(draws), 2), round(rhat(draws + 0.5 * np.arange(4)[:, None]), 2)
    (1.0, 1.16)
    """
    if not _is_valid(draws):
        return math.nan
    halves = _split(draws)
    folded = np.abs(halves - np.median(halves))
    return max(_rhat(rank_normalised(halves)), _rhat(rank_normalised(folded)))


def bulk_ess(draws: np.ndarray) -> float:
    """Effective number of draws for the middle of the distribution: of rank-normalised draws."""
    return effective_sample_size(rank_normalised(_split(draws))) if _is_valid(draws) else math.nan


def tail_ess(draws: np.ndarray) -> float:
    """The smaller effective number of draws of the 5 % and of the 95 % quantile."""
    if not _is_valid(draws):
        return math.nan
    halves = _split(draws)
    return min(
        effective_sample_size((halves <= np.quantile(draws, q)).astype(float)) for q in (0.05, 0.95)
    )


def rank_normalised(draws: np.ndarray) -> np.ndarray:
    """Φ⁻¹((r − 3/8) / (N + 1/4)) with r the average rank among all N draws (Blom 1958)."""
    flat = draws.reshape(-1)
    _, group, count = np.unique(flat, return_inverse=True, return_counts=True)
    rank = (count.cumsum() - 0.5 * (count - 1))[group]
    quantile = torch.from_numpy((rank - 0.375) / (flat.size + 0.25))
    normal: np.ndarray = torch.special.ndtri(quantile).numpy().reshape(draws.shape)
    return normal


def effective_sample_size(chains: np.ndarray) -> float:
    """M N / τ with τ the autocorrelation time of M chains of N draws together.

    τ = −1 + 2 Σ_k P_k, P_k = ρ_2k + ρ_2k+1 up to the first that is negative, each no larger than
    the one before (Geyer 1992); ρ counts the spread between chains as correlation.
    """
    num_chains, length = chains.shape
    total = num_chains * length
    if np.ptp(chains) < 1e-15:
        return float(total)
    covariance = _autocovariance(chains).mean(0)
    within = covariance[0] * length / (length - 1)
    variance = covariance[0]
    if num_chains > 1:
        variance += chains.mean(1).var(ddof=1)
    rho = 1 - (within - covariance) / variance
    rho[0] = 1.0
    pairs = rho[0 : length - length % 2 : 2] + rho[1::2]
    usable = max(1, (length - 3) // 2)  # the last lags rest on too few products
    negative = np.flatnonzero(pairs[:usable] < 0)
    end = int(negative[0]) if len(negative) else usable
    rest = max(0.0, float(rho[2 * end])) if 2 * end < length else 0.0
    time = -1 + 2 * np.minimum.accumulate(pairs[:end]).sum() + rest
    return float(total / max(time, 1 / math.log10(total)))


def _autocovariance(chains: np.ndarray) -> np.ndarray:
    """Of each chain at lags 0…N − 1, divided by N."""
    length = chains.shape[1]
    size = 1 << (2 * length - 1).bit_length()
    spectrum = np.fft.rfft(chains - chains.mean(1, keepdims=True), size)
    product = np.fft.irfft((spectrum * spectrum.conj()).real, size)
    return product[:, :length] / length


def _rhat(halves: np.ndarray) -> float:
    length = halves.shape[1]
    within = halves.var(axis=1, ddof=1).mean()
    between = length * halves.mean(1).var(ddof=1)
    return math.sqrt((between / within + length - 1) / length)


def _split(draws: np.ndarray) -> np.ndarray:
    """Halves of the chains as chains; the middle draw of an odd number is left out."""
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, -half:]])


def _is_valid(draws: np.ndarray) -> bool:
    return draws.shape[1] >= 4 and bool(np.isfinite(draws).all()) and np.ptp(draws) > 0
