"""Adversarial training: a critic tells samples from data, and a generator learns to deceive it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from inference.declared import NOT_NEGATIVE, POSITIVE, at_least, check_declared, declared, within
from inference.objectives.critic import LOSSES, AdversarialLoss
from inference.objectives.games import OfLatents, OfSamples
from inference.objectives.named import OBJECTIVES
from pyro_models import Pair, UsageError

__all__ = ["Adversarial", "AdversarialAutoencoder", "Game"]


@dataclass(frozen=True, kw_only=True)
class Game:
    """What every game with a critic has: the critic, the losses, and how the critic is moved."""

    critic: Any = declared(
        "dense",
        """The critic: dense or conv, either with its options as {class_path: dense, init_args:
        {hidden: [512, 256], dropout: 0.3}}, a class of a file, a class or function of the shape of
        one datum, or a module of x that returns one number for each datum, trained in place.""",
    )
    loss: Any = declared(
        "non_saturating",
        "Loss: non_saturating, minimax, hinge or wasserstein, or an AdversarialLoss.",
    )
    gradient_penalty: float | None = declared(
        None,
        """Weight λ of λ E (‖∇ s(x̂)‖ − 1)², x̂ on the straight way from data to samples; 10 for
        wasserstein and 0 for others unless given.""",
        NOT_NEGATIVE,
    )
    r1: float | None = declared(
        None,
        """Weight γ of γ/2 E ‖∇ s(x)‖² at data (Mescheder et al. 2018); 0 for wasserstein and 1 for
        others unless given.""",
        NOT_NEGATIVE,
    )
    critic_steps: int = declared(1, "Steps of the critic in each step.", at_least(1))
    critic_lr: float = declared(
        1e-3, "Learning rate of the critic, whose optimizer is Adam.", POSITIVE
    )
    critic_betas: tuple[float, float] = declared((0.5, 0.999), "Its decay rates β₁ and β₂.")

    def __post_init__(self) -> None:
        check_declared(self, who=f" of {type(self).__name__}")
        if not isinstance(self.loss, AdversarialLoss):
            LOSSES.check(self.loss)
        betas = self.critic_betas
        if not isinstance(betas, list | tuple) or len(betas) != 2:
            raise UsageError(f"critic_betas are two numbers; got {betas!r}")
        for beta in betas:
            if isinstance(beta, bool) or not isinstance(beta, int | float):
                raise UsageError(f"critic_betas are two numbers; got {betas!r}")
            within(0, 1 - 1e-9, what="a decay rate of the critic's Adam")("", beta)


@dataclass(frozen=True, kw_only=True)
class Adversarial(Game):
    """A generator against a critic D = σ(s) (Goodfellow et al. 2014), which belongs to this object.

    In each step the critic descends its loss on a batch x and samples G(z), and then the generator
    its own. With ``"non_saturating"`` and ``"minimax"`` the critic's is −E log D(x) −
    E log(1 − D(G(z))), smallest at D = p_data / (p_data + p_G), and the generator's is
    −E log D(G(z)), or E log(1 − D(G(z))). ``"hinge"``: E max(0, 1 − s(x)) + E max(0, 1 + s(G(z))),
    and −E s(G(z)) (Lim & Ye 2017). ``"wasserstein"``: E s(G(z)) − E s(x), and −E s(G(z)), with a
    gradient penalty of weight 10 (Gulrajani et al. 2017).

    What is trained is all that samples of the model depend on. A guide is not: infer one when the
    model is trained. The value, −1 times the generator's loss, is relative to a critic that moves:
    it ranks no models and stops no training.
    """

    pixels: Literal["mean", "sample"] | None = declared(
        None,
        """What the critic is shown of p(x | z): its mean E[x | z], or a draw with its gradient. The
        mean unless given; of a likelihood without such draws (Bernoulli, categorical) the mean must
        be asked for.""",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pixels not in (None, "mean", "sample"):
            raise UsageError(f"pixels is mean or sample; got {self.pixels!r}")

    def of_pair(self, pair: Pair, *, name: str) -> OfSamples:
        """The objective of a pair, with a critic of data of its shape."""
        return OfSamples(pair, self, name=name)


@dataclass(frozen=True, kw_only=True)
class AdversarialAutoencoder(Game):
    """E log p(x | z) with a critic in the place of the KL (Makhzani et al. 2015).

    The critic tells draws of the prior from z ~ q(z | x) of a batch, of the aggregate posterior
    q(z) = E q(z | x); the guide deceives it. The best critic of ``"non_saturating"`` is
    s = log p(z) − log q(z), whose mean over q(z) is −KL(q(z) ‖ p(z)): less than the ELBO's KL by
    what z tells of x. The value bounds no evidence.
    """

    weight: float = declared(1.0, "Weight of the critic's word on z.", POSITIVE)

    def of_pair(self, pair: Pair, *, name: str) -> OfLatents:
        """The objective of a pair, with a critic of its latents."""
        return OfLatents(pair, self, name=name)


OBJECTIVES.register("adversarial", Adversarial)
OBJECTIVES.register("adversarial_autoencoder", AdversarialAutoencoder)
