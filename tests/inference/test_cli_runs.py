"""``pyro-models runs`` and ``completion``: what lies in a folder, and what the Tab key knows."""

import csv
import io
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from inference import Experiment, Settings
from inference.learning import Run
from inference.report.runs import list_runs
from pyro_models import UsageError
from pyro_models.files import LOCK, holding
from pyro_models.presets import preset_names

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def trained(monkeypatch):
    """Two runs that were finished, and one that was interrupted after one of three epochs."""
    small = Experiment("ppca", "digits", Settings(epochs=2, lr=1e-2, curve_size=50))
    small.run(out="runs/first", progress=False)
    small.replace(**{"options.latent_dim": 3}).run(out="runs/deeper/second", progress=False)

    def dies(state):
        if state.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small.replace(epochs=3, lr=1e-3).run(out="runs/third", callbacks=[dies], progress=False)


def test_runs_are_listed_with_how_far_they_are_and_what_differs(trained, call, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert call("runs") == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split("  ")[0]: line for line in lines[1:4]}
    assert set(rows) == {"deeper/second", "first", "third"}
    assert "2 of 2" in rows["first"]
    assert "finished" in rows["first"]
    assert "1 of 3" in rows["third"]
    assert "interrupted" in rows["third"]
    assert "latent_dim = 3" in rows["deeper/second"]
    assert "lr = 0.001" in rows["third"]
    assert "Bounds are in nats per datum" in "\n".join(lines)


def test_what_differs_stands_below_where_a_line_has_no_room_for_it(trained):
    """It was a column of hundreds of characters, broken anywhere by the terminal."""
    found = list_runs("runs")
    first, *others = found.runs
    long = replace(first, settings={**first.settings, "hidden": [*range(20)]})
    text = replace(found, runs=(long, *others)).to_text(80)
    assert "What differs between runs" not in found.to_text(80)
    assert "What differs between runs" in text
    assert max(map(len, text.splitlines())) <= 80
    assert f"{long.name}: latent_dim = 3, lr = 0.01, hidden = [0, 1," in text


def test_runs_are_sorted_and_told_to_other_programs(trained, call, capsys):
    assert call("runs", "runs", "--sort", "bound", "--csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    bounds = [float(row["bound"]) for row in rows]
    assert bounds == sorted(bounds, reverse=True)
    [first] = [row for row in rows if row["name"] == "first"]
    history = csv.DictReader(Path("runs/first/history.csv").read_text().splitlines())
    assert float(first["bound"]) == max(float(row["validation"]) for row in history)
    assert {row["name"]: row["epochs"] for row in rows}["third"] == "1"
    assert {row["lr"] for row in rows} == {"0.01", "0.001"}


def test_a_run_in_training_and_a_damaged_one_are_said(trained):
    with holding(Path("runs/third") / LOCK):
        import threading

        found = []
        other = threading.Thread(target=lambda: found.append(list_runs("runs")))
        other.start()
        other.join()
    assert {run.name: run.state for run in found[0].runs}["third"] == "training"
    Path("runs/first/run.json").write_text("{")
    again = list_runs("runs")
    assert len(again.runs) == 2
    assert "run.json is damaged" in again.to_text()


def test_a_folder_without_runs_is_one_line(refused):
    assert "there is no folder nowhere" in refused("runs", "nowhere")
    Path("empty").mkdir()
    assert "empty holds no run" in refused("runs", "empty")
    assert "unknown order 'best': choose from name" in refused("runs", "--sort", "best")
    with pytest.raises(UsageError, match="unknown order"):
        list_runs("empty", sort="age")
    assert not Run("empty").exists


COMPLETE = """
source ./{script}
COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); COMPREPLY=()
{function} "${{COMP_WORDS[0]}}" "${{COMP_WORDS[-1]}}" ""
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def test_bash_completes_commands_options_presets_and_models(call, capsys):
    pytest.importorskip("shtab", reason="needs pip install 'pyro-models[completion]'")
    assert call("completion", "bash") == 0
    Path("script").write_text(capsys.readouterr().out)

    def completed(words):
        given = {"script": "script", "words": words, "function": "_shtab_pyro_models"}
        command = ["bash", "-c", COMPLETE.format(**given)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    assert completed("pyro-models ru") == ["runs"]
    wanted = [name for name in preset_names() if name.startswith("copenhagen")]
    assert completed("pyro-models train --preset copen") == wanted
    assert completed("pyro-models train --model gm") == ["gmm"]
    assert completed("pyro-models sweep --search gp") == ["gp_bo"]
    assert "--patience" in completed("pyro-models train --pat")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_scripts_too(shell, call, capsys):
    pytest.importorskip("shtab", reason="needs pip install 'pyro-models[completion]'")
    assert call("completion", shell) == 0
    script = capsys.readouterr().out
    assert "copenhagen-dense" in script
    assert "preset" in script


def in_shell(shell, *arguments):
    """What a shell prints, without a user's own files, if it is installed."""
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    here = {**os.environ, "HOME": str(Path.cwd()), "ZDOTDIR": str(Path.cwd())}
    command = [shell, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=here)
    assert done.stderr == ""
    return done.stdout.split("\n")


def test_fish_completes_commands_options_and_names(call, capsys):
    pytest.importorskip("shtab", reason="needs pip install 'pyro-models[completion]'")
    assert call("completion", "fish") == 0
    Path("script").write_text(capsys.readouterr().out)

    def completed(words):
        lines = in_shell("fish", "-N", "-c", f'source ./script; complete -C "{words}"')
        return [line.split("\t")[0] for line in lines if line]

    assert completed("pyro-models ru") == ["runs"]
    assert completed("pyro-models train --seeds") == ["--seeds"]
    assert "gmm" in completed("pyro-models train --model ")


def test_zsh_takes_the_script_by_eval_whether_or_not_it_completes_yet(call, capsys):
    pytest.importorskip("shtab", reason="needs pip install 'pyro-models[completion]'")
    assert call("completion", "zsh") == 0
    Path("script").write_text(capsys.readouterr().out)
    for before in ("", "autoload -Uz compinit; compinit -u; "):
        then = 'eval "$(cat script)"; print -- $_comps[pyro-models]; whence -w _shtab_pyro_models'
        lines = in_shell("zsh", "-f", "-c", before + then)
        assert lines[:2] == ["_shtab_pyro_models", "_shtab_pyro_models: function"]


def test_another_shell_is_one_line(refused):
    assert "must be bash, zsh or fish; got tcsh" in refused("completion", "tcsh")
