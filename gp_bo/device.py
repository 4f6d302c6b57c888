"""Where a Gaussian process is computed: one device, in float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyro_models import UsageError
from pyro_models.device import check_device

__all__ = ["gp_device"]


def gp_device(device: str | torch.device | None, given: Any = None) -> torch.device:
    """The device that was asked for, or else, for None, that of the data: the CPU, if no tensor.

    One that is not there, or has no float64, in which covariances are factored, is refused.

    Examples
    --------
    >>> gp_device(None, [0.0, 1.0])
    device(type='cpu')
    """
    if device is None:
        device = given.device if isinstance(given, Tensor) else "cpu"
    found = check_device(device)
    if found.type == "mps":
        raise UsageError(
            f"a Gaussian process is computed in float64, which {found.type} does not have: give "
            "device='cpu', or --device cpu"
        )
    return found
