"""``pyro-models train --seeds``: several run folders, each that of its own seed, and one row."""

import csv
from pathlib import Path

import pytest
import torch

from inference.learning import Run
from inference.standard_error import mean_and_error

SMALL = ["--model", "vae", "--options.hidden", "[8]", "--options.latent_dim", "2"]
SMALL += ["--epochs", "1", "--progress", "false", "--curve_size", "100"]


def test_seeds_are_trained_gone_on_with_and_joined(call, refused, elsewhere, capsys):
    assert call("train", *SMALL, "--seeds", 0, 2, "--out", "several") == 0
    said = capsys.readouterr().out
    assert "over 2 seeds" in said
    assert "seed 2: " in said
    assert call("train", *SMALL, "--seed", 2, "--out", "one") == 0
    one, copy = Run("one"), Run("several/seed-2")
    assert copy.describe()["experiment"] == one.describe()["experiment"]
    for name, tensor in one.load_pair().state_dict().items():
        assert torch.allclose(copy.load_pair().state_dict()[name], tensor, atol=1e-4), name
    assert call("train", "--out", "several", "--resume", "--epochs", 2) == 0
    assert all(len(_rows(f"several/seed-{s}/history.csv")) == 2 for s in (0, 2))
    few = ["--num_particles", 2, "--limit", 50, "--progress", "false"]
    assert call("compare", "several", "one", *few, "--out", "table") == 0
    assert "several (2 seeds)" in capsys.readouterr().out
    values = []
    for seed in (0, 2):
        assert call("compare", f"several/seed-{seed}", *few, "--out", f"table-{seed}") == 0
        values.append(float(_score(f"table-{seed}/comparison.csv", "elbo")["value"]))
    mean, error = mean_and_error(torch.tensor(values, dtype=torch.float64))
    joined = _score("table/comparison.csv", "elbo")
    assert float(joined["value"]) == pytest.approx(mean)
    assert float(joined["standard_error"]) == pytest.approx(error, rel=1e-3)
    assert "already holds a run" in refused("train", *SMALL, "--seeds", 0, 1, "--out", "several")
    assert not Path("several/seed-1").exists()
    assert "name one, such as several/seed-0" in refused("evaluate", "several")
    assert "one --seed" in refused("train", *SMALL, "--seeds", 0, 1, "--seed", 3, "--out", "x")


def _rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _score(path, quantity):
    return next(row for row in _rows(path) if row["quantity"] == quantity)
