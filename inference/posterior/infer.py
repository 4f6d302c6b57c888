"""Posterior inference for given images: a guide of their own instead of the encoder's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from inference.chunks import chunk_size
from inference.declared import replaced, takes
from inference.denormals import denormals_flushed
from inference.isolated import evaluating
from inference.posterior.continuous import check_free, needs_continuous
from inference.posterior.guides import GUIDES, Family, guide_family
from inference.posterior.guides.encoder import PRIOR
from inference.posterior.guides.per_datum import detached, for_data, is_per_datum
from inference.posterior.log_density import LogDensity
from inference.posterior.optimization import Fitting, Optimization, Outcome
from inference.posterior.optimize import at_least_the_contained, optimize
from inference.posterior.posterior import Posterior
from inference.posterior.start import with_initial_values, with_prior
from inference.precision import DEFAULT, at_precision
from inference.sites import traced
from pyro_models import Pair, UsageError
from pyro_models.contract import check_pair
from pyro_models.data.masks import Mask
from pyro_models.device import device_of
from pyro_models.observed import Data, Labels, observed
from pyro_models.seeds import seeded, stream

__all__ = ["NOT_FITTED", "frozen", "infer"]

NOT_FITTED = "not fitted"


@takes(Optimization)
@at_precision
def infer(
    pair: Pair,
    x: Data,
    *,
    mask: Mask | None = None,
    y: Labels | None = None,
    fraction: float = 0.5,
    guide: str | Mapping[str, Any] | Family | nn.Module | Callable[..., nn.Module] = "auto_normal",
    guide_options: Mapping[str, Any] | None = None,
    resample: int | None = None,
    precision: str = DEFAULT,
    **options: Any,
) -> Posterior:
    """Infer the latents of images, whole or half-seen, under a trained pair's model.

    Ψ* = argmax_Ψ E_{q(z; Ψ)}[log p(x_seen | z)] − KL(q(z; Ψ) ‖ p(z)),

    for every image on its own, all at once, by stochastic gradients of reparameterised samples.
    Nothing of the pair changes: no parameter, no gradient, no mode, no generator. What stands in an
    unseen pixel, NaN included, reaches nothing.

    Parameters
    ----------
    pair
        A pair with a continuous latent. Discrete ones are summed out.
    x
        Prepared data, (B, \\*data_shape), of any kind that :func:`pyro_models.observed.observed`
        takes.
    mask
        What is seen, True or 1: a name such as ``"left"`` (``"random"`` takes the seed), a ``.npy``
        file, or an array of any shape that :func:`pyro_models.data.masks.pixel_mask` takes.
    y
        Labels (B,), or one for all; −1 where missing, for pairs that take missing labels.
    fraction
        Fraction of the pixels that the mask ``random`` sees, drawn for each datum.
    guide
        A name of :data:`inference.posterior.guides.GUIDES`, such a name with its options as
        ``{class_path: NAME, init_args: {OPTION: VALUE}}``, a function ``make(target)`` that
        returns a guide, a guide, or a :class:`inference.posterior.guides.Family`.
    guide_options
        Options of the guide, such as ``{"rank": 3}``.
    resample
        Draw so many values from the guide and resample them by their importance weights: see
        :meth:`Posterior.resampled`.
    precision
        ``"float32"``, ``"bfloat16"`` or ``"float64"``, see
        :func:`inference.precision.in_precision`; the posterior stays in it.
    options

    Raises
    ------
    UsageError
        If the pair has no continuous latent, shapes do not fit, an image has no seen pixel, labels
        are missing where they are needed, or guide or a setting is unknown.

    Examples
    --------
    >>> from pyro_models import PPCA
    >>> x = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    >>> ppca = PPCA.maximum_likelihood(x, latent_dim=2)
    >>> seen = torch.tensor([True, True, True, False, False])
    >>> posterior = infer(ppca, x[:4], mask=seen, guide="normal")
    >>> bool((posterior.mean["z"] - ppca.exact_posterior(x[:4], seen).mean).abs().max() < 0.1)
    True
    """
    check_pair(pair)
    guide, of_guide = GUIDES.named(guide, guide_options or {})
    name, family = guide_family(guide)
    given = replaced(Optimization(), options, who="infer")
    seed, most = given.seed, given.max_elements
    began = time.perf_counter()
    chunk = chunk_size(pair, each=given.num_particles)  # whatever memory there is: the same noise
    settings = Fitting(**vars(given), chunk=chunk)
    noise = seeded(stream(seed, "infer"), device_of(pair))
    with evaluating(pair), frozen(pair), noise, denormals_flushed():
        needs_continuous(pair)
        if family.fitted or not family.density or family is PRIOR:
            check_free(pair)
        data = observed(pair, x, mask=mask, y=y, fraction=fraction, seed=seed)
        images = with_prior(pair, data)
        if family.fitted:
            images = with_initial_values(images, given)
        module, outcome = _fitted(images, family, settings, name=name, options=of_guide)
        module = detached(module)
    posterior = Posterior(
        target=images,
        guide=module,
        name=name,
        density=family.density,
        stopped=outcome.reasons if outcome else (NOT_FITTED,) * len(images),
        steps=outcome.steps if outcome else torch.zeros(len(images), dtype=torch.long),
        seconds=time.perf_counter() - began,
        num_parameters=sum(p.numel() for p in module.parameters()) / len(images),
        seed=seed,
        max_elements=most,
    )
    return posterior if resample is None else posterior.resampled(resample, seed=seed)


def _fitted(
    images: LogDensity,
    family: Family,
    settings: Fitting,
    *,
    name: str,
    options: Mapping[str, Any],
) -> tuple[nn.Module, Outcome | None]:
    """A guide of the family, and how its fit ended if it was one."""

    def of(other: Family) -> tuple[nn.Module, Outcome | None]:
        return _fitted(images, other, replace(settings, lr=None), name=name, options={})

    start, before = (None, None) if family.begins_with is None else of(family.begins_with)
    guide = family(images, options, name=name, start=start)
    _check_sites(images, guide, name)
    outcome = None
    if family.fitted:
        own = settings.of_family(family)
        outcome = optimize(images, guide, own)
        if before is not None:
            outcome = Outcome(outcome.reason, outcome.steps + before.steps)
        smaller = family.contains
        if smaller is not None and is_per_datum(guide, len(images)):
            outcome = at_least_the_contained(
                images, guide, outcome, own, family=family, contained=lambda: of(smaller)[0]
            )
    return guide if family.finish is None else family.finish(images, guide), outcome


@contextmanager
def frozen(pair: Pair) -> Iterator[None]:
    """No gradient to any parameter of the pair inside; as before afterwards."""
    learned = [p for p in pair.parameters() if p.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


@torch.no_grad()
def _check_sites(target: LogDensity, guide: nn.Module, name: str) -> None:
    """Run a guide on the first image, and refuse one that leaves out a continuous site."""
    own_rows = is_per_datum(guide, len(target)) or getattr(guide, "shared", False)
    first = target.select(slice(0, 1)) if own_rows else target  # some weights shared, some not
    part = for_data(guide, slice(0, 1), len(target)) if own_rows else guide
    trace = traced(part, first.data, 2)
    missing = [site for site in target.prior if site not in trace.nodes]
    if missing:
        raise UsageError(f"the guide {name} does not sample the latent {', '.join(missing)}")
