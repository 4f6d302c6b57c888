"""Several guides of one pair on the same data, side by side."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass

import torch

from inference.evaluation.evidence import Evidence
from inference.evaluation.guide_scores import (
    COLUMNS,
    PER_DATUM,
    Difference,
    GuideScores,
    mean_and_error,
)
from inference.evaluation.layout import Absent, aligned, html_table, lettered, markdown_table
from inference.evaluation.scores import conditional
from pyro_models import UsageError

__all__ = ["GuideComparison"]

_SCORES = ("elbo", "importance_bound", "gap", "approximation_gap", "amortisation_gap")


@dataclass(frozen=True, eq=False)
class GuideComparison:
    """Guides of one pair on the same data.

    Attributes
    ----------
    rows
        One for each guide.
    evidence
        log p(x) of every datum, that all gaps are measured from: the better of all estimates.
    num_particles
        K of every row.
    seed
        Of all draws.
    first_evidence
        log p(x) before the guides' L_K were looked at; ``evidence`` if not given.
    """

    rows: tuple[GuideScores, ...]
    evidence: Evidence
    num_particles: int
    seed: int
    first_evidence: Evidence | None = None

    def __getitem__(self, name: str) -> GuideScores:
        for row in self.rows:
            if row.name == name:
                return row
        raise UsageError(f"no guide {name!r}: there are {', '.join(r.name for r in self.rows)}")

    def difference(self, first: str, second: str, *, quantity: str = "elbo") -> Difference:
        """Is one guide better than another? Their paired difference, and its standard error.

        Raises
        ------
        UsageError
            If a guide has no such number, with the reason, or is not there.
        """
        if quantity not in PER_DATUM:
            raise UsageError(f"no {quantity!r} of every datum: choose from {', '.join(PER_DATUM)}")
        values = []
        for name in (first, second):
            row = self[name]
            if quantity in row.absent:
                raise UsageError(f"{name} has no {COLUMNS[quantity]}: {row.absent[quantity]}")
            values.append(getattr(row, quantity).double())
        value, error = mean_and_error(values[0] - values[1])
        return Difference(quantity, first, second, value, error, len(values[0]))

    @property
    def best(self) -> str | None:
        """The guide with the highest mean ELBO; ``None`` if none has one."""
        found = {row.name: row.value("elbo") for row in self.rows}
        means = {name: value[0] for name, value in found.items() if value is not None}
        return max(means, key=lambda name: means[name]) if means else None

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        """The table in a notebook."""
        return self.to_html()

    def _heads(self) -> list[list[str]]:
        given = self.evidence.given
        titles = [
            conditional(title, given) if quantity in _SCORES else title
            for quantity, title in COLUMNS.items()
        ]
        return [["guide"], *([title] for title in titles)]

    def _texts(self) -> tuple[list[list[str]], list[str]]:
        """Rows of text, and what stands below: what the numbers are, and every reason."""
        cells = [[row.name, *(_text(row, quantity) for quantity in COLUMNS)] for row in self.rows]
        rows, reasons = lettered(cells)
        return rows, self._below(reasons)

    def _below(self, notes: list[str]) -> list[str]:
        below = [
            f"{self.evidence}.",
            "Nats per datum, mean ± standard error over data; "
            f"K = {self.num_particles}, seed {self.seed}; ESS: median over data, of "
            f"{self.num_particles}; times of this run.",
        ]
        if self.evidence.identity is None:
            below.append(
                "log p(x) is the caller's own: of which data, mask, labels and weights it is was "
                "not checked, and the gaps are worth as much."
            )
        if self.evidence.kind == "lower bound":
            below.append("log p(x) is a lower bound in expectation, and so are the gaps to it.")
        if self.evidence.kind == "objective only":
            below.append(
                "The likelihood is no probability, so there is no p(x): what stands for log p(x) "
                "here is log ∫ p(z) exp(log-likelihood) dz. Gaps and differences of guides hold."
            )
        if self.evidence.is_sampled:  # objective only or not
            below += self._too_low()
        for row in self.rows:
            if row.unfinished and row.elbo is not None:
                below.append(
                    f"{row.name}: {row.unfinished} of {len(self.evidence)} fits did not converge; "
                    "more steps may close some of the gap."
                )
            if row.optimisation_gap is not None:
                lost, error = mean_and_error(row.optimisation_gap)
                below.append(
                    f"{row.name}: {lost:.3f}{_spread(error, 3)} nats of its gap are its "
                    f"optimisation's, not its family's: {row.best_of_family}, which {row.family} "
                    "contains, is better. More steps or another rate may close them."
                )
            elif row.best_of_family == row.name:
                below.append(
                    f"{row.name}: its family is {row.family}, and no member of it that is fitted "
                    "to each datum is better."
                )
            elif row.best_of_family is not None:
                below.append(
                    f"{row.name}: its family is {row.family}, the best of it {row.best_of_family}, "
                    "fitted to each datum."
                )
        below += notes
        best = self.best
        if best is not None:
            others = [r.name for r in self.rows if r.name != best and "elbo" not in r.absent]
            below += [f"{self.difference(name, best)}." for name in others]
        return below

    def _too_low(self) -> list[str]:
        """Where the L_K of a guide shows that sampled evidence was too low."""
        first = self.evidence if self.first_evidence is None else self.first_evidence
        log_p = first.value
        bounds = [
            (r.importance_bound, r.importance_error)
            for r in self.rows
            if r.importance_bound is not None and r.importance_error is not None
        ]
        if not bounds:
            return []
        surely = [(b - 3 * e).to(log_p) for b, e in bounds]  # a lucky L_K shows nothing
        lowest = torch.stack([v.nan_to_num(nan=-math.inf, neginf=-math.inf) for v in surely])
        values = [b.to(log_p).nan_to_num(nan=-math.inf, neginf=-math.inf) for b, _ in bounds]
        too_low = lowest.amax(0) - log_p > TOO_LOW
        count = int(too_low.sum())
        if count == 0:
            return []
        above = torch.stack(values).amax(0) - log_p
        return [
            f"log p(x) by {first.method} is too low for {count} of {len(log_p)} data: the L_K of a "
            f"guide is up to {float(above[too_low].max()):.1f} nats higher, and is what counts. "
            "Anneal longer, or from that guide."
        ]

    def to_text(self) -> str:
        """The table for a terminal."""
        rows, below = self._texts()
        lines = aligned([[text for (text,) in self._heads()], *rows])
        return "\n".join([*lines, "", *below]) + "\n"

    def to_markdown(self) -> str:
        """The table for people, with what its numbers are and every reason below."""
        rows, below = self._texts()
        notes = [f"- {text}".replace("|", "\\|") for text in below]
        return "\n".join([*markdown_table(self._heads(), rows), "", *notes]) + "\n"

    def to_html(self) -> str:
        """The table as an HTML fragment."""
        rows, below = self._texts()
        return html_table(self._heads(), rows, notes=below)

    def to_csv(self) -> str:
        """One line per guide and quantity: value and standard error, or why there is none."""
        fields = ["guide", "quantity", "value", "standard_error", "unit", "kind", "K", "num_data"]
        fields += ["family", "best_of_family", "evidence", "given", "seed", "reason", "identity"]
        known = self.evidence.identity
        out = io.StringIO()
        writer = csv.DictWriter(out, fields, lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            for quantity in COLUMNS:
                line: dict[str, object] = {
                    "guide": row.name,
                    "quantity": quantity,
                    "unit": UNITS.get(quantity, "nats per datum"),
                    "num_data": len(self.evidence),
                    "family": row.family,
                    "given": self.evidence.given,
                    "seed": self.seed,
                    "identity": None if known is None else known.checksum,
                }
                found = row.value(quantity)
                if found is None:
                    writer.writerow({**line, "reason": row.absent[quantity]})
                    continue
                value, error = found
                line |= {"value": value, "kind": self._kind(quantity)}
                if not math.isnan(error):
                    line["standard_error"] = error
                if quantity not in ("milliseconds", "num_parameters"):
                    line["K"] = self.num_particles
                if "gap" in quantity:
                    line["evidence"] = f"{self.evidence.method} ({self.evidence.kind})"
                if quantity in ("approximation_gap", "amortisation_gap"):
                    line["best_of_family"] = row.best_of_family
                writer.writerow(line)
        return out.getvalue()

    def _kind(self, quantity: str) -> str:
        if self.evidence.kind == "objective only" and quantity in PER_DATUM:
            return "objective only"
        if quantity in ("elbo", "importance_bound"):
            return "lower bound"
        if quantity in ("gap", "approximation_gap") and self.evidence.kind == "lower bound":
            return "lower bound"
        return "estimate"


TOO_LOW = 1.0
"""Nats by which an L_K may exceed evidence that is a lower bound before the table says so."""

UNITS = {
    "share_unreliable": "share of the data",
    "effective_sample_size": "particles, median over data",
    "milliseconds": "ms per datum",
    "num_parameters": "numbers per datum",
}


def _text(row: GuideScores, quantity: str) -> str | Absent:
    found = row.value(quantity)
    return Absent(row.absent[quantity]) if found is None else _number(quantity, *found)


def _number(quantity: str, value: float, error: float) -> str:
    digits = {"effective_sample_size": 1, "milliseconds": 2, "num_parameters": 0}.get(quantity, 3)
    digits = 2 if quantity == "share_unreliable" else digits
    spread = _spread(error, digits)
    return f"{round(value, digits) + 0.0:.{digits}f}{spread}"  # + 0.0: no minus before a zero


def _spread(error: float, digits: int) -> str:
    return "" if math.isnan(error) else f" ± {error:.{digits}f}"
