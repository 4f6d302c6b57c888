"""Draws in place of a density: what a Markov chain or resampling leaves behind."""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import pyro.distributions as dist
from torch import Tensor

from inference.posterior.guides.per_datum import PerDatumGuide

__all__ = ["DrawsGuide"]


class DrawsGuide(PerDatumGuide):
    """Each sample is one of S stored draws of the datum's latents, all sites of the same draw.

    Parameters
    ----------
    draws
        By site, (S, B, \\*event_shape).
    num_chains
        C, where they are S / C draws of each of C chains, all chains of a draw side by side; 0
        where they are of no chain.
    stats
        What is known of every draw by name, such as ``diverging``, (S, B).
    measures
        What is known of every datum, an attribute (B,) each, such as ``acceptance``, its mean, and
        ``r_hat``, the largest R̂ of its latents: near 1 where its chains agree.
    """

    def __init__(
        self,
        draws: Mapping[str, Tensor],
        *,
        num_chains: int = 0,
        stats: Mapping[str, Tensor] | None = None,
        **measures: Tensor,
    ) -> None:
        super().__init__()
        self.num_chains, self.stats = num_chains, tuple(stats or {})
        self.sites = tuple(draws)
        buffers = {f"draws_{i}": values for i, values in enumerate(draws.values())}
        buffers |= {f"stat_{name}": values for name, values in (stats or {}).items()}
        for name, values in buffers.items():
            self.register_buffer(name, values.detach().transpose(0, 1).contiguous())
        for name, values in measures.items():
            self.register_buffer(name, values)
        self.per_datum = (*buffers, *measures)

    @property
    def draws(self) -> dict[str, Tensor]:
        """By site, (B, S, \\*event_shape)."""
        return {name: self.get_buffer(f"draws_{i}") for i, name in enumerate(self.sites)}

    def chains(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Draws by site, (C, S / C, B, \\*event_shape), and what is known of each of them."""

        def apart(values: Tensor) -> Tensor:
            return values.transpose(0, 1).unflatten(0, (-1, self.num_chains)).transpose(0, 1)

        draws = {name: apart(values) for name, values in self.draws.items()}
        return draws, {name: apart(self.get_buffer(f"stat_{name}")) for name in self.stats}

    def sample(self, index: Tensor) -> None:
        """Sample every site."""
        draws = self.draws
        first = next(iter(draws.values()))
        equal = first.new_zeros(first.shape[:2])
        which = pyro.sample(
            "_which_draw", dist.Categorical(logits=equal), infer={"is_auxiliary": True}
        )
        for name, values in draws.items():
            value = values[index.to(which.device), which]
            pyro.sample(name, dist.Delta(value, event_dim=values.dim() - 2))

    def means(self) -> dict[str, Tensor]:
        """Averages of the draws, (B, \\*event_shape)."""
        return {name: values.mean(1) for name, values in self.draws.items()}
