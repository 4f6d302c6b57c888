"""The result of a calibration: ranks of every quantity, tests of them, coverage, and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from torch import Tensor

from inference.evaluation.calibration.findings import (
    DENSITY,
    LOG_LIKELIHOOD,
    TARP,
    adjusted,
    found_in,
)
from inference.evaluation.calibration.ranks import Ranks, rank_of
from inference.evaluation.calibration.shown import quantities_named
from inference.evaluation.calibration.uniformity import SMALLEST_P, Band, band, boundaries
from inference.evaluation.table import Cell, Table, Tabular
from inference.standard_error import with_error
from pyro_models import UsageError
from pyro_models.brief import Brief
from pyro_models.counts import check_counts
from pyro_models.registry import check_choice

__all__ = ["Calibration", "Coverage"]

CREDIBILITY = 0.9
"""Of the regions whose coverage a table says."""
MOST_ROWS, MOST_NAMED = 40, 5


@dataclass(frozen=True, eq=False)
class Coverage(Brief):
    """How often credible regions hold the truth.

    Attributes
    ----------
    credibility
        What share of the posterior a region has, (P,).
    covered
        Share of the simulations whose region holds the truth, (P,).
    band
        Limits of ``covered`` for a right posterior, at all credibilities at once.
    """

    credibility: np.ndarray
    covered: np.ndarray
    band: Band


@dataclass(frozen=True, eq=False)
class Calibration(Tabular):
    """Ranks of what n data sets were simulated from, among L draws from the posterior of each.

    Attributes
    ----------
    values
        Ranks of every quantity by name, (n,) each, whole numbers in 0…L: of every continuous
        latent (``"tau"``, ``"z[3]"``, counted from 0 as its tensor is), of ``"log_likelihood"``
        and ``"log_q"``, the log densities of data and guide, where they are known, of ``"tarp"``,
        the distance from a random point, and of the functions of one's own.
    num_draws
        L.
    guide, model
        Their names.
    level
        The chance that a right posterior is said to be miscalibrated in any quantity.
    seed
        Random seed of simulations and inference.
    num_failed, num_unfinished, num_correlated
        Simulations of which no posterior came about and which no number counts; whose fit stopped
        before it had converged; and whose chains have draws worth fewer than L independent ones.
    quantities
        Names of the quantities that are shown, in their order; all unless given. Tests stay those
        of all quantities.
    """

    values: Mapping[str, Tensor]
    num_draws: int
    guide: str = "the guide"
    model: str = "the model"
    level: float = 0.05
    seed: int = 0
    num_failed: int = 0
    num_unfinished: int = 0
    num_correlated: int = 0
    quantities: tuple[str, ...] = ()

    def facts(self) -> Mapping[str, object]:
        """What was calibrated on how many simulations, and in how much it is wrong."""
        wrong = [name for name in self.ranks if min(self.adjusted[name]) <= self.level]
        return {
            "": f"{self.guide} of {self.model}",
            "simulations": len(self),
            "draws": self.num_draws,
            "quantities": len(self.ranks),
            "miscalibrated": wrong or "none found",
        }

    @classmethod
    def of_draws(
        cls, truth: Mapping[str, Tensor], draws: Mapping[str, Tensor], *, level: float = 0.05
    ) -> Calibration:
        """That of values and posterior draws at hand, by quantity: (n,) and (L, n).

        Examples
        --------
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> draws = torch.randn(100, 300, generator=generator)
        >>> print(Calibration.of_draws({"a": 0.5 * draws[0]}, {"a": draws[1:]}).findings[0])
        a: standard deviations too wide, 2.02 ± 0.08 times what they should be; no bias found
        """
        missing = [name for name in truth if name not in draws]
        if missing or not truth:
            raise UsageError(f"there are no draws of {', '.join(missing) or 'anything'}")
        for name, value in truth.items():
            if value.dim() != 1 or draws[name].shape[1:] != value.shape:
                raise UsageError(
                    f"the truth of {name!r} is (n,) and its draws are (L, n); got "
                    f"{tuple(value.shape)} and {tuple(draws[name].shape)}"
                )
        ranks = {name: rank_of(value, draws[name]) for name, value in truth.items()}
        return cls(ranks, len(next(iter(draws.values()))), level=level)

    def __post_init__(self) -> None:
        check_counts(num_draws=self.num_draws)
        if not 0 < self.level < 1:
            raise UsageError(f"level is a probability between 0 and 1; got {self.level}")
        for name, ranks in self.values.items():
            if not len(ranks) or int(ranks.min()) < 0 or int(ranks.max()) > self.num_draws:
                raise UsageError(
                    f"ranks of {name!r} are one or more whole numbers in 0…{self.num_draws}"
                )
        if self.quantities:
            named = quantities_named(self.quantities, tuple(self.values))
            object.__setattr__(self, "quantities", named)

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))

    def showing(self, quantities: Sequence[str]) -> Calibration:
        """The same with the rows and findings of these quantities alone, in this order.

        ``"z"`` stands for all numbers of the latent z. What is found stays found: p-values are
        adjusted for the tests of all quantities, and a line names those miscalibrated beside.

        Examples
        --------
        >>> import torch
        >>> draws = torch.randn(100, 300, generator=torch.Generator().manual_seed(0))
        >>> truth = {"a": 0.5 * draws[0], "b": draws[1]}
        >>> found = Calibration.of_draws(truth, dict.fromkeys(truth, draws[2:])).showing(["b"])
        >>> print(found.table.conclusions[0])
        no miscalibration found in what is shown; it was found in a
        """
        return replace(self, quantities=tuple(quantities))

    @cached_property
    def ranks(self) -> dict[str, Ranks]:
        """Ranks by quantity, with their tests."""
        values = self.values.items()
        return {n: Ranks(n, v.cpu().numpy().astype(int), self.num_draws) for n, v in values}

    @cached_property
    def band(self) -> Band:
        """Limits of the ECDF of the ranks of one quantity, everywhere at once."""
        return band(len(self), self.num_draws, self.level)

    @cached_property
    def adjusted(self) -> dict[str, tuple[float, float]]:
        """By quantity the p-values of uniform and of symmetric ranks, adjusted for all tests.

        By Holm's method: the chance that any of a right posterior is below the level is at most
        that. Symmetry says nothing of log densities and distances, whose second value is 1.
        """
        uniform = [ranks.uniform_p for ranks in self.ranks.values()]
        located = [name for name in self.ranks if _is_located(name)]
        tested = adjusted([*uniform, *(self.ranks[name].symmetric_p for name in located)])
        symmetric = dict(zip(located, tested[len(uniform) :], strict=True))
        rest = zip(self.ranks, tested, strict=False)
        return {name: (p, symmetric.get(name, 1.0)) for name, p in rest}

    @property
    def is_calibrated(self) -> bool:
        """Whether no test found anything."""
        return all(min(p) > self.level for p in self.adjusted.values())

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """What is wrong, in plain words, a line for each quantity; or that nothing was found."""
        if self._found:
            return tuple(f"{name}: {said}" for name, said in self._found.items())
        shift, width = 3 / np.sqrt(len(self)), 3 / np.sqrt(2 * len(self))
        return (
            f"no miscalibration found with n = {len(self)} simulations, which may well miss a "
            f"shift below {shift:.2f} standard deviations or a width wrong by less than "
            f"{width:.0%}",
        )

    @cached_property
    def _found(self) -> dict[str, str]:
        """What is wrong, by quantity."""
        found = {}
        for name, (uniform, symmetric) in self.adjusted.items():
            passed = {"uniform": uniform > self.level, "symmetric": symmetric > self.level}
            found[name] = "; ".join(found_in(self.ranks[name], **passed))
        return {name: said for name, said in found.items() if said}

    def _findings_shown(self) -> tuple[str, ...]:
        """The findings on what is shown, and where else there are some."""
        shown = self.quantities or tuple(self.ranks)
        beside = [name for name in self._found if name not in shown]
        if not beside:
            return self.findings
        found = [f"{name}: {self._found[name]}" for name in shown if name in self._found]
        names = ", ".join([*beside[:MOST_NAMED], *(["…"] if len(beside) > MOST_NAMED else [])])
        none = "no miscalibration found in what is shown; it was found in"
        return (*found, f"{'miscalibrated, and not shown:' if found else none} {names}")

    def coverage(self, name: str = TARP) -> Coverage:
        """How often credible regions hold the truth, by their credibility.

        Parameters
        ----------
        name
            ``"tarp"``: balls around random points (Lemos, Coogan, Hezaveh & Perreault-Levasseur
            2023); ``"log_q"``: regions of highest density; of any other quantity its central
            intervals.

        Raises
        ------
        UsageError
            If there is no such quantity; or for central intervals if L is even, since draws
            cannot then be cut into equal halves around the truth.
        """
        check_choice("quantity", name, tuple(self.ranks))
        ranks = self._outside(name)
        if ranks is None:
            raise UsageError(
                f"central intervals need an odd number of draws (num_draws); got {self.num_draws}"
            )
        limits = band(len(self), ranks.num_draws, self.level)
        return Coverage(limits.fraction, ranks.ecdf, limits)

    def _outside(self, name: str) -> Ranks | None:
        """Ranks of how large a region must be to hold the truth; ``None`` where none is so cut."""
        ranks, last = self.ranks[name].values, self.num_draws
        if name == TARP:
            return self.ranks[name]
        if name == DENSITY:
            return Ranks(name, last - ranks, last)
        return Ranks(name, np.abs(2 * ranks - last) // 2, last // 2) if last % 2 else None

    @property
    def table(self) -> Table:
        """A row for each quantity; words are below."""
        heads = ["quantity", "p, uniform", "p, symmetric", "shift", "width", "held, %"]
        asked = self.quantities or tuple(self.ranks)
        shown = sorted(asked, key=lambda name: min(self.adjusted[name]))[:MOST_ROWS]
        names = [name for name in asked if name in shown]
        left_out = len(asked) - len(names)
        few = f"the {MOST_ROWS} of {len(asked)} quantities with the smallest p are shown"
        meaning = [
            "p of each quantity alone: that its ranks are uniform, and symmetric",
            "shift of the draws in their standard deviations; their width as a multiple of the "
            f"right one; held: share of the truths that {CREDIBILITY:.0%} regions hold",
            f"below: findings at level {self.level:g} over all {self._num_tests} tests",
        ]
        return Table(
            heads=[[head] for head in heads],
            rows=[self._row(name) for name in names],
            caption=f"{self.guide} of {self.model}: n = {len(self)} simulations, "
            f"L = {self.num_draws} draws each, seed {self.seed}",
            notes=[*([few] if left_out else []), *meaning, *self._notes],
            conclusions=self._findings_shown(),
            records=self._records(),
        )

    @property
    def _num_tests(self) -> int:
        return len(self.ranks) + sum(map(_is_located, self.ranks))

    def _row(self, name: str) -> list[Cell]:
        ranks, located = self.ranks[name], _is_located(name)
        return [
            name,
            _p_text(ranks.uniform_p),
            _p_text(ranks.symmetric_p) if located else None,
            with_error(*ranks.shift, digits=2, signed=True) if located else None,
            with_error(*ranks.width, digits=2) if located else None,
            self._held(name),
        ]

    def _held(self, name: str) -> str | None:
        """Percent of the truths that regions of 90 %, or the next credibility there is, hold."""
        ranks = self._outside(name)
        if name == LOG_LIKELIHOOD or ranks is None:
            return None
        credibility = boundaries(ranks.num_draws) / (ranks.num_draws + 1)
        at = int(np.abs(credibility - CREDIBILITY).argmin())
        share, said = float(ranks.ecdf[at]), float(credibility[at])
        error = np.sqrt(max(share * (1 - share), 1 / len(self)) / len(self))
        text = with_error(100 * share, 100 * float(error), digits=0)
        return text if abs(said - CREDIBILITY) < 0.005 else f"{text} of {100 * said:.0f}"

    @property
    def _notes(self) -> list[str]:
        of = f"of {len(self) + self.num_failed} simulations"
        notes = []
        if self.num_failed:
            notes.append(f"{self.num_failed} {of} had no posterior and count in no number")
        if self.num_unfinished:
            notes.append(f"{self.num_unfinished} {of} had a fit that did not converge")
        if self.num_correlated:
            notes.append(
                f"{self.num_correlated} {of} had chains worth fewer than {self.num_draws} "
                "independent draws, whose ranks are not uniform even where chains are right: run "
                "them longer, or lower num_draws"
            )
        return notes

    def _records(self) -> list[list[object]]:
        names = ["quantity", "n", "L", "guide", "model", "seed", "p_uniform", "p_symmetric"]
        names += ["p_uniform_adjusted", "p_symmetric_adjusted", "shift", "shift_error"]
        names += ["width", "width_error", "finding"]
        rows: list[list[object]] = [list(names)]
        for name in self.quantities or self.ranks:
            of = self.ranks[name]
            own = (of.uniform_p, of.symmetric_p, *self.adjusted[name], *of.shift, *of.width)
            first = (name, len(self), self.num_draws, self.guide, self.model, self.seed)
            rows.append([*first, *own, self._found.get(name)])
        return rows


def _is_located(name: str) -> bool:
    """Whether a quantity has a place and a width, as latents have."""
    return name not in (LOG_LIKELIHOOD, DENSITY, TARP)


def _p_text(p: float) -> str:
    return f"< {SMALLEST_P:.0e}" if p <= SMALLEST_P else f"{p:.2g}"
