"""``pyro-models completion``: the Tab key for commands, options and names."""

from __future__ import annotations

from typing import Any, Literal

from inference.command_line.completion import completion_script
from inference.commands.command import command
from inference.figures.registry import figures_of_pairs
from inference.learning.optimizers import OPTIMIZERS, SCHEDULES
from inference.objectives import OBJECTIVES
from inference.posterior import GUIDES
from inference.selection.pruning import PRUNING
from inference.selection.search import GRID, SEARCHES
from pyro_models.data import DATA_SETS
from pyro_models.models import PAIRS
from pyro_models.presets import preset_names

__all__ = ["completion"]


@command
def completion(shell: Literal["bash", "zsh", "fish"], parser: Any = None) -> None:
    """Print the script by which a shell completes commands, options, presets and names.

    For bash put ``eval "$(pyro-models completion bash)"`` into ~/.bashrc, or the script itself into
    a file that it reads, which is faster; for zsh the same with zsh in ~/.zshrc, or a file
    _pyro-models in a folder of $fpath; for fish ~/.config/fish/completions/pyro-models.fish.

    Args:
        shell: Whose script.
    """
    names = {
        "preset": preset_names,
        "model": lambda: list(PAIRS),
        "data": lambda: list(DATA_SETS),
        "objective": lambda: list(OBJECTIVES),
        "optimizer": lambda: list(OPTIMIZERS),
        "schedule": lambda: list(SCHEDULES),
        "guide": lambda: list(GUIDES),
        "figure": lambda: list(figures_of_pairs()),
        "search": lambda: [GRID, *SEARCHES],
        "prune": lambda: list(PRUNING),
    }
    print(completion_script(parser, shell, names=names))
