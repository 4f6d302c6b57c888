"""Copenhagen's examination in short, as a part of the report."""

from __future__ import annotations

import warnings

from gp_bo.examination.algorithm1 import algorithm1, exam_grid
from gp_bo.examination.algorithm1_figure import algorithm1_figure
from gp_bo.examination.chains import described_chains
from gp_bo.examination.sheet import exam_function, fit_exam
from gp_bo.figures import bands, hyper_scatter
from gp_bo.fit import InferenceWarning
from gp_bo.fitted import FittedGP
from inference.report import Section

__all__ = ["exam_section"]


def exam_section(*, turns: int = 5, num_draws: int = 500, seed: int = 0) -> Section:
    """Do the function-fitting task with one seed: NUTS on p(θ | D), m ± 2√v, and Algorithm 1.

    T of that is ``turns``, ``num_draws`` are those of the hyper-posterior.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InferenceWarning)  # said in the lines
        fitted = fit_exam(num_draws=num_draws, seed=seed)
    exact = fit_exam(inference="quadrature")
    run = algorithm1(turns, seed=seed)
    scatter, grid = hyper_scatter(fitted, reference=exact), exam_grid()
    band = bands(fitted, grid, truth=exam_function)
    prediction = fitted.predict(grid)
    inside = (exam_function(grid) - prediction.mean).abs() <= 2 * prediction.standard_deviation
    held = float(inside.double().mean())
    regret = f"{float(run.regret[-1]):.3g} after {len(run.steps)} turns"
    found = "not found" if run.found_at is None else f"found at k = {run.found_at}"
    figures = {
        f"{num_draws} draws of p(θ | D) by NUTS, over quadrature: the points should fill the lines "
        "of 50, 80 and 95 %.": scatter,
        "f, D and m ± 2√v, hyper-parameters integrated out: the band should hold f where data are "
        "near, and widen where they are not.": band,
        f"Algorithm 1 at its last turn, k = {turns}: the next x is where the drawn function is "
        "least, so the search looks again where little is known.": (
            algorithm1_figure(run, turns=(turns,))
        ),
    }
    return Section(
        key="functions",
        title="Functions: a fully Bayesian Gaussian process",
        words=(
            "Five noise-free values of f(x) = sin 20x + 2 cos 14x − 2 sin 6x, an RBF kernel whose "
            "length-scale and variance have log-normal priors and are drawn by NUTS; then "
            f"Algorithm 1, Thompson sampling on 200 points, for k = 0 … {turns}. Seed {seed}."
        ),
        numbers=(
            *_quality(fitted, exact),
            f"m ± 2√v holds f at {held:.0%} of the {len(grid)} points of the grid (exact count)",
            f"Algorithm 1: the least value of the grid was {found}; simple regret "
            f"{regret} (exact on the grid, one seed)",
            f"of Algorithm 1: {described_chains(step.chains for step in run.steps)}",
        ),
        figures=figures,
    )


def _quality(fitted: FittedGP, exact: FittedGP) -> list[str]:
    """How good the draws are, by hyper-parameter."""
    found, lines = fitted.diagnostics, []
    chains, u = fitted.draws.num_chains, fitted.draws.unconstrained
    truth = exact.weights @ exact.draws.unconstrained
    for i, name in enumerate(fitted.gp.hyperparameters.column_names()):
        rhat, bulk, tail = (found[kind][name] for kind in ("rhat", "bulk_ess", "tail_ess"))
        error = float(u[:, i].std()) / bulk**0.5
        lines.append(
            f"{name}: R-hat {rhat:.3f}; effective draws {bulk:.0f} (bulk) and {tail:.0f} (tail) of "
            f"{len(u)} in {chains} chains; mean of its logarithm {float(u[:, i].mean()):.3f} ± "
            f"{error:.3f} (estimate, Monte-Carlo standard error), {float(truth[i]):.3f} by "
            "quadrature"
        )
    divergent = found["divergences"]
    return [*lines, f"{divergent} of {len(u)} transitions diverged", *found["messages"]]
