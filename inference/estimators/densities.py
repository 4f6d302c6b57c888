"""log p(x) of rows, exactly or by K particles, with labels that a model is given summed out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from inference.evaluation.evidence import Evidence, evidence
from inference.posterior import Posterior, infer
from pyro_models import Observed, Pair
from pyro_models.contract import fulfills, has_encoder
from pyro_models.pair import Exact

__all__ = ["Draws", "evidence_of", "kind_of", "log_joint_of"]


def kind_of(pair: Pair, *, half_seen: bool = False) -> str:
    """``"exact"``, ``"lower bound"``, or ``"objective only"`` where there is no probability."""
    if pair.likelihood.measure is None:
        return "objective only"
    return "exact" if _is_exact(pair, half_seen=half_seen) else "lower bound"


def _is_exact(pair: Pair, *, half_seen: bool) -> bool:
    decided = any(site.why_not_free for site in pair.latent_sites.values())
    return fulfills(pair, Exact) and not (decided and half_seen)


@dataclass(frozen=True)
class Draws:
    """How what is not known exactly is estimated: K draws of a guide, by a seed.

    ``guide`` is fitted to each datum, as :func:`inference.infer` has it with its ``options``. It is
    the pair's own for ``None``, or, of a pair without an encoder, ``"normal"``.
    """

    num_particles: int
    seed: int
    guide: str | Mapping[str, Any] | None = None
    options: Mapping[str, Any] | None = None

    def posterior(self, pair: Pair, data: Observed, y: int | None = None) -> Posterior | None:
        """The guide fitted to data; ``None`` for the pair's own."""
        if self.guide is None and has_encoder(pair):
            return None
        options = {"seed": self.seed, **(self.options or {})}
        return infer(pair, data, y=y, guide=self.guide or "normal", **options)


def _of(pair: Pair, data: Observed, y: int | None, draws: Draws) -> Evidence:
    if _is_exact(pair, half_seen=data.half_seen):
        return evidence(pair, data, y=y, method="exact", seed=draws.seed)
    guide = draws.posterior(pair, data, y)
    how: dict[str, Any] = {"num_particles": draws.num_particles, "seed": draws.seed}
    return evidence(pair, data, y=y, method="importance", guide=guide, **how)


def log_joint_of(
    pair: Pair, data: Observed, log_prior: Tensor, draws: Draws
) -> tuple[Tensor, list[Evidence]]:
    """log p(y) p(x | y) of every datum and class, (B, C), of a pair that is given labels."""
    of_classes = [_of(pair, data, c, draws) for c in range(len(log_prior))]
    values = torch.stack([found.value for found in of_classes], 1)
    return values + log_prior.to(values), of_classes


def evidence_of(pair: Pair, data: Observed, log_prior: Tensor | None, draws: Draws) -> Evidence:
    """log p(x) of every datum; with the log-probabilities of classes log Σ_y p(y) p(x | y)."""
    if log_prior is None:
        return _of(pair, data, None, draws)
    log_joint, of_classes = log_joint_of(pair, data, log_prior, draws)
    errors = torch.stack([found.standard_error for found in of_classes], 1)
    error = (log_joint.softmax(1) * errors).square().sum(1).sqrt()
    return replace(
        of_classes[0],
        value=log_joint.logsumexp(1),
        standard_error=error,
        effective_sample_size=None,
        given=None,
        identity=None,
    )
