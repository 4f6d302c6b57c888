"""Numbers of a file or an array as pixels in [0, 1] or as vectors, and what is done to them.

==============================================  ================================================
images                                          become
==============================================  ================================================
booleans, or integers that are 0 or 1           0 and 1 as they are, 2 levels
uint8 of which one is 128 or more               divided by 255, 256 levels
real numbers in [0, 1]                          themselves; levels unknown
anything of which ``levels`` says L             integers divided by L − 1; real numbers in [0, 1]
                                                themselves, if they are of these levels
==============================================  ================================================

Anything else is refused: of uint8 up to 15 nobody can tell whether it has 16 levels or is dark.
Vectors stay as they are, in float64 where float32 would round their differences away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_models.data.arrays import to_tensor
from pyro_models.data.precision import loses
from pyro_models.errors import UsageError

__all__ = ["Pixels", "check_finite", "check_shape", "read_pixels"]

BRIGHT = 128  # uint8 images with no pixel as bright may be of fewer levels than 256


@dataclass(frozen=True)
class Pixels:
    """Arrays as data: float tensors (N, C, H, W) or (N, D) by name, as given, or rows of a file.

    ``levels`` is the number of grey levels, where known, and ``scaling`` what was done to the
    values, in words; empty if nothing.
    """

    arrays: Mapping[str, Any]
    levels: int | None
    scaling: str


def read_pixels(arrays: Mapping[str, Any], name: str, *, levels: int | None = None) -> Pixels:
    """Arrays of one data set by name as float tensors, all read on the same terms.

    They are images (N, H, W) or (N, C, H, W), or vectors (N, D); ``name`` is that of the data and
    ``levels`` the number of grey levels L, for images of which it cannot be told. One line refuses
    what are no real numbers, of another shape, NaN, and pixels that are out of range or ambiguous.

    >>> found = read_pixels({"x": torch.tensor([[[0, 1], [1, 1]]], dtype=torch.uint8)}, "bits")
    >>> found.levels, found.arrays["x"].flatten().tolist()
    (2, [0.0, 1.0, 1.0, 1.0])
    """
    tensors = {key: to_tensor(array, name) for key, array in arrays.items()}
    for x in tensors.values():
        check_shape(x, name)
        check_finite(x, name)
    if all(x.dim() == 2 for x in tensors.values()):
        if levels is not None:
            raise UsageError(f"{name} holds vectors, which have no grey levels: leave levels out")
        return _vectors(tensors, name)
    if levels is not None and (isinstance(levels, bool) or levels < 2):
        raise UsageError(f"levels, the number of grey levels, is at least 2; got {levels}")
    real = {x.is_floating_point() for x in tensors.values()}
    if len(real) > 1:
        raise UsageError(
            f"{name} has images of whole and of real numbers "
            f"({', '.join(f'{k}: {_word(x.dtype)}' for k, x in tensors.items())}): give all in one"
        )
    images = {k: x.unsqueeze(1) if x.dim() == 3 else x for k, x in tensors.items()}
    return (_real if True in real else _whole)(images, name, levels)


def check_shape(x: Tensor, name: str) -> None:
    """Refuse what is neither images nor vectors; x may be of the device meta."""
    if x.dim() not in (2, 3, 4):
        raise UsageError(
            f"{name} has shape {tuple(x.shape)}: images are (N, H, W) or (N, C, H, W), vectors "
            "(N, D)"
        )
    if x.dim() == 4 and x.shape[-1] in (1, 3, 4) and x.shape[1] not in (1, 3, 4):
        raise UsageError(
            f"{name} has shape {tuple(x.shape)}, which looks like (N, H, W, C): move the channels "
            "forward, to (N, C, H, W)"
        )


def check_finite(x: Tensor, name: str, numbers: Sequence[int] | None = None) -> None:
    """Refuse NaN and infinite values, of which the first is named; rows may have ``numbers``."""
    wrong = ~x.isfinite()
    if not bool(wrong.any()):
        return
    row, *place = wrong.nonzero()[0].tolist()
    what = f"column {place[0]}" if len(place) == 1 else f"pixel {tuple(place)}"
    value = float(x[(row, *place)])
    row = row if numbers is None else numbers[row]
    raise UsageError(
        f"{name} holds NaN or infinite values, the first in row {row}, {what} ({value}): leave "
        "these data out, or put a number there and say by a mask that it is unseen"
    )


def _vectors(tensors: Mapping[str, Tensor], name: str) -> Pixels:
    """Vectors in the default float type, or all of them in float64 if that would lose some."""
    default = torch.get_default_dtype()
    first, *others = tensors.values()
    same = all(x.shape[1:] == first.shape[1:] for x in others)
    joined = torch.cat([first, *others]) if same else first  # so that the spread is that of all
    dtype = torch.float64 if loses(joined, default) is not None else default
    if loses(joined, torch.float64) is not None:
        raise UsageError(
            f"{name} holds whole numbers so large that float64 cannot tell them apart: subtract an "
            "offset (x - x.min(0))"
        )
    kept = f"kept in float64, as {_word(default)} cannot tell them apart"
    vectors = {key: x.to(dtype) for key, x in tensors.items()}
    return Pixels(vectors, None, "" if dtype == default else kept)


def _whole(tensors: Mapping[str, Tensor], name: str, levels: int | None) -> Pixels:
    """Images of whole numbers or booleans."""
    values = [x for x in tensors.values() if x.numel()]
    low = min((int(x.min()) for x in values), default=0)
    high = max((int(x.max()) for x in values), default=0)
    told = f"{name} has pixels from {low} to {high}"
    if low < 0 or (levels is not None and high >= levels):
        top = "1" if levels is None else f"{levels - 1}"
        raise UsageError(f"{told}; they must lie in [0, {top}]: shift or divide them yourself")
    bytes_ = all(x.dtype == torch.uint8 for x in values) and bool(values)
    if levels is None and high <= 1:
        return Pixels(_as_float(tensors), 2, "0 and 1 as given")
    likely = 2 ** high.bit_length()
    if levels is None and not bytes_:
        raise UsageError(
            f"{told}; they must lie in [0, 1]: divide 0…255 pixels by 255, or give them as uint8, "
            f"or say how many grey levels they have (levels={likely})"
        )
    if levels is None and high < BRIGHT:
        raise UsageError(
            f"{told}, which may be {likely} grey levels or dark pixels of 256: say which "
            f"(levels={likely} or levels=256), or divide them yourself"
        )
    levels = levels or 256
    scaled = {key: x / (levels - 1) for key, x in _as_float(tensors).items()}
    return Pixels(scaled, levels, f"divided by {levels - 1}")


def _as_float(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: x.to(torch.get_default_dtype()) for key, x in tensors.items()}


def _real(tensors: Mapping[str, Tensor], name: str, levels: int | None) -> Pixels:
    """Images of real numbers, which lie in [0, 1] and are not touched."""
    for x in tensors.values():
        if not x.numel() or (float(x.min()) >= 0 and float(x.max()) <= 1):
            continue
        low, high = float(x.min()), float(x.max())
        hint = "divide 0…255 pixels by 255, or give them as uint8"
        if low >= 0 and high < 64 and bool((x == x.round()).all()):  # of 4 bits, say
            hint = f"of whole numbers up to {high:g} give x / {high:g}, or uint8 with levels="
        if low < 0:
            hint = "of pixels in [-1, 1] give (x + 1) / 2"
        raise UsageError(
            f"{name} has pixels from {low:g} to {high:g}; they must lie in [0, 1]: {hint}"
        )
    if levels is None:
        return Pixels(_as_float(tensors), None, "")
    for x in tensors.values():
        steps = x.double() * (levels - 1)
        # as far as the type they were stored in can hold k / (L − 1)
        off = (steps - steps.round()).abs() > 2 * (levels - 1) * torch.finfo(x.dtype).eps
        if bool(off.any()):
            raise UsageError(
                f"{name} has pixels that are none of {levels} levels k / {levels - 1}, such as "
                f"{float(x[off][0]):g}: leave levels out"
            )
    return Pixels(_as_float(tensors), levels, "")


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
