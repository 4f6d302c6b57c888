"""Where data come from: bundled digits, MNIST and Fashion-MNIST, and the user's own arrays."""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_models.data.arrays import holds_array, to_tensor
from pyro_models.data.images import ImageData, Split
from pyro_models.data.pixels import read_pixels
from pyro_models.errors import UsageError
from pyro_models.installation import import_torchvision

__all__ = ["DATA_SETS", "DATA_VARIABLE", "PROVENANCE", "load_data"]

DATA_SETS = ("digits", "mnist", "fashion-mnist")
DATA_VARIABLE = "PYRO_MODELS_DATA"
PROVENANCE = "latents_of"  # what an .npz file of latents says of the run that made them
MNIST_COUNTS = (60_000, 10_000)
MNIST_VALIDATION = 10_000
_TORCHVISION_NAMES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
_IDX_FILES = tuple(
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)


def load_data(
    source: str | Path | Any = "digits",
    *,
    labels: Any = None,
    preparation: str = "grey",
    all_training: bool = False,
    seed: int = 0,
    levels: int | None = None,
) -> ImageData:
    """Load a data set into memory.

    Parameters
    ----------
    source
        ``"digits"`` (scikit-learn's 8×8 digits, bundled), ``"mnist"`` or ``"fashion-mnist"``
        (looked for in ``$PYRO_MODELS_DATA``, then ``./data``, downloaded there if absent), a path
        to a ``.npy`` or ``.npz`` file, or an array (of NumPy, torch or pandas). Images are
        (N, H, W) or (N, C, H, W): uint8, which are divided by 255 unless all are 0 or 1; booleans;
        or float in [0, 1]. Vectors are (N, D), of any range; they stay in float64 where float32
        would round their differences away. An ``.npz`` file holds ``x`` (and ``y``), or ``x_train``
        and ``x_test``, and ``x_validation`` unless a tenth of ``x_train`` is to validate (and
        ``y_train``, ``y_test``, ``y_validation``), and nothing else.
    labels
        Integer labels (N,) that go with an array: 0, 1, …, or −1 where missing.
    preparation
        How pixels are prepared at each use; see ``pyro_models.data.preparation``.
    all_training
        Use all training data, leaving no validation split. By default MNIST's last 10,000 training
        images validate; other data keep a tenth.
    seed
        Seed of the random split of arrays that come as one (80 / 10 / 10 per cent).
    levels
        Number of grey levels L of your own images, where it cannot be told: whole numbers are
        divided by L − 1, real ones in [0, 1] stay as they are.

    Raises
    ------
    UsageError
        One line: unknown name, missing file, wrong shape, pixels outside [0, 1].

    Examples
    --------
    >>> load_data("digits", preparation="threshold")
    ImageData(digits, (1, 8, 8), train 1,257, validation 180, test 360, threshold)
    """
    if labels is not None and not holds_array(source):
        raise UsageError(f"labels go with an array; {source} brings its own")
    if levels is not None and isinstance(source, str) and source in DATA_SETS:
        raise UsageError(f"the grey levels of {source} are known: leave levels out")
    if holds_array(source):
        x = to_tensor(source, f"array of shape {tuple(getattr(source, 'shape', ()))}")
        arrays = {"x": x, "y": labels}
        data = _from_arrays(_name_of(x, seed), arrays, seed=seed, levels=levels)
    elif not isinstance(source, str | Path):
        raise UsageError(
            f"data are a name, a path, an array or a tensor; got {type(source).__name__}"
        )
    elif source == "digits":
        data = _digits()
    elif source in _TORCHVISION_NAMES:
        data = _mnist(str(source))
    elif Path(source).suffix in (".npy", ".npz"):
        data = _from_file(Path(source), seed=seed, levels=levels)
    else:
        raise UsageError(
            f"unknown data set {str(source)!r}: choose from {', '.join(DATA_SETS)}, "
            "or give a .npy or .npz file"
        )
    if all_training and "validation" in data.splits:
        data = _with_all_training(data)
    return data if preparation == "grey" else data.with_preparation(preparation)


def _name_of(x: Tensor, seed: int) -> str:
    """A name of its own for every array and split, so that two are not taken for one."""
    plain = x.float() if x.dtype == torch.bfloat16 else x
    content = plain.contiguous().numpy().tobytes()
    return f"array-{zlib.crc32(content + bytes(str(seed), 'ascii')):08x}"


def _with_all_training(data: ImageData) -> ImageData:
    train, validation = data.splits["train"], data.splits["validation"]
    y = None
    if train.y is not None and validation.y is not None:
        y = torch.cat([train.y, validation.y])
    splits = {"train": Split(torch.cat([train.x, validation.x]), y), "test": data.splits["test"]}
    return replace(data, splits=splits)


def _digits() -> ImageData:
    """1,797 images of 17 grey levels, shuffled once by a fixed seed: 1,257 / 180 / 360."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = torch.randperm(len(bunch.images), generator=torch.Generator().manual_seed(0))
    x = torch.as_tensor(bunch.images / 16, dtype=torch.float32).unsqueeze(1)[order]
    y = torch.as_tensor(bunch.target).long()[order]
    splits = {
        "train": Split(x[:1257], y[:1257]),
        "validation": Split(x[1257:1437], y[1257:1437]),
        "test": Split(x[1437:], y[1437:]),
    }
    return ImageData("digits", splits, levels=17, num_classes=10)


def _mnist(name: str) -> ImageData:
    """MNIST or Fashion-MNIST through torchvision, counts verified."""
    folder_name = _TORCHVISION_NAMES[name]
    datasets = import_torchvision().datasets
    dataset = getattr(datasets, folder_name)
    root = _find_root(folder_name)
    if root is None:
        root = Path(os.environ.get(DATA_VARIABLE) or "data")
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
    (x, y), test = parts
    cut = len(x) - MNIST_VALIDATION
    splits = {
        "train": Split(x[:cut], y[:cut]),
        "validation": Split(x[cut:], y[cut:]),
        "test": Split(*test),
    }
    return ImageData(name, splits, levels=256, num_classes=10)


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


def _find_root(folder_name: str) -> Path | None:
    """The first of ``$PYRO_MODELS_DATA`` and ``./data`` that holds all four files."""
    variable = os.environ.get(DATA_VARIABLE)
    for root in [Path(variable)] if variable else []:
        if _holds_files(root / folder_name / "raw"):
            return root
    return Path("data") if _holds_files(Path("data") / folder_name / "raw") else None


def _holds_files(folder: Path) -> bool:
    return all((folder / name).is_file() for name in _IDX_FILES)


def _from_file(path: Path, *, seed: int, levels: int | None) -> ImageData:
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            arrays = {"x": content} if isinstance(content, np.ndarray) else dict(content)
    except Exception as error:  # a damaged file can fail in any way
        raise UsageError(f"{path} is not a readable {path.suffix} file of plain arrays") from error
    data = _from_arrays(str(path), arrays, seed=seed, levels=levels)
    return replace(data, source=os.path.abspath(path))


_WHOLE_SET = ("x", "y")
_SPLIT_SET = tuple(f"{kind}_{part}" for part in ("train", "validation", "test") for kind in "xy")
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
    for key in names:
        if key in known:
            continue
        lower = key.lower()
        close = get_close_matches(lower, _SPLIT_SET, n=1, cutoff=0.8)
        likely = _MEANT.get(lower) or (lower if lower in known else None)
        if likely or close:
            return f" (did you mean {likely or close[0]} by {key}?)"
    return ""


def _from_arrays(
    name: str, arrays: Mapping[str, Any], *, seed: int, levels: int | None
) -> ImageData:
    """One array, split at random, or a training and a test array, and maybe one for validation."""
    _check_names(name, arrays)
    found = read_pixels({k: v for k, v in arrays.items() if k.startswith("x")}, name, levels=levels)
    pixels, own, split_seed = found.arrays, None, None
    if "x_train" in pixels:
        train, test = pixels["x_train"], pixels["x_test"]
        y_train = _labels(arrays.get("y_train"), len(train), name)
        y_test = _labels(arrays.get("y_test"), len(test), name)
        if "x_validation" in pixels:
            x = pixels["x_validation"]
            own = Split(x, _labels(arrays.get("y_validation"), len(x), name))
    else:
        x, split_seed = pixels["x"], seed
        y = _labels(arrays.get("y"), len(x), name)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        cut = len(x) - max(1, len(x) // 10)
        train, test = x[order[:cut]], x[order[cut:]]
        y_train = None if y is None else y[order[:cut]]
        y_test = None if y is None else y[order[cut:]]
    others = {"test": test, **({"validation": own.x} if own else {})}
    for kind, other in others.items():
        if train.shape[1:] != other.shape[1:]:
            raise UsageError(
                f"{name}: training data of shape {tuple(train.shape[1:])} and {kind} data of shape "
                f"{tuple(other.shape[1:])} do not go together"
            )
    cut = len(train) if own else len(train) - max(1, len(train) // 9)
    if cut < 1 or not len(test):
        raise UsageError(
            f"{name} has too few data to split: {len(train) + len(test)}; give 3 or more"
        )
    splits = {
        "train": Split(train[:cut], None if y_train is None else y_train[:cut]),
        "validation": own or Split(train[cut:], None if y_train is None else y_train[cut:]),
        "test": Split(test, y_test),
    }
    known = [y for y in (y_train, y_test, splits["validation"].y) if y is not None and y.numel()]
    num_classes = int(max(y.max() for y in known)) + 1 if known else 0
    return ImageData(
        name,
        splits,
        levels=found.levels,
        num_classes=num_classes or None,
        split_seed=split_seed,
        scaling=found.scaling,
        latents_of=_provenance(arrays.get(PROVENANCE), name),
    )


def _provenance(array: Any, name: str) -> dict[str, Any] | None:
    """What latents say of the run that made them."""
    if array is None:
        return None
    try:
        found = json.loads(str(array))
    except ValueError as error:
        raise UsageError(f"{name}: its {PROVENANCE} is no text that pyro-models wrote") from error
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
