"""The Jensen–Shannon divergence, and its geometric sister, in the place of the KL."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from inference.declared import declared, within
from inference.objectives.bound import FINITE, Tempered, Weight
from inference.particles import Particles
from pyro_models import UsageError

__all__ = [
    "GeometricJensenShannon",
    "JensenShannon",
    "geometric_jensen_shannon",
    "jensen_shannon",
]

_SKEW = within(0, 1, what="the skew of the geometric Jensen–Shannon")


@dataclass(frozen=True, kw_only=True)
class JensenShannon(Tempered):
    r"""The ELBO with the Jensen–Shannon divergence in the place of the KL; it bounds no evidence.

    .. math:: \E_q[\log p(x | z)] − β \JS(q ‖ p), \quad
       \JS(q ‖ p) = ½ \KL(q ‖ m) + ½ \KL(p ‖ m), \quad m = \frac{q + p}{2}

    JS ≤ log 2, however far q is from p.
    """

    remark: ClassVar[str] = (
        "it bounds no evidence, and its regulariser saturates: JS is at most log 2 = 0.693 nats"
    )

    def __call__(self, p: Particles, *, beta: Weight = 1.0) -> Tensor:
        """The objective of every datum, (B,), nats."""
        q, prior, z = _only_site(p)
        return (p.log_likelihood - beta * jensen_shannon(q, prior, z)).mean(0)


@dataclass(frozen=True, kw_only=True)
class GeometricJensenShannon(Tempered):
    r"""The same with the geometric divergence, in closed form (Deasy, Simidjievski & Liò 2020).

    .. math:: \E_q[\log p(x | z)] − β \JS_G(q ‖ p), \quad
       \JS_G = (1 − s) \KL(q ‖ g) + s \KL(p ‖ g), \quad g ∝ q^{1 − s} p^s
    """

    remark: ClassVar[str] = "it bounds no evidence"

    skew: float = declared(0.5, "Weight s of the prior in the geometric mean.", FINITE, _SKEW)

    def __call__(self, p: Particles, *, beta: Weight = 1.0) -> Tensor:
        """The objective of every datum, (B,), nats."""
        q, prior, _ = _only_site(p)
        apart = geometric_jensen_shannon(q, prior, skew=self.skew)
        return (p.log_likelihood - beta * apart).mean(0)


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
    _SKEW("skew", skew)
    normals = [_diagonal_normal(d) for d in (q, p)]
    precisions = [n.scale**-2 for n in normals]
    precision = (1 - skew) * precisions[0] + skew * precisions[1]
    weighted = (1 - skew) * precisions[0] * normals[0].loc + skew * precisions[1] * normals[1].loc
    mean = Normal(weighted / precision, precision**-0.5, validate_args=False)
    first, second = (kl_divergence(n, mean) for n in normals)
    return ((1 - skew) * first + skew * second).sum(-1)


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
