"""Posterior inference for given images, or for any Pyro model with its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from inference.declared import replaced, takes
from inference.posterior.fitted import posterior_of
from inference.posterior.guides import GUIDES, Family, guide_family
from inference.posterior.optimization import Optimization
from inference.posterior.posterior import Posterior
from inference.precision import DEFAULT, at_precision
from inference.programs.door import or_program
from pyro_models import Pair
from pyro_models.contract import check_pair
from pyro_models.data.masks import Mask
from pyro_models.observed import Data, Labels, observed

__all__ = ["infer"]


@or_program("inference.programs.infer:infer_program")
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

    ``infer(model, *args, guide="full_covariance", **kwargs)`` does the same for any Pyro model,
    called with these arguments (see :class:`inference.programs.Program`), and returns an
    :class:`inference.programs.ProgramPosterior`. Keywords that are settings of this function are
    its own, all others the model's; ``infer(Program(model, *args, **kwargs))`` where names clash.

    Parameters
    ----------
    pair
        A pair with a continuous latent; discrete ones are summed out. Or a Pyro model.
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
    >>> import torch
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
    posterior = posterior_of(
        pair,
        lambda: observed(pair, x, mask=mask, y=y, fraction=fraction, seed=given.seed),
        family,
        given,
        name=name,
        options=of_guide,
    )
    return posterior if resample is None else posterior.resampled(resample, seed=given.seed)
