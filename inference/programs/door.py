"""The door of a function of pairs for what is no pair."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any, TypeVar

from inference.programs.program import Program
from pyro_models.contract import fulfills
from pyro_models.pair import Pair

__all__ = ["is_program", "or_program"]

F = TypeVar("F", bound=Callable[..., Any])


def is_program(thing: object) -> bool:
    """Whether a thing is a program, or a Pyro model that is no pair, nor meant as one."""
    if isinstance(thing, Program):
        return True
    if isinstance(thing, type) or not callable(thing) or fulfills(thing, Pair):
        return False
    return not any(hasattr(thing, name) for name in ("guide", "pair", "latent_sites"))


def or_program(of_programs: str) -> Callable[[F], F]:
    """Let a function of a pair take any Pyro model with its arguments in the place of it.

    ``of_programs`` is the function that then answers, as ``"module:name"``: it is made of what it
    stands beside, and so imported when it is first needed.
    """
    module, _, name = of_programs.partition(":")

    def opened(function: F) -> F:
        @wraps(function)
        def door(*args: Any, **options: Any) -> Any:
            if args and is_program(args[0]):
                return getattr(import_module(module), name)(*args, **options)
            return function(*args, **options)

        return door  # type: ignore[return-value]

    return opened
