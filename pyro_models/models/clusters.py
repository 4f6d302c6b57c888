"""The start of a Gaussian mixture: a k-means clustering, as its parameters."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pyro_models.errors import UsageError
from pyro_models.moments import centred, spread_of

__all__ = ["floor_for", "start_from_clusters"]

_SMALL = 1e-2  # of the floor: keeps the logarithm of a cluster's variance finite

FLOOR = 1e-3
SHARES = (1e-6, 1e-1)  # of the largest variance, between which the floor is left alone


def floor_for(x: Tensor) -> float:
    """The covariance floor ε that suits the data.

    It is 1e-3, which pixels in [0, 1] have, where that is between a millionth and a tenth of the
    largest variance of a value over data, or where nothing varies; for data of another scale it is
    a thousandth of that variance.

    >>> x = torch.tensor([[0.0], [1.0], [0.0], [1.0]], dtype=torch.float64)
    >>> [f"{floor_for(scale * x):g}" for scale in (1, 1e-9, 1e9)]
    ['0.001', '2.5e-22', '2.5e+14']
    """
    largest = float(spread_of(x).max()) ** 2
    least, most = (share * largest for share in SHARES)
    return FLOOR if least <= FLOOR <= most or not largest else FLOOR * largest


def start_from_clusters(
    x: Tensor, num_components: int, *, covariance: str, floor: float, seed: int
) -> dict[str, Tensor]:
    """Weights, means and covariances of k-means clusters of x (N, D), float64 (k-means++, one run).

    They are by the names that :class:`pyro_models.models.gmm.GMMModel` has for them. That is how
    scikit-learn's EM starts; to its covariances a hundredth of the floor ε, which the model adds to
    every covariance, is added here. Where fewer data differ than there are components, the others
    share the cluster, and the weight, of the largest; fewer data than components are refused.
    """
    if len(x) < num_components:
        raise UsageError(f"{num_components} components need at least as many data; got {len(x)}")
    mean, residual = centred(x)
    member = _members(residual, num_components, seed=seed)
    counts = member.sum(0)
    loc = member.T @ residual / counts[:, None]
    shape = _dense_shape if covariance in ("tied", "full") else _axis_shape
    of_shape = shape(residual, member, loc, covariance, floor)
    names = ("logits", "centre", "data_scale", "offset", "raw_factor")
    return dict(zip(names, ((counts / counts.sum()).log(), mean, *of_shape), strict=True))


def _members(residual: Tensor, num_components: int, *, seed: int) -> Tensor:
    """Each datum's share in each cluster, (N, K), rows summing to 1; no cluster is empty."""
    from sklearn.cluster import KMeans  # as slow to import as torch
    from sklearn.exceptions import ConvergenceWarning

    size = float(residual.square().mean().sqrt())
    unit = 2.0 ** round(math.log2(size)) if size > 0 else 1.0  # dividing by it rounds nothing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer different data than clusters
        means = KMeans(num_components, n_init=1, random_state=seed)
        labels = torch.as_tensor(means.fit((residual / unit).numpy()).labels_).long()
    counts = torch.bincount(labels, minlength=num_components)
    if found := int((counts == 0).sum()):
        warnings.warn(
            f"the data have only {num_components - found} different values for {num_components} "
            "components: the others start as copies of the largest clusters; take fewer",
            stacklevel=4,
        )
    owner, sharers = torch.arange(num_components), torch.ones(num_components, dtype=torch.long)
    for k in (counts == 0).nonzero().flatten().tolist():
        largest = int((counts / sharers).argmax())
        owner[k] = largest
        sharers[largest] += 1
    return one_hot(labels, num_components).to(residual.dtype)[:, owner] / sharers[owner]


def _axis_shape(
    residual: Tensor, member: Tensor, loc: Tensor, covariance: str, floor: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Standard deviations of the data, and means and log-deviations of the clusters in them."""
    scale = (residual.square().mean(0) + floor).sqrt()
    squares = [part.square().sum(0) for part in _deviations(residual, member, loc)]
    within = torch.stack(squares) / member.sum(0)[:, None]
    if covariance == "spherical":
        scale = scale.square().mean().sqrt().expand_as(scale)
        within = within.mean(1, keepdim=True)
    raw = 0.5 * ((within + _SMALL * floor) / scale.square()).log()
    return scale, loc / scale, raw[:, :1] if covariance == "spherical" else raw


def _dense_shape(
    residual: Tensor, member: Tensor, loc: Tensor, covariance: str, floor: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Cholesky factor of the data's covariance, and means and factors of the clusters in it."""
    count, dim = residual.shape
    ridge = floor * torch.eye(dim, dtype=residual.dtype, device=residual.device)
    scale = _cholesky(residual.T @ residual / count + ridge, floor)
    scatters = torch.stack([part.T @ part for part in _deviations(residual, member, loc)])
    if covariance == "tied":
        covariances = scatters.sum(0, keepdim=True) / count + _SMALL * ridge
    else:
        covariances = scatters / member.sum(0)[:, None, None] + _SMALL * ridge
    roots = torch.linalg.solve_triangular(scale, _cholesky(covariances, floor), upper=False)
    raw = roots.tril(-1) + torch.diag_embed(roots.diagonal(dim1=-2, dim2=-1).log())
    offset = torch.linalg.solve_triangular(scale, loc.T, upper=False).T
    return scale, offset, raw.squeeze(0) if covariance == "tied" else raw


def _deviations(residual: Tensor, member: Tensor, loc: Tensor) -> Iterator[Tensor]:
    """√r_n (x_n − μ) of the data of each cluster: squares and products of it sum to its scatter."""
    for mean, share in zip(loc, member.T, strict=True):
        own = share > 0
        yield (residual[own] - mean) * share[own].sqrt()[:, None]


def _cholesky(covariance: Tensor, floor: float) -> Tensor:
    try:
        return torch.linalg.cholesky(covariance)
    except torch.linalg.LinAlgError:
        raise UsageError(
            f"the covariance floor {floor:g} is too small for data whose variance is "
            f"{float(covariance.diagonal(dim1=-2, dim2=-1).max()):.3g}: give a larger one, or none"
        ) from None
