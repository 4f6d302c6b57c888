"""Start of the ``pyro-models`` and ``gp-bo`` commands.

The commands themselves live in ``inference.cli`` and ``gp_bo.cli``. They are reached from here, by
name and after the check, because another distribution may have put its own ``inference`` in that
place; and the list of what they can do is told without them, in no time. What stands above it,
``gp_bo``, adds its part to the report from here too: ``inference`` knows nothing of it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from pyro_models.errors import UsageError
from pyro_models.installation import check_inference_package, versions
from pyro_models.overview import asks_for_overview, commands_in, exported, overview

__all__ = ["gp_bo", "main"]

_HOME = Path(__file__).parent.parent


def main() -> int:
    """Check the installation, then run ``pyro-models``; returns its exit code."""
    folder = _HOME / "inference"
    demo = commands_in([folder / "report" / "demonstration.py"], among=["demo"])
    commands = [*commands_in(sorted((folder / "commands").glob("*.py"))), *demo]
    about = "Learn and judge density models: Pyro model/guide pairs."
    return _run("pyro-models", "inference.cli", about, commands, parts=[_functions])


def gp_bo() -> int:
    """Check the installation, then run ``gp-bo``; returns its exit code."""
    folder = _HOME / "gp_bo"
    files = [
        folder / "commands" / f"{name}.py" for name in ("regression", "search", "show", "shell")
    ]
    names = [*exported(folder / "commands" / "__init__.py"), "exam"]
    commands = commands_in([*files, folder / "examination" / "command.py"], among=names)
    about = "Gaussian processes, and Bayesian optimisation with them."
    return _run("gp-bo", "gp_bo.cli", about, [*commands])


def _run(
    program: str, module: str, about: str, commands: list[tuple[str, str]], **given: Any
) -> int:
    try:
        check_inference_package()
    except UsageError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return 2
    if sys.argv[1:] == ["--version"]:
        print(versions(program))
        return 0
    if commands and asks_for_overview(sys.argv[1:]):
        print(overview(program, about, commands), end="")
        return 0
    return import_module(module).main(**given)


def _functions(*, seed: int) -> Any:
    """The part on Gaussian processes, imported when it is made."""
    return import_module("gp_bo.examination.section").exam_section(seed=seed)


if __name__ == "__main__":
    sys.exit(main())
