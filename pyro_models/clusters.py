"""The start of a Gaussian mixture: a k-means clustering, as its parameters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn.functional import one_hot

from pyro_models.errors import UsageError

__all__ = ["ClusterStart", "start_from_clusters"]

_SMALL = 1e-2  # of the floor: keeps the logarithm of a cluster's variance finite


@dataclass(frozen=True)
class ClusterStart:
    """Parameters of :class:`pyro_models.gmm.GMMModel`, by its names for them, in float64."""

    logits: Tensor
    centre: Tensor
    data_scale: Tensor
    offset: Tensor
    raw_factor: Tensor


def start_from_clusters(
    x: Tensor, num_components: int, *, covariance: str, floor: float, seed: int
) -> ClusterStart:
    """Weights, means and covariances of k-means clusters (k-means++ seeding, one run).

    That is how scikit-learn's EM starts; to its covariances a hundredth of the floor is added here.

    Parameters
    ----------
    x
        Data (N, D), float64.
    num_components
        K.
    covariance
        ``"diagonal"``, ``"spherical"``, ``"tied"`` or ``"full"``.
    floor
        ε, which the model adds to every covariance, in squared units of the data.
    seed
        Of the seeding.

    Raises
    ------
    UsageError
        If there are fewer data than components.
    """
    if len(x) < num_components:
        raise UsageError(f"{num_components} components need at least as many data; got {len(x)}")
    labels = KMeans(num_components, n_init=1, random_state=seed).fit(x.numpy()).labels_
    member = one_hot(torch.as_tensor(labels).long(), num_components).to(x.dtype)
    counts = member.sum(0).clamp_min(1)
    loc = member.T @ x / counts[:, None]
    shape = _dense_shape if covariance in ("tied", "full") else _axis_shape
    data_scale, offset, raw_factor = shape(x, member, loc, covariance, floor)
    logits = (counts / counts.sum()).log()
    return ClusterStart(logits, x.mean(0), data_scale, offset, raw_factor)


def _axis_shape(
    x: Tensor, member: Tensor, loc: Tensor, covariance: str, floor: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Standard deviations of the data, and means and log-deviations of the clusters in them."""
    counts = member.sum(0).clamp_min(1)[:, None]
    scale = (x.var(0, correction=0) + floor).sqrt()
    within = (member.T @ x.square() / counts - loc.square()).clamp_min(0)
    if covariance == "spherical":
        scale = scale.square().mean().sqrt().expand_as(scale)
        within = within.mean(1, keepdim=True)
    relative = (within + _SMALL * floor) / scale.square()
    raw = 0.5 * relative.log()
    return scale, (loc - x.mean(0)) / scale, raw[:, :1] if covariance == "spherical" else raw


def _dense_shape(
    x: Tensor, member: Tensor, loc: Tensor, covariance: str, floor: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Cholesky factor of the data's covariance, and means and factors of the clusters in it."""
    dim = x.shape[1]
    ridge = floor * torch.eye(dim, dtype=x.dtype, device=x.device)
    scale = torch.linalg.cholesky(x.T.cov(correction=0).reshape(dim, dim) + ridge)
    labels = member.argmax(1)
    centred = [x[labels == k] - loc[k] for k in range(len(loc))]
    scatters = torch.stack([c.T @ c for c in centred])
    if covariance == "tied":
        covariances = scatters.sum(0, keepdim=True) / len(x) + _SMALL * ridge
    else:
        covariances = scatters / member.sum(0).clamp_min(1)[:, None, None] + _SMALL * ridge
    factor = torch.linalg.cholesky(covariances)
    roots = torch.linalg.solve_triangular(scale, factor, upper=False)
    raw = roots.tril(-1) + torch.diag_embed(roots.diagonal(dim1=-2, dim2=-1).log())
    offset = torch.linalg.solve_triangular(scale, (loc - x.mean(0)).T, upper=False).T
    return scale, offset, raw.squeeze(0) if covariance == "tied" else raw
