"""``gp-bo show``: what a state file holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gp_bo.optimize.fitting import DEFAULTS
from gp_bo.optimize.inputs import Categorical, Input
from gp_bo.optimize.state import Evaluation, State, load_state
from inference.evaluation.table import Table

__all__ = ["show", "shown"]


def show(state: str, csv: bool = False) -> None:
    """Show what is in a state file: the space, the values in order, the best, and the model.

    Args:
        state: JSON file that "gp-bo ask", "gp-bo minimize" or minimize(state=...) made.
        csv: Print the evaluations alone, as CSV.
    """
    found = load_state(state)
    print(_evaluations(found).to_csv() if csv else shown(found), end="")


def shown(state: State) -> str:
    """All of a state, for a terminal."""
    return (
        "\n".join([*_problem(state), "", _evaluations(state).to_text().rstrip(), *_ends(state)])
        + "\n"
    )


def _problem(state: State) -> Iterator[str]:
    """What is optimised, where, and how."""
    direction = "maximize" if state.maximize else "minimize"
    yield f"{state.problem or 'a problem without a name'}: {direction}, seed {state.seed}"
    for name, each in state.space.inputs.items():
        yield f"  {name}: {_range(each)}"
    if state.space.candidates is not None:
        yield f"  {len(state.space.candidates)} candidates"
    settings, gp = state.settings, {**DEFAULTS, **state.settings.get("gp", {})}
    words = [f"kernel {gp['kernel']}", f"inference {settings.get('inference')}"]
    own = settings.get("acquisition_options") or {}
    options = f" ({', '.join(f'{k} = {v}' for k, v in own.items())})" if own else ""
    words.append(f"acquisition {settings.get('acquisition')}{options}")
    words += [f"{k} = {v}" for k, v in gp.items() if k not in ("kernel", "priors")]
    words += ["points may be repeated"] if settings.get("repeats") else []
    yield f"model: {', '.join(words)}"
    for name, prior in (gp.get("priors") or {}).items():
        yield f"  prior of {name}: {_prior(prior)}"


def _range(each: Input) -> str:
    """An input in a line."""
    if isinstance(each, Categorical):
        return f"one of {', '.join(each.values)}"
    kind = "whole number" if isinstance(each.low, int) else "number"
    return f"{kind} in [{each.low:g}, {each.high:g}]{', logarithmic' if each.log else ''}"


def _prior(prior: Any) -> str:
    """A prior as it is written."""
    if not isinstance(prior, Mapping):
        return f"fixed at {prior:g}" if isinstance(prior, int | float) else str(prior)
    own = prior.get("init_args") or {}
    return f"{prior.get('class_path')}({', '.join(f'{k}={v}' for k, v in own.items())})"


def _evaluations(state: State) -> Table:
    """The evaluations, with the numbers that ``gp-bo forget --index`` takes."""
    names = state.space.names
    rows = [
        [str(i), *_cells(each), _outcome(each), "best" if each is state.best else ""]
        for i, each in enumerate(state.evaluations)
    ]
    records: list[list[object]] = [["index", *names, "value", "failure"]]
    for i, told in enumerate(state.evaluations):
        records.append([i, *told.point, "" if told.value is None else told.value, told.failure])
    heads = [["index"], *([name] for name in names), ["value"], [""]]
    return Table(heads=heads, rows=rows, records=records, named_rows=False)


def _cells(each: Evaluation) -> list[str]:
    return [f"{v:.6g}" if isinstance(v, float) else str(v) for v in each.point]


def _outcome(each: Evaluation) -> str:
    return f"failed: {each.failure}" if each.value is None else f"{each.value:.6g}"


def _ends(state: State) -> Iterator[str]:
    """What is pending, what was forgotten, and the best."""
    describe = state.space.describe_point
    if not state.evaluations:
        yield "no value was told yet"
    yield from (f"pending: {describe(point)}" for point in state.pending)
    yield from (f"forgotten: {_outcome(e)} at {describe(e.point)}" for e in state.forgotten)
    if state.best is not None:
        yield f"best value {state.best.value:.6g} at {describe(state.best.point)}"
