"""Arrays as a data set: one that is split at random, or one for each split."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from pyro_models.data.arrays import to_tensor
from pyro_models.data.images import ImageData
from pyro_models.data.observed import Observed
from pyro_models.data.pixels import Pixels, read_pixels
from pyro_models.data.rows import Rows
from pyro_models.data.split import Split
from pyro_models.errors import UsageError
from pyro_models.seeds import check_seed

__all__ = ["PROVENANCE", "from_arrays"]

PROVENANCE = "latents_of"  # what an .npz file of latents says of the run that made them
TEST_FRACTION = 0.1  # of an array that comes as one

_WHOLE_SET = ("x", "y")
_KINDS = ("train", "validation", "test")
_SPLIT_SET = tuple(f"{kind}_{part}" for part in _KINDS for kind in "xy")
_LIKELY = {
    "x": ("images", "image", "data", "inputs", "features", "arr_0"),
    "y": ("labels", "label", "targets", "target", "classes", "arr_1"),
    "x_validation": ("x_val", "x_valid", "x_dev"),
    "y_validation": ("y_val", "y_valid", "y_dev"),
}
_MEANT = {alias: name for name, aliases in _LIKELY.items() for alias in aliases}


def _check_names(name: str, arrays: Mapping[str, Any]) -> None:
    """Refuse an array that would be left out, and one that needs another beside it."""
    split = "x_train" in arrays and "x_test" in arrays
    known = _SPLIT_SET if split else _WHOLE_SET
    if not split and "x" not in arrays:
        raise UsageError(
            f"{name} holds {', '.join(arrays) or 'nothing'}: expected x (and y), or x_train and "
            f"x_test (and y_train, y_test){_meant(arrays)}"
        )
    unknown = [key for key in arrays if key not in (*known, PROVENANCE)]
    if unknown:
        raise UsageError(
            f"{name} holds {', '.join(arrays)}, and nothing is left out unsaid: {unknown[0]} is "
            f"none of {', '.join(known)}, which stand beside "
            f"{'x_train and x_test' if split else 'x'}{_meant(unknown)}"
        )
    if "y_validation" in arrays and "x_validation" not in arrays:
        raise UsageError(f"{name} holds y_validation without x_validation")


def _meant(names: Iterable[str]) -> str:
    """What a name that is none of ours may stand for."""
    known = (*_WHOLE_SET, *_SPLIT_SET)
    for key in (name for name in names if name not in known):
        lower = key.lower()
        likely = _MEANT.get(lower) or (lower if lower in known else None)
        close = get_close_matches(lower, _SPLIT_SET, n=1, cutoff=0.8)
        for meant in [likely] if likely else close:
            return f" (did you mean {meant} by {key}?)"
    return ""


def from_arrays(
    name: str,
    arrays: Mapping[str, Any],
    *,
    mask: Tensor | None = None,
    seed: int = 0,
    test_fraction: float | None = None,
    levels: int | None = None,
    whole: str | None = None,
) -> ImageData:
    """Arrays as splits: one that is split at random or is ``whole``, or one for each split."""
    _check_names(name, arrays)
    if isinstance(rows := arrays.get("x"), Rows):
        found = Pixels({"x": rows}, rows.levels, rows.scaling)
    else:
        pixels = {k: v for k, v in arrays.items() if k.startswith("x")}
        found = read_pixels(pixels, name, levels=levels)

    def part(key: str) -> Split:
        x = found.arrays[key]
        return Split(x, _labels(arrays.get(key.replace("x", "y", 1)), len(x), name), mask)

    split_seed = None
    if whole is not None:
        every = part("x")
        splits = {"train": every, whole: every}
    elif "x_train" in found.arrays:
        if test_fraction is not None:
            raise UsageError(f"{name} brings its own test split: leave test_fraction out")
        splits = {kind: part(f"x_{kind}") for kind in _KINDS if f"x_{kind}" in arrays}
    else:
        splits, split_seed = _split_at_random(part("x"), seed, test_fraction), seed
    train = splits["train"]
    if whole is None and "validation" not in splits:
        cut = max(0, len(train) - max(1, len(train) // 9))
        rest = {kind: split for kind, split in splits.items() if kind != "train"}
        splits = {"train": Split.of(train[:cut]), "validation": Split.of(train[cut:]), **rest}
    if not all(map(len, splits.values())):
        total = sum(map(len, splits.values()))
        raise UsageError(f"{name} has too few data to split: {total}; give 3 or more")
    known = [split.y for split in splits.values() if split.y is not None and split.y.numel()]
    num_classes = int(max(y.max() for y in known)) + 1 if known else 0
    return ImageData(
        name,
        splits,
        levels=found.levels,
        num_classes=num_classes or None,
        split_seed=split_seed,
        test_fraction=test_fraction,
        scaling=found.scaling,
        latents_of=_provenance(arrays.get(PROVENANCE), name),
    )


def _split_at_random(data: Observed, seed: int, test_fraction: float | None) -> dict[str, Split]:
    """Training and test data, drawn by a seed."""
    fraction = TEST_FRACTION if test_fraction is None else test_fraction
    if isinstance(fraction, bool) or not isinstance(fraction, Real) or not 0 <= fraction < 1:
        raise UsageError(f"test_fraction is at least 0 and below 1; got {fraction!r}")
    check_seed(seed)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    order = order.to(data.x.device)
    cut = len(data) - (max(1, int(round(len(data) * fraction, 6))) if fraction else 0)
    splits = {"train": Split.of(data[order[:cut]])}
    return splits | ({"test": Split.of(data[order[cut:]])} if fraction else {})


def _provenance(array: Any, name: str) -> dict[str, Any] | None:
    """What latents say of the run that made them."""
    if array is None:
        return None
    found = None
    with suppress(ValueError):
        found = json.loads(str(array))
    if not isinstance(found, dict):
        raise UsageError(f"{name}: its {PROVENANCE} is no text that pyro-models wrote")
    return found


def _labels(array: Any, count: int, name: str) -> Tensor | None:
    if array is None:
        return None
    try:
        y = to_tensor(array, "an array of labels")
    except UsageError as error:
        raise UsageError(f"{name}: labels must be integers ({error})") from error
    if y.is_floating_point() or y.dtype == torch.bool or y.shape != (count,):
        raise UsageError(
            f"{name}: labels must be integers of shape ({count},); got {y.dtype} of shape "
            f"{tuple(y.shape)}"
        )
    if y.numel() and int(y.min()) < -1:
        raise UsageError(f"{name}: labels are 0, 1, …, or −1 where missing; got {int(y.min())}")
    return y.long()
