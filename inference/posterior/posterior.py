"""q(z | x_seen) of a batch of images: what was inferred, and what can be asked of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from inference.blocks import computed
from inference.chunks import MAX_ELEMENTS, chunk_size
from inference.isolated import isolated
from inference.pareto import pareto_k_hat
from inference.particles import draw, effective_sample_size
from inference.pieces import log_weights_of
from inference.posterior.bound import Bound, elbo_of, importance_bound_of
from inference.posterior.decoding import Draw, check_completes, check_draw, decoded_from
from inference.posterior.guides.draws import DrawsGuide
from inference.posterior.guides.encoder import EncoderGuide
from inference.posterior.guides.per_datum import for_data
from inference.posterior.identity import conditions
from inference.posterior.latents import draw_latents, mean_of, resampled_latents
from inference.posterior.log_density import LogDensity
from inference.precision import precision_of
from pyro_models import Pair, UsageError
from pyro_models.brief import Brief
from pyro_models.counts import check_counts
from pyro_models.data import Identity
from pyro_models.device import placed
from pyro_models.moved import renamed_attribute
from pyro_models.seeds import stream

__all__ = ["Posterior"]

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Posterior(Brief):
    """q(z | x_seen) for each of B images, as :func:`inference.posterior.infer` returns it.

    It is itself a guide: ``particles(pair, posterior, x, …)`` and everything else that takes a
    guide draws from it, whatever x is then given: it belongs to the data it was inferred from.
    Methods that sample take a seed and leave the caller's generators alone. A ``UsageError`` says
    so where a number of draws is below 1, a latent is missing, or q has no density to be asked for.

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
        Numbers that may be decoded at once; no draw hangs on it.
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
    given: ClassVar = renamed_attribute("target")

    def facts(self) -> Mapping[str, object]:
        """The guide, of what, and how its fits ended."""
        ended = ", ".join(f"{n:,} {why}" for why, n in Counter(self.stopped).items())
        seen = "" if self.mask is None else f"{float(self.mask.float().mean()):.0%} of the values"
        return {
            "": f"{self.name} of {type(self.pair).__name__}",
            "data": len(self),
            "seen": seen,
            "fits": ended,
            "steps": int(self.steps.max()) if len(self.steps) else 0,
            "parameters per datum": self.num_parameters,
            "seed": self.seed,
            "precision": self.precision,
        }

    def __len__(self) -> int:
        return len(self.target)

    def __call__(self, x: Tensor | None = None, **_: Any) -> None:
        """Sample as a guide, of the data that were inferred from; x may be no other number."""
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
    def identity(self) -> Identity:
        """What it was inferred from, by content: data, mask, labels, the model's weights."""
        return self.target.identity

    @property
    def precision(self) -> str | None:
        """In what precision it was inferred and is asked, as of a score; ``None`` for float32."""
        return precision_of(self.pair)

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
        """
        check_counts(n=n)

        def drawn(part: Posterior) -> dict[str, Tensor]:
            return draw_latents(part.target, part.guide, n)

        parts = self._blocks(drawn, each=n, seed=seed, purpose="posterior sample")
        return {name: torch.cat([p[name] for p in parts], 1) for name in parts[0]}

    def resampled(self, num_particles: int, *, seed: int = 0) -> Posterior:
        """Sampling importance resampling: K draws from q, redrawn by their weights.

        For each image K times z_k with probability w_k / Σ w, w_k = p(x_seen, z_k) / q(z_k) (Rubin
        1988). As K grows the draws come from the posterior itself, the sooner the larger the
        effective sample size. What results has draws and no density; its ``proposal`` is this one.
        """
        self._needs_density("an importance weight")
        check_counts(**{"resample (K)": num_particles})

        def redrawn(part: Posterior) -> dict[str, Tensor]:
            target = part.target
            drawn = draw(self.pair.model, part.guide, target.data, num_particles=num_particles)
            return resampled_latents(drawn)

        parts = self._blocks(redrawn, each=num_particles, seed=seed, purpose="resampling")
        draws = {name: torch.cat([p[name] for p in parts], 1) for name in self.target.prior}
        return replace(
            self,
            guide=DrawsGuide(draws),
            name=f"{self.name}, resampled from {num_particles}",
            density=False,
            proposal=self,
        )

    def log_prob(self, latents: Mapping[str, Tensor]) -> Tensor:
        """log q(z | x_seen), nats, (\\*batch, B), of latents (\\*batch, B, \\*event_shape)."""
        self._needs_density("log q")
        given = {}
        for name, event in self.target.sites.items():
            value, wanted = placed(latents.get(name), self.x), (len(self), *event)
            if value is None or value.shape[value.dim() - len(wanted) :] != wanted:
                shape = ", ".join(map(str, ("…", *wanted)))
                raise UsageError(f"log_prob needs the site {name!r} of shape ({shape})")
            given[name] = value
        density = replace(self.target, guide=self.guide)
        with isolated(self.pair):
            return density.log_start(density.pack(given))

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
        if isinstance(self.guide, EncoderGuide):
            check_completes(self.pair)
        pieces = self._pieces(num_samples, seed, self.max_elements)
        total = sum(self._decode(z, "mean", seed=seed).sum(0) for z, _ in pieces)
        return self.target.data.with_seen(torch.as_tensor(total) / num_samples)

    def completions(self, n: int, *, pixels: Draw = "sample", seed: int = 0) -> Tensor:
        """Draws of the whole image given what is seen, (n, B, \\*data_shape).

        Each has a z of its own; its unseen pixels are drawn from p(x | z), or are its mean. Seen
        pixels are exactly as given.
        """
        check_draw("pixels", pixels)
        if isinstance(self.guide, EncoderGuide):
            check_completes(self.pair)
        most = MAX_ELEMENTS if pixels == "sample" else self.max_elements
        pieces = self._pieces(n, seed, most)
        parts = [self._decode(z, pixels, seed=seed + i) for z, i in pieces]
        return self.target.data.with_seen(torch.cat(parts))

    def log_weights(self, num_particles: int, *, seed: int = 0) -> Tensor:
        """log w_k = log p(x_seen, z_k) − log q(z_k), (K, B), in nats; memory is bounded."""
        self._needs_density("an importance weight")
        check_counts(**{"num_particles (K)": num_particles})
        options = {"max_elements": self.max_elements}

        def weighed(part: Posterior) -> Tensor:
            size = chunk_size(self.pair, each=len(part))
            counts = [min(size, num_particles - i) for i in range(0, num_particles, size)]
            data = part.target.data
            of = [log_weights_of(self.pair, part, data, num_particles=n, **options) for n in counts]
            return torch.cat(of)

        return torch.cat(self._blocks(weighed, each=1, seed=seed, purpose="particles"), 1)

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
        one, several = ("image", "images") if self.x.dim() == 4 else ("datum", "data")
        lines = {"guide": self.name, f"numbers per {one}": f"{self.num_parameters:g}"}
        given = conditions(self.pair, self.y)
        if given:
            lines["given"] = given
        if self.precision:
            lines["precision"] = self.precision
        if self.density:
            mean, error = self.bound.mean
            unit = f"nats ({self.bound.num_particles} draws)"
            if len(self) > 1:
                unit = f"± {error:.2f} nats per {one} (mean and standard error over {several}, "
                unit += f"{self.bound.num_particles} draws each)"
            lines["ELBO"] = f"{mean:.2f} {unit}"
        else:
            lines["ELBO"] = "not defined: this guide has no density"
        for reason in sorted(set(self.stopped)):
            rows = torch.tensor([other == reason for other in self.stopped])
            steps = self.steps[rows]
            taken = f", median {int(steps.median())} steps" if bool(steps.any()) else ""
            lines[reason] = f"{int(rows.sum())} of {len(self)} {several}{taken}"
        return "".join(f"{title:24}{text}\n" for title, text in lines.items())

    def _needs_density(self, what: str) -> None:
        if not self.density:
            hint = ": ask its proposal" if self.proposal is not None else ""
            raise UsageError(
                f"the guide {self.name} has no density, so {what} is not defined for it{hint}"
            )

    def _blocks(
        self, compute: Callable[[Posterior], Result], *, each: int, seed: int, purpose: str
    ) -> list[Result]:
        """What is computed of blocks of the images, so many draws of each of which are decoded."""
        size = chunk_size(self.pair, each=each)
        return computed(
            compute,
            lambda rows: self if size >= len(self) else self.select(rows),
            pair=self.pair,
            count=len(self),
            size=size,
            seed=seed,
            purpose=purpose,
        )

    def _pieces(self, n: int, seed: int, most: int) -> Iterator[tuple[dict[str, Tensor], int]]:
        """n draws of the latents, a few at a time, and the number of the piece."""
        draws = self.sample(n, seed=seed)
        step = chunk_size(self.pair, each=len(self), max_elements=most)
        for i in range(0, n, step):
            yield {name: values[i : i + step] for name, values in draws.items()}, i

    def _decode(self, latents: Mapping[str, Tensor], pixels: Draw, *, seed: int) -> Tensor:
        with isolated(self.pair, seed=stream(seed, "pixels")):
            p_x = decoded_from(self.pair, latents, self.target.data)
            values: Tensor = p_x.mean if pixels == "mean" else p_x.sample()
        return values
