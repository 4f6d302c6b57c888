"""Setting up: which Python an environment is made of, and which ones CI tries."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ["awk", "bash", "cut", "dirname", "env", "grep"]
TOOLS += ["mktemp", "rm", "sed", "sh", "sort", "tail"]

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in (*TOOLS, "make")), reason="needs make and bash"
)


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def python(path: Path, says: str | None) -> Path:
    """An interpreter that says what it is asked for, or one that does not run."""
    return script(path, "exit 1" if says is None else f'echo "{says}"')


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command on a machine that has no Python but those put into its folders."""
    for tool in TOOLS:
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    path = f"{tmp_path / 'bin'}:{tmp_path / 'more'}"

    def run(*command: object) -> subprocess.CompletedProcess[str]:
        variables = {"PATH": path, "PYENV_ROOT": str(tmp_path / "pyenv")}
        arguments = list(map(str, command))
        return subprocess.run(
            arguments, env=variables, cwd=ROOT, capture_output=True, text=True, check=False
        )

    return run


def put_pythons(folder: Path) -> None:
    python(folder / "bin/python3", "3.12.1 /usr/bin/python3.12")
    python(folder / "bin/python3.9", None)  # too old: says nothing
    python(folder / "more/python3.12", "3.12.4 /more/python3.12")
    python(folder / "more/python3.13", None)  # a shim of a version that is not set
    python(folder / "more/python3.13-config", "3.13.0 /no/python")
    python(folder / "pyenv/versions/3.15.0a1/bin/python", "3.15.0a1 /pyenv/3.15")
    python(folder / "pyenv/versions/3.13.0/bin/python", "3.13.0 /pyenv/3.13")


def test_the_newest_of_each_minor_version_is_found_in_order(machine, tmp_path: Path) -> None:
    put_pythons(tmp_path)
    assert machine(ROOT / ".ci/pythons").stdout.splitlines() == [
        "3.12.4 /more/python3.12",
        "3.13.0 /pyenv/3.13",
        "3.15.0a1 /pyenv/3.15",
    ]


def test_ci_tries_the_oldest_and_the_newest_that_can_be_installed(machine, tmp_path: Path) -> None:
    put_pythons(tmp_path)
    script(
        tmp_path / "bin/make",
        f'echo "$@" >> {tmp_path}/calls\n'
        'case "$*" in\n'
        '  *setup*3.15*) echo "ERROR: No matching distribution found for torch" >&2; exit 1 ;;\n'
        "esac",
    )
    done = machine(ROOT / ".ci/run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "calls").read_text().splitlines() == [
        "--no-print-directory test PYTHON=/more/python3.12 VENV=.venv-3.12",
        "--no-print-directory docs PYTHON=/more/python3.12 VENV=.venv-3.12",
        "--no-print-directory dist PYTHON=/more/python3.12 VENV=.venv-3.12",
        "--no-print-directory setup PYTHON=/pyenv/3.15 VENV=.venv-3.15",
        "--no-print-directory setup PYTHON=/pyenv/3.13 VENV=.venv-3.13",
        "--no-print-directory suite PYTHON=/pyenv/3.13 VENV=.venv-3.13",
    ]
    assert done.stdout.splitlines() == [
        "CI: found Python 3.12.4 3.13.0 3.15.0a1",
        "CI: the oldest, Python 3.12.4 /more/python3.12: linter, type checker and tests",
        "CI: the documentation",
        "CI: the wheel and the sdist",
        "CI: Python 3.15.0a1 /pyenv/3.15 is left out, for the dependencies cannot be installed: "
        "ERROR: No matching distribution found for torch",
        "CI: the newest, Python 3.13.0 /pyenv/3.13: tests",
    ]


@pytest.mark.parametrize("fails", ["test", "dist", "suite"])
def test_ci_fails_if_either_python_does(machine, tmp_path: Path, fails: str) -> None:
    put_pythons(tmp_path)
    script(tmp_path / "bin/make", f'[ "$2" != {fails} ]')
    assert machine(ROOT / ".ci/run").returncode != 0


def test_ci_passes_where_there_is_one_python(machine, tmp_path: Path) -> None:
    python(tmp_path / "bin/python3", "3.12.1 /usr/bin/python3.12")
    script(tmp_path / "bin/make", "exit 0")
    done = machine(ROOT / ".ci/run")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "CI: no other Python than 3.12.1 can be tried here"


def test_ci_fails_where_there_is_no_python(machine) -> None:
    done = machine(ROOT / ".ci/run")
    assert done.returncode == 1
    assert "no supported Python" in done.stderr


OLD, NEW = "3.11.7 in /old", "3.13.0 in /new"


@pytest.mark.parametrize(
    ("environment", "asked", "made"),
    [
        (None, None, "venv {env}"),
        (None, NEW, "venv {env}"),
        (OLD, None, ""),
        (OLD, OLD, ""),
        (OLD, NEW, "venv --clear {env}"),
        ("", None, "venv --clear {env}"),
    ],
    ids=["nothing", "asked first", "there", "the same", "another", "no longer runs"],
)
def test_make_takes_the_python_that_is_asked_for(
    tmp_path: Path, environment: str | None, asked: str | None, made: str
) -> None:
    env, interpreter = tmp_path / "env", python(tmp_path / "python", asked or "")
    if environment is not None:
        python(env / "bin/python", environment or None)
        (env / "pyvenv.cfg").touch()
        (env / ".installed").touch()
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHON", "VENV", "MAKEFLAGS")}
    chosen = [] if asked is None else [f"PYTHON={interpreter}"]
    done = subprocess.run(
        ["make", "-n", "setup", f"VENV={env}", *chosen],
        env=variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stdout.splitlines() if " -m venv " in line]
    assert [line.partition(" -m ")[2] for line in lines] == [made.format(env=env)] * bool(made)
    if made.startswith("venv --clear") and environment:
        assert f"it was of Python {environment}" in done.stdout
    assert ("pip install" in done.stdout) == bool(made)
