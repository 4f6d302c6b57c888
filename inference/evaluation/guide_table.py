"""Several guides of one pair on the same data, side by side."""

from __future__ import annotations

import csv
import html
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from inference.evaluation.diagnostics import RELIABLE
from inference.evaluation.evidence import Evidence
from pyro_models import UsageError

__all__ = ["COLUMNS", "Difference", "GuideComparison", "GuideScores", "mean_and_error"]

COLUMNS = {
    "elbo": "ELBO",
    "importance_bound": "L_K",
    "gap": "log p(x) − ELBO",
    "approximation_gap": "approximation gap",
    "amortisation_gap": "amortisation gap",
    "share_unreliable": f"share k̂ > {RELIABLE}",
    "effective_sample_size": "ESS",
    "milliseconds": "ms per image",
    "num_parameters": "numbers per image",
}
"""Quantities of a row, and their headings."""

PER_DATUM = ("elbo", "importance_bound", "gap", "approximation_gap", "amortisation_gap")


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """Mean over data and its standard error; NaN for one datum."""
    values = values.double()
    error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(values.mean()), error


@dataclass(frozen=True, eq=False)
class GuideScores:
    """One guide on B data; nats per datum where nothing else is said.

    Attributes
    ----------
    name
        Of the guide.
    milliseconds
        Wall-clock time of the inference per image, in this run on this machine.
    num_parameters
        Numbers that the guide keeps per image; those that images share count by their share.
    elbo, elbo_error
        E_q[log p(x, z) − log q(z)], (B,), estimated from K draws, and its Monte-Carlo error.
    importance_bound
        L_K, (B,), with the same K for all guides.
    effective_sample_size, k_hat
        Of the K weights, (B,).
    gap
        log p(x) − ELBO, (B,): KL(q(z | x) ‖ p(z | x)) where the evidence is exact.
    unfinished
        Fits that ended at the step limit, or where numbers were no longer finite.
    family, best_of_family
        The family of q, and the fitted guide that stands for its best member.
    approximation_gap
        log p(x) − the best ELBO within the family, (B,) (Cremer, Li & Duvenaud 2018).
    amortisation_gap
        The best ELBO within the family − this guide's, (B,).
    absent
        Quantities there are none of, and why.
    """

    name: str
    milliseconds: float
    num_parameters: float
    elbo: Tensor | None = None
    elbo_error: Tensor | None = None
    importance_bound: Tensor | None = None
    effective_sample_size: Tensor | None = None
    k_hat: Tensor | None = None
    gap: Tensor | None = None
    unfinished: int = 0
    family: str | None = None
    best_of_family: str | None = None
    approximation_gap: Tensor | None = None
    amortisation_gap: Tensor | None = None
    absent: Mapping[str, str] = field(default_factory=dict)

    def value(self, quantity: str) -> tuple[float, float] | None:
        """Number of a column of :data:`COLUMNS` and its standard error over data, if there is one.

        The error is NaN where there is none: for one datum, and for numbers that are no mean.
        """
        if quantity in self.absent:
            return None
        if quantity in ("milliseconds", "num_parameters"):
            return float(getattr(self, quantity)), math.nan
        if quantity == "share_unreliable":
            assert self.k_hat is not None
            return mean_and_error((self.k_hat > RELIABLE).double())
        values = getattr(self, quantity)
        assert isinstance(values, Tensor)
        if quantity == "effective_sample_size":
            return float(values.median()), math.nan
        return mean_and_error(values)


@dataclass(frozen=True)
class Difference:
    """One guide's mean minus another's over the same data.

    Attributes
    ----------
    quantity
        Of which.
    first, second
        Names of the guides.
    value
        first − second, nats per datum.
    standard_error
        Over data, of the paired differences: what both guides owe to an image cancels.
    num_data
        How many.
    """

    quantity: str
    first: str
    second: str
    value: float
    standard_error: float
    num_data: int

    def __str__(self) -> str:
        error = self.standard_error
        spread = "" if math.isnan(error) else f" ± {error:.4f}"  # of one datum there is none
        return (
            f"{COLUMNS[self.quantity]}, {self.first} − {self.second}: {self.value:+.4f}{spread} "
            f"nats per datum (paired over {self.num_data:,} data)"
        )


@dataclass(frozen=True, eq=False)
class GuideComparison:
    """Guides of one pair on the same data.

    Attributes
    ----------
    rows
        One for each guide.
    evidence
        log p(x) of every datum, that all gaps are measured from.
    num_particles
        K of every row.
    seed
        Of all draws.
    """

    rows: tuple[GuideScores, ...]
    evidence: Evidence
    num_particles: int
    seed: int

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

    def _cells(self) -> tuple[list[list[str]], list[str]]:
        """Texts of the cells, a letter where there is a reason, and the reasons."""
        reasons: list[str] = []
        lines = []
        for row in self.rows:
            line = [row.name]
            for quantity in COLUMNS:
                value = row.value(quantity)
                if value is not None:
                    line.append(_number(quantity, *value))
                    continue
                reason = row.absent[quantity]
                if reason not in reasons:
                    reasons.append(reason)
                line.append(f"– [{chr(ord('a') + reasons.index(reason))}]")
            lines.append(line)
        return lines, [f"[{chr(ord('a') + i)}] {reason}" for i, reason in enumerate(reasons)]

    def _below(self, notes: list[str]) -> list[str]:
        below = [
            f"{self.evidence}.",
            "Nats per datum, mean ± standard error over data; "
            f"K = {self.num_particles}, seed {self.seed}; ESS: median over data, of "
            f"{self.num_particles}; times of this run.",
        ]
        if self.evidence.kind == "lower bound":
            below.append("log p(x) is a lower bound in expectation, and so are the gaps to it.")
        if self.evidence.method in ("annealing", "importance"):  # objective only or not
            below += self._too_low()
        for row in self.rows:
            if row.unfinished and row.elbo is not None:
                below.append(
                    f"{row.name}: {row.unfinished} of {len(self.evidence)} fits did not converge; "
                    "more steps may close some of the gap."
                )
            if row.best_of_family is not None:
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
        """Where a guide's L_K shows that the evidence is too low."""
        log_p = self.evidence.value
        bounds = [r.importance_bound for r in self.rows if r.importance_bound is not None]
        if not bounds:
            return []
        bounds = [b.to(log_p).nan_to_num(nan=-math.inf, neginf=-math.inf) for b in bounds]
        above = torch.stack(bounds).amax(0) - log_p
        count = int((above > TOO_LOW).sum())
        if count == 0:
            return []
        return [
            f"log p(x) is too low for {count} of {len(log_p)} data: the L_K of a guide is up to "
            f"{float(above.max()):.1f} nats higher. Anneal longer, or from that guide."
        ]

    def to_text(self) -> str:
        """The table for a terminal."""
        cells, notes = self._cells()
        table = [["guide", *COLUMNS.values()], *cells]
        widths = [max(len(line[j]) for line in table) for j in range(len(table[0]))]
        out = [
            "  ".join(
                text.ljust(width) if j == 0 else text.rjust(width)
                for j, (text, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in table
        ]
        return "\n".join([*out, "", *self._below(notes)]) + "\n"

    def to_markdown(self) -> str:
        """The table for people, with what its numbers are and every reason below."""
        cells, notes = self._cells()
        lines = ["| guide | " + " | ".join(COLUMNS.values()) + " |"]
        lines.append("|---" * (len(COLUMNS) + 1) + "|")
        lines += [
            "| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in cells
        ]
        below = [f"- {text}".replace("|", "\\|") for text in self._below(notes)]
        return "\n".join([*lines, "", *below]) + "\n"

    def to_html(self) -> str:
        """The table as an HTML fragment."""
        cells, notes = self._cells()
        heads = "".join(f"<th>{html.escape(text)}</th>" for text in COLUMNS.values())
        body = "".join(
            f"<tr><th>{html.escape(name)}</th>"
            + "".join(f"<td>{html.escape(text)}</td>" for text in line)
            + "</tr>"
            for name, *line in cells
        )
        below = "".join(f"<li>{html.escape(text)}</li>" for text in self._below(notes))
        return (
            f"<table><thead><tr><th>guide</th>{heads}</tr></thead><tbody>{body}</tbody></table>"
            f'<ul class="notes">{below}</ul>'
        )

    def to_csv(self) -> str:
        """One line per guide and quantity: value and standard error, or why there is none."""
        fields = ["guide", "quantity", "value", "standard_error", "unit", "kind", "K", "num_data"]
        fields += ["family", "best_of_family", "evidence", "seed", "reason"]
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
                    "seed": self.seed,
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


def _number(quantity: str, value: float, error: float) -> str:
    digits = {"effective_sample_size": 1, "milliseconds": 2, "num_parameters": 0}.get(quantity, 3)
    digits = 2 if quantity == "share_unreliable" else digits
    spread = "" if math.isnan(error) else f" ± {error:.{digits}f}"
    return f"{round(value, digits) + 0.0:.{digits}f}{spread}"  # + 0.0: no minus before a zero
