"""The command and its data: a run is scored on its own, and what differs is said in one line."""

import json
from pathlib import Path

import numpy as np
import pytest

from inference import compare, evaluate, fit, sweep
from inference.learning import Run
from pyro_models import PPCA, UsageError, load_data

X = np.random.default_rng(0).normal(size=(200, 4))
QUICK = ("--epochs", 1, "--progress", "false")

pytestmark = pytest.mark.usefixtures("elsewhere")


def train(call, *options, model="ppca", data="mine.npy", out="run"):
    given = ["--model", model, "--data", data, "--options.latent_dim", 1, "--out", out]
    return call("train", *given, *QUICK, *options)


def elbo(path):
    return json.loads(Path(path).read_text())["scores"]["elbo"]["value"]


def test_evaluate_scores_the_test_data_of_the_run_s_own_split(call):
    np.save("mine.npy", X)
    data = load_data("mine.npy", seed=1)
    pair = PPCA((4,), latent_dim=1)
    fit(pair, data, epochs=1, out="run", progress=False)
    assert call("evaluate", "run", "--out", "s.json", "--progress", "false") == 0
    assert elbo("s.json") == evaluate(pair, data).scores["elbo"].value
    with pytest.raises(UsageError, match=r"15 of the 20 test data were trained on: .* seed=1"):
        evaluate(pair, load_data("mine.npy"))


def test_replaced_data_are_refused_and_nothing_changes(call, refused):
    np.save("mine.npy", X)
    assert train(call) == 0
    before = {p.name: p.read_bytes() for p in Path("run").iterdir()}
    np.save("mine.npy", X + 1)
    for command in (
        ["train", "--resume", "--out", "run", "--epochs", 2],
        ["evaluate", "run"],
        ["diagnose", "run"],
        ["infer", "run"],
        ["features", "run"],
        ["complete", "run", "--mask", "random"],
    ):
        assert "mine.npy is not what run was trained on, or has changed since (other" in refused(
            *command
        )
    again = ["train", "--resume", "--out", "run", "--epochs", 2, "--data", "mine.npy"]
    assert "this run was begun with other data (other pixels" in refused(*again)
    assert {p.name: p.read_bytes() for p in Path("run").iterdir()} == before


def test_equal_content_in_another_place_is_accepted_and_other_data_are_said(call, capsys):
    np.save("mine.npy", X)
    assert train(call) == 0
    Path("other").mkdir()
    Path("mine.npy").rename("other/path.npy")
    np.save("else.npy", X[:100])
    capsys.readouterr()
    assert call("evaluate", "run", "--data", "other/path.npy", "--out", "a.json") == 0
    assert "note" not in capsys.readouterr().out
    assert call("evaluate", "run", "--data", "else.npy", "--out", "b.json") == 0
    said = capsys.readouterr().out
    assert "note: else.npy is not what run was trained on (number of data of the train" in said
    assert call("train", "--resume", "--out", "run", "--data", "other/path.npy", *QUICK) == 0


def test_a_resumed_run_takes_split_and_levels_from_its_record(call, capsys):
    images = np.random.default_rng(0).integers(0, 16, (60, 4, 4)).astype(np.uint8)
    np.save("mine.npy", images)
    options = ("--levels", 16, "--split_seed", 3)
    assert train(call, *options) == 0
    assert "dequantised pixels, divided by 15" in capsys.readouterr().out
    record = Run("run").describe()["data"]
    assert (record["levels"], record["split_seed"], record["scaling"]) == (16, 3, "divided by 15")
    assert call("train", "--resume", "--out", "run", "--epochs", 2, "--progress", "false") == 0
    assert Run("run").describe()["data"] == record


def test_what_cannot_be_told_says_the_option(refused):
    np.save("mine.npy", np.arange(320, dtype=np.uint8).reshape(20, 4, 4) % 16)
    assert "(levels=16 or levels=256)" in refused("train", "--data", "mine.npy")
    np.savez("mine.npz", x=X, labels=np.zeros(200, int))
    assert "did you mean y by labels?" in refused("train", "--model", "m2", "--data", "mine.npz")


def test_latents_say_whose_they_are_in_a_file_too(call):
    np.save("mine.npy", X)
    rows = []
    for name, data in (("one", load_data("mine.npy")), ("two", load_data("mine.npy"))):
        seed = len(rows)
        fit(PPCA((4,), latent_dim=2), data, epochs=1, lr=0.1, seed=seed, out=name, progress=False)
        assert call("features", name, "--out", f"{name}.npz") == 0
        Path(f"{name}.npz").rename("latents.npz")  # one name for both
        latents = load_data("latents.npz")
        assert latents.latents_of["data"]["pixels"] == data.identity.pixels
        rows.append(evaluate(PPCA((2,), latent_dim=1), latents, num_particles=2))
    table = compare(rows, quantities=["log_likelihood"])
    assert len(table.columns) == 2
    assert table.cells[1][0].reason == "latents: made by other weights"


def test_what_is_stored_of_posteriors_and_completions_says_what_it_is_of(call):
    np.save("mine.npy", X)
    assert train(call) == 0
    options = ("--limit", 4, "--mask", "random", "--progress", "false")
    assert call("infer", "run", "--guide", "encoder", "--out", "z.npz", *options) == 0
    assert call("complete", "run", "--out", "c.npz", *options) == 0
    first, second = (json.loads(str(np.load(name)["identity"])) for name in ("z.npz", "c.npz"))
    assert first == second
    assert first["num_data"] == {"batch": 4}


def test_a_sweep_is_of_one_data_set(tmp_path):
    def swept(data, **options):
        grid = {"lr": [1e-2]}
        given = {"grid": grid, "seeds": [0], "out": "sweep", "epochs": 1, "progress": False}
        return sweep("ppca", data, options={"latent_dim": 1}, **{**given, **options})

    np.save("mine.npy", X)
    first = swept("mine.npy")
    np.save("copy.npy", X)
    again = swept("copy.npy", seeds=[0, 1])  # the same data, wherever they lie
    assert [o.repeated for o in again.rows[0].outcomes] == [True, False]
    assert again.rows[0].values[0] == first.rows[0].values[0]
    np.save("mine.npy", X + 1)
    with pytest.raises(UsageError, match=r"begun with other data .other pixels or values"):
        swept("mine.npy", seeds=[0, 1, 2])
    with pytest.raises(UsageError, match="split seed: 1, not 0"):
        swept("copy.npy", split_seed=1)


def test_a_worker_that_finds_other_data_fails_in_one_line(tmp_path):
    from inference import Experiment
    from inference.selection.trial import EvaluationOptions, Trial, run_trial

    np.save("mine.npy", X)
    experiment = Experiment("ppca", "mine.npy", options={"latent_dim": 1})
    identity = experiment.load_data().identity.to_dict()
    trial = Trial(experiment, EvaluationOptions(), Path("s/seed=0"), identity=identity)
    np.save("mine.npy", X + 1)
    assert "mine.npy is not what the sweep began with (other pixels" in run_trial(trial).failure


def test_a_record_of_an_earlier_sweep_is_gone_on_with(tmp_path):
    options = {"grid": {"lr": [1e-2]}, "seeds": [0], "out": "sweep", "epochs": 1}
    options |= {"options": {"latent_dim": 1}, "progress": False}
    np.save("mine.npy", X)
    sweep("ppca", "mine.npy", **options)
    (path,) = Path("sweep").glob("*/seed=0.json")
    record = json.loads(path.read_text())
    del record["trial"]["identity"]
    for score in record["outcome"]["evaluation"]["scores"].values():
        del score["identity"]
    path.write_text(json.dumps(record))
    found = sweep("ppca", "mine.npy", **{**options, "seeds": [0, 1]})
    assert [o.repeated for o in found.rows[0].outcomes] == [True, False]
    assert "The data of 1 runs, of an earlier version, are known by name alone." in found.to_text()
