"""Binary pixels, and the cross-entropy of grey ones, which is no probability."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.nn import functional as F

from pyro_models.errors import UsageError
from pyro_models.likelihoods.likelihood import Likelihood

__all__ = ["Bernoulli", "CrossEntropy"]


class BernoulliPixels(dist.Bernoulli):
    """Bernoulli(σ(l)) with log p(x) = x l − softplus(l).

    torch's own passes over memory about twice as often: with many particles that is most of what a
    step costs. Its gradient, x − σ(l), is torch's.

    >>> float(BernoulliPixels(logits=torch.tensor(-80.0)).log_prob(torch.tensor(1.0)))
    -80.0
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x), nats, of x that broadcasts with the logits; grey values are not refused."""
        return value * self.logits - F.softplus(self.logits)


class BinaryPixels(dist.Bernoulli):
    """The same for x that is 0 or 1: log p(x) = log σ((2x − 1) l), a third faster.

    >>> float(BinaryPixels(logits=torch.tensor(-80.0)).log_prob(torch.tensor(1.0)))
    -80.0
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x), nats, of x that broadcasts with the logits."""
        if self._validate_args:
            self._validate_sample(value)
        return F.logsigmoid((2 * value - 1) * self.logits)


class Bernoulli(Likelihood):
    r"""Binary pixels, from logits l.

    .. math:: p(x | z) = \prod_d \mathrm{Bernoulli}(x_d; σ(l_d))

    Measure: counting on {0, 1}. Grey pixels are refused: binarise them, or ask for the
    cross-entropy and call it what it is.
    """

    name = "bernoulli"
    measure = "counting on {0,1}"
    preparation = "threshold"

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        """Bernoulli(logits)."""
        return BinaryPixels(logits=outputs.squeeze(-1 - len(self.data_shape)))

    def outputs_for(self, mean: Tensor) -> Tensor:
        """Logits of the mean image, within ±log 999."""
        return torch.logit(mean, eps=1e-3).unsqueeze(0)

    def why_no_bits(self, *, preparation: str, levels: int | None) -> str:
        """It is of other pixels."""
        return "probabilities of binarised pixels are not of the grey ones"

    def check_seen(self, seen: Tensor) -> None:
        """Every seen pixel must be 0 or 1."""
        if not bool(((seen == 0) | (seen == 1)).all()):
            raise UsageError(
                "the Bernoulli likelihood is of pixels that are 0 or 1: binarise them (preparation "
                "threshold, static or dynamic), or use the likelihood cross_entropy on grey pixels"
            )


class CrossEntropy(Likelihood):
    r"""The cross-entropy of grey pixels x in [0, 1], from logits l.

    .. math:: −H(p(B | x), p(B | z)) = \sum_d x_d \log σ(l_d) + (1 − x_d) \log σ(−l_d)

    The common "Bernoulli on grey pixels". It is an objective, not a probability: it does not
    integrate to one over [0, 1], so what is built on it bounds no evidence (``measure`` is None).
    """

    name = "cross_entropy"
    measure = None
    preparation = "grey"
    no_probability = "the cross-entropy is an objective: there is no p(x)"
    on_unit_interval = "the cross-entropy"

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        """Bernoulli(logits) evaluated at grey values."""
        logits = outputs.squeeze(-1 - len(self.data_shape))
        return BernoulliPixels(logits=logits, validate_args=False)

    outputs_for = Bernoulli.outputs_for
