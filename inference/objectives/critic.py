"""Critics: modules from a datum to one number, by name, and what they are trained by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_models import UsageError
from pyro_models.inserted import inserted
from pyro_models.modules import module_for
from pyro_models.networks import Architecture, make_classifier
from pyro_models.registry import Registry

__all__ = ["CRITICS", "LOSSES", "AdversarialLoss", "Critic", "gradient_norms", "make_critic"]

SLOPE = {"class_path": "leaky_relu", "init_args": {"negative_slope": 0.2}}


class Critic(nn.Module):
    """A network from data (B, \\*data_shape) to scores (B, 1), high for what looks like data.

    Parameters
    ----------
    data_shape
        Shape of one datum.
    network, hidden, activation
        As for :class:`pyro_models.models.autoencoder.Networks`.
    dropout
        Share of each hidden layer's outputs that are left out at random in training.

    Examples
    --------
    >>> Critic((1, 8, 8), hidden=[16])(torch.rand(5, 1, 8, 8)).shape
    torch.Size([5, 1])
    """

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        network: str | Mapping[str, Any] | Architecture = "dense",
        hidden: Sequence[int] = (512, 256),
        activation: str | Mapping[str, Any] | type[nn.Module] = SLOPE,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout leaves out a share of 0 to below 1; got {dropout!r}")
        self.network = make_classifier(network, tuple(data_shape), hidden, 1, activation=activation)
        if dropout:
            features = self.network.features
            if not isinstance(getattr(features, "body", None), nn.Sequential):
                raise UsageError(
                    "dropout goes between the layers of a network with a body of these"
                )
            weighs = nn.Linear, nn.Conv2d
            features.body = inserted(
                features.body, lambda m: None if isinstance(m, weighs) else nn.Dropout(dropout)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, \\*data_shape) to (B, 1)."""
        scores: Tensor = self.network(x)
        return scores


CRITICS: Registry[Callable[..., nn.Module]] = Registry(
    "critic",
    {"dense": Critic, "conv": partial(Critic, network="conv", hidden=(32, 64))},
    hint="give a module of x that returns one number for each datum",
)


def make_critic(critic: Any, data_shape: tuple[int, ...]) -> nn.Module:
    """A critic of data of a shape: by its name with options, its class or function, or as it is."""
    return module_for(CRITICS, critic, data_shape)


@dataclass(frozen=True)
class AdversarialLoss:
    """What critic and generator minimise, of scores s of the critic, (B,).

    Attributes
    ----------
    of_critic
        A function of the scores of data and of samples; a scalar.
    of_generator
        A function of the scores of samples, (B,) to (B,).
    unit
        What its values are in.
    centred
        Whether a score above 0 says data; else the mean score stands between data and samples.
    gradient_penalty, r1
        Weights of the penalties (‖∇ s‖ − 1)² and ½ ‖∇ s‖² that belong to it, unless others are
        asked for. Without any, most games of a strong critic end in collapse.
    """

    of_critic: Callable[[Tensor, Tensor], Tensor]
    of_generator: Callable[[Tensor], Tensor]
    unit: str = "units of the critic"
    centred: bool = True
    gradient_penalty: float = 0.0
    r1: float = 1.0


def _cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """−E log D(x) − E log(1 − D(G(z))), D = σ(s)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


LOSSES: Registry[AdversarialLoss] = Registry(
    "adversarial loss",
    {
        # −log D(G(z)) for log(1 − D(G(z))): the same fixed point, with a gradient far from it
        "non_saturating": AdversarialLoss(
            _cross_entropy, lambda s: F.softplus(-s), unit="nats per datum"
        ),
        "minimax": AdversarialLoss(_cross_entropy, lambda s: -F.softplus(s), unit="nats per datum"),
        "hinge": AdversarialLoss(
            lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(), lambda s: -s
        ),
        "wasserstein": AdversarialLoss(
            lambda real, fake: fake.mean() - real.mean(),
            lambda s: -s,
            centred=False,
            gradient_penalty=10.0,
            r1=0.0,
        ),
    },
    hint="give an AdversarialLoss",
)


def gradient_norms(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """‖∇_x s(x)‖ of every datum, (B,), differentiable in the critic's parameters."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return gradient.flatten(1).norm(dim=1)
