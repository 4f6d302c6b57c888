"""Laplace's approximation of p(f | y, θ), and of the evidence, where p(y | f) is not normal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from gp_bo.kernels import Kernel
from gp_bo.likelihoods import Likelihood
from gp_bo.means import mean_gradients, mean_values
from gp_bo.model import Evidence

__all__ = ["LaplaceEvidence"]

Theta = Mapping[str, Tensor]

_STEPS, _HALVINGS = 100, 30
_TOLERANCE = 1e-6  # of a step, relative; one more step squares it
_FAR = 1e-3  # nats between the ends of two climbs that are different modes


class _Mode(NamedTuple):
    """c = f̂ − m and a = K⁻¹ c, (C, n) each, and ψ = log p(y | f̂) − ½ aᵀ c, (C,)."""

    c: Tensor
    a: Tensor
    psi: Tensor


class LaplaceEvidence(Evidence):
    """log q(y | X, θ) = log p(y | f̂) − ½ (f̂ − m)ᵀ K⁻¹ (f̂ − m) − ½ log |I + K W|.

    f̂ is the mode of p(f | y, θ), and W = −∇∇ log p(y | f̂), diagonal; Rasmussen & Williams (2006),
    section 3.4. Exact for a Gaussian likelihood.
    """

    def __init__(self, X: Tensor, y: Tensor, kernel: Kernel, likelihood: Likelihood) -> None:
        super().__init__(X, y, kernel)
        self.likelihood = likelihood

    def moments(self, theta: Theta) -> tuple[Tensor, Tensor]:
        """Mean, (C, n), and covariance of f, (C, n, n)."""
        K = self.kernel.covariance(theta, self._pairs)
        return mean_values(theta, self.X).expand(len(K), len(self.y)), K

    def factor(self, theta: Theta) -> tuple[Tensor, Tensor]:
        """S = (K + W⁻¹)⁻¹ = W (I + K W)⁻¹, (C, n, n), and K⁻¹ (f̂ − m), (C, n)."""
        mean, K = self.moments(theta)
        mode, W = self._refined(self._mode(mean, K, theta), mean, K, theta)
        S = W[..., None] * torch.linalg.inv_ex(_one_and(K, W))[0]
        return 0.5 * (S + S.mT), mode.a

    def value(self, theta: Theta) -> Tensor:
        """log q(y | X, θ), (C,), nats; differentiable; −inf where it is not defined."""
        mean, K = self.moments(theta)
        return self._value(mean, K, theta)

    def value_and_gradient(self, theta: Theta) -> tuple[Tensor, dict[str, Tensor]]:
        """log q(y | X, θ), (C,), and its gradient by name.

        Where it is not defined the value is −inf and the gradient 0.
        """
        K, pull_back = self.kernel.covariance_and_pullback(theta, self._pairs)
        mean = mean_values(theta, self.X).expand(len(K), len(self.y))
        own = {h.name: theta[h.name] for h in self.likelihood.hyperparameters()}
        with torch.enable_grad():
            leaves = [v.detach().clone().requires_grad_() for v in (mean, K, *own.values())]
            at = dict(zip(own, leaves[2:], strict=True))
            value = self._value(leaves[0], leaves[1], at)
            by_mean, by_K, *others = torch.autograd.grad(value.sum(), leaves)
        failed = ~value.isfinite()
        gradients = pull_back(by_K) | dict(zip(own, others, strict=True))
        gradients |= mean_gradients(theta, self.X, by_mean)
        return value.detach(), {
            name: torch.where(failed.reshape(-1, *[1] * (g.dim() - 1)), 0.0, g)
            for name, g in gradients.items()
        }

    @torch.no_grad()
    def messages(self, theta: Theta) -> tuple[str, ...]:
        """What is not certain of the modes at some θ."""
        mean, K = self.moments(theta)
        ends = [self._climb(start, mean, K, theta) for start in self._starts(mean, K, theta)]
        apart = (ends[0].psi - ends[-1].psi).abs() > _FAR
        refined, _ = self._refined(self._mode(mean, K, theta), mean, K, theta)
        slope, _ = self.likelihood.derivatives(mean + refined.c, self.y, theta)
        left = (slope - refined.a).abs().amax(-1) > 1e-4 * (1 + slope.abs().amax(-1))
        found, of = [], f"of {len(K)} values of the hyper-parameters"
        if bool(apart.any()):
            found.append(
                f"the posterior of f has several modes at {int(apart.sum())} {of}: the higher was "
                "taken, and Laplace's approximation knows of no other"
            )
        if bool(left.any()):
            found.append(f"the mode of f was not reached at {int(left.sum())} {of}")
        return tuple(found)

    def _value(self, mean: Tensor, K: Tensor, theta: Theta) -> Tensor:
        with torch.no_grad():
            mode = self._mode(mean, K, theta)
        mode, W = self._refined(mode, mean, K, theta)
        sign, log_det = torch.linalg.slogdet(_one_and(K, W))
        value = mode.psi - 0.5 * log_det
        return torch.where((sign > 0) & value.isfinite(), value, -torch.inf)

    def _refined(self, mode: _Mode, mean: Tensor, K: Tensor, theta: Theta) -> tuple[_Mode, Tensor]:
        """Two more Newton steps, and W after them.

        The derivatives by θ of the steps are those of the mode, the first two orders with two of
        them: the derivative of a step by f is 0 at the mode (the implicit function theorem).
        """
        c, a, _ = mode
        for _ in range(2):
            slope, W = self.likelihood.derivatives(mean + c, self.y, theta)
            c, a = _newton(K, c, slope, W)
        _, W = self.likelihood.derivatives(mean + c, self.y, theta)
        return _Mode(c, a, self._psi(c, a, mean, theta)), W

    def _mode(self, mean: Tensor, K: Tensor, theta: Theta) -> _Mode:
        """The best mode that some starts lead to."""
        ends = [self._climb(start, mean, K, theta) for start in self._starts(mean, K, theta)]
        best = ends[0]
        for other in ends[1:]:
            higher = other.psi > best.psi
            c = torch.where(higher[:, None], other.c, best.c)
            a = torch.where(higher[:, None], other.a, best.a)
            best = _Mode(c, a, torch.maximum(other.psi, best.psi))
        return best

    def _starts(self, mean: Tensor, K: Tensor, theta: Theta) -> list[tuple[Tensor, Tensor]]:
        """c and K⁻¹ c: the prior's mean; for several modes, also what normal noise would make."""
        nothing = torch.zeros_like(mean)
        if self.likelihood.log_concave:
            return [(nothing, nothing)]
        _, W = self.likelihood.derivatives(self.y.expand_as(mean), self.y, theta)
        return [(nothing, nothing), _newton(K, nothing, W * (self.y - mean), W)]

    def _climb(self, start: tuple[Tensor, Tensor], mean: Tensor, K: Tensor, theta: Theta) -> _Mode:
        """Newton's method on ψ, with a curvature that leads up, each step halved until it gains."""
        c, a = start
        psi = self._psi(c, a, mean, theta)
        for _ in range(_STEPS):
            slope, W = self.likelihood.derivatives(mean + c, self.y, theta)
            safe = self.likelihood.step_curvature(W, mean + c, self.y, theta)
            to_c, to_a = _newton(K, c, slope, safe)
            if not self.likelihood.log_concave:  # W itself leads nowhere from afar, and fast nearby
                near_c, near_a = _newton(K, c, slope, W)
                reached = self._psi(near_c, near_a, mean, theta)
                better = (reached > self._psi(to_c, to_a, mean, theta))[:, None]
                to_c, to_a = torch.where(better, near_c, to_c), torch.where(better, near_a, to_a)
            dc, da = (to_c - c).nan_to_num(0.0), (to_a - a).nan_to_num(0.0)
            length = torch.ones_like(psi)
            for _ in range(_HALVINGS):
                t = length[:, None]
                trial = self._psi(c + t * dc, a + t * da, mean, theta)
                worse = ~(trial >= psi - 1e-10 * (1 + psi.abs()))
                if not bool(worse.any()):
                    break
                length = torch.where(worse, 0.5 * length, length)
            t = torch.where(worse, 0.0, length)[:, None]
            c, a, psi = c + t * dc, a + t * da, torch.where(worse, psi, trial)
            if bool(((t * dc).abs().amax(-1) <= _TOLERANCE * (1 + c.abs().amax(-1))).all()):
                break
        return _Mode(c, a, psi)

    def _psi(self, c: Tensor, a: Tensor, mean: Tensor, theta: Theta) -> Tensor:
        fit = self.likelihood.distribution(mean + c, theta).log_prob(self.y)
        return fit.sum(-1) - 0.5 * (a * c).sum(-1)


def _newton(K: Tensor, c: Tensor, slope: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
    """c = (K⁻¹ + W)⁻¹ b with b = W c + ∇ log p(y | f), and K⁻¹ c = b − W c."""
    b = W * c + slope
    new = torch.linalg.solve_ex(_one_and(K, W), (K @ b[..., None]))[0][..., 0]
    return new, b - W * new


def _one_and(K: Tensor, W: Tensor) -> Tensor:
    """I + K W."""
    return torch.eye(K.shape[-1], dtype=K.dtype, device=K.device) + K * W[..., None, :]
