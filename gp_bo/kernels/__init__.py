"""Covariance functions in closed form, with their gradients; by name or composed by + and *."""

from gp_bo.kernels.kernel import HyperParameter, Kernel, Product, Sum, log_normal
from gp_bo.kernels.linear import Linear
from gp_bo.kernels.names import KERNELS, kernel_from_config, make_kernel
from gp_bo.kernels.pairs import Pairs
from gp_bo.kernels.periodic import Periodic
from gp_bo.kernels.reference import gpytorch_kernel
from gp_bo.kernels.stationary import RBF, Matern12, Matern32, Matern52, RationalQuadratic

__all__ = [
    "KERNELS",
    "RBF",
    "HyperParameter",
    "Kernel",
    "Linear",
    "Matern12",
    "Matern32",
    "Matern52",
    "Pairs",
    "Periodic",
    "Product",
    "RationalQuadratic",
    "Sum",
    "gpytorch_kernel",
    "kernel_from_config",
    "log_normal",
    "make_kernel",
]
