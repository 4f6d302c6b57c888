"""p(x | z): how a datum is distributed, given what the decoder says of each pixel.

A likelihood turns decoder outputs, always unbounded ("logits"), into a Pyro distribution over one
datum. It knows which data it may be given, how to leave pixels out, and relative to which measure
its densities are, so that two numbers are never compared that may not be.
"""

from __future__ import annotations

from typing import Any

from pyro_models.errors import UsageError
from pyro_models.likelihoods.bernoulli import Bernoulli, CrossEntropy
from pyro_models.likelihoods.beta import Beta
from pyro_models.likelihoods.categorical import Categorical
from pyro_models.likelihoods.continuous_bernoulli import ContinuousBernoulli
from pyro_models.likelihoods.gaussian import Gaussian
from pyro_models.likelihoods.likelihood import Likelihood
from pyro_models.likelihoods.logistic_mixture import LogisticMixture

__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "Beta",
    "Categorical",
    "ContinuousBernoulli",
    "CrossEntropy",
    "Gaussian",
    "Likelihood",
    "LogisticMixture",
    "likelihood_named",
]

LIKELIHOODS: dict[str, type[Likelihood]] = {
    cls.name: cls
    for cls in (
        Bernoulli,
        CrossEntropy,
        Gaussian,
        ContinuousBernoulli,
        Beta,
        Categorical,
        LogisticMixture,
    )
}


def likelihood_named(
    name: str, data_shape: tuple[int, ...], options: dict[str, Any] | None = None
) -> Likelihood:
    """Build a likelihood by its name.

    >>> likelihood_named("gaussian", (1, 8, 8), {"scale": 0.1}).measure
    'Lebesgue'

    Raises
    ------
    UsageError
        If the name or an option is unknown; the message lists the known ones.
    """
    if name not in LIKELIHOODS:
        raise UsageError(f"unknown likelihood {name!r}: choose from {', '.join(LIKELIHOODS)}")
    try:
        return LIKELIHOODS[name](data_shape, **(options or {}))
    except TypeError as error:
        raise UsageError(f"likelihood {name}: {error}") from error
