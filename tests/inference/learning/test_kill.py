"""SIGKILL at any moment: what is on disk goes on to the same end, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inference.learning import Run

MODELS = {
    "vae": ["--options.hidden", "[64]", "--options.likelihood", "bernoulli"],
    "cvae": ["--options.hidden", "[64]", "--options.latent_dim", "4"],
    "gmm": ["--options.guide", "amortised", "--options.num_components", "5"],
}
PREPARATIONS = {"vae": "dynamic", "cvae": "dynamic", "gmm": "dequantised"}


def start(model, out, *more):
    """The command in a process of its own."""
    command = [
        *(sys.executable, "-m", "pyro_models.console", "train", "--model", model),
        *MODELS[model],
        *("--preparation", PREPARATIONS[model], "--optimizer", "AdamW"),
        *("--schedule", "OneCycleLR", "--epochs", "40", "--batch_size", "50"),
        *("--progress", "false", "--out", str(out)),
        *more,
    ]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=out.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process):
    _, complaints = process.communicate(timeout=300)
    assert process.returncode == 0, complaints


def weights(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


def epochs_on_disk(folder: Path) -> int:
    history = folder / "history.csv"
    return len(history.read_text().splitlines()) - 2 if history.is_file() else -1


def kill_after(process, folder: Path, epochs: int, delay: float) -> bool:
    """SIGKILL so long after so many epochs are on disk; False if the process was faster."""
    while epochs_on_disk(folder) < epochs:
        if process.poll() is not None:
            finish(process)
            return False
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_killed_again_and_again_a_run_ends_as_if_it_had_not_been(model, tmp_path):
    """At random moments: while importing, at any file, between two files."""
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    finish(start(model, whole))
    moments = random.Random(model)
    kills = 0
    for ahead in (0, 2, 3, 1, 5):
        process = start(model, torn, *(["--resume"] if (torn / "run.json").is_file() else []))
        wanted = max(0, epochs_on_disk(torn)) + ahead
        kills += kill_after(process, torn, wanted, moments.uniform(0, 0.06))
        assert Run(torn).load_pair().config() == Run(whole).load_pair().config()
    assert kills >= 3
    assert epochs_on_disk(torn) < 40
    finish(start(model, torn, "--resume"))
    assert weights(torn) == weights(whole)
    assert len(Run(torn).load_checkpoint()["history"]) == 40
