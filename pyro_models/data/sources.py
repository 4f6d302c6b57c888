"""Where data come from: bundled digits, MNIST and Fashion-MNIST, and the user's own arrays."""

from __future__ import annotations

import os
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_models.data.images import ImageData, Split
from pyro_models.errors import UsageError
from pyro_models.installation import import_torchvision

__all__ = ["DATA_SETS", "DATA_VARIABLE", "load_data"]

DATA_SETS = ("digits", "mnist", "fashion-mnist")
DATA_VARIABLE = "PYRO_MODELS_DATA"
MNIST_COUNTS = (60_000, 10_000)
MNIST_VALIDATION = 10_000
_TORCHVISION_NAMES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
_IDX_FILES = tuple(
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)


def load_data(
    source: str | Path | Tensor | np.ndarray = "digits",
    *,
    labels: Tensor | np.ndarray | None = None,
    preparation: str = "grey",
    all_training: bool = False,
    seed: int = 0,
) -> ImageData:
    """Load a data set into memory.

    Parameters
    ----------
    source
        ``"digits"`` (scikit-learn's 8×8 digits, bundled), ``"mnist"`` or ``"fashion-mnist"``
        (looked for in ``$PYRO_MODELS_DATA``, then ``./data``, downloaded there if absent), a path
        to a ``.npy`` or ``.npz`` file, or an array. Images are (N, H, W) or (N, C, H, W): uint8, or
        float in [0, 1]. Vectors are (N, D), of any range. An ``.npz`` file holds ``x`` (and ``y``),
        or ``x_train`` and ``x_test``, and ``x_validation`` unless a tenth of ``x_train`` is to
        validate (and ``y_train``, ``y_test``, ``y_validation``).
    labels
        Integer labels (N,) that go with an array.
    preparation
        How pixels are prepared at each use; see ``pyro_models.data.preparation``.
    all_training
        Use all training data, leaving no validation split. By default MNIST's last 10,000 training
        images validate; other data keep a tenth.
    seed
        Seed of the random split of arrays that come as one (80 / 10 / 10 per cent).

    Raises
    ------
    UsageError
        One line: unknown name, missing file, wrong shape, pixels outside [0, 1].

    Examples
    --------
    >>> load_data("digits", preparation="threshold")
    ImageData(digits, (1, 8, 8), train 1,257, validation 180, test 360, threshold)
    """
    if labels is not None and not isinstance(source, Tensor | np.ndarray):
        raise UsageError(f"labels go with an array; {source} brings its own")
    if isinstance(source, Tensor | np.ndarray):
        data = _from_arrays(_name_of(source, seed), {"x": source, "y": labels}, seed=seed)
    elif not isinstance(source, str | Path):
        raise UsageError(
            f"data are a name, a path, an array or a tensor; got {type(source).__name__}"
        )
    elif source == "digits":
        data = _digits()
    elif source in _TORCHVISION_NAMES:
        data = _mnist(str(source))
    elif Path(source).suffix in (".npy", ".npz"):
        data = _from_file(Path(source), seed=seed)
    else:
        raise UsageError(
            f"unknown data set {str(source)!r}: choose from {', '.join(DATA_SETS)}, "
            "or give a .npy or .npz file"
        )
    if all_training and "validation" in data.splits:
        data = _with_all_training(data)
    return data if preparation == "grey" else data.with_preparation(preparation)


def _name_of(array: Tensor | np.ndarray, seed: int) -> str:
    """A name of its own for every array and split, so that two are not taken for one."""
    plain = array.detach().cpu().numpy() if isinstance(array, Tensor) else array
    content = np.ascontiguousarray(plain).tobytes()
    return f"array-{zlib.crc32(content + bytes(str(seed), 'ascii')):08x}"


def _with_all_training(data: ImageData) -> ImageData:
    train, validation = data.splits["train"], data.splits["validation"]
    y = None
    if train.y is not None and validation.y is not None:
        y = torch.cat([train.y, validation.y])
    splits = {"train": Split(torch.cat([train.x, validation.x]), y), "test": data.splits["test"]}
    return ImageData(data.name, splits, data.preparation, data.levels, data.num_classes)


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
        parts.append(Split(part.data.unsqueeze(1).float().div_(255), part.targets.long()))
    learn, test = parts
    cut = len(learn) - MNIST_VALIDATION
    assert learn.y is not None
    splits = {
        "train": Split(learn.x[:cut], learn.y[:cut]),
        "validation": Split(learn.x[cut:], learn.y[cut:]),
        "test": test,
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


def _from_file(path: Path, *, seed: int) -> ImageData:
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            arrays = {"x": content} if isinstance(content, np.ndarray) else dict(content)
    except Exception as error:  # a damaged file can fail in any way
        raise UsageError(f"{path} is not a readable {path.suffix} file of plain arrays") from error
    return _from_arrays(str(path), arrays, seed=seed)


def _from_arrays(name: str, arrays: dict[str, Any], *, seed: int) -> ImageData:
    """One array, split at random, or a training and a test array, and maybe one for validation."""
    own = None
    if "x_train" in arrays and "x_test" in arrays:
        train, levels = _pixels(arrays["x_train"], name)
        test, _ = _pixels(arrays["x_test"], name)
        y_train = _labels(arrays.get("y_train"), len(train), name)
        y_test = _labels(arrays.get("y_test"), len(test), name)
        if "x_validation" in arrays:
            x, _ = _pixels(arrays["x_validation"], name)
            own = Split(x, _labels(arrays.get("y_validation"), len(x), name))
    elif "x" in arrays:
        x, levels = _pixels(arrays["x"], name)
        y = _labels(arrays.get("y"), len(x), name)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        cut = len(x) - max(1, len(x) // 10)
        train, test = x[order[:cut]], x[order[cut:]]
        y_train = None if y is None else y[order[:cut]]
        y_test = None if y is None else y[order[cut:]]
    else:
        raise UsageError(
            f"{name} holds {', '.join(arrays) or 'nothing'}: expected x (and y), or x_train and "
            "x_test (and y_train, y_test)"
        )
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
    return ImageData(name, splits, levels=levels, num_classes=num_classes or None)


def _pixels(array: Any, name: str) -> tuple[Tensor, int | None]:
    """A float tensor (N, C, H, W) or (N, D), and the number of grey levels where known."""
    try:
        x = torch.as_tensor(array)
    except TypeError as error:
        raise UsageError(f"{name} does not hold numbers ({error})") from error
    if x.is_complex():
        raise UsageError(f"{name} holds complex numbers: give real ones, such as their size")
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
    levels = None
    if x.dtype == torch.uint8 and x.dim() > 2:
        x, levels = x.float() / 255, 256
    x = x.to(torch.get_default_dtype())  # what a new model is in; numpy's own default is float64
    if x.dim() == 3:
        x = x.unsqueeze(1)
    if not bool(torch.isfinite(x).all()):
        raise UsageError(f"{name} holds NaN or infinite values")
    if x.dim() == 4 and x.numel() and (float(x.min()) < 0 or float(x.max()) > 1):
        raise UsageError(
            f"{name} has pixels from {float(x.min()):g} to {float(x.max()):g}; they must lie in "
            "[0, 1]: divide 0…255 pixels by 255, or give them as uint8"
        )
    return x, levels


def _labels(array: Any, count: int, name: str) -> Tensor | None:
    if array is None:
        return None
    try:
        y = torch.as_tensor(array)
    except TypeError as error:
        raise UsageError(f"{name}: labels must be integers ({error})") from error
    if y.is_floating_point() or y.dtype == torch.bool or y.shape != (count,):
        raise UsageError(
            f"{name}: labels must be integers of shape ({count},); got {y.dtype} of shape "
            f"{tuple(y.shape)}"
        )
    if y.numel() and int(y.min()) < -1:
        raise UsageError(f"{name}: labels are 0, 1, …, or −1 where missing; got {int(y.min())}")
    return y.long()
