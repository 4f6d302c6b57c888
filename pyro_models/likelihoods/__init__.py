"""p(x | z): how a datum is distributed, given what the decoder says of each pixel.

A likelihood turns decoder outputs, always unbounded ("logits"), into a Pyro distribution over one
datum. It knows which data it may be given, how to leave pixels out, and relative to which measure
its densities are, so that two numbers are never compared that may not be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyro_models.errors import UsageError
from pyro_models.likelihoods.bernoulli import Bernoulli, CrossEntropy
from pyro_models.likelihoods.beta import Beta
from pyro_models.likelihoods.categorical import Categorical
from pyro_models.likelihoods.continuous_bernoulli import ContinuousBernoulli
from pyro_models.likelihoods.discretized_gaussian import DiscretizedGaussian
from pyro_models.likelihoods.gaussian import Gaussian
from pyro_models.likelihoods.likelihood import Likelihood
from pyro_models.likelihoods.logistic_mixture import LogisticMixture
from pyro_models.likelihoods.mixed import Mixed
from pyro_models.options import check_options
from pyro_models.registry import Registry

__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "Beta",
    "Categorical",
    "ContinuousBernoulli",
    "CrossEntropy",
    "DiscretizedGaussian",
    "Gaussian",
    "Likelihood",
    "LogisticMixture",
    "Mixed",
    "likelihood_for",
    "likelihood_named",
]

_OWN = (
    Bernoulli,
    CrossEntropy,
    Gaussian,
    ContinuousBernoulli,
    Beta,
    Categorical,
    LogisticMixture,
    DiscretizedGaussian,
    Mixed,
)
LIKELIHOODS: Registry[type[Likelihood]] = Registry("likelihood", {cls.name: cls for cls in _OWN})


def likelihood_for(
    likelihood: str | Mapping[str, Any] | type[Likelihood] | Likelihood,
    data_shape: tuple[int, ...],
    options: Mapping[str, Any] | None = None,
) -> Likelihood:
    """A likelihood by its name, its class, or as it is.

    Parameters
    ----------
    likelihood
        A name of ``LIKELIHOODS``, a class of a Python file (``"mine.py:Poisson"``), either with its
        options as ``{class_path: NAME, init_args: {OPTION: VALUE}}``, a class, or an instance for
        data of this shape.
    data_shape
        Shape of one datum.
    options
        Options of a class or a name; an instance has its own.

    Raises
    ------
    UsageError
        If a name or an option is unknown, or an instance is for data of another shape.

    Examples
    --------
    >>> likelihood_for("gaussian", (1, 8, 8), {"scale": 0.1}).measure
    'Lebesgue'
    >>> likelihood_for(Beta((4,)), (4,)).name
    'beta'
    """
    likelihood, given = LIKELIHOODS.named(likelihood, dict(options or {}))
    if isinstance(likelihood, Likelihood):
        if given:
            raise UsageError(
                f"the likelihood {likelihood.name} is given with its options: leave out "
                f"{', '.join(given)}"
            )
        if likelihood.data_shape != tuple(data_shape):
            raise UsageError(
                f"the likelihood {likelihood.name} is for data of shape {likelihood.data_shape}, "
                f"not {tuple(data_shape)}"
            )
        return likelihood
    cls = LIKELIHOODS[likelihood] if isinstance(likelihood, str) else likelihood
    if not (isinstance(cls, type) and issubclass(cls, Likelihood)):
        raise UsageError(f"a likelihood is a name, a class or an instance; got {likelihood!r}")
    lacking = [n for n in ("name", "preparation") if not hasattr(cls, n)]
    if lacking:
        raise UsageError(
            f"the likelihood {cls.__name__} lacks {', '.join(lacking)}: what it is called, and "
            "which pixels it is meant for"
        )
    check_options(cls, given, who=f"the likelihood {cls.name}", skip={"data_shape"})
    made = cls(data_shape, **given)
    if not hasattr(made, "measure"):
        raise UsageError(
            f"the likelihood {cls.name} lacks a measure: what densities are relative to, or None"
        )
    return made


likelihood_named = likelihood_for
