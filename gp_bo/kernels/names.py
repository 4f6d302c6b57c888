"""Kernels by name, by a formula of names, and from the values a file holds."""

from __future__ import annotations

import ast
from collections.abc import Callable
from inspect import isfunction
from typing import Any

from gp_bo.kernels.elementary import (
    RBF,
    Linear,
    Matern12,
    Matern32,
    Matern52,
    Periodic,
    RationalQuadratic,
)
from gp_bo.kernels.gpytorch_files import rebuilt
from gp_bo.kernels.kernel import Kernel, Product, Sum
from gp_bo.kernels.of_gpytorch import GPyTorchKernel, is_gpytorch
from pyro_models import UsageError
from pyro_models.registry import Registry, UnknownNameError
from pyro_models.suggestions import wrong_brackets

__all__ = ["KERNELS", "kernel_from_config", "make_kernel", "register_kernel"]

_OURS = (RBF, Matern12, Matern32, Matern52, Periodic, RationalQuadratic, Linear)
KERNELS: Registry[Callable[..., Any]] = Registry("kernel", {kind.name: kind for kind in _OURS})
"""What makes a kernel, by name; :func:`register_kernel` adds to it."""


def register_kernel(name: str, make: Callable[[], Any]) -> None:
    """Let a kernel be asked for by name, in formulas and at the command line too.

    The name is a word that Python would take for one, and is not in :data:`KERNELS`. What makes it
    is a subclass of :class:`gp_bo.kernels.Leaf` or of ``gpytorch.kernels.Kernel``, or a function
    without arguments.

    Examples
    --------
    >>> register_kernel("smooth_and_linear", lambda: RBF() + Linear())
    >>> make_kernel("smooth_and_linear * periodic")
    Product(Sum(RBF(ard=True, scaled=True), Linear(ard=True, scaled=True)), \
Periodic(ard=True, scaled=False))
    >>> del KERNELS["smooth_and_linear"]
    """
    if not (isinstance(name, str) and name.isidentifier()):
        raise UsageError(f"a kernel's name is one word of letters, digits and _; got {name!r}")
    if not callable(make):
        raise UsageError(f"a kernel is registered by its class, or what makes it; got {make!r}")
    KERNELS.register(name, make)


def make_kernel(kernel: Any) -> Kernel:
    """A kernel from its name, a formula of names, ``+``, ``*`` and parentheses, or an object.

    Parameters
    ----------
    kernel
        Text, or ``"mine.py:Name"`` of a class in a file; a :class:`Kernel`, a
        ``gpytorch.kernels.Kernel``; a class of either that takes no arguments, or a function
        without arguments that makes one.

    Raises
    ------
    UsageError
        If a name is unknown, or it is none of these.

    Examples
    --------
    >>> make_kernel("matern52")
    Matern52(ard=True, scaled=True)
    >>> [h.name for h in make_kernel("rbf + periodic").hyperparameters(dim=1)][:3]
    ['rbf.lengthscale', 'rbf.variance', 'periodic.lengthscale']
    """
    is_class = isinstance(kernel, type) and (issubclass(kernel, Kernel) or is_gpytorch(kernel))
    if is_class or isfunction(kernel):
        kernel = _made(kernel)
    if isinstance(kernel, Kernel):
        return kernel
    if isinstance(kernel, list):  # as a file holds it
        try:
            return kernel_from_config(kernel)
        except UsageError:
            raise
        except (TypeError, ValueError, KeyError) as error:
            raise UsageError(f"a kernel is a name or a Kernel; got {kernel!r}") from error
    if is_gpytorch(kernel):
        return GPyTorchKernel(kernel)
    if not isinstance(kernel, str):
        raise UsageError(
            f"a kernel is a name or a Kernel, ours or GPyTorch's; got {type(kernel).__name__}"
        )
    if ".py:" in kernel:
        return make_kernel(KERNELS[kernel.strip()])
    try:
        return _from_tree(ast.parse(kernel.strip(), mode="eval").body)
    except UsageError:
        raise
    except (SyntaxError, ValueError) as error:
        wrong = wrong_brackets(kernel)
        which = f", which {wrong}" if wrong else ""
        raise UsageError(
            f"no kernel in {kernel!r}{which}: write names joined by + and *, like 'rbf + periodic'"
        ) from error


def _made(kind: Callable[[], Any]) -> Any:
    try:
        return kind()
    except TypeError as error:
        name = getattr(kind, "__name__", kind)
        raise UsageError(f"{name} cannot be made without arguments ({error}): give one") from error


def _from_tree(tree: ast.expr) -> Kernel:
    if isinstance(tree, ast.Name):
        return make_kernel(_made(KERNELS[tree.id]))
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add | ast.Mult):
        left, right = _from_tree(tree.left), _from_tree(tree.right)
        return left + right if isinstance(tree.op, ast.Add) else left * right
    raise SyntaxError


def kernel_from_config(config: Any) -> Kernel:
    """The kernel whose ``config()`` this is; a ``UsageError``, if its class is unknown here."""
    name, rest = config
    if name in ("+", "*"):
        return (Sum if name == "+" else Product)(*map(kernel_from_config, rest))
    if name == GPyTorchKernel.name:
        registered = {getattr(m, "__name__", n): m for n, m in KERNELS.items() if is_gpytorch(m)}
        return GPyTorchKernel(rebuilt(rest, registered))
    try:
        kind = KERNELS[name]
    except UnknownNameError:
        raise UsageError(
            f"the kernel {name!r} is unknown here: register it first, with "
            f"gp_bo.kernels.register_kernel({name!r}, its class)"
        ) from None
    made: Kernel = kind(**rest)
    return made
