"""How pixels are prepared before a model sees them. The name goes with every number.

======================  =========================================================================
``grey``                as they are, in [0, 1]
``threshold``           1 where the pixel is above 0.5
``dynamic``             a fresh Bernoulli(pixel) draw at each use
``static``              one Bernoulli(pixel) draw, seeded once
``dequantised``         ((L − 1) x + u) / L, u ~ U(0, 1), for L grey levels; (255 x + u) / 256
======================  =========================================================================
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pyro_models.errors import UsageError
from pyro_models.registry import check_choice

__all__ = ["AS_GIVEN", "PREPARATIONS", "is_random", "prepare", "to_grey", "words_of_preparation"]

PREPARATIONS = ("grey", "threshold", "dynamic", "static", "dequantised")
STATIC_SEED = 0
AS_GIVEN = "as given"  # what stands in place of a preparation for vectors, which have none


def words_of_preparation(preparation: str) -> str:
    """What the numbers of a datum are: ``"grey pixels"``, or of vectors ``"as given"``."""
    return preparation if preparation == AS_GIVEN else f"{preparation} pixels"


def is_random(preparation: str) -> bool:
    """Whether each use draws anew."""
    return preparation in ("dynamic", "dequantised")


def prepare(
    x: Tensor,
    preparation: str,
    *,
    levels: int | None,
    generator: torch.Generator,
    numbers: Tensor | None = None,
) -> Tensor:
    """Prepare grey pixels in [0, 1], (N, \\*data_shape), as one of ``PREPARATIONS`` says.

    ``levels`` is the number of grey levels, which dequantised pixels need; ``dynamic`` and
    ``dequantised`` draw from the generator, where it is. Where data have ``numbers``, (N,), the
    draw of ``static`` follows from each, whichever others are prepared with it.

    >>> x = torch.tensor([[0.2, 0.8]])
    >>> prepare(x, "threshold", levels=256, generator=torch.Generator())
    tensor([[0., 1.]])
    """
    check_choice("preparation", preparation, PREPARATIONS)
    if preparation == "grey":
        return x
    if preparation == "threshold":
        return (x > 0.5).to(x.dtype)
    if preparation == "static" and numbers is not None:
        return (_noise_of(numbers, x) < x).to(x.dtype)
    if preparation == "static":
        generator = torch.Generator().manual_seed(STATIC_SEED)
    noise = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=generator.device)
    noise = noise.to(x.device)
    if preparation == "dequantised":
        levels = _known(levels)
        # rounding must not put a pixel on 0 or 1, where a density may be infinite
        edge = torch.finfo(x.dtype).eps / 2
        return ((x * (levels - 1) + noise) / levels).clamp(edge / levels, 1 - edge)
    return (noise < x).to(x.dtype)


def _noise_of(numbers: Tensor, x: Tensor) -> Tensor:
    """U(0, 1) like x, of each datum from a stream of its own."""
    noise = np.empty(x.shape, np.float32)
    for own, number in zip(noise, numbers.tolist(), strict=True):
        bits = np.random.Philox(key=STATIC_SEED, counter=[0, 0, 0, number])
        own[...] = np.random.Generator(bits).random(own.shape, dtype=np.float32)
    return torch.from_numpy(noise).to(x)


def to_grey(x: Tensor, preparation: str, *, levels: int | None) -> Tensor:
    """Bring an expected prepared image back to the scale of grey pixels.

    Exact for the mean: E[((L − 1) x + u) / L] = ((L − 1) x + ½) / L. Other preparations keep it.
    """
    if preparation != "dequantised":
        return x
    levels = _known(levels)
    return (x * levels - 0.5) / (levels - 1)


def _known(levels: int | None) -> int:
    if levels is None:
        raise UsageError(
            "these data have no known number of grey levels, so they cannot be dequantised; "
            "give 8-bit pixels (dtype uint8), or use the preparation grey"
        )
    return levels
