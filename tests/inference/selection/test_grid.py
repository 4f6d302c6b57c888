"""Grids, their combinations, and names of folders that a person can read."""

import itertools

import pytest

from inference.experiment import Experiment
from inference.selection.checks import warn_of_both
from inference.selection.grid import check_grid, combinations, folder_names
from pyro_models import UsageError


def test_every_combination_occurs_once():
    grid = {"lr": [0.1, 0.2], "options.latent_dim": [1, 2, 3], "batch_size": [5]}
    settings = combinations(grid)
    wanted = list(itertools.product([0.1, 0.2], [1, 2, 3], [5]))
    assert [tuple(setting.values()) for setting in settings] == wanted
    assert combinations({}) == [{}]


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ({"lr": 0.001, "options.latent_dim": 2}, "lr=0.001,latent_dim=2"),
        ({"options.hidden": [400, 100]}, "hidden=400-100"),
        ({"clip_norm": None, "restore_best": True}, "clip_norm=none,restore_best=true"),
        ({"lr": 1e-05, "schedule": "CosineAnnealingLR"}, "lr=1e-05,schedule=CosineAnnealingLR"),
        ({"options.lr": 1, "lr": 0.1}, "options.lr=1,lr=0.1"),
        ({}, "as-given"),
    ],
)
def test_a_folder_is_called_by_its_setting(setting, name):
    assert folder_names([setting]) == [name]


def test_no_two_settings_share_a_folder_and_no_name_leaves_it():
    settings = [
        {"options.path": "a/b"},
        {"options.path": "a b"},
        {"options.path": "../a"},
        {"optimizer_options": {"eps": 0.1}},
        {"optimizer_options": {"eps": 0.2}},
        {"options.hidden": list(range(100))},
        {"options.hidden": list(range(101))},
    ]
    names = folder_names(settings)
    assert len(set(names)) == len(settings)
    assert not any("/" in name or name.startswith(".") or len(name) > 200 for name in names)


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        ({"rate": [1]}, "unknown setting 'rate'"),
        ({"seed": [1]}, "seeds are given apart"),
        ({"lr": 0.1}, "lr in the grid needs a list"),
        ({"objective": "elbo"}, "objective in the grid needs a list"),
        ({"lr": []}, "lr in the grid has no value"),
        ({"lr": [0.1, 0.1]}, "lr in the grid has a value twice"),
    ],
    ids=str,
)
def test_what_is_no_grid_is_refused(grid, says):
    with pytest.raises(UsageError, match=says):
        check_grid(grid)


@pytest.mark.parametrize(
    ("varied", "given"),
    [
        ("lr", {"lr": 3.0}),
        ("preparation", {"preparation": "threshold"}),
        ("options.latent_dim", {"options": {"latent_dim": 3}}),
        ("optimizer_options.eps", {"optimizer_options": {"eps": 1.0}}),
    ],
)
def test_a_setting_that_is_given_both_ways_is_said(varied, given) -> None:
    with pytest.warns(UserWarning, match=f"{varied} is varied, so the value .* counts for nothing"):
        warn_of_both([varied], Experiment("ppca").replace(**given))
    warn_of_both([varied, "epochs"], Experiment("ppca"))
    warn_of_both(["batch_size", "options.likelihood_options.floor"], Experiment("ppca"))
