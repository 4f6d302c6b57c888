"""The rest of a half-seen datum: p(x_unseen | x_seen) = ∫ p(x_unseen | z) p(z | x_seen) dz."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from inference.blocks import computed
from inference.chunks import MAX_ELEMENTS, chunk_size
from inference.cuda_graph import Launched, launcher_of
from inference.posterior.decoding import (
    Draw,
    check_can_complete,
    check_completes,
    check_draw,
    decoded_from,
)
from inference.posterior.identity import identity_of
from inference.posterior.infer import infer
from inference.posterior.posterior import Posterior
from inference.precision import DEFAULT, at_precision, in_precision, precision_of
from inference.sites import traced
from pyro_models import Pair, UsageError
from pyro_models.brief import Brief
from pyro_models.contract import check_pair, fulfills, has_encoder
from pyro_models.counts import is_count
from pyro_models.data import Identity
from pyro_models.data.masks import Mask
from pyro_models.observed import Data, Labels, Observed, observed
from pyro_models.pair import CompletesExactly, ConditionsOnPixels
from pyro_models.seeds import check_seed

__all__ = ["Completion", "complete"]

ENCODER_ZEROS = "encoder_zeros"


@dataclass(frozen=True, eq=False)
class Completion(Brief):
    """Half-seen data with the rest filled in; seen pixels are everywhere exactly as given.

    Attributes
    ----------
    mean
        E[x | x_seen], (B, \\*data_shape): exact, or an average over draws of the latents.
    samples
        Draws from p(x | x_seen), (S, B, \\*data_shape), each from latents of its own.
    x
        What was given, 0 where unseen, (B, \\*data_shape).
    mask
        True = seen, (B, \\*data_shape).
    guide
        What stood for p(z | x_seen): ``"exact"``, ``"trained"`` (the pair's own p(z | x_C)), the
        name of a guide, or ``"encoder_zeros"``.
    pixels
        Whether samples hold drawn pixels or the decoder's means.
    posterior
        What was inferred, where a guide was fitted.
    seed
        Random seed of all draws.
    identity
        What was completed, by content: data, what is seen, labels, the model's weights.
    precision
        As of :class:`inference.evaluation.Score`.
    """

    mean: Tensor
    samples: Tensor
    x: Tensor
    mask: Tensor
    guide: str
    pixels: Draw
    posterior: Posterior | None = field(repr=False)
    seed: int
    identity: Identity | None = field(default=None, repr=False)
    precision: str | None = None

    def facts(self) -> Mapping[str, object]:
        """How many data, what is seen of them, and by which guide."""
        return {
            "data": len(self),
            "seen": f"{float(self.mask.float().mean()):.0%} of the values",
            "guide": self.guide,
            "samples": f"{len(self.samples)} of each, {self.pixels} of p(x | z)",
            "seed": self.seed,
            "precision": self.precision,
        }

    def __len__(self) -> int:
        return len(self.x)


@at_precision
def complete(
    pair: Pair,
    x: Data,
    mask: Mask | None = None,
    *,
    y: Labels | None = None,
    guide: str | Posterior | Callable[..., Any] = "best",
    num_samples: int = 8,
    num_latents: int = 100,
    pixels: Draw = "sample",
    fraction: float = 0.5,
    infer_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    max_elements: int = MAX_ELEMENTS,
    progress: bool = False,
    precision: str = DEFAULT,
) -> Completion:
    """Fill in the unseen pixels of data.

    Parameters
    ----------
    pair
        Any pair; nothing of it changes.
    x
        Prepared data (B, \\*data_shape), of any kind that :func:`pyro_models.observed.observed`
        takes. What stands in an unseen pixel, NaN included, is ignored.
    mask
        What is seen, unless x says it: a name such as ``"left"``, a ``.npy`` file, or an array (see
        :func:`pyro_models.data.masks.seen_pixels`; the name ``random`` takes the seed).
    y
        Labels (B,), or one for all, for a pair that needs or takes them.
    guide
        ``"exact"``: the pair's own p(x_unseen | x_seen) (PPCA and the mixtures). ``"trained"``: the
        p(z | x_C) of a pair that is made to complete. Anything that
        :func:`inference.posterior.infer` takes, or what it returned: q(z | x_seen).
        ``"best"``: exact if there is one, else trained, else the fitted guide ``"normal"``.
        ``"encoder_zeros"``: the encoder is told that unseen pixels are 0. That is common and wrong,
        and kept to be compared with: q then explains zeros that nobody has seen.
    num_samples
        S, completions drawn for each datum.
    num_latents
        Draws of the latents that the mean is averaged over, where it is not exact.
    pixels
        ``"sample"``: x_unseen ~ p(x | z). ``"mean"``: E[x | z] of the sampled z.
    fraction
        Fraction of the pixels that the mask ``random`` sees, drawn for each datum.
    infer_options
        Options of :func:`inference.posterior.infer`, such as ``{"max_steps": 500}``.
    seed
        Random seed of all draws; the caller's generators do not move.
    max_elements
        Numbers that may be decoded at once of a posterior's draws; no number hangs on it. Other
        completions go by blocks of ``2**22`` numbers.
    progress
        Show a progress bar while a guide is fitted.
    precision
        ``"float32"``, ``"bfloat16"`` or ``"float64"``, see
        :func:`inference.precision.in_precision`; the result says it.

    Raises
    ------
    UsageError
        If mask, labels or data do not fit, the pair has no such completion, or a count is below 1.

    Examples
    --------
    >>> from pyro_models import PPCA, load_data
    >>> data = load_data("digits", preparation="dequantised")
    >>> ppca = PPCA.maximum_likelihood(data.prepared("train").x, latent_dim=10)
    >>> x = data.prepared("test", limit=3).x
    >>> completed = complete(ppca, x, "left", num_samples=2)
    >>> completed.guide, completed.samples.shape
    ('exact', torch.Size([2, 3, 1, 8, 8]))
    >>> bool((completed.mean[..., :4] == x[..., :4]).all())
    True
    """
    check_pair(pair)
    check_draw("pixels", pixels)
    check_seed(seed)
    if not is_count(num_samples) or not is_count(num_latents):
        raise UsageError(
            f"num_samples and num_latents must be at least 1; got {num_samples}, {num_latents}"
        )
    check_can_complete(pair)
    data = observed(pair, x, mask=mask, y=y, fraction=fraction, seed=seed)
    if data.mask is None:
        raise UsageError("complete needs a mask of what is seen: a name such as left, or an array")
    if guide == "best":
        fitted = "trained" if fulfills(pair, ConditionsOnPixels) else "normal"
        guide = "exact" if fulfills(pair, CompletesExactly) else fitted
    posterior = None
    if not isinstance(guide, str) or guide not in ("exact", "trained", ENCODER_ZEROS):
        options = {"seed": seed, "max_elements": max_elements, "progress": progress}
        posterior = _posterior(pair, data, guide, {**options, **(infer_options or {})})
        guide = posterior.name
        mean = posterior.complete(num_samples=num_latents, seed=seed)
        samples = posterior.completions(num_samples, pixels=pixels, seed=seed)
    else:
        if infer_options:
            raise UsageError(f"infer_options are for a guide that is fitted, not for {guide}")
        if guide == "trained":
            if not fulfills(pair, ConditionsOnPixels):
                raise UsageError(
                    f"{type(pair).__name__} is not trained to complete: infer a guide, such as "
                    "normal"
                )
            precise = precision_of(pair) or DEFAULT
            pair = in_precision(pair.conditioned_on(data.mask), precise)

        def completed(x: Tensor, y: Tensor | None, mask: Tensor | None) -> tuple[Tensor, Tensor]:
            part = Observed.unchecked(x, y, mask)
            if guide == "exact":
                return _exactly(pair, part, num_samples=num_samples, pixels=pixels)
            decoded = partial(_decoded, pair, part, trained=guide == "trained")
            average, p_x = decoded(num_latents).mean.mean(0), decoded(num_samples)
            return average, p_x.sample() if pixels == "sample" else p_x.mean

        # linear algebra is waited for
        launcher = None if guide == "exact" else launcher_of(data.x.device)
        launched = Launched(completed, launcher, what="completions")
        parts = computed(
            lambda part: launched(part.x, part.y, part.mask),
            data.__getitem__,
            pair=pair,
            count=len(data),
            size=chunk_size(pair, each=max(num_samples, num_latents)),
            seed=seed,
            purpose="completion",
        )
        means, draws = zip(*parts, strict=True)
        mean, samples = data.with_seen(torch.cat(means)), data.with_seen(torch.cat(draws, 1))
    return Completion(
        mean=mean,
        samples=samples,
        x=data.x,
        mask=data.mask,
        guide=guide,
        pixels=pixels,
        posterior=posterior,
        seed=seed,
        identity=identity_of(pair, data) if posterior is None else posterior.identity,
        precision=precision_of(pair),
    )


def _posterior(
    pair: Pair,
    data: Observed,
    guide: str | Posterior | Callable[..., Any],
    options: Mapping[str, Any],
) -> Posterior:
    """q(z | x_seen) of a guide, or one that was inferred already, of the same data."""
    if fulfills(pair, ConditionsOnPixels):
        raise UsageError(f"{type(pair).__name__} completes by its own p(z | x_C): guide trained")
    if not isinstance(guide, Posterior):
        return infer(pair, data, guide=guide, **options)
    labels = guide.y if data.y is None else data.y
    why = guide.identity.differs_from(
        identity_of(pair, Observed.unchecked(data.x, labels, data.mask))
    )
    if guide.mask is None or why is not None:
        raise UsageError(
            f"{why or 'mask: everything is seen'}: this posterior was inferred from other "
            "data, or from other pixels"
        )
    return guide


def _exactly(
    pair: Pair, data: Observed, *, num_samples: int, pixels: Draw
) -> tuple[Tensor, Tensor]:
    """The exact conditional's mean and draws."""
    if not fulfills(pair, CompletesExactly):
        raise UsageError(f"{type(pair).__name__} does not know p(x_unseen | x_seen) exactly")
    if pixels == "mean":
        raise UsageError("exact completions are drawn: leave pixels at sample, or infer a guide")
    assert data.mask is not None
    samples = pair.conditional_sample(data.x, data.mask, n=num_samples)
    return pair.conditional_mean(data.x, data.mask), samples


def _decoded(pair: Pair, data: Observed, n: int, *, trained: bool) -> TorchDistribution:
    """p(x | z_i) at n draws z_i for each datum, of p(z | x_C) or q(z | x with zeros), (n, B)."""
    if trained:
        return traced(pair.model, data, n).nodes["x"]["fn"]
    data = Observed.unchecked(data.x, data.y)
    sites = traced(pair.guide, data, n).nodes
    missing = [name for name in pair.latent_sites if name not in sites or not has_encoder(pair)]
    if missing:
        raise UsageError(
            f"{type(pair).__name__} has no encoder of {', '.join(missing)} to feed zeros to"
        )
    check_completes(pair)
    return decoded_from(pair, {name: sites[name]["value"] for name in pair.latent_sites}, data)
