"""Trackers are told of each epoch once, whatever happens to the training, and never stop it."""

import gc
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from inference import Experiment, fit
from inference.cli import main
from inference.learning import CallbackState
from inference.tracking import (
    TRACKERS,
    MLflow,
    TensorBoard,
    TrackedRun,
    Tracker,
    WandB,
    make_trackers,
)
from pyro_models import GMM, PPCA, VAE, ImageData, UsageError, load_data

QUICK: dict[str, Any] = {"curve_size": 50, "progress": False, "capture": False, "batch_size": 700}


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_data("digits", preparation="threshold")


def vae(data: ImageData) -> VAE:
    torch.manual_seed(0)
    return VAE(data.data_shape, hidden=[4], latent_dim=2, likelihood="bernoulli")


class Notebook(Tracker):
    """A service in memory, which may be away."""

    def __init__(self, *, away: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.away, self.calls, self.runs = away, 0, []
        self.last_epoch = -1
        self.kept: list[tuple[str, int, Any]] = []
        self.endings: list[str] = []

    def open(self, run: TrackedRun) -> "Notebook":
        self.runs.append(run)
        run.memory["id"] = 7
        return self

    def _call(self) -> None:
        self.calls += 1
        if self.away is not None and self.calls > self.away:
            raise ConnectionError("nobody\nanswers")

    def numbers(self, values: Mapping[str, float], epoch: int) -> None:
        self._call()
        self.kept.append(("numbers", epoch, dict(values)))
        self.last_epoch = epoch

    def figure(self, name: str, figure: Any, epoch: int) -> None:
        self.kept.append((name, epoch, figure))

    def histogram(self, name: str, values: Tensor, epoch: int) -> None:
        self.kept.append((name, epoch, values.shape))

    def close(self, ending: str) -> None:
        self.endings.append(ending)


def interrupted(at: int) -> Callable[[CallbackState], None]:
    """A callback that kills a training after an epoch was tracked and before it was saved."""

    def callback(state: CallbackState) -> None:
        if state.epoch == at:
            raise KeyboardInterrupt

    return callback


def test_a_tracker_has_curves_settings_figures_and_histograms(data: ImageData) -> None:
    told = Notebook(at=["start", 2])
    result = fit(vae(data), data, epochs=3, callbacks=[told], **QUICK)
    curves = [(epoch, values) for name, epoch, values in told.kept if name == "numbers"]
    assert [epoch for epoch, _ in curves] == [1, 2, 3]
    for (_, values), epoch in zip(curves, result.history.epochs, strict=True):
        assert values["bound/train"] == epoch.train
        assert values["bound/validation"] == epoch.validation
        assert values["training/learning_rate"] == 1e-3
    (run,) = told.runs
    assert run.settings["model"] == "VAE"
    assert run.settings["lr"] == 1e-3
    assert run.settings["hidden"] == "[4]"
    assert run.settings["unit"] == "nats per datum"
    assert run.settings["parameters"] == sum(p.numel() for p in result.pair.parameters())
    shown = {(name, epoch) for name, epoch, _ in told.kept}
    assert {("prior_samples", 0), ("reconstructions", 2), ("latents/z2", 2)} <= shown
    assert ("weights/model/decoder/body/0/weight", 2) in shown
    assert not {epoch for name, epoch in shown if name == "prior_samples"} - {0, 2}
    assert dict((n, v) for n, _, v in told.kept)["latents/means"] == (180, 2)  # validation data
    assert told.endings == ["finished"]


def test_a_tracker_changes_no_weight(data: ImageData) -> None:
    plain = fit(vae(data), data, epochs=2, **QUICK)
    told = fit(vae(data), data, epochs=2, callbacks=[Notebook()], **QUICK)
    for one, other in zip(plain.pair.parameters(), told.pair.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_service_that_is_away_is_said_once_and_stops_nothing(data: ImageData) -> None:
    told = Notebook(away=1)
    with pytest.warns(UserWarning, match="goes on without it") as said:
        result = fit(vae(data), data, epochs=4, callbacks=[told], **QUICK)
    assert [str(each.message) for each in said] == [
        "Notebook failed (ConnectionError: nobody answers): the training goes on without it"
    ]
    assert len(result.history.epochs) == 4
    assert [epoch for name, epoch, _ in told.kept if name == "numbers"] == [1]


def test_epochs_that_a_service_missed_are_told_when_the_run_is_resumed(
    data: ImageData, tmp_path: Path
) -> None:
    fit(vae(data), data, epochs=2, out=tmp_path / "run", **QUICK)
    told = Notebook(at=["end"], histograms=False)
    more = {"epochs": 3, "resume": True, "out": tmp_path / "run"}
    fit(vae(data), data, callbacks=[told], **more, **QUICK)
    assert [epoch for name, epoch, _ in told.kept if name == "numbers"] == [1, 2, 3]
    assert told.runs[0].epoch == 2
    kept = json.loads((tmp_path / "run/trackers.json").read_text())
    assert kept == {"Notebook": {"id": 7, "epoch": 3}}


def test_how_a_training_ended_is_told(data: ImageData) -> None:
    told = Notebook()
    with pytest.raises(KeyboardInterrupt):
        fit(vae(data), data, epochs=2, callbacks=[told, interrupted(1)], **QUICK)
    assert told.endings == ["interrupted"]


def test_a_figure_that_the_pair_does_not_have_is_left_out(data: ImageData) -> None:
    pair = GMM(data.data_shape, num_components=2)
    grey = load_data("digits", preparation="dequantised")
    usual, named = Notebook(), Notebook(figures=["latent_scatter", "mixture_means"])
    with pytest.warns(UserWarning, match="Notebook shows no latent_scatter") as said:
        fit(pair, grey, epochs=2, callbacks=[usual, named], **QUICK)
    assert len(said) == 1
    assert "mixture_means" in {name for name, *_ in named.kept}
    assert not {name for name, *_ in usual.kept if name.startswith("latents")}


def test_what_is_no_figure_moment_or_tracker_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(UsageError, match="unknown figure 'curve'"):
        TensorBoard(figures=["curve"])
    with pytest.raises(UsageError, match="figures of a tracker are at epoch numbers"):
        TensorBoard(at=["middle"])
    with pytest.raises(UsageError, match="unknown tracker 'tensorbord': choose from tensorboard"):
        Experiment(track="tensorbord")
    with pytest.raises(UsageError, match="has no option folders; it has folder, figures"):
        make_trackers({"class_path": "tensorboard", "init_args": {"folders": "here"}})
    with pytest.raises(UsageError, match="give the tracker to fit as one of its callbacks"):
        Experiment(track=[TensorBoard()])


@pytest.mark.parametrize(("tracker", "extra"), [(n, n) for n in TRACKERS])
def test_an_absent_package_is_one_line(
    tracker: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, tracker, None)
    with pytest.raises(UsageError, match=rf'^[^\n]*pip install "pyro-models\[{extra}\]"\Z'):
        make_trackers(tracker)


def test_no_package_of_a_tracker_is_imported_by_a_training_without_one() -> None:
    code = "import sys, inference.cli; print({'tensorboard', 'mlflow', 'wandb'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def lost_and_resumed(data: ImageData, out: Path, *trackers: Tracker) -> None:
    """Three epochs, the second of which was tracked when the process died, and not saved."""
    how: dict[str, Any] = {"epochs": 3, "out": out, **QUICK}
    with pytest.raises(KeyboardInterrupt):
        fit(vae(data), data, callbacks=[*trackers, interrupted(2)], **how)
    fit(vae(data), data, callbacks=[*trackers], resume=True, **how)


def test_tensorboard_has_each_epoch_once(data: ImageData, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    lost_and_resumed(data, tmp_path / "run", TensorBoard(at=["start", "end"]))
    read = EventAccumulator(str(tmp_path / "run/tensorboard")).Reload()
    names = read.Tags()
    for name in ("bound/train", "bound/validation", "training/seconds"):
        assert [event.step for event in read.Scalars(name)] == [1, 2, 3]
    assert [image.step for image in read.Images("reconstructions")] == [0, 3]
    assert "latents/z1" in names["histograms"]
    settings = read.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| likelihood | bernoulli |" in settings
    plugins = read.PluginTagToContent("hparams")
    assert b"hidden" in plugins["_hparams_/session_start_info"]


def test_several_seeds_have_event_files_of_their_own(data: ImageData, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    tracker = TensorBoard(tmp_path / "events", at=[], histograms=False)
    few = {**QUICK, "curve_size": 0}
    fit(vae(data), data, epochs=1, seeds=[3, 4], callbacks=[tracker], out=tmp_path / "r", **few)
    folders = {path.parent.name for path in (tmp_path / "events").rglob("events.out.*")}
    assert folders == {"seed-3", "seed-4"}


def test_mlflow_has_each_epoch_once(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    lost_and_resumed(data, tmp_path / "run", MLflow(uri, "digits", at=["end"]))
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    curve = client.get_metric_history(run.info.run_id, "bound/train")
    assert [point.step for point in curve] == [1, 2, 3]
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "run"
    assert run.data.params["likelihood"] == "bernoulli"
    assert run.data.metrics["latents/means/sd"] > 0
    artifacts = [each.path for each in client.list_artifacts(run.info.run_id, "prior_samples")]
    assert artifacts == ["prior_samples/epoch-0003.png"]


def test_a_server_of_mlflow_that_is_away_is_said_once(data: ImageData) -> None:
    pytest.importorskip("mlflow")
    with pytest.warns(UserWarning, match=r"MLflow failed \(.*127.0.0.1.*goes on without") as said:
        fit(vae(data), data, epochs=2, callbacks=[MLflow("http://127.0.0.1:9")], **QUICK)
    assert len(said) == 1


def test_weights_and_biases_has_each_epoch_once(data: ImageData, tmp_path: Path) -> None:
    wandb = pytest.importorskip("wandb")
    tracker = WandB("digits", mode="offline", folder=tmp_path, at=["end"])
    lost_and_resumed(data, tmp_path / "run", tracker)
    wandb.teardown()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # a socket that some releases leave open
        gc.collect()
    epochs = [row["_step"] for row in history_rows(tmp_path) if "bound/train" in row]
    assert sorted(epochs) == [1, 2, 3]
    assert len({path.stem for path in tmp_path.rglob("run-*.wandb")}) == 1


def history_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of history in the files of Weights & Biases below a folder."""
    from wandb.proto.wandb_internal_pb2 import Record

    rows = []
    for path in sorted(folder.rglob("run-*.wandb")):
        for content in records_of(path.read_bytes()):
            record = Record.FromString(content)
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                rows.append(
                    {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}
                )
    return rows


def records_of(log: bytes, *, begin: int = 7, block: int = 32_768, header: int = 7) -> list[bytes]:
    """The records of a log in blocks, as LevelDB writes it: checksum, length, kind, content."""
    found, place = [b""], begin
    while place + header <= len(log):
        if block - place % block < header:  # the rest of a block is empty
            place += block - place % block
            continue
        size, kind = int.from_bytes(log[place + 4 : place + 6], "little"), log[place + 6]
        found[-1] += log[place + header : place + header + size]
        place += header + size
        if kind in (1, 4):  # whole, or the last part of one
            found.append(b"")
    return found[:-1]


def test_train_and_resume_track_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from inference.tracking import Tracker\n"
        "class Log:\n"
        "    last_epoch = -1\n"
        "    def numbers(self, values, epoch): print('told of epoch', epoch)\n"
        "    def close(self, ending): print('told:', ending)\n"
        "class Told(Tracker):\n"
        "    def open(self, run): return Log()\n"
    )
    (tmp_path / "conf.yaml").write_text(
        "model: ppca\noptions: {latent_dim: 1}\n"
        "track:\n"
        "- class_path: tensorboard\n"
        "  init_args: {folder: events, at: [], histograms: false}\n"
        "- class_path: mine.py:Told\n"
        "  init_args: {at: [], histograms: false}\n"
    )
    few = ["--epochs", "1", "--curve_size", "0", "--progress", "false"]
    assert main(["train", "--config", "conf.yaml", "--out", "run", *few]) == 0
    out = capsys.readouterr().out
    assert "told of epoch 1" in out
    assert "told: finished" in out
    assert main(["train", "--out", "run", "--resume", "--epochs", "2"]) == 0
    assert "told of epoch 2" in capsys.readouterr().out
    assert len(list((tmp_path / "events/run").iterdir())) == 2
    assert Experiment.load("run").track[0]["class_path"] == "tensorboard"  # type: ignore[index]
    assert main(["train", "--track", "tensorboard", "--track", "mlflow_", *few]) == 2
    assert "unknown tracker 'mlflow_'" in capsys.readouterr().err


def test_runs_of_a_sweep_are_tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    few = ["--epochs", "1", "--curve_size", "0", "--progress", "false", "--num_particles", "1"]
    own = ["--model", "ppca", "--grid.options.latent_dim", "[1, 2]", "--seeds", "0", "--limit", "9"]
    assert main(["sweep", *own, *few, "--track", "tensorboard", "--out", "s"]) == 0
    places = [path.parent.relative_to(tmp_path) for path in tmp_path.rglob("events.out.*")]
    assert sorted(map(str, places)) == [f"s/latent_dim={k}/seed=0/tensorboard" for k in (1, 2)]


def test_a_new_run_in_the_place_of_another_is_tracked_anew(data: ImageData, tmp_path: Path) -> None:
    grey = load_data("digits", preparation="dequantised")
    for _ in range(2):
        told = Notebook(at=[], histograms=False)
        pair = PPCA(data.data_shape, latent_dim=1)
        fit(pair, grey, epochs=1, callbacks=[told], out=tmp_path / "run", force=True, **QUICK)
        assert told.runs[0].memory == {"id": 7, "epoch": 1}
        assert len(told.kept) == 1
