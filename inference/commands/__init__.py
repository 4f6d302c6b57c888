"""What the subcommands of ``pyro-models`` do; options are named as in the Python interface."""

from inference.commands.completion import complete
from inference.commands.evaluation import compare, diagnose, evaluate
from inference.commands.features import features
from inference.commands.guides import guides
from inference.commands.infer import infer
from inference.commands.show import plot, sample
from inference.commands.sweep import sweep
from inference.commands.train import recorded_options, train
from pyro_models.moved import renamed

__all__ = [
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

__getattr__ = renamed(__name__, {"FIGURES": "inference.figures:FIGURES"})
