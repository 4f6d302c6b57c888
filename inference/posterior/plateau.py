"""When one image's guide is fitted: a stopping rule for bounds that are seen through noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from inference.declared import at_least, check_declared, declared, described
from pyro_models import UsageError
from pyro_models.moved import renamed_arguments, renamed_attribute

__all__ = ["Plateau", "PlateauWatch"]


def _finite(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise UsageError(f"{name} cannot be negative; got {value}")


def _factor(_: str, value: float) -> None:
    if not 0 < value <= 1:
        raise UsageError(f"decay is a factor in (0, 1]; got {value}")


@renamed_arguments(tolerance="min_improvement", noise="noise_multiple")
@described
@dataclass(frozen=True)
class Plateau:
    """Slow down where the bound no longer rises, and stop where it has been slow enough.

    A one-sample estimate of an image's bound jumps by several nats from step to step, so only means
    of it over windows of steps are compared. With m_w the mean over window w, s_w its standard
    error (that of its steps, over √window), and r the last window that was an improvement,

    m_w > m_r + min_improvement + noise_multiple · √(s_w² + s_r²)

    makes w the new r. After ``patience`` windows without one, the image's learning rate is
    multiplied by ``decay``; when that has happened ``decays`` times, the image has converged,
    unless its bound would still rise by more than min_improvement if it went on in the direction
    that it came from (:func:`inference.posterior.paired.rising`): the rate was too slow then, and
    it goes on from there at one faster by 1 / decay²; or unless its averages are better than
    where it is by more than half a nat: it jumps about an optimum narrower than its steps then, and
    goes on from the averages at a slower rate. The parameters of an image that has converged are
    the averages over its last window (Polyak & Juditsky 1992). After a window whose mean is more
    than three standard errors and min_improvement below the best, an image goes back to its
    averages over the last window that was not. Every image is watched on its own.

    Raises
    ------
    UsageError
        If a setting is out of range.
    """

    window: int = declared(50, "Steps whose bounds are averaged.", at_least(2))
    min_improvement: float = declared(0.02, "Nats.", _finite)
    noise_multiple: float = declared(
        1.0, "Standard errors of the difference; 0 leaves the noise alone.", _finite
    )
    patience: int = declared(2, "Windows.", at_least(1))
    decay: float = declared(0.3, "Factor of the learning rate.", _factor)
    decays: int = declared(
        2,
        """How many slower rates there are; as many more as lead down to the usual rate of the
        guide's family where a faster one was asked for.""",
        at_least(0),
    )
    tolerance = renamed_attribute("min_improvement")
    noise = renamed_attribute("noise_multiple")

    def __post_init__(self) -> None:
        check_declared(self)

    def watch(self, size: int, like: Tensor) -> PlateauWatch:
        """Watch ``size`` images whose bounds are like a tensor in float type and device."""
        return PlateauWatch(self, size, like)


class PlateauWatch:
    """The rule at work; ``factor`` is that of the learning rate of each image, (B,)."""

    def __init__(self, rule: Plateau, size: int, like: Tensor) -> None:
        self.rule = rule
        zeros = torch.zeros(size, dtype=torch.float64, device=like.device)
        self.factor = torch.ones(size, dtype=like.dtype, device=like.device)
        self.fastest = self.factor.clone()
        self.decays = zeros.long()
        self.stalled = zeros.long()
        self.best = zeros - math.inf
        self.best_error = zeros.clone()

    def is_worse(self, mean: Tensor, error: Tensor) -> Tensor:
        """Where a window is below the best by more than three standard errors, (B,)."""
        noise = (error.square() + self.best_error.square()).sqrt()
        return mean < self.best - self.rule.min_improvement - 3 * noise

    def look(self, mean: Tensor, error: Tensor) -> Tensor:
        """Take in a window's means and their standard errors, (B,); True where an image is done."""
        noise = self.rule.noise_multiple * (error.square() + self.best_error.square()).sqrt()
        better = mean > self.best + self.rule.min_improvement + noise
        self.best = torch.where(better, mean, self.best)
        self.best_error = torch.where(better, error, self.best_error)
        self.stalled = torch.where(better, 0, self.stalled + 1)
        slower = self.stalled >= self.rule.patience
        done = slower & (self.decays >= self.rule.decays)
        self.decays += slower
        self.stalled = torch.where(slower, 0, self.stalled)
        self.factor = torch.where(slower, self.factor * self.rule.decay, self.factor)
        return done

    def go_on(self, rows: Tensor) -> None:
        """Images, (B,) booleans, that seemed to be done: from the start, at a faster rate."""
        self.fastest = torch.where(rows, self.fastest / self.rule.decay**2, self.fastest)
        self.factor = torch.where(rows, self.fastest, self.factor)
        self.decays = torch.where(rows, 0, self.decays)
        self.stalled = torch.where(rows, 0, self.stalled)

    def keep(self, rows: Tensor) -> None:
        """Watch only these rows from now on."""
        for name in ("factor", "fastest", "decays", "stalled", "best", "best_error"):
            setattr(self, name, getattr(self, name)[rows])
