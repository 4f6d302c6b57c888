"""Means and standard deviations of every site of a program, with their own Monte-Carlo errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from inference.mcmc.diagnostics import effective_sample_size
from inference.posterior.guides.draws import DrawsGuide
from inference.programs import ProgramPosterior
from inference.programs.guides.references import GridGuide
from inference.programs.pair import SITE
from pyro_models.brief import Brief

__all__ = ["Departures", "Moments", "departures", "moments", "moments_of"]


@dataclass(frozen=True, eq=False)
class Moments(Brief):
    """Mean and standard deviation of each site, and the standard errors of both, (\\*shape)."""

    mean: Mapping[str, Tensor]
    mean_error: Mapping[str, Tensor]
    sd: Mapping[str, Tensor]
    sd_error: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Departures(Brief):
    """What a guide's moments differ from the reference's, by site, (\\*shape) each.

    Attributes
    ----------
    mean, mean_error
        (E_q[θ] − E_ref[θ]) / sd_ref[θ], and the standard error of both sides together.
    sd, sd_error
        sd_q[θ] / sd_ref[θ] − 1: −0.5 where q is half as wide as it should be; and its error.
    """

    mean: Mapping[str, Tensor]
    mean_error: Mapping[str, Tensor]
    sd: Mapping[str, Tensor]
    sd_error: Mapping[str, Tensor]

    def worst(self, what: str) -> tuple[float, float, str]:
        """The largest of ``"mean"`` or ``"sd"``, its standard error, and the number it is of."""
        values, errors = getattr(self, what), getattr(self, f"{what}_error")
        found = []
        for name, value in values.items():
            at = int(value.abs().nan_to_num(torch.inf).argmax())
            shown = name if not value.dim() else f"{name}{_index(at, value.shape)}"
            found.append((float(value.flatten()[at]), float(errors[name].flatten()[at]), shown))
        return max(found, key=lambda each: abs(each[0]))


def _index(at: int, shape: torch.Size) -> str:
    return f"[{', '.join(str(i) for i in np.unravel_index(at, shape))}]"


def moments(draws: Mapping[str, Tensor], *, size: float | None = None) -> Moments:
    """Moments of draws by site: (n, \\*shape), worth ``size`` independent ones (n unless given)."""
    return _moments({name: values.unsqueeze(0) for name, values in draws.items()}, size, False)


def moments_of(posterior: ProgramPosterior) -> Moments:
    """Moments of q: of its chains, of its grid, or of draws with as many as they are worth."""
    guide = posterior.posterior.guide
    if isinstance(guide, DrawsGuide) and guide.num_chains:
        return _moments(chains_of(posterior), None, True)
    if isinstance(guide, GridGuide):
        both = (posterior.mean, posterior.sd)
        mean, sd = ({n: v.cpu().double() for n, v in of.items()} for of in both)
        zero = {name: torch.zeros_like(value) for name, value in mean.items()}
        return Moments(mean, zero, sd, zero)
    proposal, size = posterior.posterior.proposal, None
    if proposal is not None:
        count = len(next(iter(posterior.draws.values())))
        size = float(proposal.effective_sample_size(count))
    return moments(posterior.draws, size=size)


def chains_of(posterior: ProgramPosterior) -> dict[str, Tensor]:
    """Draws of chains by site, (C, S, \\*shape)."""
    guide = posterior.posterior.guide
    assert isinstance(guide, DrawsGuide)
    return posterior.constrained(guide.chains()[0][SITE][:, :, 0])


def _moments(draws: Mapping[str, Tensor], size: float | None, chains: bool) -> Moments:
    """Of draws (C, S, \\*shape); those of ``chains`` are worth what their autocorrelation says."""
    parts: dict[str, list[Tensor]] = {}
    for name, drawn in draws.items():
        values = drawn.detach().cpu().double()  # some devices have no float64
        count = values.shape[0] * values.shape[1]
        mean = values.mean((0, 1))
        squares = (values - mean).square()
        sd = (squares.sum((0, 1)) / (count - 1)).sqrt()
        worth = [
            torch.as_tensor(effective_sample_size(of)).to(mean) if chains else size or count
            for of in (values, squares)
        ]
        spread = (squares - squares.mean((0, 1))).square().mean((0, 1)).sqrt()
        of_mean, of_sd = sd / worth[0] ** 0.5, spread / worth[1] ** 0.5 / (2 * sd)
        parts[name] = [mean, of_mean, sd, torch.where(sd > 0, of_sd, torch.zeros_like(sd))]
    return Moments(*({name: of[i] for name, of in parts.items()} for i in range(4)))


def departures(of: Moments, reference: Moments) -> Departures:
    """What moments differ from those of a reference, in units of its standard deviations."""
    parts: dict[str, list[Tensor]] = {}
    for name, sd in reference.sd.items():
        ratio = of.sd[name] / sd
        parts[name] = [
            (of.mean[name] - reference.mean[name]) / sd,
            torch.hypot(of.mean_error[name], reference.mean_error[name]) / sd,
            ratio - 1,
            torch.hypot(of.sd_error[name], ratio * reference.sd_error[name]) / sd,
        ]
    return Departures(*({name: each[i] for name, each in parts.items()} for i in range(4)))
