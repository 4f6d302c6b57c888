"""Pyro's AutoNormal, made anew for every call."""

from __future__ import annotations

import itertools
from typing import Any, cast

import pyro
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoNormal, init_to_value
from torch import Tensor, nn

from inference.posterior.continuous import Moments
from inference.posterior.guides.family import Family
from inference.posterior.guides.normal import NormalGuide, check_scale
from inference.posterior.log_density import LogDensity
from pyro_models.pair import data_plate

__all__ = ["AUTO_NORMAL", "AutoNormalGuide"]

_counter = itertools.count()


class AutoNormalGuide(nn.Module):
    """``pyro.infer.autoguide.AutoNormal`` as a guide that stays out of Pyro's global store.

    A bare AutoNormal has no parameters before its first call, shares them by name with every other
    AutoNormal of the process, and keeps the size of the batch it saw first. This one has a name of
    its own, has its parameters from the start, where fits begin with standard deviations ``scale``,
    and takes as many data as it has rows.
    """

    def __init__(self, target: LogDensity, *, scale: float = 0.1) -> None:
        super().__init__()
        discrete = [n for n, site in target.pair.latent_sites.items() if site.discrete]
        model = poutine.block(target.pair.model, hide=discrete)
        start = init_to_value(values={n: m.mean for n, m in target.start.items()})
        auto = AutoNormal(
            model, init_loc_fn=start, init_scale=float(check_scale(scale)), create_plates=_plate
        )
        auto._pyro_name = f"AutoNormal_{next(_counter)}"
        with torch.no_grad(), poutine.block(), pyro.get_param_store().scope():
            auto(target.x, **target.conditions)
        self.auto = auto
        self.sites = tuple(target.prior)

    def forward(self, x: Tensor, **conditions: Any) -> None:
        """Sample every continuous site."""
        with pyro.get_param_store().scope():
            self.auto(x, **conditions)

    @torch.no_grad()
    def moments(self) -> dict[str, Moments]:
        """Mean and scale of every site, (B, \\*event_shape)."""
        with pyro.get_param_store().scope():
            found = {n: self.auto._get_loc_and_scale(n) for n in self.sites}
        return {name: Moments(loc, scale) for name, (loc, scale) in found.items()}


def _plate(x: Tensor, *, n: int | None = None, **_: Any) -> pyro.plate:
    return data_plate(x, n, x)


# what is fitted, without Pyro's detour by auxiliary sites; the latents are real
AUTO_NORMAL = Family(
    AutoNormalGuide,
    finish=lambda _, guide: NormalGuide(cast(AutoNormalGuide, guide).moments()),
)
