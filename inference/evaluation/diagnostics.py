"""How good a guide is, datum by datum, and which latent dimensions it uses."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.distributions import Independent, kl_divergence
from tqdm import tqdm

from inference.chunks import MAX_ELEMENTS, chunk_size
from inference.learning.settings import check_pair_fits_data, check_seed
from inference.pareto import FEWEST, RELIABLE, pareto_k_hat
from inference.particles import Particles, checked_count, draw, effective_sample_size
from inference.undisturbed import stream, undisturbed
from pyro_models import ImageData, Pair, UsageError

__all__ = ["ACTIVE", "RELIABLE", "Diagnostics", "diagnose", "pareto_k_hat"]

ACTIVE = 0.01
"""A latent dimension is active if its posterior means vary over data by more than this."""


@dataclass(frozen=True)
class Diagnostics:
    """What a guide's importance weights and latent dimensions say of it.

    Attributes
    ----------
    effective_sample_size
        (Σ w)² / Σ w² of K weights, (B,), between 1 and K.
    k_hat
        Shape of the Pareto tail of the weights, (B,) (Vehtari et al. 2024): above 0.7 estimates
        from them cannot be relied upon. NaN for fewer than 25 particles.
    kl
        Mean over data of KL(q(z_d | x) ‖ p(z_d)) for each latent dimension d, nats; ``None`` where
        the guide or the prior does not factorise over dimensions. With latents above one another,
        each given those above it, so that all add up to the KL of the joint.
    posterior_mean_variance
        Variance over data of E_q[z_d | x], for each latent dimension (Burda et al. 2016).
    posterior_variance
        Mean over data of Var_q[z_d | x], for each latent dimension.
    num_particles
        K.
    data, split, seed
        On which data, and the seed of their preparation and of the particles.
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

    def __str__(self) -> str:
        return self.to_text()

    def to_json(self) -> str:
        """All figures, those of every datum among them; ``null`` for what is not finite."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {k: _finite(v) if isinstance(v, Tensor) else v for k, v in values.items()}
        plain = {**plain, "active_units": self.active_units}
        return json.dumps(plain, indent=2, allow_nan=False) + "\n"

    def to_text(self) -> str:
        """The figures for a terminal."""
        ess, k_hat = self.effective_sample_size, self.k_hat
        lines = [
            f"{self.data} {self.split}, {len(ess):,} data, K = {self.num_particles}, "
            f"seed {self.seed}",
            f"effective sample size: median {float(ess.median()):.1f}, "
            f"lowest {float(ess.min()):.1f} of {self.num_particles}",
        ]
        if self.num_particles < FEWEST:
            lines.append(f"Pareto k̂: not estimated (it needs at least {FEWEST} particles)")
        else:
            lines.append(
                f"Pareto k̂: median {float(k_hat.median()):.2f}, above {RELIABLE} for "
                f"{self.share_unreliable:.1%} of the data"
            )
        total = len(self.posterior_mean_variance)
        lines.append(
            f"active units: {self.active_units} of {total} (variance over data of E[z | x] above "
            f"{ACTIVE})"
        )
        lines += ["", "dimension   KL (nats)   Var over x of E[z | x]   mean of Var[z | x]"]
        order = self.posterior_mean_variance.argsort(descending=True)
        for d in order.tolist():
            kl = "        –" if self.kl is None else f"{float(self.kl[d]):9.3f}"
            lines.append(
                f"{d:9d}   {kl}   {float(self.posterior_mean_variance[d]):22.4f}   "
                f"{float(self.posterior_variance[d]):18.4f}"
            )
        return "\n".join(lines) + "\n"


def diagnose(
    pair: Pair,
    data: ImageData,
    *,
    split: str = "test",
    num_particles: int = 1000,
    limit: int | None = 1000,
    seed: int = 0,
    max_elements: int = MAX_ELEMENTS,
    progress: bool = False,
) -> Diagnostics:
    """Diagnose a pair's guide on a split.

    Parameters
    ----------
    pair
        A pair with a continuous latent that its guide samples; nothing of it changes. One that uses
        labels is given those of the data, so the diagnosis is of q(z | x, y).
    data, split, limit
        The first ``limit`` data of a split; ``None`` for all.
    num_particles
        K weights per datum; k̂ needs some hundreds to mean much.
    seed
        Of preparation and particles; the caller's generators do not move.
    max_elements
        Numbers that one chunk's reconstructions may hold; bounds memory whatever K is.
    progress
        Show a progress bar.

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
    check_pair_fits_data(pair, data, splits=[split], seed=seed)
    check_seed(seed)
    if limit is not None and limit < 1:
        raise UsageError(f"limit must be at least 1; got {limit}")
    num_particles = checked_count(num_particles)
    first = next(pair.parameters())
    prepared = data.prepared(split, seed=seed, limit=limit)
    if not len(prepared):
        raise UsageError(f"the {split} split of {data.name} is empty")
    x = prepared.x.to(first.device, first.dtype)
    y = None if prepared.y is None else prepared.y.to(first.device)
    chunk = chunk_size(pair, each=num_particles, max_elements=max_elements)
    sizes: list[Tensor] = []
    k_hats: list[Tensor] = []
    moments: list[_Moments] = []
    with (
        undisturbed(pair, seed=stream(seed, "particles")),
        tqdm(total=len(x), disable=not progress, unit="datum", leave=False) as bar,
    ):
        for i in range(0, len(x), chunk):
            rows = slice(i, i + chunk)
            labels = None if y is None else y[rows]
            log_w, of_rows = _weigh(pair, x[rows], labels, num_particles, max_elements)
            sizes.append(effective_sample_size(log_w).cpu())
            k_hats.append(pareto_k_hat(log_w).cpu())
            moments.append(of_rows)
            bar.update(len(x[rows]))
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
    )


def _finite(values: Tensor) -> list[float | None]:
    return [v if math.isfinite(v) else None for v in values.tolist()]


def _weigh(
    pair: Pair, x: Tensor, y: Tensor | None, num_particles: int, max_elements: int
) -> tuple[Tensor, _Moments]:
    """log w, (K, B), and the moments of q, in chunks over particles."""
    chunk = chunk_size(pair, each=len(x), max_elements=max_elements)
    log_w, sums = [], []
    for i in range(0, num_particles, chunk):
        count = min(chunk, num_particles - i)
        drawn = draw(pair.model, pair.guide, x, num_particles=count, y=y)
        log_w.append(drawn.log_weight)
        sums.append(_sums(drawn))
    kls = [s.kl for s in sums if s.kl is not None]
    mean = torch.stack([s.mean for s in sums]).sum(0) / num_particles
    square = torch.stack([s.square for s in sums]).sum(0) / num_particles
    variance = torch.stack([s.variance for s in sums]).sum(0) / num_particles
    # what the latents above move the mean of those below: 0 where one site is all there is
    moved = (square - mean.square()).clamp_min(0) / max(1, num_particles - 1)
    return torch.cat(log_w), _Moments(
        mean=mean,
        noise=moved,
        variance=variance + moved * num_particles,
        kl=torch.stack(kls).sum(0) / num_particles if len(kls) == len(sums) else None,
    )


@dataclass(frozen=True)
class _Moments:
    """Of q(z | x) over all continuous sites, (B, d).

    Attributes
    ----------
    mean, variance
        E[z | x] and Var[z | x].
    noise
        Squared standard error of the mean.
    kl
        By dimension, if q factorises.
    """

    mean: Tensor
    noise: Tensor
    variance: Tensor
    kl: Tensor | None


@dataclass(frozen=True)
class _Sums:
    """Over particles, (B, d): of mean, squared mean and variance given the sites above, and KL."""

    mean: Tensor
    square: Tensor
    variance: Tensor
    kl: Tensor | None


def _sums(drawn: Particles) -> _Sums:
    sites = {
        name: site
        for name, site in drawn.guide_sites.items()
        if not site["fn"].has_enumerate_support
    }
    if not sites:
        raise UsageError(
            "there is no continuous latent that the guide samples: nothing to diagnose"
        )
    means = torch.cat([s["fn"].mean.double().flatten(2) for s in sites.values()], -1)
    variances = torch.cat([s["fn"].variance.double().flatten(2) for s in sites.values()], -1)
    kls = [_kl_by_dimension(drawn, name) for name in sites]
    known = [kl for kl in kls if kl is not None]
    return _Sums(
        mean=means.sum(0),
        square=means.square().sum(0),
        variance=variances.sum(0),
        kl=torch.cat(known, -1).sum(0) if len(known) == len(kls) else None,
    )


def _kl_by_dimension(drawn: Particles, name: str) -> Tensor | None:
    """KL of one site given those above it, (K, B, d), if it factorises.

    Sampled, log q(z_d) − log p(z_d), where the guide goes in another order than the model: a
    conditional KL is then no term of the joint one, and these still add up to it.
    """
    q, p = drawn.guide_sites[name]["fn"], drawn.model_sites[name]["fn"]
    if not (isinstance(q, Independent) and isinstance(p, Independent)):
        return None
    if [n for n in drawn.model_sites if n not in drawn.observed] == list(drawn.guide_sites):
        kl = kl_divergence(q.base_dist, p.base_dist)
    else:
        z = drawn.guide_sites[name]["value"]
        kl = q.base_dist.log_prob(z) - p.base_dist.log_prob(z)
    return kl.double().flatten(2)
