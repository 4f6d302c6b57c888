"""What has decayed to nothing is nothing, and nothing else changes."""

import torch

from inference.learning.denormals import NOTHING, flush_denormals


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


def test_a_flushed_mean_would_not_have_moved_a_weight():
    weight = torch.nn.Parameter(torch.full((1,), 1e-3))
    adam = torch.optim.Adam([weight])
    weight.grad = torch.zeros(1)
    adam.step()
    adam.state[weight]["exp_avg"].fill_(NOTHING)
    adam.step()
    assert weight.tolist() == torch.full((1,), 1e-3).tolist()
