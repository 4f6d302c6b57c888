"""Posterior inference for given images: a guide of their own instead of the encoder's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import nn
from torch.optim import Optimizer

from inference.chunks import MAX_ELEMENTS, chunk_size
from inference.isolated import evaluating
from inference.posterior.contained import at_least_the_contained, at_least_the_start
from inference.posterior.continuous import needs_continuous
from inference.posterior.guides import GUIDES, Family, guide_family
from inference.posterior.guides.per_datum import detached, for_data, is_per_datum, per_datum_size
from inference.posterior.log_density import LogDensity
from inference.posterior.optimization import Optimization, Outcome
from inference.posterior.optimize import optimize
from inference.posterior.plateau import Plateau
from inference.posterior.posterior import Posterior
from inference.posterior.start import with_initial_values, with_prior
from pyro_models import Pair, UsageError
from pyro_models.contract import check_pair
from pyro_models.data.masks import Mask
from pyro_models.device import device_of
from pyro_models.observed import Data, Labels, observed
from pyro_models.seeds import check_seed, seeded, stream

__all__ = ["NOT_FITTED", "frozen", "infer"]

NOT_FITTED = "not fitted"


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
    num_particles: int = 1,
    estimator: str | None = None,
    starts: int = 64,
    optimizer: str | Callable[..., Optimizer] = "Adam",
    lr: float | None = None,
    optimizer_options: Mapping[str, Any] | None = None,
    stopping: Plateau | None = None,
    max_steps: int = 2000,
    seed: int = 0,
    max_elements: int = MAX_ELEMENTS,
    progress: bool = False,
) -> Posterior:
    """Infer the latents of images, whole or half-seen, under a trained pair's model.

    Ψ* = argmax_Ψ E_{q(z; Ψ)}[log p(x_seen | z)] − KL(q(z; Ψ) ‖ p(z)),

    for every image on its own, all at once, by stochastic gradients of reparameterised samples.
    Nothing of the pair changes: no parameter, no
    gradient, no mode, no generator. What stands in an unseen pixel, NaN included, reaches nothing.

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
    num_particles
        Samples of z per step and image.
    estimator
        ``"path"`` or ``"kl"``, see :data:`inference.posterior.optimization.OBJECTIVES`; that of the
        guide's family unless given.
    starts
        A fit begins where log p(x_seen, z) is highest among the prior's mean and so many draws
        from the prior: a decoder may have modes that no gradient leads out of. 0: at the mean.
    optimizer, lr, optimizer_options
        An optimiser of ``torch.optim`` by name, class or function; it must treat every number on
        its own, as Adam does. The rate is that of the guide's family unless given.
    stopping
        When an image stops: see :class:`inference.posterior.plateau.Plateau`, whose defaults hold
        unless given.
    max_steps
        Steps after which an image stops in any case.
    seed
        Random seed of all that is drawn; the caller's generators do not move.
    max_elements
        Numbers that the reconstructions in memory at once may hold; more images are done in turn.
    progress
        Show a progress bar of images.

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
    guide, options = GUIDES.named(guide, guide_options or {})
    name, family = guide_family(guide)
    settings = Optimization(
        num_particles=num_particles,
        optimizer=optimizer,
        lr=lr,
        optimizer_options=dict(optimizer_options or {}),
        stopping=stopping or Plateau(),
        max_steps=max_steps,
    )
    check_seed(seed)
    began = time.perf_counter()
    chunk = chunk_size(pair, each=num_particles, max_elements=max_elements)
    with evaluating(pair), frozen(pair), seeded(stream(seed, "infer"), device_of(pair)):
        needs_continuous(pair)
        data = observed(pair, x, mask=mask, y=y, fraction=fraction, seed=seed)
        images = with_prior(pair, data)
        if family.fitted:
            images = with_initial_values(
                images, starts=starts, seed=seed, max_elements=max_elements
            )
        module, outcome = _fitted(
            images,
            family,
            settings,
            name=name,
            options=options,
            estimator=estimator,
            chunk=chunk,
            progress=progress,
        )
        module = detached(module)
    posterior = Posterior(
        target=images,
        guide=module,
        name=name,
        density=family.density,
        stopped=outcome.reasons if outcome else (NOT_FITTED,) * len(images),
        steps=outcome.steps if outcome else torch.zeros(len(images), dtype=torch.long),
        seconds=time.perf_counter() - began,
        num_parameters=per_datum_size(module, len(images)),
        seed=seed,
        max_elements=max_elements,
    )
    return posterior if resample is None else posterior.resampled(resample, seed=seed)


def _fitted(
    images: LogDensity,
    family: Family,
    settings: Optimization,
    *,
    name: str,
    options: Mapping[str, Any],
    estimator: str | None,
    chunk: int,
    progress: bool,
) -> tuple[nn.Module, Outcome | None]:
    """A guide of the family, and how its fit ended if it was one."""
    shared: dict[str, Any] = {"estimator": estimator, "chunk": chunk, "progress": progress}
    start, before = None, None
    if family.begins_with is not None:
        first, rate = family.begins_with, replace(settings, lr=None)
        start, before = _fitted(images, first, rate, name=name, options={}, **shared)
    guide = family(images, options, name=name, start=start)
    _check_sites(images, guide, name)
    outcome = None
    if family.fitted:
        own = settings.of_rate(family.lr)
        began = for_data(guide, slice(None), len(images))

        def fit(images: LogDensity, guide: nn.Module) -> Outcome:
            objective = _objective(family, estimator)
            return optimize(images, guide, own, objective=objective, chunk=chunk, progress=progress)

        outcome = fit(images, guide)
        outcome = outcome if before is None else outcome.after(before)
        limits: dict[str, Any] = {
            "at_once": chunk * settings.num_particles,
            "tolerance": settings.stopping.min_improvement,
        }
        if family.density and family.objective != "log_joint":
            at_least_the_start(images, guide, began, outcome, **limits)
        if family.contains is not None:
            smaller, rate = family.contains, replace(settings, lr=None)
            outcome = at_least_the_contained(
                images,
                guide,
                outcome,
                family=family,
                contained=lambda: _fitted(images, smaller, rate, name=name, options={}, **shared)[
                    0
                ],
                fit=fit,
                **limits,
            )
    return guide if family.finish is None else family.finish(images, guide), outcome


def _objective(family: Family, estimator: str | None) -> str:
    if estimator not in (None, "path", "kl"):
        raise UsageError(f"estimator is 'path' or 'kl'; got {estimator!r}")
    if estimator is None or family.objective == "log_joint":
        return family.objective
    return estimator


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
    """Run a guide on the first image.

    Raises
    ------
    UsageError
        If it leaves out a continuous site.
    """
    own_rows = is_per_datum(guide, len(target)) or getattr(guide, "shared", False)
    first = target.select(slice(0, 1)) if own_rows else target  # some weights shared, some not
    part = for_data(guide, slice(0, 1), len(target)) if own_rows else guide
    with pyro.plate("_particles", 2, dim=-2):
        trace = poutine.trace(part).get_trace(first.x, **first.conditions)
    missing = [site for site in target.prior if site not in trace.nodes]
    if missing:
        raise UsageError(f"the guide {name} does not sample the latent {', '.join(missing)}")
