"""``pyro-models complete``, end to end, and the mistakes a person makes with it."""

import csv
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("elsewhere")

QUICK = ["--epochs", "1", "--progress", "false", "--curve_size", "0"]
SMALL = ["--options.hidden", "[8]", "--options.latent_dim", "2"]
FEW = ["--limit", "3", "--num_samples", "2", "--num_latents", "5", "--progress", "false"]


@pytest.fixture(scope="module")
def runs(call, tmp_path_factory):
    """A trained run of three pairs that complete in three ways."""
    folder = tmp_path_factory.mktemp("runs")
    options = {
        "vae": [*SMALL, "--options.likelihood", "bernoulli"],
        "completion_cvae": [*SMALL, "--options.masks", "[left, top]"],
        "bernoulli_mixture": ["--options.num_components", "3", "--lr", "0.05"],
    }
    for model, own in options.items():
        assert call("train", "--model", model, *own, *QUICK, "--out", folder / model) == 0
    return folder


@pytest.mark.parametrize(
    ("model", "guided"),
    [
        ("vae", ("encoder", "encoder")),
        ("completion_cvae", ("best", "trained")),
        ("bernoulli_mixture", ("best", "exact")),
    ],
)
def test_a_picture_and_a_table(call, runs, model, guided, capsys):
    guide, named = guided
    assert call("complete", runs / model, *FEW, "--guide", guide, "--table", "t.csv") == 0
    out = capsys.readouterr().out
    assert f"{model}, {named}" in out
    assert "mean training image" in out
    assert "MSE of unseen pixels | x_left" in out
    assert Path("completed.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(Path("t.csv").read_text().splitlines()))
    assert [r["quantity"] for r in rows] == ["mse_unseen", "mse_unseen"]


def test_nats_are_asked_for_and_say_what_is_given(call, runs, capsys):
    nats = ["--log_prob", "--mask", "top", "--table", "t.md"]
    assert call("complete", runs / "bernoulli_mixture", *FEW, *nats) == 0
    out = capsys.readouterr().out
    assert "Log-probability, given x_top\nnats per datum, higher is better" in out
    assert "log p(x | x_top)" in out
    nats = ["--quantities", "conditional_log_likelihood", "--mask", "top", "--force"]
    assert call("complete", runs / "bernoulli_mixture", *FEW, *nats) == 0
    out = capsys.readouterr().out
    assert "log p(x | x_top)" in out
    assert "MSE" not in out
    assert "x_top" in Path("t.md").read_text()


def test_nats_that_are_not_to_be_had_say_why(call, runs, capsys, tmp_path):
    grey = ["--options.likelihood", "cross_entropy", "--preparation", "grey"]
    assert call("train", "--model", "vae", *SMALL, *grey, *QUICK, "--out", tmp_path / "grey") == 0
    assert call("complete", tmp_path / "grey", *FEW, "--guide", "encoder", "--log_prob") == 0
    [line] = [t for t in capsys.readouterr().out.splitlines() if t.startswith("log p(unseen")]
    assert "objective" in line


def test_arrays_hold_the_seen_pixels_of_a_mask_from_a_file(call, runs):
    seen = np.zeros((8, 8), dtype=bool)
    seen[:, ::2] = True
    np.save("stripes.npy", seen)
    options = ["--mask", "stripes.npy", "--out", "c.npz", "--guide", "encoder_zeros"]
    assert call("complete", runs / "vae", *FEW, *options) == 0
    with np.load("c.npz") as arrays:
        found = dict(arrays)
    assert found["samples"].shape == (2, 3, 1, 8, 8)
    assert (found["mask"][0, 0] == seen).all()
    assert (found["samples"][0][found["mask"]] == found["x"][found["mask"]]).all()


@pytest.mark.parametrize(
    ("model", "options", "line"),
    [
        ("vae", ["--mask", "lefft"], "unknown mask 'lefft'"),
        ("vae", ["--mask", "none.npy"], "there is no mask none.npy"),
        ("vae", ["--guide", "nope"], "unknown guide 'nope'"),
        ("vae", ["--guide", "exact"], "does not know"),
        ("vae", ["--out", "a.txt"], "out must end in"),
        ("vae", ["--table", "a.txt"], "table must end in"),
        ("vae", ["--limit", "0"], "limit must be at least 1"),
        ("completion_cvae", ["--mask", "right"], "made to complete from left, top"),
        ("nowhere", [], "nowhere"),
    ],
    ids=["mask", "file", "guide", "exact", "out", "table", "limit", "other mask", "run"],
)
def test_mistakes_are_one_line_and_code_2(refused, runs, model, options, line):
    assert line in refused("complete", runs / model, *FEW, *options)


def test_a_picture_is_not_replaced_unasked(call, refused, runs):
    Path("completed.png").write_text("mine")
    assert "already there" in refused("complete", runs / "bernoulli_mixture", *FEW)
    assert call("complete", runs / "bernoulli_mixture", *FEW, "--force") == 0
