"""New data from a pair's model."""

from __future__ import annotations

import torch
from pyro import poutine
from torch import Tensor

from inference.posterior.reconstruction import Draw, check_draw
from inference.undisturbed import undisturbed
from pyro_models import Pair, UsageError

__all__ = ["generate", "labels_for"]


def labels_for(y: Tensor | int | None, count: int, device: torch.device) -> Tensor | None:
    """Labels (count,) on the device, from one label for all or one for each.

    Raises
    ------
    UsageError
        If there are labels, but not ``count``, or they are no integers.
    """
    if y is None:
        return None
    labels = torch.as_tensor(y, device=device)
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise UsageError(f"labels are integers, −1 where missing; got {labels.dtype}")
    if labels.dim() == 0:
        return labels.expand(count)
    if labels.shape != (count,):
        raise UsageError(f"give {count} labels, one per datum; got shape {tuple(labels.shape)}")
    return labels


def generate(
    pair: Pair, *, n: int, y: Tensor | int | None = None, pixels: Draw = "mean", seed: int = 0
) -> Tensor:
    """Data of latents drawn from the prior, (n, \\*data_shape), on the CPU.

    The same seed gives the same latents, whichever of the two is asked for; the caller's generators
    do not move.

    Parameters
    ----------
    pair
        Whose model generates.
    n
        How many.
    y
        Labels (n,), or one for all, for a pair that conditions on them.
    pixels
        ``"mean"``: E[x | z]. ``"sample"``: x ~ p(x | z).
    seed
        Of the draws.

    Examples
    --------
    >>> from pyro_models import VAE
    >>> generate(VAE((1, 8, 8), hidden=[16]), n=5).shape
    torch.Size([5, 1, 8, 8])

    Raises
    ------
    UsageError
        If n < 1, or labels do not fit.
    """
    check_draw("pixels", pixels)
    if n < 1:
        raise UsageError(f"n must be at least 1; got {n}")
    with undisturbed(pair, seed=seed) as device:
        labels = labels_for(y, n, device)
        trace = poutine.trace(pair.model).get_trace(n=n, y=labels)
        if pixels == "sample":
            sample: Tensor = trace.nodes["x"]["value"]
            return sample.cpu()
        latents = {name: trace.nodes[name]["value"] for name in pair.latent_sites if name in trace}
        mean: Tensor = pair.decode(latents, y=labels)["x"].mean
        return mean.cpu()
