"""The same sweep on a cluster: the example script, on two local Dask workers."""

import subprocess
import sys
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
