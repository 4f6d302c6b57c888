"""How much of its latents a guide uses: active dimensions, and the KL to the prior."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inference.particles import draw
from pyro_models import Pair
from pyro_models.observed import Observed

__all__ = ["ACTIVE", "LatentUse", "latent_use"]

ACTIVE = 0.01
"""A latent dimension is active if its posterior means vary over data by more than this."""


@dataclass(frozen=True)
class LatentUse:
    """What q(z | x) says of z.

    Attributes
    ----------
    active, dimensions
        Number of latent dimensions d with Var_x E_q[z_d | x] > 0.01 (Burda et al. 2016), of how
        many.
    kl
        Mean over data of KL(q(z | x) ‖ p(z)), nats per datum.
    """

    active: int
    dimensions: int
    kl: float


@torch.no_grad()
def latent_use(pair: Pair, data: Observed, *, num_particles: int = 4) -> LatentUse | None:
    """How much a pair's guide uses its continuous latents on some data.

    Parameters
    ----------
    pair
        In evaluation mode, under generators that may move.
    data
        Some data, (B, \\*data_shape), more than one.
    num_particles
        Draws of each datum: of latents above one another means are means over them.

    Returns
    -------
    LatentUse or None
        ``None`` where the guide learns nothing, where z is a function of x, and where the means of
        q(z | x) are not known.

    Examples
    --------
    >>> from pyro_models import VAE
    >>> vae = VAE((1, 8, 8), latent_dim=3, hidden=[8], likelihood="bernoulli")
    >>> latent_use(vae, Observed(torch.rand(9, 1, 8, 8).round())).dimensions
    3
    """
    free = {n for n, s in pair.latent_sites.items() if not (s.discrete or s.why_not_free)}
    if not free or not any(p.requires_grad for p in pair.guide.parameters()):
        return None
    drawn = draw(pair.model, pair.guide, data, num_particles=num_particles)
    if not free <= {*drawn.guide_sites}:
        return None
    active = dimensions = 0
    for name in sorted(free):
        mean = _mean_of(drawn.guide_sites[name]["fn"])
        if mean is None or mean.shape[:2] != drawn.shape:
            return None
        mean = mean.double().flatten(2)
        # what the latents above move the mean of those below is no use of x
        noise = mean.var(0).mean(0) / num_particles if num_particles > 1 else 0.0
        active += int((mean.mean(0).var(0, unbiased=False) - noise > ACTIVE).sum())
        dimensions += mean.shape[-1]
    return LatentUse(active, dimensions, float(drawn.kl.double().mean()))


def _mean_of(q: torch.distributions.Distribution) -> Tensor | None:
    try:
        return q.mean
    except NotImplementedError:
        return None
