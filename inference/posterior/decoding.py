"""Data from latents: what is drawn and what averaged, and p(x | latents) of any pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pyro.distributions import TorchDistribution
from torch import Tensor

from inference.isolated import evaluating
from pyro_models import Pair, UsageError
from pyro_models.contract import check_pair, fulfills
from pyro_models.observed import Observed
from pyro_models.pair import ConditionsOnPixels

__all__ = ["Draw", "check_completes", "check_draw", "decoded_from", "has_encoder"]

Draw = Literal["mean", "sample"]


def check_draw(name: str, draw: str) -> None:
    """Refuse what is neither ``"mean"`` nor ``"sample"``, with the option's name."""
    if draw not in ("mean", "sample"):
        raise UsageError(f"{name} is 'mean' or 'sample'; got {draw!r}")


def decoded_from(pair: Pair, latents: Mapping[str, Tensor], data: Observed) -> TorchDistribution:
    """p(x | latents), (\\*batch, B), also of a pair that conditions on pixels of x."""
    check_pair(pair)
    of_pixels = {"x": data.x, "mask": data.mask} if fulfills(pair, ConditionsOnPixels) else {}
    with evaluating(pair):
        decoded: TorchDistribution = pair.decode(latents, y=data.y, **of_pixels)["x"]
    return decoded


def has_encoder(pair: Pair) -> bool:
    """Whether the pair's own guide knows anything of x; that of a generator is its prior."""
    return not getattr(pair.guide, "blind", False)


def check_completes(pair: Pair) -> None:
    """Refuse a pair's own guide that puts something in unseen pixels, or knows nothing of x."""
    if not has_encoder(pair):
        raise UsageError(
            f"{type(pair).__name__} has no encoder to complete by: infer a guide, such as normal"
        )
    if unseen := getattr(pair.guide, "unseen", ""):
        free = not any(site.why_not_free for site in pair.latent_sites.values())
        raise UsageError(
            f"{type(pair).__name__} cannot complete by its own guide, which puts {unseen} where "
            f"nothing is seen{': infer one, such as normal' if free else ''}"
        )
