"""Products of matrices whose number types are mixed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

__all__ = ["Promoting"]

_PRODUCTS = frozenset(
    (
        *("matmul", "__matmul__", "__rmatmul__", "mm", "mv", "bmm", "dot", "vdot", "inner"),
        *("addmm", "addmv", "addbmm", "baddbmm", "einsum", "tensordot", "linear", "bilinear"),
        *("linalg_solve", "linalg_solve_triangular", "cholesky_solve"),
    )
)


class Promoting(TorchFunctionMode):
    """Products of matrices take number types together as sums do: the widest float is that of all.

    Torch promotes ``a + b`` and refuses ``a @ b``. Data may be of whole numbers, or of float64 as
    NumPy's are, beside latents of float32; and a model that is computed in float64 still finds
    tensors of float32 in its module or its closure.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Every function as it is, but products of several types with one."""
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _PRODUCTS:
            found = [v for v in tree_flatten((args, kwargs))[0] if isinstance(v, Tensor)]
            floats = {v.dtype for v in found if v.is_floating_point()}
            kinds = {v.dtype for v in found}
            if floats and len(kinds) > 1 and not any(kind.is_complex for kind in kinds):
                wide = max(floats, key=lambda kind: torch.finfo(kind).bits)

                def widened(value: Any) -> Any:
                    return value.to(wide) if isinstance(value, Tensor) else value

                args, kwargs = tree_map(widened, (args, kwargs))
        return func(*args, **kwargs)
