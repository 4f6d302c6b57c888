"""A run folder can be gone on from after any crash, and is never damaged or taken over silently."""

import errno
import json
import os
import pickle
import threading
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.optim import lr_scheduler

from inference.learning import Run, fit
from pyro_models import CVAE, GMM, PPCA, VAE, UsageError
from pyro_models.files.atomic import write_atomically

SHAPE = (1, 8, 8)
RUN_FILES = {"run.json", "weights.safetensors", "checkpoint.pt", "history.csv"}


class Crash(BaseException):
    """As good as a kill: nothing in the library catches it."""


def crash_at(epoch):
    def callback(moment):
        if moment.epoch == epoch:
            raise Crash

    return callback


def vae():
    torch.manual_seed(0)
    return VAE(SHAPE, hidden=[8], likelihood="bernoulli")


PAIRS = {
    "vae": (vae, "dynamic"),
    "cvae": (lambda: CVAE(SHAPE, num_classes=10, hidden=[8], latent_dim=3), "dynamic"),
    "gmm enumerated": (lambda: GMM(SHAPE, num_components=3), "dequantised"),
    "gmm amortised": (
        lambda: GMM(SHAPE, num_components=3, guide="amortised", hidden=[8]),
        "dequantised",
    ),
    "ppca": (lambda: PPCA(SHAPE, latent_dim=2), "dequantised"),
}

SETTINGS = {
    "optimizer": "AdamW",
    "optimizer_options": {"weight_decay": 0.01, "betas": (0.9, 0.99)},
    "schedule": "OneCycleLR",
    "epochs": 4,
    "batch_size": 50,
    "lr": 1e-2,
    "clip_norm": 10.0,
    "progress": False,
}


def build(name):
    torch.manual_seed(0)
    return PAIRS[name][0]()


def weights(folder):
    return (folder / "weights.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("name", "crash"), [*((name, 2) for name in PAIRS), *(("vae", at) for at in (0, 1, 4))]
)
def test_a_run_that_crashed_ends_bit_for_bit_as_one_that_did_not(name, crash, few, tmp_path):
    data = few.with_preparation(PAIRS[name][1])
    whole = fit(build(name), data, out=tmp_path / "whole", **SETTINGS)
    with pytest.raises(Crash):
        fit(build(name), data, out=tmp_path / "torn", callbacks=[crash_at(crash)], **SETTINGS)
    again = fit(build(name), data, out=tmp_path / "torn", resume=True, **SETTINGS)
    assert weights(tmp_path / "torn") == weights(tmp_path / "whole")
    assert [replace(e, seconds=0) for e in again.history.epochs] == [
        replace(e, seconds=0) for e in whole.history.epochs
    ]
    assert again.history.start == whole.history.start
    assert again.history.stopped == whole.history.stopped


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "CosineAnnealingLR"},
        {"schedule": "ReduceLROnPlateau", "schedule_options": {"patience": 0}},
        {"schedule": None, "optimizer": "SGD", "optimizer_options": {"momentum": 0.9}},
        {"schedule": None, "beta_warmup": 3, "patience": 2, "restore_best": True},
        {"schedule": None, "curve_size": 0, "precision": "bfloat16"},
    ],
    ids=str,
)
def test_so_it_does_with_other_schedules_and_settings(options, few, tmp_path):
    options = {**SETTINGS, "lr": 0.05, "epochs": 6, "optimizer_options": {}, **options}
    whole = fit(vae(), few.with_preparation("dynamic"), out=tmp_path / "whole", **options)
    torn = partial(fit, data=few.with_preparation("dynamic"), out=tmp_path / "torn", **options)
    with pytest.raises(Crash):
        torn(vae(), callbacks=[crash_at(2)])
    with pytest.raises(Crash):
        torn(vae(), callbacks=[crash_at(3)], resume=True)
    again = torn(vae(), resume=True)
    assert weights(tmp_path / "torn") == weights(tmp_path / "whole")
    assert again.history.stopped == whole.history.stopped
    assert again.history.best_epoch == whole.history.best_epoch


@pytest.mark.parametrize("method", ["save_checkpoint", "save_weights", "record_end"])
@pytest.mark.parametrize("when", [1, 3])
def test_dying_between_two_files_costs_nothing(method, when, few, tmp_path, monkeypatch):
    """The checkpoint of the last epoch may be there and its weights not."""
    options = {**SETTINGS, "epochs": 2}
    data = few.with_preparation("dynamic")
    fit(vae(), data, out=tmp_path / "whole", **options)
    calls = []
    original = getattr(Run, method)

    def dying(self, *args):
        calls.append(method)
        if len(calls) == when or method == "record_end":
            raise Crash
        original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Run, method, dying)
        with pytest.raises(Crash):
            fit(vae(), data, out=tmp_path / "torn", **options)
    fit(vae(), data, out=tmp_path / "torn", resume=True, **options)
    assert weights(tmp_path / "torn") == weights(tmp_path / "whole")
    csvs = [(tmp_path / f / "history.csv").read_text().splitlines() for f in ("whole", "torn")]
    assert len(csvs[0]) == len(csvs[1]) == 3
    assert Run(tmp_path / "torn").describe()["training"]["epochs"] == 2


@pytest.mark.parametrize("kind", [Crash, ValueError, KeyboardInterrupt])
def test_a_file_that_could_not_be_written_stays_as_it_was(kind, tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "old")

    def failing(file):
        file.write(b"half of the new")
        raise kind

    with pytest.raises(kind):
        write_atomically(path, failing)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    write_atomically(path, b"new")
    assert path.read_text() == "new"


def test_a_finished_run_is_complete_and_can_be_opened(few, tmp_path):
    trained = fit(vae(), few.with_preparation("dynamic"), out=tmp_path / "run", **SETTINGS)
    pair = trained.pair
    assert {p.name for p in (tmp_path / "run").iterdir()} == RUN_FILES
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["model"] == "vae"
    assert record["settings"]["lr"] == 1e-2
    assert record["data"]["preparation"] == "dynamic"
    assert record["training"] == {
        "curve_data": {"train": 192, "validation": 48},
        "epochs": 4,
        "objective": "elbo (mean_field)",
        "unit": "nats per datum",
        "start": None,
        "best_epoch": trained.history.best_epoch,
        "stopped": "all 4 epochs done",
        "remark": "",
        "recorded": True,
        "not_recorded": "",
    }
    opened = Run(tmp_path / "run").load_pair()
    assert opened.config() == pair.config()
    assert opened.state_dict().keys() == pair.state_dict().keys()
    for name, tensor in pair.state_dict().items():
        assert torch.equal(tensor, opened.state_dict()[name])


def test_the_checkpoint_loads_with_weights_only(few, tmp_path):
    fit(vae(), few.with_preparation("dynamic"), out=tmp_path, **SETTINGS)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert len(state["history"]) == 4
    assert state["weights"].keys() == vae().state_dict().keys()


@pytest.mark.parametrize("name", PAIRS)
def test_every_kind_of_pair_comes_back_from_its_folder(name, few, tmp_path):
    data = few.with_preparation(PAIRS[name][1])
    pair = fit(build(name), data, out=tmp_path, **{**SETTINGS, "epochs": 1}).pair
    opened = Run(tmp_path).load_pair()
    for key, tensor in pair.state_dict().items():
        assert torch.equal(tensor, opened.state_dict()[key])


@pytest.fixture
def run(few, tmp_path):
    """A folder with two epochs of a run."""
    folder = tmp_path / "run"
    fit(vae(), few.with_preparation("dynamic"), out=folder, **{**SETTINGS, "epochs": 2})
    return folder


def resume(few, folder, **options):
    data = few.with_preparation("dynamic")
    return fit(vae(), data, out=folder, resume=True, **{**SETTINGS, "epochs": 2, **options})


class _Evil:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


FOREIGN = {
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"\x00\x93garbage" * 99),
    "text": lambda path: path.write_text("{}"),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "one byte short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "half zeros": lambda path: path.write_bytes(
        path.read_bytes()[:2000] + bytes(path.stat().st_size - 2000)
    ),
}


@pytest.mark.parametrize(
    "damage",
    [
        *FOREIGN.values(),
        lambda path: path.write_bytes(pickle.dumps(_Evil(), protocol=2)),
        lambda path: torch.save(_Evil(), path),
        lambda path: torch.save({"epoch": 3}, path),
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save({"format": "another 1"}, path),
    ],
)
def test_a_damaged_or_foreign_checkpoint_is_refused_and_no_pickle_is_run(damage, run, few):
    damage(run / "checkpoint.pt")
    with pytest.raises(UsageError, match=r"checkpoint\.pt") as caught:
        resume(few, run)
    assert "\n" not in str(caught.value)


# safetensors has no checksum: zeros are weights
@pytest.mark.parametrize("name", [name for name in FOREIGN if name != "half zeros"])
def test_damaged_weights_are_refused(name, run):
    FOREIGN[name](run / "weights.safetensors")
    with pytest.raises(UsageError, match="damaged") as caught:
        Run(run).load_pair()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        "{}",
        '{"format": "another 3"}',
        '{"format": "pyro-models run 1"}',
        '{"format": "pyro-models run 1", "model": "vae", "class": "VAE", "config": 3}',
        b"\xff\xfe\x00",
    ],
)
def test_a_damaged_description_is_refused(text, run, few):
    path = run / "run.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for use in (Run(run).describe, Run(run).load_pair, lambda: resume(few, run)):
        with pytest.raises(UsageError, match=r"run\.json") as caught:
            use()
        assert "\n" not in str(caught.value)


def test_what_is_no_run_folder_is_refused(tmp_path, few):
    for use in (Run(tmp_path).describe, Run(tmp_path).load_pair):
        with pytest.raises(UsageError, match="not a run folder"):
            use()
    with pytest.raises(UsageError, match="no run to resume"):
        resume(few, tmp_path)


def test_weights_of_another_architecture_are_refused(run):
    for other in (VAE(SHAPE, hidden=[16]), PPCA(SHAPE)):
        Run(run).save_weights(other)
        with pytest.raises(UsageError, match="another pair"):
            Run(run).load_pair()


def test_a_run_that_died_before_its_first_checkpoint_says_so_and_starts_anew(run, few):
    expected = weights(run)
    for name in RUN_FILES - {"run.json"}:
        (run / name).unlink()
    with pytest.raises(UsageError, match="no weights yet"):
        Run(run).load_pair()
    resume(few, run)
    assert weights(run) == expected


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"lr": 0.5}, "lr 0.01, not 0.5"),
        ({"batch_size": 7}, "batch_size 50, not 7"),
        ({"seed": 1}, "seed 0, not 1"),
        ({"optimizer": "Adam"}, "optimizer 'AdamW', not 'Adam'"),
        ({"optimizer_options": {"weight_decay": 0.5}}, "optimizer_options"),
        ({"objective": "trace"}, "objective 'elbo', not 'trace'"),
        ({"schedule": "CosineAnnealingLR"}, "schedule 'OneCycleLR'"),
        ({"schedule": None}, "schedule 'OneCycleLR'"),
        ({"clip_norm": 1.0}, "clip_norm"),
        ({"beta_warmup": 2}, "beta_warmup"),
        ({"patience": 2}, "patience"),
        ({"precision": "bfloat16"}, "precision"),
        ({"epochs": 5}, "epochs 2, not 5"),
    ],
    ids=str,
)
def test_resuming_with_another_setting_is_refused_by_name(changed, names, run, few):
    before = weights(run)
    with pytest.raises(UsageError, match=names):
        resume(few, run, **changed)
    assert weights(run) == before


@pytest.mark.parametrize(
    ("pair", "change", "names"),
    [
        (
            lambda: VAE(SHAPE, hidden=[8], likelihood="cross_entropy"),
            lambda d: d,
            "likelihood 'bernoulli', not 'cross_entropy'",
        ),
        (
            lambda: VAE(SHAPE, hidden=[9], likelihood="bernoulli"),
            lambda d: d,
            r"hidden \[8\], not \[9\]",
        ),
        (
            lambda: CVAE(SHAPE, num_classes=10, hidden=[8]),
            lambda d: d,
            "class 'VAE', not 'CVAE'",
        ),
        (vae, lambda d: d.with_preparation("threshold"), "preparation 'dynamic', not 'threshold'"),
        (vae, lambda d: replace(d, name="mnist"), "name 'digits', not 'mnist'"),
        (
            vae,
            lambda d: replace(d, splits={k: d.splits[k] for k in ("train", "test")}),
            "splits",
        ),
    ],
)
def test_resuming_with_another_pair_or_other_data_is_refused(pair, change, names, run, few):
    with pytest.raises(UsageError, match=names):
        fit(
            pair(),
            change(few.with_preparation("dynamic")),
            out=run,
            resume=True,
            **{**SETTINGS, "epochs": 2},
        )


def test_more_epochs_are_fine_where_no_schedule_spans_them(few, tmp_path):
    options = {**SETTINGS, "schedule": None}
    data = few.with_preparation("dynamic")
    fit(vae(), data, out=tmp_path / "whole", **{**options, "epochs": 3})
    fit(vae(), data, out=tmp_path / "more", **{**options, "epochs": 1})
    again = fit(vae(), data, out=tmp_path / "more", resume=True, **{**options, "epochs": 3})
    assert [e.epoch for e in again.history.epochs] == [1, 2, 3]
    assert weights(tmp_path / "more") == weights(tmp_path / "whole")


def test_resuming_a_finished_run_changes_nothing(run, few):
    before = weights(run)
    history = resume(few, run).history
    assert weights(run) == before
    assert history.stopped == "all 2 epochs done"


def test_a_run_is_not_replaced_without_force(run, few):
    before = {p.name: p.read_bytes() for p in run.iterdir()}
    data = few.with_preparation("dynamic")
    with pytest.raises(UsageError, match="already holds a run"):
        fit(vae(), data, out=run, **SETTINGS)
    assert {p.name: p.read_bytes() for p in run.iterdir()} == before
    (run / "notes.txt").write_text("mine")
    (run / "figures").mkdir()
    fit(vae(), data, out=run, force=True, **{**SETTINGS, "seed": 4})
    assert weights(run) != before["weights.safetensors"]
    assert (run / "notes.txt").read_text() == "mine"
    assert not (run / "figures").exists()


@pytest.mark.parametrize(
    "mistake",
    [
        {"optimizer": "Adma"},
        {"schedule": "Cosine"},
        {"objective": "ivae"},
        {"lr": -1.0},
        {"optimizer_options": {"momentum": 1}},
    ],
    ids=str,
)
def test_a_mistake_does_not_cost_the_run_that_force_would_replace(mistake, run, few):
    before = {p.name: p.read_bytes() for p in run.iterdir()}
    data = few.with_preparation("dynamic")
    with pytest.raises(UsageError):
        fit(vae(), data, out=run, force=True, **{**SETTINGS, **mistake})
    assert {p.name: p.read_bytes() for p in run.iterdir()} == before


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_or_file_that_is_no_run_is_never_taken(force, few, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    (tmp_path / "file").write_text("mine")
    for name in ("thesis", "file"):
        with pytest.raises(UsageError, match="not a run folder"):
            fit(vae(), few.with_preparation("dynamic"), out=tmp_path / name, force=force)
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]
    assert (tmp_path / "file").read_text() == "mine"


def test_an_empty_folder_and_one_where_a_run_was_hardly_begun_are_taken(few, tmp_path):
    for name in ("empty", "begun"):
        (tmp_path / name).mkdir()
    (tmp_path / "begun" / ".run.json.part").write_text('{"form')
    for name in ("empty", "begun"):
        fit(vae(), few.with_preparation("dynamic"), out=tmp_path / name, **SETTINGS)
        assert {p.name for p in (tmp_path / name).iterdir()} == RUN_FILES


def test_a_pair_of_the_users_own_is_kept_and_says_that_it_is_not_registered(few, tmp_path):
    class Own(VAE):
        pass

    fit(Own(SHAPE, hidden=[8]), few, out=tmp_path, **SETTINGS)
    with pytest.raises(UsageError, match="holds a Own, which is not registered"):
        Run(tmp_path).load_pair()
    fit(Own(SHAPE, hidden=[8]), few, out=tmp_path, resume=True, **SETTINGS)


def test_a_schedule_given_as_a_function_is_resumed_too(few, tmp_path):
    def schedule(optimiser):
        return lr_scheduler.LambdaLR(optimiser, lambda step: 0.9**step)

    options = {**SETTINGS, "schedule": schedule}
    data = few.with_preparation("dynamic")
    fit(vae(), data, out=tmp_path / "whole", **options)
    with pytest.raises(Crash):
        fit(vae(), data, out=tmp_path / "torn", callbacks=[crash_at(2)], **options)
    fit(vae(), data, out=tmp_path / "torn", resume=True, **options)
    assert weights(tmp_path / "torn") == weights(tmp_path / "whole")


def test_a_second_training_in_the_folder_is_refused_and_harms_nothing(few, tmp_path):
    data, refused = few.with_preparation("dynamic"), []

    def second(moment):
        for options in ({}, {"force": True}, {"resume": True}):
            if moment.epoch == 0 and "resume" in options:
                continue

            def train(options=options):
                with pytest.raises(UsageError, match="is being trained by another") as refusal:
                    fit(vae(), data, out=tmp_path / "run", **{**SETTINGS, **options})
                refused.append(str(refusal.value))

            # a thread of its own is as good as a process: the lock is the system's
            thread = threading.Thread(target=train)
            thread.start()
            thread.join()

    first = fit(vae(), data, out=tmp_path / "run", callbacks=[second], **SETTINGS)
    assert len(refused) == 2 + 3 * SETTINGS["epochs"]
    assert not any("\n" in each for each in refused)
    assert {p.name for p in (tmp_path / "run").iterdir()} == RUN_FILES
    alone = fit(vae(), data, out=tmp_path / "alone", **SETTINGS)
    assert first.history.epochs[-1].validation == alone.history.epochs[-1].validation
    assert weights(tmp_path / "run") == weights(tmp_path / "alone")


def test_a_training_whose_disk_is_full_says_so_and_is_gone_on_with(few, tmp_path, monkeypatch):
    data, fsync = few.with_preparation("dynamic"), os.fsync

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill(moment):
        if moment.epoch == 2:
            monkeypatch.setattr("os.fsync", full)

    with pytest.raises(UsageError, match=r"checkpoint\.pt could not be written .*is whole"):
        fit(vae(), data, out=tmp_path / "run", callbacks=[fill], **SETTINGS)
    monkeypatch.setattr("os.fsync", fsync)
    assert {p.name for p in (tmp_path / "run").iterdir()} == RUN_FILES
    fit(vae(), data, out=tmp_path / "run", resume=True, **SETTINGS)
    fit(vae(), data, out=tmp_path / "whole", **SETTINGS)
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


def test_a_checkpoint_of_a_release_that_ordered_the_parts_otherwise_is_gone_on_with(few, tmp_path):
    def begun(folder):
        torch.manual_seed(0)
        pair = VAE(SHAPE, hidden=[8], likelihood="gaussian")
        fit(pair, few, epochs=1, progress=False, out=folder)
        return pair

    def gone_on(pair, folder):
        fit(pair, few, epochs=2, progress=False, out=folder, resume=True)
        return pair.state_dict()

    expected = gone_on(begun(tmp_path / "one"), tmp_path / "one")
    pair, run = begun(tmp_path / "two"), Run(tmp_path / "two")
    state = run.load_checkpoint()
    now = [name for name, _ in pair.named_parameters()]
    then = now[::-1]
    weights = {name: state["weights"][name] for name in [*then, *set(state["weights"]) - set(now)]}
    moments = state["optimizer"]["state"]
    moved = {i: moments[now.index(name)] for i, name in enumerate(then)}
    run.save_checkpoint(
        {**state, "weights": weights, "optimizer": {**state["optimizer"], "state": moved}}
    )
    found = gone_on(pair, tmp_path / "two")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_run_of_before_there_were_units_goes_on_without(tmp_path):
    x = 1e4 + 3 * torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    pair = VAE((4,), hidden=[8], likelihood="gaussian")
    fit(pair, x, epochs=1, progress=False, out=tmp_path)
    run = Run(tmp_path)
    state = run.load_checkpoint()
    weights = {k: v for k, v in state["weights"].items() if "units" not in k}
    run.save_checkpoint({**state, "weights": {**weights, "bias_set": torch.tensor(False)}})
    fit(pair, x, epochs=2, progress=False, out=tmp_path, resume=True)
    assert float(pair.guide.units.scale.min()) == 1
    assert not bool(pair.guide.units.centre.any())
