"""A mixture of Bernoulli products: binary pixels, independent given a component."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_models.counts import is_count
from pyro_models.device import placed
from pyro_models.errors import UsageError
from pyro_models.likelihoods import Bernoulli
from pyro_models.models.guide import EmptyGuide
from pyro_models.models.mixture import Mixture, MixtureModel
from pyro_models.observed import training_data

__all__ = ["BernoulliMixture"]

_EMPTY = 1e-2  # data: a component of fewer is nobody's


class BernoulliMixtureModel(MixtureModel):
    """p(x, k) = π_k Π_d Bernoulli(x_d; σ(l_kd))."""

    started: Tensor

    def __init__(self, data_shape: tuple[int, ...], num_components: int) -> None:
        super().__init__(Bernoulli(data_shape), num_components)
        self.pixel_logits = nn.Parameter(torch.randn(num_components, math.prod(data_shape)))
        self.register_buffer("started", torch.tensor(False))

    def component(self, k: Tensor, mask: Tensor | None = None) -> TorchDistribution:
        """p(x | k) for k of any batch shape; unseen pixels are summed out exactly."""
        logits = self.pixel_logits[k].unflatten(-1, (1, *self.data_shape))
        return self.likelihood(logits, mask)


def _different_rows(flat: Tensor, count: int) -> Tensor:
    """The first ``count`` rows that differ from all before them, then, if too few, the others."""
    num = min(count, len(flat))
    if len(torch.unique(flat[:num], dim=0)) == num:
        return torch.arange(num)
    _, which = torch.unique(flat, dim=0, return_inverse=True)
    rows = torch.arange(len(flat))
    earliest = torch.full((len(flat),), len(flat)).scatter_reduce(0, which.cpu(), rows, "amin")
    new = earliest[which.cpu()] == rows
    return torch.cat([rows[new], rows[~new]])[:num]


def _half_way(flat: Tensor, rows: Tensor) -> Tensor:
    """Logits half-way between some data and the smoothed mean of all."""
    mean = (flat.sum(0) + 0.5) / (len(flat) + 1)
    return torch.logit((flat[rows] + mean) / 2, eps=1e-4)


class BernoulliMixture(Mixture):
    """Mixture of Bernoulli products, log p(x) = logsumexp_k [log π_k + Σ_d log p(x_d | k)].

    Everything about it is exact: evidence, responsibilities, and the distribution of unseen pixels
    given seen ones (Bishop 2006, section 9.3.3). That makes it a yardstick for completion.

    Parameters
    ----------
    data_shape
        Shape of one datum of binary pixels.
    num_components
        K.

    Examples
    --------
    >>> import torch
    >>> x = (torch.rand(500, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    >>> mixture = BernoulliMixture.maximum_likelihood(x, num_components=3)
    >>> mixture.responsibilities(x).sum(-1).allclose(torch.ones(500))
    True
    """

    called = "Bernoulli mixture"

    def __init__(self, data_shape: Sequence[int], *, num_components: int = 200) -> None:
        super().__init__(BernoulliMixtureModel(tuple(data_shape), num_components), EmptyGuide())

    @classmethod
    def maximum_likelihood(
        cls,
        x: Tensor,
        *,
        num_components: int = 200,
        iterations: int = 50,
        smoothing: float = 0.1,
        tolerance: float = 1e-4,
        seed: int = 0,
        chunk: int = 5000,
    ) -> BernoulliMixture:
        """Learn by expectation maximisation, from random data points.

        With responsibilities r_nk = p(k | x_n), N_k = Σ_n r_nk and pseudo-counts a,

        μ_k = (Σ_n r_nk x_n + a) / (N_k + 2a),   π_k = (N_k + a) / (N + K a):

        the maximum of the likelihood times Beta(1 + a, 1 + a) on every pixel and Dirichlet(1 + a)
        on π, so that no pixel is ever impossible. Each iteration raises that product. A component
        that no datum belongs to would stay at fair coins for ever: it is put at the datum that the
        mixture explains worst, where that raises the product in the end.

        Parameters
        ----------
        x
            Binary data (N, \\*data_shape), of which ``chunk`` at a time are worked on, to bound
            memory.
        num_components
            K.
        iterations, tolerance
            At most so many; stop where one raises the log of that product by less, in nats per
            datum.
        smoothing
            a, in data per component.
        seed
            Random seed of the draw of the data points that it starts from.

        Raises
        ------
        UsageError
            If pixels are not 0 or 1, data are fewer than components, or an option is out of range.
        """
        counts = is_count(iterations) and is_count(chunk)
        if not counts or not smoothing > 0 or not tolerance >= 0:
            raise UsageError(
                "give iterations ≥ 1, smoothing > 0, tolerance ≥ 0 and chunk ≥ 1; got "
                f"{iterations}, {smoothing}, {tolerance}, {chunk}"
            )
        x = training_data(x)
        pair = cls(x.shape[1:], num_components=num_components).to(x.device, x.dtype)
        pair.likelihood.check(x)
        pair.start_from(x, seed=seed)
        options: dict[str, Any] = {"smoothing": smoothing, "tolerance": tolerance, "chunk": chunk}
        with torch.no_grad():
            reached, left = pair._climb(x, iterations, **options)
            while left and (empty := pair._empty(x, chunk=chunk)):
                before = {name: value.clone() for name, value in pair.model.state_dict().items()}
                pair._put_at_worst(x, empty, chunk=chunk)
                again, left = pair._climb(x, left, **options)
                if not again > reached + tolerance:
                    pair.model.load_state_dict(before)
                    break
                reached = again
        return pair

    def _climb(
        self, x: Tensor, iterations: int, *, smoothing: float, tolerance: float, chunk: int
    ) -> tuple[float, int]:
        """Iterate until the objective stops rising: what it reached, per datum, and steps left."""
        flat, before = x.flatten(1), -math.inf
        for left in range(iterations, 0, -1):
            ones, counts, log_prob = self._expected_counts(flat, chunk=chunk)
            reached = (log_prob + smoothing * self._log_prior()) / len(x)
            if reached - before < tolerance:
                return reached, left
            before = reached
            self._maximize(ones, counts, smoothing=smoothing)
        return before, 0

    def _empty(self, x: Tensor, *, chunk: int) -> list[int]:
        """Components to which all data together give less than a hundredth of one datum."""
        _, counts, _ = self._expected_counts(x.flatten(1), chunk=chunk)
        return (counts < _EMPTY).nonzero().flatten().tolist()

    def _put_at_worst(self, x: Tensor, components: Sequence[int], *, chunk: int) -> None:
        """Put each of these components at a datum of its own, those of the lowest log p(x)."""
        log_prob = torch.cat([self.exact_log_prob(part) for part in x.split(chunk)])
        flat, order = x.flatten(1), log_prob.argsort()
        rows = _different_rows(flat[order], len(components))
        at = torch.as_tensor(components[: len(rows)], device=x.device)
        self.model.pixel_logits[at] = _half_way(flat, order[rows])
        self.model.logits[at] = self.model.logits.logsumexp(0) - math.log(len(x))  # as one datum

    def _expected_counts(self, flat: Tensor, *, chunk: int) -> tuple[Tensor, Tensor, float]:
        """E-step: Σ_n r_nk x_n (K, D), N_k (K,), and Σ_n log p(x_n)."""
        ones = torch.zeros_like(self.model.pixel_logits)
        counts = torch.zeros_like(self.model.logits)
        log_prob = 0.0
        for rows in flat.split(chunk):
            log_joint = self._log_joint(rows.unflatten(1, self.data_shape), None)
            evidence = log_joint.logsumexp(-1, keepdim=True)
            responsibilities = (log_joint - evidence).exp()
            ones += responsibilities.T @ rows
            counts += responsibilities.sum(0)
            log_prob += float(evidence.double().sum())
        return ones, counts, log_prob

    def _log_prior(self) -> float:
        """Σ log μ + log (1 − μ) + Σ log π: what one pseudo-count adds."""
        logits = self.model.pixel_logits.double()
        pixels = F.logsigmoid(logits).sum() + F.logsigmoid(-logits).sum()
        return float(pixels + self.model.logits.double().log_softmax(-1).sum())

    def _maximize(self, ones: Tensor, counts: Tensor, *, smoothing: float) -> None:
        """M-step: logits of μ_k and π_k."""
        zeros = (counts.unsqueeze(-1) - ones).clamp_min(0)
        self.model.pixel_logits.copy_((ones + smoothing).log() - (zeros + smoothing).log())
        self.model.logits.copy_((counts + smoothing).log())

    @torch.no_grad()
    def start_from(self, x: Tensor, *, seed: int = 0) -> str:
        """Start every component half-way between a random datum and the (smoothed) mean image.

        No datum is taken twice while there are others that differ; fewer data than components are
        refused. Returns a name for the record.
        """
        x = training_data(x, self.data_shape, least=0)
        if len(x) < self.num_components:
            raise UsageError(
                f"{self.num_components} components need at least as many data; got {len(x)}"
            )
        flat = placed(x.detach(), self.model.logits).flatten(1)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        rows = order[_different_rows(flat[order.to(x.device)], self.num_components)]
        self.model.pixel_logits.copy_(_half_way(flat, rows.to(flat.device)))
        self.model.logits.zero_()
        self.model.started.fill_(True)
        return "random data points"

    def _log_joint(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """log π_k + Σ_seen x_d l_kd − softplus(l_kd), (B, K): two products of matrices."""
        logits = self.model.pixel_logits
        with torch.autocast(x.device.type, enabled=False):
            of_pixels = x.flatten(1) @ logits.T
            normalizer = F.softplus(logits).sum(-1)
            if mask is not None:
                normalizer = mask.flatten(1).to(x.dtype) @ F.softplus(logits).T
            return self.model.logits.log_softmax(-1) + of_pixels - normalizer
