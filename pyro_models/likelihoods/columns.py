"""What one column of a table may be of: log-probability, moments and draws, value by value.

A column of the kind ``categorical:k`` has k values that are 0 or 1, one for each category; all
others have one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_models.counts import is_count
from pyro_models.errors import UsageError
from pyro_models.likelihoods.likelihood import widened
from pyro_models.registry import Registry

__all__ = ["COLUMNS", "Column", "ColumnKind", "Parameters", "column_of"]

LEAST_FREEDOM = 2.0  # degrees of freedom above which a Student-t has a variance
_ONE = math.log(math.expm1(1.0))  # softplus of it is 1
_FAR = -15.0  # below it log softplus(a) = a


@dataclass(frozen=True)
class Parameters:
    """Of values of one kind: location (\\*batch, D), unbounded, and scale and shape that broadcast.

    The location is that of a Normal or Student-t, log μ of counts, and a log-odds or
    log-probability of what is 0 or 1. The scale is σ; the shape the degrees of freedom, or the r of
    a negative binomial with variance μ + μ²/r.
    """

    location: Tensor
    scale: Tensor
    shape: Tensor


class ColumnKind:
    """One kind of column. ``whole``: its measure is counting; ``what``: which values it is of."""

    whole = False
    scaled = False
    shaped = False
    what = ""

    def located(self, eta: Tensor, centre: Tensor, unit: Tensor) -> Tensor:
        """The location of an output η, with the centre and unit that the column started from."""
        return centre + eta

    def log_prob(self, x: Tensor, p: Parameters) -> Tensor:
        """log p(x), nats, relative to the kind's measure."""
        raise NotImplementedError

    def mean(self, p: Parameters) -> Tensor:
        """E[x]."""
        return p.location

    def variance(self, p: Parameters) -> Tensor:
        """Var x."""
        raise NotImplementedError

    def mode(self, p: Parameters) -> Tensor:
        """The most probable value."""
        return p.location

    def sample(self, p: Parameters) -> Tensor:
        """A draw of each value."""
        raise NotImplementedError

    def wrong(self, x: Tensor) -> Tensor:
        """Which values no such column has."""
        return torch.zeros_like(x, dtype=torch.bool)


class Normal(ColumnKind):
    """N(x; μ, σ²), μ = c + s η, with the centre c and the unit s of the column."""

    scaled = True

    def located(self, eta: Tensor, centre: Tensor, unit: Tensor) -> Tensor:
        return centre + unit * eta

    def log_prob(self, x: Tensor, p: Parameters) -> Tensor:
        z = (x - p.location) / p.scale
        return -0.5 * z.square() - p.scale.log() - 0.5 * math.log(2 * math.pi)

    def variance(self, p: Parameters) -> Tensor:
        return p.scale.square().expand_as(p.location)

    def sample(self, p: Parameters) -> Tensor:
        return p.location + p.scale * torch.randn_like(p.location)


class StudentT(Normal):
    """Student-t with location μ = c + s η, scale σ and ν > 2 degrees of freedom."""

    shaped = True

    def log_prob(self, x: Tensor, p: Parameters) -> Tensor:
        nu, z = p.shape, (x - p.location) / p.scale
        norm = torch.lgamma((nu + 1) / 2) - torch.lgamma(nu / 2) - 0.5 * (nu * math.pi).log()
        return norm - p.scale.log() - (nu + 1) / 2 * (z.square() / nu).log1p()

    def variance(self, p: Parameters) -> Tensor:
        return (p.scale.square() * p.shape / (p.shape - 2)).expand_as(p.location)

    def sample(self, p: Parameters) -> Tensor:
        nu = p.shape.expand_as(p.location)
        chi2 = 2 * torch._standard_gamma(nu / 2)
        return p.location + p.scale * torch.randn_like(p.location) * (nu / chi2).sqrt()


class Poisson(ColumnKind):
    """Poisson(x; μ), μ = s softplus(η + log(e − 1)): the unit s of the column at η = 0."""

    whole = True
    what = "counts 0, 1, 2, …"

    def located(self, eta: Tensor, centre: Tensor, unit: Tensor) -> Tensor:
        at = eta + _ONE
        near = F.softplus(at.clamp_min(_FAR)).log()
        return unit.log() + torch.where(at < _FAR, at, near)

    def log_prob(self, x: Tensor, p: Parameters) -> Tensor:
        log_mu, n = widened(p.location), widened(x)
        return (n * log_mu - log_mu.exp() - torch.lgamma(n + 1)).to(p.location.dtype)

    def mean(self, p: Parameters) -> Tensor:
        return p.location.exp()

    def variance(self, p: Parameters) -> Tensor:
        return self.mean(p)

    def mode(self, p: Parameters) -> Tensor:
        return self.mean(p).floor()

    def sample(self, p: Parameters) -> Tensor:
        return torch.poisson(self.mean(p))

    def wrong(self, x: Tensor) -> Tensor:
        return (x < 0) | (x != x.round())


class NegativeBinomial(Poisson):
    """Counts of mean μ, as of a Poisson, and variance μ + μ²/r."""

    shaped = True

    def log_prob(self, x: Tensor, p: Parameters) -> Tensor:
        log_mu, n, r = widened(p.location), widened(x), widened(p.shape)
        log_both = torch.logaddexp(log_mu, r.log())  # log(r + μ)
        ways = torch.lgamma(n + r) - torch.lgamma(r) - torch.lgamma(n + 1)
        log_p = ways + r * (r.log() - log_both) + n * (log_mu - log_both)
        return log_p.to(p.location.dtype)

    def variance(self, p: Parameters) -> Tensor:
        mu = self.mean(p)
        return mu + mu.square() / p.shape

    def mode(self, p: Parameters) -> Tensor:
        return (self.mean(p) * ((p.shape - 1) / p.shape).clamp_min(0)).floor()

    def sample(self, p: Parameters) -> Tensor:
        r = p.shape.expand_as(p.location)
        return torch.poisson(self.mean(p) / r * torch._standard_gamma(r))


class Bernoulli(ColumnKind):
    """Bernoulli(x; σ(l)), l = c + η."""

    whole = True
    what = "0 and 1"

    def log_prob(self, x: Tensor, p: Parameters) -> Tensor:
        return x * p.location - F.softplus(p.location)

    def mean(self, p: Parameters) -> Tensor:
        return p.location.sigmoid()

    def variance(self, p: Parameters) -> Tensor:
        return self.mean(p) * (1 - self.mean(p))

    def mode(self, p: Parameters) -> Tensor:
        return (p.location > 0).to(p.location.dtype)

    def sample(self, p: Parameters) -> Tensor:
        return torch.bernoulli(self.mean(p))

    def wrong(self, x: Tensor) -> Tensor:
        return (x != 0) & (x != 1)


class Categorical(Bernoulli):
    """One of k categories: Σ_j x_j log softmax(c + η)_j, of which the location is log softmax.

    Draws and modes are of all k values together, and so are made where these are known.
    """

    what = "0 and 1, one 1 among the values of its categories"

    def log_prob(self, x: Tensor, p: Parameters) -> Tensor:
        return torch.where(x == 0, 0.0, x * p.location)

    def mean(self, p: Parameters) -> Tensor:
        return p.location.exp()


COLUMNS: Registry[ColumnKind] = Registry(
    "column likelihood",
    {
        "normal": Normal(),
        "student_t": StudentT(),
        "poisson": Poisson(),
        "negative_binomial": NegativeBinomial(),
        "bernoulli": Bernoulli(),
        "categorical": Categorical(),
    },
)


@dataclass(frozen=True)
class Column:
    """One column: what to call it, the name of its kind, and of how many values it is."""

    title: str
    kind: str
    size: int = 1


def column_of(title: str, written: object) -> Column:
    """A column as it is written, ``"poisson"`` or ``"categorical:3"``.

    >>> column_of("colour", "categorical:3").size
    3
    """
    kind, colon, size = str(written).partition(":")
    COLUMNS.check(kind)
    if (kind == "categorical") != bool(colon):
        raise UsageError(
            f"{title}: a categorical column says of how many categories it is, categorical:3, and "
            f"no other does; got {written!r}"
        )
    if colon and not (size.isdecimal() and is_count(int(size), least=2)):
        raise UsageError(f"{title}: a categorical column has 2 categories or more; got {written!r}")
    return Column(title, kind, int(size) if colon else 1)


def columns_of(given: Mapping[str, str] | list[str], size: int) -> tuple[Column, ...]:
    """Columns as they are written, which together are of so many values."""
    items = given.items() if isinstance(given, Mapping) else enumerate(given)
    named = isinstance(given, Mapping)
    found = tuple(column_of(f"column {k!r}" if named else f"column {k}", v) for k, v in items)
    if (total := sum(column.size for column in found)) != size:
        raise UsageError(
            f"the {len(found)} columns of the likelihood mixed are of {total} values, and the data "
            f"are of {size}: give one for each column, categorical:k for k values, as "
            "data.table.likelihoods has them"
        )
    return found
