"""A bound over particles as an objective of a pair: drawn, checked, and averaged over data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from inference.chunks import chunk_size
from inference.objectives.named import chosen
from inference.objectives.objective import Objective, Seen
from inference.particles import Particles, checked_count, draw
from pyro_models import Pair, UsageError
from pyro_models.observed import Observed

__all__ = ["OfParticles"]

Parts = Callable[..., Iterable[tuple[Tensor, dict[str, Seen]]]]


class OfParticles(Objective):
    """A bound over particles, for a pair.

    ``parts`` says how a batch falls into parts whose sites differ; it is one unless given.
    """

    def __init__(self, pair: Pair, bound: Any, *, name: str, parts: Parts | None = None) -> None:
        super().__init__(pair, remark=getattr(bound, "remark", ""))
        self.parts = parts or _one_part
        self.any_guide = bool(getattr(bound, "any_guide", False))
        self.bound: Callable[..., Tensor] = bound
        self.num_particles = checked_count(getattr(bound, "num_particles", 1))
        self.reparameterised = bool(getattr(bound, "reparameterised", True))
        self.beta = getattr(bound, "beta", 1.0)
        self.tempers = "beta" in inspect.signature(bound).parameters
        count = {"K": self.num_particles} if self.num_particles > 1 else {}
        shown = {**count, **chosen(bound), **({} if self.beta == 1 else {"beta": self.beta})}
        shown.pop("num_particles", None)
        self.name = ", ".join([name, *(f"{k} = {v}" for k, v in shown.items())])

    def backward(self, x: Tensor, *, y: Seen = None, mask: Seen = None, beta: float = 1.0) -> float:
        """The gradient of the mean over data of the bound."""
        mean = self.mean(x, y=y, mask=mask, beta=beta)
        (-mean).backward()
        return float(mean.detach())

    def mean(
        self, x: Tensor, *, y: Seen = None, mask: Seen = None, beta: float | Tensor = 1.0
    ) -> Tensor:
        """The bound, nats per datum, averaged over a batch; differentiable."""
        means = [
            self.mean_of_part(rows, **given, beta=beta, size=len(x))
            for rows, given in self.parts(x, y=y, mask=mask)
        ]
        return sum(means[1:], means[0])

    def mean_of_part(
        self,
        x: Tensor,
        *,
        y: Seen = None,
        mask: Seen = None,
        beta: float | Tensor = 1.0,
        size: int,
    ) -> Tensor:
        """What a part of a batch of ``size`` data adds to the mean over the batch."""
        weight = {}
        if self.tempers:
            # one product in the float type of the data, whether β comes as a number or a tensor
            weight = {"beta": beta * x.new_full((), self.beta) if self.beta != 1 else beta}
        each = self._each(Observed.unchecked(x, y, mask), **weight)
        return each.mean() if len(each) == size else each.sum() / size

    def _each(self, data: Observed, **weight: Any) -> Tensor:
        """The bound of every datum, (B,)."""
        drawn = self._draw(data)
        if self.reparameterised and not self.any_guide:
            _check_reparameterised(drawn, self.name)
        found = self.bound(drawn, **weight)
        if not isinstance(found, Tensor) or found.shape != drawn.shape[1:]:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UsageError(
                f"an objective over particles returns one number for each datum, {drawn.shape[1:]};"
                f" {self.name} returned {shape}"
            )
        return found

    def _check(self, data: Observed) -> None:
        """Whether the bound is defined, its gradient is, and no site has a scale of its own."""
        self.mean(data.x, y=data.y, mask=data.mask)
        drawn = self._draw(data)
        for name, site in (*drawn.model_sites.items(), *drawn.guide_sites.items()):
            if isinstance(site["scale"], Tensor) or site["scale"] != 1:
                raise UsageError(
                    f"site {name!r} has a scale of its own (poutine.scale), which {self.name} "
                    "leaves out, as all objectives over particles do: use beta_warmup or the "
                    "objective's beta for KL annealing, or one of Pyro's own, such as trace"
                )

    def over_particles(self) -> OfParticles:
        """This one."""
        return self

    def _values(self, data: Observed, batch_size: int) -> Tensor:
        """Of every datum."""
        most = chunk_size(self.pair, each=self.num_particles)
        chunk = max(1, min(batch_size // self.num_particles, most))
        parts = (
            part for some in data.chunks(chunk) for part in self.parts(some.x, **some.conditions)
        )
        observed = (Observed.unchecked(rows, **given) for rows, given in parts)
        return torch.cat([self._each(each).double() for each in observed])

    def _draw(self, data: Observed) -> Particles:
        return draw(
            self.pair.model,
            self.pair.guide,
            data,
            num_particles=self.num_particles,
            reparameterised=self.reparameterised,
            enumerate_guide=self.any_guide,
        )


def _one_part(x: Tensor, **given: Seen) -> list[tuple[Tensor, dict[str, Seen]]]:
    return [(x, given)]


def _check_reparameterised(drawn: Particles, name: str) -> None:
    for site, message in drawn.guide_sites.items():
        if not message["fn"].has_rsample:
            raise UsageError(
                f"the objective {name} needs gradients through samples, and the guide samples "
                f"{site!r}, which has none: use rws, trace_graph or elbo"
            )
