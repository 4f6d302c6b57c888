"""Where the density of a guide can be computed at all: rounding z must not change log q(z).

A covariance that is far narrower in one direction than z can be told apart in its float type gives
densities at its own draws that are too low by any amount, and a bound that is too high by as much;
an optimiser finds such places, since they look like gains.
"""

from __future__ import annotations

from collections.abc import Callable

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from inference.posterior.guides.per_datum import for_data
from inference.posterior.log_density import LogDensity
from inference.sites import density_sites, joint_of, log_prob_of, traced
from pyro_models.seeds import seeded

__all__ = ["ILL_CONDITIONED", "impossible_data", "rounding_of_log_q", "without_density"]

ILL_CONDITIONED = 0.1
"""Nats by which rounding may change log q(z). Sound fits are at 1e-6 to 1e-3, lost ones above 1."""

_DRAWS = 8


def rounding_of_log_q(target: LogDensity, guide: nn.Module) -> Tensor:
    """ε √Σ_d (z_d ∂ log q(z) / ∂z_d)² on average over draws z ~ q, (B,), nats.

    ε is the rounding of the float type. It is first order in the rounding of each z_d, and grows
    with the narrowest direction of q, however wide the others are.
    """
    with seeded(0, target.x.device), torch.enable_grad(), pyro.validation_enabled(False):
        with torch.no_grad():
            drawn = traced(guide, target.data, _DRAWS)
        latents = []
        for site in density_sites(drawn).values():
            if site["value"].is_floating_point():
                site["value"] = site["value"].detach().requires_grad_()
                latents.append(site["value"])
        again = traced(poutine.replay(guide, trace=drawn), target.data, _DRAWS)
        terms = [log_prob_of(site) for site in density_sites(again).values()]
        log_q = joint_of(terms, target.x.new_zeros(()), (_DRAWS, len(target)))
        size = torch.zeros_like(log_q)
        if latents and log_q.requires_grad:
            slopes = torch.autograd.grad(log_q.sum(), latents, allow_unused=True)
            for z, slope in zip(latents, slopes, strict=True):
                if slope is not None:
                    # scaled first, since the square of a slope may be too large for a float
                    part = torch.finfo(z.dtype).eps * z.detach() * slope
                    size = size + part.square().flatten(2).sum(-1).to(size)
    return size.sqrt().mean(0).detach()


def without_density(target: LogDensity, guide: nn.Module) -> Tensor:
    """Rows of a guide at which log q cannot be computed in its float type, (B,) booleans."""
    try:
        return ~(rounding_of_log_q(target, guide) <= ILL_CONDITIONED)
    except torch.linalg.LinAlgError:
        return impossible_data(target, guide, rounding_of_log_q)


def impossible_data(
    target: LogDensity, guide: nn.Module, call: Callable[[LogDensity, nn.Module], object]
) -> Tensor:
    """Rows for which a call of data and guide ends in a matrix that cannot be factorised, (B,).

    The call fails for all together; halves are tried until the rows are found. If it is for none of
    them, alone, it is for all.
    """

    def broken(rows: Tensor) -> list[int]:
        try:
            call(target.select(rows), for_data(guide, rows, len(target)))
        except torch.linalg.LinAlgError:
            if len(rows) == 1:
                return rows.tolist()
            half = len(rows) // 2
            return broken(rows[:half]) + broken(rows[half:])
        return []

    found = broken(torch.arange(len(target), device=target.x.device))
    those = torch.zeros(len(target), dtype=torch.bool, device=target.x.device)
    those[found] = True
    return those if found else torch.ones_like(those)
