"""Programs: any Pyro model with its arguments, inferred by the engine that pairs have."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inference.programs.pair import ProgramPair
    from inference.programs.posterior import ProgramPosterior
    from inference.programs.program import Program

__all__ = ["Program", "ProgramPair", "ProgramPosterior"]

_WHERE = {"Program": "program", "ProgramPair": "pair", "ProgramPosterior": "posterior"}


def __getattr__(name: str) -> Any:
    """What is asked for, when it is: posteriors are made of what opens the door to programs."""
    if name in _WHERE:
        return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
