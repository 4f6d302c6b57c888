"""A game with a critic, as an objective: two losses, two optimizers, and what is measured of it."""

from __future__ import annotations

import math
import warnings
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from inference.objectives.critic import LOSSES, AdversarialLoss, gradient_norms, make_critic
from inference.objectives.objective import Objective, Seen
from pyro_models import Pair, UsageError
from pyro_models.device import like_of
from pyro_models.errors import in_one_line
from pyro_models.observed import Observed

if TYPE_CHECKING:
    from inference.objectives.adversarial import Game

__all__ = ["MEASURES", "OfCritic"]

MEASURES = (
    "generator_loss",
    "critic_loss",
    "accuracy_real",
    "accuracy_fake",
    "diversity",
    "gradient",
)
"""Of each step: both losses, shares of data and samples that the critic takes for what they are,
mean distance between samples by that between data, and the generator's gradient at a sample."""

WON, VANISHED, COLLAPSED = 0.99, 0.01, 0.25
_EARLY = 300  # steps of a generator that nobody expects to be diverse yet
_MEASURED = 64  # data of a batch, of which distances are measured


class OfCritic(Objective):
    """An adversarial objective for a pair, with its critic and the critic's optimizer.

    The critic is made when it is first needed, from the global generator.
    """

    tempers = False
    ranks = False
    weight = 1.0  # of the critic's word
    why_not_recorded = "the adversarial objective updates a critic of its own"

    def __init__(self, pair: Pair, options: Game, *, name: str, remark: str) -> None:
        super().__init__(pair, remark=remark)
        self.options, loss = options, options.loss
        self.loss: AdversarialLoss = LOSSES[loss] if isinstance(loss, str) else loss
        self.unit = self.loss.unit
        self.name = f"{name}, {loss if isinstance(loss, str) else 'a loss of its own'}"
        penalty, r1 = options.gradient_penalty, options.r1
        self.penalty = self.loss.gradient_penalty if penalty is None else penalty
        self.r1 = self.loss.r1 if r1 is None else r1
        self.steps, self.largest, self.warned = 0, 0.0, ""
        self._sums: Tensor | None = None
        self._count = 0
        self._lost = False

    @cached_property
    def critic(self) -> nn.Module:
        """The critic, where the pair is and in its float type."""
        like = like_of(self.pair)
        return make_critic(self.options.critic, self.shape).to(like.device, like.dtype)

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        """The critic's Adam."""
        learned = [p for p in self.critic.parameters() if p.requires_grad]
        if not learned:
            raise UsageError(f"the critic {type(self.critic).__name__} has nothing to learn")
        lr, (first, second) = self.options.critic_lr, self.options.critic_betas
        return torch.optim.Adam(learned, lr=lr, betas=(first, second), fused=True)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what the critic judges."""
        raise NotImplementedError

    def backward(self, x: Tensor, *, y: Seen = None, mask: Seen = None, beta: float = 1.0) -> float:
        """Move the critic; then add the gradient of the generator's loss; return −1 times it."""
        for _ in range(self.options.critic_steps - 1):
            with torch.no_grad():
                real, fake, _ = self.compared(x)
            self._move_critic(real, fake)
        real, fake, beside = self.compared(x)
        shown = fake.detach().requires_grad_()
        critic_loss, scores = self._move_critic(real, shown.detach())
        loss = self.weight * self.loss.of_generator(self.scores(shown)).mean()
        (gradient,) = torch.autograd.grad(loss, shown)
        ((fake * gradient).sum() + beside).backward()
        self._note(loss, critic_loss, *self._right(*scores), _distance(shown, real), gradient)
        return math.nan if self._lost else -float((loss + beside).detach())

    def compared(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the critic is to tell apart, and what the pair descends beside that, a scalar."""
        raise NotImplementedError

    def _check_pair(self, data: Observed) -> None:
        """Refuse a pair that has nothing for such a critic."""
        raise NotImplementedError

    def scores(self, x: Tensor) -> Tensor:
        """The critic's scores, (B,)."""
        scores = self.critic(x)
        if not isinstance(scores, Tensor) or scores.shape not in ((len(x),), (len(x), 1)):
            found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise UsageError(
                f"a critic returns one number for each datum, ({len(x)},) or ({len(x)}, 1); "
                f"{type(self.critic).__name__} returned {found}"
            )
        return scores.reshape(len(x)).to(torch.promote_types(scores.dtype, torch.float32))

    def critic_loss(self, real: Tensor, fake: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The critic's loss with its penalties, a scalar, and its scores of both."""
        scores = self.scores(real), self.scores(fake)
        loss = self.loss.of_critic(*scores)
        if self.penalty:
            share = torch.rand(len(real), *[1] * (real.dim() - 1), device=real.device).to(real)
            between = share * real + (1 - share) * fake
            loss = loss + self.penalty * (gradient_norms(self.scores, between) - 1).square().mean()
        if self.r1:
            norms = gradient_norms(self.scores, real)
            loss = loss + self.r1 / 2 * norms.square().mean()
        return loss, scores

    def _move_critic(self, real: Tensor, fake: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        self.optimizer.zero_grad()
        with torch.enable_grad():
            loss, scores = self.critic_loss(real, fake)
            loss.backward()
        self._lost = not bool(loss.isfinite())
        if not self._lost:
            self.optimizer.step()
        return loss.detach(), (scores[0].detach(), scores[1].detach())

    def nonfinite(self) -> str:
        """What of the critic is not finite, in words; empty if all of it is."""
        for name, parameter in self.critic.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                return f"parameter {name} of the critic"
        return "the critic's loss" if self._lost else ""

    def _right(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of data and of samples that the critic takes for what they are."""
        middle = 0.0 if self.loss.centred else torch.cat([real, fake]).mean()
        return (real > middle).float().mean(), (fake < middle).float().mean()

    @torch.no_grad()
    def _note(self, *values: Tensor) -> None:
        *first, gradient = values
        norm = len(gradient) * gradient.flatten(1).norm(dim=1).mean()
        now = torch.stack([value.double() for value in (*first, norm, norm)])
        if self._sums is None:
            self._sums = now
        else:
            largest = torch.maximum(self._sums[-1:], now[-1:])
            self._sums = torch.cat([self._sums[:-1] + now[:-1], largest])
        self._count += 1

    def measures(self) -> dict[str, float]:
        """Means over the steps since this was last asked; a warning where they are of failure."""
        if self._sums is None:
            return {}
        *sums, largest = self._sums.tolist()
        found = dict(zip(MEASURES, (total / self._count for total in sums), strict=True))
        self.steps, self.largest = self.steps + self._count, max(self.largest, largest)
        self._sums, self._count = None, 0
        vanished = found["gradient"] <= VANISHED * self.largest
        right = min(found["accuracy_real"], found["accuracy_fake"])
        if right >= WON and vanished:
            self._warn(
                "the critic has won: it tells samples from data without fail, and the generator's "
                f"gradient is {found['gradient']:.1g}, and was {self.largest:.1g}; take another "
                "loss (non_saturating, wasserstein), a lower critic_lr, r1, or dropout"
            )
        elif self.steps >= _EARLY and found["diversity"] < COLLAPSED:
            self._warn(
                f"the samples have collapsed: they lie {found['diversity']:.2f} times as far apart "
                "as data; take a lower lr, a higher critic_lr, r1, or the loss wasserstein"
            )
        return found

    def _warn(self, what: str) -> None:
        """Once for each kind."""
        kind = what.partition(":")[0]
        if kind not in self.warned:
            self.warned += f"{kind}; "
            warnings.warn(f"after {self.steps} steps {what}", stacklevel=2)

    def state(self) -> dict[str, Any]:
        """What :meth:`load_state` needs to go on."""
        counts = {name: getattr(self, name) for name in ("steps", "largest", "warned")}
        return {
            "critic": self.critic.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            **counts,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""
        try:
            self.critic.load_state_dict(state["critic"])
        except (KeyError, RuntimeError) as error:
            raise UsageError("this run was begun with another critic: give that one") from error
        self.optimizer.load_state_dict(state["optimizer"])
        for name in ("steps", "largest", "warned"):
            setattr(self, name, state[name])

    def _check(self, data: Observed) -> None:
        """Refuse what the critic cannot judge, or what has no gradient to learn from."""
        self._check_pair(data)
        training = self.critic.training
        self.critic.eval()
        who = f"the critic {type(self.critic).__name__} of data of shape {self.shape}"
        with torch.enable_grad(), in_one_line(who):
            real, fake, _ = self.compared(data.x)
            self.critic_loss(real, fake.detach())
        self.critic.train(training)
        if not fake.requires_grad:
            raise UsageError(
                f"nothing that {type(self.pair).__name__} learns moves its samples, so that no "
                "critic can train it"
            )
        self.optimizer  # noqa: B018  (made here, or refused)

    @torch.no_grad()
    def _values(self, data: Observed, batch_size: int) -> Tensor:
        """−1 times the generator's loss of as many samples as there are data."""
        training = self.critic.training
        self.critic.eval()
        parts = []
        for some in data.chunks(batch_size):
            _, fake, beside = self.compared(some.x)
            scored = self.weight * self.loss.of_generator(self.scores(fake)).double()
            parts.append(-scored - beside)
        self.critic.train(training)
        return torch.cat(parts)


def _distance(fake: Tensor, real: Tensor) -> Tensor:
    """How far apart samples lie on average, by how far data do; 1 where there is one of either."""
    one, other = (torch.pdist(part[:_MEASURED].flatten(1).detach()).mean() for part in (fake, real))
    return (one / other).nan_to_num(nan=1.0, posinf=1.0)
