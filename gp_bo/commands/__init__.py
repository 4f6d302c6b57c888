"""Subcommands of ``gp-bo``: one function each, its parameters are the command's options."""

from collections.abc import Callable

from gp_bo.commands.regression import fit, plot, predict
from gp_bo.commands.search import ask, forget, minimize, tell
from gp_bo.commands.shell import completion
from gp_bo.commands.show import show

__all__ = [
    "COMMANDS",
    "ask",
    "completion",
    "fit",
    "forget",
    "minimize",
    "plot",
    "predict",
    "show",
    "tell",
]

COMMANDS: dict[str, Callable[..., None]] = {
    each.__name__: each
    for each in (fit, predict, plot, minimize, ask, tell, show, forget, completion)
}
