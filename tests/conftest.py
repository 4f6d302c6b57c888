"""What the tests of both packages share: one thread, the width of tables, how a command is called.

One thread, since their tensors are small, and threads that wait for each other spin. Each package's
conftest says which ``program`` is called: its name, and its ``main``.
"""

import os

import pytest
import torch

torch.set_num_threads(1)
os.environ.pop("COLUMNS", None)  # tables are as wide as where nobody looks, whoever runs the tests


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Relative paths lie in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")  # one for the whole session would keep the first program it met
def call(program):
    """Calls the command: the exit code, whichever way it comes."""
    _, main = program

    def call(*arguments):
        try:
            return main([str(a) for a in arguments])
        except SystemExit as stop:
            return stop.code

    return call


@pytest.fixture
def refused(call, program, capsys):
    """Calls the command, which must fail with code 2: the one line on stderr."""
    name, _ = program

    def refused(*arguments):
        capsys.readouterr()
        assert call(*arguments) == 2
        captured = capsys.readouterr()
        lines = captured.err.splitlines()
        assert len(lines) == 1, captured.err
        assert lines[0].startswith(f"{name}: error: ")
        return lines[0]

    return refused
