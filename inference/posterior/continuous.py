"""Continuous latents: what posterior inference asks of them, and the moments of their priors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.distributions import constraints

from pyro_models import Pair, UsageError
from pyro_models.contract import check_pair

__all__ = ["Moments", "check_real", "needs_continuous"]


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of one latent site, each (B, \\*event_shape)."""

    mean: Tensor
    scale: Tensor

    def __getitem__(self, index: Tensor | slice) -> Moments:
        """Those of some of the data."""
        return Moments(self.mean[index], self.scale[index])


def needs_continuous(pair: Pair) -> None:
    """Refuse what is no pair, or has no continuous latent.

    Raises
    ------
    UsageError
        One line that says so.
    """
    check_pair(pair)
    if all(site.discrete for site in pair.latent_sites.values()):
        raise UsageError(
            f"{type(pair).__name__} has no continuous latent to infer; its discrete ones are "
            "summed out exactly (exact_posterior)"
        )


def check_real(name: str, distribution: Any) -> None:
    """Refuse a latent site whose values are not free on the real line."""
    support = distribution.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    if support is not constraints.real:
        raise UsageError(
            f"the latent {name!r} is constrained, not a real vector; transform it in the model to "
            "the real line"
        )
