"""What the subcommands of ``pyro-models`` do; options are named as in the Python interface.

Every function of a module of this package that is marked as a :func:`command` is one of them.
"""

from importlib import import_module
from pkgutil import iter_modules

from inference.commands.command import COMMANDS, OF_MODELS
from inference.commands.train import recorded_options
from pyro_models.moved import renamed

__all__ = ["COMMANDS", "OF_MODELS", "recorded_options"]

for _found in iter_modules(__path__):
    import_module(f"{__name__}.{_found.name}")
_functions = {name.replace("-", "_"): function for name, function in COMMANDS.items()}
globals().update(_functions, **{f"{name}_model": it for name, it in OF_MODELS.items()})

__getattr__ = renamed(__name__, {"FIGURES": "inference.figures:FIGURES"})
