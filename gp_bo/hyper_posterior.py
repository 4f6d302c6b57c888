"""The density of the hyper-parameters given data, and its gradient, in unconstrained space."""

from __future__ import annotations

import torch
from torch import Tensor

from gp_bo.model import GPModel

__all__ = ["HyperPosterior"]

_MAX_ELEMENTS = 2**22  # numbers in the covariances of one chunk


class HyperPosterior:
    """log p(y | X, θ) [+ log p(θ) [+ log |dθ/du|]] as a function of u, vectorised over points.

    Without the prior this is the log evidence alone; the Jacobian makes it a density of u.
    """

    def __init__(self, gp: GPModel, *, prior: bool = True, jacobian: bool = True) -> None:
        self.gp, self.prior, self.jacobian = gp, prior, jacobian
        self.size = gp.hyperparameters.size
        self._chunk = max(1, _MAX_ELEMENTS // len(gp.y) ** 2)

    @torch.no_grad()
    def __call__(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Value, (C,), nats, and gradient, (C, p), at u, (C, p); −inf where it is not defined."""
        parts = [self._evaluate(part) for part in u.to(self.gp.X).split(self._chunk)]
        return torch.cat([v for v, _ in parts]), torch.cat([g for _, g in parts])

    def _evaluate(self, u: Tensor) -> tuple[Tensor, Tensor]:
        hyper = self.gp.hyperparameters
        theta = hyper.constrain(u)
        value, gradients = self.gp.evidence.value_and_gradient(theta)
        gradient = hyper.pull_back(u, theta, gradients)
        if self.prior:
            log_prior, slope = hyper.log_prior(u, theta, jacobian=self.jacobian)
            value, gradient = value + log_prior, gradient + slope
        if not bool((value + gradient.sum(-1)).isfinite().all()):
            good = value.isfinite() & gradient.isfinite().all(-1)
            value = torch.where(good, value, -torch.inf)
            gradient = torch.where(good[:, None], gradient, 0.0)
        return value, gradient
