"""Masks by name: what is seen, in which shape, and what is no mask."""

import numpy as np
import pytest
import torch

from pyro_models import UsageError
from pyro_models.data.masks import MASKS, mask_name, seen_pixels
from pyro_models.pair import pixel_mask

HALVES = [name for name in MASKS if name not in ("random", "everything")]


def test_the_name_says_what_is_seen() -> None:
    left = seen_pixels("left", (1, 4, 6))[0, 0]
    assert left[:, :3].all()
    assert not left[:, 3:].any()
    top = seen_pixels("top", (1, 4, 6))[0, 0]
    assert top[:2].all()
    assert not top[2:].any()
    corner = seen_pixels("bottom_right", (1, 4, 6))[0, 0]
    assert corner[2:, 3:].all()
    assert corner.sum() == 6


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 7), (1, 2, 2)], ids=str)
def test_halves_and_quadrants_part_the_image(shape: tuple[int, ...]) -> None:
    seen = {name: seen_pixels(name, shape) for name in HALVES}
    assert {tuple(m.shape) for m in seen.values()} == {(1, 1, *shape[1:])}
    assert torch.equal(seen["left"], ~seen["right"])
    assert torch.equal(seen["top"], ~seen["bottom"])
    quadrants = [m.int() for name, m in seen.items() if "_" in name]
    assert bool((sum(quadrants[1:], quadrants[0]) == 1).all())


@pytest.mark.parametrize("shape", [(1, 6, 5), (3, 6, 5), (30,)], ids=str)
def test_random_pixels_are_as_many_as_asked_and_drawn_by_the_seed(shape: tuple[int, ...]) -> None:
    seen = seen_pixels("random", shape, num_data=4, fraction=0.3, seed=1)
    assert seen.flatten(1).sum(1).tolist() == [9] * 4
    assert len({tuple(row.tolist()) for row in seen.flatten(1)}) == 4
    assert torch.equal(seen, seen_pixels("random", shape, num_data=4, fraction=0.3, seed=1))
    assert not torch.equal(seen, seen_pixels("random", shape, num_data=4, fraction=0.3, seed=2))
    assert len(seen_pixels("random", shape)) == 1


def test_every_pixel_is_as_likely_as_another() -> None:
    counts = seen_pixels("random", (40,), num_data=4000, fraction=0.25).sum(0)
    error = (4000 * 0.25 * 0.75) ** 0.5
    assert float((counts - 1000).abs().max()) < 4.5 * error


def test_arrays_and_files_are_masks_too(tmp_path) -> None:
    array = np.zeros((4, 4), dtype=np.uint8)
    array[1] = 1
    np.save(tmp_path / "row.npy", array)
    expected = torch.as_tensor(array).bool()[None, None]
    for mask in (array, torch.as_tensor(array), tmp_path / "row.npy", str(tmp_path / "row.npy")):
        assert torch.equal(seen_pixels(mask, (3, 4, 4)), expected)
    per_channel = torch.stack([torch.eye(4), torch.ones(4, 4), torch.ones(4, 4)])
    assert seen_pixels(per_channel, (3, 4, 4)).shape == (1, 3, 4, 4)
    assert mask_name(tmp_path / "row.npy") == "row"
    assert mask_name(array) == mask_name(torch.as_tensor(array)) != mask_name(array.T)


@pytest.mark.parametrize(
    ("mask", "options", "line"),
    [
        ("lefft", {}, "unknown mask 'lefft': choose from left, right"),
        ("random", {"fraction": 0.0}, "fraction of pixels seen lies in"),
        ("random", {"fraction": 1.5}, "fraction of pixels seen lies in"),
        ("random", {"fraction": 1e-3}, "sees nothing"),
        ("random", {"seed": -1}, "a seed is a whole number"),
        ("nowhere.npy", {}, "there is no mask nowhere.npy"),
        (torch.zeros(4, 4), {}, "sees nothing"),
        (torch.tensor([1.0, 0.0])[:, None, None, None].expand(2, 1, 4, 4), {}, "of datum 1"),
        (torch.full((4, 4), 0.5), {}, "1 .or True. where a pixel is seen"),
        (torch.ones(4, 5), {}, "does not fit data of shape"),
        (torch.ones(2, 1, 4, 4), {"num_data": 3}, "2 data does not fit 3 data"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_is_no_mask_is_one_line(mask, options, line) -> None:
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        seen_pixels(mask, (1, 4, 4), **options)


def test_vectors_have_no_halves_and_broken_files_are_one_line(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"^left is a part of an image.*\Z"):
        seen_pixels("left", (16,))
    (tmp_path / "broken.npy").write_bytes(b"nothing")
    with pytest.raises(UsageError, match=r"^.*save it by numpy.save\Z"):
        seen_pixels(tmp_path / "broken.npy", (1, 4, 4))


@pytest.mark.parametrize(
    ("mask", "line"),
    [
        (torch.full((4, 4), 0.3), r"got 0\.3"),
        (torch.full((4, 4), float("nan")), "got nan"),
        (torch.full((4, 4), 255, dtype=torch.uint8), r"got 255 .*give mask > 0"),
        (torch.full((4, 4), -1), "got -1"),
        (torch.ones(4, 4) + 0j, "complex"),
    ],
    ids=["fraction", "nan", "255", "negative", "complex"],
)
def test_only_zeros_and_ones_are_masks_wherever_they_are_given(mask, line) -> None:
    for take in (seen_pixels, pixel_mask):
        with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
            take(mask, (1, 4, 4))


@pytest.mark.parametrize(
    "kind", [torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float64, torch.uint16]
)
def test_zeros_and_ones_of_any_type_are_masks(kind) -> None:
    expected = torch.eye(4, dtype=torch.bool)[None, None]
    assert torch.equal(pixel_mask(torch.eye(4).to(kind), (1, 4, 4)), expected)
    assert torch.equal(seen_pixels(torch.eye(4).to(kind), (1, 4, 4)), expected)
    assert torch.equal(seen_pixels(np.eye(4, dtype=">f8"), (1, 4, 4)), expected)
