"""The ELBO for a guide of any kind: pathwise, score-function and enumerated sites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from inference.objectives.bound import Tempered, Weight, with_gradient_of
from inference.particles import Particles
from inference.sites import Site, log_prob_of, may_be_enumerated

__all__ = ["AnyGuideELBO", "WithBaselines", "WithDice"]


@dataclass(frozen=True, kw_only=True)
class AnyGuideELBO(Tempered):
    """E_q[log p(x | z) + β (log p(z) − log q(z | x))], for every kind of site in the guide.

    Each datum has its own cost c = log p(x, z) − log q(z | x), β in it, whose gradient is taken

    - through the sample, where the site is reparameterised;
    - as c ∇ log q(z | x), c held fixed, where it is not;
    - by summing q(k | x) c over all values k, where the guide marks the site as enumerated.

    Value and gradient are those of Pyro's Trace_ELBO for models whose sites all lie in the plate
    over data. Of a sampled site, −∇ log q is left out of ∇c: its mean is 0.
    """

    any_guide: ClassVar[bool] = True
    baselines: ClassVar[bool] = False
    whole_cost: ClassVar[bool] = False

    def __call__(self, p: Particles, *, beta: Weight = 1.0) -> Tensor:
        """The bound of every datum, (B,), nats."""
        if p.enumerated:
            return self._summed(p, beta)
        cost = p.log_likelihood + beta * (p.log_prior - p.log_q)
        sampled = [site for site in p.guide_sites.values() if not site["fn"].has_rsample]
        if not sampled:
            return cost.mean(0)
        of_samples = _log_probs(p.guide_sites, lambda s: s["fn"].has_rsample)
        score = cost if self.whole_cost else p.log_likelihood + beta * (p.log_prior - of_samples)
        for site in sampled:
            advantage = cost.detach()
            for baseline in _baselines(site) if self.baselines else ():
                score = score - (advantage - baseline).square()
                advantage = advantage - baseline
            score = score + log_prob_of(site) * advantage.detach()
        return with_gradient_of(score, value=cost.detach()).mean(0)

    def _summed(self, p: Particles, beta: Weight) -> Tensor:
        """Σ_k q(k | x) (log p(x, k, z_k) − log q(k, z_k | x)), no term of which is 0 · ∞."""
        prior = _log_probs(p.model_sites, lambda s: not s["is_observed"])
        likelihood = _log_probs(p.model_sites, lambda s: s["is_observed"])
        log_weight = _log_probs(p.guide_sites, may_be_enumerated)
        cost = likelihood + beta * (prior - _log_probs(p.guide_sites, lambda s: True))
        weight = log_weight.exp().expand_as(cost)
        each = weight * cost.masked_fill(weight == 0, 0.0)
        return each.sum(tuple(range(each.dim() - 2))).expand(p.shape).mean(0)


@dataclass(frozen=True, kw_only=True)
class WithBaselines(AnyGuideELBO):
    """The same, the cost at a sampled site less its ``baseline``, which is trained to predict it.

    Value and gradient are those of Pyro's TraceGraph_ELBO.
    """

    baselines: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class WithDice(AnyGuideELBO):
    """The same with all of ∇c; value and gradient are those of Pyro's TraceEnum_ELBO."""

    whole_cost: ClassVar[bool] = True


def _log_probs(sites: Mapping[str, Site], which: Any) -> Any:
    """Sum of the log densities of some sites, in whatever dimensions they have."""
    return sum(log_prob_of(site) for site in sites.values() if which(site))


def _baselines(site: Site) -> list[Tensor]:
    """What predicts the cost at a site: its ``nn_baseline`` or its ``baseline_value``."""
    options = site["infer"].get("baseline", {})
    if options.get("nn_baseline") is not None:
        return [options["nn_baseline"](options["nn_baseline_input"].detach())]
    return [options["baseline_value"]] if "baseline_value" in options else []
