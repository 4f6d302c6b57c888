"""log p(x_seen) of models with one or two latents by quadrature on a grid, whatever the decoder."""

from __future__ import annotations

import json
from collections.abc import Callable

import torch
from torch import Tensor

from inference.blocks import HERE, Blocks, computed
from inference.chunks import MAX_ELEMENTS
from inference.evaluation.integral import Integral, Quadrature, every_other, values_at
from inference.evaluation.modes import regular_grid
from inference.posterior.log_density import LogDensity
from pyro_models import UsageError

__all__ = ["MOST_DIMENSIONS", "Quadrature", "quadrature", "quadrature_kl"]

MOST_DIMENSIONS = 2
"""Latents of one datum up to which a grid is used."""

_NODES = {1: 129, 2: 65}  # along each dimension, to begin with
_MOST_NODES = {1: 32769, 2: 513}
_AT_ONCE = 100  # data


def quadrature(
    target: LogDensity,
    *,
    nodes: int | None = None,
    max_nodes: int | None = None,
    tolerance: float = 1e-3,
    max_elements: int = MAX_ELEMENTS,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
    blocks: Blocks = HERE,
) -> Quadrature:
    """Integrate p(x_seen, z) over z by the trapezoidal rule.

    The modes of each datum's posterior are found by climbing from several places (see
    :func:`inference.evaluation.modes.find_modes`), wherever they are. Around each mode a box is
    laid along the axes of Laplace's approximation, and grows or shrinks until p(x_seen, z) is 40
    nats below its height at every edge; there the trapezoidal rule converges faster than any power
    of the spacing. Several modes share the integrand by the responsibilities of a mixture of
    Laplace's Normals, a partition of unity, so boxes may overlap. Nodes are doubled until halving
    them changes log p by less than the tolerance, in nats. At last it is checked that there is no
    mass around the boxes, nor on a coarse grid over seven standard deviations of the prior.

    A datum whose error stays above a tenth of a nat is not resolved: its number is NaN, and
    ``unresolved`` says why. A mode that is narrower than the coarse grid's spacing (a third of a
    standard deviation of the prior, for one latent a thirtieth) and from which no slope leads to
    the prior's mean, to the coarse grid or to the pair's own guide could be missed.

    Parameters
    ----------
    target
        From :func:`inference.posterior.log_density.condition`, with one or two latents.
    nodes, max_nodes
        Along each dimension to begin with, and at most; odd. By default 129 and 32769 for one
        latent, 65 and 513 for two.
    max_elements, progress, blocks
        Numbers that may be decoded at once, which bounds memory; called with 1 for each datum that
        is done; and who computes.
    seed
        Random seed of the draws from prior and guide that say where to look first.

    Raises
    ------
    UsageError
        If there are more than two latents, or the numbers of nodes are not odd.

    Examples
    --------
    >>> from inference.posterior.log_density import condition
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
    nodes = _NODES[target.dim] if nodes is None else nodes
    max_nodes = max(nodes, _MOST_NODES[target.dim]) if max_nodes is None else max_nodes
    if nodes < 3 or nodes % 2 == 0 or max_nodes % 2 == 0:
        raise UsageError(f"nodes and max_nodes must be odd, 3 or more; got {nodes}, {max_nodes}")

    def integrate(some: LogDensity) -> tuple[Tensor, ...]:
        found = Integral(some, tolerance, max_elements).run(nodes, max_nodes)
        why = json.dumps(dict(found.unresolved)).encode()  # a tensor, too, so that it can be kept
        values = [v for v in vars(found).values() if isinstance(v, Tensor)]
        return *values, torch.tensor(list(why), dtype=torch.uint8, device="cpu")

    parts = computed(
        integrate,
        target.select,
        pair=target.pair,
        count=len(target),
        size=_AT_ONCE,
        seed=seed,
        purpose="quadrature",
        blocks=blocks,
        progress=progress,
    )
    *values, reasons = zip(*parts, strict=True)
    unresolved = {
        number * _AT_ONCE + int(row): why
        for number, of_block in enumerate(reasons)
        for row, why in json.loads(bytes(of_block.tolist())).items()
    }
    log_evidence, error, mean, covariance, used = map(torch.cat, values)
    return Quadrature(log_evidence, error, mean, covariance, used, unresolved)


def quadrature_kl(
    target: LogDensity,
    log_evidence: Tensor,
    *,
    nodes: int = 129,
    max_elements: int = MAX_ELEMENTS,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """KL(q(z | x) ‖ p(z | x_seen)) = ∫ q (log q − log p(x_seen, z)) dz + log p(x_seen), on a grid.

    Parameters
    ----------
    target, log_evidence
        With the guide q, one or two latents; and its log p(x_seen), (B,), from :func:`quadrature`.
    nodes
        Along each dimension, odd, over eight standard deviations of q to both sides of its mean.
    max_elements, seed
        As for :func:`quadrature`.

    Returns
    -------
    kl, error
        (B,) each, nats; the error is the larger of what halving the nodes changes and of what ∫ q
        dz on the grid lacks of 1.

    Raises
    ------
    UsageError
        If the target has no guide, or more than two latents.
    """
    if target.guide is None:
        raise UsageError("this is the KL of a guide: condition the target on one, guide=…")
    if target.dim > MOST_DIMENSIONS or nodes % 2 == 0:
        raise UsageError("quadrature is for one or two latents, and an odd number of nodes")

    def integrate(of: tuple[LogDensity, Tensor]) -> tuple[Tensor, Tensor]:
        some, log_p = of
        drawn, numbers = some.sample_start(1000), some.numbers_per_chain
        centre, spread = drawn.mean(0), drawn.std(0)
        low, high = centre - 8 * spread, centre + 8 * spread
        z = regular_grid(low, high, nodes)
        log_q = values_at(some.log_start, z, numbers, max_elements)
        posterior = values_at(some.log_joint, z, numbers, max_elements) - log_p
        q = log_q.exp()
        parts = torch.where(q > 0, q * (log_q - posterior), q.new_zeros(()))
        cell = ((high - low) / (nodes - 1)).prod(-1)
        kl, mass = parts.sum(0) * cell, q.sum(0) * cell
        half = every_other(parts, nodes, some.dim).sum(0) * cell * 2**some.dim
        return kl, torch.maximum((kl - half).abs(), (mass - 1).abs())

    found = computed(
        integrate,
        lambda rows: (target.select(rows), log_evidence[rows]),
        pair=target.pair,
        count=len(target),
        size=_AT_ONCE,
        seed=seed,
        purpose="quadrature",
    )
    kls, errors = zip(*found, strict=True)
    return torch.cat(kls), torch.cat(errors)
