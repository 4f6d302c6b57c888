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
from numbers import Real
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyro_models.data.arrays import holds_array, to_tensor
from pyro_models.errors import UsageError
from pyro_models.registry import check_choice
from pyro_models.seeds import check_seed

__all__ = [
    "MASKS",
    "Mask",
    "check_sees",
    "fill_unseen",
    "mask_name",
    "needed_mask",
    "pixel_mask",
    "seen_pixels",
]

Mask = str | Path | np.ndarray | Tensor

_SIDES, _ENDS = ("left", "right"), ("top", "bottom")
_QUADRANTS = tuple(f"{end}_{side}" for end in _ENDS for side in _SIDES)
MASKS = (*_SIDES, *_ENDS, *_QUADRANTS, "random", "everything")


def seen_pixels(
    mask: Mask,
    data_shape: Sequence[int],
    *,
    num_data: int | None = None,
    fraction: float = 0.5,
    seed: int = 0,
    may_be_blind: bool = False,
) -> Tensor:
    """A mask as booleans, True = seen: (N or 1, 1, H, W) for images, (N or 1, D) for vectors.

    Parameters
    ----------
    mask
        One of ``MASKS``, the path of a ``.npy`` file, or an array of zeros and ones in any shape
        that :func:`pixel_mask` takes.
    data_shape
        Shape of one datum, (C, H, W) or (D,). Vectors have no halves.
    num_data
        Number of data N: ``random`` then draws pixels for each. ``None``: one mask for all.
    fraction, seed
        Fraction of the pixels that ``random`` sees, to the nearest whole number, and its seed.
    may_be_blind
        Whether it may see nothing of a datum.

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
    if not may_be_blind:
        check_sees(seen)
    return seen


def check_sees(seen: Tensor) -> None:
    """Refuse a mask (B or 1, \\*data_shape) that sees nothing of a datum, naming the first such."""
    empty = (~seen.flatten(1).any(1)).nonzero().flatten().tolist()
    if empty:
        of_which = "" if len(seen) == 1 else f" of datum {empty[0]}"
        raise UsageError(f"the mask sees nothing{of_which}: at least one pixel must be seen")


def check_fraction(fraction: object) -> None:
    """Refuse what is no fraction of pixels that the mask ``random`` can see.

    >>> check_fraction(2)
    Traceback (most recent call last):
    pyro_models.errors.UsageError: the fraction of pixels seen lies in 0…1, above 0; got 2
    """
    number = isinstance(fraction, Real) and not isinstance(fraction, bool)
    if not number or not 0 < fraction <= 1:  # type: ignore[operator]
        raise UsageError(f"the fraction of pixels seen lies in 0…1, above 0; got {fraction!r}")


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


def pixel_mask(
    mask: Tensor | None,
    data_shape: tuple[int, ...],
    x: Tensor | None = None,
    *,
    num_data: int | None = None,
) -> Tensor | None:
    """A user's mask as booleans of shape (B, \\*data_shape), or (1, \\*data_shape) if shared.

    ``mask`` is True where a pixel is seen: for images (H, W), (C, H, W), (B, H, W) or (B, C, H, W),
    where C may be 1; for vectors (D,) or (B, D). One value per pixel covers all its channels. It is
    refused if it is no tensor, a value is none of 0 and 1, or its shape fits none of these, or two:
    (3, H, W) beside three data of three channels. x are the data it goes with, which must fit too
    and be numbers with a point, since nothing else has a density; ``num_data`` is how many these
    are where they are not at hand.
    """
    if x is not None:
        _check_data(x, data_shape)
        num_data = len(x)
    if mask is None:
        return None
    if not isinstance(mask, Tensor):
        what = repr(mask) if isinstance(mask, str) else f"a {type(mask).__name__}"
        raise UsageError(
            f"a mask is a tensor, True where a pixel is seen; got {what}: "
            "pyro_models.data.masks.seen_pixels makes one of a name, a file or an array"
        )
    mask = _as_booleans(mask)
    if len(data_shape) == 3 and mask.shape[-2:] == data_shape[1:]:
        if mask.dim() == 2:
            mask = mask[None, None]
        elif mask.dim() == 3:
            per_channel = mask.shape[0] == data_shape[0]
            if per_channel and num_data == mask.shape[0] > 1:
                raise UsageError(
                    f"a mask of shape {tuple(mask.shape)} may be one per datum or one per channel: "
                    f"give {(num_data, 1, *data_shape[1:])} or {(1, *data_shape)}"
                )
            mask = mask[None] if per_channel else mask[:, None]
    elif mask.dim() == 1 and len(data_shape) == 1:
        mask = mask[None]
    try:
        mask = mask.expand(mask.shape[0], *data_shape)
    except (RuntimeError, IndexError) as error:
        raise UsageError(
            f"a mask of shape {tuple(mask.shape)} does not fit data of shape {data_shape}: give "
            "one value per pixel, or one per datum and pixel"
        ) from error
    if x is not None:
        mask = mask.to(x.device)
    if num_data is not None and len(mask) not in (1, num_data):
        raise UsageError(f"a mask for {len(mask)} data does not fit {num_data} data")
    return mask


def _check_data(x: Tensor, data_shape: tuple[int, ...]) -> None:
    """Refuse what would be stretched to the shape of the data, or computed in whole numbers."""
    if tuple(x.shape[1:]) != tuple(data_shape):
        wanted = ", ".join(map(str, ("B", *data_shape)))
        raise UsageError(f"x of shape {tuple(x.shape)} is no data of shape ({wanted})")
    if not x.is_floating_point():
        raise UsageError(f"x is of numbers with a point; got {x.dtype}: give x.float()")


def needed_mask(
    mask: Tensor | None,
    data_shape: tuple[int, ...],
    x: Tensor | None = None,
    *,
    num_data: int | None = None,
) -> Tensor:
    """:func:`pixel_mask` where nothing can be done without one."""
    seen = pixel_mask(mask, data_shape, x, num_data=num_data)
    if seen is None:
        raise UsageError("a mask is needed, True where a pixel is seen; got None")
    return seen


def _as_booleans(mask: Tensor) -> Tensor:
    """A mask of zeros and ones as booleans; booleans are not looked at, which would cost a wait."""
    if mask.dtype == torch.bool:
        return mask
    of = "a mask is 1 (or True) where a pixel is seen and 0 elsewhere; got"
    if mask.is_complex():
        raise UsageError(f"{of} complex")
    values = mask if mask.is_floating_point() else mask.long()
    seen = values == 1
    wrong = ~(seen | (values == 0))
    if bool(wrong.any()):
        found = float(values[wrong][0])
        hint = " (of a mask of 0 and 255 give mask > 0)" if found == 255 else ""
        raise UsageError(f"{of} {found:g}{hint}")
    return seen


def fill_unseen(x: Tensor, mask: Tensor | None) -> Tensor:
    """Put 0 where ``mask`` is False, so that what stood there, NaN included, reaches nothing."""
    return x if mask is None else torch.where(mask, x, x.new_zeros(()))


def _named(
    name: str, shape: tuple[int, ...], *, num_data: int | None, fraction: float, seed: int
) -> Tensor:
    check_choice("mask", name, MASKS, hint="name a .npy file")
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
    _, height, width = shape
    left, top = torch.arange(width) < width // 2, torch.arange(height)[:, None] < height // 2
    halves = {"left": left, "right": ~left, "top": top, "bottom": ~top}
    seen = torch.ones(1, *spatial, dtype=torch.bool)
    for word in name.split("_"):  # "top_left" is what "top" and "left" both see
        seen &= halves[word]
    return seen


def _random(spatial: tuple[int, ...], count: int, *, fraction: float, seed: int) -> Tensor:
    check_fraction(fraction)
    check_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(count, torch.Size(spatial).numel(), generator=generator).argsort(1)
    return (order.argsort(1) < round(fraction * order.shape[1])).reshape(count, *spatial)


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
