"""What the chains of several fits came to, in one line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from inference.mcmc.diagnostics import ESS_PER_CHAIN, RHAT
from pyro_models.brief import Brief

__all__ = ["ChainSummary", "described_chains"]


@dataclass(frozen=True)
class ChainSummary(Brief):
    """The worst of one fit's chains over all hyper-parameters.

    The largest R̂, infinite where one never moved; the least effective numbers of draws, 0 likewise;
    transitions that diverged; draws of all chains together, and the number of chains.
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
        bulk, tail = (np.nan_to_num([*details[k].values()]).min() for k in ("bulk_ess", "tail_ess"))
        rhat = np.nan_to_num([*details["rhat"].values()], nan=math.inf, posinf=math.inf).max()
        chains = (details["divergences"], num_draws, details["num_chains"])
        return cls(float(rhat), float(bulk), float(tail), *chains)

    @property
    def is_short(self) -> bool:
        """Whether an effective number of draws is below 100 for each chain."""
        return min(self.bulk_ess, self.tail_ess) < ESS_PER_CHAIN * self.num_chains


def described_chains(fits: Iterable[ChainSummary | None]) -> str:
    """What the chains of several fits came to, in one line; empty if there were none.

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
        f"{max(c.rhat for c in chains):.3f}, above {RHAT} in {sum(c.rhat > RHAT for c in chains)}; "
        f"effective draws from {bulk:.0f} (bulk) and {tail:.0f} (tail), below "
        f"{ESS_PER_CHAIN * first.num_chains} in {sum(c.is_short for c in chains)}; {divergent} "
        f"divergent transition{'' if divergent == 1 else 's'} in "
        f"{sum(c.divergences > 0 for c in chains)}"
    )
