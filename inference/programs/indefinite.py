"""A covariance that is not positive definite makes a density impossible, and stops no inference."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["IndefiniteIsNaN"]


class IndefiniteIsNaN(TorchFunctionMode):
    """A Cholesky factor that does not exist is NaN inside, where it would raise an error.

    A chain or a climb tries places where rounding makes a covariance indefinite; the densities of
    the other places that are computed beside it are what they are.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Every function as it is, but for this one."""
        if func is not torch.linalg.cholesky:
            return func(*args, **(kwargs or {}))
        factor, wrong = torch.linalg.cholesky_ex(*args, **(kwargs or {}))
        return torch.where((wrong == 0)[..., None, None], factor, torch.nan)
