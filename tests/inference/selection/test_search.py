"""Searches: settings that are chosen by what was tried, gone on with, and shared by workers."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from inference import sweep
from inference.learning import Run
from inference.selection import adaptive
from inference.selection.grid import folder_names
from inference.selection.search import SEARCHES, Tried, make_search
from inference.selection.space import Choice, Number, Whole, check_space
from pyro_models import UsageError
from pyro_models.files import LOCK, holding

SPACE = {"lr": (1e-3, 1e-1, "log"), "options.latent_dim": (1, 4), "options.hidden": [[4], [6]]}
QUICK = {"epochs": 1, "curve_size": 0, "num_particles": 2, "progress": False, "trials": 6}


def searched(few, out, **options):
    return sweep("vae", few, out=out, **{"space": SPACE, "seeds": [0], **QUICK, **options})


def numbers(found):
    return [(dict(row.setting), row.values) for row in found.rows]


def test_ranges_are_read_as_people_write_them():
    given = {
        "lr": [1, 2],
        "batch_size": {"choices": [64, 128]},
        "optimizer_options.weight_decay": [1e-6, 1e-2, "log"],
        "options": {"latent_dim": [2, 32, "log"], "activation": ["relu", "tanh"]},
        "options.likelihood_options.floor": {"low": 0, "high": 1, "kind": "number"},
    }
    assert check_space(given) == {
        "lr": Number(1, 2),  # a learning rate is no whole number
        "batch_size": Choice((64, 128)),
        "optimizer_options.weight_decay": Number(1e-6, 1e-2, log=True),
        "options.latent_dim": Whole(2, 32, log=True),
        "options.activation": Choice(("relu", "tanh")),
        "options.likelihood_options.floor": Number(0, 1),
    }


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({}, "a space has a range for each setting"),
        ({"rate": [1, 2]}, "unknown setting 'rate' in the space"),
        ({"seed": [1, 2]}, "seeds are given apart"),
        ({"lr": 3}, "lr: a range is written"),
        ({"lr": [2.0, 1.0]}, "lr: a range is a lower and a higher"),
        ({"lr": [0, 1, "log"]}, "lr: a logarithmic range begins above 0"),
        ({"epochs": [1.5, 2.5]}, "epochs in the space is int; got 1.5"),
        ({"options.a": ["relu"]}, "choices are two or more different"),
        ({"options.a": {"low": 1}}, "a range has low and high"),
        ({"options.a": {"low": 1.5, "high": 3, "kind": "integer"}}, "whole ends"),
    ],
    ids=str,
)
def test_what_is_no_range_is_one_line(space, says):
    with pytest.raises(UsageError, match=says):
        check_space(space)


@pytest.mark.parametrize("search", ["random", "gp_bo"])
def test_a_search_of_the_same_seed_is_the_same_and_lies_in_its_ranges(search, few, tmp_path):
    found = searched(few, tmp_path / "a", search=search, trials=4)
    again = searched(few, tmp_path / "b", search=search, trials=4)
    other = searched(few, tmp_path / "c", search=search, search_seed=1, trials=2)
    assert numbers(found) == numbers(again)
    assert len(found.rows) == 4
    assert numbers(other) != numbers(found)[:2]
    for row in found.rows:
        assert 1e-3 <= row.setting["lr"] <= 1e-1
        assert row.setting["options.latent_dim"] in range(1, 5)
        assert row.setting["options.hidden"] in ([4], [6])
        run = Run(row.outcomes[0].folder).describe()
        assert run["settings"]["lr"] == row.setting["lr"]
        assert run["config"]["hidden"] == row.setting["options.hidden"]
    text = found.to_text()
    assert f"Search: {search}, 4 settings, 4 epochs" in text
    assert found.best.mean == max(row.mean for row in found.rows)


def test_a_search_goes_on_where_it_was_killed(few, tmp_path, monkeypatch):
    how = {"search": "gp_bo", "search_options": {"initial": 3}, "epochs": 2}
    whole = searched(few, tmp_path / "whole", **how)
    written, calls = Run.save_checkpoint, []

    def dies(self, state):
        calls.append(self.folder)
        if len(calls) == 3 * 5 + 2:  # in the sixth setting, which the model has proposed
            raise KeyboardInterrupt
        written(self, state)

    monkeypatch.setattr(Run, "save_checkpoint", dies)
    with pytest.raises(KeyboardInterrupt):
        searched(few, tmp_path / "parts", **how)
    monkeypatch.undo()
    assert len(json.loads((tmp_path / "parts" / "search.json").read_text())["settings"]) == 6
    parts = searched(few, tmp_path / "parts", **how)
    assert numbers(parts) == numbers(whole)
    more = searched(few, tmp_path / "parts", **how, trials=7)
    assert numbers(more)[:6] == numbers(whole)
    assert len(more.rows) == 7


def test_a_search_learns_from_what_it_has_tried(few, tmp_path):
    """A search of one's own, that goes uphill: it sees values, failures and ranges."""
    seen = []

    def uphill(space, tried, *, seed, maximize):
        seen.append([each.value for each in tried])
        return {"lr": space["lr"].low * (2 + len(tried))}

    found = searched(few, tmp_path, search=uphill, space={"lr": (1e-3, 1e-1)}, trials=3)
    assert [row.setting["lr"] for row in found.rows] == [2e-3, 3e-3, 4e-3]
    assert seen == [[], *([row.mean for row in found.rows[:n]] for n in (1, 2))]
    assert found.search == "uphill"


def test_what_fails_counts_as_bad_and_is_tried_again_first(few, tmp_path, monkeypatch):
    how = {"search": "gp_bo", "space": {"lr": (1e-3, 1e-2)}, "trials": 3}
    evaluate = "inference.selection.trial.evaluate"

    def stumbles(*given, **options):
        raise RuntimeError("the machine has stumbled")

    with monkeypatch.context() as patched:
        patched.setattr(evaluate, stumbles)
        with pytest.raises(UsageError, match=r"fewer than two|no run of this sweep"):
            _ = searched(few, tmp_path, **how).best
    assert searched(few, tmp_path, **how).best.is_whole


def test_a_finite_space_is_searched_once(few, tmp_path):
    space = {"options.latent_dim": (1, 3)}
    for search in ("random", "gp_bo"):
        found = searched(few, tmp_path / search, search=search, space=space, trials=9)
        tried = sorted(row.setting["options.latent_dim"] for row in found.rows)
        assert tried == [1, 2, 3]


def test_a_setting_that_another_trains_is_left_to_it(few, tmp_path):
    """What was proposed and is held is not begun again; the next is proposed."""
    searched(few, tmp_path, search="random", trials=1)
    [first] = json.loads((tmp_path / "search.json").read_text())["settings"]
    for path in tmp_path.glob("lr=*/seed=0.json"):
        path.unlink()  # as if it had just been begun
        Run(path.with_suffix("")).clear()
        path.with_suffix("").rmdir()

    held, free = threading.Event(), threading.Event()

    def another():
        with holding(tmp_path / f"{LOCK}-{folder_names([first])[0]}"):
            held.set()
            free.wait(60)

    thread = threading.Thread(target=another)
    thread.start()
    try:
        assert held.wait(60)
        found = searched(few, tmp_path, search="random", trials=2)
    finally:
        free.set()
        thread.join()
    assert [row.pending for row in found.rows] == [1, 0]
    assert "Runs that others are training: 1." in found.to_text()
    assert searched(few, tmp_path, search="random", trials=2).pending == 0


MISTAKES = [
    ({"search": "grid"}, "a space is for a search"),
    ({"search": "random", "space": None}, "a search needs a space"),
    ({"search": "random", "grid": {"lr": [1e-3]}}, "a grid is of the search grid"),
    ({"search": "best"}, "unknown search 'best': choose from random, gp_bo, or grid"),
    ({"search": "random", "trials": 0}, "trials must be at least 1"),
    ({"search": "random", "search_seed": -1}, "a seed is a whole number"),
    ({"search": "random", "search_options": {"beta": 1}}, "the search random has no option beta"),
    (
        {"search": "gp_bo", "search_options": {"acquisition": "luck"}},
        "acquisition is one of log_ei",
    ),
    ({"search": "random", "shard": "1/2"}, "shard and at_once are of a grid"),
    ({"search": "random", "space": {"lr": (-1.0, 1.0)}}, "lr must be positive"),
    ({"search": "random", "space": {"options.depth": (1, 2)}}, "no option depth"),
    ({"search": 3}, "a search is a name, a class or a function"),
]


@pytest.mark.parametrize(("options", "says"), MISTAKES, ids=str)
def test_a_mistake_is_refused_before_anything_is_trained(options, says, few, tmp_path):
    with pytest.raises(UsageError, match=says) as caught:
        searched(few, tmp_path / "out", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_another_search_in_the_folder_is_refused(few, tmp_path):
    searched(few, tmp_path, search="random", trials=1)
    for change in ({"search": "gp_bo"}, {"search_seed": 1}, {"space": {"lr": (1e-3, 1.0)}}):
        with pytest.raises(UsageError, match="holds another search: it was begun with"):
            searched(few, tmp_path, **{"search": "random", "trials": 1, **change})


def test_scores_that_may_not_be_compared_are_not_learned_from(few, tmp_path):
    space = {"preparation": ["grey", "threshold"], "lr": (1e-3, 1e-2)}
    with pytest.raises(UsageError, match="may not be compared"):
        searched(few, tmp_path, search="gp_bo", space=space)


def test_a_search_is_named_registered_or_written_with_its_options():
    written = {"class_path": "gp_bo", "init_args": {"inference": "laplace"}}
    assert make_search(written).inference == "laplace"
    assert list(SEARCHES) == ["random", "gp_bo"]
    space = check_space({"lr": [0.1, 1.0]})
    proposed = make_search("random")(space, [Tried({"lr": 0.5}, 1.0)], seed=0, maximize=True)
    assert 0.1 <= proposed["lr"] <= 1.0


SCRIPT = """
from inference import sweep
sweep("vae", "digits", search="gp_bo", space={{"lr": (1e-3, 1e-1, "log")}}, trials=8, seeds=[0],
      search_options={{"initial": 3}}, epochs=3, curve_size=0, num_particles=2, progress=False,
      threads=1, jobs={jobs}, out={out!r},
      options={{"hidden": [8], "latent_dim": 2}})
"""


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_search_that_is_killed_goes_on_with_the_same_numbers(jobs, tmp_path):
    def run(out, *, kill=False):
        script = SCRIPT.format(jobs=jobs, out=str(tmp_path / out))
        process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
        while kill and process.poll() is None:
            if len(list((tmp_path / out).glob("lr=*"))) >= 6:
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.01)
        assert process.wait(300) == (-signal.SIGKILL if kill else 0)
        path = Path(tmp_path, out, "runs.csv")
        lines = [] if kill else path.read_text().splitlines()
        return [line.split(",")[0] for line in lines]

    whole = run("whole")
    run("parts", kill=True)
    parts = run("parts")
    assert len(parts) == len(whole) == 9
    assert jobs > 1 or parts == whole


def test_every_worker_takes_a_setting_of_its_own(few, tmp_path):
    found = searched(few, tmp_path, search="random", jobs=2, trials=4, threads=1)
    assert found.pending == 0
    assert len(found.rows) == 4
    alone = searched(few, tmp_path / "alone", search="random", trials=4, threads=1)
    assert numbers(found) == numbers(alone)  # random settings do not depend on what has ended
    assert adaptive.FORMAT in (tmp_path / "search.json").read_text()
