"""Subcommands of ``gp-bo``: one function each, its parameters are the command's options."""

from gp_bo.commands.regression import fit, plot, predict
from gp_bo.commands.search import ask, forget, minimize, tell

__all__ = ["ask", "fit", "forget", "minimize", "plot", "predict", "tell"]
