"""Masks by name. A mask is what is *seen*: ``left`` leaves the left half in and the right half out.

==================================================  ===========================================
``left``, ``right``, ``top``, ``bottom``            a half; of an odd side, the smaller one is
                                                    left or top
``top_left``, ``top_right``, ``bottom_left``, …     a quadrant, from the same halves
``random``                                          pixels drawn without replacement
``everything``                                      all of them
a ``.npy`` file, an array, a tensor                 1 or True where a pixel is seen
==================================================  ===========================================
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyro_models.data.arrays import holds_array, to_tensor
from pyro_models.errors import UsageError
from pyro_models.pair import needed_mask

__all__ = ["MASKS", "Mask", "mask_name", "seen_pixels"]

Mask = str | Path | np.ndarray | Tensor

MASKS = (
    "left",
    "right",
    "top",
    "bottom",
    "top_left",
    "top_right",
    "bottom_left",
    "bottom_right",
    "random",
    "everything",
)


def seen_pixels(
    mask: Mask,
    data_shape: Sequence[int],
    *,
    num_data: int | None = None,
    fraction: float = 0.5,
    seed: int = 0,
    may_be_blind: bool = False,
) -> Tensor:
    """A mask as booleans, True = seen.

    Parameters
    ----------
    mask
        One of ``MASKS``, the path of a ``.npy`` file, or an array of zeros and ones in any shape
        that :func:`pyro_models.pair.pixel_mask` takes.
    data_shape
        Shape of one datum, (C, H, W) or (D,). Vectors have no halves.
    num_data
        Number of data N: ``random`` then draws pixels for each. ``None``: one mask for all.
    fraction
        Of pixels that ``random`` sees; of P pixels, the nearest whole number to fraction · P.
    seed
        Of the draw of ``random``.
    may_be_blind
        Whether it may see nothing of a datum.

    Returns
    -------
    Tensor
        (N or 1, 1, H, W) for images, one value per pixel; (N or 1, D) for vectors.

    Raises
    ------
    UsageError
        If the name is unknown, the shape does not fit, or fits in two ways, values are none of 0
        and 1, or nothing is seen of some datum.

    Examples
    --------
    >>> seen_pixels("left", (1, 2, 4))[0, 0].int()
    tensor([[1, 1, 0, 0],
            [1, 1, 0, 0]], dtype=torch.int32)
    >>> seen_pixels("random", (1, 8, 8), num_data=3, fraction=0.25).flatten(1).sum(1)
    tensor([16, 16, 16])
    """
    shape = tuple(data_shape)
    if isinstance(mask, str | Path) and not str(mask).endswith(".npy"):
        seen = _named(str(mask), shape, num_data=num_data, fraction=fraction, seed=seed)
    else:
        seen = _given(_loaded(mask) if isinstance(mask, str | Path) else mask, shape, num_data)
    empty = (~seen.flatten(1).any(1)).nonzero().flatten().tolist()
    if empty and not may_be_blind:
        of_which = "" if len(seen) == 1 else f" of datum {empty[0]}"
        raise UsageError(f"the mask sees nothing{of_which}: at least one pixel must be seen")
    return seen


def mask_name(mask: Mask, *, fraction: float = 0.5) -> str:
    """What to call a mask in a table: its name, its file's, or a checksum of an array.

    With ``random`` goes the fraction of pixels it sees.

    >>> mask_name("left"), mask_name(torch.tensor([True, False]))
    ('left', 'mask_4e2e0262')
    """
    if isinstance(mask, str) and mask == "random":
        return f"random_{fraction:g}"
    if isinstance(mask, str | Path):
        return Path(mask).stem if str(mask).endswith(".npy") else str(mask)
    seen = _values(mask).bool().numpy()
    return f"mask_{zlib.crc32(np.packbits(seen).tobytes() + str(seen.shape).encode()):08x}"


def _named(
    name: str, shape: tuple[int, ...], *, num_data: int | None, fraction: float, seed: int
) -> Tensor:
    if name not in MASKS:
        raise UsageError(
            f"unknown mask {name!r}: choose from {', '.join(MASKS)}, or name a .npy file"
        )
    spatial = (1, *shape[1:]) if len(shape) == 3 else shape
    if name == "everything":
        return torch.ones(1, *spatial, dtype=torch.bool)
    if name == "random":
        return _random(spatial, num_data or 1, fraction=fraction, seed=seed)
    if len(shape) != 3:
        raise UsageError(
            f"{name} is a part of an image, and data of shape {shape} are no images: use random, "
            "or an array"
        )
    seen = torch.ones(spatial, dtype=torch.bool)
    _, height, width = shape
    # the four words below cut a half off each: "top_left" leaves what "top" and "left" both see
    for word in name.split("_"):
        if word == "left":
            seen[..., width // 2 :] = False
        elif word == "right":
            seen[..., : width // 2] = False
        elif word == "top":
            seen[..., height // 2 :, :] = False
        else:
            seen[..., : height // 2, :] = False
    return seen.unsqueeze(0)


def _random(spatial: tuple[int, ...], count: int, *, fraction: float, seed: int) -> Tensor:
    if not 0 < fraction <= 1:
        raise UsageError(f"the fraction of pixels seen lies in 0…1, above 0; got {fraction}")
    if not 0 <= seed < 2**32:
        raise UsageError(f"a seed is a whole number in 0…4294967295; got {seed}")
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(count, torch.Size(spatial).numel(), generator=generator).argsort(1)
    seen = order.argsort(1) < round(fraction * order.shape[1])
    return seen.reshape(count, *spatial)


def _loaded(path: str | Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("an archive of several arrays")
    except FileNotFoundError as error:
        raise UsageError(f"there is no mask {path}") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no array that can be read: save it by numpy.save") from error
    return np.asarray(array)


def _given(mask: np.ndarray | Tensor, shape: tuple[int, ...], num_data: int | None) -> Tensor:
    seen = needed_mask(_values(mask), shape, num_data=num_data)
    if len(shape) == 3 and bool((seen == seen[:, :1]).all()):
        seen = seen[:, :1]  # the same for all channels
    return seen


def _values(mask: object) -> Tensor:
    if not holds_array(mask) and not isinstance(mask, list | tuple):
        raise UsageError(
            f"a mask is a name, a .npy file, an array or a tensor; got a {type(mask).__name__}"
        )
    return to_tensor(mask, "a mask")
