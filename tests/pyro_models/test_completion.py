"""The pair that is trained to complete: what it conditions on, what it is a probability of."""

from itertools import product

import pytest
import torch
from torch import Tensor

from inference import evaluate, fit, reconstruct
from pyro_models import CompletionCVAE, ImageData, UsageError
from pyro_models.data import Split
from pyro_models.data.masks import seen_pixels

SHAPE = (1, 2, 2)
SMALL = {"latent_dim": 2, "hidden": [8]}


def all_images() -> Tensor:
    return torch.tensor(list(product([0.0, 1.0], repeat=4))).unflatten(1, SHAPE)


def test_it_is_a_probability_of_the_rest_alone() -> None:
    pair, images = CompletionCVAE(SHAPE, masks=["left"], **SMALL), all_images()
    z = torch.randn(5, 1, 2).expand(5, 16, 2)
    with torch.no_grad():
        p = pair.decode({"z": z}, x=images)["x"].log_prob(images).exp()
    for left in product([0.0, 1.0], repeat=2):  # 4 completions of each left half
        same = (images[:, 0, :, 0] == torch.tensor(left)).all(1)
        assert int(same.sum()) == 4
        torch.testing.assert_close(p[:, same].sum(1), torch.ones(5))


def test_what_is_given_comes_back_as_it_is_and_the_prior_knows_only_that() -> None:
    pair = CompletionCVAE((1, 6, 6), masks=["top"], **SMALL)
    x = (torch.rand(3, 1, 6, 6) < 0.5).float()
    seen = seen_pixels("top", (1, 6, 6)).expand_as(x)
    for pixels in ("mean", "sample"):
        again = reconstruct(pair, x, pixels=pixels)
        assert torch.equal(again[seen], x[seen])
    other = torch.where(seen, x, 1 - x)
    assert torch.equal(pair.conditioning(x), seen)
    z = {"z": torch.randn(3, 2)}
    assert torch.equal(pair.decode(z, x=x)["x"].mean, pair.decode(z, x=other)["x"].mean)
    changed = torch.where(seen, 1 - x, x)
    assert not torch.equal(pair.decode(z, x=x)["x"].mean, pair.decode(z, x=changed)["x"].mean)


def copies(n: int) -> ImageData:
    """The right half of each image is a copy of its left half."""
    left = (torch.rand(n, 1, 4, 2) < 0.5).float()
    x = torch.cat([left, left], dim=-1)
    return ImageData("copies", {"train": Split(x), "validation": Split(x[:32])}, "threshold")


def test_it_learns_what_the_seen_pixels_tell_and_its_score_says_what_is_given() -> None:
    """Eight unseen pixels cost 8 ln 2 = 5.5 nats to one who does not look, and none to a copier."""
    torch.manual_seed(0)
    pair = CompletionCVAE((1, 4, 4), masks=["left"], latent_dim=2, hidden=[64])
    fit(pair, copies(512), epochs=20, lr=1e-2, batch_size=64, curve_size=0, progress=False)
    found = evaluate(pair, copies(200), split="validation", num_particles=5)
    score = found.scores["log_likelihood"]
    assert score.value > -1.0
    assert score.given == "x_left"
    assert "of unseen pixels" in found.absent["bits_per_dimension"]


def test_of_several_sets_the_data_take_one_each_and_each_is_a_pair() -> None:
    pair = CompletionCVAE((1, 4, 4), masks=["left", "bottom", "random"], **SMALL)
    x = (torch.rand(7, 1, 4, 4) < 0.5).float()
    sets = [seen_pixels(name, (1, 4, 4)) for name in pair.masks]
    given = pair.conditioning(x)
    for i in range(7):
        assert torch.equal(given[i : i + 1], sets[i % 3])
    alone = pair.conditioned_on(sets[1])
    assert alone.masks == ("bottom",)
    assert alone.conditioned_on(sets[1]) is alone
    z = {"z": torch.randn(7, 2)}
    rows = torch.arange(1, 7, 3)  # those that had this set in the batch
    whole = pair.decode(z, x=x)["x"].mean[rows]
    torch.testing.assert_close(alone.decode(z, x=x)["x"].mean[rows], whole)
    assert pair.given == "x_left or x_bottom or x_random_0.5"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"masks": ["lefft"]}, "unknown mask 'lefft': choose from left, right"),
        ({"masks": ["everything"]}, "unknown mask 'everything'"),
        ({"masks": []}, "one or more names, each once"),
        ({"masks": ["left", "left"]}, "one or more names, each once"),
        ({"masks": ["random"], "fraction": 1.0}, "leaves nothing to complete"),
    ],
    ids=["unknown", "everything", "none", "twice", "all seen"],
)
def test_sets_that_cannot_be_are_one_line(options: dict, line: str) -> None:
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        CompletionCVAE((1, 4, 4), **{**SMALL, **options})


def test_a_set_it_was_not_made_for_is_one_line() -> None:
    pair = CompletionCVAE((1, 4, 4), masks=["left"], **SMALL)
    with pytest.raises(UsageError, match=r"^.*complete from left, and from no other pixels\Z"):
        pair.conditioned_on(seen_pixels("top", (1, 4, 4)))


@pytest.mark.parametrize("fraction", [0, 2, "half", float("nan"), None, True])
@pytest.mark.parametrize("masks", [["left"], ["random"]])
def test_a_fraction_that_is_none_is_refused(fraction, masks) -> None:
    with pytest.raises(UsageError, match="fraction of pixels seen lies in 0…1, above 0; got"):
        CompletionCVAE((1, 4, 4), masks=masks, fraction=fraction, hidden=[4])
