"""Mean functions m(x), by name: zero, constant, linear."""

from __future__ import annotations

from collections.abc import Mapping

import pyro.distributions as dist
import torch
from torch import Tensor

from gp_bo.kernels import HyperParameter
from pyro_models.registry import check_choice

__all__ = ["LOCATIONS", "MEANS", "mean_gradients", "mean_hyperparameters", "mean_values"]

MEANS = ("zero", "constant", "linear")
LOCATIONS = {"constant": "mean", "linear": "bias"}
"""What of a mean function has the outputs' location, by its name."""


def mean_hyperparameters(mean: str, dim: int) -> list[HyperParameter]:
    """What a mean function leaves open: m(x) = c (``mean``), or b + w·x (``bias``, ``weight``)."""
    check_choice("mean", mean, MEANS)
    normal = dist.Normal(*torch.tensor([0.0, 1.0], dtype=torch.float64))
    every = {
        "mean": HyperParameter("mean", (), normal, 0, 1, positive=False),
        "bias": HyperParameter("bias", (), normal, 0, 1, positive=False),
        "weight": HyperParameter("weight", (dim,), normal, -1, 1, positive=False),
    }
    own = {"zero": (), "constant": ("mean",), "linear": ("bias", "weight")}
    return [every[name] for name in own[mean]]


def mean_values(theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
    """m_θ(x_i), (C, n), or of a shape that is broadcast to it."""
    if "weight" in theta:
        return theta["bias"][:, None] + theta["weight"] @ X.mT
    return theta["mean"][:, None] if "mean" in theta else X.new_zeros(1, 1)


def mean_gradients(theta: Mapping[str, Tensor], X: Tensor, g: Tensor) -> dict[str, Tensor]:
    """∂L/∂θ of the mean's hyper-parameters for g = ∂L/∂m, (C, n)."""
    gradients = {"mean": g.sum(-1), "bias": g.sum(-1), "weight": g @ X}
    return {name: value for name, value in gradients.items() if name in theta}
