"""Every datum once an epoch, labelled ones beside them; the classifier's term beside the bound."""

from dataclasses import replace

import pytest
import torch

from inference.learning import fit
from inference.learning.batches import batches
from inference.learning.settings import Settings
from inference.learning.training import Training
from pyro_models import CVAE, ImageData, SemiSupervisedVAE, UsageError
from pyro_models.data import Split
from pyro_models.observed import Observed


def m2(**options):
    torch.manual_seed(0)
    options = {"latent_dim": 2, "hidden": [8], **options}
    return SemiSupervisedVAE((1, 8, 8), num_classes=10, **options)


@pytest.mark.parametrize("batch_size", [1, 7, 40, 100])
def test_without_labelled_data_each_comes_once_in_order(batch_size):
    order = torch.randperm(40)
    found = list(batches(order, batch_size=batch_size))
    assert torch.equal(torch.cat(found), order)
    assert {len(rows) for rows in found[:-1]} <= {batch_size}


@pytest.mark.parametrize("count", [1, 3, 5, 12])
def test_labelled_data_come_in_turn_beside_them(count):
    order = torch.randperm(40)
    y = torch.full((40,), -1)
    y[:5] = torch.arange(5)
    found = list(batches(order, batch_size=8, y=y, labelled_per_batch=count))
    assert torch.equal(torch.cat([rows[:8] for rows in found]), order)
    beside = torch.cat([rows[8:] for rows in found])
    assert len(beside) == 5 * count
    assert bool((y[beside] >= 0).all())
    times = beside.bincount(minlength=5)
    assert int(times.max() - times.min()) <= 1


def test_a_run_with_few_labels_resumes_bit_for_bit(few, tmp_path):
    class Crash(BaseException):
        pass

    def crash(moment):
        if moment.epoch == 2:
            raise Crash

    data = few.with_labels(20, seed=3).with_preparation("dynamic")
    options = {"epochs": 3, "batch_size": 50, "labelled_per_batch": 7, "progress": False}
    options["capture"] = False  # batches differ in their labels, and each kind would be recorded
    whole = fit(m2(), data, out=tmp_path / "whole", **options)
    with pytest.raises(Crash):
        fit(m2(), data, out=tmp_path / "torn", callbacks=[crash], **options)
    again = fit(m2(), data, out=tmp_path / "torn", resume=True, **options)
    weights = [(tmp_path / f / "weights.safetensors").read_bytes() for f in ("whole", "torn")]
    assert weights[0] == weights[1]
    assert [replace(e, seconds=0) for e in again.history.epochs] == [
        replace(e, seconds=0) for e in whole.history.epochs
    ]
    other = few.with_labels(20, seed=4).with_preparation("dynamic")
    with pytest.raises(UsageError, match=r"data labels_kept \[20, 3\], not \[20, 4\]"):
        fit(m2(), other, out=tmp_path / "torn", resume=True, **options)


def training(pair, data, batch_size):
    settings = Settings(batch_size=batch_size, optimizer="SGD", lr=1e-30)
    return Training(pair, data, settings, None)


def gradient_of_classifier(pair, x, y):
    torch.manual_seed(1)
    data = ImageData("few", {"train": Split(x, y)}, num_classes=10)
    training(pair, data, len(x)).step_on(0, Observed.unchecked(x, y))
    return pair.guide.classifier.head.weight.grad.clone()


def test_the_classifier_learns_from_labels_by_its_weight_and_by_their_mean(few):
    x, y = few.with_preparation("threshold").prepared("train").x[:12], few.split("train").y[:12]
    pair = m2(classification_weight=2.0)
    pair.log_label_prob(x, y).mean().backward()
    expected = -2 * pair.guide.classifier.head.weight.grad.clone()
    found = gradient_of_classifier(pair, x, y)
    torch.testing.assert_close(found, expected)
    # twice the same data: the same mean
    both = gradient_of_classifier(pair, x.repeat(2, 1, 1, 1), y.repeat(2))
    torch.testing.assert_close(both, expected)
    # beside unlabelled data the term of the labelled ones is what it was
    mixed = torch.cat([y, torch.full((12,), -1)])
    doubled = x.repeat(2, 1, 1, 1)
    without = gradient_of_classifier(m2(classification_weight=0.0), doubled, mixed)
    found = gradient_of_classifier(pair, doubled, mixed)
    torch.testing.assert_close(found - without, expected, rtol=1e-4, atol=1e-6)


def test_the_value_is_of_the_bound_alone(few):
    split = few.with_preparation("threshold").prepared("train")
    values = []
    for weight in (0.0, 50.0):
        torch.manual_seed(0)
        pair = m2(classification_weight=weight)
        torch.manual_seed(1)
        values.append(
            training(pair, few, 20).step_on(0, Observed.unchecked(split.x[:20], split.y[:20]))
        )
    assert values[0] == values[1]


@pytest.mark.parametrize(
    ("make", "labels", "options", "line"),
    [
        (m2, 0, {"labelled_per_batch": 5}, "labelled_per_batch needs training data with labels"),
        (m2, 20, {"labelled_per_batch": -1}, "labelled_per_batch must be at least 0"),
        (m2, 20, {"objective": "trace"}, "leaves discrete sites to enumeration"),
        (
            lambda: CVAE((1, 8, 8), num_classes=10, hidden=[8], likelihood="bernoulli"),
            20,
            {},
            "CVAE needs every label, and the train split of digits misses 172",
        ),
    ],
)
def test_what_does_not_go_together_is_one_line(make, labels, options, line, few):
    data = few.with_labels(labels).with_preparation("threshold")
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        fit(make(), data, progress=False, **{"epochs": 1, **options})


def test_it_learns_without_any_label(few):
    data = few.with_labels(0).with_preparation("threshold")
    history = fit(m2(), data, epochs=3, batch_size=50, lr=1e-2, progress=False).history
    assert history.epochs[-1].train > history.epochs[0].train
