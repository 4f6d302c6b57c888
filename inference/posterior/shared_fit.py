"""One guide fitted to all images under weights that they share: none can stop alone."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from inference.posterior.batch_bound import bound_of, bounds_of
from inference.posterior.guides.per_datum import for_data
from inference.posterior.log_density import LogDensity
from inference.posterior.optimization import NON_FINITE, REASONS, Optimization, Outcome
from inference.posterior.paired import DRAWS, surely_higher
from inference.posterior.rising import rising
from pyro_models.seeds import same_generators

__all__ = ["SharedFit"]


class SharedFit:
    """All images, under weights that they share."""

    def __init__(
        self,
        target: LogDensity,
        guide: nn.Module,
        settings: Optimization,
        *,
        objective: str,
        chunk: int,
    ) -> None:
        self.guide, self.settings, self.objective = guide, settings, objective
        self.optimizer = settings.new_optimizer(guide)
        self.size = len(target)
        # weights that are shared see the images in parts; where some are of one image, all at once
        step = chunk if getattr(guide, "shared", False) else self.size
        rows = [slice(i, i + step) for i in range(0, self.size, step)]
        self.parts = [(target.select(r), for_data(guide, r, self.size)) for r in rows]

    def run(self, outcome: Outcome) -> None:
        """Fit until the mean bound stops rising."""
        window = self.settings.stopping.window
        like = torch.zeros(1, dtype=self.parts[0][0].x.dtype)  # the mean bound is a plain number
        watch = self.settings.stopping.watch(1, like)
        parameters = dict(self.guide.named_parameters())
        start = {name: p.detach().clone() for name, p in parameters.items()}
        kept, bounds = {name: p.detach().clone() for name, p in parameters.items()}, []
        total = {name: torch.zeros_like(p) for name, p in parameters.items()}
        step, reason = 0, 0
        way = [kept]
        while step < self.settings.max_steps and reason == 0:
            step += 1
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
            for name, parameter in parameters.items():
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
            self._go_to(kept)
        self._at_least(start)
        outcome.reason.fill_(reason)
        outcome.steps.fill_(step)

    @torch.no_grad()
    def _go_to(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.guide.named_parameters():
            parameter.copy_(values[name])

    def _weights(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.guide.named_parameters()}

    @torch.no_grad()
    def _mean_bound(self, values: Mapping[str, Tensor]) -> Tensor:
        """Samples of the mean bound at weights, (K, 1), from the same noise; the guide is there."""
        self._go_to({name: value[0] for name, value in values.items()})
        total: Tensor | float = 0.0
        count = self.settings.num_particles
        with same_generators(self.parts[0][0].x.device):
            torch.manual_seed(0)
            for part, guide in self.parts:
                of = [
                    bounds_of(part, guide, count, objective=self.objective)
                    for _ in range(-(-DRAWS // count))
                ]
                total = total + torch.cat(of).sum(1, keepdim=True)
        return torch.as_tensor(total) / self.size

    def _go_on(self, kept: dict[str, Tensor], before: dict[str, Tensor]) -> bool:
        """Move the weights on, and ``kept`` too, if the mean bound still rises that way."""
        here = self._weights()
        now = {name: value[None] for name, value in kept.items()}
        then = {name: value[None] for name, value in before.items()}
        tolerance = self.settings.stopping.min_improvement
        rows, values = rising(self._mean_bound, now, then, tolerance=tolerance)
        going = bool(rows)
        if going:
            kept.update({name: value[0] for name, value in values.items()})
        self._go_to(kept if going else here)
        return going

    def _at_least(self, start: dict[str, Tensor]) -> None:
        """Put the weights back to where they began if the mean bound was higher there."""
        end = self._weights()
        first = self._mean_bound({name: value[None] for name, value in start.items()})
        try:
            last = self._mean_bound({name: value[None] for name, value in end.items()})
        except torch.linalg.LinAlgError:
            last = torch.full_like(first, math.nan)
        tolerance = self.settings.stopping.min_improvement
        _, surely = surely_higher(first, last, tolerance=tolerance)
        if not bool(surely > 0) and bool(last.isfinite().all()):
            self._go_to(end)
        else:
            self._go_to(start)

    def _step(self) -> float:
        self.optimizer.zero_grad()
        total = 0.0
        for part, guide in self.parts:
            bound = bound_of(part, guide, self.settings.num_particles, objective=self.objective)
            (-bound.sum() / self.size).backward()
            total += float(bound.detach().sum())
        if math.isfinite(total):
            self.optimizer.step()
        return total / self.size
