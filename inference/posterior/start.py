"""Where a fit begins: a decoder may have modes that gradients from the prior's mean never find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from inference.chunks import chunk_size
from inference.densities import weigh
from inference.posterior.continuous import Moments, check_real
from inference.posterior.identity import model_checksum
from inference.posterior.log_density import LogDensity
from pyro_models import Pair, UsageError
from pyro_models.counts import is_count
from pyro_models.observed import Observed
from pyro_models.seeds import stream

__all__ = ["with_initial_values", "with_prior"]


@torch.no_grad()
def with_prior(pair: Pair, data: Observed) -> LogDensity:
    """log p(x_seen, z) with the moments of the prior, at whose means fits begin for now.

    Raises
    ------
    UsageError
        If a latent is not free to take any real value.
    """
    at_mean = _AtMean(pair)
    with poutine.block(), at_mean:
        pair.model(data.x, **data.conditions)
    prior = at_mean.noted
    return LogDensity(pair, data, prior=prior, start=prior, weights=model_checksum(pair))


class _AtMean(Messenger):
    """Puts continuous latents at the means of their priors; notes mean and scale."""

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.continuous = {n for n, site in pair.latent_sites.items() if not site.discrete}
        self.noted: dict[str, Moments] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self.continuous and not site_is_subsample(msg):
            check_real(msg["name"], msg["fn"])
            msg["value"] = msg["fn"].mean
            self.noted[msg["name"]] = Moments(msg["fn"].mean.clone(), msg["fn"].stddev.clone())


@torch.no_grad()
def with_initial_values(
    target: LogDensity, *, starts: int, seed: int, max_elements: int
) -> LogDensity:
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
        Random seed of the draws.
    max_elements
        Numbers that the reconstructions in memory at once may hold.

    Raises
    ------
    UsageError
        If ``starts`` is negative.
    """
    if not is_count(starts, least=0):
        raise UsageError(f"starts must be at least 0; got {starts}")
    if starts == 0:
        return target
    best = {name: m.mean for name, m in target.prior.items()}
    height = _log_joint(target, {name: z.unsqueeze(0) for name, z in best.items()})[0]
    generator = torch.Generator().manual_seed(stream(seed, "starts"))
    noise = {  # the same for all data: none hangs on which others it came with
        name: torch.randn(starts, 1, *m.mean.shape[1:], generator=generator, dtype=m.mean.dtype).to(
            m.mean.device
        )
        for name, m in target.prior.items()
    }
    rows = torch.arange(len(target), device=target.x.device)
    at_once = chunk_size(target.pair, each=len(target), max_elements=max_elements)
    for i in range(0, starts, at_once):
        tried = {
            name: m.mean + m.scale * noise[name][i : i + at_once]
            for name, m in target.prior.items()
        }
        found, which = _log_joint(target, tried).max(0)
        better = found > height
        height = torch.where(better, found, height)
        for name, values in tried.items():
            shape = (-1, *[1] * (values.dim() - 2))
            best[name] = torch.where(better.reshape(shape), values[which, rows], best[name])
    start = {name: Moments(z, target.prior[name].scale) for name, z in best.items()}
    return replace(target, start=start)


def _log_joint(target: LogDensity, latents: Mapping[str, Tensor]) -> Tensor:
    """log p(x_seen, z), (S, B); −∞ where z is impossible."""
    at = weigh(target.pair.model, target.data, latents)
    return (at.log_prior + at.log_likelihood).nan_to_num(nan=-torch.inf, neginf=-torch.inf)
