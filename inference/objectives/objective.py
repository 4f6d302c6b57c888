"""What is maximised: a bound over particles or a Pyro ELBO, by name, always as nats per datum."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.infer.elbo import ELBO
from pyro.poutine.messenger import Messenger
from torch import Tensor

from inference.chunks import chunk_size
from inference.isolated import evaluating
from inference.objectives.any_guide import AnyGuideELBO, WithBaselines, WithDice
from inference.objectives.bound import Bound
from inference.objectives.elbo import MeanFieldELBO, PairELBO
from inference.objectives.named import Options, chosen, instance_of, name_of, refuse_options
from inference.particles import Particles, checked_count, draw
from inference.sites import check_same_sites
from pyro_models import Pair, UsageError
from pyro_models.contract import check_pair, fulfills, has_encoder, is_of_library
from pyro_models.observed import Observed
from pyro_models.pair import Diffuses

__all__ = ["Objective", "OfParticles", "OfPyro", "check_objective", "make_objective"]

Seen = Tensor | None
Parts = Callable[..., Iterable[tuple[Tensor, dict[str, Seen]]]]
_BLOCKS = 20
_OVER_PARTICLES: dict[type, type[Bound]] = {
    Trace_ELBO: AnyGuideELBO,
    TraceEnum_ELBO: WithDice,
    TraceGraph_ELBO: WithBaselines,
    TraceMeanField_ELBO: MeanFieldELBO,
}
"""Pyro's ELBOs, and the bounds over particles that are the same estimates."""


def make_objective(pair: Pair, objective: Any = "elbo", options: Options = None) -> Objective:
    """What is to be maximised for a pair.

    Parameters
    ----------
    pair
        The pair it is about.
    objective
        A name of :data:`inference.objectives.OBJECTIVES`; an instance or class of what it stands
        for; any Pyro ELBO; or an object of one's own that is called with
        :class:`inference.particles.Particles` and returns (B,) nats per datum: a function, a
        :class:`Bound`, or an instance of any other class.
    options
        Options of an objective that is a name, class or function: ``num_particles`` (K), ``beta``,
        ``alpha`` …

    Raises
    ------
    UsageError
        If the name or an option is unknown, or the objective is not defined for the pair.

    Examples
    --------
    >>> from inference.objectives import IWAE
    >>> from pyro_models import VAE
    >>> vae = VAE((1, 8, 8), hidden=[8])
    >>> make_objective(vae, IWAE(num_particles=3)).name
    'iwae, K = 3'
    >>> make_objective(vae, lambda p: p.log_weight.amax(0), {"num_particles": 3}).num_particles
    3
    """
    check_pair(pair)
    made, name = instance_of(objective, options), name_of(objective)
    if hasattr(made, "of_pair"):
        of_pair: Objective = made.of_pair(pair, name=name)
        return of_pair
    if isinstance(made, PairELBO):
        return _of_pair(pair, pair.elbo(), made.options, name)
    if hasattr(made, "differentiable_loss") or hasattr(made, "loss_and_grads"):
        return OfPyro(pair, made, name=name)
    return OfParticles(pair, made, name=name)


def _of_pair(pair: Pair, elbo: ELBO, options: Options, name: str) -> Objective:
    """The ELBO that a pair says is its own, over particles where it is one of those known here."""
    if fulfills(pair, Diffuses):
        by_step: Objective = instance_of("one_step", options).of_pair(
            pair, name=f"{name} (one_step)"
        )
        return by_step
    if type(elbo) is TraceMeanField_ELBO:
        return OfParticles(pair, instance_of("mean_field", options), name=f"{name} (mean_field)")
    refuse_options(elbo, options or {})
    of_pyro = OfPyro(pair, elbo, name=f"{name} ({type(elbo).__name__})")
    same = of_pyro.over_particles() if is_of_library(pair) else None
    return of_pyro if same is None else same


def check_objective(pair: Pair, objective: Any, options: Options = None) -> None:
    """Refuse an objective that is wrong for the pair.

    A Pyro ELBO that does not enumerate samples, from the prior, a discrete site that the guide
    leaves out: components of a mixture then collapse into one, silently. So does, of a pair whose
    guide is its prior, a bound that averages over draws of it.
    """
    made, own = make_objective(pair, objective, options), pair.elbo()
    if not has_encoder(pair) and _averages(made):
        raise UsageError(
            f"{type(pair).__name__} has no encoder, and {made.name} over draws of the prior makes "
            "the mean of the data of all its samples: use the objective adversarial, or iwae with "
            "many particles"
        )
    if not isinstance(made, OfPyro) or isinstance(made.elbo, TraceEnum_ELBO):
        return
    if isinstance(own, TraceEnum_ELBO) and not isinstance(own, type(made.elbo)):
        raise UsageError(
            f"{type(pair).__name__} leaves discrete sites to enumeration, and "
            f"{type(made.elbo).__name__} does not enumerate: use the objective elbo or trace_enum"
        )


def _averages(made: Objective) -> bool:
    """Whether every draw of the guide counts alike: E_q[log p(x | z)] is then all that matters."""
    if isinstance(made, OfPyro):
        return type(made.elbo) in _OVER_PARTICLES or made.elbo.num_particles == 1
    if not isinstance(made, OfParticles) or not isinstance(made.bound, Bound):
        return False  # a game, or a function of one's own
    return not made.bound.weighs or made.num_particles == 1


class Objective:
    """Something to maximise, averaged over data.

    Attributes
    ----------
    name
        Its name in the record of the training.
    remark
        What must be said beside its value, where it is no lower bound on log p(x) or has no p(x).
    tempers
        Whether a weight β of the latent terms is defined.
    beta
        That weight, where it is an option of the objective.
    unit
        What its value is in.
    ranks
        Whether a higher value is a better model: then it has curves, and may stop a training.
    why_not_recorded
        Why its steps can only be run; empty if nothing but its kind decides that.
    """

    name: str
    remark: str
    tempers: bool = True
    beta: float = 1.0
    unit: str = "nats per datum"
    ranks: bool = True
    why_not_recorded: str = ""

    def __init__(self, pair: Pair, *, remark: str = "") -> None:
        self.pair = pair
        self.remark = "; ".join(r for r in (remark, pair.likelihood.no_probability) if r)

    def backward(self, x: Tensor, *, y: Seen = None, mask: Seen = None, beta: float = 1.0) -> float:
        """Add the gradient of the negative objective per datum to the parameters; return it.

        Parameters
        ----------
        x, y, mask
            A prepared batch (B, \\*data_shape), its labels (B,), and which of its pixels are seen.
        beta
            Weight of the latent terms (KL annealing), positive.
        """
        raise NotImplementedError

    def over_particles(self) -> OfParticles | None:
        """The same estimate as a bound over particles, which can be recorded; if there is one."""
        return None

    def state(self) -> dict[str, Any]:
        """What an objective that learns something itself needs to go on; most need nothing."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""

    def measures(self) -> dict[str, float]:
        """What it has measured of the steps since this was last asked, by name."""
        return {}

    def nonfinite(self) -> str:
        """What it learns itself that is not finite, in words; empty if there is none."""
        return ""

    @torch.no_grad()
    def check(self, x: Tensor, *, y: Seen = None, mask: Seen = None) -> None:
        """Refuse what only the sites of model and guide show that the pair cannot have.

        The pair is in evaluation mode: its running averages do not move.
        """
        with evaluating(self.pair):
            self._check(Observed.unchecked(x, y, mask))

    @torch.no_grad()
    def values(
        self, x: Tensor, *, y: Seen = None, mask: Seen = None, batch_size: int = 1000
    ) -> Tensor:
        """The objective at β = 1, nats per datum, of every datum or of blocks of equal weight.

        Their mean is the mean over x, and their spread its noise. It draws from the global
        generator; wrap it where that must not move.
        """
        return self._values(Observed.unchecked(x, y, mask), batch_size)

    @torch.no_grad()
    def value(
        self, x: Tensor, *, y: Seen = None, mask: Seen = None, batch_size: int = 1000
    ) -> float:
        """The objective at β = 1, nats per datum, averaged over all of x; no gradient."""
        return self._value(Observed.unchecked(x, y, mask), batch_size)

    def _check(self, data: Observed) -> None:
        """Nothing, unless a kind of objective has something to refuse."""

    def _values(self, data: Observed, batch_size: int) -> Tensor:
        raise NotImplementedError

    def _value(self, data: Observed, batch_size: int) -> float:
        return float(self._values(data, batch_size).mean())


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


class OfPyro(Objective):
    """A Pyro ELBO."""

    def __init__(self, pair: Pair, elbo: ELBO, *, name: str) -> None:
        super().__init__(pair)
        self.elbo, self.name = elbo, name

    def over_particles(self) -> OfParticles | None:
        """The same for models without scales, whose sites all lie in the plate over data."""
        elbo, parts = self.elbo, getattr(self.elbo, "parts", None)
        kind = WithDice if parts else _OVER_PARTICLES.get(type(elbo))
        if kind is None or (elbo.num_particles > 1 and not elbo.vectorize_particles):
            return None
        bound = kind(num_particles=elbo.num_particles)
        return OfParticles(self.pair, bound, name=self.name, parts=parts)

    def backward(self, x: Tensor, *, y: Seen = None, mask: Seen = None, beta: float = 1.0) -> float:
        """The gradient of the ELBO, divided by the number of data."""
        of, conditions = [self.pair.model, self.pair.guide], {"y": y, "mask": mask}
        if beta != 1:
            of = [_Tempered(beta)(program) for program in of]
        if hasattr(self.elbo, "differentiable_loss"):
            loss = self.elbo.differentiable_loss(*of, x, **conditions) / len(x)
            value = float(loss.detach())
            loss.backward()
            return -value
        earlier = [(p, p.grad) for p in self.pair.parameters()]
        for parameter, _ in earlier:
            parameter.grad = None
        # some differentiate only where they see parameters, which pairs show to such a trace
        with pyro.get_param_store().scope(), poutine.trace(param_only=True):
            total = self.elbo.loss_and_grads(*of, x, **conditions)
        for parameter, grad in earlier:
            if parameter.grad is not None:
                parameter.grad.div_(len(x))
            if grad is not None:
                parameter.grad = grad if parameter.grad is None else grad.add_(parameter.grad)
        return -float(total) / len(x)

    def _check(self, data: Observed) -> None:
        """Sites of both are the same; a KL of each is a term only in the order of the model."""
        guide = poutine.trace(self.pair.guide).get_trace(data.x, **data.conditions)
        told = poutine.replay(self.pair.model, trace=guide)
        check_same_sites(guide, poutine.trace(told).get_trace(data.x, **data.conditions))
        if not isinstance(self.elbo, TraceMeanField_ELBO):
            return
        drawn = draw(self.pair.model, self.pair.guide, data, num_particles=1)
        latent = [name for name in drawn.model_sites if name not in drawn.observed]
        if latent != list(drawn.guide_sites):
            raise UsageError(
                f"the guide samples {', '.join(drawn.guide_sites)} and the model "
                f"{', '.join(latent)}, in another order, so {type(self.elbo).__name__} is no bound "
                "for them: use the objective elbo or mean_field"
            )

    def _values(self, data: Observed, batch_size: int) -> Tensor:
        """Of at least 20 blocks: a Pyro ELBO is a sum over data."""
        blocks = self._block_sums(data, max(_BLOCKS, math.ceil(len(data) / batch_size)))
        return blocks * (len(blocks) / len(data))

    def _value(self, data: Observed, batch_size: int) -> float:
        """In batches as large as they may be."""
        return float(self._block_sums(data, math.ceil(len(data) / batch_size)).sum()) / len(data)

    def _block_sums(self, data: Observed, count: int) -> Tensor:
        rows = torch.arange(len(data), device=data.x.device).tensor_split(min(count, len(data)))
        parts = [data[int(r[0]) : int(r[-1]) + 1] for r in rows]
        pair = self.pair
        sums = [-float(self.elbo.loss(pair.model, pair.guide, p.x, **p.conditions)) for p in parts]
        return torch.tensor(sums, dtype=torch.float64)


class _Tempered(Messenger):
    """Scale every unobserved site by β, in model and guide alike: E_q[log p(x|z)] − β KL(q ‖ p)."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"]:
            msg["scale"] = msg["scale"] * self.beta
