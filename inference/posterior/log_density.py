"""log p(x_seen, z) of a frozen pair, as a function of its continuous latents."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import pyro
import torch
from torch import Tensor

from inference.chunks import MAX_ELEMENTS, numbers_per_particle
from inference.densities import log_density, weigh
from inference.isolated import evaluating
from inference.mcmc.hmc import At
from inference.particles import Particles
from inference.posterior.continuous import (
    Moments,
    by_site,
    check_free,
    check_real,
    needs_continuous,
    side_by_side,
)
from inference.posterior.identity import identity_of
from inference.record import Recorded
from pyro_models import Pair, UsageError
from pyro_models.brief import Brief
from pyro_models.contract import fulfills
from pyro_models.data import Identity
from pyro_models.data.masks import Mask
from pyro_models.device import placed
from pyro_models.observed import Data, Labels, Observed, observed
from pyro_models.pair import Classifies, ConditionsOnPixels

__all__ = ["At", "LogDensity", "condition", "log_label_prior"]


@dataclass(frozen=True, eq=False)
class LogDensity(Brief):
    """A frozen pair and the data that its latents are asked of; make it with :func:`condition`.

    All continuous sites together are one vector z of D values, in the order of
    ``pair.latent_sites``; discrete sites are summed out. With labels of a pair that infers them,
    p is p(x, z | y).

    Attributes
    ----------
    pair
        The pair, in evaluation mode and frozen as long as the density is used.
    data
        What is conditioned on: data, labels, and which pixels are seen.
    guide
        A guide with a density to start from; ``None`` for the prior.
    prior
        For a guide that is made for the data, of every continuous site, in the order of the model:
        mean and scale of its prior, where the sites above it are at their means.
    start
        Where fits begin, and the prior's scales: see
        :func:`inference.posterior.start.with_initial_values`.
    weights
        A checksum of the model as it was then.
    max_elements
        Numbers that the chains of :meth:`at` may decode at once; the rest is done in turn.
    """

    pair: Pair
    data: Observed
    guide: Callable[..., Any] | None = None
    prior: Mapping[str, Moments] = field(default_factory=dict)
    start: Mapping[str, Moments] = field(default_factory=dict)
    weights: str | None = None
    max_elements: int = MAX_ELEMENTS
    _recordings: dict[tuple[Any, ...], int | Callable[..., tuple[Tensor, ...]]] = field(
        default_factory=dict, repr=False
    )

    def __len__(self) -> int:
        return len(self.data)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_recordings": {}}

    @property
    def x(self) -> Tensor:
        """The data, (B, \\*data_shape), 0 where unseen."""
        return self.data.x

    @property
    def y(self) -> Tensor | None:
        """Labels (B,), or ``None``."""
        return self.data.y

    @property
    def mask(self) -> Tensor | None:
        """True = seen, (B, \\*data_shape); ``None`` if everything is."""
        return self.data.mask

    @property
    def conditions(self) -> dict[str, Tensor | None]:
        """What model and guide are called with beside x."""
        return self.data.conditions

    @cached_property
    def identity(self) -> Identity:
        """What is conditioned, by content: data, what is seen, labels, the model's weights."""
        return identity_of(self.pair, self.data, weights=self.weights)

    @property
    def sites(self) -> dict[str, tuple[int, ...]]:
        """Event shapes of the continuous sites."""
        found = self.pair.latent_sites.items()
        return {name: site.event_shape for name, site in found if not site.discrete}

    @property
    def dim(self) -> int:
        """D, the number of continuous latents of one datum."""
        return sum(math.prod(shape) for shape in self.sites.values())

    @property
    def numbers_per_chain(self) -> int:
        """Numbers held for one chain of one datum, for the sizes of chunks."""
        return numbers_per_particle(self.pair) + self.dim

    def pack(self, latents: Mapping[str, Tensor]) -> Tensor:
        """Values by site, (\\*batch, B, \\*event_shape), as one vector, (\\*batch, B, D)."""
        return side_by_side(latents, self.sites)

    def unpack(self, z: Tensor) -> dict[str, Tensor]:
        """One vector, (\\*batch, B, D), as values by site."""
        return by_site(z, self.sites)

    def select(self, index: slice | Tensor) -> LogDensity:
        """That of some of the data; recordings are shared.

        A guide with parameters of each datum is asked for its part by ``guide.select(index)``.
        """
        selected = getattr(self.guide, "select", None)
        prior, start = ({n: m[index] for n, m in of.items()} for of in (self.prior, self.start))
        return replace(
            self,
            data=self.data[index],
            guide=self.guide if selected is None else selected(index),
            prior=prior,
            start=start,
            _recordings=self._recordings if selected is None else {},
        )

    def sample_prior(self, num_chains: int) -> Tensor:
        """z ~ p(z), (C, B, D), from the global generator."""
        return self._drawn(self.pair.model, num_chains)

    def sample_start(self, num_chains: int) -> Tensor:
        """z ~ q(z | x), or from the prior where there is no guide, (C, B, D)."""
        return self._drawn(self.guide or self.pair.model, num_chains)

    @torch.no_grad()
    def _drawn(self, source: Callable[..., Any], num_chains: int) -> Tensor:
        plate = pyro.plate("_particles", num_chains, dim=-2, device=self.x.device)
        model = source is self.pair.model
        # a prior p(z | x_C) is asked with x, any other by generating
        generate = model and not fulfills(self.pair, ConditionsOnPixels)
        given: dict[str, Any] = {"n": len(self.x)} if generate else {"mask": self.mask}
        with evaluating(self.pair), plate, pyro.poutine.trace() as handler:
            source(*(() if generate else (self.x,)), y=self.y, **given)
        sites = handler.trace.nodes
        shape = (num_chains, len(self.x))
        values = {
            name: sites[name]["value"].expand(*shape, *event) for name, event in self.sites.items()
        }
        return self.pack(values)

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z), (\\*batch, B), nats; differentiable."""
        return self._of(z, lambda at: self._weigh(at).log_prior)

    def log_likelihood(self, z: Tensor) -> Tensor:
        """log p(x_seen | z), (\\*batch, B), nats, discrete sites summed out; differentiable."""
        found = self._of(z, lambda at: self._weigh(at).log_likelihood)
        return found - log_label_prior(self.pair, self.x, self.y)

    def log_joint(self, z: Tensor) -> Tensor:
        """log p(x_seen, z), (\\*batch, B), nats; differentiable."""
        joint = self._of(z, lambda at: self._weigh(at).log_joint)
        return joint - log_label_prior(self.pair, self.x, self.y)

    def log_start(self, z: Tensor) -> Tensor:
        """log q(z | x) of the guide, or log p(z), (\\*batch, B), nats; differentiable."""
        guide = self.guide
        if guide is None:
            return self.log_prior(z)
        return self._of(z, lambda at: log_density(guide, self.data, at))

    def _weigh(self, latents: Mapping[str, Tensor]) -> Particles:
        return weigh(self.pair.model, self.data, latents)

    def _of(self, z: Tensor, wanted: Callable[[dict[str, Tensor]], Tensor]) -> Tensor:
        """What is wanted of values by site, (K, B, \\*event_shape), at z, (\\*batch, B, D)."""
        z = placed(z, self.x)
        latents = self.unpack(z.reshape(-1, *z.shape[-2:]))
        with evaluating(self.pair), pyro.validation_enabled(False):
            return wanted(latents).reshape(z.shape[:-1])

    def at(self, z: Tensor) -> At:
        """Values and gradients at z, (C, B, D), in one pass forward and one back.

        The third time that a shape is asked for, the operations are recorded, and run without Pyro
        from then on (see :mod:`inference.record`); a model or guide that cannot be recorded is run
        as it is. No parameter is given a gradient.
        """
        z = placed(z.detach(), self.x).contiguous()  # as it was where it was recorded
        most = max(1, self.max_elements // self.numbers_per_chain)
        if z.shape[0] * len(self) > most:
            return self._at_in_turn(z, most)
        key = (z.shape, z.dtype, z.device, self.mask is None or self.mask.shape, self.y is None)
        known = self._recordings.get(key, 0)
        if isinstance(known, int):
            known = known + 1 if known < 2 else self._record(z)
            self._recordings[key] = known
        run = self._evaluate if isinstance(known, int) else known
        with torch.no_grad():
            return At(*run(z, self.x, self.mask, self.y))

    def _at_in_turn(self, z: Tensor, most: int) -> At:
        """Some chains at a time of some data at a time."""
        chains = max(1, most // len(self))
        width = max(1, most // chains)
        columns = []
        for i in range(0, len(self), width):
            rows = slice(i, i + width)
            some = self if width >= len(self) else self.select(rows)
            parts = [vars(some.at(part)).values() for part in z[:, rows].split(chains)]
            columns.append([torch.cat(values) for values in zip(*parts, strict=True)])
        return At(*(torch.cat(values, 1) for values in zip(*columns, strict=True)))

    def _evaluate(
        self, z: Tensor, x: Tensor, mask: Tensor | None, y: Tensor | None
    ) -> tuple[Tensor, ...]:
        given = replace(self, data=Observed.unchecked(x, y, mask))
        with evaluating(self.pair), torch.enable_grad():
            leaf = z.detach().requires_grad_()
            with pyro.validation_enabled(False):
                drawn = given._weigh(given.unpack(leaf))
                prior, likelihood = drawn.log_prior, drawn.log_likelihood
                likelihood = likelihood - log_label_prior(given.pair, x, y)
                start = prior if given.guide is None else given.log_start(leaf)
            (d_prior,) = torch.autograd.grad(prior.sum(), leaf, retain_graph=True)
            (d_likelihood,) = torch.autograd.grad(likelihood.sum(), leaf, retain_graph=True)
            d_start = d_prior
            if given.guide is not None:
                (d_start,) = torch.autograd.grad(start.sum(), leaf)
        joint = prior + likelihood
        return start.detach(), joint.detach(), d_start, d_prior + d_likelihood

    def _record(self, z: Tensor) -> Callable[..., tuple[Tensor, ...]]:
        try:  # a recorder takes no bound method
            return Recorded(partial(self._evaluate), (z, self.x, self.mask, self.y))
        except UsageError:
            raise
        except Exception:  # whatever stops a recording: Pyro runs it every time
            return self._evaluate


def log_label_prior(pair: Pair, x: Tensor, y: Tensor | None) -> Tensor:
    """log p(y) of known labels of a pair that infers them, (B,); otherwise 0, a scalar.

    Taken from log p(x, y) it leaves log p(x | y).
    """
    if y is None or not fulfills(pair, Classifies):
        return x.new_zeros(())
    return pair.log_label_prior(y).to(x)


def condition(
    pair: Pair,
    x: Data,
    *,
    mask: Mask | None = None,
    y: Labels | None = None,
    guide: Callable[..., Any] | None = None,
    fraction: float = 0.5,
    seed: int = 0,
) -> LogDensity:
    """Condition a pair on data.

    Parameters
    ----------
    pair
        A pair with a continuous latent; nothing of it changes.
    x
        Prepared data, (B, \\*data_shape), of any kind that :func:`pyro_models.observed.observed`
        takes. What stands in an unseen pixel, NaN included, reaches nothing.
    mask, y, fraction, seed
        What is seen of x, and labels, as :func:`pyro_models.observed.observed` takes them.
    guide
        A guide with a density, to start from instead of the prior.

    Raises
    ------
    UsageError
        If the pair has no continuous latent or one that is not free to take any real value, the
        mask does not fit, or labels are missing.

    Examples
    --------
    >>> from pyro_models import PPCA
    >>> x = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    >>> target = condition(PPCA.maximum_likelihood(x, latent_dim=2), x[:3])
    >>> target.at(torch.zeros(4, 3, 2)).joint.shape
    torch.Size([4, 3])
    """
    needs_continuous(pair)
    check_free(pair)
    data = observed(pair, x, mask=mask, y=y, fraction=fraction, seed=seed)
    target = LogDensity(pair, data, guide)
    with evaluating(pair), torch.no_grad():  # with Pyro's checks, once
        z = target.x.new_zeros(1, len(target), target.dim)
        found = weigh(pair.model, data, target.unpack(z))
    for name in target.sites:
        check_real(name, found.model_sites[name]["fn"])
    return target
