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
from pyro_models.data.masks import check_sees
from pyro_models.data.observed import Observed
from pyro_models.data.pixels import Pixels, read_pixels
from pyro_models.data.rows import Rows
from pyro_models.data.split import Split
from pyro_models.errors import UsageError
from pyro_models.seeds import check_seed

__all__ = ["PROVENANCE", "from_arrays", "labels_of", "split_whole", "unseen_of"]

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
    missing: str | None = None,
) -> ImageData:
    """Arrays as splits: one that is split at random or is ``whole``, or one for each split.

    What is NaN is unseen if that is what ``missing`` says.
    """
    _check_names(name, arrays)
    masks: dict[str, Tensor | None] = {}
    if missing is not None:
        found_unseen = {k: unseen_of(v, missing, name) for k, v in arrays.items() if k[0] == "x"}
        arrays = {**arrays, **{key: x for key, (x, _) in found_unseen.items()}}
        masks = {key: seen for key, (_, seen) in found_unseen.items()}
    if isinstance(rows := arrays.get("x"), Rows):
        found = Pixels({"x": rows}, rows.levels, rows.scaling)
    else:
        pixels = {k: v for k, v in arrays.items() if k.startswith("x")}
        found = read_pixels(pixels, name, levels=levels)

    def part(key: str) -> Split:
        x = found.arrays[key]
        y, seen = labels_of(arrays.get(key.replace("x", "y", 1)), len(x), name), masks.get(key)
        if seen is not None:
            seen = seen.unsqueeze(1) if seen.dim() == 3 else seen
            check_sees(seen)
        return Split(x, y, mask if seen is None else seen)

    split_seed = None
    if whole is not None:
        every = part("x")
        splits = {"train": every, whole: every}
    elif "x_train" in found.arrays:
        if test_fraction is not None:
            raise UsageError(f"{name} brings its own test split: leave test_fraction out")
        splits = {kind: part(f"x_{kind}") for kind in _KINDS if f"x_{kind}" in arrays}
    else:
        splits, split_seed = split_whole(part("x"), name, seed, test_fraction)
    if whole is None:
        splits = _with_validation(splits)
    _check_enough(splits, name)
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
        missing=missing,
    )


def split_whole(
    data: Observed, name: str, seed: int, test_fraction: float | None
) -> tuple[dict[str, Split], int]:
    """Training, validation and test data, drawn by a seed, and the seed."""
    splits = _with_validation(_split_at_random(data, seed, test_fraction))
    _check_enough(splits, name)
    return splits, seed


def _with_validation(splits: Mapping[str, Split]) -> dict[str, Split]:
    """The splits with a ninth of the training data to validate, unless they have some."""
    if "validation" in splits:
        return dict(splits)
    train = splits["train"]
    cut = max(0, len(train) - max(1, len(train) // 9))
    rest = {kind: split for kind, split in splits.items() if kind != "train"}
    return {"train": Split.of(train[:cut]), "validation": Split.of(train[cut:]), **rest}


def _check_enough(splits: Mapping[str, Split], name: str) -> None:
    if not all(map(len, splits.values())):
        total = sum(map(len, splits.values()))
        raise UsageError(f"{name} has too few data to split: {total}; give 3 or more")


def unseen_of(array: Any, missing: str, name: str) -> tuple[Tensor, Tensor | None]:
    """An array with 0 where it is NaN, and where it is not; ``None`` where nothing is NaN."""
    if missing != "unseen":
        raise UsageError(f"missing is 'unseen', or left out; got {missing!r}")
    if isinstance(array, Rows):
        raise UsageError(
            f"{name} is streamed from its file, whole, and its NaN cannot be unseen: read it into "
            "memory (stream=False)"
        )
    x = to_tensor(array, name)
    seen = ~x.isnan()
    return (x, None) if bool(seen.all()) else (x.masked_fill(~seen, 0), seen)


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


def labels_of(array: Any, count: int, name: str) -> Tensor | None:
    """Labels (N,) of an array, or ``None`` of none."""
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
