"""How good a guide is, datum by datum, and which latent dimensions it uses."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.distributions import Independent, kl_divergence

from inference.blocks import computed
from inference.chunks import MAX_ELEMENTS, chunk_size
from inference.evaluation.evaluated import evaluated_split
from inference.evaluation.quantity import quantities_of, quantity_named
from inference.evaluation.table import Table, Tabular
from inference.latent_use import ACTIVE
from inference.pareto import FEWEST, RELIABLE, pareto_k_hat
from inference.particles import Particles, checked_count, effective_sample_size
from inference.pieces import drawn_in_pieces
from inference.posterior.identity import conditions, given_labels
from inference.precision import DEFAULT, at_precision, precision_of
from inference.progress import bar
from pyro_models import ImageData, Pair, UsageError
from pyro_models.data import Identity, as_data
from pyro_models.observed import Data, Observed

__all__ = ["ACTIVE", "Diagnostics", "diagnose", "pareto_k_hat", "weighed_with_moments"]

_OF_WEIGHTS = ("effective_sample_size", "k_hat", "active_units")
"""Quantities that have a line each; those of latent dimensions are columns."""


@dataclass(frozen=True)
class Diagnostics(Tabular):
    """What a guide's importance weights and latent dimensions say of it.

    Latent dimensions are counted from 1 where they are named, as in z₁, z₂, …, here as in every
    figure; ``kl[0]`` is that of z₁.

    Attributes
    ----------
    effective_sample_size, k_hat, num_particles
        (Σ w)² / Σ w² of K weights, (B,), between 1 and K; and the shape of their Pareto tail, (B,)
        (Vehtari et al. 2024): above 0.7 estimates from them cannot be relied upon. NaN for fewer
        than 25 particles.
    kl
        Mean over data of KL(q(z_d | x) ‖ p(z_d)) for each latent dimension d, nats; ``None`` where
        the guide or the prior does not factorise over dimensions. With latents above one another,
        each given those above it, so that all add up to the KL of the joint.
    posterior_mean_variance, posterior_variance
        Variance over data of E_q[z_d | x] (Burda et al. 2016), and mean over data of Var_q[z_d |
        x], for each latent dimension.
    data, split, seed, identity
        The data, which of their splits, the random seed of preparation and particles, and what
        these data are by content.
    given
        What the posteriors are given beside x, e.g. ``y`` or ``x_left``; ``None`` for nothing.
    precision
        As of :class:`inference.evaluation.Score`.
    quantities
        Names of the quantities that are shown and written, in their order; all unless given.
    """

    effective_sample_size: Tensor
    k_hat: Tensor
    kl: Tensor | None
    posterior_mean_variance: Tensor
    posterior_variance: Tensor
    num_particles: int
    data: str
    split: str
    seed: int
    identity: Identity | None = None
    given: str | None = None
    precision: str | None = None
    quantities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = quantities_of("diagnostics")
        for name in self.quantities:
            known.check(name)

    def showing(self, quantities: Sequence[str]) -> Diagnostics:
        """The same with these quantities alone, by name, in this order."""
        return replace(self, quantities=tuple(quantities))

    def facts(self) -> Mapping[str, object]:
        """What it is of, and the figures in short; printed, it is the table."""
        return {
            "of": f"{len(self.k_hat):,} {self.split} data of {self.data}",
            "active units": f"{self.active_units} of {len(self.posterior_mean_variance)}",
            "share of k-hat > 0.7": self.share_unreliable,
            "median effective sample size": float(self.effective_sample_size.median()),
            "particles": self.num_particles,
            "precision": self.precision,
        }

    @property
    def active_units(self) -> int:
        """Number of latent dimensions whose posterior means vary by more than 0.01."""
        return int((self.posterior_mean_variance > ACTIVE).sum())

    @property
    def share_unreliable(self) -> float:
        """Share of the data whose k̂ is above 0.7; NaN where k̂ is not known."""
        if bool(self.k_hat.isnan().any()):
            return math.nan
        return float((self.k_hat > RELIABLE).double().mean())

    def to_json(self) -> str:
        """The figures, those of every datum among them; ``null`` for what is not finite."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "quantities"}
        values |= {"identity": self.identity and self.identity.to_dict()}
        for name, value in values.items():
            if isinstance(value, Tensor):
                values[name] = [v if math.isfinite(v) else None for v in value.tolist()]
        values["active_units"] = self.active_units
        for name in {*quantities_of("diagnostics")} - {*self._shown()}:
            values.pop(name, None)
        return json.dumps(values, indent=2, allow_nan=False) + "\n"

    @property
    def table(self) -> Table:
        """A row for each latent dimension, counted from 1, the most used one first."""
        every = quantities_of("diagnostics")
        known = {name: every[name] for name in self._shown() if name not in _OF_WEIGHTS}
        heads = [f"{of.title} ({of.unit})" if of.unit else of.title for of in known.values()]

        def cell(name: str, d: int) -> str | None:
            values = getattr(self, name)
            return None if values is None else known[name].text(float(values[d]))

        order = self.posterior_mean_variance.argsort(descending=True).tolist()
        return Table(
            heads=[["dimension"], *([head] for head in heads)] if known else [],
            rows=[[str(d + 1), *(cell(name, d) for name in known)] for d in order if known],
            above=self._summary(),
            named_rows=False,
        )

    def _shown(self) -> tuple[str, ...]:
        return self.quantities or tuple(quantities_of("diagnostics"))

    def _summary(self) -> list[str]:
        """What the weights say, and how many dimensions are active."""
        ess, k_hat, k = self.effective_sample_size, self.k_hat, self.num_particles
        size, shape = quantity_named("effective_sample_size"), quantity_named("k_hat")
        given = f", given {self.given}" if self.given else ""
        given += f", in {self.precision}" if self.precision else ""
        tail = f"not estimated (it needs at least {FEWEST} particles)"
        if k >= FEWEST:
            tail = (
                f"median {shape.text(float(k_hat.median()))}, above {RELIABLE} for "
                f"{self.share_unreliable:.1%} of the data"
            )
        lines = {
            "effective_sample_size": f"effective sample size: median "
            f"{size.text(float(ess.median()))}, lowest {size.text(float(ess.min()))} of {k}",
            "k_hat": f"{shape.title}: {tail}",
            "active_units": f"active units: {self.active_units} of "
            f"{len(self.posterior_mean_variance)} (variance over data of E[z | x] above {ACTIVE})",
        }
        first = f"{self.data} {self.split}, {len(ess):,} data, K = {k}, seed {self.seed}{given}"
        return [first, *(lines[name] for name in self._shown() if name in lines)]


@at_precision
def diagnose(
    pair: Pair,
    data: ImageData | Data,
    *,
    split: str = "test",
    num_particles: int = 1000,
    limit: int | None = 1000,
    seed: int = 0,
    max_elements: int = MAX_ELEMENTS,
    progress: bool = False,
    precision: str = DEFAULT,
) -> Diagnostics:
    """Diagnose a pair's guide on a split.

    Parameters
    ----------
    pair
        A pair with a continuous latent that its guide samples; nothing of it changes. One that uses
        labels is given those of the data, so the diagnosis is of q(z | x, y).
    data, split, limit
        The first ``limit`` data of a split; ``None`` for all. Of what is no data set with splits
        (:func:`pyro_models.data.as_data`) all is taken, as it is.
    num_particles
        Number K of weights per datum; k̂ needs some hundreds to mean much.
    seed
        Random seed of the preparation and the particles; the caller's generators do not move.
    max_elements, progress
        Numbers that may be decoded at once, which bounds memory whatever K is and changes no number
        beyond rounding; show a progress bar.
    precision
        ``"float32"``, ``"bfloat16"`` or ``"float64"``, see
        :func:`inference.precision.in_precision`; the result says it.

    Raises
    ------
    UsageError
        If the pair has no continuous latent that its guide samples, or K < 1.

    Examples
    --------
    >>> from pyro_models import PPCA, load_data
    >>> data = load_data("digits", preparation="dequantised")
    >>> ppca = PPCA.maximum_likelihood(data.prepared("train").x, latent_dim=5)
    >>> diagnose(ppca, data, num_particles=50, limit=20).active_units  # exact guide
    5
    """
    num_particles = checked_count(num_particles)
    data = as_data(data, pair, split=split, half_seen=True)
    found = evaluated_split(pair, data, split=split, limit=limit, seed=seed)
    options = {"num_particles": num_particles, "max_elements": max_elements}

    def weigh(part: Observed) -> tuple[Tensor, Tensor, LatentMoments]:
        log_w, of_part = weighed_with_moments(pair, part.x, y=part.y, mask=part.mask, **options)
        return effective_sample_size(log_w).cpu(), pareto_k_hat(log_w).cpu(), of_part

    with bar(len(found), unit="data", shown=progress) as done:
        parts = computed(
            weigh,
            Observed.unchecked(found.x, found.y, found.mask).__getitem__,
            pair=pair,
            count=len(found),
            size=chunk_size(pair, each=num_particles),
            seed=seed,
            purpose="particles",
            progress=done.update,
        )
    sizes, k_hats, moments = zip(*parts, strict=True)
    means = torch.cat([m.mean for m in moments])
    noise = torch.cat([m.noise for m in moments]).mean(0)
    kls = [m.kl for m in moments if m.kl is not None]
    return Diagnostics(
        effective_sample_size=torch.cat(sizes),
        k_hat=torch.cat(k_hats),
        kl=torch.cat(kls).mean(0).cpu() if len(kls) == len(moments) else None,
        posterior_mean_variance=(means.var(0, unbiased=False) - noise).clamp_min(0).cpu(),
        posterior_variance=torch.cat([m.variance for m in moments]).mean(0).cpu(),
        num_particles=num_particles,
        data=data.name,
        split=split,
        seed=seed,
        identity=data.identity_of(split, limit=limit, labels=bool(given_labels(pair, found.y))),
        given=conditions(pair, found.y),
        precision=precision_of(pair),
    )


@dataclass(frozen=True)
class LatentMoments:
    """(B, d): E[z | x], its squared error, Var[z | x], and KL(q ‖ p) where it splits into
    dimensions.
    """

    mean: Tensor
    noise: Tensor
    variance: Tensor
    kl: Tensor | None


def weighed_with_moments(
    pair: Pair,
    x: Tensor,
    *,
    num_particles: int,
    max_elements: int,
    y: Tensor | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, LatentMoments]:
    """log w, (K, B), of a pair's own guide, and the moments of that guide, from the same draws.

    Latents above one another have no moments in closed form: E[z] = E[E[z | above]] and Var[z] =
    E[Var[z | above]] + Var[E[z | above]] are averages over the particles. At most ``max_elements``
    numbers are decoded at once.
    """
    chunk = chunk_size(pair, each=len(x))
    data, options = Observed.unchecked(x, y, mask), {"max_elements": max_elements}
    log_w: list[Tensor] = []
    sums: dict[str, Tensor] = {}
    for i in range(0, num_particles, chunk):
        count = min(chunk, num_particles - i)
        for k, rows, drawn in drawn_in_pieces(pair, None, data, num_particles=count, **options):
            if not (k.start or rows.start):
                log_w.append(drawn.log_weight.new_empty(count, len(x)))
            log_w[-1][k, rows] = drawn.log_weight
            sites = [n for n, s in drawn.guide_sites.items() if not s["fn"].has_enumerate_support]
            if not sites:
                raise UsageError(
                    "there is no continuous latent that the guide samples: nothing to diagnose"
                )
            q = [drawn.guide_sites[name]["fn"] for name in sites]  # given the sites above, (K, B)
            means, variances = (
                torch.cat([v.double().flatten(2) for v in values], -1)
                for values in ([of.mean for of in q], [of.variance for of in q])
            )
            zeros = means.new_zeros(len(x), means.shape[-1])
            # of the means: squares far from it would cancel
            near = sums.setdefault("near", zeros.clone())
            if i + k.start == 0:
                near[rows] = means[0]
            away = means - near[rows]
            found = {"mean": away, "square": away.square(), "variance": variances}
            kl = _kl_by_dimension(drawn, sites)
            found |= {"no kl": away} if kl is None else {"kl": kl}
            for name, values in found.items():
                sums.setdefault(name, zeros.clone())[rows] += values.sum(0)
    mean, square, variance = (sums[n] / num_particles for n in ("mean", "square", "variance"))
    # what the latents above move the mean of those below: 0 where one site is all there is
    noise = (square - mean.square()).clamp_min(0) / max(1, num_particles - 1)
    return torch.cat(log_w), LatentMoments(
        mean=sums["near"] + mean,
        noise=noise,
        variance=variance + noise * num_particles,
        kl=None if "no kl" in sums else sums["kl"] / num_particles,
    )


def _kl_by_dimension(drawn: Particles, sites: list[str]) -> Tensor | None:
    """KL of each site given those above it, (K, B, d), if all factorise.

    Sampled, log q(z_d) − log p(z_d), where the guide goes in another order than the model: a
    conditional KL is then no term of the joint one, and these still add up to it.
    """
    latent = [name for name in drawn.model_sites if name not in drawn.observed]
    kls = []
    for name in sites:
        q, p = drawn.guide_sites[name]["fn"], drawn.model_sites[name]["fn"]
        if not (isinstance(q, Independent) and isinstance(p, Independent)):
            return None
        if latent == list(drawn.guide_sites):
            kl = kl_divergence(q.base_dist, p.base_dist)
        else:
            z = drawn.guide_sites[name]["value"]
            kl = q.base_dist.log_prob(z) - p.base_dist.log_prob(z)
        kls.append(kl.double().flatten(2))
    return torch.cat(kls, -1)
