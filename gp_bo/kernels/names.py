"""Kernels by name, by a formula of names, and from the values a file holds."""

from __future__ import annotations

import ast
from typing import Any

from gp_bo.kernels.kernel import Kernel, Leaf, Product, Sum
from gp_bo.kernels.linear import Linear
from gp_bo.kernels.periodic import Periodic
from gp_bo.kernels.stationary import RBF, Matern12, Matern32, Matern52, RationalQuadratic
from pyro_models import UsageError

__all__ = ["KERNELS", "kernel_from_config", "make_kernel"]

KERNELS: dict[str, type[Leaf]] = {
    kind.name: kind
    for kind in (RBF, Matern12, Matern32, Matern52, Periodic, RationalQuadratic, Linear)
}


def make_kernel(kernel: str | Kernel) -> Kernel:
    """A kernel from its name, or from a formula of names, ``+``, ``*`` and parentheses.

    Raises
    ------
    UsageError
        If a name is unknown, or the formula is none.

    Examples
    --------
    >>> make_kernel("matern52")
    Matern52(ard=True, scaled=True)
    >>> [h.name for h in make_kernel("rbf + periodic").hyperparameters(dim=1)][:3]
    ['rbf.lengthscale', 'rbf.variance', 'periodic.lengthscale']
    """
    if isinstance(kernel, Kernel):
        return kernel
    if not isinstance(kernel, str):
        raise UsageError(f"a kernel is a name or a Kernel; got {type(kernel).__name__}")
    try:
        tree = ast.parse(kernel.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise UsageError(
            f"no kernel in {kernel!r}: write names joined by + and *, like 'rbf + periodic'"
        ) from error
    return _from_tree(tree, kernel)


def _from_tree(tree: ast.expr, text: str) -> Kernel:
    if isinstance(tree, ast.Name):
        if tree.id not in KERNELS:
            raise UsageError(f"unknown kernel {tree.id!r}: choose from {', '.join(KERNELS)}")
        return KERNELS[tree.id]()
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add | ast.Mult):
        left, right = _from_tree(tree.left, text), _from_tree(tree.right, text)
        return left + right if isinstance(tree.op, ast.Add) else left * right
    raise UsageError(f"no kernel in {text!r}: write names joined by + and *, like 'rbf + periodic'")


def kernel_from_config(config: Any) -> Kernel:
    """The kernel whose ``config()`` this is."""
    name, rest = config
    if name in ("+", "*"):
        return (Sum if name == "+" else Product)(*map(kernel_from_config, rest))
    return KERNELS[name](**rest)
