"""A number with its meaning, conversions that are exact, and numbers that contradict each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from inference.evaluation.quantity import (
    BITS,
    COMPARED_BY,
    NATS,
    NATS_SUM,
    SQUARED_ERROR,
    Kind,
    Quantity,
    quantity_named,
)
from inference.standard_error import with_error
from pyro_models import UsageError
from pyro_models.brief import Brief
from pyro_models.data import Identity
from pyro_models.data.preparation import words_of_preparation
from pyro_models.likelihoods.likelihood import LEBESGUE_UNIT
from pyro_models.moved import renamed_attribute

__all__ = [
    "LEBESGUE_255",
    "Score",
    "beyond",
    "contradiction",
    "from_sum",
    "on_unit_pixels",
    "to_bits_per_dimension",
    "without_contradictions",
]

LEBESGUE_255 = "Lebesgue on [0,255]"

_OPPOSITE: dict[str, Kind] = {"lower bound": "upper bound", "upper bound": "lower bound"}

_SAID = {  # what a field that differs says of the content already
    "split": ("splits",),
    "number of data": ("number of",),
    "given": ("mask", "pixels conditioned on", "other labels"),
    "measure": ("grey levels",),
}

_DIGITS = 3

_ERRORS = 3.0

_ROUNDING = 1e-5  # of the numbers themselves: some hundred times that of float32

_SAME = ("unit", "measure", "given", "preparation", "data", "split", "num_data")


@dataclass(frozen=True)
class Score(Brief):
    """One number, and all that decides what it may be compared with.

    Attributes
    ----------
    quantity, unit
        Name of what it is of, from :data:`inference.evaluation.QUANTITIES`, and its unit.
    value, standard_error
        The average over the data, and its standard error from the sampling of data and of estimates
        together; NaN for one datum.
    kind
        Exact, estimate, lower or upper bound (in expectation), or an objective that is no bound.
    data, split, preparation, num_data, dimensions
        The data, their split and preparation (with the seed where it is random), how many they are,
        and of how many dimensions each.
    measure, given
        What densities are relative to, and what else they hang on (ε of clamped pixels), ``None``
        for no probability; and what is conditioned on, e.g. ``y`` or ``x_left``.
    num_particles, seed
        Number of particles K of an importance-sampled bound, and random seed of the draws.
    monte_carlo_error
        The part of the standard error that comes from sampling latents; more particles lower it.
    method
        How it was estimated, where that decides how tight it is: ``annealing, 16 chains, 1000
        temperatures``; ``None`` where the other fields say it.
    identity
        What the data are by their content: pixels, labels where they are conditioned on or compared
        with, what is seen, what is conditioned on. It decides in place of the names in ``data`` and
        ``given``; ``None`` where it is unknown, and then names have to do.
    num_seeds
        Number of seeds of the training that it is the mean over; its standard error is then over
        them. ``None`` for one training.
    precision
        ``"bfloat16"`` where the networks computed in it, ``"float64"`` where all did, ``None`` for
        float32. It estimates the same thing, so it is said and decides nothing.
    """

    quantity: str
    value: float
    standard_error: float
    unit: str
    kind: Kind
    data: str
    split: str
    preparation: str
    num_data: int
    dimensions: int
    measure: str | None = None
    given: str | None = None
    num_particles: int | None = None
    monte_carlo_error: float | None = None
    seed: int | None = None
    method: str | None = None
    identity: Identity | None = field(default=None, hash=False)
    num_seeds: int | None = None
    precision: str | None = None

    def facts(self) -> Mapping[str, object]:
        """The number, and what it is."""
        number = f"{self.number} {self.unit}".rstrip()
        return {
            "": f"{self.quantity} {number}",
            "of": f"{self.data} {self.split}",
            "data": self.num_data,
            "kind": self.kind,
            "measure": self.measure,
        }

    def __post_init__(self) -> None:
        if isinstance(self.identity, Mapping):  # read from a file
            object.__setattr__(self, "identity", Identity.from_dict(self.identity))
        if self.measure is None and self.unit in (NATS, NATS_SUM) and self.kind != "objective only":
            raise UsageError(
                f"a {self.quantity} in nats without a measure is no log-probability: name the "
                "measure, or call its kind 'objective only'"
            )

    @property
    def of(self) -> Quantity:
        """What the number is of: title, unit, direction, digits."""
        return quantity_named(self.quantity, self.unit)

    @property
    def comparability(self) -> dict[str, Any]:
        """The fields on which two scores must agree to stand in one column.

        An exact value is also the tightest bound, so it may stand beside bounds; and where others
        are estimates, it is what they estimate.
        """
        beside = self.of.may_be_exact and self.kind in ("exact", self.of.kind)
        fields = {
            **vars(self),
            "kind": f"exact or {self.of.kind}" if beside else self.kind,
            "number of data": self.num_data,
            "K": self.num_particles,
        }
        agreed = ("quantity", *self.of.compared_by)
        return {name: fields[name] for name in COMPARED_BY if name in agreed}

    footing = renamed_attribute("comparability")

    def differs_from(self, wanted: Mapping[str, Any]) -> str:
        """The fields that differ from the comparability of a column, in words; empty if none."""
        own = self.comparability
        one, other = own.get("identity"), wanted.get("identity")
        content, left_out = "", {"identity"}
        if one is not None and other is not None:  # content decides in the place of names
            content = one.differs_from(other) or ""
            left_out |= {"data"} if content else {"data", "split", "given"}
        different = (name for name, value in wanted.items() if own.get(name) != value)
        wrong = [name for name in different if name not in left_out]
        for how in ("K", "method"):
            if how in wrong and None in (own.get(how), wanted[how]):
                wrong.remove(how)  # one of the two is exact, or not sampled
        if len(wrong) > 1 and "kind" in wrong:
            wrong.remove("kind")  # follows from the others
        found = [f"{f}: {_word(own.get(f))}, not {_word(wanted[f])}" for f in wrong]
        said = tuple(words for name in wrong for words in _SAID.get(name, ()))
        return "; ".join([*found, *([content] if content and not content.startswith(said) else [])])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and CSV."""
        return {**asdict(self), "identity": self.identity and self.identity.to_dict()}

    @property
    def number(self) -> str:
        """The value with its standard error, where it has one."""
        return self.of.text(self.value, self.standard_error)

    @property
    def column_number(self) -> str:
        """The same, with the digits that it has in a column of a comparison."""
        return self.of.text(self.value, self.standard_error, column=True)

    @property
    def meaning(self) -> str:
        """What the number is, in words: its kind, what it is given, its measure, the pixels."""
        k = f", K = {self.num_particles}" if self.num_particles else ""
        given = f"given {self.given}" if self.given else ""
        seeds = f"mean over {self.num_seeds} seeds" if self.num_seeds else ""
        pixels = words_of_preparation(self.preparation)
        words = [f"{self.kind}{k}", seeds, given, self.measure or "", pixels, self.precision or ""]
        return "; ".join(word for word in words if word)

    def __str__(self) -> str:
        return f"{self.quantity} {self.number} {self.unit} ({self.meaning})"


def _word(value: object) -> str:
    return "none" if value is None else str(value)


def from_sum(score: Score) -> Score:
    """A sum over data as the mean per datum: divide by the number of data. Exact.

    A ``UsageError`` is raised if the score is not a sum.
    """
    if score.unit != NATS_SUM:
        raise UsageError(f"{score.quantity} is in {score.unit}, not a sum over data")
    n = score.num_data
    return replace(
        score,
        value=score.value / n,
        standard_error=score.standard_error / n,
        monte_carlo_error=_scaled(score.monte_carlo_error, 1 / n),
        unit=NATS,
    )


def _scaled(error: float | None, factor: float) -> float | None:
    return None if error is None else error * factor


def on_unit_pixels(score: Score) -> Score:
    """A score on pixels in [0, 255] as one on pixels in [0, 1]. Exact.

    With x' = 255 x, p(x) = 255^D p'(x'), so log p(x) = log p'(x') + D ln 255; a squared error is
    divided by 255². A ``UsageError`` is raised if it is on other pixels.
    """
    if score.measure != LEBESGUE_255:
        raise UsageError(f"{score.quantity} is relative to {score.measure}, not {LEBESGUE_255}")
    if score.unit == SQUARED_ERROR:
        factor, shift = 255.0**-2, 0.0
    elif score.unit == NATS:
        factor, shift = 1.0, score.dimensions * math.log(255)
    else:
        raise UsageError(f"{score.unit} has no exact conversion to pixels in [0, 1]")
    return replace(
        score,
        value=score.value * factor + shift,
        standard_error=score.standard_error * factor,
        monte_carlo_error=_scaled(score.monte_carlo_error, factor),
        measure=None if score.unit == SQUARED_ERROR else LEBESGUE_UNIT,
    )


def to_bits_per_dimension(score: Score, *, levels: int) -> Score:
    """A log-probability of pixels with L grey levels as bits per dimension.

    For a probability of the L levels themselves it is −log P / (D ln 2), exact; a lower bound on
    log P is an upper bound on the bits. For a density of dequantised pixels it is −log p / (D ln 2)
    + log₂ L. By Jensen's inequality E_u[log p(((L − 1) x + u) / L)] − D ln L is at most the
    log-probability of the discrete pixels (Theis et al. 2016): an upper bound. Either is of the
    grey pixels. A ``UsageError`` is raised if the score is neither.
    """
    counting = f"counting on {levels} levels"
    density = score.measure == LEBESGUE_UNIT and score.preparation.startswith("dequantised")
    probability = score.measure == counting and score.preparation == "grey"
    if score.unit != NATS or not (density or probability):
        of = words_of_preparation(score.preparation)
        raise UsageError(
            f"bits per dimension need a density of dequantised pixels, or a probability of their "
            f"{levels} grey levels, in {NATS}; this is of {of} relative to {score.measure}, in "
            f"{score.unit}"
        )
    scale = score.dimensions * math.log(2)
    known = score.identity
    return replace(
        score,
        identity=None if known is None else replace(known, levels=None),  # the measure says them
        quantity="bits_per_dimension",
        value=-score.value / scale + (math.log2(levels) if density else 0.0),
        standard_error=score.standard_error / scale,
        unit=BITS,
        kind="upper bound" if density else _OPPOSITE.get(score.kind, score.kind),
        measure=counting,
        preparation="grey",
        monte_carlo_error=_scaled(score.monte_carlo_error, 1 / scale),
    )


def beyond(excess: float, *, error: float, of: float) -> bool:
    """Whether the excess of a lower bound above its upper, nats, is more than chance explains.

    That is three of its standard ``error``, NaN counting as none, and the rounding of a number
    ``of`` that size.
    """
    known = 0.0 if math.isnan(error) else error
    return excess > _ERRORS * known + _ROUNDING * max(1.0, abs(of))


def contradiction(
    lower: tuple[str, float], upper: tuple[str, float], *, error: float
) -> str | None:
    """Why two numbers, each with its name, cannot both be right; ``None`` if they can."""
    excess = lower[1] - upper[1]
    if not beyond(excess, error=error, of=upper[1]):
        return None
    by = with_error(excess, 0.0 if math.isnan(error) else error, digits=_DIGITS)
    return (
        f"{lower[0]} {_number(lower[1])} is above {upper[0]} {_number(upper[1])} by {by}, "
        "more than its error: one is wrong"
    )


def without_contradictions(
    scores: Mapping[str, Score], absent: Mapping[str, str]
) -> tuple[dict[str, Score], dict[str, str]]:
    """Scores without lower bounds that are above an exact log p(x), and reasons for these too."""
    kept, reasons = dict(scores), dict(absent)
    exact = scores.get("log_likelihood")
    if exact is None or exact.kind != "exact":
        return kept, reasons
    for name in ("elbo", "importance_bound"):
        bound = scores.get(name)
        if bound is None or bound.kind != "lower bound":
            continue
        if any(getattr(bound, field) != getattr(exact, field) for field in _SAME):
            continue
        of_exact = ("the exact log p(x)", exact.value)
        error = bound.monte_carlo_error or 0.0
        if why := contradiction((name, bound.value), of_exact, error=error):
            del kept[name]
            reasons[name] = why
    return kept, reasons


def _number(value: float) -> str:
    return with_error(value, digits=_DIGITS).replace("-", "−")
