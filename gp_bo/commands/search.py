"""``gp-bo minimize``, ``ask``, ``tell``: optimise a demonstration, or an experiment by hand."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from gp_bo.commands.tables import read_table, write_table
from gp_bo.functions import function_named
from gp_bo.optimize import Optimizer
from gp_bo.optimize import minimize as minimize_function
from gp_bo.optimize.figures import progress_figure
from gp_bo.optimize.matching import observed_point
from gp_bo.optimize.space import Point
from inference.commands.files import free_figure_path, printed_after, save_figure
from pyro_models import UsageError

__all__ = ["ask", "forget", "minimize", "tell"]


def minimize(
    function: str,
    budget: int = 30,
    acquisition: str = "log_ei",
    kernel: str | None = None,
    inference: str = "map",
    priors: dict[str, Any] | None = None,
    seed: int = 0,
    state: str | None = None,
    device: str = "cpu",
    figure: str | None = None,
    progress: bool = True,
    force: bool = False,
) -> None:
    """Minimise a function whose minimum is known.

    It is one of {functions}.

    Args:
        function: Its name.
        budget: Evaluations in all.
        acquisition: One of {acquisitions}.
        kernel: One of {kernels}, or a formula such as "rbf + periodic".
        inference: How hyper-parameters are inferred: {inferences}.
        priors: Priors of hyper-parameters, in units of the box's width and of standardized values:
            --priors.lengthscale "lognormal(0, 1)", --priors.noise 1e-6, as for gp-bo fit.
        seed: Random seed of the design and all draws.
        state: JSON file; if it is there, the search goes on from it.
        device: Where the GP is computed: cpu, cuda, cuda:1 …
        figure: Figure of the values in order and of the simple regret: .png, .pdf or .svg.
        progress: Show a progress bar.
        force: Replace the figure.
    """
    chosen = function_named(function)
    path = free_figure_path(figure, option="--figure", force=force)
    bounds = list(chosen.bounds)
    how: dict[str, Any] = {"acquisition": acquisition, "kernel": kernel, "inference": inference}
    how |= {"problem": function, "seed": seed, "state": state, "device": device}
    how |= {"gp": {"priors": priors}} if priors else {}
    result = minimize_function(chosen, bounds, budget=budget, progress=progress, **how)
    _warn(result.messages)
    least = f"the least value is {chosen.minimum:.6g}"
    regret = f"simple regret {chosen.regret(result.y):.3g} ({least})"
    with printed_after(lambda: f"{result}\n{regret}"):
        if path is not None:
            observed = Optimizer(bounds, problem=function, seed=seed)
            for each in result.evaluations:
                observed.tell(each.point, each.value)
            save_figure(progress_figure(observed, optimum=chosen.minimum), path)
    if path is not None:
        print(f"written to {path}")


def ask(
    state: str,
    n: int = 1,
    space: str | dict[str, Any] | None = None,
    acquisition: str | None = None,
    kernel: str | None = None,
    inference: str | None = None,
    priors: dict[str, Any] | None = None,
    maximize: bool = False,
    initial: int | None = None,
    repeats: bool = False,
    problem: str = "",
    seed: int = 0,
    device: str = "cpu",
) -> None:
    """Print the next points to try, as CSV; they are kept in the state file as pending.

    Args:
        state: JSON file; made by the first ask, which needs --space.
        n: Number of points.
        space: First time: what may be varied, --space.heat "[20, 80]" --space.solvent "[water,
            oil]", or all at once, "{heat: [20, 80], solvent: [water, oil]}", or a YAML file.
        acquisition: One of {acquisitions}; log_ei unless given, then or before.
        kernel: One of {kernels}, or a formula; matern52 unless given, then or before.
        inference: One of {inferences}; map unless given, then or before.
        priors: Priors of hyper-parameters, in units of the box's width and of standardized values:
            --priors.lengthscale "lognormal(0, 1)"; as before unless given, for the names given.
        maximize: First time: large values are wanted.
        initial: First time: values in the design.
        repeats: First time: a point may be tried twice, as values are noisy.
        problem: First time: a name for what is measured.
        seed: First time: random seed of the design and all draws.
        device: Where the GP is computed, each time: cpu, cuda, cuda:1 …
    """
    first: dict[str, Any] = {"maximize": maximize, "initial": initial, "repeats": repeats}
    first |= {"problem": problem, "seed": seed}
    how: dict[str, Any] = {}
    if acquisition is not None:
        how |= {"acquisition": acquisition, "acquisition_options": {}}
    if inference is not None:
        how |= {"inference": inference, "gp": {}}
    if not Path(state).exists():
        if space is None:
            raise UsageError(
                f"there is no {state} yet: say what may be varied, each input by its name, with "
                '--space.heat "[20, 80]", say'
            )
        how |= {"gp": {"priors": priors}} if priors else {}
        optimizer = Optimizer(
            _space(space), kernel=kernel, state=state, device=device, **first, **how
        )
    elif space is not None or tuple(first.values()) != (False, None, False, "", 0):
        raise UsageError(
            f"{state} is there already, and says what the problem is: leave out --space, "
            "--maximize, --initial, --repeats, --problem and --seed, or name another file"
        )
    else:
        optimizer = Optimizer.resume(state, device=device)
        before = how.get("gp", optimizer.state.settings["gp"])
        if kernel is not None:
            how["gp"] = before = {**before, "kernel": kernel}
        if priors is not None:
            how["gp"] = {**before, "priors": {**(before.get("priors") or {}), **priors}}
        if how:
            optimizer = Optimizer.resume(state, device=device, **how)
    asked = optimizer.ask(n)
    _warn(optimizer.messages)
    write_table(None, optimizer.space.names, asked)


def tell(
    state: str,
    value: str | None = None,
    point: str | None = None,
    failed: str | None = None,
    data: str | None = None,
    column: str = "value",
) -> None:
    """Keep what an experiment gave in the state file.

    Args:
        state: JSON file that "gp-bo ask" made.
        value: What was measured.
        point: "30, 1.5, water", in the order of the inputs, a category with a comma in quotes; the
            pending point unless given.
        failed: In place of a value: why there is none.
        data: In place of these: a CSV file with a column for each input, and one of values, where
            an empty cell is a failure. Rows that were observed before are left out, so that a table
            may grow; with --repeats they count again.
        column: Its column of values.
    """
    measured = None if value is None else measured_value(value)
    optimizer = Optimizer.resume(state)
    given = [value is not None, failed is not None, data is not None]
    if sum(given) != 1:
        raise UsageError("say one of: a value, --failed WHY, or --data FILE")
    if data is not None:
        if point is not None:
            raise UsageError("--data holds the points: leave out --point")
        before = optimizer.tell_table(*_read_results(optimizer, data, column))
        if before:
            print(f"{before} rows were told before")
    else:
        where: Any = pending_point(optimizer) if point is None else _cells_of(point)
        if failed is not None:
            optimizer.tell_failure(where, failed)
        else:
            optimizer.tell(where, measured)
    _warn(optimizer.messages)
    best = optimizer.best
    print(f"{len(optimizer.evaluations)} evaluations, {len(optimizer.pending)} points pending")
    if best is not None:
        print(f"best value {best.value:.6g} at {optimizer.space.describe_point(best.point)}")
    if optimizer.state.settings["repeats"] and len(optimizer.state.successes) > 1:
        # the best of noisy values is the luckiest
        print(optimizer.recommend().described(optimizer.space))


def forget(
    state: str,
    point: str | None = None,
    older_than: float | None = None,
    all: bool = False,
    index: int | list[int] | None = None,
) -> None:
    """Forget pending points that nobody tries any more, or take back values that were told.

    They may be asked for again. What was taken back stays in the file, and counts for nothing.

    Args:
        state: JSON file that "gp-bo ask" made.
        point: "30, 1.5, water", in the order of the inputs: a pending point.
        older_than: In place of it: all that were asked for so many hours ago, or longer.
        all: In place of these: all that are pending.
        index: In place of these: the value, or values, "[3, 5]", of these numbers of "gp-bo show".
    """
    given = [point is not None, older_than is not None, all, index is not None]
    if given.count(True) != 1:
        raise UsageError("say which: one of --point, --older_than HOURS, --all and --index")
    if older_than is not None and not older_than >= 0:
        raise UsageError(f"--older_than is a number of hours; got {older_than:g}")
    optimizer = Optimizer.resume(state)
    describe = optimizer.space.describe_point
    if index is not None:
        for told in optimizer.retract([index] if isinstance(index, int) else index):
            what = f"failed ({told.failure})" if told.value is None else f"{told.value:.6g}"
            print(f"forgotten: {what} at {describe(told.point)}")
        print(f"{len(optimizer.evaluations)} evaluations")
        return
    forgotten = optimizer.forget(
        None if point is None else [_cells_of(point)],
        older_than=None if older_than is None else older_than * 3600,
    )
    for each in forgotten:
        print(f"forgotten: {describe(each)}")
    print(f"{len(optimizer.pending)} points pending")


def _warn(messages: Sequence[str]) -> None:
    """One line on stderr: what the fits did not reach."""
    if messages:
        more = f" (and {len(messages) - 1} more)" if len(messages) > 1 else ""
        print(f"warning: {messages[0]}{more}", file=sys.stderr)


def _space(text: str | dict[str, Any]) -> Any:
    if isinstance(text, dict):
        return text
    try:
        path = Path(text)
        is_file = path.suffix in (".yaml", ".yml", ".json")
        given = yaml.safe_load(path.read_text(encoding="utf-8") if is_file else text)
    except FileNotFoundError:
        raise UsageError(f"there is no file {text}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        given = None
    if not isinstance(given, dict | list):
        raise UsageError('a space is written like "{heat: [20, 80], solvent: [water, oil]}"')
    return given


def pending_point(optimizer: Optimizer) -> Point:
    """The one point that is pending; a ``UsageError``, if there is none, or more than one."""
    if len(optimizer.pending) != 1:
        raise UsageError(
            f"{len(optimizer.pending)} points are pending: say which was tried with --point"
        )
    return optimizer.pending[0]


def _cells_of(text: str) -> list[str]:
    """The cells of one line of CSV, as ask prints it.

    >>> _cells_of('30, "oil, hot"')
    ['30', 'oil, hot']
    """
    rows = list(csv.reader([text], skipinitialspace=True))
    return [cell.strip() for cell in rows[0]] if rows else []


def measured_value(text: str) -> float:
    """A value as a finite number; an evaluation that failed is told otherwise."""
    with suppress(ValueError):
        value = float(text)
        if math.isfinite(value):
            return value
    raise UsageError(
        f"the value {text!r} is no finite number; an evaluation that failed is told with "
        "--failed WHY"
    )


def _read_results(
    optimizer: Optimizer, path: str, column: str
) -> tuple[list[list[str]], list[float]]:
    """Points, as they are written, and values of a CSV file; an empty value is NaN.

    It has a column for each input, and one of values, whose name is given. The message of what is
    wrong says in which row.
    """
    table = read_table(path)
    names = optimizer.space.names
    if column in names:
        raise UsageError(f"{column} is an input: name the column of values with --column")
    *inputs, results = table.pick([*names, column])
    points: list[list[str]] = []
    values: list[float] = []
    for line, cell, *row in zip(table.lines, results, *inputs, strict=True):
        try:
            observed_point(optimizer.state, row)  # it fits the space
            points.append(row)
            values.append(float(cell) if cell else math.nan)
        except UsageError as error:
            raise UsageError(f"{path}, row {line}: {error}") from None
        except ValueError:
            raise UsageError(f"{path}, row {line}: the value {cell!r} is no number") from None
    return points, values
