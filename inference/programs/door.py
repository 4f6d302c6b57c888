"""The door of ``infer`` for what is no pair."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
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


def or_program(function: F) -> F:
    """Let a function of a pair take any Pyro model with its arguments in the place of it."""

    @wraps(function)
    def door(*args: Any, **options: Any) -> Any:
        if args and is_program(args[0]):
            from inference.programs.infer import infer_program  # which is made of what infers

            return infer_program(*args, **options)
        return function(*args, **options)

    return door  # type: ignore[return-value]
