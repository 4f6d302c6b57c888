"""Data in memory: counts, ranges, preparations, the user's arrays, and every error line."""

import gzip
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyro_models import VAE, ImageData, Observed, UsageError, load_data
from pyro_models.data import DATA_VARIABLE, PREPARATIONS, Split, prepare, to_grey
from pyro_models.data.sources import _IDX_FILES

needs_mnist = pytest.mark.skipif(
    not os.environ.get(DATA_VARIABLE), reason=f"{DATA_VARIABLE} does not say where MNIST is"
)


def told(data: ImageData) -> str:
    """What it says of itself, however its lines are broken."""
    return " ".join(repr(data).split())


def sizes(data: ImageData) -> dict[str, int]:
    return {name: len(split) for name, split in data.splits.items()}


def test_digits() -> None:
    data = load_data("digits")
    assert sizes(data) == {"train": 1257, "validation": 180, "test": 360}
    assert data.data_shape == (1, 8, 8)
    assert data.levels == 17
    assert data.num_classes == 10
    everything = torch.cat([split.x for split in data.splits.values()])
    assert torch.equal(everything.unique(), torch.arange(17) / 16)
    for split in data.splits.values():
        assert split.y is not None
        assert set(split.y.tolist()) == set(range(10))
    from sklearn.datasets import load_digits

    ours = sorted(map(tuple, (everything.flatten(1) * 16).int().tolist()))
    theirs = sorted(map(tuple, load_digits().data.astype(int).tolist()))
    assert ours == theirs  # every image once: no datum in two splits


def test_digits_keep_image_and_label_together() -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    labels = {
        image.astype(int).tobytes(): y for image, y in zip(bunch.data, bunch.target, strict=True)
    }
    for split in load_data("digits").splits.values():
        assert split.y is not None
        for image, y in zip(split.x.flatten(1).double() * 16, split.y, strict=True):
            assert labels[image.numpy().astype(int).tobytes()] == int(y)


def test_all_training_leaves_no_validation() -> None:
    data = load_data("digits", all_training=True, preparation="threshold")
    assert sizes(data) == {"train": 1437, "test": 360}
    assert data.preparation == "threshold"
    parts = load_data("digits")
    joined = torch.cat([parts.split("train").x, parts.split("validation").x])
    assert torch.equal(data.split("train").x, joined)
    with pytest.raises(
        UsageError, match=r"^digits has no validation split here; it has train, test\Z"
    ):
        data.split("validation")


@needs_mnist
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_mnist_counts_and_splits(name: str) -> None:
    data = load_data(name)
    assert sizes(data) == {"train": 50_000, "validation": 10_000, "test": 10_000}
    everything = load_data(name, all_training=True)
    assert sizes(everything) == {"train": 60_000, "test": 10_000}
    last = everything.split("train")
    validation = data.split("validation")
    assert last.y is not None
    assert validation.y is not None
    assert torch.equal(validation.x, last.x[-10_000:])
    assert torch.equal(validation.y, last.y[-10_000:])
    assert data.data_shape == (1, 28, 28)
    assert (data.levels, data.num_classes) == (256, 10)
    assert torch.equal((data.split("test").x * 255).round().unique(), torch.arange(256.0))
    assert set(data.split("test").y.tolist()) == set(range(10))


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for data, and no network."""
    from torchvision.datasets import mnist

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError(
            "Error downloading train-images-idx3-ubyte.gz:\nTried it, got:\nno route"
        )

    monkeypatch.setattr(mnist, "download_and_extract_archive", refuse)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")]
)
def test_offline_without_files_one_line_names_files_folder_and_variable(
    offline: Path, name: str, folder: str
) -> None:
    with pytest.raises(UsageError, match=r"^.*\Z") as said:
        load_data(name)
    line = str(said.value)
    assert all(file in line for file in _IDX_FILES)
    assert str(offline / folder / "raw") in line
    assert DATA_VARIABLE in line


def write_idx(folder: Path, images: int) -> None:
    """MNIST's four files, with this many blank images of each part."""
    folder.mkdir(parents=True)
    for name in _IDX_FILES:
        shape = (images, 28, 28) if "images" in name else (images,)
        header = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
        (folder / name).write_bytes(header + bytes(int(np.prod(shape))))


def test_a_wrong_count_of_images_is_one_line(offline: Path) -> None:
    write_idx(offline / "MNIST" / "raw", 7)
    with pytest.raises(UsageError, match=r"^mnist in .* has 7 images where 60,000 belong.*\Z"):
        load_data("mnist")


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage that is no image", gzip.compress(b"still packed"), b"\x00\x00\x08\x03"],
    ids=["empty", "garbage", "packed", "header"],
)
def test_a_damaged_file_is_one_line(offline: Path, content: bytes) -> None:
    folder = offline / "MNIST" / "raw"
    write_idx(folder, 7)
    (folder / _IDX_FILES[0]).write_bytes(content)
    with pytest.raises(UsageError, match=r"^mnist in .* is damaged .*fetch it again\Z"):
        load_data("mnist")


def test_a_truncated_file_is_one_line(offline: Path) -> None:
    folder = offline / "MNIST" / "raw"
    write_idx(folder, 7)
    images = folder / _IDX_FILES[0]
    images.write_bytes(images.read_bytes()[:-5])
    with pytest.raises(UsageError, match=r"^mnist in .* is damaged .*fetch it again\Z"):
        load_data("mnist")


def test_files_in_the_working_folder_are_found(offline: Path) -> None:
    write_idx(offline / "data" / "MNIST" / "raw", 7)
    with pytest.raises(UsageError, match="mnist in data has 7 images"):
        load_data("mnist")


# --- the user's arrays ---------------------------------------------------------------------------


def images(count: int = 20) -> np.ndarray:
    return np.random.default_rng(0).random((count, 5, 6))


@pytest.mark.parametrize(
    ("array", "shape", "levels"),
    [
        (images(), (1, 5, 6), None),
        (images().astype(np.float32), (1, 5, 6), None),
        (images()[:, None].repeat(3, 1), (3, 5, 6), None),
        ((images() * 255).astype(np.uint8), (1, 5, 6), 256),
        (torch.as_tensor(images()), (1, 5, 6), None),
        (torch.as_tensor(images() > 0.5), (1, 5, 6), 2),
        (images().reshape(20, 30) * 1000 - 500, (30,), None),
        (torch.arange(60).reshape(20, 3), (3,), None),
    ],
    ids=["float64", "float32", "colour", "uint8", "tensor", "bool", "vectors", "integers"],
)
def test_arrays(array: Any, shape: tuple[int, ...], levels: int | None) -> None:
    data = load_data(array)
    assert sizes(data) == {"train": 16, "validation": 2, "test": 2}
    assert data.data_shape == shape
    assert data.is_images == (len(shape) == 3)
    assert data.levels == levels
    assert data.num_classes is None
    everything = torch.cat([split.x for split in data.splits.values()])
    expected = torch.as_tensor(np.asarray(array), dtype=torch.float64).reshape(everything.shape)
    expected = expected / (levels - 1) if levels else expected
    order = everything.flatten(1)[:, 0].argsort()
    expected_order = expected.flatten(1)[:, 0].argsort()
    close = everything[order].double() - expected[expected_order]
    if array.dtype not in (torch.bool,):  # a binary pixel orders nothing
        assert float(close.abs().max()) <= 1e-6 * float(expected.abs().max())
    assert everything.dtype == torch.float32
    if data.is_images:  # what a new model takes
        vae = VAE(data.data_shape, hidden=[4])
        vae.elbo().loss(vae.model, vae.guide, data.prepared("train").x)


def test_the_split_of_one_array_is_seeded_and_keeps_labels() -> None:
    x = np.arange(200.0).reshape(100, 2)
    first, again, other = (load_data(x, labels=np.arange(100), seed=s) for s in (0, 0, 1))
    assert torch.equal(first.split("test").x, again.split("test").x)
    assert not torch.equal(first.split("test").x, other.split("test").x)
    assert sizes(first) == {"train": 80, "validation": 10, "test": 10}
    for split in first.splits.values():
        assert split.y is not None
        assert torch.equal(split.x[:, 0], 2.0 * split.y)
    assert first.num_classes == 100


def test_missing_labels_count_as_no_class() -> None:
    assert load_data(images(), labels=np.full(20, -1)).num_classes is None
    assert load_data(images(), labels=np.array([-1, 2] * 10)).num_classes == 3


def test_files(tmp_path: Path) -> None:
    pixels = (images() * 255).astype(np.uint8)
    np.save(tmp_path / "faces.npy", pixels)
    data = load_data(tmp_path / "faces.npy")
    assert (data.name, data.levels, data.data_shape) == (
        str(tmp_path / "faces.npy"),
        256,
        (1, 5, 6),
    )
    assert sizes(load_data(str(tmp_path / "faces.npy"))) == sizes(data)

    np.savez(tmp_path / "one.npz", x=pixels, y=np.arange(20) % 4)
    assert load_data(tmp_path / "one.npz").num_classes == 4

    np.savez(
        tmp_path / "two.npz",
        x_train=pixels[:15],
        x_test=pixels[15:],
        y_train=np.arange(15),
        y_test=np.arange(5),
    )
    data = load_data(tmp_path / "two.npz")
    assert sizes(data) == {"train": 14, "validation": 1, "test": 5}
    assert data.num_classes == 15
    assert torch.equal(
        (data.split("test").x[:, 0] * 255).round().byte(), torch.as_tensor(pixels[15:])
    )
    assert sizes(load_data(tmp_path / "two.npz", all_training=True)) == {"train": 15, "test": 5}


@pytest.mark.parametrize(
    ("array", "labels", "line"),
    [
        (images() * 2, None, r"pixels from .* divide 0…255 pixels by 255, or give them as uint8"),
        (images() - 1, None, "must lie in"),
        (np.where(images() > 0.9, np.nan, images()), None, "NaN or infinite"),
        (np.zeros(5), None, r"shape \(5,\): images are \(N, H, W\)"),
        (np.zeros((2, 1, 1, 1, 1)), None, r"images are \(N, H, W\)"),
        (np.zeros((2, 3)), None, "too few data to split: 2; give 3 or more"),
        (np.zeros((0, 5, 6)), None, "too few data"),
        (np.array([["a", "b"]] * 5), None, "does not hold numbers"),
        (images() + 1j, None, "holds complex numbers: give real ones"),
        (images(), np.zeros(19, int), r"labels must be integers of shape \(20,\)"),
        (images(), np.zeros(20), "labels must be integers"),
        (images(), np.array(["a"] * 20), "labels must be integers"),
        (images(), np.full(20, -2), "−1 where missing; got -2"),
    ],
)
def test_an_array_that_will_not_do_is_one_line(array: Any, labels: Any, line: str) -> None:
    with pytest.raises(UsageError, match=rf"^array.*{line}.*\Z"):
        load_data(array, labels=labels)


def test_a_file_that_will_not_do_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "garbage.npy").write_bytes(b"garbage")
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "zip.npz").write_bytes(b"PK\x03\x04garbage")
    np.save(tmp_path / "pickle.npy", np.array([{}]), allow_pickle=True)
    for name in ("garbage.npy", "empty.npy", "zip.npz", "pickle.npy"):
        with pytest.raises(
            UsageError, match=rf"^.*{name} is not a readable .* file of plain arrays\Z"
        ):
            load_data(tmp_path / name)
    np.savez(tmp_path / "names.npz", pixels=images())
    with pytest.raises(
        UsageError, match=r"names.npz holds pixels: expected x \(and y\), or x_train"
    ):
        load_data(tmp_path / "names.npz")
    np.savez(tmp_path / "shapes.npz", x_train=images(), x_test=images()[:, 1:])
    with pytest.raises(
        UsageError, match=r"shapes.npz: training data of shape .* do not go together\Z"
    ):
        load_data(tmp_path / "shapes.npz")
    with pytest.raises(UsageError, match=r"^there is no file .*nowhere\.npy\Z"):
        load_data(tmp_path / "nowhere.npy")


def test_two_arrays_are_not_taken_for_one() -> None:
    one, other = load_data(images()), load_data(images() * 0.5)
    assert one.name == load_data(images()).name
    assert len({one.name, other.name, load_data(images(), seed=1).name}) == 3


def test_channels_at_the_end_are_refused() -> None:
    with pytest.raises(UsageError, match=r"looks like \(N, H, W, C\): move the channels"):
        load_data(np.zeros((20, 8, 8, 3)))
    with pytest.raises(UsageError, match="got list"):
        load_data([[0.0]])  # type: ignore[arg-type]


def test_a_name_that_will_not_do_is_one_line() -> None:
    with pytest.raises(UsageError, match=r"^unknown data set 'nope': choose from digits, mnist"):
        load_data("nope")
    with pytest.raises(UsageError, match=r"^unknown preparation 'nope': choose from grey"):
        load_data("digits", preparation="nope")
    with pytest.raises(UsageError, match=r"^array-\w+ holds vectors, not pixels"):
        load_data(np.zeros((20, 3)), preparation="threshold")
    with pytest.raises(UsageError, match=r"^labels go with an array; digits brings its own\Z"):
        load_data("digits", labels=np.zeros(3, int))


# --- preparation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("preparation", PREPARATIONS)
def test_what_is_drawn_anew_and_what_stays(preparation: str) -> None:
    data = load_data("digits", preparation=preparation)
    anew = preparation in ("dynamic", "dequantised")
    assert data.redraws == anew
    generator = torch.Generator().manual_seed(0)
    first, second = data.draw("train", generator), data.draw("train", generator)
    assert torch.equal(first.x, second.x) != anew
    assert torch.equal(first.x, data.prepared("train", seed=1).x) != anew
    assert torch.equal(data.prepared("train").x, data.prepared("train").x)
    assert torch.equal(first.y, data.split("train").y)
    if preparation in ("threshold", "dynamic", "static"):
        assert set(first.x.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("preparation", ["dynamic", "static", "dequantised"])
def test_the_mean_is_that_of_the_grey_pixels(preparation: str) -> None:
    """``to_grey`` takes the expected prepared image back, within four standard errors."""
    grey = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0], dtype=torch.float64)
    levels = 11  # so that these are grey levels
    x = prepare(
        grey.expand(40_000, 5),
        preparation,
        levels=levels,
        generator=torch.Generator().manual_seed(1),
    )
    back = to_grey(x, preparation, levels=levels)
    error = (back.std(0) / len(back) ** 0.5).clamp_min(1e-12)
    assert float(((back.mean(0) - grey) / error).abs().max()) < 4


def test_threshold_is_above_a_half() -> None:
    x = torch.tensor([[0.0, 0.5, 0.50001, 1.0]])
    out = prepare(x, "threshold", levels=None, generator=torch.Generator())
    assert out.tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("levels", [17, 256])
def test_dequantised_pixels_never_touch_0_or_1(value: float, levels: int) -> None:
    """Rounding would put about one white pixel in 130,000 of MNIST on 1 exactly."""
    x = torch.full((3_000_000,), value)
    out = prepare(x, "dequantised", levels=levels, generator=torch.Generator().manual_seed(0))
    assert float(out.min()) > 0
    assert float(out.max()) < 1


def test_dequantised_pixels_stay_in_their_own_bin() -> None:
    levels = 17
    x = (torch.arange(levels) / (levels - 1)).expand(20_000, levels)
    out = prepare(x, "dequantised", levels=levels, generator=torch.Generator().manual_seed(0))
    inside = (out * levels).clamp_max(levels - 1e-3).floor()
    assert float((inside != torch.arange(levels)).float().mean()) < 1e-4  # rounding at an edge
    assert float(out.std(0).min()) > 0.9 / (levels * 12**0.5)


def test_unknown_levels_cannot_be_dequantised() -> None:
    data = load_data(images(), preparation="dequantised")
    with pytest.raises(UsageError, match=r"^.*no known number of grey levels.*uint8.*\Z"):
        data.prepared("train")


def test_repr_says_what_it_is() -> None:
    assert told(load_data("digits")) == (
        "ImageData(digits, (1, 8, 8), train 1,257, validation 180, test 360, grey)"
    )


# --- on which terms pixels are read ---------------------------------------------------------------

BITS = (images() > 0.5).astype(np.uint8)
BYTES = (images() * 255).astype(np.uint8)
NIBBLES = (images() * 16).astype(np.uint8)


@pytest.mark.parametrize(
    "kind",
    [np.uint8, np.int8, np.int64, np.uint16, np.uint64, bool, ">i2"],
)
def test_whole_numbers_that_are_0_or_1_stay_so(kind: Any) -> None:
    data = load_data(BITS.astype(kind), preparation="threshold")
    assert data.levels == 2
    everything = torch.cat([data.prepared(name).x for name in data.splits])
    assert float(everything.sum()) == BITS.sum()
    assert "0 and 1 as given" in told(data)


def test_the_levels_are_those_of_all_arrays_of_a_file(tmp_path: Path) -> None:
    """A test array that happens to be black and nearly black is still divided by 255."""
    np.savez(tmp_path / "m.npz", x_train=BYTES, x_test=BITS)
    data = load_data(tmp_path / "m.npz")
    assert data.levels == 256
    assert float(data.split("test").x.max()) == pytest.approx(1 / 255)
    assert "divided by 255" in told(data)
    np.savez(tmp_path / "m.npz", x_train=BYTES, x_test=BYTES / 255)
    with pytest.raises(UsageError, match="whole and of real numbers"):
        load_data(tmp_path / "m.npz")


@pytest.mark.parametrize(
    ("array", "line"),
    [
        (NIBBLES, r"from 0 to 15, which may be 16 grey levels or dark.*levels=16 or levels=256"),
        (NIBBLES.astype(np.int64), r"or say how many grey levels they have \(levels=16\)"),
        (BYTES.astype(np.int64), r"levels=256"),
        (BYTES.astype(np.uint16), r"levels=256"),
        (BYTES.astype(float), "divide 0…255 pixels by 255"),
        (BYTES.astype(np.int16) - 128, "shift or divide"),
        (images() * 2 - 1, r"give \(x \+ 1\) / 2"),
        (images().astype("M8[s]"), "dates or durations"),
        (np.array([[1, None]] * 9, dtype=object), "Python objects"),
        (np.ma.masked_less(images(), 0.5), "masked array"),
        (torch.eye(9).to_sparse(), "to_dense"),
        (torch.rand(9, 2) + 1j, "holds complex numbers"),
    ],
)
def test_what_cannot_be_told_is_refused_with_what_to_say(array: Any, line: str) -> None:
    with pytest.raises(UsageError, match=rf"^array.*{line}.*\Z"):
        load_data(array)


def test_levels_say_what_cannot_be_told() -> None:
    assert load_data(NIBBLES, levels=16).levels == 16
    for levels in (16, 256):
        x = torch.cat([s.x for s in load_data(NIBBLES, levels=levels).splits.values()])
        assert float(x.max()) == pytest.approx(15 / (levels - 1))
    for stored in (BYTES / 255, (BYTES / 255).astype(np.float32), (BYTES / 255).astype("f2")):
        data = load_data(stored, levels=256, preparation="dequantised")
        assert float(data.prepared("train").x.min()) > 0
    for array, levels, line in (
        (NIBBLES, 8, r"must lie in \[0, 7\]"),
        (NIBBLES, 1, "at least 2"),
        (images(), 17, "none of 17 levels"),
        (images().reshape(20, 30), 4, "no grey levels"),
    ):
        with pytest.raises(UsageError, match=line):
            load_data(array, levels=levels)


def test_however_an_array_is_stored_it_is_read() -> None:
    expected = load_data(BYTES)
    frozen = BYTES.copy()
    frozen.flags.writeable = False

    class Frame:
        """What pandas and others offer."""

        def __init__(self, values: np.ndarray) -> None:
            self.values, self.shape = values, values.shape

        def to_numpy(self) -> np.ndarray:
            return self.values

    wide = np.repeat(BYTES, 2, axis=2)[:, :, ::2]
    for array in (np.asfortranarray(BYTES), frozen, Frame(BYTES), wide, BYTES[::-1][::-1]):
        assert torch.equal(load_data(array).split("test").x, expected.split("test").x)
    floats = load_data(images().astype("f4")).split("test").x
    for stored in (">f4", ">f8", np.longdouble):
        kind = images().astype("f4").astype(stored)
        assert torch.equal(load_data(kind).split("test").x, floats)
    assert load_data(torch.rand(9, 4, 4).bfloat16()).split("test").x.dtype == torch.float32
    labels = Frame(np.arange(20).astype(">u2") % 3)
    assert load_data(BYTES, labels=labels).num_classes == 3


def test_vectors_stay_in_float64_where_float32_would_round_them_together() -> None:
    stamps = np.random.default_rng(0).normal(size=(50, 2)) + np.array([0, 1.7e9])
    data = load_data(stamps)
    everything = torch.cat([split.x for split in data.splits.values()])
    assert everything.dtype == torch.float64
    assert sorted(everything[:, 1].tolist()) == sorted(stamps[:, 1])
    assert "kept in float64" in told(data)
    whole = load_data((stamps * 1000).astype(np.int64))
    assert whole.split("train").x.dtype == torch.float64
    assert load_data(stamps - stamps.mean(0)).split("train").x.dtype == torch.float32
    with pytest.raises(UsageError, match="so large that float64 cannot tell them apart"):
        load_data(np.arange(20).reshape(10, 2) + 2**60)


def test_nan_is_refused_by_its_place() -> None:
    x = images()
    x[3, 1, 2] = np.nan
    with pytest.raises(UsageError, match=r"first in row 3, pixel \(1, 2\) \(nan\).*by a mask.*\Z"):
        load_data(x)
    x[3, 1, 2] = -np.inf
    with pytest.raises(UsageError, match=r"first in row 3, column 8 \(-inf\)"):
        load_data(x.reshape(20, 30))


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["x", "labels"], "labels is none of x, y, .*did you mean y by labels"),
        (["x", "extra"], "extra is none of x, y"),
        (["X"], "holds X: expected x .*did you mean x by X"),
        (["x_train", "x_test", "x_val"], "did you mean x_validation by x_val"),
        (["x_train", "x_test", "y_tset"], "did you mean y_test by y_tset"),
        (["x_train", "x_test", "x"], "x is none of x_train"),
        (["x_train", "x_test", "y"], "y is none of x_train"),
        (["x_train", "x_test", "y_validation"], "y_validation without x_validation"),
    ],
    ids=",".join,
)
def test_no_array_of_a_file_is_left_out_unsaid(names: list[str], line: str, tmp_path: Path) -> None:
    arrays = {n: np.zeros(20, int) if n[0] in "yl" else images() for n in names}
    np.savez(tmp_path / "names.npz", **arrays)
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        load_data(tmp_path / "names.npz")


def test_labels_are_one_integer_per_datum_also_in_data_made_by_hand() -> None:
    x = torch.rand(4, 3)
    Split(x, torch.tensor([0, 1, -1, 1]))
    for y, line in (
        (torch.zeros(4), "integers"),
        (torch.zeros(4, dtype=torch.bool), "integers"),
        (torch.zeros(3, dtype=torch.long), "one per datum"),
        (np.zeros(4, int), "integers"),
    ):
        with pytest.raises(UsageError, match=line):
            Split(x, y)  # type: ignore[arg-type]


def test_a_class_that_no_datum_has_is_said() -> None:
    assert "labels below 4 of which none is 0" in told(load_data(images(), labels=[1, 2, 3, 3] * 5))


def test_a_download_is_seen_whole_or_not_at_all(
    offline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process, of its own draft, is faster; a third dies half-way."""
    from torchvision.datasets import MNIST

    place = offline / "MNIST" / "raw"

    def fetch(self: Any) -> None:
        assert Path(self.raw_folder) != place
        assert not any(place.glob("*-ubyte"))
        write_idx(Path(self.raw_folder), images=1)

    monkeypatch.setattr(MNIST, "download", fetch)
    with pytest.raises(UsageError, match="1 images where 60,000 belong"):
        load_data("mnist")
    assert sorted(path.name for path in place.iterdir()) == sorted(_IDX_FILES)


def test_an_array_has_a_name_that_says_what_it_is_or_the_one_it_is_given() -> None:
    x = images()
    assert re.fullmatch(rf"array-{'x'.join(map(str, x.shape))}_[0-9a-f]{{8}}", load_data(x).name)
    assert load_data(x).name == load_data(torch.from_numpy(x).double()).name
    assert load_data(x).name != load_data(x, seed=1).name
    assert load_data(x, name="leaves").name == "leaves"
    assert load_data(x, name="leaves").identity == load_data(x).identity
    for name in ("mnist", "leaves.npz", "", " ", 3):
        with pytest.raises(UsageError, match="name"):
            load_data(x, name=name)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^a name goes with an array; digits brings its own\Z"):
        load_data("digits", name="mine")


@pytest.mark.parametrize(
    ("fraction", "sizes"),
    [
        (None, {"train": 160, "validation": 20, "test": 20}),
        (0.1, {"train": 160, "validation": 20, "test": 20}),
        (0.25, {"train": 134, "validation": 16, "test": 50}),
        (1e-9, {"train": 177, "validation": 22, "test": 1}),
        (0, {"train": 178, "validation": 22}),
    ],
)
def test_the_test_split_is_as_large_as_asked(fraction: Any, sizes: Any, tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((200, 3))
    np.save(tmp_path / "x.npy", x)
    for source in (x, tmp_path / "x.npy", tmp_path / "x.npz"):
        np.savez(tmp_path / "x.npz", x=x)
        data = load_data(source, test_fraction=fraction, seed=2)
        assert {name: len(split) for name, split in data.splits.items()} == sizes
        rows = torch.cat([split.x for split in data.splits.values()])
        assert torch.equal(rows.sort(0).values, torch.from_numpy(x).float().sort(0).values)
    assert load_data(x, test_fraction=0, all_training=True).splits.keys() == {"train"}
    assert len(load_data(x, test_fraction=0.25, all_training=True).split("train")) == 150


@pytest.mark.parametrize("fraction", [1, 1.5, -0.1, True, "a", float("nan")])
def test_a_test_split_that_will_not_do_is_one_line(fraction: Any) -> None:
    with pytest.raises(UsageError, match=r"^test_fraction is at least 0 and below 1; got"):
        load_data(np.zeros((20, 3)), test_fraction=fraction)
    with pytest.raises(UsageError, match="brings its own test split"):
        load_data("digits", test_fraction=0.2)


def test_data_that_come_in_splits_have_their_own_test_split(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x_train=np.zeros((20, 3)), x_test=np.ones((5, 3)))
    with pytest.raises(UsageError, match="brings its own test split"):
        load_data(tmp_path / "x.npz", test_fraction=0.2)


def test_masks_go_with_their_data_through_the_split() -> None:
    x = np.arange(40.0).reshape(20, 2)
    data = load_data(Observed(x, mask=x % 4 < 3), seed=3)
    for split in data.splits.values():
        assert split.mask is not None
        assert torch.equal(split.x == 0, ~split.mask | (split.x == 0))
        assert bool((split.x[split.mask] % 4 < 3).all())
    assert data.identity.mask is not None
    assert data.identity.differs_from(load_data(x, seed=3).identity) is not None
    both = load_data(Observed(x, mask=x % 4 < 3), seed=3, all_training=True)
    assert both.split("train").mask.shape == (18, 2)


def test_a_named_set_is_had_in_fewer_grey_levels() -> None:
    whole, few = load_data("digits"), load_data("digits", levels=4)
    x = few.split("test").x
    assert few.levels == 4
    torch.testing.assert_close(x.unique(), torch.arange(4) / 3)
    assert torch.equal(x, (whole.split("test").x * 4).floor().clamp(max=3) / 3)
    assert torch.equal(load_data("digits", levels=17).split("train").x, whole.split("train").x)
    assert few.identity != whole.identity


@pytest.mark.parametrize("levels", [1, 18, 2.5, True])
def test_levels_that_a_named_set_cannot_have_are_refused(levels: Any) -> None:
    with pytest.raises(UsageError, match="digits has 17 grey levels: give 2 to 17"):
        load_data("digits", levels=levels)


def test_a_folder_of_pictures_is_told_how_it_is_read(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "cat" / "1.png")
    for place in (tmp_path, tmp_path / "cat" / "1.png"):
        with pytest.raises(UsageError, match=rf"is no array: give .*ImageFolder\('{tmp_path}'\)"):
            load_data(place)
