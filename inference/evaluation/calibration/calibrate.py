"""Is the posterior that a guide gives right, over all data that the model might bring about?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inference.blocks import computed, spread
from inference.evaluation.calibration.calibration import Calibration
from inference.evaluation.calibration.of_functions import OfFunctions
from inference.evaluation.calibration.of_pair import OfPair
from inference.evaluation.calibration.of_program import OfProgram
from inference.evaluation.calibration.shown import quantities_named
from inference.evaluation.calibration.simulated import (
    Functions,
    Simulator,
    described,
    names_of,
    ranked,
)
from inference.programs.door import is_program
from inference.programs.infer import OPTIONS, program_of
from inference.progress import bar
from pyro_models import Pair, UsageError
from pyro_models.contract import fulfills
from pyro_models.counts import check_counts
from pyro_models.seeds import check_seed, stream

__all__ = ["calibrate"]

_NO_SETTINGS = ("guide_options", "resample")
"""Options of ``infer`` for a program that are not of how a guide is fitted."""


def calibrate(
    model: Any,
    *args: Any,
    guide: Any = None,
    num_simulations: int = 200,
    num_draws: int = 99,
    quantities: Functions | Sequence[str] | None = None,
    level: float = 0.05,
    seed: int = 0,
    progress: bool = False,
    workers: int | None = None,
    resume: str | Path | None = None,
    **options: Any,
) -> Calibration:
    """Simulate latents θ and data x from the model, infer θ from x, and see where the truth lies.

    θ* ~ p(θ), x ~ p(x | θ*), θ_1, …, θ_L ~ q(θ | x): if q is the posterior, the rank of f(θ*, x)
    among f(θ_1, x), …, f(θ_L, x) is uniform on {0, …, L} for every f (Talts, Betancourt, Simpson,
    Vehtari & Gelman 2018). Too narrow a q has too many ranks at both ends, a shifted one at one
    end. f is each scalar latent; log p(x | θ), which sees a q that does not use the data (Modrák et
    al. 2023); log q(θ | x), of regions of highest density; and the distance from a random point
    (TARP, Lemos et al. 2023). The ECDF is compared with a band that holds everywhere at once
    (Säilynoja, Bürkner & Vehtari 2022), and its symmetry, which a variational q that is only too
    narrow keeps, on its own (Yao et al. 2018).

    Parameters
    ----------
    model
        Any Pyro model, called with ``args`` and further keywords, whose data give shapes alone (see
        :class:`inference.programs.Program`); a pair, whose ``guide`` is its own encoder unless
        given; or two functions ``(simulate, posterior)``: ``simulate(seed)`` returns the truth,
        values by name or one array, and data, and ``posterior(data, n, seed)`` n draws, of the same
        names and shapes with n in front.
    args
        Arguments of a Pyro model; of a pair the guide, if it is not named.
    guide
        As of :func:`inference.posterior.infer`. Of a pair a module, in the place of a name, is
        called with the simulated data and not fitted.
    num_simulations, num_draws
        n and L. Two hundred simulations see a shift of a fifth of a standard deviation; L + 1 = 100
        makes shares whole percents. Markov chains are thinned to L.
    quantities
        Functions by name to rank as well: each of M values by site, (M, \\*shape), and of the data
        of one simulation, returning (M,). Or names of those that are shown, as of
        :meth:`Calibration.showing`, which are checked before anything is inferred.
    level
        The chance that a right posterior is said to be miscalibrated.
    seed, progress
        Random seed of all draws (the caller's generators do not move); show a progress bar.
    workers, resume
        As for :func:`inference.evaluation.evidence`: processes, and a folder for finished blocks.
        With a folder, functions of one's own are told apart by their source.
    options
        Of a pair: ``mask``, ``y`` and ``fraction``, what is seen of simulated data and the labels
        of a pair that needs them; further options of :func:`inference.posterior.infer`; all others
        are the Pyro model's (give ``Program(model, *args, **kwargs)`` where names clash).

    Raises
    ------
    UsageError
        If nothing can be simulated, the guide is unknown, draws are not what they should be, or
        the folder ``resume`` holds blocks of another calibration.

    Examples
    --------
    >>> from pyro_models import PPCA
    >>> x = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    >>> ppca = PPCA.maximum_likelihood(x, latent_dim=2)  # its guide is the exact posterior
    >>> found = calibrate(ppca, "encoder", num_simulations=100)
    >>> list(found.values), found.is_calibrated
    (['z[0]', 'z[1]', 'log_likelihood', 'log_q', 'tarp'], True)
    """
    check_counts(num_simulations=num_simulations, num_draws=num_draws)
    check_seed(seed)
    functions = dict(quantities) if isinstance(quantities, Mapping) else {}
    counts = {"num_simulations": num_simulations, "num_draws": num_draws}
    source = _source(model, args, guide, counts, options)
    names = names_of(source, functions)
    shown = _shown(quantities, names)

    def part(rows: slice | Tensor) -> list[int]:
        return [*range(num_simulations)[rows]] if isinstance(rows, slice) else rows.tolist()

    def simulated(numbers: list[int]) -> tuple[Tensor, Tensor]:
        own = stream(seed, "posterior of simulations", numbers[0])
        return ranked(source(numbers, num_draws, own), source, functions)

    settings = {"L": num_draws, "seed": seed, **source.settings}
    settings |= {"quantities": {name: described(f) for name, f in functions.items()}}
    settings |= {} if source.together == 1 else {"n": num_simulations}  # of the last block
    of: dict[str, Any] = {"identity": source.identity, "guides": source.modules}
    with (
        spread(workers, resume, source.pair, settings=settings, **of) as blocks,
        bar(num_simulations, unit="simulations", shown=progress) as done,
    ):
        parts = computed(
            simulated,
            part,
            pair=source.pair,
            count=num_simulations,
            size=source.together,
            seed=seed,
            purpose="calibration",
            blocks=blocks,
            progress=done.update,
        )
    ranks, notes = (torch.cat(part) for part in zip(*parts, strict=True))
    used = ~notes[:, 0]
    if not bool(used.any()):
        raise UsageError(f"none of {num_simulations} simulations has a posterior of finite draws")
    return Calibration(
        {name: ranks[used, i] for i, name in enumerate(names)},
        num_draws,
        guide=source.guide,
        model=source.name,
        level=level,
        seed=seed,
        num_failed=int(notes[:, 0].sum()),
        num_unfinished=int(notes[used, 1].sum()),
        num_correlated=int(notes[used, 2].sum()),
        quantities=shown,
    )


def _shown(quantities: Functions | Sequence[str] | None, names: list[str]) -> tuple[str, ...]:
    """The quantities that are asked for by name; none stands for all."""
    if quantities is None or isinstance(quantities, Mapping):
        return ()
    return quantities_named([quantities] if isinstance(quantities, str) else quantities, names)


def _source(
    model: Any,
    args: tuple[Any, ...],
    guide: Any,
    counts: dict[str, Any],
    options: dict[str, Any],
) -> Simulator:
    """Where simulations and posteriors come from."""
    if isinstance(model, tuple) and len(model) == 2 and all(map(callable, model)):
        given = [*args, *options, *([] if guide is None else ["guide"])]
        if given:
            raise UsageError(f"two functions are model and guide; got {given[0]!r} as well")
        return OfFunctions(*model)
    if fulfills(model, Pair):
        if len(args) > 1 or (args and guide is not None):
            raise UsageError("a pair is calibrated with one guide: calibrate(pair, guide)")
        chosen = args[0] if args else "encoder" if guide is None else guide
        return OfPair(model, chosen, **counts, **options)
    if not is_program(model):
        raise UsageError(
            "calibrate takes a pair, a Pyro model with its arguments, or two functions "
            f"(simulate, posterior); got {type(model).__name__}"
        )
    own = {name: value for name, value in options.items() if name in (*OPTIONS, *_NO_SETTINGS)}
    program = program_of(model, args, {n: v for n, v in options.items() if n not in own})
    return OfProgram(
        program, "full_covariance" if guide is None else guide, num_draws=counts["num_draws"], **own
    )
