"""The same sweep on a cluster: the example script, on two local Dask workers."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from inference import sweep

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_a_dask_cluster_trains_the_weights_that_one_process_trains(tmp_path):
    pytest.importorskip("distributed", reason="needs pip install 'pyro-models[cluster]'")
    script = ROOT / "notebooks" / "scripts" / "sweep_on_dask.py"
    command = [sys.executable, script, "--epochs", "1", "--seeds", "2", "--out", tmp_path / "dask"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "latent_dim" in done.stdout
    assert (tmp_path / "dask" / "sweep.png").is_file()
    alone = sweep(
        "ppca",
        "digits",
        grid={"options.latent_dim": [1, 2, 5, 10, 20], "lr": [3e-3, 3e-2]},
        seeds=[2],
        out=tmp_path / "alone",
        epochs=1,
        curve_size=0,
        threads=1,
        progress=False,
    )
    runs = [outcome.folder.relative_to(alone.out) for row in alone.rows for outcome in row.outcomes]
    assert len(runs) == 10
    for run in runs:
        weights = (tmp_path / part / run / "weights.safetensors" for part in ("dask", "alone"))
        assert len({path.read_bytes() for path in weights}) == 1


SEARCH = """
import sys

import joblib
from distributed import Client, LocalCluster

from inference.cli import main

if __name__ == "__main__":
    workers = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**workers) as cluster, Client(cluster):
        with joblib.parallel_config(backend="dask"):
            sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_search_on_a_dask_cluster_is_killed_and_goes_on(tmp_path):
    pytest.importorskip("distributed", reason="needs pip install 'pyro-models[cluster]'")
    (tmp_path / "search.py").write_text(SEARCH)
    out = tmp_path / "found"
    data = ["--data", "digits", "--preparation", "dequantised", "--curve_size", "0"]
    search = ["--search", "gp_bo", "--trials", "3", "--space.options.latent_dim", "[2, 9]"]
    how = ["--epochs", "20", "--seeds", "[0]", "--progress", "false", "--out", str(out)]
    command = [sys.executable, "search.py", "sweep", "--model", "ppca", *data, *search, *how]

    def trained():
        records = [*out.glob("*/seed=0.json")]
        ended = [of.with_suffix("") for of in records if '"evaluation": {' in of.read_text()]
        return {run: (run / "weights.safetensors").read_bytes() for run in ended}

    first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 200
        while not trained() and first.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        first.kill()
        first.wait()
    before = trained()
    assert before
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Search: gp_bo, 3 settings" in done.stdout
    after = trained()
    assert len(after) == 3
    assert {run: after[run] for run in before} == before
