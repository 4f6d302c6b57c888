"""``pyro-models sweep``, end to end."""

import csv
import inspect
import json
from pathlib import Path

import pytest

from inference import commands
from inference.learning import Run
from inference.selection.trial import NOT_SHARED

pytestmark = pytest.mark.usefixtures("elsewhere")

QUICK = ["--epochs", "1", "--progress", "false", "--curve_size", "0", "--num_particles", "2"]
SMALL = ["--options.hidden", "[4]", "--options.latent_dim", "1"]


def rows(folder):
    return list(csv.DictReader(Path(folder, "sweep.csv").read_text().splitlines()))


def test_a_sweep_ends_in_tables_and_a_figure(call, capsys):
    grid = ["--grid.lr", "[1e-3, 1e-2]", "--grid.options.hidden", "[[4], [5, 4]]"]
    beside = ["--quantities", "mse_mean", "--options.latent_dim", "1"]
    assert call("sweep", *grid, "--seeds", "[0, 1]", *beside, *QUICK) == 0
    folder = Path("sweeps/vae-digits")
    files = {path.name for path in folder.iterdir() if path.is_file()}
    assert files == {".pyro-models-sweep", "sweep.csv", "sweep.md", "runs.csv", "sweep.png"}
    assert [(row["lr"], row["options.hidden"]) for row in rows(folder)] == [
        ("0.001", "[4]"),
        ("0.001", "[5, 4]"),
        ("0.01", "[4]"),
        ("0.01", "[5, 4]"),
    ]
    assert {row["seeds"] for row in rows(folder)} == {"2"}
    assert all(float(row["mse_mean"]) > 0 for row in rows(folder))
    run = Run(folder / "lr=0.01,hidden=5-4" / "seed=1").describe()
    assert run["settings"]["lr"] == 0.01
    assert run["settings"]["seed"] == 1
    assert run["config"]["hidden"] == [5, 4]
    assert run["config"]["latent_dim"] == 1
    out = capsys.readouterr().out
    assert "Best: lr = " in out
    assert "MSE, z mean" in out
    evaluate = out.splitlines()[-1].partition("pyro-models ")[2].split()
    few = ["--num_particles", "2", "--limit", "5", "--progress", "false"]
    assert call(*evaluate, *few) == 0


def test_a_shard_says_what_is_to_come_and_the_last_ends_as_a_whole_sweep(call, capsys):
    grid = ["--grid.lr", "[1e-3, 1e-2]", "--seeds", "[0]", *SMALL, *QUICK, "--out", "parts"]
    assert call("sweep", *grid, "--shard", "1/2") == 0
    assert "Runs of other shards that are not there yet: 1." in capsys.readouterr().out
    assert [row["seeds"] for row in rows("parts")] == ["1", "0"]
    assert call("sweep", *grid, "--shard", "2/2") == 0
    assert "Best: lr = " in capsys.readouterr().out
    assert [row["seeds"] for row in rows("parts")] == ["1", "1"]
    assert Path("parts/sweep.png").is_file()


def test_a_configuration_file_holds_a_sweep_and_the_command_line_wins(call):
    Path("own.yaml").write_text(
        "model: gmm\n"
        "grid:\n  lr: [1e-3, 0.02]\n  options: {covariance: [diagonal, tied]}\n"
        "  batch_size: [50, 100]\n"
        "seeds: [3]\noptions: {num_components: 2}\nepochs: 7\n"
        "patience: 2\nnoise_multiple: 1.5\nrestore_best: true\n"
    )
    extra = ["--out", "own", "--x", "covariance", "--lines", "lr"]
    assert call("sweep", "--config", "own.yaml", *QUICK, *extra) == 0
    assert len(rows("own")) == 8
    assert Path("own/sweep.png").is_file()
    run = Run("own/lr=0.02,covariance=tied,batch_size=100/seed=3").describe()
    assert run["settings"]["lr"] == 0.02
    assert run["settings"]["epochs"] == 1
    assert run["settings"]["noise_multiple"] == 1.5
    assert run["settings"]["restore_best"] is True
    assert run["data"]["preparation"] == "dequantised"


def test_the_same_command_again_adds_what_is_new(call):
    sweep = ["sweep", *SMALL, *QUICK, "--out", "s", "--seeds", "[0]"]
    assert call(*sweep, "--grid.lr", "[1e-3]") == 0
    before = Path("s/lr=0.001/seed=0/checkpoint.pt").stat().st_mtime_ns
    assert not Path("s/sweep.png").exists()  # nothing varies
    assert call(*sweep, "--grid.lr", "[1e-3, 1e-2]") == 0
    assert len(rows("s")) == 2
    assert Path("s/lr=0.001/seed=0/checkpoint.pt").stat().st_mtime_ns == before


def test_every_option_of_a_training_is_one_of_a_sweep(call, capsys):
    assert call("sweep", "--help") == 0
    text = capsys.readouterr().out
    alone = {*NOT_SHARED, "init_from", "resume", "force"}
    for name in inspect.signature(commands.train).parameters.keys() - alone:
        assert f"--{name} " in text, name
    for name in inspect.signature(commands.sweep).parameters:
        assert f"--{name} " in text, name
    assert "--seed " not in text
    assert "--shared" not in text


def test_every_option_of_the_model_in_the_grid_counts(call):
    grid = ["--grid.options.hidden", "[[4]]", "--grid.options.latent_dim", "[1, 2]"]
    grid += ["--grid.options.activation", "[relu, tanh]"]
    assert call("sweep", *grid, "--seeds", "[0]", *QUICK, "--out", "three") == 0
    assert len(rows("three")) == 4


GRID = ["--grid.lr", "[1e-3]"]
MISTAKES = {
    "no grid": ([], "grid"),
    "no values": (["--grid.lr", "1e-3"], "lr in the grid needs a list"),
    "unknown setting": (["--grid.rate", "[1]"], "unknown setting 'rate'"),
    "unknown model option": (["--grid.options.depth", "[1]"], "no option depth"),
    "options without names": (["--grid.options", "[1]"], "options in the grid need names"),
    "bad value": (["--grid.lr", "[1e-3, -1]"], "lr must be positive"),
    "a word for a number": (["--grid.lr", "[fast]"], "lr is a number, or find; got 'fast'"),
    "a part for a whole": (["--grid.epochs", "[1.5]"], "epochs in the grid is int; got 1.5"),
    "a number for a word": (["--grid.optimizer", "[3]"], "optimizer in the grid is str"),
    "unknown optimizer": (["--grid.optimizer", "[Adma]"], "unknown optimizer 'Adma'"),
    "unknown schedule": (["--grid.schedule", "[Cos]"], "unknown schedule 'Cos'"),
    "unknown objective": (["--grid.objective", "[elbo, best]"], "unknown objective 'best'"),
    "seeds": ([*GRID, "--seeds", "[a]"], "seeds"),
    "one seed": ([*GRID, "--seed", "1"], "seed"),
    "unknown model": ([*GRID, "--model", "gan"], "unknown model 'gan'"),
    "unknown data": ([*GRID, "--data", "cifar"], "unknown data set 'cifar'"),
    "unknown quantity": ([*GRID, "--quantity", "beauty"], "unknown quantity"),
    "unknown axis": ([*GRID, "--x", "epochs"], "epochs is no setting of this sweep"),
    "missing configuration": (["--config", "missing.yaml"], "missing.yaml"),
    "a preset": (["--preset", "m1"], "--preset is an option of train and find-lr, not of sweep"),
    "no jobs": ([*GRID, "--jobs", "0"], "jobs"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_one_line_and_code_2(refused, mistake):
    arguments, says = MISTAKES[mistake]
    assert says in refused("sweep", *arguments, *QUICK)
    assert not Path("sweeps").exists()


def test_a_sweep_without_a_best_is_told_and_kept(refused):
    sweep = ["sweep", *SMALL, *QUICK, "--seeds", "[0]", "--out", "s"]
    message = refused(*sweep, "--grid.lr", "[1e30]")
    assert "no run of this sweep has a score; the first: training stopped" in message
    assert "training stopped" in rows("s")[0]["failures"]
    both = ["--grid.preparation", "[grey, threshold]"]
    assert "may not be compared" in refused(*sweep, *both)
    assert len(rows("s")) == 2


def test_the_weight_of_the_labels_is_chosen_by_accuracy_on_validation_data(call, capsys):
    given = ["--model", "m2", "--options.hidden", "[4]", "--options.latent_dim", "1"]
    kept = ["--labels", "20", "--quantity", "accuracy", "--labelled_per_batch", "10"]
    grid = ["--grid.options.classification_weight", "[0.0, 10.0]", "--seeds", "[0]"]
    quick = ["--epochs", "1", "--progress", "false", "--curve_size", "0", "--num_particles", "1"]
    assert call("sweep", *given, *kept, *grid, *quick, "--out", "few") == 0
    assert "accuracy" in capsys.readouterr().out
    record = json.loads(next(Path("few").glob("*/seed=0/run.json")).read_text())
    assert record["data"]["labels_kept"] == [20, 0]
    other = ["--labels", "20", "--labels_seed", "1", "--quantity", "accuracy"]
    assert call("sweep", *given, *other, *grid, *quick, "--out", "few") == 2
    assert "holds another run: it was begun with" in capsys.readouterr().err
