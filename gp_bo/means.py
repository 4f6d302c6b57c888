"""Mean functions m(x), by name: zero, constant, linear."""

from __future__ import annotations

from collections.abc import Mapping

import pyro.distributions as dist
import torch
from torch import Tensor

from gp_bo.kernels import HyperParameter
from pyro_models.registry import check_choice

__all__ = ["MEANS", "mean_gradients", "mean_hyperparameters", "mean_values"]

MEANS = ("zero", "constant", "linear")


def mean_hyperparameters(mean: str, dim: int) -> list[HyperParameter]:
    """What a mean function leaves open: m(x) = c (``mean``), or b + w·x (``bias``, ``weight``).

    Raises
    ------
    UsageError
        If the name is unknown.
    """
    check_choice("mean", mean, MEANS)
    zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    normal = dist.Normal(zero, one)
    if mean == "zero":
        return []
    if mean == "constant":
        return [HyperParameter("mean", (), normal, 0, 1, positive=False)]
    return [
        HyperParameter("bias", (), normal, 0, 1, positive=False),
        HyperParameter("weight", (dim,), normal, -1, 1, positive=False),
    ]


def mean_values(theta: Mapping[str, Tensor], X: Tensor) -> Tensor | None:
    """m_θ(x_i), (C, n) or (C, 1); None for the zero mean."""
    if "mean" in theta:
        return theta["mean"][:, None]
    if "weight" in theta:
        return theta["bias"][:, None] + theta["weight"] @ X.mT
    return None


def mean_gradients(theta: Mapping[str, Tensor], X: Tensor, g: Tensor) -> dict[str, Tensor]:
    """∂L/∂θ of the mean's hyper-parameters for g = ∂L/∂m, (C, n)."""
    if "mean" in theta:
        return {"mean": g.sum(-1)}
    if "weight" in theta:
        return {"bias": g.sum(-1), "weight": g @ X}
    return {}
