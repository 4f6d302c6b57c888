"""p(x | z): how a datum is distributed, given what the decoder says of each pixel.

A likelihood turns decoder outputs, always unbounded ("logits"), into a Pyro distribution over one
datum. It knows which data it may be given, how to leave pixels out, and relative to which measure
its densities are, so that two numbers are never compared that may not be.
"""

from __future__ import annotations

import inspect
from typing import Any

from pyro_models.errors import UsageError
from pyro_models.likelihoods.bernoulli import Bernoulli, CrossEntropy
from pyro_models.likelihoods.beta import Beta
from pyro_models.likelihoods.categorical import Categorical
from pyro_models.likelihoods.continuous_bernoulli import ContinuousBernoulli
from pyro_models.likelihoods.gaussian import Gaussian
from pyro_models.likelihoods.likelihood import Likelihood
from pyro_models.likelihoods.logistic_mixture import LogisticMixture
from pyro_models.options import check_types

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
    cls = LIKELIHOODS[name]
    given = dict(options or {})
    known = [p for p in inspect.signature(cls).parameters if p != "data_shape"]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise UsageError(
            f"the likelihood {name} has no option {', '.join(unknown)}; it has "
            f"{', '.join(known) or 'none'}"
        )
    if given:
        check_types(cls, given, who=f"the likelihood {name}", skip={"data_shape"})
    return cls(data_shape, **given)
