"""Draws in place of a density: what a Markov chain or resampling leaves behind."""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from pyro_models.pair import data_plate

__all__ = ["DrawsGuide"]


class DrawsGuide(nn.Module):
    """Each sample is one of S stored draws of the datum's latents, all sites of the same draw.

    Parameters
    ----------
    draws
        By site, (S, B, \\*event_shape).
    """

    per_datum: tuple[str, ...]

    def __init__(self, draws: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.sites = tuple(draws)
        self.per_datum = tuple(f"draws_{i}" for i in range(len(draws)))
        for i, values in enumerate(draws.values()):
            self.register_buffer(f"draws_{i}", values.detach().transpose(0, 1).contiguous())

    @property
    def draws(self) -> dict[str, Tensor]:
        """By site, (B, S, \\*event_shape)."""
        return {name: self.get_buffer(f"draws_{i}") for i, name in enumerate(self.sites)}

    def forward(
        self,
        x: Tensor,
        *,
        y: Tensor | None = None,
        n: int | None = None,
        mask: Tensor | None = None,
    ) -> None:
        """Sample every site; what x is does not matter."""
        draws = self.draws
        first = next(iter(draws.values()))
        equal = first.new_zeros(first.shape[:2])
        with data_plate(x, n, x) as rows:
            which = pyro.sample(
                "_which_draw", dist.Categorical(logits=equal), infer={"is_auxiliary": True}
            )
            for name, values in draws.items():
                value = values[rows.to(which.device), which]
                pyro.sample(name, dist.Delta(value, event_dim=values.dim() - 2))

    def means(self) -> dict[str, Tensor]:
        """Averages of the draws, (B, \\*event_shape)."""
        return {name: values.mean(1) for name, values in self.draws.items()}
