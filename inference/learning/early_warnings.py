"""What may be going wrong in a training, said while it can still be stopped: one check each.

A check looks at a training after its epochs 1, 2, 4, 8, … and the last, and says in a line what it
found and what may help. It is raised once as a :class:`TrainingWarning`, and kept in the history.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor

from inference.isolated import isolated
from inference.latent_use import ACTIVE, LatentUse, latent_use
from inference.learning.history import Epoch
from inference.objectives import Objective
from inference.particles import draw
from inference.progress import above_bars
from pyro_models import ImageData, Pair
from pyro_models.errors import in_one_line
from pyro_models.observed import Observed
from pyro_models.registry import Registry

if TYPE_CHECKING:
    from inference.learning.training import Training

__all__ = [
    "CHECKS",
    "COLLAPSED",
    "DIVERGED",
    "EARLY",
    "FIRST",
    "FLOOR_SHARE",
    "NOT_LEFT",
    "EarlyWarnings",
    "Look",
    "TrainingWarning",
    "register_check",
]

EARLY = 300
"""Steps in which nobody expects latents to be used yet, or σ to have found its value."""
COLLAPSED = 0.1
"""Share of active latent dimensions below which a posterior has collapsed."""
NOT_LEFT = 0.05
"""Nats per datum of KL(q ‖ p) below which q is the prior."""
GROWING = 1.1
"""Factor by which KL(q ‖ p) grows between looks where latents are still being learned."""
FLOOR_SHARE = 0.1
"""Share of the σ at their floor that is worth a word."""
DIVERGED = 1.0
"""Nats per dimension by which the bound has fallen below its best where training diverges."""
FIRST = 10
"""Steps in which the bound may jump, and come back."""
_FEW = 256  # data that are looked at


class TrainingWarning(UserWarning):
    """A training goes on, but not well: the message says how, and what may help."""


@dataclass(frozen=True)
class Look:
    """What a check sees of a training after an epoch.

    Attributes
    ----------
    pair, data, objective
        What is trained, on what, and what is maximised.
    epochs, steps
        The epochs so far, at least one, and the number of steps.
    before
        The bound before the first step, nats per datum; ``None`` where it has none.
    some
        Some training data, (B, \\*data_shape), prepared.
    earlier
        Of earlier looks, KL(q ‖ p), nats per datum.
    seed
        Seed of what is drawn.
    """

    pair: Pair
    data: ImageData
    objective: Objective
    epochs: Sequence[Epoch]
    steps: int
    before: float | None
    some: Observed
    earlier: tuple[float, ...] = ()
    seed: int = 0

    @cached_property
    def use(self) -> LatentUse | None:
        """How much of the latents the guide uses; ``None`` where that is not to be known."""
        if not self.objective.ranks or len(self.some) < 2:
            return None
        try:
            with isolated(self.pair, seed=self.seed):
                return latent_use(self.pair, self.some)
        except Exception:  # whatever a pair of someone else raises where it only trains
            return None

    @cached_property
    def sigma(self) -> Tensor | None:
        """The σ of a Gaussian likelihood with a floor, at a draw of z; ``None`` for others."""
        if not hasattr(self.pair.likelihood, "share_at_floor"):
            return None
        try:
            with isolated(self.pair, seed=self.seed):
                drawn = draw(self.pair.model, self.pair.guide, self.some, num_particles=1)
        except Exception:  # as above
            return None
        of_x: Any = drawn.model_sites["x"]["fn"]
        while hasattr(of_x, "base_dist"):
            of_x = of_x.base_dist
        scale: Tensor | None = getattr(of_x, "scale", None)
        return scale

    @property
    def dimensions(self) -> int:
        """D, numbers in one datum."""
        return self.some.x[0].numel()

    @property
    def never_left(self) -> bool:
        """Whether q has been the prior at every look."""
        return self.use is not None and max(*self.earlier, self.use.kl, 0.0) < NOT_LEFT


Check = Callable[[Look], str]

CHECKS: Registry[Check] = Registry("check")
"""Checks by name: each takes a :class:`Look` and returns what is wrong, or an empty text."""


def register_check(name: str, check: Check | None = None) -> Any:
    """Let every training be checked by a function of one's own; also a decorator.

    Examples
    --------
    >>> @register_check("slow")
    ... def slow(look):
    ...     hours = look.epochs[-1].seconds / 3600
    ...     return f"an epoch takes {hours:.1f} hours" if hours > 1 else ""
    >>> del CHECKS["slow"]
    """
    return CHECKS.register(name, check)


@register_check("posterior_collapse")
def posterior_collapse(look: Look) -> str:
    """Fewer than a tenth of the latent dimensions are active after 300 steps, and no more is used.

    While KL(q ‖ p) grows, a wide layer of latents comes into use a few dimensions at a time.
    """
    if look.steps < EARLY or look.use is None or look.never_left:
        return ""
    if look.earlier and look.use.kl > GROWING * look.earlier[-1]:
        return ""
    active, dimensions = look.use.active, look.use.dimensions
    if active >= COLLAPSED * dimensions:
        return ""
    return (
        f"the posterior has collapsed: {active} of {dimensions} latent dimensions are active "
        f"(variance over data of E[z | x] above {ACTIVE}), and KL(q ‖ p) is {look.use.kl:.2f} "
        "nats per datum; try beta_warmup, a smaller decoder or fewer latents"
    )


@register_check("prior_never_left")
def prior_never_left(look: Look) -> str:
    """KL(q ‖ p) was below 0.05 nats per datum at every look, the last after 300 steps."""
    if look.steps < EARLY or not look.never_left:
        return ""
    assert look.use is not None
    return (
        f"q(z | x) has been the prior all along: KL(q ‖ p) is {look.use.kl:.3f} nats per datum, "
        f"and {look.use.active} of {look.use.dimensions} latent dimensions are active; try a "
        "higher lr, beta_warmup, a lower β or a smaller decoder"
    )


@register_check("bound_too_high")
def bound_too_high(look: Look) -> str:
    """The bound is above 0 for discrete data, or below 0 bits per dimension of dequantised ones."""
    bound, measure = _bound_of(look), look.pair.likelihood.measure or ""
    if bound is None or look.objective.remark or look.objective.beta < 1:
        return ""
    most, levels = 0.0, look.data.levels_of_noise
    if measure.startswith("Lebesgue"):
        if levels is None or not look.data.is_images:
            return ""
        most = look.dimensions * math.log(levels)
        why = f"the density of pixels dequantised from {levels} levels has at most 0 bits, "
        why += f"{most:.2f} nats"
    elif measure.startswith("counting"):
        why = "the log-probability of discrete data is at most 0"
    else:
        return ""
    if bound <= most + 1e-3 * max(1.0, abs(most)):
        return ""
    return (
        f"the bound, {bound:.2f} nats per datum, is above what the data allow: {why}; look for a "
        "likelihood that is not normalised, or data that were prepared in another way"
    )


@register_check("scale_at_floor")
def scale_at_floor(look: Look) -> str:
    """A tenth or more of the σ of a Gaussian likelihood stand at their floor after 300 steps."""
    sigma = look.sigma if look.steps >= EARLY and look.objective.ranks else None
    if sigma is None:
        return ""
    likelihood: Any = look.pair.likelihood
    share = likelihood.share_at_floor(sigma)
    if share < FLOOR_SHARE:
        return ""
    return (
        f"σ stands at its floor for {share:.0%} of the pixels: the density grows with the floor "
        "and says little of the model; dequantise the pixels, leave out constant ones, or choose "
        "the likelihood's floor"
    )


@register_check("diverged")
def diverged(look: Look) -> str:
    """The bound lies a nat per dimension below its best so far, before the first step included.

    Not in the first 10 steps, which may jump.
    """
    if look.steps < FIRST or not look.objective.ranks:
        return ""
    found = [bound for e in look.epochs if (bound := _steady(e)) is not None]
    now = _steady(look.epochs[-1])
    known = found if look.before is None else [look.before, *found]
    if now is None or max(known) - now <= DIVERGED * look.dimensions:
        return ""
    return (
        f"the training has diverged: the {_word(look)} is {now:.4g} {look.objective.unit}, and was "
        f"{max(known):.4g}; try a lower lr (find looks for one) or clip_norm"
    )


def _word(look: Look) -> str:
    return "objective" if look.objective.remark else "bound"


def _steady(epoch: Epoch) -> float | None:
    """The bound on training data at the end of an epoch, or over it, at β = 1."""
    return epoch.train if epoch.train is not None else (epoch.running if epoch.beta == 1 else None)


def _bound_of(look: Look) -> float | None:
    last = look.epochs[-1]
    return last.validation if last.validation is not None else _steady(last)


@dataclass
class EarlyWarnings:
    """The checks of one training: when they look, and what they have said.

    Attributes
    ----------
    before
        The bound before the first step.
    said
        What was said, by the name of the check.
    diverged
        What the last look says of it; empty if all is well.
    """

    before: float | None = None
    said: dict[str, str] = field(default_factory=dict)
    diverged: str = ""
    earlier: tuple[float, ...] = ()
    _some: Observed | None = field(default=None, repr=False)

    def begin(self, training: Training) -> None:
        """Take the bound before the first step."""
        if training.objective.ranks and self.before is None and training.settings.epochs:
            some = self._data(training)
            try:
                with isolated(training.pair, seed=training.settings.seed), training.step.autocast():
                    self.before = training.objective.value(some.x, y=some.y, mask=some.mask)
            except (ValueError, RuntimeError):  # of NaN: the first step says where it comes from
                self.before = None

    def look(self, training: Training, *, last: bool) -> None:
        """Let every check look, if it is time; warn of what was not said before."""
        count = len(training.epochs)
        if not count or not (last or count & (count - 1) == 0):
            return
        seen = Look(
            training.pair,
            training.data,
            training.objective,
            tuple(training.epochs),
            count * training.steps_per_epoch,
            self.before,
            self._data(training),
            self.earlier,
            training.settings.seed,
        )
        for name, check in CHECKS.items():
            with in_one_line(f"the check {name}"):
                found = check(seen)
            if name == "diverged":
                self.diverged = found
            if found and name not in self.said:
                self.said[name] = f"after {seen.steps:,} steps {found}"
                with above_bars():
                    warnings.warn(self.said[name], TrainingWarning, stacklevel=2)
        self.earlier = () if seen.use is None else (*self.earlier, seen.use.kl)

    def _data(self, training: Training) -> Observed:
        if self._some is None:
            self._some = next(training.epoch_data.chunks("train", limit=_FEW))
        return self._some

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        names = ("before", "said", "diverged", "earlier")
        return {name: getattr(self, name) for name in names}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""
        for name, value in state.items():
            setattr(self, name, value)
