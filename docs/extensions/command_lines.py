"""The directive ``commands``: every command of a program, with the help that its parser prints."""

from __future__ import annotations

import os
from contextlib import redirect_stdout, suppress
from importlib import import_module
from io import StringIO
from typing import Any
from unittest.mock import patch

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

MODULES = {"pyro-models": "inference.cli", "gp-bo": "gp_bo.cli"}
WIDTH = 96


def help_of(program: str, command: str) -> str:
    """What ``PROGRAM COMMAND --help`` prints."""
    printed = StringIO()
    wide = patch.dict(os.environ, {"COLUMNS": str(WIDTH)})
    with wide, redirect_stdout(printed), suppress(SystemExit):
        import_module(MODULES[program]).main([command, "--help"])
    return printed.getvalue().strip()


class Commands(SphinxDirective):
    """A section for each command of the program that is its argument."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The sections."""
        program = self.arguments[0]
        found: list[nodes.Node] = []
        for command in import_module(MODULES[program]).COMMANDS:
            title = f"{program} {command}"
            section = nodes.section(ids=[nodes.make_id(title)], names=[title])
            section += nodes.title(text=title)
            text = help_of(program, command)
            section += nodes.literal_block(text, text, language="none")
            found.append(section)
        return found


def setup(app: Sphinx) -> dict[str, Any]:
    """Register it with Sphinx."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
