"""What the chains of several fits came to, in one line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from inference.mcmc.diagnostics import ESS_PER_CHAIN, RHAT

__all__ = ["ChainSummary", "described_chains"]


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
        Draws of all chains together, and the number of chains.
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
