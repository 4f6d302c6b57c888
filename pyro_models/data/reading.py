"""Whatever holds data, read into memory once: tensors, arrays, data frames, torch's data sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler

from pyro_models.data.arrays import holds_array, tensor_of, to_tensor
from pyro_models.data.images import ImageData
from pyro_models.data.observed import Observed, labels_for
from pyro_models.data.pixels import read_pixels
from pyro_models.data.rows import is_too_large
from pyro_models.errors import UsageError, in_one_line
from pyro_models.memory import in_words
from pyro_models.seeds import alone, same_generators

__all__ = ["hint_of", "holds_data", "read", "read_data"]

KINDS = "a tensor or an array, a data frame, a torch Dataset or DataLoader, a split or an Observed"
_LOOKED = 1024  # items between two looks at their size
_PICTURES = ("1", "L", "RGB")  # what an image library calls black and white, grey and colours


def holds_data(source: object) -> bool:
    """Whether it is of a kind that :func:`read_data` reads."""
    return holds_array(source) or isinstance(source, Observed | Dataset | DataLoader)


def read(source: Any, *, with_labels: bool = True) -> Observed:
    """Prepared data of any kind as one value, where they are and in their own type.

    As :func:`read_data`, but of :class:`pyro_models.ImageData` of one split too, and images of
    whole numbers in a data set of torch (torchvision's MNIST, say) are made grey as
    :func:`pyro_models.load_data` makes them. One line refuses what is of no such kind, no numbers,
    of several shapes, or none at all.

    >>> from torch.utils.data import TensorDataset
    >>> of_torch = TensorDataset(torch.rand(5, 3), torch.arange(5))
    >>> read(DataLoader(of_torch, batch_size=2, shuffle=True)).y  # in the order of the data set
    tensor([0, 1, 2, 3, 4])
    """
    if isinstance(source, ImageData):
        if len(source.splits) > 1:
            raise UsageError(
                f"{source.name} has the splits {', '.join(source.splits)}: give one, such as "
                f"data.prepared({list(source.splits)[-1]!r})"
            )
        return source.prepared(*source.splits)
    found = read_data(source, with_labels=with_labels)
    if not isinstance(source, Dataset | DataLoader) or found.x.dim() not in (3, 4):
        return found
    x, mask = found.x, found.mask
    if not x.is_floating_point():
        x = read_pixels({"x": x}, f"the {type(source).__name__}").arrays["x"]
    x = x.unsqueeze(1) if x.dim() == 3 else x
    mask = mask.unsqueeze(1) if mask is not None and mask.dim() == 3 else mask
    return Observed.unchecked(x, found.y, mask)


def read_data(source: Any, *, what: str = "x", with_labels: bool = True) -> Observed:
    """Data of any kind as one value, as they are.

    Parameters
    ----------
    source
        A tensor, an array, a data frame (columns are the values of a vector), a torch ``Dataset``
        or ``DataLoader``, a split or an ``Observed``. The items of a data set, or the batches of a
        loader, are x, (x, y), or mappings with ``x`` and maybe ``y`` and ``mask``; pictures count
        as arrays. They are read once, all of them, in their order: a loader that shuffles in the
        order of its data set, and one with another sampler or with ``drop_last`` as it yields. The
        global generator stays as it is.
    what
        What to call it in an error.
    with_labels
        Whether labels that come along are wanted; where not, they may be anything.
    """
    if isinstance(source, Observed):
        return source
    if holds_array(source):
        return Observed.unchecked(tensor_of(source, what))
    if not isinstance(source, Dataset | DataLoader):
        raise UsageError(f"{what} is {KINDS}; got a {type(source).__name__}{hint_of(source)}")
    what = f"the {type(source).__name__}"
    with alone(), same_generators(torch.device("cpu")), in_one_line(f"the items of {what}"):
        kind, items = _items(source)
        parts: list[tuple[Tensor, Any, Tensor | None]] = []
        for i, item in enumerate(items):
            parts.append(_parts(item, f"{kind} {i} of {what}"))
            if i % _LOOKED == 0:
                _refuse_too_large(parts, source, what)
    if not parts or not any(len(x) for x, _, _ in parts):
        raise UsageError(f"{what} holds no data")
    whole = not isinstance(source, DataLoader)
    x = _joined([x for x, _, _ in parts], f"items of {what}", stacked=whole)
    y = mask = None
    if masks := _all([m for *_, m in parts], "a mask", what):
        mask = _joined(masks, f"masks of {what}", stacked=whole)
    try:
        if labels := _all([y for _, y, _ in parts], "a label", what):
            tensors = [to_tensor(label, f"a label of {what}") for label in labels]
            if whole:
                tensors = [t.reshape(()) if t.numel() == 1 else t for t in tensors]
            y = labels_for(_joined(tensors, f"labels of {what}", stacked=whole), len(x), x.device)
    except UsageError:
        if with_labels:
            raise
    return Observed(x, y, mask) if mask is not None else Observed.unchecked(x, y)


def _refuse_too_large(parts: Sequence[tuple[Tensor, Any, Any]], source: Any, what: str) -> None:
    """Refuse what is, or by its length will be, larger than memory once it is read."""
    numbers = sum(x.numel() for x, *_ in parts[-_LOOKED:]) / len(parts[-_LOOKED:])
    count = len(parts)
    with suppress(TypeError):  # a loader of items that come without end
        count = max(count, len(source))
    if is_too_large(size := numbers * count * torch.get_default_dtype().itemsize):
        raise UsageError(
            f"{what} holds {in_words(size)} of numbers or more, which memory cannot hold: write "
            "its items into the array of a .npy file (numpy.lib.format.open_memmap), which is "
            "streamed, and give that"
        )


def hint_of(source: object) -> str:
    """What to do with what is of no such kind, where that can be told."""
    if isinstance(source, ImageData):
        return ": give one of its splits"
    if isinstance(source, Mapping):
        return ": give Observed(x, y, mask)"
    if isinstance(source, list | tuple):
        return ": give torch.stack of tensors, or numpy.array of numbers"
    return ": make a list of it, and of that a tensor" if isinstance(source, Iterator) else ""


def _items(source: Dataset[Any] | DataLoader[Any]) -> tuple[str, Iterable[Any]]:
    """The word for what there is to read, and all of it."""
    if isinstance(source, DataLoader):
        return "batch", _in_order(source)
    if isinstance(source, IterableDataset):
        return "item", source
    if not hasattr(source, "__len__"):
        raise UsageError(f"the {type(source).__name__} has no length: give it __len__")
    return "item", (source[i] for i in range(len(source)))


def _in_order(loader: DataLoader[Any]) -> Iterable[Any]:
    """The batches of a loader; of one that only shuffles, in the order of its data set."""
    sampler = getattr(loader, "sampler", None)
    if not isinstance(sampler, RandomSampler) or sampler.replacement or loader.batch_size is None:
        return loader
    if sampler.num_samples != len(loader.dataset):  # type: ignore[arg-type]
        return loader
    kept = {n: getattr(loader, n) for n in ("batch_size", "collate_fn", "drop_last")}
    return DataLoader(loader.dataset, **kept)


def _parts(item: Any, what: str) -> tuple[Tensor, Any, Tensor | None]:
    """x, y and mask of an item or a batch."""
    if isinstance(item, Mapping):
        if not {"x"} <= set(item) <= {"x", "y", "mask"}:
            raise UsageError(f"{what} is a mapping with x, and maybe y and mask; got {[*item]}")
        mask = item.get("mask")
        mask = None if mask is None else _numbers(mask, what)
        return _numbers(item["x"], what), item.get("y"), mask
    if isinstance(item, list | tuple):
        if len(item) not in (1, 2):
            raise UsageError(f"{what} is x, (x, y), or a mapping; got {len(item)} parts")
        return _numbers(item[0], what), item[1] if len(item) == 2 else None, None
    return _numbers(item, what), None, None


def _numbers(value: Any, what: str) -> Tensor:
    if holds_array(value):
        return to_tensor(value, what)
    if not hasattr(value, "getbands"):  # which a picture has
        raise UsageError(f"{what} is a {type(value).__name__}: give tensors or arrays")
    if value.mode not in _PICTURES:
        raise UsageError(f"{what} is a picture of mode {value.mode}: convert it to L or RGB")
    found = to_tensor(np.asarray(value), what)
    return found.permute(2, 0, 1) if found.dim() == 3 else found


def _all(values: list[Any], what: str, of: str) -> list[Any]:
    """All of them, or none where there is none."""
    there = [value for value in values if value is not None]
    if 0 < len(there) < len(values):
        raise UsageError(f"some items of {of} have {what} and others have none: give all of them")
    return there


def _joined(tensors: list[Tensor], what: str, *, stacked: bool) -> Tensor:
    shapes = {tuple(t.shape if stacked else t.shape[1:]) for t in tensors}
    if len(shapes) > 1:
        one, other, *_ = sorted(shapes)
        raise UsageError(f"{what} are of several shapes, such as {one} and {other}: make them one")
    return torch.stack(tensors) if stacked else torch.cat(tensors)
