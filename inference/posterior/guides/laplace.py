"""Laplace's approximation: a Normal at the mode, as wide as the curvature there says."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from inference.densities import weigh
from inference.posterior.continuous import by_site, side_by_side
from inference.posterior.guides.family import Family
from inference.posterior.guides.full_covariance import FullCovarianceGuide
from inference.posterior.guides.point import PointGuide
from inference.posterior.log_density import LogDensity

__all__ = ["LAPLACE", "LaplaceGuide", "covariance_factor", "hessian"]

_LEAST = 1e-3  # smallest eigenvalue of a precision, as a share of its largest


class LaplaceGuide(FullCovarianceGuide):
    r"""A Normal at the mode, with the curvature there.

    .. math:: q(z) = \prod_b \N(z_b; z^*_b, H_b^{-1}), \quad
       z^* = \arg\max_z \log p(x_{seen}, z), \quad H = −∇^2 \log p(x_{seen}, z^*)

    Where H is not positive definite (the point is no strict maximum) its eigenvalues are raised to
    a thousandth of the largest; ``damped``, (B,) booleans, says where.
    """

    per_datum = ("damped",)
    damped: Tensor

    def __init__(
        self, shapes: dict[str, torch.Size], loc: Tensor, scale_tril: Tensor, damped: Tensor
    ) -> None:
        super().__init__(shapes, loc, scale_tril)
        self.register_buffer("damped", damped)


def hessian(target: LogDensity, points: dict[str, Tensor]) -> Tensor:
    """−∇² log p(x_seen, z) over all continuous sites side by side, (B, D, D).

    One pass backwards per latent dimension, for all data at once.
    """
    shapes = {name: z.shape[1:] for name, z in points.items()}
    with torch.enable_grad():
        z = side_by_side(points, shapes).detach().requires_grad_()
        drawn = weigh(target.pair.model, target.data, by_site(z.unsqueeze(0), shapes))
        (gradient,) = torch.autograd.grad(drawn.log_joint.sum(), z, create_graph=True)
        rows = [
            torch.autograd.grad(gradient[:, d].sum(), z, retain_graph=True)[0]
            for d in range(z.shape[1])
        ]
    H = -torch.stack(rows, 1)
    return 0.5 * (H + H.mT)


def covariance_factor(precision: Tensor) -> tuple[Tensor, Tensor]:
    """Lower triangular L with L Lᵀ = H⁻¹, (B, D, D), and where H had to be damped, (B,)."""
    H = torch.where(precision.isfinite(), precision, 0.0)
    values, vectors = torch.linalg.eigh(H)
    largest = values.abs().amax(-1, keepdim=True)
    largest = torch.where(largest > 0, largest, 1.0)
    damped = values[:, 0] <= 0
    least = torch.where(damped, _LEAST, torch.finfo(H.dtype).eps).unsqueeze(-1) * largest
    roots = vectors * torch.maximum(values, least).rsqrt().unsqueeze(-2)  # H⁻¹ = roots rootsᵀ
    # L from the triangular factor of rootsᵀ = Q R, so that H⁻¹ = Rᵀ R
    R = torch.linalg.qr(roots.mT).R
    sign = R.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-1)
    return (R * sign).mT, damped


def _at_the_mode(target: LogDensity, guide: nn.Module) -> LaplaceGuide:
    points = cast(PointGuide, guide).means()
    tril, damped = covariance_factor(hessian(target, points))
    shapes = {name: z.shape[1:] for name, z in points.items()}
    return LaplaceGuide(shapes, side_by_side(points, shapes).detach(), tril, damped)


LAPLACE = Family(PointGuide, objective="log_joint", finish=_at_the_mode)
