"""Before and while ``train`` trains: a summary, a learning rate, divergence, and --quiet."""

import json
import warnings
from pathlib import Path

import pytest

from inference.command_line.mistakes import warnings_in_a_line
from inference.learning import TrainingWarning

SMALL = ["--data", "digits", "--epochs", "2", "--curve_size", "0", "--options.hidden", "[8]"]
pytestmark = pytest.mark.usefixtures("elsewhere")


def test_train_says_what_it_will_do_and_how_long_it_takes(call, capsys):
    assert call("train", *SMALL, "--out", "run") == 0
    shown = capsys.readouterr()
    assert "guide.encoder.head.linear" in shown.out
    assert "the first epoch took" in shown.out
    assert not shown.err  # no bar where nobody looks


def test_quiet_leaves_results_alone(call, capsys):
    assert call("train", "--quiet", *SMALL, "--out", "run") == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("objective after epoch 2")
    assert not shown.err


def test_a_training_that_diverges_ends_with_code_2_and_is_kept(call, capsys):
    with pytest.warns(TrainingWarning, match="after 10 steps the training has diverged"):
        assert call("train", "--quiet", *SMALL, "--lr", "100", "--out", "run") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pyro-models: error: run: the training has diverged")
    assert Path("run/weights.safetensors").is_file()


def test_a_warning_of_a_command_is_one_line():
    where = (UserWarning, "file.py", 3)
    with warnings_in_a_line("pyro-models"):
        assert warnings.formatwarning("a\nb", *where) == "pyro-models: warning: a b\n"
    assert "file.py:3" in warnings.formatwarning("a", *where)


def test_find_lr_prints_a_rate_and_draws_the_ramp(call, refused, capsys):
    model = ["--model", "vae", "--data", "digits", "--options.hidden", "[8]", "--num_steps", "40"]
    assert call("find-lr", *model, "--figure", "lr.png", "--out", "lr.json") == 0
    assert "(valley; a ramp of" in capsys.readouterr().out
    written = json.loads(Path("lr.json").read_text())
    assert len(written["losses"]) == len(written["rates"]) <= 40
    assert Path("lr.png").stat().st_size > 5000
    assert "lr.png" in refused("find-lr", *model, "--figure", "lr.png")
    assert call("find-lr", *model, "--figure", "lr.png", "--force", "--rule", "steepest") == 0


def test_find_lr_takes_a_preset_and_refuses_a_game(call, refused, capsys):
    few = ["--data", "digits", "--num_steps", "20", "--lr_min", "1e-4"]
    assert call("find-lr", "--preset", "copenhagen-dense", *few) == 0
    told = refused("find-lr", "--model", "generator", "--objective", "adversarial", *few)
    assert "find_lr is not defined for the objective adversarial" in told


def test_train_looks_for_its_rate(call, capsys):
    assert call("train", *SMALL, "--lr", "find", "--out", "run") == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("by "))
    assert "lr 0.0" in line
    assert call("train", "--resume", "--epochs", "3", "--out", "run") == 0
