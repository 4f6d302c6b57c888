"""``pyro-models guides``, and every mistake a person makes with it."""

import csv
import json

import numpy as np
import pytest

SETTINGS = ["--limit", "4", "--num_particles", "50", "--progress", "false"]
SETTINGS += ["--max_steps", "100"]


@pytest.fixture(scope="module")
def run(call, tmp_path_factory):
    """A trained VAE with two latents."""
    folder = tmp_path_factory.mktemp("runs") / "vae"
    options = ["--options.hidden", "[8]", "--options.latent_dim", "2"]
    options += ["--options.likelihood", "bernoulli", "--preparation", "threshold"]
    quick = ["--epochs", "1", "--curve_size", "50", "--progress", "false"]
    assert (
        call("train", "--model", "vae", "--data", "digits", *options, *quick, "--out", folder) == 0
    )
    return folder


def test_annealing_starts_at_a_guide_by_name(call, run, capsys):
    annealed = ["--method", "annealing", "--num_temperatures", "20", "--num_chains", "8"]
    printed = []
    for start in ([], ["--start", "encoder"]):
        assert call("guides", run, "--guides", "[encoder]", *SETTINGS, *annealed, *start) == 0
        printed.append(capsys.readouterr().out)
    assert "by annealing, C = 8, T = 20" in printed[0]
    assert "by annealing, C = 8, from encoder, T = 20" in printed[1]


def test_a_table_is_printed_and_written(call, run, tmp_path, capsys):
    out = tmp_path / "table"
    arguments = ["--guides", "[encoder, laplace]", "--mask", "left", "--out", out, *SETTINGS]
    assert call("guides", run, *arguments) == 0
    printed = capsys.readouterr().out
    assert "; digits test, the first 4, threshold pixels, seen: left" in printed
    assert "by quadrature" in printed
    assert sorted(path.name for path in out.iterdir()) == ["guides.csv", "guides.md", "guides.png"]
    assert (out / "guides.png").read_bytes().startswith(b"\x89PNG")
    assert "| encoder |" in (out / "guides.md").read_text()
    assert call("guides", run, *arguments) == 2
    assert "--force" in capsys.readouterr().err
    chosen = ["--quantities", "elbo,num_parameters", "--force"]
    assert call("guides", run, *arguments, *chosen) == 0
    printed = capsys.readouterr().out
    assert "parameters per datum" in printed
    assert "approximation gap" not in printed
    lines = (out / "guides.csv").read_text().splitlines()
    assert [row["quantity"] for row in csv.DictReader(lines)] == 2 * ["elbo", "num_parameters"]


def test_commands_on_a_run_compute_in_a_precision(call, run, tmp_path, capsys):
    given = [run, "--limit", "3", "--progress", "false", "--precision", "float64"]
    assert call("evaluate", *given, "--out", tmp_path / "scores.json") == 0
    scores = json.loads((tmp_path / "scores.json").read_text())["scores"]
    assert {score["precision"] for score in scores.values()} == {"float64"}
    capsys.readouterr()
    sampled = ["--method", "importance", "--num_particles", "9", "--max_steps", "3"]
    assert call("guides", *given, "--guides", "[laplace]", *sampled) == 0
    assert "In float64: laplace." in capsys.readouterr().out
    assert call("diagnose", *given, "--num_particles", "30") == 0
    assert ", in float64" in capsys.readouterr().out
    assert call("infer", *given, "--max_steps", "3", "--out", tmp_path / "z.npz") == 0
    found = np.load(tmp_path / "z.npz")
    assert (found["precision"], found["z"].dtype) == ("float64", np.float64)
    completed = ["--guide", "laplace", "--out", tmp_path / "x.npz"]
    assert call("complete", *given, *completed) == 0
    assert np.load(tmp_path / "x.npz")["precision"] == "float64"
    assert "float64" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--guides", "[nix]"], "unknown guide 'nix': choose from"),
        (["--start", "nix"], "unknown guide 'nix': choose from"),
        (["--limit", "0"], "limit must be at least 1"),
        (["--mask", "middle"], "unknown mask 'middle'"),
        (["--method", "magic"], "magic"),
        (["--precision", "int8"], "unknown precision 'int8': choose from float32, bfloat16"),
    ],
)
def test_mistakes_are_one_line(refused, run, arguments, why):
    assert why in refused("guides", run, *SETTINGS, *arguments)
