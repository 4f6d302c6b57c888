"""Algorithm 1 of Copenhagen's examination, part B: Thompson sampling on a grid, θ by NUTS.

X* are 200 even points on [−1, 1], D starts with x = −1, −½, 0, ½, 1. For k = 0, …, T: θ is drawn
from p(θ | D) by NUTS, f* from N(m_θ, Σ_θ + 10⁻⁴ I) at all of X* together, p = argmin f*, and
(x*_p, f(x*_p)) is added to D.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gp_bo.examination.chains import ChainSummary
from gp_bo.examination.sheet import exam_data, exam_function, fit_exam
from gp_bo.fit import InferenceWarning
from gp_bo.fitted import FittedGP
from gp_bo.optimize.acquisition import LogExpectedImprovement
from gp_bo.optimize.fitting import surrogate_of
from gp_bo.share import Share
from inference.progress import over
from pyro_models import UsageError
from pyro_models.brief import Brief
from pyro_models.counts import check_counts
from pyro_models.seeds import stream

__all__ = ["CHOICES", "Algorithm1", "Step", "algorithm1", "exam_grid", "shares", "success"]

CHOICES = ("thompson", "thompson_new_points", "log_ei")
_FEW = {"num_draws": 500, "warmup": 150}  # of NUTS, from the mode of two hyper-parameters


def exam_grid(count: int = 200) -> Tensor:
    """X*, (count,): even points on [−1, 1]."""
    return torch.linspace(-1, 1, count, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Step(Brief):
    """One turn of the loop, k = 0, 1, …

    Attributes
    ----------
    x, y
        D before the turn, (5 + k,) each.
    theta, f_star
        The draw of the hyper-parameters, by name, and of f* at X* under it, (200,); both empty
        where no function is drawn (``log_ei``).
    mean, variance
        m and v at X*, (200,): the mixture over all draws of θ.
    index, x_new, y_new
        p, and the added pair.
    messages, chains
        What the inference did not reach, and the worst of the chains, if θ was drawn by chains.
    """

    k: int
    x: Tensor
    y: Tensor
    theta: dict[str, float]
    f_star: Tensor
    mean: Tensor
    variance: Tensor
    index: int
    x_new: float
    y_new: float
    messages: tuple[str, ...]
    chains: ChainSummary | None = None


@dataclass(frozen=True, eq=False)
class Algorithm1(Brief):
    """What the loop did: X* and f there, (200,), a step for each k, and how it was called."""

    grid: Tensor
    truth: Tensor
    steps: tuple[Step, ...]
    choose: str
    inference: str
    seed: int

    @property
    def best(self) -> Tensor:
        """(T + 1,): the least value of D after each turn, the five first points included."""
        new = torch.tensor([step.y_new for step in self.steps], dtype=torch.float64)
        return torch.cat([self.steps[0].y.min()[None], new]).cummin(0).values[1:]

    @property
    def regret(self) -> Tensor:
        """(T + 1,): that value less the least on the grid; 0 once the minimum is found."""
        return (self.best - self.truth.min()).clamp_min(0.0)

    @property
    def found_at(self) -> int | None:
        """The first k whose point is the global minimum of the grid; None if there is none."""
        return self._first_within(0)

    @property
    def near_at(self) -> int | None:
        """The first k whose point is that minimum or beside it on the grid."""
        return self._first_within(1)

    def _first_within(self, distance: int) -> int | None:
        least = int(self.truth.argmin())
        return next((s.k for s in self.steps if abs(s.index - least) <= distance), None)

    @property
    def repeats(self) -> int:
        """Number of turns that chose a point already in D."""
        return sum(bool((step.x == step.x_new).any()) for step in self.steps)


def algorithm1(
    turns: int = 10,
    *,
    choose: str = "thompson",
    inference: str = "nuts",
    prior_on: str = "lengthscale",
    seed: int = 0,
    progress: bool = False,
    device: str | torch.device | None = None,
    **options: int,
) -> Algorithm1:
    """Run Algorithm 1 for k = 0, …, T.

    Parameters
    ----------
    turns
        T; there are T + 1 turns.
    choose
        ``"thompson"`` is the algorithm. Remedies at the same budget: ``"thompson_new_points"``
        takes the argmin of f* over grid points that are not in D; ``"log_ei"`` takes the largest
        expected improvement over all draws of θ, at such points.
    inference
        ``"nuts"`` is the algorithm; any other of :func:`gp_bo.fit_gp` that copes with two
        hyper-parameters.
    prior_on, device, options
        As for :func:`gp_bo.examination.sheet.fit_exam`; what is returned is on the CPU. For NUTS
        there are 500 draws after 150 of warm-up for each k, unless given.
    seed
        Random seed of all draws; each k has a stream of its own.
    progress
        Whether to show a progress bar.
    """
    if choose not in CHOICES:
        raise UsageError(f"choose is one of {', '.join(CHOICES)}; got {choose!r}")
    check_counts(least=0, turns=turns)
    how: dict[str, Any] = {"inference": inference, "prior_on": prior_on, "device": device}
    how |= {**_FEW, **options} if inference == "nuts" else options
    grid = exam_grid()
    truth = exam_function(grid)
    x, y = exam_data()
    steps: list[Step] = []
    for k in over(range(turns + 1), unit="turns", what="Algorithm 1", shown=progress):
        own = stream(seed, f"algorithm 1, turn {k}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InferenceWarning)  # kept as messages
            fitted = fit_exam(x, y, seed=own, **how)
        prediction = fitted.predict(grid)
        new = (grid[:, None] != x).all(1)
        theta: dict[str, float] = {}
        f_star = grid.new_empty(0)
        if choose == "log_ei":
            with torch.no_grad():
                points = grid[:, None].to(fitted.device)
                value = LogExpectedImprovement().value(surrogate_of(fitted), points).cpu()
            index = int(value.masked_fill(~new, -torch.inf).argmax())
        else:
            theta, f_star = _draw(fitted, grid, seed=own)
            allowed = new if choose == "thompson_new_points" else torch.ones_like(new)
            index = int(f_star.masked_fill(~allowed, torch.inf).argmin())
        known = (theta, f_star, prediction.mean.cpu(), prediction.variance.cpu())
        added = (index, float(grid[index]), float(truth[index]))
        chains = ChainSummary.of(fitted.draws.details, fitted.num_draws)
        steps.append(Step(k, x, y, *known, *added, fitted.draws.messages, chains))
        x, y = (torch.cat([old, at[index][None]]) for old, at in ((x, grid), (y, truth)))
    return Algorithm1(grid, truth, tuple(steps), choose, inference, seed)


def _draw(fitted: FittedGP, grid: Tensor, *, seed: int) -> tuple[dict[str, float], Tensor]:
    """One θ of p(θ | D), and one f* ~ N(m_θ, Σ_θ + σ² I) at the whole grid, under this θ."""
    generator = torch.Generator().manual_seed(seed)
    s = torch.multinomial(fitted.weights.cpu(), 1, generator=generator)
    means, covariances = fitted.predictive_draws(grid, include_noise=True, indices=s)
    normal = torch.randn(len(grid), generator=generator, dtype=grid.dtype).to(fitted.device)
    factor = torch.linalg.cholesky(covariances[0])  # 10⁻⁴ on the diagonal keeps it away from 0
    at = s.to(fitted.device)
    theta = {name: float(value[at]) for name, value in fitted.hyperparameters.items()}
    return theta, (means[0] + factor @ normal).cpu()


def success(runs: Sequence[Algorithm1]) -> dict[str, float]:
    """How often, of several seeds, the global minimum of the grid was found.

    ``found`` is the share of runs that chose it, ``near`` of those that chose it or a point beside
    it on the grid; with ``_low`` and ``_high``, Wilson's 95 % interval, and ``_error``, the
    binomial standard error, which is not 0 where all or none did: √(p̃ (1 − p̃)/(n + 4)) with
    p̃ = (k + 2)/(n + 4) for k of n runs (Agresti & Coull 1998). ``regret`` is the median at the
    end, ``repeats`` the mean number of turns that chose a point already in D.
    """
    counted: dict[str, float] = {}
    n = len(runs)
    for name, share in zip(("found", "near"), shares(runs), strict=True):
        low, high = share.interval
        p = (share.count + 2) / (n + 4)
        counted |= {name: share.value, f"{name}_low": low, f"{name}_high": high}
        counted[f"{name}_error"] = float((p * (1 - p) / (n + 4)) ** 0.5)
    return {
        **counted,
        "regret": float(torch.stack([run.regret[-1] for run in runs]).median()),
        "repeats": sum(run.repeats for run in runs) / n,
    }


def shares(runs: Sequence[Algorithm1]) -> tuple[Share, Share]:
    """Count the seeds that found the minimum of the grid, and those that found it or beside it."""
    if not runs:
        raise UsageError("no run to count")
    found = sum(run.found_at is not None for run in runs)
    near = sum(run.near_at is not None for run in runs)
    return Share(found, len(runs)), Share(near, len(runs))
