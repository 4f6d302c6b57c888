"""Settings and data that do not fit are refused in one line, before anything is trained."""

from dataclasses import replace

import pytest
import torch

from inference.learning import fit
from pyro_models import CVAE, GMM, VAE, UsageError, load_data
from pyro_models.data import Split

SHAPE = (1, 8, 8)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"epochs": -1}, "epochs must be at least 0; got -1"),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"beta_warmup": -1}, "beta_warmup"),
        ({"curve_size": -1}, "curve_size"),
        ({"patience": 2, "min_improvement": float("nan")}, "min_improvement cannot be negative"),
        ({"epochs": 1.5}, "epochs is a whole number; got 1.5"),
        ({"epochs": float("nan")}, "epochs is a whole number; got nan"),
        ({"patience": 1.5}, "patience is a whole number"),
        ({"batch_size": "large"}, "batch_size is a whole number; got 'large'"),
        ({"lr": "fast"}, "lr is a number, or find; got 'fast'"),
        ({"lr": None}, "lr is a number, or find; got None"),
        ({"clip_norm": "short"}, "clip_norm is a number"),
        ({"seed": 0.5}, "a seed is a whole number"),
        ({"lr": 0.0}, "lr must be positive; got 0"),
        ({"lr": -1.0}, "lr must be positive"),
        ({"lr": float("nan")}, "lr must be positive"),
        ({"clip_norm": 0.0}, "clip_norm must be positive"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"min_improvement": -1.0}, "min_improvement"),
        ({"objective": "ivae"}, "unknown objective 'ivae': choose from elbo, .*, iwae, .*, trace"),
        ({"optimizer": "Adma"}, "unknown optimizer 'Adma'"),
        ({"schedule": "Cosine"}, "unknown schedule 'Cosine'"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"device": "meta"}, "the device meta have no values"),
        ({"device": "mps"}, "no mps device"),
        ({"precision": "float16"}, "unknown precision 'float16'"),
        ({"resume": True}, "resume needs out"),
    ],
    ids=str,
)
def test_a_bad_setting_is_refused_by_name(options, says, few):
    if options.get("device") == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has the device")
    pair = VAE(SHAPE, hidden=[8])
    before = [p.clone() for p in pair.parameters()]
    with pytest.raises(UsageError, match=says) as caught:
        fit(pair, few, progress=False, **options)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(p, b) for p, b in zip(pair.parameters(), before, strict=True))


def without(data, *, labels=(), splits=()):
    """The same data with labels or splits left out."""
    kept = {
        name: Split(split.x, None if name in labels else split.y)
        for name, split in data.splits.items()
        if name not in splits
    }
    return replace(data, splits=kept)


def with_label(data, split, label):
    y = data.splits[split].y.clone()
    y[3] = label
    return replace(data, splits={**data.splits, split: Split(data.splits[split].x, y)})


def with_pixel(data, value):
    x = data.splits["train"].x.clone()
    x[5, 0, 4, 4] = value
    return replace(data, splits={**data.splits, "train": Split(x, data.splits["train"].y)})


def vae(likelihood="cross_entropy"):
    return VAE(SHAPE, hidden=[8], likelihood=likelihood)


def cvae():
    return CVAE(SHAPE, num_classes=10, hidden=[8], likelihood="cross_entropy")


@pytest.mark.parametrize(
    ("pair", "change", "options", "says"),
    [
        (lambda: VAE((1, 28, 28)), lambda d: d, {}, r"shape \(1, 28, 28\).*\(1, 8, 8\)"),
        (lambda: VAE((64,)), lambda d: d, {}, r"shape \(64,\)"),
        (cvae, lambda d: without(d, labels=["train"]), {}, "needs labels.*train split"),
        (cvae, lambda d: without(d, labels=["test"]), {}, "needs labels.*test split"),
        (cvae, lambda d: with_label(d, "train", -1), {}, "needs every label, and the train split"),
        (cvae, lambda d: with_label(d, "validation", 10), {}, "validation split has 0 to 10"),
        (lambda: vae("bernoulli"), lambda d: d, {}, "binarise them"),
        (vae, lambda d: with_pixel(d, 1.5), {}, r"pixels in \[0, 1\]"),
        (vae, lambda d: with_pixel(d, float("nan")), {}, "NaN or infinite"),
        (lambda: vae("gaussian"), lambda d: with_pixel(d, float("inf")), {}, "NaN or infinite"),
        (vae, lambda d: without(d, splits=["validation"]), {"patience": 2}, "validation split"),
        (
            vae,
            lambda d: without(d, splits=["validation"]),
            {"restore_best": True},
            "validation split",
        ),
        (lambda: GMM(SHAPE), lambda d: d, {"beta_warmup": 2}, "warm-up is not defined"),
        (
            lambda: GMM(SHAPE),
            lambda d: d,
            {"objective": "mean_field", "objective_options": {"beta": 4.0}},
            "a weight β is not defined for enumerated",
        ),
        (lambda: GMM(SHAPE, num_components=500), lambda d: d, {}, "at least as many data; got 192"),
    ],
)
def test_data_that_do_not_fit_the_pair_are_refused(pair, change, options, says, few):
    with pytest.raises(UsageError, match=says) as caught:
        fit(pair(), change(few), epochs=1, progress=False, **options)
    assert "\n" not in str(caught.value)


def test_data_without_known_levels_cannot_be_dequantised():
    data = load_data(torch.rand(30, 8, 8)).with_preparation("dequantised")
    with pytest.raises(UsageError, match="levels"):
        fit(vae("gaussian"), data, epochs=1, progress=False)


def test_labels_do_not_bother_pairs_that_leave_them_alone(few):
    data = without(few, labels=["train", "validation", "test"])
    assert len(fit(vae(), data, epochs=1, progress=False).history.epochs) == 1
