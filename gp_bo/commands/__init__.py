"""Subcommands of ``gp-bo``: one function each, its parameters are the command's options."""

from gp_bo.commands.examination import exam
from gp_bo.commands.regression import fit, plot, predict
from gp_bo.commands.search import ask, minimize, tell

__all__ = ["ask", "exam", "fit", "minimize", "plot", "predict", "tell"]
