"""Images from a pair, as figures want them: nothing of the pair or of torch is changed."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pyro_models import Pair, UsageError
from pyro_models.contract import check_pair

__all__ = [
    "check_data",
    "check_images",
    "condition",
    "decoded_means",
]


def check_data(pair: Pair, x: Tensor) -> None:
    """Refuse data that do not fit the pair, or none at all.

    Raises
    ------
    UsageError
        One line that says which shape was met and which is needed.
    """
    check_pair(pair)
    if not isinstance(x, Tensor):
        raise UsageError(f"figures are of tensors; got a {type(x).__name__}: give torch.as_tensor")
    if tuple(x.shape[1:]) != tuple(pair.data_shape) or not len(x):
        expected = ", ".join(["B", *map(str, pair.data_shape)])
        raise UsageError(f"give data of shape ({expected}), B ≥ 1; got {tuple(x.shape)}")


def check_images(pair: Pair, *data: Tensor) -> None:
    """Refuse pairs whose data are no images, and images that do not fit the pair.

    Raises
    ------
    UsageError
        One line that says which shape was met and which is needed.
    """
    check_pair(pair)
    shape = tuple(pair.data_shape)
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise UsageError(
            f"figures of images need images of 1 or 3 channels, (C, H, W); this "
            f"{type(pair).__name__} is of data of shape {shape}"
        )
    for x in data:
        check_data(pair, x)


def condition(pair: Pair, y: Tensor | int | None) -> str:
    """``", y"`` where labels were given to a pair that conditions on them, for a figure's text."""
    return "" if y is None or pair.num_classes is None else ", y"


def decoded_means(pair: Pair, latents: Mapping[str, Tensor], y: Tensor | None) -> Tensor:
    """E[x | latents], (\\*batch, \\*data_shape), on the CPU."""
    mean: Tensor = pair.decode(latents, y=y)["x"].mean
    return mean.cpu()
