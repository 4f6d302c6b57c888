"""What has decayed to nothing is nothing, and nothing else changes."""

import torch

from inference.denormals import NOTHING, flush_denormals
from inference.learning.settings import Settings
from inference.learning.training import Training
from pyro_models import VAE, Observed


def test_only_what_is_next_to_nothing_is_flushed():
    weight = torch.nn.Parameter(torch.ones(4))
    exact = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    adam = torch.optim.Adam([weight, exact], fused=True)
    weight.grad, exact.grad = torch.ones(4), torch.ones(2, dtype=torch.float64)
    adam.step()
    values = torch.tensor([1e-40, -1e-40, 1e-20, -3.0])
    adam.state[weight]["exp_avg"].copy_(values)
    adam.state[exact]["exp_avg"].fill_(1e-100)
    flush_denormals(adam)
    assert adam.state[weight]["exp_avg"].tolist() == [0, 0, *values[2:].tolist()]
    assert adam.state[exact]["exp_avg"].tolist() == [1e-100] * 2
    assert float(adam.state[weight]["step"]) == 1


def test_training_leaves_none_behind_however_short_its_epochs(few):
    torch.manual_seed(0)
    pair = VAE((1, 8, 8), hidden=[16], latent_dim=2)
    settings = Settings(batch_size=64, curve_size=0)
    training = Training(pair, few, settings, None)
    training.train_epoch()
    for state in training.optimizer.state.values():
        state["exp_avg"].fill_(1e-40)
    training.step.taken = 96
    x = few.split("train").x[:5]
    for step in range(3):
        training.step_on(step, Observed(x))
    assert any(_denormal(s["exp_avg"]) for s in training.optimizer.state.values())
    training.step_on(0, Observed(x))  # the hundredth
    assert not any(_denormal(s["exp_avg"]) for s in training.optimizer.state.values())


def _denormal(mean):
    return bool(((mean != 0) & (mean.abs() < torch.finfo(mean.dtype).tiny)).any())


def test_a_mean_that_is_flushed_would_not_have_moved_a_weight():
    weights = []
    for flushed in (False, True):
        weight = torch.nn.Parameter(torch.full((1,), 1e-3))
        adam = torch.optim.Adam([weight])
        weight.grad = torch.zeros(1)
        adam.step()
        adam.state[weight]["exp_avg"].fill_(0.9 * NOTHING)
        if flushed:
            flush_denormals(adam)
        adam.step()
        weights.append(weight.tolist())
    assert weights[0] == weights[1]
