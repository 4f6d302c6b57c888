"""Where data come from: bundled digits, MNIST and Fashion-MNIST, and the user's own arrays."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce
from operator import and_
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyro_models.counts import is_count
from pyro_models.data.from_arrays import PROVENANCE, from_arrays, unseen_of
from pyro_models.data.from_file import from_file
from pyro_models.data.from_table import ENDINGS, from_table, is_table
from pyro_models.data.identity import checksum
from pyro_models.data.images import ImageData
from pyro_models.data.masks import Mask, check_sees, seen_pixels
from pyro_models.data.observed import Observed
from pyro_models.data.reading import KINDS, hint_of, holds_data, read_data
from pyro_models.data.rows import Rows, is_streamed
from pyro_models.data.split import Split
from pyro_models.data.table import Table
from pyro_models.errors import UsageError
from pyro_models.installation import import_torchvision

__all__ = ["DATA_SETS", "DATA_VARIABLE", "PROVENANCE", "as_data", "half_seen", "load_data"]

DATA_VARIABLE = "PYRO_MODELS_DATA"
MNIST_COUNTS = (60_000, 10_000)
MNIST_VALIDATION = 10_000
_IDX_FILES = tuple(
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)


def load_data(
    source: str | Path | Any = "digits",
    *,
    labels: Any = None,
    name: str | None = None,
    preparation: str = "grey",
    all_training: bool = False,
    test_fraction: float | None = None,
    seed: int = 0,
    levels: int | None = None,
    stream: bool | None = None,
    missing: str | None = None,
    label: str | None = None,
    columns: Sequence[str] | None = None,
    kinds: Mapping[str, str] | None = None,
    like: Table | ImageData | None = None,
) -> ImageData:
    """Load a data set into memory, or open a file that is larger than it.

    Parameters
    ----------
    source
        ``"digits"`` (scikit-learn's 8×8 digits, bundled), ``"mnist"`` or ``"fashion-mnist"``
        (looked for in ``$PYRO_MODELS_DATA``, then ``./data``, downloaded there if absent), a path
        to a ``.npy`` or ``.npz`` file, or anything that :func:`pyro_models.data.reading.read_data`
        takes. Images are (N, H, W) or (N, C, H, W): uint8, which are divided by 255 unless all are
        0 or 1; booleans; or float in [0, 1]. Vectors are (N, D), of any range; they stay in float64
        where float32 would round their differences away. An ``.npz`` file holds ``x`` (and ``y``),
        or ``x_train`` and ``x_test``, and ``x_validation`` unless a tenth of ``x_train`` is to
        validate (and ``y_train``, ``y_test``, ``y_validation``), and nothing else. A data frame of
        pandas, or a ``.csv``, ``.tsv`` or ``.parquet`` file, is a table of named columns: see
        :mod:`pyro_models.data.table`. Real ones are standardised by the training split, which
        ``data.table.frame(x)`` undoes.
    labels
        Integer labels (N,) that go with an array: 0, 1, …, or −1 where missing.
    name
        Name of an array, for tables and runs; unless given, it says how many data of which shape
        there are, and a checksum of them.
    preparation
        How pixels are prepared at each use; see ``pyro_models.data.preparation``.
    all_training
        Use all training data, leaving no validation split. By default MNIST's last 10,000 training
        images validate; other data keep a tenth.
    test_fraction, seed
        Of an array that comes as one: the part that is kept for the test split, a tenth unless
        given, rounded down and at least one datum (0 leaves it out; a ninth of the rest validates),
        and the seed of the random split.
    levels
        Number of grey levels L. Images of a named set become ⌊L x⌋/(L − 1), ⌊L x⌋ at most L − 1: 16
        are 4 bits. Of your own images it is needed where it cannot be told: whole numbers are then
        divided by L − 1, and real ones in [0, 1] stay as they are.
    stream
        Of a ``.npy`` file, or an array of ``numpy.load(path, mmap_mode="r")``: whether rows are
        read from the file when they are needed, rather than all of them now. Unless given, they are
        where three copies of them as floats exceed the memory that is available. Levels and scaling
        are then those of a sample of rows, against which each is checked when it is read, and the
        identity of the data is that of the sample; other data are in memory always.
    missing
        ``"unseen"``: what is NaN, or an empty cell, counts as unseen. Refused unless given.
    label
        Of a table: the column of labels, by name.
    columns
        Of a table: the names of the columns that are used; all unless given.
    kinds
        Of a table: ``"real"``, ``"count"``, ``"binary"`` or ``"categorical"`` for columns by name,
        where it is another than is found; ``"unused"`` leaves a column out.
    like
        Of a table of new rows: the table, or the data, that a pair was trained on, whose columns,
        categories and units they share. All of them are the test split.

    Raises
    ------
    UsageError
        One line: unknown name, missing file, wrong shape, pixels outside [0, 1].

    Examples
    --------
    >>> load_data("digits", preparation="threshold")
    ImageData(digits, (1, 8, 8), train 1,257, validation 180, test 360, threshold)
    """
    of_user = holds_data(source)
    for what, value in (("labels go", labels), ("a name goes", name)):
        if value is not None and not of_user:
            which = source if isinstance(source, str | Path) else f"a {type(source).__name__}"
            raise UsageError(f"{what} with an array; {which} brings its own")
    of_tables: dict[str, Any] = {"label": label, "columns": columns, "kinds": kinds, "like": like}
    if is_table(source):
        if levels is not None or stream:
            raise UsageError("a table has no levels and is not streamed: leave these out")
        of_tables |= {"seed": seed, "test_fraction": test_fraction, "missing": missing}
        data = from_table(source, name=_checked_name(name), labels=labels, **of_tables)
        return _finished(data, preparation, all_training=all_training)
    for option in (o for o, value in of_tables.items() if value is not None):
        raise UsageError(
            f"{option} is of a table, a data frame or a {', '.join(ENDINGS)} file: leave it out"
        )
    named = isinstance(source, str) and source in DATA_SETS
    if named and (test_fraction is not None or missing is not None):
        which = "missing" if test_fraction is None else "test_fraction"
        why = "has no missing values" if test_fraction is None else "brings its own test split"
        raise UsageError(f"{source} {why}: leave {which} out")
    split: dict[str, Any] = {"seed": seed, "test_fraction": test_fraction, "levels": levels}
    split |= {"stream": stream, "missing": missing}
    if of_user:
        data = _of_user(source, labels, name=name, **split)
    elif not isinstance(source, str | Path):
        raise UsageError(f"data are a name, a path, {KINDS}; got {_kind(source)}")
    elif source in DATA_SETS:
        data = _coarsened(DATA_SETS[str(source)](), levels)
    elif Path(source).suffix in (".npy", ".npz"):
        data = from_file(Path(source), **split)
    elif Path(source).is_dir() or Path(source).suffix.lower() in _PICTURES:
        folder = source if Path(source).is_dir() else Path(source).parent.parent
        raise UsageError(
            f"{source} is no array: give torchvision.datasets.ImageFolder({str(folder)!r}), whose "
            "folders are classes of pictures, or write them as an array (N, 3, H, W) to a .npy file"
        )
    else:
        raise UsageError(
            f"unknown data set {str(source)!r}: choose from {', '.join(DATA_SETS)}, "
            f"or give a .npy or .npz file, or a table ({', '.join(ENDINGS)})"
        )
    return _finished(data, preparation, all_training=all_training)


def _finished(data: ImageData, preparation: str, *, all_training: bool) -> ImageData:
    if all_training and "validation" in data.splits:
        data = _with_all_training(data)
    return data if preparation == "grey" else data.with_preparation(preparation)


def as_data(
    source: Any,
    pair: Any = None,
    *,
    split: str | None = None,
    stream: bool | None = None,
    half_seen: bool = False,
) -> ImageData:
    """A data set as it is, or anything else that :func:`load_data` takes, but for a name, as one.

    Labels that come along may be anything for a ``pair`` that uses none. All of it is the
    ``split``, as it is the training data; with ``None`` it is split as :func:`load_data` does. A
    split of which something is unseen is refused unless it may be ``half_seen``.

    >>> as_data(torch.zeros(7, 3), split="test")  # doctest: +ELLIPSIS
    ImageData(array-7x3_..., (3,), train 7, test 7, grey)
    """
    if isinstance(source, str | Path):
        if Path(source).suffix not in (".npy", ".npz"):
            raise UsageError(f"data are read by load_data: give load_data({str(source)!r})")
        source = from_file(Path(source), whole=split, stream=stream)
    if not isinstance(source, ImageData):
        options: dict[str, Any] = {"with_labels": _uses_labels(pair), "stream": stream}
        source = _of_user(source, whole=split, **options)
    seen = None if split is None else source.split(split).mask
    if seen is not None and not half_seen and not bool(seen.all()):
        what = "pixels" if source.is_images else "cells" if source.table else "values"
        raise UsageError(
            f"some {what} of {source.name} are unseen, and this is of whole data: evaluate and "
            "evidence score what is seen"
        )
    return source


def half_seen(
    source: Any, mask: Mask, pair: Any = None, *, fraction: float = 0.5, seed: int = 0
) -> ImageData:
    """Data as :func:`as_data` makes them, of which some pixels are unseen.

    A mask for each datum is in the order of an array's data; ``mask``, ``fraction`` and ``seed``
    are as :func:`pyro_models.data.masks.seen_pixels` takes them. A mask is refused that does not
    fit, sees nothing of a datum, or is given beside one of the data.
    """
    if isinstance(source, ImageData):
        return source.with_mask(mask, fraction=fraction, seed=seed)
    if is_streamed(source):
        raise UsageError(
            "an array that is larger than memory is streamed from its file, whole: leave the mask "
            "out"
        )
    given = read_data(source, with_labels=_uses_labels(pair))
    if given.mask is not None:
        raise UsageError("a mask is given twice, by mask and with the data: leave one out")
    x = given.x.unsqueeze(1) if given.x.dim() == 3 else given.x
    seen = seen_pixels(mask, x.shape[1:], num_data=len(x), fraction=fraction, seed=seed)
    return as_data(Observed(x, given.y, seen))


def _uses_labels(pair: Any) -> bool:
    return pair is None or getattr(pair, "num_classes", None) is not None


def _of_user(
    source: Any,
    labels: Any = None,
    *,
    name: str | None = None,
    with_labels: bool = True,
    stream: bool | None = None,
    **split: Any,
) -> ImageData:
    """What a user hands in, with its labels and what is seen of it."""
    shape = getattr(source, "shape", None)
    what = "x" if shape is None else f"array of shape {tuple(shape)}"
    if is_streamed(source, stream):
        rows = Rows.of(source, what, levels=split.get("levels"))
        name = _checked_name(name) or _name_of(rows, split.get("seed", 0))
        return from_arrays(name, {"x": rows, "y": labels}, **split)
    missing = split.pop("missing", None)
    given = read_data(source, with_labels=with_labels, what=what)
    if missing is not None:
        x, seen = unseen_of(given.x, missing, what)
        masks = [mask for mask in (seen, given.mask) if mask is not None]
        given = Observed.unchecked(x, given.y, reduce(and_, masks) if masks else None)
    if given.mask is not None:
        check_sees(given.mask)
    if labels is not None and given.y is not None:
        raise UsageError("labels are given twice, by labels and with the data: leave one out")
    arrays = {"x": given.x, "y": given.y if labels is None else labels}
    name = _checked_name(name) or _name_of(given.x, split.get("seed", 0))
    data = from_arrays(name, arrays, mask=given.mask, **split)
    return data if missing is None else replace(data, missing=missing)


def _checked_name(name: str | None) -> str | None:
    """A name that is none of a set or a file, where the data would be looked for later."""
    if name is None:
        return None
    if not isinstance(name, str) or not name.strip() or name in DATA_SETS:
        raise UsageError(f"name of an array is a word of its own; got {name!r}")
    if Path(name).suffix in (".npy", ".npz", *ENDINGS):
        raise UsageError(f"{name} would be the name of a file: leave its ending out")
    return name


def _name_of(x: Tensor | Rows, seed: int) -> str:
    """A name of its own for every array and split, so that two are not taken for one."""
    shape = "x".join(map(str, x.shape))
    content = x.checksum() if isinstance(x, Rows) else checksum(x)
    return f"array-{shape}_{zlib.crc32(f'{content} {seed}'.encode()):08x}"


def _with_all_training(data: ImageData) -> ImageData:
    train, validation = data.splits["train"], data.splits["validation"]
    parts = [(getattr(train, n), getattr(validation, n)) for n in ("x", "y", "mask")]
    both: list[Any] = [None if a is None or b is None else _joined(a, b) for a, b in parts]
    rest = {name: split for name, split in data.splits.items() if name == "test"}
    return replace(data, splits={"train": Split(*both), **rest})


def _joined(first: Tensor | Rows, second: Tensor | Rows) -> Tensor | Rows:
    if isinstance(first, Rows) and isinstance(second, Rows):
        return first.joined(second)
    return torch.cat([first, second])  # type: ignore[list-item]


def _coarsened(data: ImageData, levels: int | None) -> ImageData:
    """The images in fewer grey levels; as they are where there are as many."""
    most = data.levels
    if levels is None or levels == most:
        return data
    if not is_count(levels, least=2) or most is None or levels > most:
        raise UsageError(f"{data.name} has {most} grey levels: give 2 to {most}; got {levels!r}")
    fewer = {
        kind: replace(split, x=(split.x * levels).floor().clamp(max=levels - 1) / (levels - 1))
        for kind, split in data.splits.items()
    }
    return replace(data, splits=fewer, levels=levels)


def _digits() -> ImageData:
    """1,797 images of 17 grey levels, shuffled once by a fixed seed: 1,257 / 180 / 360."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = torch.randperm(len(bunch.images), generator=torch.Generator().manual_seed(0))
    x = torch.as_tensor(bunch.images / 16, dtype=torch.float32).unsqueeze(1)[order]
    y = torch.as_tensor(bunch.target).long()[order]
    sizes, kinds = (1257, 180, 360), ("train", "validation", "test")
    parts = zip(kinds, x.split(sizes), y.split(sizes), strict=True)
    splits = {kind: Split(*part) for kind, *part in parts}
    return ImageData("digits", splits, levels=LEVELS["digits"], num_classes=10)


def _mnist(name: str, folder_name: str) -> ImageData:
    """MNIST or Fashion-MNIST through torchvision, counts verified."""
    dataset = getattr(import_torchvision().datasets, folder_name)
    roots = [Path(root) for root in (os.environ.get(DATA_VARIABLE), "data") if root]
    found = (r for r in roots if all((r / folder_name / "raw" / f).is_file() for f in _IDX_FILES))
    root = next(found, None)
    if root is None:
        root = roots[0]
        try:
            _download(dataset, root, folder_name)
        except Exception as error:  # torchvision raises many kinds
            raise UsageError(
                f"{name} is not here and cannot be downloaded: put {', '.join(_IDX_FILES)} into "
                f"{root / folder_name / 'raw'}, or point {DATA_VARIABLE} to the folder that holds "
                f"{folder_name}/raw"
            ) from error
    parts = []
    for is_train, count in zip((True, False), MNIST_COUNTS, strict=True):
        try:
            part = dataset(root, train=is_train)
        except Exception as error:  # AssertionError among them
            raise UsageError(
                f"{name} in {root} is damaged ({type(error).__name__}: {error}); fetch it again"
            ) from error
        if len(part.data) != count or len(part.targets) != count:
            raise UsageError(
                f"{name} in {root} has {len(part.data):,} images where {count:,} belong; "
                "fetch it again"
            )
        parts.append((part.data.unsqueeze(1).float().div_(255), part.targets.long()))
    train, test = (Split(*part) for part in parts)
    cut = len(train) - MNIST_VALIDATION
    splits = {"train": Split.of(train[:cut]), "validation": Split.of(train[cut:]), "test": test}
    return ImageData(name, splits, levels=LEVELS[name], num_classes=10)


DATA_SETS: Mapping[str, Callable[[], ImageData]] = {
    "digits": _digits,
    "mnist": partial(_mnist, "mnist", "MNIST"),
    "fashion-mnist": partial(_mnist, "fashion-mnist", "FashionMNIST"),
}
"""What is loaded by name, and how."""

_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")

LEVELS = {"digits": 17, "mnist": 256, "fashion-mnist": 256}
"""Their grey levels."""


def _download(dataset: Any, root: Path, folder_name: str) -> None:
    """Fetch the files into a folder of this process's own, then move each into place in one step.

    Nobody sees a file of which a part has come, and several processes may fetch at once.
    """
    place = root / folder_name / "raw"
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix=".download-") as draft:
        dataset(draft, download=True)
        for path in (Path(draft) / folder_name / "raw").iterdir():
            path.replace(place / path.name)


def _kind(source: object) -> str:
    hint = hint_of(source)
    if not hint and hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        hint = ": give its items as one array, of a .npy file if they are larger than memory"
    return f"{type(source).__name__}{hint}"
