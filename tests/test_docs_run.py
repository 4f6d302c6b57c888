"""Every block of code of the pages runs, or its options are read by the parser of its command.

Blocks of Python run in the order of their page, on small data: what a page takes as given is made
first, and what would take long is made short (``tests/pages_made.py``). Command lines run in bash,
with recorders in the place of the commands, and each is then read by the command's own parser. What
cannot run is named with the reason, which pytest prints (``-rs``).
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import gp_bo.cli
import inference.cli
from gp_bo.kernels import KERNELS
from gp_bo.optimize import ACQUISITIONS
from inference.objectives import OBJECTIVES
from tests.pages_made import LEFT_OUT, MADE, TESTED_ELSEWHERE

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path
    for path in (
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        ROOT / "notebooks/README.md",
    )
}
FENCE = re.compile(r"^(`{3,}|:{3,})(.*)$")
PROGRAMS = ("pyro-models", "gp-bo")
COMMANDS = (*PROGRAMS, "make", "pip", "python", "torchrun", "tensorboard", "jupytext", "for", ".")


def fences(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, language and text of every block of code."""
    lines = iter(enumerate(text.split("\n"), 1))
    for number, line in lines:
        mark = FENCE.match(line.strip())
        if mark is None or mark[1][0] == ":":
            continue
        block = []
        for _, inner in lines:
            if inner.strip() == mark[1]:
                break
            block.append(inner)
        yield number, mark[2].strip(), "\n".join(block)


def python_blocks(page: str) -> list[str]:
    return [
        code for _, language, code in fences(PAGES[page].read_text("utf-8")) if language == "python"
    ]


def shell_blocks() -> Iterator[Any]:
    for page, path in PAGES.items():
        for line, language, code in fences(path.read_text("utf-8")):
            words = code.split(maxsplit=1)
            if language in ("", "sh", "bash") and words and words[0] in COMMANDS:
                yield pytest.param(page, code, id=f"{page}:{line}")


WITH_PYTHON = [page for page in PAGES if python_blocks(page)]


def test_every_page_with_code_is_run_or_says_why_not() -> None:
    assert sorted(WITH_PYTHON) == sorted([*TESTED_ELSEWHERE, *LEFT_OUT, *MADE])


@pytest.mark.parametrize("page", LEFT_OUT)
def test_what_does_not_run_is_python_all_the_same(page: str) -> None:
    for code in python_blocks(page):
        compile(code, page, "exec")
    pytest.skip(f"{page}: {LEFT_OUT[page]}")


@pytest.fixture
def registries() -> Iterator[None]:
    """What a page registers is gone after it."""
    before = [(registry, dict(registry)) for registry in (OBJECTIVES, KERNELS, ACQUISITIONS)]
    yield
    for registry, names in before:
        registry.clear()
        registry.update(names)


@pytest.mark.usefixtures("registries", "elsewhere")
@pytest.mark.parametrize("page", MADE)
def test_the_blocks_of_a_page_run_in_their_order(page: str) -> None:
    made, text = MADE[page], "\n\0".join(python_blocks(page))
    for long, short in made.shorter.items():
        assert long in text, f"{page} does not say {long!r} any more"
        text = text.replace(long, short)
    names: dict[str, Any] = {"__name__": Path(page).stem}
    torch.manual_seed(0)
    for code in (made.given, *text.split("\0")):
        exec(compile(code, page, "exec"), names)


@pytest.fixture
def recorded(tmp_path: Path) -> Any:
    """Runs a block in bash, recorders in the place of commands: their arguments, call by call."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in {*COMMANDS} - {"for", "."}:
        file = folder / name
        each = f'for a in {name} "$@"; do printf "%s\\0" "$a"; done'
        file.write_text(f'#!/bin/sh\n{{ {each}; printf "\\n"; }} >>"$CALLS"\n')
        file.chmod(0o755)

    def record(block: str) -> list[list[str]]:
        calls = tmp_path / "calls"
        calls.touch()
        # what is sourced is a file of an environment
        script = re.sub(r"^\. .*$", "", block, flags=re.MULTILINE)
        subprocess.run(
            ["bash", "-eu", "-c", script],
            env={"PATH": f"{folder}:/usr/bin:/bin", "CALLS": str(calls)},
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
        lines = calls.read_text("utf-8").split("\0\n")
        return [line.split("\0") for line in lines if line]

    return record


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(("page", "block"), [*shell_blocks()])
def test_command_lines_have_the_options_that_they_name(
    page: str, block: str, recorded: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = recorded(block)
    assert calls
    for call in calls:
        if call[0] == "torchrun" and "inference.cli" in call:
            call[: call.index("inference.cli") + 1] = ["pyro-models"]
        program, *arguments = call
        if program in PROGRAMS:
            assert parsed(program, arguments) == 0, capsys.readouterr().err
        elif program == "python" and arguments[0].endswith(".py"):
            assert (ROOT / arguments[0]).is_file(), arguments


def test_an_option_that_a_command_has_not_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert parsed("pyro-models", ["evaluate", "runs/mine", "--num_particels", "100"]) == 2
    assert parsed("gp-bo", ["ask", "tea.json", "--space", "{heat: [20, 80]}", "--n", "few"]) == 2
    assert parsed("pyro-models", ["evaluate", "runs/mine", "--num_particles", "100"]) == 0


def parsed(program: str, arguments: list[str]) -> int:
    """Let the parser of a command read its options, and print what it read in place of running."""
    main = inference.cli.main if program == "pyro-models" else gp_bo.cli.main
    asks = any(a in ("--help", "--version") or a.startswith("--print_config") for a in arguments)
    try:
        return main([*arguments, *(() if asks else ("--print_config",))])
    except SystemExit as stop:
        return int(stop.code or 0)
