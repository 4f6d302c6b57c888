"""The training loop, as a state that can be saved after any epoch and gone on from."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from inference.cuda_graph import launcher_of
from inference.isolated import evaluating
from inference.learning.callbacks import Callback, CallbackState
from inference.learning.checkpoint import save
from inference.learning.curves import curve
from inference.learning.data_parallel import Processes, Share
from inference.learning.early_warnings import EarlyWarnings
from inference.learning.epoch_data import EpochData
from inference.learning.graphed import GraphedSteps, can_be_graphed
from inference.learning.history import Epoch, History
from inference.learning.nonfinite import NonFinite, NonFiniteError, finite_parameters
from inference.learning.optimizers import step_schedule
from inference.learning.runs import Run
from inference.learning.settings import Settings
from inference.learning.step import Step
from inference.learning.stopping import EarlyStopping
from inference.learning.trained_on import note_training
from inference.learning.weights import load_weights
from inference.progress import bar
from pyro_models import ImageData, Pair
from pyro_models.contract import fulfills, module_of
from pyro_models.device import device_of
from pyro_models.files import write_atomically
from pyro_models.observed import Observed
from pyro_models.pair import MayHaveNoMaximum, StartsFromData
from pyro_models.seeds import seeded

__all__ = ["Training"]

REPORTED = 48
"""Steps between two reports of the bound; on a device that nobody waits for, between two reads."""


class Training:
    """One training of one pair; runs under the generators that its maker has seeded.

    Parameters
    ----------
    pair
        Trained in place.
    data
        What it learns from.
    settings
        How.
    run
        Where it is kept, if anywhere.
    processes
        Who trains it together, each on its rows of every batch; the first alone writes.
    """

    def __init__(
        self,
        pair: Pair,
        data: ImageData,
        settings: Settings,
        run: Run | None,
        processes: Processes | None = None,
    ) -> None:
        self.pair, self.data, self.settings, self.run = pair, data, settings, run
        self.processes = processes or Processes()
        self.device = torch.device(settings.device or device_of(pair))
        module_of(pair).to(self.device)
        self.epoch_data = EpochData(
            data,
            settings,
            device=self.device,
            dtype=next(pair.parameters()).dtype,
            processes=self.processes,
        )
        self.steps_per_epoch = self.epoch_data.steps_per_epoch
        self.step = Step(
            pair,
            settings,
            device=self.device,
            steps_per_epoch=self.steps_per_epoch,
            processes=self.processes,
        )
        self.objective, self.optimizer = self.step.objective, self.step.optimizer
        self.launcher = launcher_of(self.device)
        self.graphed: GraphedSteps | None = None
        self.stopping = EarlyStopping(
            patience=settings.patience,
            min_improvement=settings.min_improvement,
            noise_multiple=settings.noise_multiple,
            keep_weights=settings.restore_best,
        )
        self.epochs: list[Epoch] = []
        self.warnings = EarlyWarnings()
        self.start: str | None = None
        self.at_once, self.not_at_once = 1, ""
        self._values: Tensor | None = None  # of the last validation bound

    def share(self, other: Training | None) -> None:
        """Learn from the pixels of another training that are the same, to have them once."""
        if other is not None:
            self.epoch_data.share(other.epoch_data)

    def run_epochs(self, callbacks: Sequence[Callback], *, progress: bool) -> History:
        """Train from the present epoch to the last one or to an early stop."""
        self.begin(callbacks)
        shown = bar(
            self.settings.epochs * self.steps_per_epoch,
            unit="steps",
            done=len(self.epochs) * self.steps_per_epoch,
            shown=progress,
        )
        with shown as done:
            while not self.is_done:
                self.end_epoch(*self.train_epoch(done), callbacks)
        return self.finish()

    def begin(self, callbacks: Sequence[Callback]) -> None:
        """Show and keep the pair as it is before the first epoch."""
        if not self.epochs:
            self.warnings.begin(self)
            self._call(callbacks)
            self._save()

    @property
    def is_done(self) -> bool:
        """Whether the last epoch, or an early stop, is reached."""
        return len(self.epochs) >= self.settings.epochs or bool(self.stopping.reason)

    def end_epoch(self, running: float, seconds: float, callbacks: Sequence[Callback]) -> None:
        """Curves, callbacks and checkpoint after the steps of an epoch."""
        self._finish_epoch(running, seconds)
        self._call(callbacks)
        if self.processes.rank == 0:
            self.warnings.look(self, last=self.is_done)
        self._save()

    def _save(self) -> None:
        if self.run is None:
            return
        save(self, self.run)
        if self.processes.rank == 0:
            self._save_results(self.run)

    def _save_results(self, run: Run) -> None:
        run.save_weights(self.pair)
        write_atomically(run.folder / "history.csv", self._history().to_csv())

    def start_from_run(self, earlier: Run) -> None:
        """Begin with the weights of another run."""
        load_weights(self.pair, earlier.load_pair().state_dict(), earlier.folder)
        self.start = f"weights of {earlier.folder}"

    def start_from_data(self) -> None:
        """Let a pair that starts from data do so, once; the others take it from the first."""
        pair = self.pair
        if self.processes.rank == 0 and fulfills(pair, StartsFromData) and not pair.started:
            x = self.epoch_data.for_start()
            self.start = pair.start_from(x, seed=self.settings.seed) or None
            if len(x) < (num_train := self.epoch_data.num_train):
                what = self.start or "statistics"
                self.start = f"{what} of {len(x):,} of the {num_train:,} training data"
            # pixels that are drawn anew in every epoch are noise enough
            if not self.data.redraws and fulfills(pair, MayHaveNoMaximum):
                self._warn_of(pair.no_maximum(x))
        if self.processes.size > 1:
            self._take_from_first()
        if not finite_parameters(self.pair):
            raise NonFiniteError("the pair has a parameter that is NaN or infinite before training")

    def _take_from_first(self) -> None:
        """The parameters and the pixels' generator of the first process; noise of one's own."""
        self.processes.share_state(module_of(self.pair))
        drawing = self.epoch_data.drawing
        self.start, state = self.processes.from_first((self.start, drawing.get_state()))
        drawing.set_state(state)
        if not self.epochs:
            self.processes.draw_apart(self.settings.seed, self.device)

    @staticmethod
    def _warn_of(no_maximum: str) -> None:
        if no_maximum:
            warnings.warn(f"{no_maximum}: the bound rises as long as it is trained", stacklevel=5)

    def train_epoch(self, bar: Any = None) -> tuple[float, float]:
        """All batches once; returns the running mean of the objective, and seconds."""
        began = time.perf_counter()
        data = self.epoch_data.epoch()
        taken = self.epoch_data.batches(data)
        total, count, step = 0.0, 0, 0
        graphed = self._graphed_steps(data)
        self.step.look_again()
        while step < self.steps_per_epoch:
            last = min(step + REPORTED, self.steps_per_epoch)
            if graphed is None or not self.step.may_be_graphed:
                size, read, share = next(taken)
                total += self.step_on(step, read(), share=share) * size
                count, last = count + size, step + 1
            else:
                total += self._steps_on_device(graphed, step, last)
                count += sum(size for size, *_ in islice(taken, last - step))
            if bar is not None:
                self.report(bar, step, last, total / count)
            step = last
        self.epoch_data.shuffle()
        return total / count, self.processes.mean(time.perf_counter() - began)

    def _graphed_steps(self, data: Observed) -> GraphedSteps | None:
        """What takes whole steps on the device, where one is waited for and they can be so."""
        if self.launcher is None or self.epoch_data.streams:
            return None
        if self.graphed is None:
            why_not = can_be_graphed(self.step, labelled_per_batch=self.settings.labelled_per_batch)
            if why_not:
                self.launcher = None
                return None
            self.graphed = GraphedSteps(
                self.step,
                data,
                batch_size=self.settings.batch_size,
                steps_per_epoch=self.steps_per_epoch,
                launcher=self.launcher,
            )
        betas = [self.beta(step) for step in range(self.steps_per_epoch)]
        order = self.epoch_data.permutation.to(self.device)
        self.graphed.start_epoch(data, order, betas)
        return self.graphed

    def _steps_on_device(self, graphed: GraphedSteps, first: int, last: int) -> float:
        try:
            return graphed.run(first, last)[0]
        except NonFinite as found:
            raise self.failure(found.step or first, str(found)) from None

    def report(self, bar: Any, first: int, last: int, mean: float) -> None:
        """Move the bar on by some steps, and say what the bound is."""
        bar.update(last - first)
        if first % REPORTED == 0:
            what = "objective" if self.objective.remark else "bound"
            epoch = f"epoch {len(self.epochs) + 1} of {self.settings.epochs}"
            bar.say(f"{what} {mean:.2f} {self.objective.unit}", what=epoch)

    def step_on(self, step: int, batch: Observed, share: Share | None = None) -> float:
        """One update, the ``step``-th of its epoch; returns the bound on the batch before it."""
        try:
            return self.step(batch, beta=self.beta(step), share=share)
        except NonFinite as found:
            raise self.failure(step, str(found)) from found.__cause__

    def failure(self, step: int, what: str) -> NonFiniteError:
        """The error that says in which step of the epoch what was not finite."""
        epoch = len(self.epochs) + 1
        kept = "no checkpoint was kept (give out, a run folder)"
        if self.run is not None:
            checkpoint = self.run.folder / "checkpoint.pt"
            kept = f"last good checkpoint: {checkpoint} (epoch {epoch - 1})"
        return NonFiniteError(
            f"training stopped in epoch {epoch}, step {step + 1} of {self.steps_per_epoch}: not "
            f"finite is {what}; {kept}; try a lower lr or clip_norm"
        )

    def beta(self, step: int) -> float:
        """Weight of the latent terms: from near 0 linearly to 1 over ``beta_warmup`` epochs."""
        steps = self.settings.beta_warmup * self.steps_per_epoch
        done = len(self.epochs) * self.steps_per_epoch + step + 1
        return min(1.0, done / steps) if steps else 1.0

    def _finish_epoch(self, running: float, seconds: float) -> None:
        """Curves on the parameters as they now are, and what follows from them."""
        self.processes.share_state(module_of(self.pair))  # running averages in buffers differ
        if not finite_parameters(self.pair):
            names = (
                n for n, p in module_of(self.pair).named_parameters() if not torch.isfinite(p).all()
            )
            raise self.failure(self.steps_per_epoch - 1, f"parameter {next(names)}")
        record = Epoch(
            epoch=len(self.epochs) + 1,
            running=running,
            train=self._curve("train", limit=self.settings.curve_size),
            validation=self._curve("validation", limit=None),
            learning_rate=float(self.optimizer.param_groups[0]["lr"]),
            beta=self.beta(self.steps_per_epoch - 1),
            seconds=seconds,
            measures=self.objective.measures(),
        )
        self.epochs.append(record)
        bound = record.validation if record.validation is not None else running
        step_schedule(self.step.schedule, bound=bound)
        self.stopping.look(record, self.pair, self._values)

    def _curve(self, name: str, *, limit: int | None) -> float | None:
        """The bound on a split, where it is to be had."""
        needed = name == "validation" and self.stopping.needs_validation
        wanted = needed or (self.settings.curve_size and self.objective.ranks)
        if name not in self.data.splits or not wanted:
            return None
        by_datum = name == "validation" and bool(self.settings.noise_multiple)
        try:
            found = curve(self.step, self.epoch_data, name, limit=limit, by_datum=by_datum)
        except NonFinite as error:
            raise self.failure(self.steps_per_epoch - 1, str(error)) from error.__cause__
        if by_datum:
            self._values = found.values
        return found.value

    def _call(self, callbacks: Sequence[Callback]) -> None:
        """Callbacks see the pair in evaluation mode and cannot move the generators."""
        note_training(self.pair, data=self.data.name, epoch=len(self.epochs))
        for callback in callbacks if self.processes.rank == 0 else ():
            state = CallbackState(
                pair=self.pair,
                epoch=len(self.epochs),
                epochs=self.settings.epochs,
                history=tuple(self.epochs),
                out=None if self.run is None else self.run.folder,
                last=bool(self.stopping.reason) or len(self.epochs) == self.settings.epochs,
                settings=self.settings,
                data=self.data,
                objective=self.objective.name,
                unit=self.objective.unit,
                remark=self.objective.remark,
            )
            with seeded(self.settings.seed, self.device), evaluating(self.pair):
                reason = callback(state)
            if reason:
                self.stopping.stop(reason)
        self.stopping.stop(self.processes.first_word(self.stopping.reason))

    def _history(self) -> History:
        return History(
            tuple(self.epochs),
            objective=self.objective.name,
            unit=self.objective.unit,
            remark=self.objective.remark,
            start=self.start,
            best_epoch=self.stopping.best_epoch,
            stopped=self.stopping.reason,
            recorded=not self.step.not_recorded,
            not_recorded=self.step.not_recorded,
            at_once=self.at_once,
            not_at_once=self.not_at_once,
            beta=self.objective.beta * (self.epochs[-1].beta if self.epochs else 1.0),
            warnings=tuple(self.warnings.said.values()),
            diverged=self.warnings.diverged,
            curve_data=self._curve_data(),
        )

    def _curve_data(self) -> dict[str, int]:
        """On how many data of each split the curves are."""
        last = self.epochs[-1] if self.epochs else None
        limits = {"train": self.settings.curve_size, "validation": None}
        return {
            name: len(self.data.split(name).x[:limit])
            for name, limit in limits.items()
            if getattr(last, name, None) is not None
        }

    def finish(self) -> History:
        """Say why it ended, take up the best parameters if these are kept, and record it."""
        if not self.stopping.reason:
            self.stopping.stop(f"all {len(self.epochs)} epochs done")
        if self.stopping.restore_best(self.pair):
            self.stopping.stop(
                f"{self.stopping.reason}; parameters of epoch {self.stopping.best_epoch} restored"
            )
            note_training(self.pair, data=self.data.name, epoch=self.stopping.best_epoch)
        else:
            note_training(self.pair, data=self.data.name, epoch=len(self.epochs))
        if self.run is not None and self.processes.rank == 0:
            # anew: the last process may have died between the checkpoint and these
            self._save_results(self.run)
            self.run.record_end(self._history())
        self.processes.wait()
        return self._history()
