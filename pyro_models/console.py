"""Start of the ``pyro-models`` command.

The command itself lives in ``inference.cli``. It is reached from here, by name and after the check,
because another distribution may have put its own ``inference`` in that place. What stands above it,
``gp_bo``, adds its part to the report from here too: ``inference`` knows nothing of it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from pyro_models.errors import UsageError
from pyro_models.installation import check_inference_package

__all__ = ["main"]


def main() -> int:
    """Check the installation, then run the command line; returns its exit code."""
    try:
        check_inference_package()
    except UsageError as error:
        print(f"pyro-models: error: {error}", file=sys.stderr)
        return 2
    return import_module("inference.cli").main(parts=[_functions])


def _functions(*, seed: int) -> Any:
    """The part on Gaussian processes, imported when it is made."""
    return import_module("gp_bo.examination.section").exam_section(seed=seed)


if __name__ == "__main__":
    sys.exit(main())
