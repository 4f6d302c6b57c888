"""What the mixtures share: one discrete site k, summed out exactly, whatever the components are."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_models.counts import is_count
from pyro_models.data.masks import Mask
from pyro_models.errors import UsageError
from pyro_models.likelihoods import Likelihood
from pyro_models.models.model import Model
from pyro_models.models.model_and_guide import ModelAndGuide
from pyro_models.observed import checked
from pyro_models.pair import LatentSite, fill_unseen, needed_mask, pixel_mask

__all__ = ["Mixture", "MixtureModel"]


class MixtureModel(Model):
    """p(x, k) = π_k p(x | k), k summed out wherever sites are enumerated.

    A subclass gives ``logits``, log π up to a constant, and :meth:`component`.
    """

    def __init__(self, likelihood: Likelihood, num_components: int) -> None:
        if not is_count(num_components):
            raise UsageError(f"a mixture needs at least one component; got {num_components}")
        super().__init__(likelihood)
        self.logits = nn.Parameter(torch.zeros(num_components))

    def component(self, k: Tensor, mask: Tensor | None = None) -> TorchDistribution:
        """p(x_seen | k) for k of any batch shape."""
        raise NotImplementedError

    def story(self, y: Tensor | None) -> Tensor:
        """Draw the component."""
        p_k = dist.Categorical(logits=self.logits)
        return pyro.sample("k", p_k, infer={"enumerate": "parallel"})

    def decoded(self, outputs: Tensor, mask: Tensor | None = None) -> TorchDistribution:
        """p(x_seen | k)."""
        return self.component(outputs, mask)


class Mixture(ModelAndGuide):
    """log p(x) = logsumexp_k [log π_k + log p(x | k)], and all that follows from it exactly.

    The model is a :class:`MixtureModel`, with a flag ``started``.
    """

    model: Any
    data_shape: tuple[int, ...]
    num_components: int

    def chosen(self) -> list[str]:
        """The number of components."""
        return [f"{self.num_components} component{'s' if self.num_components > 1 else ''}"]

    @property
    def latent_sites(self) -> dict[str, LatentSite]:
        """One discrete site, k."""
        return {"k": LatentSite((), num_values=self.num_components)}

    @property
    def started(self) -> bool:
        """Whether the parameters come from data already."""
        return bool(self.model.started)

    def _log_joint(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """log π_k + log p(x_seen | k), (B, K)."""
        x = x.to(self.model.logits.device)
        k = torch.arange(self.num_components, device=x.device)
        seen = pixel_mask(mask, self.data_shape, x)
        p_x = self.model.component(k, None if seen is None else seen.unsqueeze(1))
        return self.model.logits.log_softmax(-1) + p_x.log_prob(fill_unseen(x, seen).unsqueeze(1))

    def exact_log_prob(self, x: Tensor, mask: Mask | None = None) -> Tensor:
        """log p(x_seen), (B,), nats; unseen pixels are integrated out exactly."""
        return self._log_joint(*checked(self, x, mask)).logsumexp(-1)

    def exact_posterior(self, x: Tensor, mask: Mask | None = None) -> TorchDistribution:
        """p(k | x_seen), a Categorical of batch shape (B,)."""
        return dist.Categorical(logits=self._log_joint(*checked(self, x, mask)))

    def responsibilities(self, x: Tensor, mask: Mask | None = None) -> Tensor:
        """p(k | x_seen) as a table, (B, K)."""
        return self.exact_posterior(x, mask).probs

    def conditional_mean(self, x: Tensor, mask: Mask) -> Tensor:
        """E[x | x_seen] = Σ_k p(k | x_seen) E[x | x_seen, k], (B, \\*data_shape), exactly.

        Seen pixels are as given.
        """
        x, of_x = checked(self, x, mask)
        seen = needed_mask(of_x, self.data_shape, x)
        k = torch.arange(self.num_components, device=x.device).unsqueeze(-1)
        means = self._unseen(k, x, seen, draw=False).flatten(2)  # (K, B or 1, D)
        probs = self.responsibilities(x, seen)
        if means.shape[1] == 1:  # the same for every datum
            mean = probs @ means.squeeze(1)
        else:
            mean = torch.einsum("bk,kbd->bd", probs, means)
        return torch.where(seen, x, mean.unflatten(-1, self.data_shape))

    def conditional_sample(self, x: Tensor, mask: Mask, *, n: int) -> Tensor:
        """n draws from p(x | x_seen) for each datum, (n, B, \\*data_shape), exactly.

        A component k ~ p(k | x_seen), then x_unseen ~ p(x_unseen | x_seen, k); seen pixels are as
        given. Draws come from torch's global generator.
        """
        x, of_x = checked(self, x, mask)
        seen = needed_mask(of_x, self.data_shape, x)
        k = self.exact_posterior(x, seen).sample(torch.Size((n,)))
        return torch.where(seen, x, self._unseen(k, x, seen, draw=True))

    def _unseen(self, k: Tensor, x: Tensor, seen: Tensor, *, draw: bool) -> Tensor:
        """Means, or draws, of p(x_unseen | x_seen, k): here of pixels independent given k."""
        p_x = self.model.component(k)
        return p_x.sample() if draw else p_x.mean
