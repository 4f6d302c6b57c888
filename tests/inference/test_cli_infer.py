"""``pyro-models infer``, end to end, and the mistakes a person makes with it."""

from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("elsewhere")

QUICK = ["--epochs", "1", "--progress", "false", "--curve_size", "0"]
SMALL = ["--options.hidden", "[8]", "--options.latent_dim", "2"]
FEW = ["--limit", "4", "--max_steps", "5", "--progress", "false"]


@pytest.fixture(scope="module")
def runs(call, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for model, own in {"vae": SMALL, "cvae": SMALL, "gmm": []}.items():
        assert call("train", "--model", model, *own, *QUICK, "--out", folder / model) == 0
    return folder


def test_bounds_reasons_a_table_and_a_picture(call, runs, capsys):
    given = ["--guide", "normal", "--out", "z.npz", "--figure", "z.png"]
    assert call("infer", runs / "vae", *FEW, *given) == 0
    out = capsys.readouterr().out
    assert "vae, digits test, 4 images, seed 0" in out
    assert "nats per image" in out
    assert "step limit              4 of 4 images, median 5 steps" in out
    with np.load("z.npz") as arrays:
        stored = dict(arrays)
    assert stored["z"].shape == (4, 2)
    assert stored["bound"].shape == stored["standard_error"].shape == (4,)
    assert stored["stopped"].tolist() == ["step limit"] * 4
    assert stored["steps"].tolist() == [5] * 4
    assert Path("z.png").read_bytes().startswith(b"\x89PNG")


def test_masks_labels_and_options_of_guides(call, runs, capsys):
    assert call("infer", runs / "cvae", *FEW, "--guide", "point", "--mask", "left") == 0
    assert "not defined: this guide has no density" in capsys.readouterr().out
    rank = ["--guide", "low_rank", "--guide_options", "{rank: 1}", "--resample", "20"]
    assert call("infer", runs / "vae", *FEW, *rank) == 0
    assert "low_rank, resampled from 20" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        ("vae", ["--guide", "norma"], "unknown guide 'norma': choose from prior, encoder"),
        ("vae", ["--limit", "0"], "limit must be at least 1"),
        ("vae", ["--starts", "-1"], "starts must be at least 0; got -1"),
        ("vae", ["--mask", "lefft"], "lefft"),
        ("vae", ["--out", "z.txt"], "out must end in .npz"),
        ("vae", ["--figure", "z.txt"], "figure must end in"),
        ("vae", ["--figure", "z.png", "--mask", "left"], "the figure is of whole images"),
        ("vae", ["--guide", "normal", "--guide_options", "{rank: 1}"], "no option rank"),
        ("vae", ["--guide", "low_rank", "--guide_options", "{rank: x}"], "rank as a whole number"),
        ("vae", ["--min_improvement", "-1"], "min_improvement cannot be negative"),
        ("gmm", [], "no continuous latent"),
        ("none", [], "none"),
    ],
)
def test_mistakes_are_told_in_one_line_with_exit_code_2(refused, runs, model, options, says):
    assert says in refused("infer", runs / model, *FEW, *options)
