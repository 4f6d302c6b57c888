"""Covariance functions in closed form, with their gradients; by name or composed by + and *."""

from gp_bo.kernels.elementary import (
    RBF,
    Linear,
    Matern12,
    Matern32,
    Matern52,
    Periodic,
    RationalQuadratic,
)
from gp_bo.kernels.kernel import HyperParameter, Kernel, Leaf, Product, Sum, log_normal
from gp_bo.kernels.names import KERNELS, kernel_from_config, make_kernel, register_kernel
from gp_bo.kernels.of_gpytorch import GPyTorchKernel
from gp_bo.kernels.pairs import Pairs

__all__ = [
    "KERNELS",
    "RBF",
    "GPyTorchKernel",
    "HyperParameter",
    "Kernel",
    "Leaf",
    "Linear",
    "Matern12",
    "Matern32",
    "Matern52",
    "Pairs",
    "Periodic",
    "Product",
    "RationalQuadratic",
    "Sum",
    "kernel_from_config",
    "log_normal",
    "make_kernel",
    "register_kernel",
]
