"""Pyro's autoguides by name, over unconstrained reals in standard units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.transforms import affine_autoregressive, iterated
from pyro.infer import autoguide
from pyro.infer.autoguide import AutoGuide, AutoGuideList

from inference.posterior.guides import Family
from inference.posterior.log_density import LogDensity
from inference.programs.guides.of_sites import SiteGuide, pair_of
from inference.programs.pair import ProgramPair
from pyro_models import UsageError

__all__ = ["AUTOGUIDES", "POINT", "autoguide_family", "blocks"]

POINT = "AutoDelta"
_FLOWS = ("AutoIAFNormal", "AutoNormalizingFlow")


def _plain_model(pair: ProgramPair) -> Callable[[], None]:
    """A model with the program's latents as reals, for the structure alone."""

    def model() -> None:
        for name, site in pair.program.latents.items():
            zero = pair.loc.new_zeros(site.unconstrained)
            pyro.sample(name, dist.Normal(zero, 1.0).to_event(zero.dim()))

    return model


def _made(pair: ProgramPair, name: str, model: Callable[[], None], options: Any) -> AutoGuide:
    """One of Pyro's classes over some sites; it begins at 0, a tenth as wide as standard units."""
    kind = getattr(autoguide, name)
    if name == "AutoNormalizingFlow":
        default = partial(iterated, 2, affine_autoregressive)
        options = {"init_transform_fn": default, **options}
    elif name not in _FLOWS:
        zeros = {n: pair.loc.new_zeros(s.unconstrained) for n, s in pair.program.latents.items()}
        options = {"init_loc_fn": autoguide.init_to_value(values=zeros), **options}
    try:
        return kind(model, **options)
    except TypeError as error:
        raise UsageError(f"the guide {name}: {error}") from error


def autoguide_family(name: str) -> Family:
    """A class of ``pyro.infer.autoguide`` by its name, as a family; its options are Pyro's."""

    def make(target: LogDensity, **options: Any) -> SiteGuide:
        pair = pair_of(target)
        auto = _made(pair, name, _plain_model(pair), options)
        return SiteGuide(pair, auto, name=name, in_reals=True)

    # what AutoStructured draws does not hang on its parameters: no gradient through it alone
    objective = "kl" if name == "AutoStructured" else "path"
    return Family(make, objective=objective, lr=0.01 if name in _FLOWS else 0.05)


AUTOGUIDES = (
    "AutoNormal",
    "AutoDiagonalNormal",
    "AutoMultivariateNormal",
    "AutoLowRankMultivariateNormal",
    "AutoIAFNormal",
    "AutoNormalizingFlow",
    "AutoStructured",
)


def blocks(parts: Sequence[tuple[str, Sequence[str]]]) -> Family:
    """Autoguides side by side, each of some sites: ``[("AutoMultivariateNormal", ["a"]), …]``.

    One may be ``"AutoDelta"``: a point, the best of unconstrained reals; the whole has no density
    then.
    """

    def make(target: LogDensity) -> SiteGuide:
        pair = pair_of(target)
        model, latents = _plain_model(pair), pair.program.latents
        every = [name for _, names in parts for name in names]
        unknown = sorted(set(every) - set(latents))
        if unknown or len(set(every)) < len(every):
            what = f"no latent {', '.join(unknown)}" if unknown else "a latent in two blocks"
            raise UsageError(f"the blocks name {what}; the latents are {', '.join(latents)}")
        left = [name for name in latents if name not in every]
        if left:
            raise UsageError(f"the blocks leave out the latent {', '.join(left)}: add it to one")
        guide = AutoGuideList(model)
        with pyro.get_param_store().scope(), torch.no_grad():
            for name, names in parts:
                own = poutine.block(model, expose=list(names))
                guide.append(_made(pair, name, own, {}))
        return SiteGuide(pair, guide, name="AutoGuideList", in_reals=True)

    return Family(make, objective="kl", lr=0.05, density=POINT not in dict(parts))
