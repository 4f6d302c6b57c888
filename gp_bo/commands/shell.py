"""``gp-bo completion``: the Tab key for commands, options and names."""

from __future__ import annotations

from typing import Any, Literal

from gp_bo.functions import FUNCTIONS
from gp_bo.inference import INFERENCES
from gp_bo.kernels import KERNELS
from gp_bo.likelihoods import LIKELIHOODS
from gp_bo.means import MEANS
from gp_bo.optimize import ACQUISITIONS
from inference.command_line.completion import completion_script

__all__ = ["completion"]


def completion(shell: Literal["bash", "zsh", "fish"], parser: Any = None) -> None:
    """Print the script by which a shell completes commands, options and names.

    For bash put ``eval "$(gp-bo completion bash)"`` into ~/.bashrc, or the script itself into a
    file that it reads, which is faster; for zsh the same with zsh in ~/.zshrc, or a file _gp-bo in
    a folder of $fpath; for fish ~/.config/fish/completions/gp-bo.fish.

    Args:
        shell: Whose script.
    """
    names = {
        "function": lambda: list(FUNCTIONS),
        "kernel": lambda: list(KERNELS),
        "inference": lambda: list(INFERENCES),
        "acquisition": lambda: list(ACQUISITIONS),
        "mean": lambda: list(MEANS),
        "likelihood": lambda: list(LIKELIHOODS),
    }
    print(completion_script(parser, shell, names=names))
