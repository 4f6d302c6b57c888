"""The integral of p(x_seen, z) over one or two latents, on a grid around each of its modes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from inference.evaluation.modes import Modes, Survey, find_modes, regular_grid, survey
from inference.posterior.log_density import LogDensity
from pyro_models.brief import Brief

__all__ = ["Integral", "Quadrature", "every_other", "values_at"]

REFUSED = 0.1
"""Nats of error above which a datum counts as not resolved."""

_SEARCH = {1: 65, 2: 33}  # nodes along each dimension while the edges of a box are looked for
_NEAR = 40.0  # nats below the highest mode up to which a box reaches
_ROUNDS = 60


@dataclass(frozen=True, eq=False)
class Quadrature(Brief):
    """The posterior of every datum, integrated on grids of its own.

    Attributes
    ----------
    log_evidence, error
        log p(x_seen), (B,), nats, and its error: the difference to the grid of every other node,
        the mass that is found around the boxes and on the prior outside of them, and the rounding
        of log p(x_seen, z), added up. The first is far above the error of the finer grid where the
        decoder is smooth. NaN and ∞ where the datum could not be resolved.
    mean, covariance, nodes
        Mean and covariance of p(z | x_seen), (B, D) and (B, D, D), and nodes along each dimension,
        (B,).
    unresolved
        Data that could not be resolved, by number, and why.
    """

    log_evidence: Tensor
    error: Tensor
    mean: Tensor
    covariance: Tensor
    nodes: Tensor
    unresolved: Mapping[int, str] = field(default_factory=dict)


class Integral:
    """Some data, their modes, and a box around each mode in units of Laplace's Normal there."""

    def __init__(self, target: LogDensity, tolerance: float, max_elements: int) -> None:
        self.target, self.tolerance, self.max_elements = target, tolerance, max_elements
        self.seen: Survey = survey(target, self._log_joint)
        self.modes: Modes = find_modes(target, self.seen)
        self.inverse = torch.linalg.inv(self.modes.factor)
        self.several = bool(self.modes.kept[1:].any())
        self.mode, self.datum = self.modes.kept.nonzero().unbind(1)  # of every box
        self.top = torch.where(self.modes.kept, self.modes.height, -math.inf).amax(0)
        reach = torch.full_like(self.modes.z[self.mode, self.datum], math.sqrt(2 * _NEAR) + 0.6)
        self.low, self.high = -reach, reach
        self.settled = torch.zeros_like(self.datum, dtype=torch.bool)

    def run(self, nodes: int, max_nodes: int) -> Quadrature:
        """Find the boxes, refine their grids, and judge every datum."""
        self._find_boxes()
        boxes = torch.arange(len(self.datum), device=self.datum.device)
        found = self._on_grid(boxes, nodes)
        used = torch.full_like(self.top, nodes, dtype=torch.long)
        while True:
            total = self._summed(found[0])
            off = (found[1] - total[self.datum]).exp()
            of_data = torch.zeros_like(self.top).index_add_(0, self.datum, off)
            share = self.tolerance / (2 * self.modes.kept.sum(0)[self.datum])
            rough = (off > share) & (of_data > self.tolerance)[self.datum]
            again = rough.nonzero().flatten()
            if not len(again) or 2 * nodes - 1 > max_nodes:
                break
            nodes = 2 * nodes - 1
            for old, new in zip(found, self._on_grid(again, nodes), strict=True):
                old[again] = new
            used[self.datum[again]] = nodes
        outside = self._summed(self._around(boxes)).sub(total).exp()
        missed = self._missed().sub(total).exp()
        mean, covariance = self._moments(found, total)
        errors = {
            f"grids of {max_nodes} nodes along each dimension are too coarse": of_data,
            "its mass reaches beyond every box that was tried": outside,
            "a part of its posterior lies where no mode was found": missed,
        }
        missing = torch.stack(list(errors.values())).sum(0)
        why = self._unresolved(total, errors, missing)
        bad = torch.zeros_like(total, dtype=torch.bool)
        bad[list(why)] = True
        log_evidence = torch.where(bad, math.nan, total)
        error = torch.where(bad, math.inf, missing + self._rounding())
        return Quadrature(log_evidence, error, mean, covariance, used, why)

    def _unresolved(
        self, total: Tensor, errors: Mapping[str, Tensor], missing: Tensor
    ) -> dict[int, str]:
        """Data that could not be resolved, by number, and why."""
        lost = torch.zeros_like(self.top).index_add_(0, self.datum, (~self.settled).to(self.top))
        bad = ~(missing <= REFUSED) | ~total.isfinite() | (lost > 0)
        why = {}
        for row in bad.nonzero().flatten().tolist():
            worst = max(errors, key=lambda name: float(errors[name][row].nan_to_num(nan=math.inf)))
            of = f"{worst} (an error of {float(missing[row]):.2g} nats)"
            if not bool(total[row].isfinite()):
                of = "log p(x, z) is not finite where it was looked for"
            elif lost[row] > 0:
                of = "no box was found outside of which there is no mass"
            why[row] = of
        return why

    def _log_joint(self, target: LogDensity, z: Tensor) -> Tensor:
        """log p(x_seen, z) at every node, (G, B), in chunks over nodes; −∞ where it is not one."""
        found = values_at(target.log_joint, z, target.numbers_per_chain, self.max_elements)
        return found.nan_to_num(nan=-math.inf, neginf=-math.inf, posinf=math.inf)

    def _density(self, boxes: Tensor, u: Tensor) -> Tensor:
        """log p(x_seen, z) r_m(z) |A| at z = z_m + A u of some boxes, (G, P)."""
        mode, datum = self.mode[boxes], self.datum[boxes]
        factor = self.modes.factor[mode, datum]
        z = self.modes.z[mode, datum] + (factor @ u.unsqueeze(-1)).squeeze(-1)
        density = self._log_joint(self.target.select(datum), z)
        density = density + torch.linalg.slogdet(factor).logabsdet
        return density + self._responsibility(boxes, z) if self.several else density

    def _responsibility(self, boxes: Tensor, z: Tensor) -> Tensor:
        """log r_m(z) of each box's own mode, (G, P)."""
        mode, datum = self.mode[boxes], self.datum[boxes]
        own = total = torch.full(z.shape[:-1], -math.inf, dtype=z.dtype, device=z.device)
        for m in range(len(self.modes.z)):
            away = self.inverse[m, datum] @ (z - self.modes.z[m, datum]).unsqueeze(-1)
            height = self.modes.height[m, datum] - 0.5 * away.squeeze(-1).square().sum(-1)
            total = torch.where(self.modes.kept[m, datum], torch.logaddexp(total, height), total)
            own = torch.where(mode == m, height, own)
        return own - total

    def _find_boxes(self) -> None:
        """Grow and shrink every box until it holds what is within 40 nats of the highest mode."""
        count, dim = _SEARCH[self.target.dim], self.target.dim
        for _ in range(_ROUNDS):
            boxes = (~self.settled).nonzero().flatten()
            if not len(boxes):
                return
            low, high = self.low[boxes], self.high[boxes]
            u = regular_grid(low, high, count)
            at_once = max(1, self.max_elements // count**dim)
            pieces = zip(boxes.split(at_once), u.split(at_once, 1), strict=True)
            density = torch.cat([self._density(some, part) for some, part in pieces], 1)
            volume = torch.linalg.slogdet(self.modes.factor[self.mode[boxes], self.datum[boxes]])
            held = density - volume.logabsdet >= self.top[self.datum[boxes]] - _NEAR
            spacing = (high - low) / (count - 1)
            least = torch.where(held.unsqueeze(-1), u, math.inf).amin(0)
            most = torch.where(held.unsqueeze(-1), u, -math.inf).amax(0)
            empty = ~held.any(0)
            below, above = least <= low + 0.5 * spacing, most >= high - 0.5 * spacing
            half = 0.5 * (high - low)
            new_low = torch.where(below, low - half, least - spacing)
            new_high = torch.where(above, high + half, most + spacing)
            steady = ((new_high - new_low) > 0.8 * (high - low)).all(-1)
            self.settled[boxes] = (steady & ~(below | above).any(-1)) | empty
            self.low[boxes] = torch.where(empty.unsqueeze(-1), low, new_low)
            self.high[boxes] = torch.where(empty.unsqueeze(-1), high, new_high)

    def _on_grid(self, boxes: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """log ∫, log of its error, mean and covariance of u, of some boxes.

        The error is the difference to the grid of every other node, or a quarter of that to a grid
        of every fourth, whichever of those is farthest off: where the integrand has a kink, errors
        fall with the square of the spacing, and one difference alone may be small by chance.
        """
        parts = []
        for some in boxes.split(max(1, self.max_elements // count**self.target.dim)):
            low, high = self.low[some], self.high[some]
            u = regular_grid(low, high, count)
            density = self._density(some, u)
            cell = ((high - low) / (count - 1)).log().sum(-1)
            total = density.logsumexp(0) + cell
            dim = self.target.dim
            parted = _coarser(density, count, dim) + cell - total
            off = (parted.nan_to_num(nan=0.0).exp() - 1).abs()  # NaN: nothing on any grid
            off = (off * off.new_tensor([1.0] + [0.25] * (len(off) - 1))[:, None]).amax(0)
            weight = (density - density.amax(0)).exp().nan_to_num().unsqueeze(-1)
            weight = weight / weight.sum(0).clamp_min(torch.finfo(weight.dtype).tiny)
            mean = (weight * u).sum(0)
            covariance = torch.einsum("gbi,gbj->bij", weight * (u - mean), u - mean)
            parts.append((total, total + off.log(), mean, covariance))
        total, off, mean, covariance = (torch.cat(part) for part in zip(*parts, strict=True))
        return total, off, mean, covariance

    def _around(self, boxes: Tensor) -> Tensor:
        """log of the mass between each box and one half as large again, (P,)."""
        count, parts = 2 * _SEARCH[self.target.dim] - 1, []
        for some in boxes.split(max(1, self.max_elements // count**self.target.dim)):
            low, high = self.low[some], self.high[some]
            quarter = 0.25 * (high - low)
            u = regular_grid(low - quarter, high + quarter, count)
            inside = ((u >= low) & (u <= high)).all(-1)
            density = torch.where(inside, -math.inf, self._density(some, u))
            cell = (1.5 * (high - low) / (count - 1)).log().sum(-1)
            parts.append(density.logsumexp(0) + cell)
        return torch.cat(parts)

    def _missed(self) -> Tensor:
        """log of the mass that the survey finds outside all boxes of a datum, (B,)."""
        covered = torch.zeros_like(self.seen.height, dtype=torch.bool)
        for m in range(len(self.modes.z)):
            boxes = (self.mode == m).nonzero().flatten()
            datum = self.datum[boxes]
            away = (self.seen.z[:, datum] - self.modes.z[m, datum]).unsqueeze(-1)
            u = (self.inverse[m, datum] @ away).squeeze(-1)
            covered[:, datum] |= ((u >= self.low[boxes]) & (u <= self.high[boxes])).all(-1)
        outside = torch.where(covered, -math.inf, self.seen.height)
        return outside.logsumexp(0) + self.seen.log_cell

    def _rounding(self) -> Tensor:
        """What rounding does to the integral, (B,), nats.

        How far log p(x_seen, z) is from a parabola close to the best mode; what is lost where its
        height is far from 0; and a quarter of what the rounding of z itself is in standard
        deviations, which the average over nodes makes smaller.
        """
        eps = torch.finfo(self.low.dtype).eps
        shift = (self.inverse[0].abs() @ self.modes.z[0].abs().unsqueeze(-1)).amax((-2, -1))
        u = torch.linspace(-1, 1, 17, dtype=self.low.dtype, device=self.low.device)
        near = (32 * eps * shift).clamp(1e-3, 0.1).unsqueeze(-1)  # wide enough that z moves
        z = self.modes.z[0] + u[:, None, None] * near * self.modes.factor[0, :, :, 0]
        found = (self._log_joint(self.target, z) - self.top).double()
        powers = torch.stack([torch.ones_like(u), u, u.square(), u**3], -1).double()
        smooth = powers @ torch.linalg.lstsq(powers, found.nan_to_num(neginf=0.0)).solution
        rough = (found - smooth).square().mean(0).sqrt().to(self.top)
        return 4 * rough + 4 * eps * self.top.abs() + 0.25 * eps * shift

    def _summed(self, of_boxes: Tensor) -> Tensor:
        """log Σ exp over the boxes of each datum, (B,)."""
        table = torch.full_like(self.modes.height, -math.inf)
        table[self.mode, self.datum] = of_boxes
        return table.logsumexp(0)

    def _moments(
        self, found: tuple[Tensor, Tensor, Tensor, Tensor], total: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and covariance of z, over the boxes of each datum."""
        factor = self.modes.factor[self.mode, self.datum]
        means = self.modes.z[self.mode, self.datum] + (factor @ found[2].unsqueeze(-1)).squeeze(-1)
        share = (found[0] - total[self.datum]).exp()[:, None]
        mean = torch.zeros_like(self.seen.spread).index_add_(0, self.datum, share * means)
        apart = means - mean[self.datum]
        of_box = factor @ found[3] @ factor.mT + apart.unsqueeze(-1) * apart.unsqueeze(-2)
        zeros = torch.zeros_like(self.modes.factor[0])
        return mean, zeros.index_add_(0, self.datum, share[..., None] * of_box)


def values_at(
    function: Callable[[Tensor], Tensor], z: Tensor, numbers: int, max_elements: int
) -> Tensor:
    """A function of z at every node, (G, B), in chunks over nodes."""
    chunk = max(1, max_elements // (numbers * z.shape[1]))
    return torch.cat([function(part) for part in z.split(chunk)])


def every_other(values: Tensor, count: int, dim: int) -> Tensor:
    """Values (count^D, B) at every other node along each dimension."""
    shaped = values.reshape(*[count] * dim, -1)
    return shaped[(slice(None, None, 2),) * dim].flatten(0, dim - 1)


def _coarser(values: Tensor, count: int, dim: int) -> Tensor:
    """log Σ over every other node, and over each grid of every fourth, times 2^D or 4^D, (S, P)."""
    halved = [every_other(values, count, dim).logsumexp(0) + dim * math.log(2)]
    shaped = values.reshape(*[count] * dim, -1)
    if count > 4 and (count - 1) % 4 == 0:
        for shift in itertools.product(range(4), repeat=dim):
            part = shaped[tuple(slice(i, None, 4) for i in shift)].flatten(0, dim - 1)
            halved.append(part.logsumexp(0) + dim * math.log(4))
    return torch.stack(halved)
