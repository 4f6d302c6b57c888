"""The command line, end to end, and every mistake a person makes with it."""

import csv
import dataclasses
import functools
import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
import yaml

from inference import commands
from inference.cli import COMMANDS, main
from inference.evaluation.quantity import quantities_of
from inference.figures.registry import figures_of_pairs
from inference.learning import Run
from inference.learning.settings import Settings
from pyro_models import load_data, preset_names
from pyro_models.presets import load_preset

pytestmark = pytest.mark.usefixtures("elsewhere")

QUICK = ["--epochs", "1", "--progress", "false", "--curve_size", "50"]
SMALL = ["--options.hidden", "[8]", "--options.latent_dim", "2"]


@pytest.fixture(scope="module")
def runs(call, tmp_path_factory):
    """A trained run of every model."""
    folder = tmp_path_factory.mktemp("runs")
    options = {
        "vae": SMALL,
        "cvae": SMALL,
        "m2": [*SMALL, "--labels", "100", "--labelled_per_batch", "10", "--capture", "false"],
        "two_layer_vae": ["--options.latent_dims", "[3,2]", "--options.hidden", "[8]"],
        "ppca": ["--options.latent_dim", "2"],
        "gmm": ["--options.num_components", "3"],
        "diffusion": [
            "--options.num_steps",
            "6",
            "--options.levels",
            "17",
            "--options.hidden",
            "[4]",
        ],
    }
    for model, own in options.items():
        assert call("train", "--model", model, *own, *QUICK, "--out", folder / model) == 0
    return folder


@pytest.mark.parametrize("model", ["vae", "cvae", "ppca", "gmm"])
def test_a_model_is_trained_with_what_suits_it_and_evaluated(call, model, capsys, tmp_path):
    own = SMALL if "vae" in model else []
    assert call("train", "--model", model, *own, *QUICK) == 0
    out = capsys.readouterr().out
    run = tmp_path / "runs" / f"{model}-digits"
    assert f"pyro-models evaluate runs/{model}-digits" in out
    grey = "vae" in model  # of which the cross-entropy is taken
    assert f"{'objective' if grey else 'bound'} after epoch 1: train " in out
    assert grey == ("the cross-entropy is an objective: there is no p(x)" in out)
    assert "stopped: all 1 epochs done" in out
    names = {p.name for p in run.iterdir()}
    files = {"run.json", "weights.safetensors", "checkpoint.pt", "history.csv", "history.png"}
    assert names == files
    preparation = json.loads((run / "run.json").read_text())["data"]["preparation"]
    suited = {"vae": "grey", "cvae": "grey", "ppca": "dequantised", "gmm": "dequantised"}
    assert preparation == suited[model]
    few = ["--num_particles", "3", "--limit", "20", "--progress", "false"]
    assert call("evaluate", f"runs/{model}-digits", *few, "--out", "scores.json") == 0
    assert "elbo" in capsys.readouterr().out
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["name"] == f"{model}-digits"
    assert scores["scores"]["elbo"]["num_data"] == 20


def test_labels_kept_go_with_the_run_and_accuracy_with_the_scores(call, runs, capsys):
    few = ["--num_particles", "3", "--limit", "50", "--progress", "false"]
    record = json.loads((runs / "m2" / "run.json").read_text())
    assert record["data"]["labels_kept"] == [100, 0]
    assert call("evaluate", runs / "m2", *few) == 0
    assert "accuracy 0." in capsys.readouterr().out
    assert call("evaluate", runs / "m2", *few, "--split", "train", "--out", "train.json") == 0
    score = json.loads(Path("train.json").read_text())["scores"]["accuracy"]
    known = load_data("digits").with_labels(100).split("train").y[:50] >= 0
    assert score["num_data"] == int(known.sum())
    assert call("evaluate", runs / "m2", *few, "--with_labels", "--out", "given.json") == 0
    scores = json.loads(Path("given.json").read_text())["scores"]
    assert scores["log_likelihood"]["given"] == "y"
    shutil.copytree(runs / "m2", "run")
    assert call("train", "--out", "run", "--resume", "--epochs", "2", "--progress", "false") == 0
    assert json.loads(Path("run/run.json").read_text())["training"]["epochs"] == 2


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--model", "m2", "--labels", "15"], "15 labels cannot be shared evenly"),
        (["--model", "m2", "--labels", "5000"], "5000 labels would need 500"),
        (["--model", "m2", "--labels", "1.5"], "a fraction in 0…1"),
        (["--model", "m2", "--labels", "many"], "labels"),
        (["--model", "m2", "--labels", "10", "--labels_seed", "-1"], "a seed is a whole number"),
        (["--model", "cvae", "--labels", "0.5"], "needs every label"),
        (["--model", "m2", "--labels", "0", "--labelled_per_batch", "5"], "labelled_per_batch"),
    ],
)
def test_labels_that_make_no_sense_are_one_line(refused, options, line):
    assert line in refused("train", *options, *QUICK)


def test_runs_are_compared_into_three_files(call, refused, runs, capsys):
    few = ["--num_particles", "3", "--limit", "20", "--progress", "false"]
    paths = [runs / m for m in ("vae", "cvae", "ppca", "gmm")]
    assert call("compare", *paths, *few, "--out", "table") == 0
    out = capsys.readouterr().out
    for title in ("VAE, dense", "CVAE, dense", "PPCA, 2 components", "GMM, "):
        assert f"\n{title}" in out
    assert "exact or lower bound" in out
    assert "digits test, 20 data" in out
    tables = [line for line in out.splitlines() if "none for" not in line and "apart" not in line]
    assert max(map(len, tables)) <= 100
    assert sorted(os.listdir("table")) == ["comparison.csv", "comparison.html", "comparison.md"]
    assert "already there" in refused("compare", *paths, *few, "--out", "table")
    lines = Path("table/comparison.csv").read_text().splitlines()
    names = {row["name"] for row in csv.DictReader(lines)}
    assert names == {"vae", "cvae", "ppca", "gmm"}  # of the folders, for programs
    assert call("compare", paths[0], *few, "--out", "table", "--force") == 0


def test_runs_whose_models_read_alike_keep_the_names_of_their_folders(call, runs, capsys):
    shutil.copytree(runs / "ppca", "again")
    few = ["--quantities", "elbo", "--num_particles", "2", "--limit", "9", "--progress", "false"]
    assert call("compare", runs / "ppca", "again", runs / "gmm", *few) == 0
    names = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines() if " ± " in line]
    assert names[1:3] == ["ppca", "again"]
    assert names[3].startswith("GMM, ")


def test_given_the_labels_runs_with_some_and_with_all_of_them_share_a_column(call, capsys):
    binary = ["--options.likelihood", "bernoulli", *SMALL, *QUICK]
    for model, labels in (("cvae", []), ("m2", ["--labels", "0.5", "--capture", "false"])):
        assert call("train", "--model", model, *labels, *binary, "--out", f"{model}/run") == 0
    few = ["--num_particles", "3", "--limit", "20", "--progress", "false"]
    for with_labels, agree in (([], False), (["--with_labels"], True)):
        capsys.readouterr()
        assert call("compare", "cvae/run", "m2/run", *few, *with_labels) == 0
        out = capsys.readouterr().out
        assert ("given: none, not y" in out) != agree
        assert "log p(x | y)" in out
        assert "\nCVAE, dense " in out  # two folders of one name
        assert "\nsemi-supervised VAE, dense " in out


@pytest.mark.parametrize(
    ("model", "options", "check"),
    [
        ("vae", [], lambda x: x.shape == (64, 1, 8, 8)),
        ("vae", ["--n", "3", "--pixels", "mean"], lambda x: x.shape == (3, 1, 8, 8)),
        ("vae", [], lambda x: set(np.unique(x)) == {0.0, 1.0}),
        ("cvae", ["--n", "5", "--label", "3"], lambda x: x.shape == (5, 1, 8, 8)),
        ("gmm", ["--n", "5"], lambda x: len(np.unique(x)) > 2),
    ],
)
def test_samples_are_arrays(call, model, options, check, runs):
    assert call("sample", runs / model, *options) == 0
    first = np.load("samples.npy")
    assert check(first)
    assert call("sample", runs / model, *options, "--force") == 0
    assert np.array_equal(np.load("samples.npy"), first)
    assert call("sample", runs / model, *options, "--out", "other.npy", "--seed", "1") == 0
    assert not np.array_equal(np.load("other.npy"), first)


def test_samples_may_be_a_picture(call, runs):
    for model in ("vae", "cvae"):
        assert call("sample", runs / model, "--n", "10", "--out", f"{model}.png") == 0
        assert Path(f"{model}.png").read_bytes().startswith(b"\x89PNG")


OF_DIFFUSIONS = ("between_samples", "denoising", "fewer_steps")
OF_OTHERS = ("mixture_means", "class_grid", *OF_DIFFUSIONS)
SHOWN = [
    *(("vae", f) for f in figures_of_pairs() if f not in OF_OTHERS),
    *(("diffusion", f) for f in ("prior_samples", *OF_DIFFUSIONS, "reconstructions")),
    *(("cvae", f) for f in ("class-grid", "samples", "reconstructions", "interpolation", "curves")),
    *(("m2", f) for f in ("class_grid", "prior_samples", "reconstructions", "latent_scatter")),
    *(("two_layer_vae", f) for f in ("samples", "reconstructions", "latent-scatter")),
    ("gmm", "components"),  # as it was called before
    ("gmm", "mixture_means"),
    ("gmm", "prior_samples"),
    ("ppca", "latent_scatter"),
]


@pytest.mark.parametrize(("model", "figure"), SHOWN)
def test_figures_are_written(call, model, figure, runs):
    assert call("plot", runs / model, "--figure", figure, "--n", "60", "--out", "f.png") == 0
    assert Path("f.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_goes_into_the_run_folder_and_is_not_replaced_unasked(call, refused, runs):
    target = runs / "vae" / "figures" / "prior_samples.png"
    target.unlink(missing_ok=True)
    assert call("plot", runs / "vae") == 0
    assert target.is_file()
    assert "already there" in refused("plot", runs / "vae")
    assert call("plot", runs / "vae", "--force") == 0
    assert call("plot", runs / "vae", "--out", "figure.svg") == 0
    assert "<svg" in Path("figure.svg").read_text()


def test_a_guide_is_diagnosed_in_words_in_numbers_and_in_a_figure(call, refused, runs, capsys):
    few = ["--num_particles", "30", "--limit", "20", "--progress", "false"]
    files = ["--out", "d.json", "--figure", "d.png"]
    assert call("diagnose", runs / "vae", *few, *files) == 0
    assert "active units: " in capsys.readouterr().out
    found = json.loads(Path("d.json").read_text())
    assert len(found["k_hat"]) == 20
    assert len(found["kl"]) == 2
    assert Path("d.png").read_bytes().startswith(b"\x89PNG")
    for files in (["--out", "d.json"], ["--figure", "d.png"]):
        assert "already there" in refused("diagnose", runs / "vae", *few, *files)
    assert call("diagnose", runs / "vae", *few, "--figure", "d.png", "--force") == 0


def test_a_diagnosis_shows_the_quantities_that_are_asked_for(call, refused, runs, capsys):
    few = ["--num_particles", "30", "--limit", "20", "--progress", "false"]
    asked = ["--quantities", "kl,k_hat", "--out", "d.json"]
    assert call("diagnose", runs / "vae", *few, *asked) == 0
    out = capsys.readouterr().out
    assert "Pareto k̂: " in out
    assert "KL (nats)" in out
    assert "active units" not in out
    assert "Var" not in out
    found = json.loads(Path("d.json").read_text())
    assert {"kl", "k_hat"} <= found.keys()
    assert not {"active_units", "effective_sample_size", "posterior_variance"} & found.keys()
    assert call("diagnose", runs / "vae", *few, "--quantities", "active_units") == 0
    assert "dimension" not in capsys.readouterr().out
    line = refused("diagnose", runs / "vae", *few, "--quantities", "khat")
    assert "unknown quantity 'khat': choose from effective_sample_size" in line
    assert "did you mean k_hat?" in line


def test_a_calibration_shows_the_quantities_that_are_asked_for(call, refused, runs, capsys):
    few = ["--num_simulations", "20", "--progress", "false"]
    assert call("calibrate", runs / "ppca", *few, "--quantities", "log_likelihood, z[1]") == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split()[0] for line in lines if line.startswith(("z[", "log_", "tarp"))]
    assert rows[:2] == ["log_likelihood", "z[1]"]
    assert not {"z[0]", "tarp", "log_q"} & {*rows}
    line = refused("calibrate", runs / "ppca", *few, "--quantities", "z[7]")
    assert "unknown quantity 'z[7]': there is z[0] to z[1]" in line
    line = refused("calibrate", runs / "ppca", *few, "--quantities", "loglikelihood")
    assert "did you mean log_likelihood?" in line


@pytest.mark.parametrize("command", ["evaluate", "compare", "guides", "sweep", "diagnose"])
def test_the_help_lists_the_quantities_of_a_command(call, capsys, command):
    assert call(command, "--help") == 0
    words = " ".join(capsys.readouterr().out.split())
    tables = {"guides": "guides", "sweep": "sweep", "diagnose": "diagnostics"}
    known = quantities_of(tables.get(command, "evaluation"))
    if command == "compare":  # what no other columns say again
        known = [name for name in known if "comparison" in known[name].shown]
    assert f"of {', '.join(known)}" in words


def test_an_objective_that_is_no_bound_is_not_called_one(call, capsys):
    options = [*SMALL, *QUICK, "--out", "run"]
    assert call("train", "--objective", "js", *options) == 0
    out = capsys.readouterr().out
    assert "\nobjective after epoch 1: " in f"\n{out}"
    assert "bound after" not in out
    assert "js: it bounds no evidence" in out
    record = json.loads(Path("run/run.json").read_text())
    assert "no evidence" in record["training"]["remark"]
    assert call("plot", "run", "--figure", "curves", "--out", "js.svg") == 0
    assert "no evidence" in Path("js.svg").read_text()  # noted beside the shapes of its letters
    del record["training"]["remark"]  # as runs of earlier versions are
    Path("run/run.json").write_text(json.dumps(record))
    assert call("plot", "run", "--figure", "curves", "--out", "old.svg") == 0
    assert "no evidence" not in Path("old.svg").read_text()
    assert call("train", "--resume", *options) == 0
    assert "no evidence" in json.loads(Path("run/run.json").read_text())["training"]["remark"]


def test_training_goes_on_where_it_stopped(call, refused):
    train = ["train", *SMALL, *QUICK, "--out", "run"]
    assert call(*train) == 0
    assert "already holds a run" in refused(*train)
    assert call(*train, "--epochs", "3", "--resume") == 0
    assert len(Run("run").load_checkpoint()["history"]) == 3
    assert "lr 0.001, not 0.5" in refused(*train, "--resume", "--lr", "0.5")
    message = refused(*train, "--epochs", "3", "--resume", "--options.hidden", "[9]")
    assert "hidden [8], not [9]" in message
    message = refused(*train, "--epochs", "3", "--resume", "--preparation", "threshold")
    assert "preparation" in message
    assert call(*train, "--force") == 0
    assert len(Run("run").load_checkpoint()["history"]) == 1


def test_the_same_seed_trains_the_same_weights(call):
    files = []
    for seed in (1, 1, 2):
        out = f"run-{len(files)}"
        assert call("train", *SMALL, *QUICK, "--seed", seed, "--out", out) == 0
        files.append(Path(out, "weights.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]


def test_snapshots_and_all_training_data_and_binarised_pixels(call):
    extra = ["--snapshots", "[1, half, end]", "--all_training", "--preparation", "dynamic"]
    likelihood = ["--options.likelihood", "bernoulli"]
    train = ["train", *SMALL, *likelihood, *QUICK, "--epochs", "4", *extra, "--out", "run"]
    assert call(*train) == 0
    assert sorted(os.listdir("run/figures")) == [f"epoch-000{e}.png" for e in (1, 2, 4)]
    record = json.loads(Path("run/run.json").read_text())
    assert record["data"]["splits"] == {"train": 1437, "test": 360}
    few = ["--limit", "5", "--num_particles", "2", "--progress", "false", "--out", "s.json"]
    assert call("evaluate", "run", *few) == 0
    assert (
        json.loads(Path("s.json").read_text())["scores"]["elbo"]["preparation"]
        == "dynamic (seed 0)"
    )
    assert call("evaluate", "run", *few[:-2], "--split", "train") == 0


def test_a_configuration_file_gives_options_and_the_command_line_wins(call):
    settings = {"model": "gmm", "options": {"num_components": 4}, "epochs": 7, "lr": 0.02}
    Path("own.yaml").write_text(yaml.safe_dump(settings))
    assert call("train", "--config", "own.yaml", *QUICK, "--out", "run") == 0
    record = json.loads(Path("run/run.json").read_text())
    assert record["config"]["num_components"] == 4
    assert record["settings"]["lr"] == 0.02
    assert record["settings"]["epochs"] == 1


@pytest.mark.parametrize(
    ("name", "form"), [("amsterdam", ["--preset={}"]), ("tsinghua", ["--preset", "{}"])], ids=str
)
def test_a_preset_gives_options_and_those_after_it_win(call, name, form):
    preset = [part.format(name) for part in form]
    smaller = ["--options.hidden", "[7]"]
    assert call("train", *preset, *QUICK, *smaller, "--out", "run") == 0
    record = json.loads(Path("run/run.json").read_text())
    settings = load_preset(name)
    assert record["config"]["latent_dim"] == settings["options"]["latent_dim"]
    assert record["config"]["hidden"] == [7]
    assert record["model"] == settings["model"]
    assert record["settings"]["batch_size"] == settings["batch_size"]
    assert record["settings"]["epochs"] == 1


PRESET = ["--preset", "toronto-iwae-5"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--model", "ppca"], {"model": "ppca"}),
        (["--lr", "0.5"], {"lr": 0.5}),
        (["--capture", "false"], {"capture": False}),
        (["--config", "own.yaml"], {"batch_size": 7}),
        (["--out", "elsewhere"], {"out": "elsewhere"}),
        (["--objective", "elbo"], {"objective": "elbo", "objective_options": None}),
        (["--objective", "iwae"], {"objective": "iwae", "objective_options": {"num_particles": 5}}),
        (["--objective_options.num_particles", "9"], {"objective_options": {"num_particles": 9}}),
        (["--options.latent_dim", "3"], {}),
    ],
)
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_what_is_given_beside_a_preset_wins_in_either_order(
    call, monkeypatch, given, expected, before
):
    Path("own.yaml").write_text("batch_size: 7")
    seen: dict[str, object] = {}
    monkeypatch.setitem(COMMANDS, "train", _recording(seen))
    assert call("train", *(given + PRESET if before else PRESET + given)) == 0
    settings = load_preset("toronto-iwae-5") | {"out": "runs/toronto-iwae-5"} | expected
    assert {name: seen.get(name, {}) for name in expected} == expected
    same = [n for n in settings if n not in {*expected, "options", "objective_options", "out"}]
    assert {name: seen[name] for name in same} == {name: settings[name] for name in same}
    assert seen["options"]["latent_dim"] == (3 if "--options.latent_dim" in given else 2)


def test_a_printed_preset_is_without_the_options_of_what_is_given_anew(call, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["train", *PRESET, "--objective", "elbo", "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["objective"], printed["objective_options"]) == ("elbo", None)


def test_the_options_of_a_likelihood_go_with_it(call, monkeypatch):
    seen: dict[str, object] = {}
    monkeypatch.setitem(COMMANDS, "train", _recording(seen))
    given = ["--options.likelihood", "bernoulli", "--preset", "eindhoven-gaussian"]
    assert call("train", *given) == 0
    assert "likelihood_options" not in seen["options"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (
            ["--options.likelihood", "gaussian", "--options.likelihood_options.scale", "decoder"],
            {"scale": "decoder", "floor": 0.05},
        ),
        (["--preset", "eindhoven-gaussian"], {"scale": "decoder", "floor": 0.05}),
        (["--config", "own.yaml"], {"scale": 0.3, "floor": 0.05}),
    ],
)
def test_an_option_of_an_option_leaves_the_others_as_given(call, given, kept, tmp_path):
    own = {"options": {"likelihood": "gaussian", "likelihood_options": {"scale": 0.3}}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    floor = [*given, "--options.likelihood_options.floor", "0.05"]
    few = ["--data", "digits", "--curve_size", "0", "--progress", "false", "--epochs", "1"]
    once = ["--patience", "null", "--restore_best", "false"] if "--preset" in given else []
    assert call("train", *floor, *few, *once, *SMALL, "--out", "run") == 0
    assert Run("run").describe()["config"]["likelihood_options"] == kept


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_understood(call, name, monkeypatch):
    seen = {}
    monkeypatch.setitem(COMMANDS, "train", _recording(seen))
    assert call("train", "--preset", name, "--lr", "0.5") == 0
    settings = load_preset(name)
    assert seen.pop("lr") == 0.5
    assert seen["out"] == f"runs/{name}"
    for key in settings.keys() - {"lr"}:
        assert seen[key] == settings[key], key


def test_a_preset_of_an_archive_is_handed_on_as_text(call, monkeypatch):
    seen = {}
    monkeypatch.setitem(COMMANDS, "train", _recording(seen))
    monkeypatch.setattr(
        "inference.cli.preset_config", lambda name: yaml.safe_dump(load_preset(name))
    )
    assert call("train", "--preset", "m2-100", "--lr", "0.5") == 0
    assert seen["lr"] == 0.5
    assert seen["options"] == load_preset("m2-100")["options"]


def _recording(seen):
    @functools.wraps(commands.train)
    def train(**options):
        seen.update(options)

    return train


def test_ones_own_array_is_trained_on_and_found_again(call):
    digits = load_data("digits").split("train")
    np.savez("mine.npz", x=(digits.x[:100, 0].numpy() * 255).astype(np.uint8), y=digits.y[:100])
    assert call("train", "--data", "mine.npz", "--model", "cvae", *SMALL, *QUICK) == 0
    few = ["--num_particles", "2", "--progress", "false"]
    assert call("evaluate", "runs/cvae-mine", *few, "--out", "s.json") == 0
    assert json.loads(Path("s.json").read_text())["scores"]["elbo"]["data"] == "mine.npz"
    vectors = np.random.default_rng(0).normal(size=(60, 5)) * 7
    np.save("vectors.npy", vectors)
    assert call("train", "--data", "vectors.npy", "--model", "gmm", *QUICK, "--batch_size", 9) == 0
    assert call("evaluate", "runs/gmm-vectors", *few) == 0


def save(name, array):
    np.save(name, array)
    return name


IMAGES = torch.rand(30, 8, 8).numpy()

MISTAKES = {
    "unknown model": (["train", "--model", "gan"], "unknown model 'gan'"),
    "unknown data": (["train", "--data", "cifar"], "unknown data set 'cifar'"),
    "missing file": (["train", "--data", "missing.npy"], "no file missing.npy"),
    "five dimensions": (
        lambda: ["train", "--data", save("a.npy", np.zeros((9, 2, 2, 2, 2)))],
        "shape",
    ),
    "large pixels": (lambda: ["train", "--data", save("a.npy", IMAGES * 255)], "[0, 1]"),
    "negative pixels": (lambda: ["train", "--data", save("a.npy", IMAGES - 0.5)], "[0, 1]"),
    "no labels": (lambda: ["train", "--model", "cvae", "--data", save("a.npy", IMAGES)], "labels"),
    "text for numbers": (
        lambda: ["train", "--data", save("a.npy", np.array(["a", "b"]))],
        "numbers",
    ),
    "no array": (lambda: ["train", "--data", _text("a.npy")], "not a readable .npy"),
    "negative epochs": (["train", "--epochs", "-1"], "epochs must be at least 0; got -1"),
    "no number": (["train", "--epochs", "many"], "epochs"),
    "no batch": (["train", "--batch_size", "0"], "batch_size"),
    "no rate": (["train", "--lr", "0"], "lr must be positive"),
    "unknown objective": (["train", "--objective", "evidence"], "unknown objective"),
    "unknown optimizer": (["train", "--optimizer", "Adma"], "unknown optimizer"),
    "unknown schedule": (["train", "--schedule", "Cos"], "unknown schedule"),
    "unknown device": (["train", "--device", "abacus"], "unknown device"),
    "unknown precision": (["train", "--precision", "int8"], "unknown precision"),
    "unknown preparation": (["train", "--preparation", "blur"], "unknown preparation"),
    "grey Bernoulli": (
        ["train", "--options.likelihood", "bernoulli", "--preparation", "grey"],
        "binarise",
    ),
    "unknown model option": (["train", "--options.depth", "3"], "no option depth"),
    "unknown likelihood": (["train", "--options.likelihood", "poisson"], "unknown likelihood"),
    "bad snapshot": (["train", "--snapshots", "[middle]"], "snapshots"),
    "unknown preset": (["train", "--preset", "oxford"], "unknown preset 'oxford'"),
    "preset without a name": (["train", "--preset"], "preset"),
    "unknown option": (["train", "--depth", "3"], "depth"),
    "missing configuration": (["train", "--config", "missing.yaml"], "missing.yaml"),
    "broken configuration": (
        lambda: ["train", "--config", _text("a.yaml", "{a: [")],
        "parsing config",
    ),
    "foreign configuration": (lambda: ["train", "--config", _text("a.yaml", "depth: 3")], "depth"),
    "nothing to resume": (["train", "--resume", "--out", "nowhere"], "no run to resume"),
    "no command": ([], "command"),
    "unknown command": (["learn"], "learn"),
    "no run": (["evaluate"], "evaluate needs RUN (pyro-models evaluate --help says more)"),
    "nothing to compare": (["compare"], "compare needs RUNS"),
    **{
        f"{command} of no run": ([command, "nowhere"], "nowhere is not a run folder")
        for command in ("evaluate", "compare", "diagnose", "sample", "plot")
    },
}


def _text(name, text="no array"):
    Path(name).write_text(text)
    return name


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_one_line_and_code_2(refused, mistake):
    arguments, says = MISTAKES[mistake]
    arguments = arguments() if callable(arguments) else arguments
    assert says in refused(*arguments)
    assert not os.path.exists("runs")


RUN_MISTAKES = {
    "unknown figure": ("vae", ["plot", "--figure", "pie"], "unknown figure 'pie'"),
    "figure without classes": ("vae", ["plot", "--figure", "class_grid"], "labels"),
    "figure without components": ("vae", ["plot", "--figure", "components"], "mixture"),
    "figure without latents": ("gmm", ["plot", "--figure", "latent_scatter"], "no continuous"),
    "figure of a diagnosis": (
        "vae",
        ["plot", "--figure", "latent_use"],
        "needs a diagnosis: draw it with pyro-models diagnose --figure",
    ),
    "figure of a kind": ("vae", ["plot", "--out", "figure.txt"], "must end in .png"),
    "diagnosis of a kind": ("vae", ["diagnose", "--figure", "f.txt"], "figure must end in .png"),
    "nothing to diagnose": ("gmm", ["diagnose", "--limit", "5"], "nothing to diagnose"),
    "samples of a kind": ("vae", ["sample", "--out", "samples.txt"], "must end in .npy"),
    "samples as no table": ("vae", ["sample", "--out", "samples.csv"], "not trained on a table"),
    "no samples": ("vae", ["sample", "--n", "0"], "n must be at least 1"),
    "a label for nothing": ("vae", ["sample", "--label", "3"], "does not use labels"),
    "a label for no grid": (
        "vae",
        ["plot", "--figure", "latent_grid", "--label", "3"],
        "does not use labels",
    ),
    "no images": ("vae", ["plot", "--n", "-1", "--out", "a.png"], "n must be at least 1"),
    "a seed too low": ("vae", ["sample", "--seed", "-2"], "a seed is a whole number"),
    "a label too far": ("cvae", ["sample", "--label", "10"], "every label in 0…9"),
    "no particles": ("vae", ["evaluate", "--num_particles", "0"], "num_particles"),
    "no data": ("vae", ["evaluate", "--limit", "0"], "limit"),
    "no such split": ("vae", ["evaluate", "--split", "holdout"], "split"),
    "other data": ("vae", ["evaluate", "--data", "vectors.npy"], "shape"),
    "out is a folder": ("vae", ["evaluate", "--out", "."], "is a folder"),
    "out is under a file": ("vae", ["evaluate", "--out", "vectors.npy/a.json"], "vectors.npy"),
    "out is under a file too": ("vae", ["compare", "--out", "vectors.npy"], "vectors.npy"),
}


@pytest.mark.parametrize("mistake", RUN_MISTAKES)
def test_a_mistake_with_a_run_costs_one_line_too(refused, mistake, runs):
    model, (command, *rest), says = RUN_MISTAKES[mistake]
    np.save("vectors.npy", np.random.default_rng(0).normal(size=(40, 7)))
    quick = ["--progress", "false"] if command in ("evaluate", "compare", "diagnose") else []
    assert says in refused(command, runs / model, *rest, *quick)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["evaluate", "--num_particles", "0"], "num_particles"),
        (["compare", "nowhere"], "nowhere is not a run folder"),
        (["compare", "--num_particles", "0"], "num_particles"),
        (["diagnose", "--num_particles", "0"], "num_particles"),
    ],
)
def test_a_mistake_is_found_before_anything_is_judged(refused, arguments, says, runs):
    command, *rest = arguments
    assert says in refused(command, runs / "vae", *rest)  # no progress bar either


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("weights.safetensors", b"garbage"),
        ("weights.safetensors", b""),
        ("run.json", b"{"),
        ("run.json", b'{"format": "pyro-models run 1"}'),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "sample", "plot"])
def test_a_damaged_run_costs_one_line(refused, name, content, command, runs):
    shutil.copytree(runs / "vae", "run")
    Path("run", name).write_bytes(content)
    Path("run/figures/prior_samples.png").unlink(missing_ok=True)
    assert name in refused(command, "run")


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_a_damaged_checkpoint_costs_one_line(call, refused, content):
    train = ["train", *SMALL, *QUICK, "--out", "run"]
    assert call(*train) == 0
    Path("run/checkpoint.pt").write_bytes(content)
    assert "checkpoint.pt" in refused(*train, "--resume", "--epochs", "2")


@pytest.mark.parametrize("model", ["vae", "gmm", "ppca"])
def test_a_run_that_diverges_costs_one_line(refused, model):
    own = SMALL if model == "vae" else []
    message = refused("train", "--model", model, *own, *QUICK, "--lr", "1e30")
    assert "training stopped in epoch 1" in message
    assert f"runs/{model}-digits/checkpoint.pt (epoch 0)" in message


def test_a_folder_of_other_things_is_never_taken(refused, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    for force in ([], ["--force"]):
        for command in (["train", *SMALL, *QUICK], ["demo", "--progress", "false"]):
            refused(*command, "--out", "thesis", *force)
    assert os.listdir("thesis") == ["chapter.tex"]


def test_existing_files_are_kept_without_force(call, refused, runs, tmp_path):
    few = ["--num_particles", "2", "--limit", "5", "--progress", "false"]
    for command, name in (("evaluate", "s.json"), ("sample", "s.npy"), ("plot", "s.png")):
        (tmp_path / name).write_text("mine")
        extra = few if command == "evaluate" else []
        message = refused(command, runs / "vae", *extra, "--out", name)
        assert f"{name} is already there" in message
        assert (tmp_path / name).read_text() == "mine"
        for flag in (["--force"], ["--force", "true"], ["--force=true"]):
            assert call(command, runs / "vae", *extra, "--out", name, *flag) == 0
        assert (tmp_path / name).read_bytes() != b"mine"
    assert "already there" in refused("sample", runs / "vae", "--out", "s.npy", "--force", "false")


def test_resuming_needs_no_option_twice(call, capsys):
    options = ["--options.num_components", "4", "--lr", "0.02", "--batch_size", "100"]
    assert call("train", "--model", "gmm", *options, *QUICK, "--out", "again") == 0
    assert call("train", "--resume", "--out", "again", "--epochs", "2", "--progress", "false") == 0
    assert "bound after epoch 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--options.latent_dim", "2.5"], "latent_dim"),
        (["--options.hidden", "400"], "hidden"),
        (["--options.hidden", "[4, 1.5]"], "hidden"),
        (["--options.network", "conv", "--options.activation", "foo"], "unknown activation 'foo'"),
        (["--options.num_classes", "7"], "leave num_classes out"),
        (["--seed", "-1"], "a seed is a whole number"),
        (["--optimizer", "SparseAdam"], "sparse gradients"),
        (["--schedule", "StepLR", "--schedule_options.step_size", "0"], "schedule StepLR"),
        (["--device", "gpu:1"], "unknown device 'gpu:1'"),
        (["--device", "xpu:99"], "this machine has no xpu device"),
    ],
)
def test_options_of_another_kind_are_one_line(refused, options, line):
    assert line in refused("train", *QUICK, *options, "--out", "never")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["train", "--lr", "fast"], "lr is a number, or find; got 'fast'"),
        (["train", "--epochs", "1.5"], "--epochs must be a whole number; got 1.5"),
        (["train", "--patience", "soon"], "--patience must be a whole number or null; got soon"),
        (["train", "--options", "[1]"], "--options must be options by name or null; got [1]"),
        (["train", "--capture=maybe"], "--capture must be true or false; got maybe"),
        (["train", "--lr.x", "3"], "--lr takes one value and has no options of its own"),
        (
            ["train", "--snapshots", "[1, middle]"],
            "--snapshots must be a whole number, start, half, end or null; got [1, 'middle']",
        ),
        (
            ["evaluate", "run", "--split", "dev"],
            "--split must be test, validation or train; got dev",
        ),
        (
            ["plot", "run", "--span", "[1]"],
            "--span must be a tuple with 2 elements or null; got [1]",
        ),
        (["sweep", "--grid", "5"], "--grid must be options by name or null; got 5"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_in_words(refused, arguments, line):
    assert refused(*arguments) == f"pyro-models: error: {line}"


def test_a_preset_in_a_file_is_refused_rather_than_dropped(refused, tmp_path):
    (tmp_path / "own.yaml").write_text("preset: toronto\n")
    assert "on the command line" in refused("train", "--config", "own.yaml")


def test_an_interruption_exits_with_130_and_says_what_is_left(call, monkeypatch, capsys):
    def interrupted(**options):
        raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS, "demo", interrupted)
    assert call("demo") == 130
    assert capsys.readouterr().err.startswith("pyro-models: error: interrupted")


def test_a_file_that_cannot_be_written_is_named(refused, runs, monkeypatch):
    def full(*args, **options):
        raise OSError(28, "No space left on device", "scores.json")

    monkeypatch.setattr("inference.commands.evaluation.write_atomically", full)
    few = ["--num_particles", "2", "--limit", "5", "--progress", "false"]
    message = refused("evaluate", runs / "vae", *few, "--out", "scores.json")
    assert "No space left on device: scores.json" in message


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_option_and_its_default(call, command, capsys):
    assert call(command, "--help") == 0
    text = " ".join(capsys.readouterr().out.split())  # however wide the terminal is
    draws = command not in ("pull", "runs", "completion")  # which compute nothing
    assert not draws or ("--seeds SEEDS" if command == "sweep" else "--seed SEED") in text
    assert not draws or "(type: int, default: 0)" in text
    for field in {"train": ["--preset NAME", "default: 0.001", "default: Adam"]}.get(command, []):
        assert field in text
    written = {"sweep": ("--out",), "runs": (), "completion": ()}  # which write nothing
    for option in written.get(command, ("--force", "--out")):
        assert option in text


def test_the_summary_lists_the_commands(call, capsys):
    assert call("--help") == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)


def test_the_installed_command_starts_through_the_console_module(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pyro_models.console", "train", "--model", "gan"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("pyro-models: error: unknown model 'gan'")
    assert len(done.stderr.splitlines()) == 1


def test_drawing_leaves_matplotlibs_state_alone(call, runs):
    before = dict(mpl.rcParams)
    assert call("plot", runs / "vae", "--out", "f.pdf") == 0
    assert dict(mpl.rcParams) == before


def test_the_options_of_training_are_those_of_fit():
    """Every setting of the Python interface can be given on the command line."""
    own = inspect.signature(commands.train).parameters
    for field in dataclasses.fields(Settings):
        assert field.name in own
        if field.default is not dataclasses.MISSING:
            assert own[field.name].default == field.default


def test_a_second_model_is_learned_on_the_latents_of_a_first_from_the_labelled_data_on(
    call, refused, capsys
):
    few = ["--epochs", "1", "--progress", "false", "--curve_size", "0", "--options.hidden", "[4]"]
    assert call("train", *few, "--options.latent_dim", "3", "--out", "m1") == 0
    assert call("features", "m1", "--out", "latents.npz") == 0
    latents = load_data("latents.npz")
    digits = load_data("digits")
    assert latents.data_shape == (3,)
    for name, split in digits.splits.items():
        assert torch.equal(latents.split(name).y, split.y)
    m2 = ["train", "--model", "m2", "--data", "latents.npz", "--options.likelihood", "gaussian"]
    labels = ["--labels", "20", "--labels_seed", "3"]
    assert call(*m2, *few, *labels, "--labelled_only", "--out", "start") == 0
    assert json.loads(Path("start/run.json").read_text())["data"]["splits"]["train"] == 20
    assert call(*m2, *few, *labels, "--start", "start", "--epochs", "0", "--out", "m2") == 0
    started, first = Run("m2").load_pair(), Run("start").load_pair()
    for one, other in zip(started.parameters(), first.parameters(), strict=True):
        assert torch.equal(one, other)
    assert json.loads(Path("m2/run.json").read_text())["training"]["start"] == "weights of start"
    assert call("evaluate", "m2", "--num_particles", "2", "--limit", "20") == 0
    assert "accuracy" in capsys.readouterr().out
    other = [*m2[:-2], *few, "--options.latent_dim", "7", "--options.likelihood", "gaussian"]
    assert "another pair" in refused(*other, "--start", "start", "--out", "new")
    assert not Path("new").exists()
    assert "already there" in refused("features", "m1", "--out", "latents.npz")
    assert "must end in .npz" in refused("features", "m1", "--out", "latents")


def test_a_run_on_labelled_data_alone_is_resumed_on_them(call):
    few = ["--progress", "false", "--curve_size", "0", "--options.hidden", "[4]", "--out", "run"]
    some = ["--labels", "20", "--labelled_only", "--model", "m2"]
    assert call("train", *few, *some, "--epochs", "1") == 0
    assert call("train", "--out", "run", "--resume", "--epochs", "2", "--progress", "false") == 0
    assert len(Path("run/history.csv").read_text().splitlines()) == 3
    judge = ["evaluate", "run", "--split", "train", "--num_particles", "2", "--progress", "false"]
    assert call(*judge, "--out", "train.json") == 0
    scores = json.loads(Path("train.json").read_text())["scores"]
    assert {score["num_data"] for score in scores.values()} == {20}


def test_quantities_are_asked_for_by_name_and_floors_stand_beside_samples(call, runs, capsys):
    asked = ["--quantities", "coverage,elbo", "--num_particles", "2", "--progress", "false"]
    assert call("evaluate", runs / "ppca", *asked, "--out", "named.json") == 0
    assert list(json.loads(Path("named.json").read_text())["scores"]) == ["coverage", "elbo"]
    asked = ["--quantities", "[density,coverage]", "--limit", "99", "--progress", "false"]
    assert call("compare", runs / "ppca", runs / "gmm", *asked) == 0
    out = capsys.readouterr().out
    assert "floor: training data" in out
    assert "\n2. Coverage of the data\nshare of the data, higher is better" in out
    assert "elbo" not in out.split("floor")[1]


def test_a_quantity_that_is_unknown_is_refused_before_anything_is_computed(refused, runs):
    line = refused("evaluate", runs / "ppca", "--quantities", "fid,elbo")
    assert "unknown quantity 'fid': choose from elbo, log_likelihood" in line
    line = refused("evaluate", runs / "nowhere", "--quantities", "gap")
    assert "unknown quantity 'gap'" in line
    line = refused("compare", runs / "ppca", "--quantities", "importance_bound")
    assert "unknown quantity 'importance_bound': choose from elbo" in line
