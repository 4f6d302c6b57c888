"""Images from a pair, as figures want them: nothing of the pair or of torch is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from pyro import poutine
from torch import Tensor

from inference.learning.randomness import seeded
from inference.posterior.reconstruction import Draw
from pyro_models import Pair, UsageError

__all__ = [
    "check_data",
    "check_draw",
    "check_images",
    "condition",
    "decoded_means",
    "device_of",
    "given",
    "prior_images",
    "undisturbed",
]


def device_of(pair: Pair) -> torch.device:
    """Where the pair's parameters are."""
    device: torch.device = next(iter(pair.parameters())).device
    return device


@contextmanager
def undisturbed(pair: Pair, *, seed: int = 0) -> Iterator[torch.device]:
    """Evaluation mode, no gradients and seeded generators inside; all as before outside."""
    modules = [m for part in (pair.model, pair.guide) for m in part.modules()]
    modes = [m.training for m in modules]
    device = device_of(pair)
    try:
        for module in modules:
            pass
        with torch.no_grad(), seeded(seed, device):
            yield device
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def check_data(pair: Pair, x: Tensor) -> None:
    """Refuse data that do not fit the pair, or none at all.

    Raises
    ------
    UsageError
        One line that says which shape was met and which is needed.
    """
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
    shape = tuple(pair.data_shape)
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise UsageError(
            f"figures of images need images of 1 or 3 channels, (C, H, W); this "
            f"{type(pair).__name__} is of data of shape {shape}"
        )
    for x in data:
        check_data(pair, x)


def check_draw(name: str, draw: str) -> None:
    """Refuse what is neither ``"mean"`` nor ``"sample"``.

    Raises
    ------
    UsageError
        With the option's name.
    """
    if draw not in ("mean", "sample"):
        raise UsageError(f"{name} is 'mean' or 'sample'; got {draw!r}")


def given(y: Tensor | int | None, count: int, device: torch.device) -> Tensor | None:
    """Labels (count,) on the device, from one label for all or one for each.

    Raises
    ------
    UsageError
        If there are labels, but not ``count``.
    """
    if y is None:
        return None
    labels = torch.as_tensor(y, device=device)
    if labels.dim() == 0:
        return labels.expand(count)
    if labels.shape != (count,):
        raise UsageError(f"give {count} labels, one per datum; got shape {tuple(labels.shape)}")
    return labels


def condition(pair: Pair, y: Tensor | int | None) -> str:
    """``", y"`` where labels were given to a pair that conditions on them, for a figure's text."""
    return "" if y is None or pair.num_classes is None else ", y"


def decoded_means(pair: Pair, latents: Mapping[str, Tensor], y: Tensor | None) -> Tensor:
    """E[x | latents], (\\*batch, \\*data_shape), on the CPU."""
    mean: Tensor = pair.decode(latents, y=y)["x"].mean
    return mean.cpu()


def prior_images(pair: Pair, *, n: int, y: Tensor | int | None, pixels: Draw, seed: int) -> Tensor:
    """Images of latents drawn from the prior, (n, C, H, W): E[x | z], or x ~ p(x | z).

    The same seed gives the same latents, whichever of the two is shown.
    """
    with undisturbed(pair, seed=seed) as device:
        labels = given(y, n, device)
        trace = poutine.trace(pair.model).get_trace(n=n, y=labels)
        if pixels == "sample":
            sample: Tensor = trace.nodes["x"]["value"]
            return sample.cpu()
        latents = {name: trace.nodes[name]["value"] for name in pair.latent_sites if name in trace}
        return decoded_means(pair, latents, labels)
