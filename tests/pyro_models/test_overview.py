"""The overview of a program is told without torch, and names what the program has."""

import re
import subprocess
import sys
from importlib import import_module

import pytest

PROGRAMS = {"pyro-models": ("main", "inference.cli"), "gp-bo": ("gp_bo", "gp_bo.cli")}


def listed(text):
    """Each command with its whole summary, however its lines are broken."""
    rows = re.findall(r"^    ([\w-]+) +(\S.*(?:\n {10,}\S.*)*)", text, re.M)
    return {name: " ".join(summary.split()) for name, summary in rows}


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_lists_the_commands_and_imports_none_of_them(program):
    starts, module = PROGRAMS[program]
    script = (
        f"import sys; from pyro_models.console import {starts} as main; sys.argv[1:] = ['--help']; "
        "code = main(); sys.exit(code or ('torch' in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    program_of = import_module(module)
    expected = {
        name: " ".join((command.__doc__ or "").split("\n", maxsplit=1)[0].split())
        for name, command in program_of.COMMANDS.items()
    }
    assert listed(done.stdout) == expected
    assert "{" not in done.stdout  # what is filled in from a registry stands further below


def test_names_of_the_package_are_imported_when_they_are_asked_for():
    script = (
        "import sys, pyro_models; before = 'torch' in sys.modules; "
        "pyro_models.models.PAIRS; pyro_models.VAE; "
        "sys.exit(before or 'VAE' not in dir(pyro_models))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    with pytest.raises(AttributeError, match="has no attribute 'evidence'"):
        _ = import_module("pyro_models").evidence
