"""p(y | f) of data given a latent function, by name."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from gp_bo.kernels import HyperParameter, log_normal
from pyro_models import UsageError
from pyro_models.registry import Registry

__all__ = ["LIKELIHOODS", "Gaussian", "Likelihood", "make_likelihood"]

Theta = Mapping[str, Tensor]


class Likelihood(ABC):
    """Π_i p(y_i | f_i): each datum depends on the function at its own input alone.

    f is (C, …), with C values of every hyper-parameter, each (C,), in ``theta`` by name; y is
    broadcast to it. One of your own is registered in :data:`LIKELIHOODS`, or given itself.

    Attributes
    ----------
    in_unit_of_outputs
        Whether f has the unit of y, which is then scaled.
    log_concave
        Whether log p(y | f) is concave in f, so that there is one mode.
    has_intervals
        Whether a central interval of y says anything: of a label it does not.
    """

    in_unit_of_outputs: ClassVar[bool] = False
    log_concave: ClassVar[bool] = True
    has_intervals: ClassVar[bool] = True

    def hyperparameters(self) -> list[HyperParameter]:
        """Those of its own."""
        return []

    @abstractmethod
    def distribution(self, f: Tensor, theta: Theta) -> Any:
        """p(y | f), of f's shape."""

    @abstractmethod
    def derivatives(self, f: Tensor, y: Tensor, theta: Theta) -> tuple[Tensor, Tensor]:
        """∂ log p(y | f)/∂f and W = −∂² log p(y | f)/∂f², differentiable expressions of f and θ."""

    def step_curvature(self, W: Tensor, f: Tensor, y: Tensor, theta: Theta) -> Tensor:
        """What stands for W in steps towards the mode, at least 0."""
        return W.clamp_min(0.0)

    @abstractmethod
    def response(self, f: Tensor) -> Tensor:
        """E[y | f], which rises with f: a probability, a rate, the function itself."""

    def check(self, y: Tensor) -> None:  # noqa: B027  (all are possible unless it says so)
        """Refuse outputs, finite numbers, that are impossible."""

    def location(self, y: Tensor) -> float:
        """About where f lies."""
        return float(y.mean())


class Gaussian(Likelihood):
    """N(y; f, σ_n²); ``noise`` is σ_n². The posterior of f is then exact."""

    in_unit_of_outputs = True

    def hyperparameters(self) -> list[HyperParameter]:
        """σ_n²."""
        return [HyperParameter("noise", (), log_normal(-4.0, 1.0), 0, 2)]

    def distribution(self, f: Tensor, theta: Theta) -> Any:
        """Normal."""
        return dist.Normal(f, _along(theta["noise"], f).sqrt(), validate_args=False)

    def derivatives(self, f: Tensor, y: Tensor, theta: Theta) -> tuple[Tensor, Tensor]:
        """(y − f) / σ_n² and 1 / σ_n²."""
        noise = _along(theta["noise"], f)
        return (y - f) / noise, torch.ones_like(f) / noise

    def response(self, f: Tensor) -> Tensor:
        """f itself."""
        return f


class Bernoulli(Likelihood):
    """p(y = 1 | f) = 1 / (1 + exp(−f)): classification in two classes, y ∈ {0, 1}."""

    has_intervals = False

    def distribution(self, f: Tensor, theta: Theta) -> Any:
        """Bernoulli."""
        return dist.Bernoulli(logits=f, validate_args=False)

    def derivatives(self, f: Tensor, y: Tensor, theta: Theta) -> tuple[Tensor, Tensor]:
        """Y − p and p (1 − p)."""
        p = f.sigmoid()
        return y - p, p * (-f).sigmoid()

    def response(self, f: Tensor) -> Tensor:
        """The probability of y = 1."""
        return f.sigmoid()

    def check(self, y: Tensor) -> None:
        """Labels are 0 or 1."""
        wrong = y[(y != 0) & (y != 1)]
        if len(wrong):
            raise UsageError(f"labels of a bernoulli likelihood are 0 or 1; got {float(wrong[0])}")

    def location(self, y: Tensor) -> float:
        """Log-odds of the share of ones."""
        ones = float(y.sum())
        return math.log((ones + 0.5) / (len(y) - ones + 0.5))


class Poisson(Likelihood):
    """Counts y = 0, 1, 2, … of rate exp(f)."""

    def distribution(self, f: Tensor, theta: Theta) -> Any:
        """Poisson."""
        return dist.Poisson(f.exp(), validate_args=False)

    def derivatives(self, f: Tensor, y: Tensor, theta: Theta) -> tuple[Tensor, Tensor]:
        """Y − exp f and exp f."""
        rate = f.exp()
        return y - rate, rate

    def response(self, f: Tensor) -> Tensor:
        """The rate."""
        return f.exp()

    def check(self, y: Tensor) -> None:
        """Counts are whole numbers, at least 0."""
        wrong = y[(y < 0) | (y != y.round())]
        if len(wrong):
            raise UsageError(
                f"counts of a poisson likelihood are whole numbers, at least 0; got "
                f"{float(wrong[0])}"
            )

    def location(self, y: Tensor) -> float:
        """Logarithm of the mean count."""
        return math.log((float(y.sum()) + 0.5) / len(y))


class StudentT(Likelihood):
    """Student's t about f, of scale σ and ν degrees of freedom: outliers pull little at f.

    ``noise`` is σ², ``df`` is ν ~ Gamma(2, 0.1) (Juárez & Steel 2010). log p(y | f) is not concave.
    """

    in_unit_of_outputs = True
    log_concave = False

    def hyperparameters(self) -> list[HyperParameter]:
        """σ² and ν."""
        gamma = dist.Gamma(*torch.tensor([2.0, 0.1], dtype=torch.float64))
        return [*Gaussian().hyperparameters(), HyperParameter("df", (), gamma)]

    def distribution(self, f: Tensor, theta: Theta) -> Any:
        """Student's t."""
        df, scale = _along(theta["df"], f), _along(theta["noise"], f).sqrt()
        return dist.StudentT(df, f, scale, validate_args=False)

    def derivatives(self, f: Tensor, y: Tensor, theta: Theta) -> tuple[Tensor, Tensor]:
        """(ν + 1) r / (ν σ² + r²) and (ν + 1) (ν σ² − r²) / (ν σ² + r²)², r = y − f."""
        df, r = _along(theta["df"], f), y - f
        wide = df * _along(theta["noise"], f)
        total = wide + r.square()
        return (df + 1) * r / total, (df + 1) * (wide - r.square()) / total.square()

    def step_curvature(self, W: Tensor, f: Tensor, y: Tensor, theta: Theta) -> Tensor:
        """(ν + 1) / (ν σ² + r²), with which no step loses: it is an EM step (Lange et al. 1989)."""
        df = _along(theta["df"], f)
        return (df + 1) / (df * _along(theta["noise"], f) + (y - f).square())

    def response(self, f: Tensor) -> Tensor:
        """f itself."""
        return f


LIKELIHOODS: Registry[type[Likelihood]] = Registry(
    "likelihood",
    {"gaussian": Gaussian, "bernoulli": Bernoulli, "poisson": Poisson, "student_t": StudentT},
)
"""Classes of likelihoods by name."""


def make_likelihood(likelihood: Any) -> Likelihood:
    """A likelihood from its name, its class, or itself.

    >>> make_likelihood("poisson").response(torch.zeros(1))
    tensor([1.])
    """
    found = LIKELIHOODS[likelihood] if isinstance(likelihood, str) else likelihood
    if isinstance(found, type) and issubclass(found, Likelihood):
        found = found()
    if not isinstance(found, Likelihood):
        raise UsageError(
            f"a likelihood is one of {', '.join(LIKELIHOODS)}, or a Likelihood; got {likelihood!r}"
        )
    return found


def _along(value: Tensor, f: Tensor) -> Tensor:
    """A hyper-parameter (C,) beside f, (C, …)."""
    return value.reshape(*value.shape, *[1] * (f.dim() - value.dim()))
