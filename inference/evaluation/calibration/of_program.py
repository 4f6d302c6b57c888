"""Simulations from any Pyro model, and any guide as the posterior of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from inference.declared import replaced
from inference.evaluation.calibration.findings import DENSITY, LOG_LIKELIHOOD
from inference.evaluation.calibration.of_pair import MOST_TOGETHER, drawn_from, worth_too_little
from inference.evaluation.calibration.simulated import Simulated, Simulator, described
from inference.posterior.fitted import NOT_FITTED, posterior_of
from inference.posterior.guides import Family
from inference.posterior.optimization import CONVERGED
from inference.posterior.posterior import Posterior
from inference.programs.guides import PROGRAM_GUIDES, program_family
from inference.programs.infer import OF_PROGRAMS, infer_program
from inference.programs.pair import SITE, ProgramPair
from inference.programs.program import Program
from inference.programs.simulated import SimulatedPair
from pyro_models import UsageError
from pyro_models.data import Identity
from pyro_models.errors import in_one_line
from pyro_models.seeds import stream

__all__ = ["OfProgram"]

TOGETHER = (
    *("prior", "auto_normal", "normal", "full_covariance", "low_rank", "laplace", "point"),
    *("flow", "hmc", "nuts"),
)
"""Names of families that infer any number of data at once, each with parameters of its own."""

MOST_DIMENSIONS = 100
"""Above it the Hessians of all data sets together are too many numbers."""

MOST_ELEMENTS = 2**24
"""Numbers of the data that all draws of a block meet."""


class OfProgram(Simulator):
    """Simulations from a program; those of a block are inferred at once where a guide allows it.

    Families of guides for data allow it, by name or as a ``Family``. Whatever else ``infer`` takes
    for a program is fitted to each data set by itself.

    Parameters
    ----------
    program
        Whose prior is drawn from; its own data give shapes alone.
    guide, options
        As of :func:`inference.infer`.
    """

    def __init__(self, program: Program, guide: Any, *, num_draws: int, **options: Any) -> None:
        if program.improper:
            raise UsageError(
                f"the prior of {', '.join(program.improper)} is improper, so nothing can be "
                "simulated: give it a proper one"
            )
        if program.factors:
            raise UsageError(
                f"the model has a factor {program.factors[0]!r}, from which no data can be "
                "simulated: write it as a pyro.sample with obs="
            )
        self.program, self.options = program, options
        self.name, self.given = program.name, guide
        given = options.get("guide_options") or {}
        self.guide, self.family, self.of_guide = program_family(guide, given)
        named = PROGRAM_GUIDES.named(guide, {})[0]
        own = {n: v for n, v in options.items() if n not in ("guide_options", "resample")}
        self.fitting = replaced(OF_PROGRAMS, own, who="infer")
        self.shapes = {name: tuple(site.shape) for name, site in program.latents.items()}
        density = self.family.density and not options.get("resample")
        self.densities = (LOG_LIKELIHOOD, DENSITY) if density else (LOG_LIKELIHOOD,)
        for_data = named in TOGETHER if isinstance(named, str) else _is_family(named)
        self.at_once = for_data and program.dim <= MOST_DIMENSIONS
        size = program.dim + sum(value.numel() for value in program.observed.values())
        most = min(MOST_TOGETHER, max(1, MOST_ELEMENTS // (num_draws * size)))
        self.together = most if self.at_once else 1
        self.settings = {n: described(v) for n, v in {"guide": guide, **options}.items()}
        self.identity = Identity({"simulated": ""}, weights=program.checksum)

    @torch.no_grad()
    def __call__(self, rows: Sequence[int], num_draws: int, seed: int) -> Simulated:
        """Simulations of these numbers, and L draws of each."""
        n = len(rows)
        drawn, data = self.program.simulate(2 * n, seed=stream(seed, "truth"))
        truth, elsewhere = _halves(drawn)
        own, _ = _halves(data)
        sets = [{name: value[i] for name, value in own.items()} for i in range(n)]
        pair: ProgramPair
        units: Tensor | None = None
        if self.at_once:
            with torch.enable_grad():
                pair, posterior = self._at_once(own, seed)
            units = posterior.x
        else:
            try:
                with torch.enable_grad(), in_one_line("the posterior of the first simulation"):
                    how = {**self.options, "guide": self.given, "seed": seed}
                    found = infer_program(self.program.given(sets[0]), **how)
            except UsageError:
                if rows[0] == 0:  # a mistake is one of the first simulation, too
                    raise
                return self._without(truth, elsewhere, sets, num_draws)
            pair, posterior = found.pair, found.posterior
        u = drawn_from(posterior, num_draws, seed)[SITE]
        reals, _ = self.program.unconstrain({name: truth[name] for name in self.shapes})
        u_true = pair.standard(reals, units)
        draws = self.program.constrain(pair.reals(u, units))
        own_rows = {k: v.expand(num_draws, *v.shape) for k, v in own.items()}
        densities = {
            LOG_LIKELIHOOD: (
                self.program.log_terms(reals, data=own).likelihood,
                self.program.log_terms(pair.reals(u, units), data=own_rows).likelihood,
            )
        }
        if DENSITY in self.densities:
            known = (posterior.log_prob({SITE: values}) for values in (u_true, u))
            densities[DENSITY] = tuple(known)  # type: ignore[assignment]
        ended = [reason not in (CONVERGED, NOT_FITTED) for reason in posterior.stopped]
        return Simulated(
            truth,
            elsewhere,
            draws,
            sets,
            densities,
            unfinished=torch.tensor(ended, device=u.device),
            correlated=worth_too_little(posterior, num_draws),
        )

    def _at_once(self, data: Mapping[str, Tensor], seed: int) -> tuple[SimulatedPair, Posterior]:
        """The posterior of all data sets."""
        pair = SimulatedPair(self.program)
        given = replaced(self.fitting, {"seed": seed}, who="infer")
        posterior = posterior_of(
            pair,
            lambda: pair.observe(data, seed=seed),
            self.family,
            given,
            name=self.guide,
            options=self.of_guide,
        )
        most = self.options.get("resample")
        return pair, posterior if most is None else posterior.resampled(most, seed=seed)

    def _without(
        self,
        truth: Mapping[str, Tensor],
        elsewhere: Mapping[str, Tensor],
        sets: Sequence[Any],
        num_draws: int,
    ) -> Simulated:
        """A simulation whose posterior did not come about."""
        nothing = {
            k: truth[k].new_full((num_draws, *truth[k].shape), torch.nan) for k in self.shapes
        }
        at = next(iter(truth.values()))
        none = (at.new_zeros(1), at.new_zeros(num_draws, 1))
        return Simulated(truth, elsewhere, nothing, sets, dict.fromkeys(self.densities, none))


def _is_family(guide: Any) -> bool:
    """Whether it makes guides for data of any number, each with a row of its own."""
    return isinstance(guide, Family)


def _halves(values: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The first and the second half of the rows of values by name."""
    n = len(next(iter(values.values()))) // 2
    return {k: v[:n] for k, v in values.items()}, {k: v[n:] for k, v in values.items()}
