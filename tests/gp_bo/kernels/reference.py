"""The same kernels built from GPyTorch, to which ours are held in the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gp_bo.kernels.kernel import Kernel, Leaf, Sum, Theta

__all__ = ["gpytorch_kernel"]


def gpytorch_kernel(kernel: Kernel, theta: Theta, *, dim: int) -> Any:
    """A GPyTorch kernel with the same covariance, in float64.

    Parameters
    ----------
    kernel
        Ours.
    theta
        One value of each hyper-parameter, of its own shape (no leading dimension).
    dim
        Columns of the inputs.
    """
    thetas = iter(kernel._split(theta, next(iter(theta.values()))))
    return _build(kernel, lambda: next(thetas), dim).double()


def _build(kernel: Kernel, next_theta: Callable[[], Theta], dim: int) -> Any:
    if isinstance(kernel, Leaf):
        return _leaf(kernel, next_theta(), dim)
    parts = [_build(part, next_theta, dim) for part in kernel.parts]  # type: ignore[attr-defined]
    total = parts[0]
    for part in parts[1:]:
        total = total + part if isinstance(kernel, Sum) else total * part
    return total


def _leaf(leaf: Leaf, theta: Theta, dim: int) -> Any:
    from gpytorch import kernels

    name = leaf.name
    options: dict[str, Any] = {"ard_num_dims": dim} if leaf.ard else {}
    if name == "linear":
        built = kernels.LinearKernel(**options).double()
        built.variance = theta["variance"].reshape(1, -1)
        return built
    if name.startswith("matern"):
        options["nu"] = int(name.removeprefix("matern")[0]) / 2
    kinds = {
        "rbf": kernels.RBFKernel,
        "periodic": kernels.PeriodicKernel,
        "rational_quadratic": kernels.RQKernel,
    }
    built = kinds.get(name, kernels.MaternKernel)(**options).double()
    lengthscale = theta["lengthscale"].reshape(1, -1)
    # GPyTorch divides the squared sine by its length-scale, not by the square of it
    built.lengthscale = lengthscale.square() if name == "periodic" else lengthscale
    if name == "periodic":
        built.period_length = theta["period"].reshape(1, -1)
    if name == "rational_quadratic":
        built.alpha = theta["alpha"]
    if not leaf.scaled:
        return built
    scaled = kernels.ScaleKernel(built).double()
    scaled.outputscale = _scalar(theta["variance"])
    return scaled


def _scalar(value: Tensor) -> Tensor:
    return torch.as_tensor(value).reshape(())
