"""A ramp of learning rates finds what is known of a quadratic, and changes nothing."""

import math
from copy import deepcopy
from typing import Any

import pytest
import torch

from inference import figures
from inference.experiment import Experiment
from inference.learning import RULES, Run, find_lr, fit
from inference.learning.find_lr import steepest, valley
from inference.objectives import IWAE
from pyro_models import PPCA, VAE, Generator, UsageError, load_data
from pyro_models.data import as_data

DATA = load_data("digits", preparation="threshold")
X = 3.0 + 0.5 * torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
SGD: dict[str, Any] = {"optimizer": "SGD", "batch_size": 60}  # all data in each step
RAMP: dict[str, Any] = {"lr_max": 1e4, "num_steps": 200}


def quadratic() -> PPCA:
    """Only μ is learned: −log p(x) = ‖x − μ‖² / 2σ² + const, as W = 0."""
    pair = PPCA.maximum_likelihood(X, latent_dim=1)
    for parameter in pair.parameters():
        parameter.requires_grad_(False)
    pair.model.W.zero_()
    pair.model.mu.add_(2.0).requires_grad_(True)
    return pair


def curvature() -> float:
    """The largest eigenvalue of the Hessian of the loss, 1 / σ²."""
    pair = quadratic()

    mu = pair.model.mu.detach()
    gradients = []
    for step in (0.0, 1.0):
        pair.model.mu.data = mu + step
        pair.zero_grad()
        (-pair.exact_log_prob(X).mean()).backward()
        gradients.append(pair.model.mu.grad.clone())
    return float((gradients[1] - gradients[0]).mean())  # the Hessian is λ I


def distance(pair: PPCA) -> float:
    """How far μ is from its best, about."""
    return float((pair.model.mu.detach() - 3).norm())


def vae() -> VAE:
    torch.manual_seed(0)
    return VAE(DATA.data_shape, hidden=[16], latent_dim=3, likelihood="bernoulli")


@pytest.mark.parametrize("rule", list(RULES))
def test_the_suggestion_lies_below_the_stable_limit_of_a_quadratic(rule: str) -> None:
    limit = 2 / curvature()  # gradient descent converges below, and diverges above
    found = find_lr(quadratic(), X, rule=rule, **SGD, **RAMP)
    assert limit / 1000 < found.suggestion < limit
    assert found.diverged_at is not None
    assert limit < found.diverged_at < 30 * limit
    assert len(found.rates) < 200  # it stopped there
    assert rule in str(found)


def test_the_stable_limit_is_where_it_is_said_to_be() -> None:
    limit, quick = 2 / curvature(), {"epochs": 30, "curve_size": 0, "progress": False}
    ends = []
    for lr in (0.9 * limit, 1.1 * limit):
        pair = quadratic()
        before = distance(pair)
        with torch.no_grad():
            for _ in range(30):
                pair.zero_grad()
                with torch.enable_grad():
                    (-pair.exact_log_prob(X).mean()).backward()
                pair.model.mu -= lr * pair.model.mu.grad
        ends.append(distance(pair) < before)
    assert ends == [True, False]
    pair, found = quadratic(), find_lr(quadratic(), X, **SGD, **RAMP)
    fit(pair, X, lr=found.suggestion, **SGD, **quick)
    assert distance(pair) < 1.0  # from 2.8


def test_nothing_of_the_pair_its_optimizer_or_the_generators_changes() -> None:
    pair = vae().train()
    optimizer = torch.optim.Adam(pair.parameters(), lr=1e-3)
    fit(pair, DATA, optimizer=optimizer, epochs=1, curve_size=0, progress=False)  # it has a state
    before = deepcopy([pair.state_dict(), optimizer.state_dict()])
    drawn = torch.get_rng_state()
    gradients = [p.grad for p in pair.parameters()]
    find_lr(pair, DATA, optimizer=optimizer, num_steps=20)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert optimizer.param_groups[0]["lr"] == 1e-3
    assert optimizer.param_groups[0]["params"][0] is next(pair.parameters())
    for name, value in pair.state_dict().items():
        assert torch.equal(value, before[0][name]), name
    for state, kept in zip(
        optimizer.state_dict()["state"].values(), before[1]["state"].values(), strict=True
    ):
        assert torch.equal(state["exp_avg"], kept["exp_avg"])
    assert all(p.grad is g for p, g in zip(pair.parameters(), gradients, strict=True))
    assert pair.training


def test_the_same_seed_finds_the_same() -> None:
    first, second = (find_lr(vae(), DATA, seed=3, num_steps=30) for _ in range(2))
    assert torch.equal(first.losses, second.losses)


@pytest.mark.parametrize("objective", ["monte_carlo", "rws", "trace", IWAE(num_particles=2), "js"])
def test_every_objective_that_ranks_pairs_has_a_rate(objective: Any) -> None:
    found = find_lr(vae(), DATA, objective=objective, num_steps=40)
    assert 1e-5 < found.suggestion < 1.0
    assert float(found.smoothed.min()) < found.start


def test_a_game_with_a_critic_has_none() -> None:
    gan = Generator((1, 8, 8), latent_dim=2, hidden=[8])
    with pytest.raises(UsageError, match="find_lr is not defined for the objective adversarial"):
        find_lr(gan, load_data("digits"), objective="adversarial")
    with pytest.raises(UsageError, match="is not defined for the objective adversarial"):
        fit(gan, load_data("digits"), objective="adversarial", lr="find", progress=False)


def test_a_pair_at_its_best_is_refused() -> None:
    pair = quadratic()
    with torch.no_grad():
        pair.model.mu.copy_(as_data(X).split("train").x.mean(0))
    with pytest.raises(UsageError, match="the loss falls at no rate"):
        find_lr(pair, X, **SGD)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"lr_min": 0.0}, "a ramp goes from lr_min"),
        ({"lr_min": 1.0, "lr_max": 0.1}, "a ramp goes from lr_min"),
        ({"num_steps": 3}, "num_steps"),
        ({"rule": "lowest"}, "unknown rule 'lowest': choose from steepest, valley"),
        ({"rule": lambda rates, losses: "much"}, "the rule <lambda> cannot be computed"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        find_lr(vae(), DATA, **options)


def test_rules_do_what_they_say() -> None:
    rates = torch.logspace(-4, 0, 41, dtype=torch.float64)
    logs = rates.log10()
    losses = 1 - torch.sigmoid(8 * (logs + 2))  # falls fastest at 1e-2
    assert math.isclose(steepest(rates, losses), 1e-2, rel_tol=1e-6)
    straight = -logs  # falls by a tenth until 10^-3.6, to 1
    assert math.isclose(valley(rates, straight), 10 ** (-3.6 + 3.6 / 3), rel_tol=1e-6)
    own = find_lr(vae(), DATA, rule=lambda r, s: float(r[0]), num_steps=20)
    assert math.isclose(own.suggestion, 1e-6, rel_tol=1e-5)


def test_fit_looks_for_a_rate_and_a_resumed_run_keeps_it(tmp_path: Any) -> None:
    wanted = find_lr(vae(), DATA).suggestion
    how: dict[str, Any] = {"lr": "find", "curve_size": 0, "progress": False, "out": tmp_path}
    history = fit(vae(), DATA, epochs=1, **how).history
    assert history.epochs[0].learning_rate == wanted
    assert Run(tmp_path).describe()["settings"]["lr"] == wanted
    history = fit(vae(), DATA, epochs=2, resume=True, **how).history
    assert history.epochs[1].learning_rate == wanted


def test_several_seeds_share_the_rate() -> None:
    fits = fit(vae(), DATA, lr="find", seeds=[0, 1], epochs=1, curve_size=0, progress=False).fits
    first, second = (each.history.epochs[0].learning_rate for each in fits)
    assert first == second != 1e-3


def test_an_experiment_keeps_that_its_rate_is_found() -> None:
    assert Experiment("vae", "digits").replace(lr="find").to_dict()["lr"] == "find"
    with pytest.raises(UsageError, match="lr is a number, or find; got 'fast'"):
        Experiment("vae", "digits").replace(lr="fast")


def test_the_figure_shows_the_ramp_and_the_suggestion() -> None:
    found = find_lr(quadratic(), X, **SGD, **RAMP)
    axes = figures.learning_rates(found).axes[0]
    assert axes.get_xscale() == "log"
    assert found.start < axes.get_ylim()[1] < 10 * abs(found.start)  # what diverged is cut off
    marked = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1]
    assert found.suggestion in marked
    with pytest.raises(UsageError, match="no ramp"):
        figures.learning_rates({})
