"""What the subcommands of ``pyro-models`` do; options are named as in the Python interface."""

from inference.commands.completion import complete
from inference.commands.features import features
from inference.commands.guides import guides
from inference.commands.infer import infer
from inference.commands.judge import compare, diagnose, evaluate
from inference.commands.show import FIGURES, plot, sample
from inference.commands.sweep import sweep
from inference.commands.train import recorded_options, train

__all__ = [
    "FIGURES",
    "compare",
    "complete",
    "diagnose",
    "evaluate",
    "features",
    "guides",
    "infer",
    "plot",
    "recorded_options",
    "sample",
    "sweep",
    "train",
]
