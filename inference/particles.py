"""The one primitive: K samples from a guide, and what model and guide think of each, per datum.

Every bound, estimate and diagnostic of this package is a few lines over :class:`Particles`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import kl_divergence
from torch.func import functional_call

from inference.sites import (
    Site,
    check_same_sites,
    density_sites,
    enumeration,
    is_enumerated,
    joint_of,
    log_prob_of,
    may_be_enumerated,
    summed_out,
    traced,
)
from pyro_models import Pair, UsageError
from pyro_models.brief import Brief
from pyro_models.contract import fulfills
from pyro_models.counts import is_count
from pyro_models.data.masks import Mask
from pyro_models.data.observed import labels_for
from pyro_models.data.reading import read
from pyro_models.observed import Data, Labels, Observed, observed
from pyro_models.seeds import alone

__all__ = [
    "Particles",
    "checked_count",
    "draw",
    "effective_sample_size",
    "log_mean_exp",
    "particles",
    "relative_weights",
]


@dataclass(frozen=True, eq=False)
class Particles(Brief):
    r"""K samples z_k ~ q(z | x) for each of B data; log densities in nats, computed on first use.

    .. math:: w_k = \frac{p(z_k)\, p(x | z_k)}{q(z_k | x)}

    Attributes
    ----------
    shape
        (K, B).
    guide_sites, model_sites
        Pyro's sites by name, with distribution and value: what the guide sampled, and the model at
        those values.
    """

    shape: tuple[int, int]
    guide_sites: Mapping[str, Site]
    model_sites: Mapping[str, Site]
    _zero: Tensor = field(repr=False)
    _guide_again: Callable[[], Mapping[str, Site]] = field(repr=False)

    @property
    def latents(self) -> dict[str, Tensor]:
        """Sampled sites by name, (K, B, \\*event_shape)."""
        return {
            name: site["value"]
            for name, site in self.guide_sites.items()
            if not site["infer"].get("is_auxiliary")
        }

    @cached_property
    def log_prior(self) -> Tensor:
        """log p(z_k), (K, B), without what depends on an enumerated site."""
        terms = [log_prob_of(s) for s in self.model_sites.values() if not s["is_observed"]]
        return self._sum([term for term in terms if not is_enumerated(term)])

    @cached_property
    def log_likelihood(self) -> Tensor:
        """log p(x | z_k), (K, B).

        Enumerated sites are summed out: with a discrete k it is log Σ_k p(k) p(x | z, k), together
        with every other term that depends on k.
        """
        unseen = [s for s in self.model_sites.values() if may_be_enumerated(s)]
        sites = self.model_sites if unseen else self.observed
        terms = {name: log_prob_of(site) for name, site in sites.items()}
        total = [t for n, t in terms.items() if n in self.observed and not is_enumerated(t)]
        return self._sum(total + summed_out(list(terms.values())))

    @cached_property
    def log_q(self) -> Tensor:
        """log q(z_k | x), (K, B); 0 where the guide is empty."""
        return self._sum([log_prob_of(site) for site in self.guide_sites.values()])

    @cached_property
    def log_q_stopped(self) -> Tensor:
        """log q(z_k | x), (K, B), with the guide's parameters held fixed: only z has a gradient.

        The guide is run once more for it, so it must be a function of its input: no dropout.
        """
        return self._sum([log_prob_of(site) for site in self._guide_again().values()])

    @cached_property
    def kl(self) -> Tensor:
        """KL(q(z | x) ‖ p(z)), (K, B), in closed form, each site's given the sites above it.

        Estimated as log q(z_k) − log p(z_k) where a site has no closed form, or where the guide
        samples in another order than the model: a conditional KL is then no term of the joint one.
        """
        latent = [name for name in self.model_sites if name not in self.observed]
        if latent != list(self.guide_sites):
            return self.log_q - self.log_prior
        return self._sum([self._kl_of(name) for name in latent])

    @property
    def observed(self) -> dict[str, Site]:
        """The observed sites of the model."""
        return {name: site for name, site in self.model_sites.items() if site["is_observed"]}

    @property
    def log_joint(self) -> Tensor:
        """log p(x, z_k), (K, B)."""
        return self.log_prior + self.log_likelihood

    @property
    def log_weight(self) -> Tensor:
        """log w_k = log p(x, z_k) − log q(z_k | x), (K, B)."""
        return self.log_joint - self.log_q

    @property
    def enumerated(self) -> bool:
        """Whether the guide's sites hold every value of a discrete one, left of (K, B)."""
        return any(site["infer"].get("_enumerate_dim") for site in self.guide_sites.values())

    def elbo(self) -> Tensor:
        """Average of log w_k: an unbiased estimate of the ELBO, (B,)."""
        return self.log_weight.mean(0)

    def importance_bound(self) -> Tensor:
        """L_K = log (1/K) Σ_k w_k, (B,): below log p(x) on average (Burda et al. 2016)."""
        return log_mean_exp(self.log_weight)

    def effective_sample_size(self) -> Tensor:
        """(Σ w)² / Σ w², (B,), between 1 and K."""
        return effective_sample_size(self.log_weight)

    def _kl_of(self, name: str) -> Tensor:
        q, p = self.guide_sites[name], self.model_sites[name]
        try:
            kl = kl_divergence(q["fn"], p["fn"])
        except NotImplementedError:
            return log_prob_of(q) - log_prob_of(p)
        return scale_and_mask(kl, 1.0, q["mask"])

    def _sum(self, terms: list[Tensor]) -> Tensor:
        """Sum of log densities, broadcast to (K, B)."""
        return joint_of(terms, self._zero, self.shape)


def checked_count(num_particles: Any) -> int:
    """K, which must be a whole number of at least 1."""
    if is_count(num_particles):
        return int(num_particles)
    raise UsageError(f"num_particles (K) must be a whole number ≥ 1; got {num_particles!r}")


def log_mean_exp(values: Tensor) -> Tensor:
    """log (1/K) Σ_k exp v_k over the first dimension; −∞ where all of them are −∞."""
    return values.logsumexp(0) - math.log(len(values))


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """(Σ w)² / Σ w² of log-weights (K, B): (B,), between 1 and K; 0 where every weight is 0."""
    relative = relative_weights(log_weights)
    squares = relative.square().sum(0)
    nothing = (log_weights == -math.inf).all(0)
    size = relative.sum(0).square() / squares.masked_fill(nothing, 1.0)
    return size.clamp_max(len(log_weights))  # that of equal weights, too, where sums are rounded


def relative_weights(log_weights: Tensor) -> Tensor:
    """w / max w of log-weights (K, B), (K, B); 0 where every weight is 0."""
    largest = log_weights.amax(0)
    return (log_weights - largest.masked_fill(largest == -math.inf, 0.0)).exp()


def particles(
    pair_or_model: Pair | Callable[..., Any],
    guide: Callable[..., Any] | None,
    x: Data,
    *,
    num_particles: int,
    mask: Mask | None = None,
    y: Labels | None = None,
    fraction: float = 0.5,
    seed: int = 0,
    reparameterised: bool = True,
) -> Particles:
    """Draw K particles per datum from a guide and weigh them, in one vectorised pass.

    Discrete sites marked ``infer={"enumerate": "parallel"}`` that the guide does not sample are
    summed out before anything is averaged over K. Scales (minibatch, β) are left out: they belong
    outside the average over particles. Gradients flow to model and guide.

    Parameters
    ----------
    pair_or_model
        A pair, or any Pyro model called as ``model(x, y=y, mask=mask)`` with its sites inside one
        plate ``"data"`` at dim −1.
    guide
        Called like the model; ``None`` for the pair's own.
    x
        Prepared data, (B, \\*data_shape), of any kind that :func:`pyro_models.observed.observed`
        takes.
    num_particles
        K.
    mask, y, fraction, seed
        What is seen of x, and labels, as :func:`pyro_models.observed.observed` takes them; a bare
        model gets tensors as they are.
    reparameterised
        False: the samples are constants, and no gradient reaches the guide through them.

    Raises
    ------
    UsageError
        If K < 1, data, mask or labels are not what the pair can have, or a site lies outside the
        data plate: no per-datum weight exists then.

    Examples
    --------
    >>> import torch
    >>> from pyro_models import PPCA
    >>> x = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    >>> ppca = PPCA.maximum_likelihood(x, latent_dim=2)
    >>> drawn = particles(ppca, None, x, num_particles=3)
    >>> bool((drawn.importance_bound() - ppca.exact_log_prob(x)).abs().max() < 1e-3)
    True
    """
    model: Callable[..., Any]
    if fulfills(pair_or_model, Pair):
        model, guide = pair_or_model.model, guide or pair_or_model.guide
        data = observed(
            pair_or_model,
            x,
            mask=mask,
            y=y,
            fraction=fraction,
            seed=seed,
            may_be_blind=True,
            differentiable=True,
        )
    elif guide is None:
        raise UsageError("give a guide: a bare model has none of its own")
    else:  # of which nobody knows what it may be asked
        model, given = pair_or_model, read(x)
        mask = given.mask if mask is None else mask
        if mask is not None and not isinstance(mask, Tensor):
            raise UsageError("the mask of a bare model is a tensor: see seen_pixels")
        y = labels_for(given.y if y is None else y, len(given), given.x.device)
        data = Observed.unchecked(given.x, y, mask)
    return draw(model, guide, data, num_particles=num_particles, reparameterised=reparameterised)


@alone()
def draw(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    data: Observed,
    *,
    num_particles: int,
    reparameterised: bool = True,
    enumerate_guide: bool = False,
) -> Particles:
    """:func:`particles` of a model and a guide, called with data as they are.

    With ``enumerate_guide``, sites that the guide marks as enumerated are not sampled: they have
    every value, in dimensions left of (K, B).
    """
    num_particles = checked_count(num_particles)
    every = enumeration() if enumerate_guide else None
    with nullcontext() if reparameterised else _Constant():
        drawn = traced(guide, data, num_particles, enum=every)
    guide_sites = density_sites(drawn)
    for site in guide_sites.values():  # a tensor of its own: its gradient is not the guide's inside
        site["value"] = site["value"].view_as(site["value"])
    replayed = poutine.replay(model, trace=drawn)
    every = poutine.enum() if enumerate_guide else enumeration()
    weighed = traced(replayed, data, num_particles, enum=every)
    check_same_sites(drawn, weighed)

    def guide_again() -> dict[str, Site]:
        again = poutine.replay(_with_fixed_parameters(guide), trace=drawn)
        return density_sites(traced(again, data, num_particles))

    shape = (num_particles, len(data))
    return Particles(shape, guide_sites, density_sites(weighed), data.x.new_zeros(()), guide_again)


class _Constant(Messenger):
    """Makes each sampled value a constant, for whatever comes after it too."""

    def _pyro_post_sample(self, msg: Any) -> None:
        msg["value"] = msg["value"].detach()


def _with_fixed_parameters(guide: Callable[..., Any]) -> Callable[..., Any]:
    """The guide as a function of its input alone."""
    if not isinstance(guide, nn.Module):
        raise UsageError(
            "this objective holds the parameters of the guide fixed, so the guide must be a module"
        )
    fixed = {name: p.detach() for name, p in guide.named_parameters()}
    return lambda *args, **kwargs: functional_call(guide, fixed, args, kwargs)
