"""Guides of one program side by side: every number with its error and kind, and words on each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from inference.evaluation.evidence import Evidence
from inference.evaluation.program_moments import Departures, Moments
from inference.evaluation.program_words import sentence
from inference.evaluation.quantity import Kind, Quantity
from inference.evaluation.table import Absent, Tabular
from inference.evaluation.tables import Group, Tables, in_groups, left_out
from inference.programs import ProgramPosterior
from inference.standard_error import with_error
from pyro_models import UsageError
from pyro_models.brief import Brief
from pyro_models.registry import Registry

__all__ = ["COLUMNS", "Number", "ProgramGuideComparison", "ProgramGuideScores"]

_SDS = "standard deviations of the reference"
_SIGNED = ("mean_departure", "sd_departure")
_TABLES = {  # topics of the columns, and what is said below these titles
    "Bounds and weights": "nats; k̂ above 0.7: the weights cannot be relied on",
    "Moments": "the number that differs most from the reference's",
    "Draws and cost": "of this run",
}
_FIT, _MOMENTS, _COST = _TABLES

_OF_CHAINS = ("divergences", "r_hat")

# fmt: off
COLUMNS: Registry[Quantity] = Registry("quantity", {
    of.name: of for of in (
        Quantity("elbo", "ELBO", "nats", "higher", 2, kind="lower bound", topic=_FIT),
        Quantity("importance_bound", "L_K", "nats", "higher", 2, kind="lower bound", topic=_FIT),
        Quantity("kl", "KL(q ‖ p)", "nats", "lower", 2, topic=_FIT),
        Quantity("k_hat", "k̂", "Pareto shape", "lower", 2, topic=_FIT),
        Quantity("ess_per_draw", "ESS/draw", "share of the draws", "higher", 2, topic=_COST),
        Quantity("ess_per_second", "ESS/s", "effective draws per second", "higher", 0, topic=_COST),
        Quantity("mean_departure", "worst mean", _SDS, None, 2, topic=_MOMENTS),
        Quantity("sd_departure", "worst sd", "sd of q / sd of the reference − 1", None, 2,
                 topic=_MOMENTS),
        Quantity("divergences", "divergences", "transitions", "lower", 0, topic=_COST),
        Quantity("r_hat", "R̂", "", "lower", 3, topic=_COST),
        Quantity("seconds", "seconds", "seconds", "lower", 1, topic=_COST),
        Quantity("num_parameters", "parameters", "parameters", None, 0, topic=_COST),
    )
})
"""What is said of a guide of a program."""
# fmt: on


@dataclass(frozen=True)
class Number:
    """A value, its standard error (NaN where it has none), its kind, and the number it is of."""

    value: float
    error: float = math.nan
    kind: Kind = "estimate"
    where: str = ""


@dataclass(frozen=True, eq=False)
class ProgramGuideScores(Brief):
    """One guide of a program.

    Attributes
    ----------
    name, numbers
        Name of the guide; and its numbers by quantity: those of :data:`COLUMNS`, and for chains
        ``chain_ess``, the least effective number of draws.
    absent, failed
        Quantities that it has none of, and why; and why there is no guide at all.
    departures
        What means and standard deviations of all sites differ from the reference's.
    unfinished
        How its fit ended, if it did not converge.
    is_reference
        Whether the others are compared with it.
    num_draws, num_chains
        Of chains.
    posterior
        The guide itself, to go on with.
    """

    name: str
    numbers: Mapping[str, Number] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    failed: str | None = None
    departures: Departures | None = None
    unfinished: str = ""
    is_reference: bool = False
    num_draws: int = 0
    num_chains: int = 0
    posterior: ProgramPosterior | None = field(default=None, repr=False)

    def value(self, quantity: str) -> float | None:
        """A number of it, if there is one."""
        found = self.numbers.get(quantity)
        return None if found is None else found.value


@dataclass(frozen=True, eq=False)
class ProgramGuideComparison(Tabular):
    """Guides of one program: a row for each, and plain words under them.

    Attributes
    ----------
    rows, num_particles, seed
        One for each guide; number of weights K of each guide; and random seed of all draws.
    evidence
        log p(x), or the reason why it is not known.
    upper
        An upper bound on log p(x) in expectation, by annealing back from draws of the reference.
    reference, reference_name, reference_draws
        Moments that those of the guides are compared with, whose they are, and draws behind them,
        site → (n, \\*shape); ``None`` and the reason where there are none.
    model
        Name of the model.
    quantities
        Names of the quantities that are shown, of :data:`COLUMNS`, in their order; all that there
        are unless given.
    """

    rows: tuple[ProgramGuideScores, ...]
    evidence: Evidence | str
    reference: Moments | None
    reference_name: str
    num_particles: int
    seed: int
    model: str = "model"
    upper: Number | None = None
    reference_draws: Mapping[str, Tensor] | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    quantities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.quantities:
            COLUMNS.check(name)

    def facts(self) -> Mapping[str, object]:
        """Which guides of which model are compared; printed, it is the table."""
        return {
            "": self.model,
            "guides": [row.name for row in self.rows],
            "reference": self.reference_name,
            "particles": self.num_particles,
            "seed": self.seed,
        }

    def __getitem__(self, name: str) -> ProgramGuideScores:
        for row in self.rows:
            if row.name == name:
                return row
        raise UsageError(f"no guide {name!r}: there are {', '.join(r.name for r in self.rows)}")

    def showing(self, quantities: Sequence[str]) -> ProgramGuideComparison:
        """The same with these quantities alone, by the names of :data:`COLUMNS`, in this order."""
        return replace(self, quantities=tuple(quantities))

    @property
    def words(self) -> tuple[str, ...]:
        """A sentence on each guide; see :func:`inference.evaluation.program_words.sentence`."""
        return tuple(map(sentence, self.rows))

    @property
    def table(self) -> Tables:
        """A row for each guide: what it is worth, its moments, and what it costs.

        Its file has a line for each guide and quantity.
        """
        shown = self._shown()
        groups = [
            Group(title, words, [j for j, of in enumerate(shown) if of.topic == title])
            for title, words in _TABLES.items()
        ]
        names, heads = [row.name for row in self.rows], [[of.title] for of in shown]
        cells = [[_cell(row, of) for of in shown] for row in self.rows]
        return Tables(
            tables=in_groups("guide", names, heads, cells, groups),
            notes=[*left_out(names, heads, cells, groups), *self._notes()],
            conclusions=self.words,
            records=self._records(),
        )

    def _shown(self) -> list[Quantity]:
        """The quantities that are shown; those of chains alone where there are chains."""
        if self.quantities:
            return [COLUMNS[name] for name in self.quantities]
        chains = any("r_hat" in row.numbers for row in self.rows)
        return [of for of in COLUMNS.values() if chains or of.name not in _OF_CHAINS]

    def _notes(self) -> Iterator[str]:
        """What the numbers are."""
        if isinstance(self.evidence, str):
            yield f"log p(x) is not known: {self.evidence}."
        else:
            value, error = float(self.evidence.value[0]), float(self.evidence.standard_error[0])
            number = with_error(value, error if error > 0 else math.nan, digits=3)
            by = ", ".join(self.evidence.sources) or self.evidence.method
            text = f"log p(x) of {self.model} {number} nats ({self.evidence.kind}, by {by}"
            if by != self.evidence.kind:
                text += f", seed {self.seed}" if self.evidence.is_sampled else ""
            else:
                text = text.removesuffix(f", by {by}")
            yield f"{text})."
        if self.upper is not None:
            number = with_error(self.upper.value, self.upper.error, digits=3)
            yield (
                f"Annealing back from draws of the reference: log p(x) at most {number} nats "
                "(upper bound in expectation, as good as the draws)."
            )
        text = f"K = {self.num_particles}, seed {self.seed}."
        shown = {of.topic for of in self._shown()}
        if self.reference is None:
            text += f" There is no reference: {self.reference_name}."
        elif _MOMENTS in shown:
            text += (
                " Worst mean and worst sd: of all numbers, the one that differs most from "
                f"{self.reference_name}, in its standard deviations (mean), and as sd of q / sd of "
                "the reference − 1 (sd)."
            )
        if _COST in shown:
            text += (
                " ESS/draw of chains is their least bulk ESS; ESS/s counts fit and draws of this "
                "run."
            )
        yield text
        yield from self.notes

    def _recorded(self) -> list[tuple[str, Quantity]]:
        return [(name, COLUMNS[name]) for name in self.quantities or COLUMNS]

    def _records(self) -> list[list[object]]:
        lines: list[list[object]] = [
            ["guide", "quantity", "value", "standard_error", "unit", "kind", "where", "K", "seed"]
        ]
        lines[0] += ["reference", "reason"]
        for row in self.rows:
            for name, of in self._recorded():
                number = row.numbers.get(name)
                value, error, kind, where = (
                    (None,) * 4
                    if number is None
                    else (number.value, number.error, number.kind, number.where)
                )
                reason = None if number else row.failed or row.absent.get(name)
                own = [row.name, name, value, error, of.unit, kind, where or None]
                lines.append([*own, self.num_particles, self.seed, self.reference_name, reason])
        return lines


def _cell(row: ProgramGuideScores, of: Quantity) -> str | Absent | None:
    number = row.numbers.get(of.name)
    if number is None:
        why = row.failed or row.absent.get(of.name)
        return Absent(why) if why else None
    if math.isinf(number.value):
        text = f"{'−' if number.value < 0 else ''}∞"
    else:
        signed = of.name in _SIGNED
        text = with_error(number.value, number.error, digits=of.digits, signed=signed)
    return f"{text} ({number.where})" if number.where else text
