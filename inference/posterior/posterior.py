"""q(z | x_seen) of a batch of images: what was inferred, and what can be asked of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from inference.chunks import MAX_ELEMENTS, chunk_size
from inference.isolated import isolated
from inference.pareto import pareto_k_hat
from inference.particles import Particles, draw, effective_sample_size
from inference.posterior.bound import Bound, elbo_of, importance_bound_of
from inference.posterior.guides.draws import DrawsGuide
from inference.posterior.guides.per_datum import for_data
from inference.posterior.identity import conditions
from inference.posterior.latents import draw_latents, log_density, mean_of
from inference.posterior.log_density import LogDensity
from inference.posterior.reconstruction import Draw, check_draw, decoded_from
from inference.posterior.resampling import resampled_latents
from pyro_models import Pair, UsageError
from pyro_models.counts import check_counts
from pyro_models.data import Identity
from pyro_models.seeds import stream

__all__ = ["Posterior"]


@dataclass(frozen=True, eq=False)
class Posterior:
    """q(z | x_seen) for each of B images, as :func:`inference.posterior.infer` returns it.

    It is itself a guide: ``particles(pair, posterior, x, …)`` and everything else that takes a
    guide draws from it, whatever x is then given: it belongs to the data it was inferred from.
    Methods that sample take a seed and leave the caller's generators alone.

    Attributes
    ----------
    target
        log p(x_seen, z): the pair, and the data with what is seen of them.
    guide
        The module that samples.
    name
        Name of the guide.
    density
        Whether q has a density: without one (a point, draws) there is no bound and no log q.
    stopped
        For each image ``"converged"``, ``"step limit"``, ``"non-finite"``, ``"diverged"`` (the
        guide's density could no longer be computed: a rate too high), or ``"not fitted"``.
    steps
        Steps taken for each image, (B,).
    seconds
        Wall-clock seconds of the whole call.
    num_parameters
        Numbers kept for each image; those that images share count by their share.
    seed
        Random seed of the inference.
    proposal
        What was resampled, if it was.
    max_elements
        Numbers that one chunk's reconstructions may hold.
    """

    target: LogDensity = field(repr=False)
    guide: nn.Module = field(repr=False)
    name: str
    density: bool
    stopped: tuple[str, ...] = field(repr=False)
    steps: Tensor = field(repr=False)
    seconds: float
    num_parameters: float
    seed: int
    proposal: Posterior | None = field(default=None, repr=False)
    max_elements: int = field(default=MAX_ELEMENTS, repr=False)

    def __len__(self) -> int:
        return len(self.target)

    def __call__(
        self,
        x: Tensor | None = None,
        *,
        y: Tensor | None = None,
        n: int | None = None,
        mask: Tensor | None = None,
    ) -> None:
        """Sample as a guide. x, y and mask are those that were inferred from, not these.

        Raises
        ------
        UsageError
            If x is of another number of data.
        """
        if x is not None and len(x) != len(self):
            raise UsageError(
                f"this posterior is of {len(self)} data, and {len(x)} are given: select its rows"
            )
        self.guide(self.target.x, **self.target.conditions)

    @property
    def pair(self) -> Pair:
        """Whose model was conditioned."""
        return self.target.pair

    @property
    def x(self) -> Tensor:
        """The data, 0 where unseen."""
        return self.target.x

    @property
    def mask(self) -> Tensor | None:
        """True = seen, (B, \\*data_shape), or ``None``."""
        return self.target.mask

    @property
    def y(self) -> Tensor | None:
        """Labels, or ``None``."""
        return self.target.y

    @property
    def given(self) -> LogDensity:
        """The former name of ``target``."""
        warnings.warn("Posterior.given is now Posterior.target", DeprecationWarning, stacklevel=2)
        return self.target

    @property
    def identity(self) -> Identity:
        """What it was inferred from, by content: data, mask, labels, the model's weights."""
        return self.target.identity

    def select(self, rows: Tensor | slice | Sequence[int]) -> Posterior:
        """The posterior of some of the images, in the order of ``rows`` (numbers or booleans)."""
        if not isinstance(rows, slice):
            rows = torch.as_tensor(rows, device=self.x.device)
        chosen = torch.arange(len(self), device=self.x.device)[rows]
        return replace(
            self,
            target=self.target.select(chosen),
            guide=for_data(self.guide, chosen, len(self)),
            stopped=tuple(self.stopped[i] for i in chosen.tolist()),
            steps=self.steps[chosen.cpu()],
            proposal=None if self.proposal is None else self.proposal.select(chosen),
        )

    def sample(self, n: int, *, seed: int = 0) -> dict[str, Tensor]:
        """Draws of every latent: site → (n, B, \\*event_shape).

        Discrete sites that were summed out are drawn given the continuous ones and x_seen.

        Raises
        ------
        UsageError
            If n < 1.
        """
        check_counts(n=n)
        with isolated(self.pair, seed=stream(seed, "posterior sample")):
            parts = [draw_latents(part.target, part.guide, n) for part in self._chunks(n)]
        return {name: torch.cat([p[name] for p in parts], 1) for name in parts[0]}

    def resampled(self, num_particles: int, *, seed: int = 0) -> Posterior:
        """Sampling importance resampling: K draws from q, redrawn by their weights.

        For each image K times z_k with probability w_k / Σ w, w_k = p(x_seen, z_k) / q(z_k) (Rubin
        1988). As K grows the draws come from the posterior itself, the sooner the larger the
        effective sample size. What results has draws and no density; its ``proposal`` is this one.

        Raises
        ------
        UsageError
            If q has no density, or K < 1.
        """
        self._needs_density("an importance weight")
        check_counts(**{"resample (K)": num_particles})
        with isolated(self.pair, seed=stream(seed, "resampling")):
            parts = [resampled_latents(p._draw(num_particles)) for p in self._chunks(num_particles)]
        draws = {name: torch.cat([p[name] for p in parts], 1) for name in self.target.prior}
        return replace(
            self,
            guide=DrawsGuide(draws),
            name=f"{self.name}, resampled from {num_particles}",
            density=False,
            proposal=self,
        )

    def log_prob(self, latents: Mapping[str, Tensor]) -> Tensor:
        """log q(z | x_seen), nats, (\\*batch, B), of latents (\\*batch, B, \\*event_shape).

        Raises
        ------
        UsageError
            If q has no density, or a site is missing.
        """
        self._needs_density("log q")
        with isolated(self.pair):
            return log_density(self.target, self.guide, latents)

    @cached_property
    def mean(self) -> dict[str, Tensor]:
        """E_q[z] of every continuous site, (B, \\*event_shape).

        Exact where the guide knows its means, or a site is conditioned on no other; else the
        average over 1,000 draws.
        """
        known = getattr(self.guide, "means", None)
        with isolated(self.pair, seed=stream(0, "posterior mean")):
            found = mean_of(self.target, self.guide, 1000) if known is None else dict(known())
        return {name: mean.detach() for name, mean in found.items()}

    def reconstruct(
        self, *, latents: Draw = "sample", pixels: Draw = "mean", seed: int = 0
    ) -> Tensor:
        """Whole images decoded from the latents, (B, \\*data_shape); seen pixels too.

        Parameters
        ----------
        latents
            ``"sample"``: z ~ q. ``"mean"``: E_q[z].
        pixels
            ``"mean"``: E[x | z]. ``"sample"``: x ~ p(x | z).
        seed
            Random seed of the draws.
        """
        check_draw("latents", latents)
        check_draw("pixels", pixels)
        values = {name: draws[0] for name, draws in self.sample(1, seed=seed).items()}
        if latents == "mean":
            values.update(self.mean)
        return self._decode(values, pixels, seed=seed)

    def complete(self, *, num_samples: int = 100, seed: int = 0) -> Tensor:
        """E[x | x_seen] under q, (B, \\*data_shape): seen pixels exactly as given.

        An average of E[x | z] over ``num_samples`` draws of z.
        """
        total: Tensor | float = 0.0
        for z, _ in self._pieces(num_samples, seed):
            with isolated(self.pair):
                total = total + self._decode_mean(z).sum(0)
        assert isinstance(total, Tensor)
        return self.target.data.with_seen(total / num_samples)

    def completions(self, n: int, *, pixels: Draw = "sample", seed: int = 0) -> Tensor:
        """Draws of the whole image given what is seen, (n, B, \\*data_shape).

        Each has a z of its own; its unseen pixels are drawn from p(x | z), or are its mean. Seen
        pixels are exactly as given.
        """
        check_draw("pixels", pixels)
        parts = [self._decode(z, pixels, seed=seed + i) for z, i in self._pieces(n, seed)]
        return self.target.data.with_seen(torch.cat(parts))

    def log_weights(self, num_particles: int, *, seed: int = 0) -> Tensor:
        """log w_k = log p(x_seen, z_k) − log q(z_k), (K, B), in nats; memory is bounded.

        Raises
        ------
        UsageError
            If q has no density, or K < 1.
        """
        self._needs_density("an importance weight")
        check_counts(**{"num_particles (K)": num_particles})
        with isolated(self.pair, seed=stream(seed, "particles")):
            return torch.cat([p._log_weights(num_particles) for p in self._chunks(1)], 1)

    def elbo(self, *, num_particles: int = 100, seed: int = 0) -> Bound:
        """E_q[log p(x_seen, z) − log q(z)] ≤ log p(x_seen), estimated from K draws per image."""
        return elbo_of(self.log_weights(num_particles, seed=seed))

    @cached_property
    def bound(self) -> Bound:
        """The ELBO of each image from 100 draws."""
        return self.elbo()

    def importance_bound(self, num_particles: int, *, seed: int = 0) -> Bound:
        """One draw of L_K = log (1/K) Σ_k w_k, whose mean is below log p(x_seen)."""
        return importance_bound_of(self.log_weights(num_particles, seed=seed))

    def effective_sample_size(self, num_particles: int = 1000, *, seed: int = 0) -> Tensor:
        """(Σ w)² / Σ w² of K weights, (B,), between 1 and K."""
        return effective_sample_size(self.log_weights(num_particles, seed=seed))

    def k_hat(self, num_particles: int = 1000, *, seed: int = 0) -> Tensor:
        """Pareto k̂ of K weights, (B,): above 0.7 estimates from them cannot be relied upon."""
        return pareto_k_hat(self.log_weights(num_particles, seed=seed))

    def to_text(self) -> str:
        """What was inferred, in some lines for a terminal."""
        lines = [
            f"{'guide':24}{self.name}",
            f"{'numbers per image':24}{self.num_parameters:g}",
        ]
        given = conditions(self.pair, self.y)
        if given:
            lines.append(f"{'given':24}{given}")
        if self.density:
            mean, error = self.bound.mean
            draws = f"{self.bound.num_particles} draws"
            of_one = f"{'ELBO':24}{mean:.2f} nats ({draws})"
            of_many = (
                f"{'ELBO':24}{mean:.2f} ± {error:.2f} nats per image (mean and standard error over "
                f"images, {draws} each)"
            )
            lines.append(of_one if len(self) == 1 else of_many)
        else:
            lines.append(f"{'ELBO':24}not defined: this guide has no density")
        for reason in sorted(set(self.stopped)):
            rows = torch.tensor([other == reason for other in self.stopped])
            steps = self.steps[rows]
            taken = f", median {int(steps.median())} steps" if bool(steps.any()) else ""
            lines.append(f"{reason:24}{int(rows.sum())} of {len(self)} images{taken}")
        return "\n".join(lines) + "\n"

    def _needs_density(self, what: str) -> None:
        if not self.density:
            hint = ": ask its proposal" if self.proposal is not None else ""
            raise UsageError(
                f"the guide {self.name} has no density, so {what} is not defined for it{hint}"
            )

    def _chunks(self, num_particles: int) -> Iterator[Posterior]:
        """Parts of the images whose reconstructions fit into memory."""
        chunk = chunk_size(self.pair, each=num_particles, max_elements=self.max_elements)
        if chunk >= len(self):
            yield self
            return
        for i in range(0, len(self), chunk):
            yield self.select(slice(i, i + chunk))

    def _log_weights(self, num_particles: int) -> Tensor:
        chunk = chunk_size(self.pair, each=len(self), max_elements=self.max_elements)
        counts = [min(chunk, num_particles - i) for i in range(0, num_particles, chunk)]
        return torch.cat([self._draw(count).log_weight for count in counts])

    def _draw(self, num_particles: int) -> Particles:
        return draw(self.pair.model, self.guide, self.target.data, num_particles=num_particles)

    def _pieces(self, n: int, seed: int) -> Iterator[tuple[dict[str, Tensor], int]]:
        """n draws of the latents, a few at a time, and the number of the piece."""
        draws = self.sample(n, seed=seed)
        step = chunk_size(self.pair, each=len(self), max_elements=self.max_elements)
        for i in range(0, n, step):
            yield {name: values[i : i + step] for name, values in draws.items()}, i

    def _decode(self, latents: Mapping[str, Tensor], pixels: Draw, *, seed: int) -> Tensor:
        if pixels == "mean":
            with isolated(self.pair):
                return self._decode_mean(latents)
        with isolated(self.pair, seed=stream(seed, "pixels")):
            drawn: Tensor = self._decoded(latents).sample()
            return drawn

    def _decode_mean(self, latents: Mapping[str, Tensor]) -> Tensor:
        mean: Tensor = self._decoded(latents).mean
        return mean

    def _decoded(self, latents: Mapping[str, Tensor]) -> TorchDistribution:
        return decoded_from(self.pair, latents, self.target.data)
