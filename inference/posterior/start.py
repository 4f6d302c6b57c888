"""Where a fit begins: a decoder may have modes that gradients from the prior's mean never find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from inference.chunks import chunk_size
from inference.densities import weigh
from inference.posterior.given import Given, Moments
from pyro_models import UsageError
from pyro_models.seeds import stream

__all__ = ["begun"]


@torch.no_grad()
def begun(given: Given, *, starts: int, seed: int, max_elements: int) -> Given:
    """The same data, each with its start at the best of some points: argmax log p(x_seen, z).

    The points are the prior's mean and ``starts`` draws of Normals with the prior's mean and scale,
    the same noise for every datum.

    Parameters
    ----------
    given
        Data whose fits are to begin.
    starts
        Draws for each datum; 0: all begin at the prior's mean.
    seed
        Of the draws.
    max_elements
        Numbers that the reconstructions in memory at once may hold.

    Raises
    ------
    UsageError
        If ``starts`` is negative.
    """
    if starts < 0:
        raise UsageError(f"starts must be at least 0; got {starts}")
    if starts == 0:
        return given
    best = {name: m.mean for name, m in given.prior.items()}
    height = _log_joint(given, {name: z.unsqueeze(0) for name, z in best.items()})[0]
    generator = torch.Generator().manual_seed(stream(seed, "starts"))
    noise = {  # the same for all data: none hangs on which others it came with
        name: torch.randn(starts, 1, *m.mean.shape[1:], generator=generator, dtype=m.mean.dtype).to(
            m.mean.device
        )
        for name, m in given.prior.items()
    }
    rows = torch.arange(len(given), device=given.x.device)
    at_once = chunk_size(given.pair, each=len(given), max_elements=max_elements)
    for i in range(0, starts, at_once):
        tried = {
            name: m.mean + m.scale * noise[name][i : i + at_once] for name, m in given.prior.items()
        }
        found, which = _log_joint(given, tried).max(0)
        better = found > height
        height = torch.where(better, found, height)
        for name, values in tried.items():
            shape = (-1, *[1] * (values.dim() - 2))
            best[name] = torch.where(better.reshape(shape), values[which, rows], best[name])
    start = {name: Moments(z, given.prior[name].scale) for name, z in best.items()}
    return replace(given, start=start)


def _log_joint(given: Given, latents: Mapping[str, Tensor]) -> Tensor:
    """log p(x_seen, z), (S, B); −∞ where z is impossible."""
    at = weigh(given.pair.model, given.x, latents, **given.conditions)
    return (at.log_prior + at.log_likelihood).nan_to_num(nan=-torch.inf, neginf=-torch.inf)
