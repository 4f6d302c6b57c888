"""Whole steps on a device that nobody waits for are the steps of the loop, whatever is in them.

What a CUDA graph would launch is run operation by operation here: the same rows, gradients,
updates and sums, with nothing read by the host in between.
"""

import math
from dataclasses import replace

import pytest
import torch

from inference.cuda_graph import run_directly
from inference.learning.graphed import GraphedSteps, can_be_graphed
from inference.learning.nonfinite import NonFiniteError
from inference.learning.settings import Settings
from inference.learning.training import Training
from pyro_models import GMM, VAE, SemiSupervisedVAE, TwoLayerVAE
from pyro_models.data import Split
from tests.simulated_graph import tape

SHAPE = (1, 8, 8)


def vae(**options):
    return VAE(SHAPE, hidden=[12], latent_dim=2, **{"likelihood": "cross_entropy", **options})


CASES = {
    "plain": (vae, {}),
    "uneven": (vae, {"batch_size": 7}),
    "clipped": (vae, {"clip_norm": 1e-2}),
    "warm-up": (vae, {"beta_warmup": 2}),
    "schedule": (vae, {"schedule": "CosineAnnealingLR"}),
    "adamw": (vae, {"optimizer": "AdamW", "optimizer_options": {"weight_decay": 0.1}}),
    "bfloat16": (vae, {"precision": "bfloat16"}),
    "iwae": (vae, {"objective": "iwae", "objective_options": {"num_particles": 3}}),
    "dynamic": (lambda: vae(likelihood="bernoulli"), {}),
    "enumerated": (lambda: GMM(SHAPE, num_components=3), {}),
    "two layers": (
        lambda: TwoLayerVAE(
            SHAPE, latent_dims=[3, 2], hidden=[8], top_hidden=[8], likelihood="cross_entropy"
        ),
        {},
    ),
}


def trained(make, data, launcher, **options):
    torch.manual_seed(0)
    pair = make()
    settings = Settings(**{"batch_size": 16, "curve_size": 0, "epochs": 3, "lr": 3e-3, **options})
    training = Training(pair, data, settings, None)
    training.launcher = launcher
    torch.manual_seed(5)
    training.start_from_data()
    history = training.run_epochs([], progress=False)
    return training, [e.running for e in history.epochs]


@pytest.mark.parametrize("name", CASES)
def test_steps_on_the_device_are_those_of_the_loop(name, few):
    make, options = CASES[name]
    data = few.with_preparation("dynamic") if name == "dynamic" else few
    loop, bounds = trained(make, data, None, **options)
    device, sums = trained(make, data, run_directly, **options)
    assert isinstance(device.graphed, GraphedSteps)
    assert device.step.taken == loop.step.taken
    for one, other in zip(loop.step.parameters, device.step.parameters, strict=True):
        assert torch.equal(one, other)
    assert sums == pytest.approx(bounds, rel=1e-6)
    one, other = (t.optimizer.state_dict() for t in (loop, device))
    assert one["param_groups"] == other["param_groups"]
    for key, state in one["state"].items():
        for part, value in state.items():
            assert torch.equal(value, other["state"][key][part]), part


def test_a_step_that_is_not_finite_is_named_and_those_after_it_move_nothing(few):
    """The same step, site and parameters as where every step is waited for."""
    found = []
    for launcher in (None, run_directly):
        torch.manual_seed(0)
        pair = vae(likelihood="gaussian")
        settings = Settings(batch_size=8, curve_size=0, epochs=1, lr=1e-3)
        split = few.split("train")
        own = Split(split.x.clone(), split.y)
        training = Training(pair, replace(few, splits={"train": own}), settings, None)
        training.launcher = launcher
        own.x[training.epoch_data.permutation[8 * 9 + 3]] = math.inf
        torch.manual_seed(5)
        with pytest.raises(NonFiniteError) as caught:
            training.run_epochs([], progress=False)
        found.append((str(caught.value), [p.clone() for p in pair.parameters()], torch.rand(3)))
    assert found[0][0] == found[1][0]
    assert "step 10 of" in found[0][0]
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert torch.equal(one, other)
    assert torch.equal(found[0][2], found[1][2])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"capture": False}, "capture is off"),
        ({"optimizer": "Rprop"}, "Rprop cannot skip"),
        ({"optimizer_options": {"foreach": True}}, "Adam cannot skip"),
    ],
)
def test_what_cannot_be_one_graph_is_said(options, says, few):
    training = Training(vae(), few, Settings(**options), None)
    assert says in can_be_graphed(training.step, labelled_per_batch=0)


def test_batches_with_missing_labels_are_no_graph(few):
    pair = SemiSupervisedVAE(SHAPE, num_classes=10, hidden=[8], likelihood="cross_entropy")
    training = Training(pair, few, Settings(), None)
    assert "labels" in can_be_graphed(training.step, labelled_per_batch=0)


def test_where_a_device_takes_no_graph_steps_are_run(few):
    def refused(steps, optimizer):
        raise RuntimeError("operation not permitted when stream is capturing")

    loop, _ = trained(vae, few, None)
    with pytest.warns(UserWarning, match="no CUDA graph.*not permitted"):
        device, _ = trained(vae, few, refused)
    for one, other in zip(loop.step.parameters, device.step.parameters, strict=True):
        assert torch.equal(one, other)


def test_a_pair_that_is_changed_between_epochs_has_steps_of_its_own(few):
    """Launches are of the tensors that were learned when they were made."""

    def freeze(state):
        if state.epoch == 1:
            state.pair.model.decoder.requires_grad_(False)

    found = []
    for launcher in (None, run_directly):
        torch.manual_seed(0)
        training = Training(vae(), few, Settings(epochs=3, batch_size=16, curve_size=0), None)
        training.launcher = launcher
        torch.manual_seed(5)
        training.run_epochs([freeze], progress=False)
        found.append([p.clone() for p in training.pair.parameters()])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_a_graph_as_strict_as_cudas_gives_the_steps_of_the_loop(few):
    def graph(steps, optimizer):
        return tape(steps, optimizer, device=torch.device("cpu"))

    make, options = CASES["iwae"]
    loop, _ = trained(make, few, None, **options)
    device, _ = trained(make, few, graph, **options)
    assert device.graphed.launcher is graph
    for one, other in zip(loop.step.parameters, device.step.parameters, strict=True):
        assert torch.equal(one, other)
