"""A share of counted cases, and between which shares the truth is likely to lie."""

from __future__ import annotations

from dataclasses import dataclass

from pyro_models import UsageError

__all__ = ["Share"]


@dataclass(frozen=True)
class Share:
    """``count`` of ``total`` cases, of which there is at least one.

    >>> print(Share(5, 5))
    100 % (95 % interval 57 – 100 %)
    """

    count: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.count <= self.total or self.total < 1:
            raise UsageError(f"a share is of one case or more; got {self.count} of {self.total}")

    @property
    def value(self) -> float:
        """k / n."""
        return self.count / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval (1927), inside [0, 1], of a width above 0 where k is 0 or n."""
        from scipy.stats import binomtest  # half a second, which few commands need

        found = binomtest(self.count, self.total).proportion_ci(0.95, method="wilson")
        return max(0.0, float(found.low)), min(1.0, float(found.high))

    def __str__(self) -> str:
        share, low, high = (100 * each for each in (self.value, *self.interval))
        digits = 0 if self.total < 100 else 1
        interval = f"{low:.{digits}f} – {high:.{digits}f} %"
        return f"{share:.{digits}f} % (95 % interval {interval})"
