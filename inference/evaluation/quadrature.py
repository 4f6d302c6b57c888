"""log p(x_seen) of models with one or two latents by quadrature on a grid, whatever the decoder."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from inference.chunks import MAX_ELEMENTS
from inference.posterior.target import Target
from inference.undisturbed import stream, undisturbed
from pyro_models import UsageError

__all__ = ["MOST_DIMENSIONS", "Quadrature", "quadrature", "quadrature_kl"]

MOST_DIMENSIONS = 2
"""Latents of one datum up to which a grid is used."""

_SEARCH = 33  # nodes along each dimension while the posterior is looked for
_FAR, _NEAR = 100.0, 40.0  # nats below the highest node: kept while looking, and at last


@dataclass(frozen=True, eq=False)
class Quadrature:
    """The posterior of every datum, integrated on a grid of its own.

    Attributes
    ----------
    log_evidence
        log p(x_seen), (B,), nats.
    error
        |difference to the grid with every other node|, (B,), nats: the error of the coarser grid,
        and far above that of ``log_evidence`` itself where the decoder is smooth.
    mean, covariance
        Of p(z | x_seen), (B, D) and (B, D, D).
    nodes
        Along each dimension, (B,).
    """

    log_evidence: Tensor
    error: Tensor
    mean: Tensor
    covariance: Tensor
    nodes: Tensor


def quadrature(
    target: Target,
    *,
    nodes: int = 65,
    max_nodes: int = 513,
    tolerance: float = 1e-3,
    max_elements: int = MAX_ELEMENTS,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Quadrature:
    """Integrate p(x_seen, z) over z by the trapezoidal rule.

    Around each datum's posterior a box is found by zooming in from seven prior standard deviations:
    a grid is laid, the nodes within 100 nats of the highest are kept, the next grid covers these,
    until it does not shrink any more, and at last those within 40 nats are. There the integrand
    vanishes at the edges, where the trapezoidal rule converges faster than any power of the
    spacing. Nodes are doubled until halving them changes log p by less than the tolerance. A mode
    that is narrower than a hundredth of the prior and far from all others could be missed.

    Parameters
    ----------
    target
        From :func:`inference.posterior.target.condition`, with one or two latents.
    nodes, max_nodes
        Along each dimension to begin with, and at most; odd.
    tolerance
        Nats.
    max_elements
        Numbers that one chunk's reconstructions may hold; bounds memory.
    seed
        Of the prior draws that say where to look first.
    progress
        Called with the number of data after each chunk.

    Raises
    ------
    UsageError
        If there are more than two latents, or the numbers of nodes are not odd.

    Examples
    --------
    >>> from inference.posterior.target import condition
    >>> from pyro_models import PPCA
    >>> x = torch.randn(50, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> ppca = PPCA.maximum_likelihood(x, latent_dim=2)
    >>> found = quadrature(condition(ppca, x[:3])).log_evidence
    >>> bool((found - ppca.exact_log_prob(x[:3])).abs().max() < 1e-9)
    True
    """
    if target.dim > MOST_DIMENSIONS:
        raise UsageError(
            f"quadrature is for one or two latents, and {type(target.pair).__name__} has "
            f"{target.dim}: use annealing"
        )
    if nodes < 3 or nodes % 2 == 0 or max_nodes % 2 == 0:
        raise UsageError(f"nodes and max_nodes must be odd, 3 or more; got {nodes}, {max_nodes}")
    rows_at_once = max(1, min(len(target), 100))
    parts = []
    with undisturbed(target.pair, seed=stream(seed, "quadrature")):
        for i in range(0, len(target), rows_at_once):
            some = target.rows(slice(i, i + rows_at_once))
            parts.append(_integrate(some, nodes, max_nodes, tolerance, max_elements))
            if progress is not None:
                progress(len(some))
    return Quadrature(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _integrate(
    target: Target, nodes: int, max_nodes: int, tolerance: float, max_elements: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    low, high = _box(target, max_elements)
    found = _on_grid(target, low, high, nodes, max_elements)
    nodes_used = torch.full((len(target),), nodes, device=low.device)
    while True:
        rough = (~(found[1] <= tolerance)).nonzero().flatten()
        if not len(rough) or 2 * nodes - 1 > max_nodes:
            return *found, nodes_used
        nodes = 2 * nodes - 1
        finer = _on_grid(target.rows(rough), low[rough], high[rough], nodes, max_elements)
        for old, new in zip(found, finer, strict=True):
            old[rough] = new
        nodes_used[rough] = nodes


def _box(target: Target, max_elements: int) -> tuple[Tensor, Tensor]:
    """Corners of a box, (B, D) each, outside of which the posterior is negligible."""
    prior = target.prior(512)
    centre, spread = prior.mean(0), prior.std(0)
    low, high = centre - 7 * spread, centre + 7 * spread
    depth = _FAR
    for _ in range(30):
        z = _nodes(low, high, _SEARCH)
        density = _values(target.log_joint, z, target.numbers_per_chain, max_elements)
        kept = (density >= density.amax(0) - depth).unsqueeze(-1)
        spacing = (high - low) / (_SEARCH - 1)
        least = torch.where(kept, z, math.inf).amin(0) - spacing
        most = torch.where(kept, z, -math.inf).amax(0) + spacing
        shrunk = ((most - least) / (high - low)).amin()
        outside = bool(((least < low) | (most > high)).any())
        low, high = least, most
        if float(shrunk) > 0.8 and not outside:
            if depth == _NEAR:
                break
            depth = _NEAR
    return low, high


def _nodes(low: Tensor, high: Tensor, count: int) -> Tensor:
    """A regular grid over each box, (count^D, B, D)."""
    axis = torch.linspace(0, 1, count, dtype=low.dtype, device=low.device)
    grid = torch.stack(torch.meshgrid(*[axis] * low.shape[-1], indexing="ij"), -1)
    return low + grid.reshape(-1, 1, low.shape[-1]) * (high - low)


def _values(
    function: Callable[[Tensor], Tensor], z: Tensor, numbers: int, max_elements: int
) -> Tensor:
    """A function of z at every node, (G, B), in chunks over nodes."""
    chunk = max(1, max_elements // (numbers * z.shape[1]))
    return torch.cat([function(part) for part in z.split(chunk)])


def _on_grid(
    target: Target, low: Tensor, high: Tensor, count: int, max_elements: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """log ∫, its halving error, mean and covariance."""
    z = _nodes(low, high, count)
    density = _values(target.log_joint, z, target.numbers_per_chain, max_elements)
    cell = ((high - low) / (count - 1)).log().sum(-1)
    total = density.logsumexp(0) + cell
    half = _every_other(density, count, target.dim).logsumexp(0) + cell + target.dim * math.log(2)
    weight = density.softmax(0).unsqueeze(-1)
    mean = (weight * z).sum(0)
    covariance = torch.einsum("gbi,gbj->bij", weight * (z - mean), z - mean)
    return total, (total - half).abs(), mean, covariance


def _every_other(values: Tensor, count: int, dim: int) -> Tensor:
    """Values (count^D, B) at every other node along each dimension."""
    shaped = values.reshape(*[count] * dim, -1)
    return shaped[(slice(None, None, 2),) * dim].flatten(0, dim - 1)


def quadrature_kl(
    target: Target,
    log_evidence: Tensor,
    *,
    nodes: int = 129,
    max_elements: int = MAX_ELEMENTS,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """KL(q(z | x) ‖ p(z | x_seen)) = ∫ q (log q − log p(x_seen, z)) dz + log p(x_seen), on a grid.

    Parameters
    ----------
    target
        With the guide q, one or two latents.
    log_evidence
        log p(x_seen), (B,), from :func:`quadrature`.
    nodes
        Along each dimension, odd, over eight standard deviations of q to both sides of its mean.
    max_elements, seed
        As for :func:`quadrature`.

    Returns
    -------
    kl, error
        (B,) each, nats; the error is the larger of what halving the nodes changes and of what
        ∫ q dz on the grid lacks of 1.

    Raises
    ------
    UsageError
        If the target has no guide, or more than two latents.
    """
    if target.guide is None:
        raise UsageError("this is the KL of a guide: condition the target on one, guide=…")
    if target.dim > MOST_DIMENSIONS or nodes % 2 == 0:
        raise UsageError("quadrature is for one or two latents, and an odd number of nodes")
    kls, errors = [], []
    with undisturbed(target.pair, seed=stream(seed, "quadrature")):
        for i in range(0, len(target), 100):
            rows = slice(i, i + 100)
            kl, error = _kl_on_grid(target.rows(rows), log_evidence[rows], nodes, max_elements)
            kls.append(kl)
            errors.append(error)
    return torch.cat(kls), torch.cat(errors)


def _kl_on_grid(
    target: Target, log_evidence: Tensor, nodes: int, max_elements: int
) -> tuple[Tensor, Tensor]:
    drawn = target.sample_start(1000)
    centre, spread = drawn.mean(0), drawn.std(0)
    low, high = centre - 8 * spread, centre + 8 * spread
    z = _nodes(low, high, nodes)
    numbers = target.numbers_per_chain
    log_q = _values(target.log_start, z, numbers, max_elements)
    posterior = _values(target.log_joint, z, numbers, max_elements) - log_evidence
    q = log_q.exp()
    parts = torch.where(q > 0, q * (log_q - posterior), q.new_zeros(()))
    cell = ((high - low) / (nodes - 1)).prod(-1)
    kl, mass = parts.sum(0) * cell, q.sum(0) * cell
    half = _every_other(parts, nodes, target.dim).sum(0) * cell * 2**target.dim
    return kl, torch.maximum((kl - half).abs(), (mass - 1).abs())
