"""Weights of a pair from a file, in its own float type; those of another pair are refused."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pyro_models import Pair, UsageError
from pyro_models.contract import module_of
from pyro_models.units import names_of_units

__all__ = ["load_weights"]


def load_weights(pair: Pair, weights: Mapping[str, Tensor], source: object) -> None:
    """Load weights into a pair, in its own float type.

    Raises
    ------
    UsageError
        If they are of another architecture.
    """
    own = pair.state_dict()
    later = names_of_units(module_of(pair))  # weights of an older release have none
    wrong = sorted((set(own) - later) ^ (set(weights) - later)) or [
        name for name in own if name in weights and own[name].shape != weights[name].shape
    ]
    if wrong:
        raise UsageError(
            f"{source} holds the weights of another pair ({wrong[0]} does not fit): give the model "
            "and the options that it was trained with"
        )
    neutral = {"centre": torch.zeros_like, "scale": torch.ones_like}
    units = {name: neutral[name.rpartition(".")[2]](own[name]) for name in later}
    module_of(pair).load_state_dict({**units, **weights})
    if later - set(weights) and "bias_set" in own:  # trained, and so not to be started any more
        own["bias_set"].fill_(True)
