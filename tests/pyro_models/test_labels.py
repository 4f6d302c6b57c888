"""Some training labels kept, the others missing; and what a CVAE does with a missing one."""

import pytest
import torch

from pyro_models import CVAE, ImageData, UsageError, load_data
from pyro_models.data import Split


def digits():
    return load_data("digits")


@pytest.mark.parametrize(("labels", "each"), [(0, 0), (20, 2), (100, 10), (0.5, 62), (0.0, 0)])
def test_as_many_of_each_class_are_kept_and_are_what_they_were(labels, each):
    whole, data = digits(), digits().with_labels(labels)
    y = data.split("train").y
    known = y >= 0
    assert y[known].bincount(minlength=10).tolist() == [each] * 10
    assert torch.equal(y[known], whole.split("train").y[known])
    assert torch.equal(data.split("train").x, whole.split("train").x)
    for name in ("validation", "test"):
        assert torch.equal(data.split(name).y, whole.split(name).y)
    assert data.labels_kept == (10 * each, 0)


@pytest.mark.parametrize("fraction", [0.94, 0.97, 1.0])
def test_any_fraction_is_kept_a_small_class_with_all_it_has(fraction):
    counts = digits().split("train").y.bincount()
    data = digits().with_labels(fraction, seed=3)
    y = data.split("train").y
    found = y[y >= 0].bincount(minlength=10)
    assert fraction * 1257 - 10 < int(found.sum()) <= fraction * 1257
    assert torch.equal(found, counts.clamp(max=int(found.max())))
    assert data.labels_kept == (int(found.sum()), 3)
    again = digits().with_labels(int(found.sum()), seed=3)  # as a run draws them again
    assert torch.equal(again.split("train").y, y)


def test_the_draw_follows_its_seed_and_is_kept_through_preparation():
    first, again, other = (digits().with_labels(50, seed=s).split("train").y for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    data = digits().with_labels(50, seed=1).with_preparation("dynamic")
    assert torch.equal(data.prepared("train").y, first)
    assert data.labels_kept == (50, 1)
    assert "dynamic, 50 training labels" in repr(data)


def test_every_datum_may_be_the_one_that_is_drawn():
    counts = torch.zeros(40)
    y = torch.arange(40) % 4
    data = ImageData("four", {"train": Split(torch.rand(40, 3), y)}, num_classes=4)
    for seed in range(400):
        counts += data.with_labels(8, seed=seed).split("train").y >= 0
    assert float(counts.min()) > 80 - 5 * 8  # 400 draws, each with probability 1/5
    assert float(counts.max()) < 80 + 5 * 8


def test_labelled_data_may_stand_alone():
    data = digits().with_labels(30).labelled()
    train = data.split("train")
    assert train.x.shape == (30, 1, 8, 8)
    assert bool((train.y >= 0).all())
    assert len(data.split("test")) == 360
    with pytest.raises(UsageError, match="no training data of digits have a label"):
        digits().with_labels(0).labelled()


def unlabelled():
    return ImageData("none", {"train": Split(torch.rand(9, 3))})


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: digits().with_labels(15), "15 labels cannot be shared evenly among 10 classes"),
        (lambda: digits().with_labels(2000), "training labels of class 0, and 2000 labels would"),
        (lambda: digits().with_labels(-10), "cannot be negative; got -10"),
        (lambda: digits().with_labels(1.5), "a fraction in 0…1; got 1.5"),
        (lambda: digits().with_labels(float("nan")), "a fraction in 0…1; got nan"),
        (lambda: digits().with_labels(10, seed=-1), "a seed is a whole number"),
        (lambda: digits().with_labels(20).with_labels(10), "begin with all of them"),
        (lambda: unlabelled().with_labels(3), "none has no labels to keep"),
        (
            lambda: ImageData(
                "bad", {"train": Split(torch.rand(3, 2), torch.tensor([0, 1, 7]))}, num_classes=3
            ).with_labels(3),
            "labels of bad must lie in 0…2; got 7",
        ),
    ],
)
def test_what_cannot_be_drawn_is_one_line(call, line):
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        call()


def cvae(**options):
    torch.manual_seed(0)
    options = {"num_classes": 3, "latent_dim": 2, "hidden": [8], **options}
    return CVAE((5,), likelihood="bernoulli", **options)


def loss(pair, x, y):
    torch.manual_seed(1)
    return pair.elbo().loss(pair.model, pair.guide, x, y=y)


@pytest.mark.parametrize("learned_prior", [False, True])
def test_a_missing_label_as_zeros_is_one_more_class_and_no_average_over_the_labels(learned_prior):
    """The named wrong baseline: what it gives for a missing label is none of p(x)'s."""
    pair = cvae(missing_label="zeros", learned_prior=learned_prior)
    x = torch.ones(2, 5).bernoulli()
    missing = torch.tensor([-1, -1])
    code = pair.model.code(torch.tensor([2, -1]))
    assert code.tolist() == [[0, 0, 1], [0, 0, 0]]
    assert loss(pair, x, missing) == loss(pair, x, None)
    assert all(loss(pair, x, torch.full((2,), c)) != loss(pair, x, missing) for c in range(3))
    assert pair.model(n=4, y=torch.tensor([-1])).shape == (4, 5)
    assert pair.decode({"z": torch.zeros(2, 2)}, y=missing)["x"].batch_shape == (2,)
    for wrong in (torch.tensor([3, 0]), torch.tensor([-2, 0]), torch.tensor([0.0, 1.0])):
        with pytest.raises(UsageError, match="a CVAE"):
            loss(pair, x, wrong)


def test_known_labels_mean_the_same_whatever_a_missing_one_means():
    x, y = torch.ones(3, 5).bernoulli(), torch.tensor([0, 1, 2])
    assert loss(cvae(), x, y) == loss(cvae(missing_label="zeros"), x, y)
    with pytest.raises(UsageError, match="missing"):
        loss(cvae(), x, torch.tensor([0, 1, -1]))
    with pytest.raises(UsageError, match="unknown missing_label 'nope': choose from refuse, zeros"):
        cvae(missing_label="nope")
