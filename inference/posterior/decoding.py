"""Data from latents: what is drawn and what averaged, and p(x | latents) of any pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pyro.distributions import TorchDistribution
from torch import Tensor

from inference.isolated import evaluating
from pyro_models import Pair, UsageError
from pyro_models.contract import check_pair, fulfills, has_encoder
from pyro_models.observed import Observed
from pyro_models.pair import ConditionsOnPixels

__all__ = ["Draw", "check_can_complete", "check_completes", "check_draw", "decoded_from"]

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


def check_can_complete(pair: Pair) -> None:
    """Refuse a pair whose latents are the pixels: what is not seen has no latents to be found."""
    if any(site.why_not_free for site in pair.latent_sites.values()):
        unseen = getattr(pair.guide, "unseen", "") or "something"
        raise UsageError(
            f"a {type(pair).__name__} completes nothing: no chain or fitted guide can follow its "
            f"latents, nor can its own guide, which puts {unseen} where nothing is seen"
        )


def check_completes(pair: Pair) -> None:
    """Refuse a pair's own guide that puts something in unseen pixels, or knows nothing of x."""
    if not has_encoder(pair):
        raise UsageError(
            f"{type(pair).__name__} has no encoder to complete by: infer a guide, such as normal"
        )
    if unseen := getattr(pair.guide, "unseen", ""):
        check_can_complete(pair)
        raise UsageError(
            f"{type(pair).__name__} cannot complete by its own guide, which puts {unseen} where "
            "nothing is seen: infer one, such as normal"
        )
