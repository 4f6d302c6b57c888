"""Guides of one pair on the same data: the numbers of each, side by side and in pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import torch
from torch import Tensor

from inference.evaluation.evidence import Evidence
from inference.evaluation.quantity import NATS, Kind, Quantity, quantities_of, quantity_named
from inference.evaluation.table import Absent, Tabular
from inference.evaluation.tables import Group, Tables, in_groups, left_out
from inference.pareto import RELIABLE
from inference.standard_error import error_of_mean, mean_and_error, with_error
from pyro_models import UsageError
from pyro_models.brief import Brief

__all__ = ["Difference", "GuideComparison", "GuideScores"]

_DIGITS = 4  # of a paired difference, in which what both guides owe to a datum cancels


@dataclass(frozen=True, eq=False)
class GuideScores(Brief):
    """One guide on B data; nats per datum where nothing else is said.

    Attributes
    ----------
    name, milliseconds
        Name of the guide, and wall-clock time of the inference per datum, in this run here.
    num_parameters
        Parameters that the guide keeps per datum; those that data share count by their share.
    elbo, elbo_error
        E_q[log p(x, z) − log q(z)], (B,), estimated from K draws, and its Monte-Carlo error.
    importance_bound, importance_error
        L_K, (B,), with the same K for all guides, and its Monte-Carlo error.
    effective_sample_size, k_hat
        Effective sample size and Pareto k̂ of the K weights, (B,).
    gap
        log p(x) − ELBO, (B,): KL(q(z | x) ‖ p(z | x)) where the evidence is exact.
    unfinished
        Fits that ended at the step limit, or where numbers were no longer finite.
    family, best_of_family
        The family of q, and the fitted guide that stands for its best member.
    approximation_gap, amortisation_gap
        log p(x) − the best ELBO within the family, and this best ELBO − that of the guide, (B,)
        (Cremer, Li & Duvenaud 2018). Members of a family that this one contains count as its own.
    optimisation_gap
        What the optimisation of a guide that was fitted to each datum lost, (B,), where another
        guide of its family is better.
    absent
        Quantities that the guide has none of, and why.
    precision
        As of :class:`inference.evaluation.Score`.
    """

    name: str
    milliseconds: float
    num_parameters: float
    elbo: Tensor | None = None
    elbo_error: Tensor | None = None
    importance_bound: Tensor | None = None
    importance_error: Tensor | None = None
    effective_sample_size: Tensor | None = None
    k_hat: Tensor | None = None
    gap: Tensor | None = None
    unfinished: int = 0
    family: str | None = None
    best_of_family: str | None = None
    approximation_gap: Tensor | None = None
    amortisation_gap: Tensor | None = None
    optimisation_gap: Tensor | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    precision: str | None = None

    @property
    def bound(self) -> tuple[Tensor, Tensor] | None:
        """L_K of every datum with its Monte-Carlo error; ``None`` where there is no density."""
        if self.importance_bound is None or self.importance_error is None:
            return None
        return self.importance_bound, self.importance_error

    @property
    def elbo_mean(self) -> tuple[float, float]:
        """Mean ELBO over data, and its Monte-Carlo error; −∞ where there is no density."""
        if self.elbo is None or self.elbo_error is None:
            return -math.inf, math.nan
        return float(self.elbo.double().mean()), error_of_mean(self.elbo_error)

    def value(self, quantity: str) -> tuple[float, float] | None:
        """A quantity of the guides' table and its standard error over data, if there is one.

        The error is NaN where there is none: for one datum, and for numbers that are no mean.
        """
        if quantity in self.absent:
            return None
        if quantity in ("milliseconds", "num_parameters"):
            return float(getattr(self, quantity)), math.nan
        if quantity == "share_unreliable":
            return None if self.k_hat is None else mean_and_error((self.k_hat > RELIABLE).double())
        values = getattr(self, quantity)
        if values is None:
            return None
        if quantity == "effective_sample_size":
            return float(values.median()), math.nan
        return mean_and_error(values)


@dataclass(frozen=True)
class Difference(Brief):
    """One guide's mean minus another's, first − second, over the same data, nats per datum.

    The standard error is that of the paired differences: what both guides owe to a datum cancels.
    """

    quantity: str
    first: str
    second: str
    value: float
    standard_error: float
    num_data: int

    def __str__(self) -> str:
        number = with_error(self.value, self.standard_error, digits=_DIGITS, signed=True)
        return (
            f"{quantity_named(self.quantity).title}, {self.first} − {self.second}: {number} {NATS} "
            f"(paired over {self.num_data:,} data)"
        )


TOO_LOW = 1.0
"""Nats by which an L_K may exceed evidence that is a lower bound before the table says so."""


@dataclass(frozen=True, eq=False)
class GuideComparison(Tabular):
    """Guides of one pair on the same data, a row for each.

    Attributes
    ----------
    rows, num_particles, seed
        One for each guide, number of particles K of all, and random seed of all draws.
    evidence, first_evidence
        log p(x) of every datum, that all gaps are measured from: the better of all estimates; and
        before the guides' L_K were looked at, the same if not given.
    quantities
        Names of the quantities that are shown, in their order; all unless given.
    """

    rows: tuple[GuideScores, ...]
    evidence: Evidence
    num_particles: int
    seed: int
    first_evidence: Evidence | None = None
    quantities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = quantities_of("guides")
        for name in self.quantities:
            known.check(name)

    def facts(self) -> Mapping[str, object]:
        """Which guides are compared on how many data; printed, it is the table."""
        return {
            "guides": [row.name for row in self.rows],
            "data": len(self.evidence),
            "evidence by": self.evidence.method,
            "particles": self.num_particles,
            "seed": self.seed,
        }

    def __getitem__(self, name: str) -> GuideScores:
        for row in self.rows:
            if row.name == name:
                return row
        raise UsageError(f"no guide {name!r}: there are {', '.join(r.name for r in self.rows)}")

    def showing(self, quantities: Sequence[str]) -> GuideComparison:
        """The same with these quantities alone, by name, in this order."""
        return replace(self, quantities=tuple(quantities))

    def difference(self, first: str, second: str, *, quantity: str = "elbo") -> Difference:
        """Is one guide better than another? Their paired difference, and its standard error.

        A ``UsageError`` is raised if a guide has no such number, with the reason, or is not there.
        """
        known = quantities_of("guides")
        per_datum = [name for name, of in known.items() if of.unit == NATS]
        if quantity not in per_datum:
            raise UsageError(f"no {quantity!r} of every datum: choose from {', '.join(per_datum)}")
        values = []
        for name in (first, second):
            row = self[name]
            if quantity in row.absent:
                raise UsageError(f"{name} has no {known[quantity].title}: {row.absent[quantity]}")
            values.append(getattr(row, quantity).double())
        value, error = mean_and_error(values[0] - values[1])
        return Difference(quantity, first, second, value, error, len(values[0]))

    @property
    def best(self) -> str | None:
        """The guide with the highest mean ELBO; ``None`` if none has one."""
        known = [row for row in self.rows if row.value("elbo") is not None]
        return max(known, key=lambda row: row.elbo_mean[0]).name if known else None

    @property
    def table(self) -> Tables:
        """A row for each guide, bounds and gaps apart from weights and cost.

        Its file has a line for each guide and quantity.
        """
        known = self._shown()
        given = self.evidence.given
        best = self.best  # by how much is it better than each of the others?
        others = [r.name for r in self.rows if r.name != best and "elbo" not in r.absent]
        conclusions = [f"{self.difference(name, best)}." for name in others] if best else []
        heads = [[of.heading(given) if of.unit == NATS else of.title] for of in known]
        in_nats = [j for j, of in enumerate(known) if of.unit == NATS]
        groups = [
            Group("Bounds and gaps", f"{NATS}, mean ± standard error over data", in_nats),
            Group(
                "Weights and cost",
                f"ESS: median over data, of {self.num_particles}; times of this run",
                [j for j in range(len(known)) if j not in in_nats],
            ),
        ]
        names = [row.name for row in self.rows]
        cells = [[_cell(row, of) for of in known] for row in self.rows]
        return Tables(
            tables=in_groups("guide", names, heads, cells, groups),
            notes=[
                *left_out(names, heads, cells, groups),
                *self._notes(),
                *self._too_low(),
                *chain.from_iterable(map(self._row_notes, self.rows)),
            ],
            conclusions=conclusions,
            records=self._records(),
        )

    def _shown(self) -> list[Quantity]:
        """The quantities that are shown, in their order."""
        known = quantities_of("guides")
        return [known[name] for name in self.quantities or known]

    def _notes(self) -> Iterator[str]:
        """What the numbers are."""
        yield f"{self.evidence}."
        yield f"K = {self.num_particles}, seed {self.seed}."
        for precision in dict.fromkeys(row.precision for row in self.rows if row.precision):
            names = (row.name for row in self.rows if row.precision == precision)
            yield f"In {precision}: {', '.join(names)}."
        if self.evidence.identity is None:
            yield (
                "log p(x) is the caller's own: of which data, mask, labels and weights it is was "
                "not checked, and the gaps are worth as much."
            )
        if self.evidence.kind == "lower bound":
            yield "log p(x) is a lower bound in expectation, and so are the gaps to it."
        if self.evidence.kind == "objective only":
            yield (
                "The likelihood is no probability, so there is no p(x): what stands for log p(x) "
                "here is log ∫ p(z) exp(log-likelihood) dz. Gaps and differences of guides hold."
            )

    def _row_notes(self, row: GuideScores) -> Iterator[str]:
        """What is to be said of one guide."""
        if row.unfinished and row.elbo is not None:
            yield (
                f"{row.name}: {row.unfinished} of {len(self.evidence)} fits did not converge; "
                "more steps may close some of the gap."
            )
        if row.optimisation_gap is not None:
            lost, error = mean_and_error(row.optimisation_gap)
            yield (
                f"{row.name}: {with_error(lost, error, digits=3)} nats of its gap are its "
                f"optimisation's, not its family's: {row.best_of_family}, which {row.family} "
                "contains, is better. More steps or another rate may close them."
            )
        elif row.best_of_family == row.name:
            yield (
                f"{row.name}: its family is {row.family}, and no member of it that is fitted "
                "to each datum is better."
            )
        elif row.best_of_family is not None:
            yield (
                f"{row.name}: its family is {row.family}, the best of it {row.best_of_family}, "
                "fitted to each datum."
            )

    def _too_low(self) -> list[str]:
        """Where the L_K of a guide shows that sampled evidence was too low, objective or not."""
        first = self.first_evidence or self.evidence
        bounds = [row.bound for row in self.rows if row.bound is not None]
        if not bounds or not self.evidence.is_sampled:
            return []
        value, error = (torch.stack(part) for part in zip(*bounds, strict=True))
        surely, highest = (  # a lucky L_K shows nothing
            of.to(first.value).nan_to_num(nan=-math.inf, neginf=-math.inf).amax(0) - first.value
            for of in (value - 3 * error, value)
        )
        too_low = surely > TOO_LOW
        if not bool(too_low.any()):
            return []
        return [
            f"log p(x) by {first.method} is too low for {int(too_low.sum())} of {len(first)} data: "
            f"the L_K of a guide is up to {float(highest[too_low].max()):.1f} nats higher, and is "
            "what counts. Anneal longer, or from that guide."
        ]

    def _records(self) -> list[list[object]]:
        """A line per guide and quantity: value and standard error, or why there is none."""
        found, lines = self.evidence, []
        for row in self.rows:
            for of in self._shown():
                name = of.name
                numbers = row.value(name)
                there = numbers is not None
                value, error = numbers or (None, None)
                sampled = there and name not in ("milliseconds", "num_parameters")
                split = there and name in ("approximation_gap", "amortisation_gap")
                line: dict[str, object] = {
                    "guide": row.name,
                    "quantity": name,
                    "value": value,
                    "standard_error": error,
                    "unit": of.unit,
                    "kind": self._kind(of) if there else None,
                    "K": self.num_particles if sampled else None,
                    "num_data": len(found),
                    "family": row.family,
                    "best_of_family": row.best_of_family if split else None,
                    "evidence": f"{found.method} ({found.kind})"
                    if there and "gap" in name
                    else None,
                    "given": found.given,
                    "seed": self.seed,
                    "reason": None if there else row.absent[name],
                    "identity": found.identity and found.identity.checksum,
                    "precision": row.precision,
                }
                lines.append(line)
        return [list(lines[0]), *(list(line.values()) for line in lines)]

    def _kind(self, of: Quantity) -> Kind:
        if of.unit == NATS and self.evidence.kind == "objective only":
            return "objective only"
        below = of.name in ("gap", "approximation_gap") and self.evidence.kind == "lower bound"
        return "lower bound" if below else of.kind


def _cell(row: GuideScores, of: Quantity) -> str | Absent:
    found = row.value(of.name)
    return Absent(row.absent[of.name]) if found is None else of.text(*found)
