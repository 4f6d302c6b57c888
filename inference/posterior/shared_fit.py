"""One guide fitted to all images under weights that they share: none can stop alone."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from inference.posterior.batch_bound import bound_of, bounds_of
from inference.posterior.given import Given
from inference.posterior.guides.rows import with_rows
from inference.posterior.optimisation import NON_FINITE, REASONS, Optimisation, Outcome
from inference.posterior.paired import DRAWS
from inference.posterior.rising import rising

__all__ = ["SharedFit"]


class SharedFit:
    """All images, under weights that they share."""

    def __init__(
        self, given: Given, guide: nn.Module, settings: Optimisation, *, objective: str, chunk: int
    ) -> None:
        self.guide, self.settings, self.objective = guide, settings, objective
        self.optimiser = settings.optimiser(guide)
        self.size = len(given)
        # weights that are shared see the images in parts; where some are of one image, all at once
        step = chunk if getattr(guide, "shared", False) else self.size
        rows = [slice(i, i + step) for i in range(0, self.size, step)]
        self.parts = [(given.select(r), with_rows(guide, r, self.size)) for r in rows]

    def run(self, outcome: Outcome) -> None:
        """Fit until the mean bound stops rising."""
        window = self.settings.stopping.window
        like = torch.zeros(1, dtype=self.parts[0][0].x.dtype)  # the mean bound is a plain number
        watch = self.settings.stopping.watch(1, like)
        parameters = dict(self.guide.named_parameters())
        kept, bounds = {name: p.detach().clone() for name, p in parameters.items()}, []
        total = {name: torch.zeros_like(p) for name, p in parameters.items()}
        step, reason = 0, 0
        way = [kept]
        while step < self.settings.max_steps and reason == 0:
            step += 1
            mean = self._step()
            if not math.isfinite(mean):
                reason = REASONS.index(NON_FINITE)
                break
            for group in self.optimiser.param_groups:
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
            with torch.no_grad():
                for name, parameter in parameters.items():
                    parameter.copy_(kept[name])
        outcome.reason.fill_(reason)
        outcome.steps.fill_(step)

    @torch.no_grad()
    def _go_on(self, kept: dict[str, Tensor], before: dict[str, Tensor]) -> bool:
        """Move the weights on, and ``kept`` too, if the mean bound still rises that way."""
        parameters = dict(self.guide.named_parameters())
        here = {name: p.detach().clone() for name, p in parameters.items()}

        def mean_bound(values: Mapping[str, Tensor]) -> Tensor:
            for name, parameter in parameters.items():
                parameter.copy_(values[name][0])
            total: Tensor | float = 0.0
            device = self.parts[0][0].x.device
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                torch.manual_seed(0)
                for part, guide in self.parts:
                    of = [
                        bounds_of(
                            part, guide, self.settings.num_particles, objective=self.objective
                        )
                        for _ in range(-(-DRAWS // self.settings.num_particles))
                    ]
                    total = total + torch.cat(of).sum(1, keepdim=True)
            return torch.as_tensor(total) / self.size

        now = {name: value[None] for name, value in kept.items()}
        then = {name: value[None] for name, value in before.items()}
        rows, values = rising(mean_bound, now, then, tolerance=self.settings.stopping.tolerance)
        for name, parameter in parameters.items():
            parameter.copy_(values[name][0] if bool(rows) else here[name])
            if bool(rows):
                kept[name] = values[name][0]
        return bool(rows)

    def _step(self) -> float:
        self.optimiser.zero_grad()
        total = 0.0
        for part, guide in self.parts:
            bound = bound_of(part, guide, self.settings.num_particles, objective=self.objective)
            (-bound.sum() / self.size).backward()
            total += float(bound.detach().sum())
        if math.isfinite(total):
            self.optimiser.step()
        return total / self.size
