"""One guide fitted to all images under weights that they share: none can stop alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from inference.learning.optimizers import laid_out_as
from inference.posterior.batch_bound import BatchBound, bounds_of
from inference.posterior.guides.per_datum import copy_parameters, for_data, parameters_of
from inference.posterior.log_density import LogDensity
from inference.posterior.optimization import NON_FINITE, REASONS, Fitting, Outcome
from inference.posterior.paired import DRAWS, Values, rising, surely_higher
from pyro_models.seeds import seeded

__all__ = ["SharedFit"]

_FIRST = 10  # steps before they are recorded


class SharedFit:
    """All images, under weights that they share."""

    def __init__(self, target: LogDensity, guide: nn.Module, settings: Fitting) -> None:
        self.guide, self.settings = guide, settings
        self.tolerance = settings.rule.min_improvement
        self.optimizer = settings.new_optimizer(guide)
        self.size = len(target)
        # weights that are shared see the images in parts; where some are of one image, all at once
        step = settings.chunk if getattr(guide, "shared", False) else self.size
        rows = [slice(i, i + step) for i in range(0, self.size, step)]
        self.parts = [(target.select(r), for_data(guide, r, self.size)) for r in rows]
        self.bounds = [BatchBound(*part, settings, steady=_FIRST) for part in self.parts]

    def run(self, outcome: Outcome, *, stepped: Callable[[int], object]) -> None:
        """Fit until the mean bound stops rising; ``stepped`` is called with 1 after each step."""
        window = self.settings.rule.window
        like = torch.zeros(1, dtype=self.parts[0][0].x.dtype)  # the mean bound is a plain number
        watch = self.settings.rule.watch(1, like)
        start, kept = parameters_of(self.guide), parameters_of(self.guide)
        total = {name: torch.zeros_like(p) for name, p in kept.items()}
        bounds: list[float] = []
        step, reason = 0, 0
        way = [kept]
        while step < self.settings.max_steps and reason == 0:
            step += 1
            stepped(1)
            try:
                mean = self._step()
            except torch.linalg.LinAlgError:  # a covariance that is none any more
                mean = math.nan
            if not math.isfinite(mean):
                reason = REASONS.index(NON_FINITE)
                break
            for group in self.optimizer.param_groups:
                group["lr"] = self.settings.rate * float(watch.factor)
            bounds.append(mean)
            for name, parameter in self.guide.named_parameters():
                total[name] += parameter.detach()
            if len(bounds) == window:
                values = torch.tensor(bounds, dtype=torch.float64)
                error = values.std() / math.sqrt(window)
                done = watch.look(values.mean()[None], error[None])
                way = [*way[-3:], kept]
                kept = {name: values / window for name, values in total.items()}
                if bool(done) and self._go_on(kept, way[0]):
                    watch.go_on(done)
                    done = torch.zeros_like(done)
                bounds, total = [], {name: torch.zeros_like(v) for name, v in total.items()}
                reason = int(done)
        if reason:
            copy_parameters(kept, self.guide)
        self._at_least(start)
        outcome.reason.fill_(reason)
        outcome.steps.fill_(step)

    @torch.no_grad()
    def _mean_bound(self, values: Values) -> Tensor:
        """Samples of the mean bound at weights, (K, 1), from the same noise; the guide is there."""
        copy_parameters({name: value[0] for name, value in values.items()}, self.guide)
        total: Tensor | float = 0.0
        of = self.settings.num_particles, self.settings.objective
        with seeded(0, self.parts[0][0].x.device):
            for part, guide in self.parts:
                draws = [bounds_of(part, guide, *of) for _ in range(-(-DRAWS // of[0]))]
                total = total + torch.cat(draws).sum(1, keepdim=True)
        return torch.as_tensor(total) / self.size

    def _go_on(self, kept: dict[str, Tensor], before: Values) -> bool:
        """Move the weights on, and ``kept`` too, if the mean bound still rises that way."""
        here = parameters_of(self.guide)
        now, then = _one_row(kept), _one_row(before)
        rows, values = rising(self._mean_bound, now, then, tolerance=self.tolerance)
        going = bool(rows)
        if going:
            kept.update({name: value[0] for name, value in values.items()})
        copy_parameters(kept if going else here, self.guide)
        return going

    def _at_least(self, start: Values) -> None:
        """Put the weights back to where they began if the mean bound was higher there."""
        end = parameters_of(self.guide)
        first = self._mean_bound(_one_row(start))
        try:
            last = self._mean_bound(_one_row(end))
        except torch.linalg.LinAlgError:
            last = torch.full_like(first, math.nan)
        _, surely = surely_higher(first, last, tolerance=self.tolerance)
        stays = not bool(surely > 0) and bool(last.isfinite().all())
        copy_parameters(end if stays else start, self.guide)

    def _step(self) -> float:
        found = [of_part() for of_part in self.bounds]
        total = sum(float(bound.sum()) for bound, _ in found)
        if math.isfinite(total):
            of_each = zip(*(gradients for _, gradients in found), strict=True)
            for parameter, parts in zip(self.guide.parameters(), of_each, strict=True):
                gradient = torch.stack(parts).sum(0) / self.size
                parameter.grad = laid_out_as(gradient, parameter)
            self.optimizer.step()
        return total / self.size


def _one_row(values: Values) -> Values:
    return {name: value[None] for name, value in values.items()}
