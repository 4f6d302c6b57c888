"""Images from a pair, as figures want them: nothing of the pair or of torch is changed."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pyro_models import Pair, UsageError
from pyro_models.contract import check_pair

__all__ = ["check_images", "check_shape", "condition", "decoded_means"]


def check_images(pair: Pair) -> None:
    """Refuse pairs whose data are no images."""
    check_pair(pair)
    check_shape(tuple(pair.data_shape), f"this {type(pair).__name__} is of")


def check_shape(shape: tuple[int, ...], what: str = "got") -> None:
    """Refuse what is no shape of an image, saying what is of it."""
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise UsageError(
            f"figures of images need images of 1 or 3 channels, (C, H, W); {what} data of shape "
            f"{shape}"
        )


def condition(pair: Pair, y: Tensor | int | None) -> str:
    """``", y"`` where labels were given to a pair that conditions on them, for a figure's text."""
    return "" if y is None or pair.num_classes is None else ", y"


def decoded_means(pair: Pair, latents: Mapping[str, Tensor], y: Tensor | None) -> Tensor:
    """E[x | latents], (\\*batch, \\*data_shape), on the CPU."""
    mean: Tensor = pair.decode(latents, y=y)["x"].mean
    return mean.cpu()
