"""Sweeps: every setting and seed once, gone on from where they stopped, evaluated alike."""

import json
import math
import multiprocessing
import threading
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from importlib import import_module

import joblib
import pytest
import torch
from filelock import FileLock

from inference import evaluate, fit, sweep
from inference.learning import Run
from inference.selection import trial as running
from pyro_models import PPCA, VAE, UsageError, load_data
from pyro_models.files.locks import holding
from pyro_models.seeds import seeded

QUICK = {"epochs": 1, "curve_size": 0, "num_particles": 2, "progress": False}
SMALL = {"hidden": [4], "latent_dim": 1}


def run(few, out, **options):
    given = {"grid": {"lr": [1e-3, 1e-2]}, "seeds": [0, 1], "options": SMALL, **QUICK, **options}
    return sweep("vae", few, out=out, **given)


def weights(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("weights.safetensors")}


@pytest.fixture
def trained(monkeypatch):
    """The folders that were really trained in, in order."""
    folders = []

    def counted(pair, data, **options):
        folders.append("/".join(options["out"].parts[-2:]))
        return fit(pair, data, **options)

    monkeypatch.setattr(running, "fit", counted)
    return folders


def test_a_run_of_a_sweep_is_the_fit_and_the_evaluation_one_would_write(few, tmp_path):
    grid = {"lr": [1e-3, 1e-2], "options.latent_dim": [1, 2]}
    found = run(few, tmp_path / "out", grid=grid, batch_size=50, options={"hidden": [4]})
    assert [tuple(row.setting.values()) for row in found.rows] == [
        (lr, dim) for lr in (1e-3, 1e-2) for dim in (1, 2)
    ]
    with seeded(1, torch.device("cpu")):
        pair = VAE((1, 8, 8), hidden=[4], latent_dim=2)
    fit(pair, few, lr=1e-2, batch_size=50, epochs=1, curve_size=0, seed=1, progress=False)
    wanted = evaluate(pair, few, split="validation", num_particles=2).scores["importance_bound"]
    (row,) = [r for r in found.rows if r.setting == {"lr": 1e-2, "options.latent_dim": 2}]
    assert row.scores[1].value == wanted.value
    assert row.scores[1].split == "validation"
    assert row.outcomes[1].folder == tmp_path / "out" / "lr=0.01,latent_dim=2" / "seed=1"
    kept = Run(row.outcomes[1].folder).load_pair()
    for a, b in zip(kept.parameters(), pair.parameters(), strict=True):
        assert torch.equal(a, b)
    names = {path.name for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert names == {".pyro-models-sweep", "sweep.csv", "sweep.md", "runs.csv"}


def test_the_better_of_two_is_found(few, tmp_path):
    data = few.with_preparation("dequantised")
    grid = {"options.latent_dim": [1, 6]}
    how = {**QUICK, "epochs": 5, "lr": 3e-2}
    found = sweep("ppca", data, grid=grid, seeds=[0, 1], out=tmp_path / "out", **how)
    train, held_out = data.prepared("train").x, data.prepared("validation").x
    best = [PPCA.maximum_likelihood(train, latent_dim=q) for q in (1, 6)]
    with torch.no_grad():
        truth = [pair.exact_log_prob(held_out).mean() for pair in best]
    assert truth[1] > truth[0]
    assert found.best.setting == {"options.latent_dim": 6}
    assert found.best.scores[0].kind == "exact"


def test_finished_runs_are_not_repeated_and_new_ones_are_trained(few, tmp_path, trained):
    out = tmp_path / "out"
    first = run(few, out)
    assert len(trained) == 4
    before = weights(out)
    again = run(few, out)
    assert len(trained) == 4
    assert again.to_csv() == first.to_csv()
    assert all(o.repeated for row in again.rows for o in row.outcomes)
    more = run(few, out, grid={"lr": [1e-3, 1e-2, 2e-2]}, seeds=[0, 1, 2])
    assert len(trained) == 9
    assert {k: v for k, v in weights(out).items() if k in before} == before
    assert more.rows[0].values[:2] == first.rows[0].values


def test_more_particles_judge_anew_without_training(few, tmp_path):
    first = run(few, tmp_path / "out")
    before = weights(tmp_path / "out")
    again = run(few, tmp_path / "out", num_particles=50, limit=20)
    assert weights(tmp_path / "out") == before
    assert {s.num_particles for row in again.rows for s in row.scores} == {50}
    assert {s.num_data for row in again.rows for s in row.scores} == {20}
    assert again.rows[0].values != first.rows[0].values
    assert [o.epochs for row in again.rows for o in row.outcomes] == [1] * 4


def test_an_interrupted_sweep_goes_on_bit_for_bit(few, tmp_path, monkeypatch):
    whole = run(few, tmp_path / "whole", epochs=3)
    written = Run.save_checkpoint
    calls = []

    def dies(self, state):
        calls.append(self.folder)
        if len(calls) == 7:  # the second run's second epoch
            raise KeyboardInterrupt
        written(self, state)

    monkeypatch.setattr(Run, "save_checkpoint", dies)
    with pytest.raises(KeyboardInterrupt):
        run(few, tmp_path / "parts", epochs=3)
    monkeypatch.undo()
    state = Run(tmp_path / "parts" / "lr=0.001" / "seed=1").load_checkpoint()
    assert len(state["history"]) == 1
    parts = run(few, tmp_path / "parts", epochs=3)
    assert [row.values for row in parts.rows] == [row.values for row in whole.rows]
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")


class Stumbles(VAE):
    """A pair that cannot be trained with a wide network."""

    broken = True

    def __init__(self, data_shape, **options):
        super().__init__(data_shape, **options)
        self.wide = options["hidden"] == [5]

    def state_dict(self, *args, **options):
        if self.wide and Stumbles.broken:
            raise RuntimeError("the machine\nhas stumbled")
        return super().state_dict(*args, **options)


def test_a_run_that_fails_leaves_the_others_alone_and_is_tried_again(few, tmp_path, monkeypatch):
    how = {"grid": {"options.hidden": [[4], [5]]}, "seeds": [0, 1], "options": {"latent_dim": 1}}
    found = sweep(Stumbles, few, out=tmp_path / "out", **how, **QUICK)
    reason = "RuntimeError: the machine has stumbled"
    assert found.rows[1].failures == ((0, reason), (1, reason))
    assert len(found.rows[0].scores) == 2
    assert found.best.setting == {"options.hidden": [4]}
    assert f"Failed: hidden = [5], seed 1: {reason}" in (tmp_path / "out" / "sweep.md").read_text()
    record = json.loads((tmp_path / "out" / "hidden=5" / "seed=0.json").read_text())
    assert "state_dict" in "\n".join(record["outcome"]["traceback"])
    monkeypatch.setattr(Stumbles, "broken", False)
    again = sweep(Stumbles, few, out=tmp_path / "out", **how, **QUICK)
    assert again.rows[1].failures == ()
    assert again.rows[0].values == found.rows[0].values


def test_a_run_that_diverges_says_where(few, tmp_path):
    found = run(few, tmp_path / "out", grid={"lr": [1e-3, 1e30]}, seeds=[0])
    assert "training stopped in epoch 1" in found.rows[1].failures[0][1]
    assert math.isfinite(found.best.mean)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"epochs": 2}, "begun with epochs 1, not 2"),
        ({"options": {**SMALL, "latent_dim": 2}}, "options.latent_dim 1, not 2"),
        ({"options": {"hidden": [4], "latent_dim": 1, "likelihood": "cross_entropy"}},
         "options.likelihood None, not 'cross_entropy'"),
        ({"preparation": "threshold"}, "preparation 'grey', not 'threshold'"),
    ],
    ids=str,
)  # fmt: skip
def test_another_run_in_the_folder_is_refused_before_anything_is_trained(
    change, says, few, tmp_path, trained
):
    run(few, tmp_path / "out", grid={"lr": [1e-3]})
    trained.clear()
    with pytest.raises(UsageError, match=says) as caught:
        run(few, tmp_path / "out", grid={"lr": [5e-3, 1e-3]}, **change)
    assert trained == []
    assert "lr=0.001/seed=0 holds another run" in str(caught.value)
    assert "\n" not in str(caught.value)


MISTAKES = [
    ({"grid": {"rate": [1]}}, "unknown setting 'rate'"),
    ({"grid": {"lr": [1e-3, -1.0]}}, "lr must be positive; got -1"),
    ({"grid": {"options.depth": [1]}}, "no option depth"),
    ({"grid": {"preparation": ["blur"]}}, "unknown preparation 'blur'"),
    ({"seeds": []}, "seeds are one or more"),
    ({"seeds": [1, 1]}, "each once"),
    ({"seeds": [-1]}, "a seed is a whole number"),
    ({"seed": 3}, "give them as seeds"),
    ({"depth": 3}, "no option depth"),
    ({"num_particles": 0}, "num_particles must be at least 1"),
    ({"limit": 0}, "limit must be at least 1"),
    ({"threads": 0}, "threads must be at least 1"),
    ({"quantity": "beauty"}, "unknown quantity 'beauty'"),
]


@pytest.mark.parametrize(("options", "says"), MISTAKES, ids=str)
def test_a_mistake_is_refused_before_anything_is_trained(options, says, few, tmp_path):
    with pytest.raises(UsageError, match=says) as caught:
        run(few, tmp_path / "out", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_data_without_validation_choose_nothing(few, tmp_path):
    splits = {name: few.splits[name] for name in ("train", "test")}
    with pytest.raises(UsageError, match="chosen by validation data"):
        run(replace(few, splits=splits), tmp_path / "out")


def test_a_folder_of_other_things_is_not_taken(few, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="is no sweep"):
        run(few, tmp_path)
    run(few, tmp_path / "out", grid={"lr": [1e-2]})
    (tmp_path / "out" / "lr=0.001" / "seed=0").mkdir(parents=True)
    with pytest.raises(UsageError, match="no sweep began it"):
        run(few, tmp_path / "out")
    (tmp_path / "out" / "lr=0.01" / "seed=0.json").write_text("{")
    with pytest.raises(UsageError, match=r"seed=0.json is damaged"):
        run(few, tmp_path / "out", grid={"lr": [1e-2]})


def test_preparations_in_a_grid_have_no_best(few, tmp_path):
    grid = {"preparation": ["grey", "threshold"]}
    found = run(few.with_preparation("threshold"), tmp_path / "out", grid=grid, seeds=[0])
    assert [row.scores[0].preparation for row in found.rows] == ["grey", "threshold"]
    with pytest.raises(UsageError, match="preparation: threshold, not grey"):
        _ = found.best


def test_seeds_alone_make_a_sweep_too(few, tmp_path):
    found = run(few, tmp_path / "out", grid={}, seeds=[0, 1, 2])
    assert len(found.rows) == 1
    assert found.rows[0].standard_error > 0
    assert (tmp_path / "out" / "as-given" / "seed=2").is_dir()


def test_data_given_by_name_are_prepared_as_suits(tmp_path):
    options = {"options": {"num_components": 2}, "grid": {}, "seeds": [0], "batch_size": 500}
    found = sweep("gmm", "digits", out=tmp_path / "out", **options, **QUICK)
    assert found.best.scores[0].preparation == "dequantised (seed 0)"
    assert found.best.scores[0].num_data == len(load_data("digits").split("validation"))


def test_two_threads_of_one_process_do_not_disturb_each_other(few, tmp_path, monkeypatch):
    alone = run(few, tmp_path / "alone", epochs=2)
    inside, most = [], []
    trains = running._train_and_evaluate

    def counted(*arguments):
        inside.append(threading.get_ident())
        most.append(len(inside))
        try:
            return trains(*arguments)
        finally:
            inside.pop()

    monkeypatch.setattr(running, "_train_and_evaluate", counted)
    with joblib.parallel_config(backend="threading", n_jobs=3):
        together = run(few, tmp_path / "together", epochs=2)
    assert max(most) == 1
    assert [row.values for row in together.rows] == [row.values for row in alone.rows]
    assert weights(tmp_path / "together") == weights(tmp_path / "alone")


def test_threads_are_shared_recorded_kept_and_put_back(few, tmp_path, monkeypatch):
    used = []
    monkeypatch.setattr(
        running,
        "fit",
        lambda *a, **k: used.append(torch.get_num_threads()) or fit(*a, **k),
    )
    before = torch.get_num_threads()
    run(few, tmp_path / "out", grid={}, seeds=[0], threads=before + 1)
    assert used == [before + 1]
    assert torch.get_num_threads() == before
    found = run(few, tmp_path / "out", grid={}, seeds=[0], num_particles=3)  # evaluated anew
    assert used == [before + 1] * 2
    assert found.rows[0].outcomes[0].threads == before + 1
    with joblib.parallel_config(backend="threading", n_jobs=2):
        found = run(few, tmp_path / "shared", grid={}, seeds=[0])
    assert found.rows[0].outcomes[0].threads == max(1, before // 2)


def test_workers_that_die_cost_one_line_and_nothing_that_was_finished(few, tmp_path, monkeypatch):
    first = []

    def dies(trials, *quantities):
        if first:
            raise BrokenProcessPool("a worker was\nkilled")
        first.append(trials)
        return running.run_setting(trials[:1], *quantities)

    monkeypatch.setattr(import_module("inference.selection.combinations"), "run_setting", dies)
    with pytest.raises(UsageError, match="BrokenProcessPool: a worker was killed") as caught:
        run(few, tmp_path / "out")
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    again = run(few, tmp_path / "out")
    assert [o.repeated for row in again.rows for o in row.outcomes] == [True, False, False, False]


@pytest.mark.slow
def test_processes_of_their_own_train_the_same_weights(few, tmp_path):
    alone = run(few, tmp_path / "alone")
    together = run(few, tmp_path / "together", jobs=2, threads=1)
    assert [row.values for row in together.rows] == [row.values for row in alone.rows]
    assert weights(tmp_path / "together") == weights(tmp_path / "alone")


def test_a_second_sweep_in_the_folder_is_refused_and_the_first_is_not_harmed(
    few, tmp_path, monkeypatch
):
    refused, judge = [], running.evaluate

    def second():
        with pytest.raises(UsageError, match=r"another sweep is at work in .*out") as refusal:
            run(few, tmp_path / "out")
        refused.append(str(refusal.value))

    def while_it_runs(*arguments, **options):
        thread = threading.Thread(target=second)  # as good as a process: the lock is the system's
        thread.start()
        thread.join()
        return judge(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(running, "evaluate", while_it_runs)
        found = run(few, tmp_path / "out")
    assert not any(o.failure for row in found.rows for o in row.outcomes)
    assert len(refused) == 4
    assert not any("\n" in each for each in refused)
    alone = run(few, tmp_path / "alone")
    assert weights(tmp_path / "out") == weights(tmp_path / "alone")
    assert [row.scores for row in found.rows] == [row.scores for row in alone.rows]


def test_a_run_that_a_worker_of_a_dead_sweep_is_at_is_waited_for(few, tmp_path, trained):
    first = run(few, tmp_path / "out", grid={"lr": [1e-3]}, seeds=[0])
    folder = first.rows[0].outcomes[0].folder
    held, free = threading.Event(), threading.Event()

    def worker():
        with holding(folder.with_name(".seed=0.lock")):
            held.set()
            free.wait(60)

    thread = threading.Thread(target=worker)
    thread.start()
    held.wait(60)
    threading.Timer(0.2, free.set).start()
    again = run(few, tmp_path / "out", grid={"lr": [1e-3]}, seeds=[0])
    thread.join()
    assert again.rows[0].outcomes[0].repeated
    assert len(trained) == 1


def test_shards_train_each_run_once_and_the_last_table_is_that_of_a_whole_sweep(
    few, tmp_path, trained
):
    whole = run(few, tmp_path / "whole")
    folders = trained[:]
    trained.clear()
    out = tmp_path / "parts"
    first = run(few, out, shard="1/3")
    assert trained == [folders[0], folders[3]]
    assert first.pending == 2
    assert [len(row.scores) for row in first.rows] == [1, 1]
    assert "Runs of other shards that are not there yet: 2." in first.to_text()
    with pytest.raises(UsageError, match="a seed that is not there yet, so none of them is best"):
        first.best  # noqa: B018
    run(few, out, shard="3/3")
    last = run(few, out, shard="2/3")
    assert sorted(trained) == sorted(folders)
    assert last.pending == 0
    assert last.best.setting == whole.best.setting
    assert [row.values for row in last.rows] == [row.values for row in whole.rows]
    assert weights(out) == weights(tmp_path / "whole")
    runs = [(path / "runs.csv").read_text().splitlines() for path in (out, tmp_path / "whole")]
    assert [len(lines) for lines in runs] == [5, 5]


def test_another_shard_may_be_at_work_and_the_same_may_not(few, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / ".pyro-models-lock-1-of-2"):
        run(few, out, shard="2/2")
        with pytest.raises(UsageError, match="shard 1/2 is at work in"):
            run(few, out, shard="1/2")


def test_more_shards_than_runs_leave_one_without(few, tmp_path):
    found = run(few, tmp_path / "out", shard="5/5")
    assert found.pending == 4
    assert "no run of this sweep is there yet" in found.to_text()


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2"])
def test_a_shard_is_one_of_some(shard, few, tmp_path):
    with pytest.raises(UsageError, match="a shard is 1/4 to 4/4, say; got"):
        run(few, tmp_path / "out", shard=shard)


def test_each_worker_takes_a_device_in_turn(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = {}
    for name in ("LokyProcess-1", "LokyProcess-2", "LokyProcess-3", "MainProcess"):
        monkeypatch.setattr(multiprocessing.current_process(), "_name", name)
        found[name] = [str(running._device_of_worker(d)) for d in ("cuda", "cuda:1", "cpu", None)]
    assert [of[0] for of in found.values()] == ["cuda:0", "cuda:1", "cuda:0", "cuda"]
    assert all(of[1:] == ["cuda:1", "cpu", "None"] for of in found.values())
