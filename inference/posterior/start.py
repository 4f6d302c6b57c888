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
from inference.posterior.guides.per_datum import where_rows
from inference.posterior.identity import model_checksum
from inference.posterior.log_density import LogDensity
from inference.posterior.optimization import Optimization
from pyro_models import Pair
from pyro_models.observed import Observed
from pyro_models.seeds import stream

__all__ = ["with_initial_values", "with_prior"]


@torch.no_grad()
def with_prior(pair: Pair, data: Observed) -> LogDensity:
    """log p(x_seen, z) of real latents with the moments of the prior, where fits begin for now."""
    at_mean = _AtMean(pair)
    with poutine.block(), at_mean:
        pair.model(data.x, **data.conditions)
    prior = at_mean.noted
    return LogDensity(pair, data, prior=prior, start=prior, weights=model_checksum(pair))


class _AtMean(Messenger):
    """Puts continuous latents at the means of their priors; notes mean and scale."""

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.continuous = {n: s for n, s in pair.latent_sites.items() if not s.discrete}
        self.noted: dict[str, Moments] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self.continuous and not site_is_subsample(msg):
            if not self.continuous[msg["name"]].why_not_free:
                check_real(msg["name"], msg["fn"])
            msg["value"] = msg["fn"].mean
            self.noted[msg["name"]] = Moments(msg["fn"].mean.clone(), msg["fn"].stddev.clone())


@torch.no_grad()
def with_initial_values(target: LogDensity, settings: Optimization) -> LogDensity:
    """The same data, each with its start at the best of some points: argmax log p(x_seen, z).

    The points are the prior's mean and ``settings.starts`` draws of Normals with the prior's mean
    and scale, the same noise for every datum.
    """
    starts = settings.starts
    if starts == 0:
        return target
    best = {name: m.mean for name, m in target.prior.items()}
    height = _log_joint(target, {name: z.unsqueeze(0) for name, z in best.items()})[0]
    generator = torch.Generator().manual_seed(stream(settings.seed, "starts"))
    noise = {}  # the same for all data: none hangs on which others it came with
    for name, m in target.prior.items():
        shape = (starts, 1, *m.mean.shape[1:])
        drawn = torch.randn(shape, generator=generator, dtype=m.mean.dtype)
        noise[name] = drawn.to(m.mean.device)
    rows = torch.arange(len(target), device=target.x.device)
    at_once = chunk_size(target.pair, each=len(target), max_elements=settings.max_elements)
    for i in range(0, starts, at_once):
        tried = {
            name: m.mean + m.scale * noise[name][i : i + at_once]
            for name, m in target.prior.items()
        }
        found, which = _log_joint(target, tried).max(0)
        better = found > height
        height = torch.where(better, found, height)
        best = {n: where_rows(better, z[which, rows], best[n]) for n, z in tried.items()}
    start = {name: Moments(z, target.prior[name].scale) for name, z in best.items()}
    return replace(target, start=start)


def _log_joint(target: LogDensity, latents: Mapping[str, Tensor]) -> Tensor:
    """log p(x_seen, z), (S, B); −∞ where z is impossible."""
    joint = weigh(target.pair.model, target.data, latents).log_joint
    return joint.nan_to_num(nan=-torch.inf, neginf=-torch.inf)
