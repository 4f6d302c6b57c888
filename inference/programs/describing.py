"""What a posterior of a program says, for a reader and for ArviZ."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from torch import Tensor

from inference.evaluation.table import Table
from inference.mcmc import diagnostics
from inference.posterior.export import inference_data

if TYPE_CHECKING:
    from inference.programs.posterior import ProgramPosterior

__all__ = ["arviz_of", "summary_of"]


def summary_of(posterior: ProgramPosterior) -> Table:
    """One row for each number of each latent."""
    ends = posterior.interval(0.9)
    columns = {name: [posterior.mean[name], posterior.sd[name], *ends[name]] for name in ends}
    heads = ["latent", "mean", "sd", "5 %", "95 %"]
    chains = posterior.chains()
    measured: dict[str, list[Any]] = {name: [] for name in columns}
    notes = []
    if chains is not None:
        draws, stats = chains
        heads += ["R̂", "ESS"]
        for name, values in draws.items():
            measured[name] = [diagnostics.r_hat(values), diagnostics.bulk_ess(values)]
        if "diverging" in stats and bool(stats["diverging"].any()):
            count, total = int(stats["diverging"].sum()), stats["diverging"].numel()
            notes.append(f"{count} of {total} transitions diverged: the draws may miss a part")
    rows = []
    for name, column in columns.items():
        for place in itertools.product(*map(range, column[0].shape)):
            label = f"{name}[{', '.join(map(str, place))}]" if place else name
            cells = [f"{float(value[place]):.4g}" for value in column]
            more = [float(m[place]) for m in measured[name]]
            cells += [f"{value:.{digits}f}" for value, digits in zip(more, (3, 0), strict=False)]
            rows.append([label, *cells])
    caption = f"{posterior.name} for {posterior.program.name}"
    return Table(heads=[[head] for head in heads], rows=rows, caption=caption, notes=notes)


def arviz_of(posterior: ProgramPosterior, *, num_draws: int, seed: int) -> Any:
    """Groups posterior, sample_stats (of chains) and observed_data."""
    chains = posterior.chains()
    stats: dict[str, Tensor] = {}
    if chains is None:
        drawn = posterior.sample(num_draws, seed=seed)
        draws = {name: values.unsqueeze(0) for name, values in drawn.items()}
    else:
        draws, stats = chains
    program = posterior.program
    data = program.observed
    groups = {"posterior": draws, "sample_stats": stats, "observed_data": data}
    arrays = {
        group: {name: value.detach().cpu().numpy() for name, value in values.items()}
        for group, values in groups.items()
        if values
    }
    dims = {name: _apart(program.dims[name], {*draws, *data}) for name in (*draws, *data)}
    return inference_data(arrays, dims=dims)


def _apart(dims: list[str], names: set[str]) -> list[str]:
    """Dimensions that are called like no variable."""
    return [f"{dim}_plate" if dim in names else dim for dim in dims]
