"""p(x | z) = N(G(z), σ² I) of one fixed σ: which pairs are of it, and they with another σ."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

from inference.precision import DEFAULT, in_precision, original, precision_of
from pyro_models import Pair, UsageError
from pyro_models.contract import check_pair
from pyro_models.likelihoods import Gaussian

__all__ = ["fixed_sigma", "why_not_spherical", "with_sigma"]


def why_not_spherical(pair: Pair) -> str:
    """Why the pair's p(x | z) is not N(G(z), σ² I) of a fixed σ; empty if it is."""
    p_x = pair.likelihood
    if not isinstance(p_x, Gaussian):
        name = getattr(p_x, "name", type(p_x).__name__)
        return f"not N(G(z), σ²) of one fixed σ: the likelihood is {name}"
    if isinstance(p_x.scale, str):
        whose = {"global": "one for all pixels", "pixel": "one for each pixel"}
        return (
            f"not N(G(z), σ²) of one fixed σ: σ is learned, {whose.get(p_x.scale, 'from z')}, "
            "which a density rewards without bound where pixels hardly vary"
        )
    return ""


def fixed_sigma(pair: Pair) -> float:
    """σ of a pair with p(x | z) = N(G(z), σ² I); a ``UsageError`` says why another has none."""
    check_pair(pair)
    if why := why_not_spherical(pair):
        raise UsageError(f"{type(pair).__name__} is {why}")
    p_x: Any = pair.likelihood
    return float(p_x.scale)


def with_sigma(pair: Pair, sigma: float) -> Pair:
    """A copy of a pair with p(x | z) = N(G(z), σ² I) that has another σ; the pair stays as it is.

    Raises
    ------
    UsageError
        If σ is no positive number, or the pair is of another likelihood, or of a σ that is learned.

    Examples
    --------
    >>> from pyro_models import Generator
    >>> gan = Generator((5,), latent_dim=2, hidden=[8], sigma=0.1)
    >>> with_sigma(gan, 0.3).sigma, gan.sigma
    (0.3, 0.1)
    """
    fixed_sigma(pair)
    number = isinstance(sigma, int | float) and not isinstance(sigma, bool)
    if not (number and 0 < sigma < math.inf):
        raise UsageError(f"sigma is a positive number; got {sigma!r}")
    changed = deepcopy(original(pair))
    changed.likelihood.scale = float(sigma)
    found: Pair = in_precision(changed, precision_of(pair) or DEFAULT)
    return found
