"""What can be maximised, each a few lines over particles: z_k ~ q(z | x), log w_k, (K, B).

======================  ==========================================================================
``mean_field``          E_q[log p(x | z)] − KL(q ‖ p), the KL in closed form
``monte_carlo``         E_q[log w], every term sampled
``stl``                 the same value; the gradient leaves out the score of q (stick the landing)
``iwae``                L_K = E[log (1/K) Σ w_k]
``dreg``                the same value; the doubly reparameterised gradient for the guide
``renyi``               E[log (1/K) Σ w_k^(1 − α)] / (1 − α)
``rws``                 L_K; gradients of reweighted wake-sleep, which need no reparameterised guide
``js``                  E_q[log p(x | z)] − JS(q ‖ p)
``geometric_js``        E_q[log p(x | z)] − JS_G(q ‖ p), in closed form for Gaussians
======================  ==========================================================================

Each function returns (B,) nats per datum: its value is the bound, its gradient the one to ascend.
β, the weight of the latent terms, stays outside the average over particles.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from inference.particles import Particles, checked_count, log_mean_exp
from pyro_models import UsageError

__all__ = ["BOUNDS", "Bound", "geometric_jensen_shannon", "jensen_shannon"]

Weight = float | Tensor


def mean_field(p: Particles, *, beta: Weight = 1.0) -> Tensor:
    """E_q[log p(x | z)] − β KL(q ‖ p), the KL in closed form where there is one."""
    return (p.log_likelihood - beta * p.kl).mean(0)


def monte_carlo(p: Particles, *, beta: Weight = 1.0) -> Tensor:
    """E_q[log p(x | z) + β (log p(z) − log q(z | x))]."""
    return (p.log_likelihood + beta * (p.log_prior - p.log_q)).mean(0)


def stick_the_landing(p: Particles, *, beta: Weight = 1.0) -> Tensor:
    """:func:`monte_carlo` without the score of q, whose mean is 0 (Roeder, Wu & Duvenaud 2017).

    At q = p(z | x) the gradient for the guide then has no variance.
    """
    return (p.log_likelihood + beta * (p.log_prior - p.log_q_stopped)).mean(0)


def iwae(p: Particles, *, beta: Weight = 1.0) -> Tensor:
    """L_K = log (1/K) Σ w_k (Burda, Grosse & Salakhutdinov 2016); the ELBO for K = 1."""
    return _tempered(p, p.importance_bound(), beta)


def dreg(p: Particles) -> Tensor:
    """L_K with the doubly reparameterised gradient (Tucker, Lawson, Gu & Maddison 2019).

    ∇_θ = Σ w̃_k ∇_θ log w_k and ∇_φ = Σ w̃_k² (∂ log w_k / ∂z_k) ∇_φ z_k, with w̃ = w / Σ w: unbiased
    as that of ``iwae``, and its signal-to-noise ratio for the guide does not fall with K.
    """
    log_w = p.log_prior + p.log_likelihood - p.log_q_stopped
    normalized = log_w.detach().softmax(0)
    for z in p.latents.values():
        if z.requires_grad:
            weight = normalized.reshape(normalized.shape + (1,) * (z.dim() - 2))
            z.register_hook(lambda grad, weight=weight: grad * weight)
    return _with_gradient_of((normalized * log_w).sum(0), value=log_mean_exp(log_w.detach()))


def renyi(p: Particles, *, alpha: float = 0.5, beta: Weight = 1.0) -> Tensor:
    """log (1/K) Σ w_k^(1 − α) / (1 − α) (Li & Turner 2016).

    α = 0 is L_K, α → 1 the ELBO; a lower bound on log p(x) in expectation for α ≥ 0.
    """
    if abs(1 - alpha) > 0.1:
        bound = log_mean_exp((1 - alpha) * p.log_weight) / (1 - alpha)
    elif alpha == 1:
        bound = p.log_weight.mean(0)
    else:  # log-mean-exp of numbers near 0, which would cancel; the largest is made 0
        held = p.log_weight.detach()
        top = held.amax(0) if alpha < 1 else held.amin(0)
        top = top.masked_fill(top == -math.inf, 0.0)
        below = (1 - alpha) * (p.log_weight - top)
        bound = top + below.expm1().mean(0).log1p() / (1 - alpha)
    return _tempered(p, bound, beta)


def reweighted_wake_sleep(p: Particles) -> Tensor:
    """L_K with the wake-phase gradients of Bornschein & Bengio (2015), per datum.

    Σ w̃_k ∇_θ log p(x, z_k) and Σ w̃_k ∇_φ log q(z_k | x), at constant z_k: the guide descends
    KL(p(z | x) ‖ q), and may be discrete.
    """
    log_w = p.log_weight
    normalized = log_w.detach().softmax(0)
    surrogate = normalized * (p.log_prior + p.log_likelihood + p.log_q)
    return _with_gradient_of(surrogate.sum(0), value=log_mean_exp(log_w.detach()))


def jensen_shannon_bound(p: Particles, *, beta: Weight = 1.0) -> Tensor:
    """E_q[log p(x | z)] − β JS(q ‖ p); bounds no evidence: JS ≤ log 2, however far q is from p."""
    q, prior, z = _only_site(p)
    return (p.log_likelihood - beta * jensen_shannon(q, prior, z)).mean(0)


def geometric_jensen_shannon_bound(
    p: Particles, *, skew: float = 0.5, beta: Weight = 1.0
) -> Tensor:
    """E_q[log p(x | z)] − β JS_G(q ‖ p) in closed form (Deasy, Simidjievski & Liò 2020)."""
    q, prior, _ = _only_site(p)
    return (p.log_likelihood - beta * geometric_jensen_shannon(q, prior, skew=skew)).mean(0)


def jensen_shannon(q: TorchDistribution, p: TorchDistribution, z: Tensor) -> Tensor:
    """An unbiased estimate of JS(q ‖ p) = ½ KL(q ‖ m) + ½ KL(p ‖ m), m = (q + p)/2, in nats.

    Each draw's value is below log 2, since m ≥ q/2 and m ≥ p/2.

    Parameters
    ----------
    q, p
        Distributions of the same shapes.
    z
        A sample of q; one of p is drawn here.

    Examples
    --------
    >>> import pyro.distributions as dist
    >>> q, p = dist.Normal(0.0, 1.0), dist.Normal(50.0, 1.0)
    >>> round(float(jensen_shannon(q, p, q.sample())), 4)  # log 2: they do not overlap
    0.6931
    """
    other = p.rsample() if p.has_rsample else p.sample()

    def excess(of: TorchDistribution, at: Tensor) -> Tensor:
        mixture: Tensor = torch.logaddexp(q.log_prob(at), p.log_prob(at)) - math.log(2)
        return of.log_prob(at) - mixture

    return 0.5 * excess(q, z) + 0.5 * excess(p, other)


def geometric_jensen_shannon(
    q: TorchDistribution, p: TorchDistribution, *, skew: float = 0.5
) -> Tensor:
    """JS_G = (1 − s) KL(q ‖ g) + s KL(p ‖ g), g ∝ q^(1 − s) p^s, for diagonal Gaussians, in nats.

    g is Gaussian with precision (1 − s)/σ_q² + s/σ_p². s = 0 and 1 give 0; unlike JS it is not
    bounded (Nielsen 2019; Deasy et al. 2020).

    Raises
    ------
    UsageError
        If a distribution is no diagonal Gaussian, or the skew is not between 0 and 1.
    """
    _check_skew(skew)
    normals = [_diagonal_normal(d) for d in (q, p)]
    precisions = [n.scale**-2 for n in normals]
    precision = (1 - skew) * precisions[0] + skew * precisions[1]
    weighted = (1 - skew) * precisions[0] * normals[0].loc + skew * precisions[1] * normals[1].loc
    mean = Normal(weighted / precision, precision**-0.5, validate_args=False)
    first, second = (kl_divergence(n, mean) for n in normals)
    return ((1 - skew) * first + skew * second).sum(-1)


def _check_skew(skew: float) -> None:
    if not 0 <= skew <= 1:
        raise UsageError(f"the skew of the geometric Jensen–Shannon lies in 0…1; got {skew}")


def _diagonal_normal(d: TorchDistribution) -> Normal:
    base = d.base_dist if isinstance(d, Independent) and len(d.event_shape) == 1 else None
    if not isinstance(base, Normal):
        raise UsageError(
            "geometric_js has a closed form for diagonal Gaussian guides and priors; use js"
        )
    return base


def _only_site(p: Particles) -> tuple[TorchDistribution, TorchDistribution, Tensor]:
    """q, prior and sample of the one latent site."""
    names = [name for name in p.model_sites if name not in p.observed]
    if len(names) != 1 or names != list(p.guide_sites):
        raise UsageError("js needs a pair with one latent site, which its guide samples")
    site = p.guide_sites[names[0]]
    return site["fn"], p.model_sites[names[0]]["fn"], site["value"]


def _tempered(p: Particles, bound: Tensor, beta: Weight) -> Tensor:
    """A bound L on K particles, its latent terms weighed by β outside the average over them.

    β L + (1 − β) E_q[log p(x | z)] up to β = 1, and L − (β − 1) KL(q ‖ p) above. Both are
    E_q[log p(x | z)] − β KL(q ‖ p) at K = 1. (L + (1 − β) KL would be, too; but for K > 1 it has no
    maximum: a guide far from the prior gains more in KL than it loses in L.)
    """
    if not isinstance(beta, Tensor) and beta == 1:
        return bound
    weight = torch.as_tensor(beta, dtype=bound.dtype)
    below, above = weight.clamp(max=1.0), (weight - 1).clamp(min=0.0)
    return below * bound + (1 - below) * p.log_likelihood.mean(0) - above * p.kl.mean(0)


def _with_gradient_of(surrogate: Tensor, *, value: Tensor) -> Tensor:
    return value + (surrogate - surrogate.detach())


@dataclass(frozen=True)
class Bound:
    """A function over particles, and what it asks for.

    Attributes
    ----------
    function
        Particles and options to (B,).
    num_particles
        K unless given.
    reparameterised
        Whether gradients reach the guide through the samples.
    remark
        What must be said beside its value; empty for a lower bound on log p(x).
    """

    function: Callable[..., Tensor]
    num_particles: int = 1
    reparameterised: bool = True
    remark: str = ""

    @property
    def options(self) -> list[str]:
        """Names of its options."""
        return ["num_particles", *[n for n in inspect.signature(self.function).parameters][1:]]

    @property
    def tempers(self) -> bool:
        """Whether a weight β of the latent terms is defined."""
        return "beta" in self.options

    def with_options(self, name: str, options: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """K, and the other options; checked.

        Raises
        ------
        UsageError
            If an option is unknown or out of range.
        """
        unknown = sorted(set(options) - set(self.options))
        if unknown:
            raise UsageError(
                f"the objective {name} has no option {', '.join(unknown)}; it has "
                f"{', '.join(self.options)}"
            )
        others = {key: value for key, value in options.items() if key != "num_particles"}
        count = checked_count(options.get("num_particles", self.num_particles))
        for option, value in others.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value):
                raise UsageError(f"{option} of the objective {name} is a number; got {value!r}")
        if not others.get("beta", 1) > 0:
            raise UsageError(f"beta must be positive; got {others['beta']}")
        if not others.get("alpha", 0) >= 0:
            raise UsageError(f"alpha must be at least 0 for a lower bound; got {others['alpha']}")
        _check_skew(others.get("skew", 0.5))
        return count, others


_NO_BOUND = "it bounds no evidence"
BOUNDS: dict[str, Bound] = {
    "mean_field": Bound(mean_field),
    "monte_carlo": Bound(monte_carlo),
    "stl": Bound(stick_the_landing),
    "iwae": Bound(iwae, num_particles=5),
    "dreg": Bound(dreg, num_particles=5),
    "renyi": Bound(renyi, num_particles=5),
    "rws": Bound(reweighted_wake_sleep, num_particles=5, reparameterised=False),
    "js": Bound(
        jensen_shannon_bound,
        remark=f"{_NO_BOUND}, and its regulariser saturates: JS is at most log 2 = 0.693 nats",
    ),
    "geometric_js": Bound(geometric_jensen_shannon_bound, remark=_NO_BOUND),
}
