"""Optimisers and schedules by name, class or function."""

from functools import partial

import pytest
import torch
from torch.optim import lr_scheduler

from inference.learning import fit
from inference.learning.optimizers import make_optimizer, make_schedule, step_schedule
from pyro_models import VAE, UsageError


def train(data, **options):
    torch.manual_seed(0)
    pair = VAE((1, 8, 8), hidden=[8])
    options = {"epochs": 4, "batch_size": 64, "progress": False, **options}
    return fit(pair, data, **options)


def weights(result):
    return torch.cat([p.detach().flatten() for p in result.pair.parameters()])


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "NAdam", "Adamax"])
def test_an_optimiser_by_name_is_the_one_by_class_or_function(name, few):
    cls = getattr(torch.optim, name)
    by_name, by_class = (weights(train(few, optimizer=o, epochs=2)) for o in (name, cls))
    by_function = weights(train(few, optimizer=partial(cls, weight_decay=0.0), epochs=2))
    assert torch.equal(by_name, by_class)
    torch.testing.assert_close(by_function, by_name, rtol=1e-3, atol=1e-5)
    torch.manual_seed(0)
    untrained = VAE((1, 8, 8), hidden=[8]).parameters()
    assert not torch.equal(by_name, torch.cat([p.detach().flatten() for p in untrained]))


@pytest.mark.parametrize(
    ("name", "options", "fused"),
    [
        ("Adam", {}, True),
        ("AdamW", {}, True),
        ("Adam", {"fused": False}, False),
        ("Adam", {"foreach": True}, None),
        ("RMSprop", {}, None),
    ],
)
def test_optimisers_are_fused_where_they_can_be(name, options, fused):
    made = make_optimizer(name, [torch.nn.Parameter(torch.zeros(2))], lr=0.1, options=options)
    assert made.defaults.get("fused") is fused


def test_options_reach_the_optimiser():
    parameter = torch.nn.Parameter(torch.zeros(2))
    made = make_optimizer("Adam", [parameter], lr=0.1, options={"betas": (0.5, 0.6), "eps": 1e-4})
    assert made.param_groups[0]["betas"] == (0.5, 0.6)
    assert made.param_groups[0]["eps"] == 1e-4


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("Adma", {}, "unknown optimizer 'Adma'"),
        ("lr_scheduler", {}, "unknown optimizer"),
        ("Optimizer", {"lr": 1.0}, "optimizer Optimizer"),
        ("LBFGS", {}, "closure"),
        ("Adam", {"momentum": 0.9}, "momentum"),
        ("Adam", {"betas": (2.0, 0.9)}, "beta"),
        ("SGD", {"momentum": -1.0}, "momentum"),
    ],
)
def test_what_is_no_optimiser_is_refused(name, options, says, few):
    with pytest.raises(UsageError, match=says) as caught:
        train(few, optimizer=name, optimizer_options=options)
    assert "\n" not in str(caught.value)


STEPS = 12  # 4 epochs of 192 data in batches of 64


def rates(few, **options):
    return [e.learning_rate for e in train(few, lr=0.01, **options).history.epochs]


def test_the_one_cycle_spans_the_run_by_default(few):
    found = rates(few, schedule="OneCycleLR")
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    expected_schedule = lr_scheduler.OneCycleLR(optimiser, max_lr=0.01, total_steps=STEPS)
    expected = []
    for step in range(1, STEPS + 1):
        optimiser.step()
        if step < STEPS:
            expected_schedule.step()
        if step % 3 == 0:
            expected.append(optimiser.param_groups[0]["lr"])
    assert found[:-1] == pytest.approx(expected[:-1])
    assert found[0] > found[1] > found[2]


def test_cosine_annealing_ends_at_zero_by_default_and_elsewhere_if_told(few):
    assert rates(few, schedule="CosineAnnealingLR")[-1] == pytest.approx(0.0, abs=1e-9)
    assert rates(few, schedule="CosineAnnealingLR")[1] == pytest.approx(0.005)
    late = rates(few, schedule="CosineAnnealingLR", schedule_options={"eta_min": 0.004})
    assert late[-1] == pytest.approx(0.004)


def test_a_plateau_schedule_looks_at_the_validation_bound_once_per_epoch(few):
    options = {"factor": 0.5, "patience": 0, "threshold": 1e9, "threshold_mode": "abs"}
    found = rates(few, schedule="ReduceLROnPlateau", schedule_options=options)
    assert found == pytest.approx([0.01, 0.01, 0.005, 0.0025])  # the first bound is the best so far
    rising = rates(few, schedule="ReduceLROnPlateau", schedule_options={"patience": 0})
    assert rising == pytest.approx([0.01] * 4)


def test_a_schedule_may_be_a_function_of_the_optimiser(few):
    found = rates(few, schedule=partial(lr_scheduler.ExponentialLR, gamma=0.9))
    assert found == pytest.approx([0.01 * 0.9 ** (3 * e) for e in (1, 2, 3, 4)])


def test_a_schedule_steps_once_per_batch_and_changes_training(few):
    found = rates(few, schedule="StepLR", schedule_options={"step_size": 3, "gamma": 0.1})
    assert found == pytest.approx([1e-3, 1e-4, 1e-5, 1e-6])
    constant, falling = train(few), train(few, schedule="CosineAnnealingLR")
    assert not torch.equal(weights(constant), weights(falling))


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("Cosine", {}, "unknown schedule 'Cosine'"),
        ("Optimizer", {}, "unknown schedule"),
        ("StepLR", {}, "step_size"),
        ("CosineAnnealingLR", {"T": 3}, "T"),
        ("OneCycleLR", {"total_steps": -3}, "total_steps"),
    ],
)
def test_what_is_no_schedule_is_refused(name, options, says, few):
    with pytest.raises(UsageError, match=says) as caught:
        train(few, schedule=name, schedule_options=options)
    assert "\n" not in str(caught.value)


def test_no_schedule_keeps_the_rate(few):
    assert rates(few) == [0.01] * 4
    assert make_schedule(None, torch.optim.SGD([torch.zeros(1)], lr=1.0), total_steps=3) is None
    step_schedule(None)


def test_the_clipped_gradient_is_no_longer_than_asked(few):
    """One step of plain SGD moves the parameters by lr times the gradient."""

    def moved(clip_norm):
        torch.manual_seed(0)
        start = torch.cat([p.detach().flatten() for p in VAE((1, 8, 8), hidden=[8]).parameters()])
        options = {"optimizer": "SGD", "lr": 1e-2, "epochs": 1, "batch_size": 192}
        return float((weights(train(few, clip_norm=clip_norm, **options)) - start).norm()) / 1e-2

    free = moved(None)
    assert free > 1
    assert moved(free / 4) == pytest.approx(free / 4, rel=1e-3)
    assert moved(free * 4) == pytest.approx(free, rel=1e-3)
