"""The training loop, as a state that can be saved after any epoch and gone on from."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from inference.isolated import evaluating
from inference.learning.batches import batches
from inference.learning.callbacks import Callback, CallbackState
from inference.learning.data_parallel import Processes, Share
from inference.learning.graphed import GraphedSteps, Launcher, can_be_graphed, cuda_graph
from inference.learning.history import Epoch, History
from inference.learning.nonfinite import (
    NonFinite,
    NonFiniteError,
    finite_parameters,
    first_nonfinite,
)
from inference.learning.optimizers import step_schedule
from inference.learning.preparation import for_start
from inference.learning.runs import Run, load_weights
from inference.learning.settings import Settings
from inference.learning.step import Step
from inference.learning.stopping import EarlyStopping
from inference.particles import draw
from pyro_models import ImageData, Pair, UsageError
from pyro_models.contract import fulfills, is_of_library, module_of
from pyro_models.data import Split
from pyro_models.device import device_of
from pyro_models.errors import in_one_line
from pyro_models.files import write_atomically
from pyro_models.observed import Observed
from pyro_models.pair import MayHaveNoMaximum, StartsFromData
from pyro_models.seeds import generator_states, restore_generators, seeded, stream

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
        self.dtype = next(pair.parameters()).dtype
        self.num_train = len(data.split("train"))
        self.steps_per_epoch = -(-self.num_train // settings.batch_size)
        self.step = Step(
            pair,
            settings,
            device=self.device,
            steps_per_epoch=self.steps_per_epoch,
            processes=self.processes,
        )
        self.objective, self.optimizer = self.step.objective, self.step.optimizer
        self.launcher: Launcher | None = cuda_graph if self.device.type == "cuda" else None
        self.graphed: GraphedSteps | None = None
        self.shuffling = torch.Generator().manual_seed(settings.seed)
        self.drawing = self._drawing_generator().manual_seed(settings.seed + 1)
        self.shuffle()
        self.stopping = EarlyStopping(
            patience=settings.patience,
            min_improvement=settings.min_improvement,
            noise_multiple=settings.noise_multiple,
            keep_weights=settings.restore_best,
        )
        self.epochs: list[Epoch] = []
        self.start: str | None = None
        self.at_once, self.not_at_once = 1, ""
        self._values: Tensor | None = None  # of the last validation bound
        self._fixed = None if data.redraws else self._on_device(data.prepared("train"))
        self._drawn = data if self._fixed is not None else self._where_it_is_drawn(data)

    def share(self, other: Training | None) -> None:
        """Learn from the pixels of another training that are the same, to have them once."""
        if other is not None and other.data is self.data and other._fixed is not None:
            self._fixed = other._fixed

    def run_epochs(self, callbacks: Sequence[Callback], *, progress: bool) -> History:
        """Train from the present epoch to the last one or to an early stop."""
        self.begin(callbacks)
        bar = tqdm(
            total=self.settings.epochs * self.steps_per_epoch,
            initial=len(self.epochs) * self.steps_per_epoch,
            disable=not progress,
            unit="step",
            mininterval=0.3,
            dynamic_ncols=True,
        )
        with bar:
            while not self.is_done:
                self.end_epoch(*self.train_epoch(bar), callbacks)
        return self.finish()

    def begin(self, callbacks: Sequence[Callback]) -> None:
        """Show and keep the pair as it is before the first epoch."""
        if not self.epochs:
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
        self._save()

    def restore(self, run: Run) -> None:
        """Take up the state of the last checkpoint of a run, if an epoch was finished."""
        described = run.describe()
        self.settings.check_same(described["settings"])
        state = run.load_checkpoint()
        if state is None:
            return
        generators = state.get("processes") or [state["generators"]]
        if len(generators) != self.processes.size:
            raise UsageError(
                f"this run was begun by {len(generators)} processes, not {self.processes.size}: "
                f"resume it with as many (torchrun --nproc-per-node), or start another"
            )
        load_weights(self.pair, state["weights"], run.folder / "checkpoint.pt")
        self.optimizer.load_state_dict(self._in_order(state["optimizer"], state["weights"]))
        if self.step.schedule is not None:
            self.step.schedule.load_state_dict(state["schedule"])
        self.shuffling.set_state(state["shuffling"])
        self.permutation = state["permutation"]
        self.stopping.load_state(state["stopping"])
        self.objective.load_state(state.get("objective", {}))
        self.epochs = [Epoch(**record) for record in state["history"]]
        self.start = state["start"]
        self.at_once, self.not_at_once = state.get("at_once", (1, ""))
        self._take_up_drawing(state["drawing"])
        self.step.taken = len(self.epochs) * self.steps_per_epoch
        restore_generators(generators[self.processes.rank], self.device)

    def _in_order(self, state: dict[str, Any], weights: Mapping[str, Any]) -> dict[str, Any]:
        """The optimizer's state, which numbers parameters in the order of the weights beside it.

        A release may order the parts of a pair in another way than the one that wrote them.
        """
        named = module_of(self.pair).named_parameters()
        now = {name: i for i, name in enumerate(n for n, p in named if p.requires_grad)}
        then = [name for name in weights if name in now]
        return {**state, "state": {now[then[i]]: of for i, of in state["state"].items()}}

    def _save(self) -> None:
        if self.run is None:
            return
        generators = self.processes.gathered(generator_states(self.device))
        if self.processes.rank:
            return
        self.run.save_checkpoint(
            {
                "weights": self.pair.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": None if self.step.schedule is None else self.step.schedule.state_dict(),
                "generators": generators[0],
                **({"processes": generators} if len(generators) > 1 else {}),
                "shuffling": self.shuffling.get_state(),
                "drawing": self.drawing.get_state(),
                "permutation": self.permutation,
                "stopping": self.stopping.state(),
                "objective": self.objective.state(),
                "history": [asdict(record) for record in self.epochs],
                "start": self.start,
                "at_once": (self.at_once, self.not_at_once),
            }
        )
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
            x = for_start(self.training_data())
            self.start = pair.start_from(x, seed=self.settings.seed) or None
            # pixels that are drawn anew in every epoch are noise enough
            if self._fixed is not None and fulfills(pair, MayHaveNoMaximum):
                self._warn_of(pair.no_maximum(x))
        if self.processes.size > 1:
            self._take_from_first()
        if not finite_parameters(self.pair):
            raise NonFiniteError("the pair has a parameter that is NaN or infinite before training")

    def _take_from_first(self) -> None:
        """The parameters and the pixels' generator of the first process; noise of one's own."""
        self.processes.share_state(module_of(self.pair))
        self.start, drawing = self.processes.from_first((self.start, self.drawing.get_state()))
        self.drawing.set_state(drawing)
        if not self.epochs:
            self.processes.draw_apart(self.settings.seed, self.device)

    @staticmethod
    def _warn_of(no_maximum: str) -> None:
        if no_maximum:
            warnings.warn(f"{no_maximum}: the bound rises as long as it is trained", stacklevel=5)

    def try_a_step(self) -> None:
        """Refuse, before anything is written, an objective or a record the pair cannot have."""
        few: Observed = self.data.prepared(
            "train", seed=self.settings.seed, limit=self.settings.batch_size
        )
        few = self._on_device(few)
        two = few[:2]
        ours = is_of_library(self.pair)
        with seeded(self.settings.seed, self.device), self.step.autocast():
            try:
                self.objective.check(two.x, **two.conditions)
                if self.processes.size > 1:
                    self._refuse_global_sites(two)
                if not ours:
                    with evaluating(self.pair):
                        self.objective.value(two.x, y=two.y, mask=two.mask)
                if self.settings.epochs > len(self.epochs):
                    last = self.num_train % self.settings.batch_size
                    for size in dict.fromkeys((len(few), last or len(few))):
                        own = few[:size][self.processes.own(size)]
                        if len(own):
                            self.step.prepare(own, beta=self.beta(0))
            except UsageError:
                raise
            except Exception as error:
                if finite_parameters(self.pair) and not ours:
                    with in_one_line(f"a step of {type(self.pair).__name__}"):
                        raise
                if not isinstance(error, ValueError | RuntimeError):
                    raise
                # of NaN: the first step says where it comes from
        self.step.agree()

    def _refuse_global_sites(self, data: Observed) -> None:
        """What is outside of the plate over data would count once in each process, as a critic."""
        if self.objective.state():
            raise UsageError(f"{self.objective.name} learns a critic: train it in one process")
        same = self.objective.over_particles()
        parts = same.parts(data.x, **data.conditions) if same else [(data.x, data.conditions)]
        for x, given in parts:
            draw(self.pair.model, self.pair.guide, Observed.unchecked(x, **given), num_particles=1)

    def _on_device(self, data: Observed) -> Observed:
        return data.to(self.device, self.dtype)

    def training_data(self) -> Observed:
        """Pixels of one epoch: fresh draws where the preparation is random."""
        if self._fixed is not None:
            return self._fixed
        return self._on_device(self._drawn.draw("train", self.drawing))

    def _drawing_generator(self) -> torch.Generator:
        """Pixels are drawn where the pair is, where another processor than this one does it."""
        return torch.Generator(self.device if self.device.type == "cuda" else "cpu")

    def _where_it_is_drawn(self, data: ImageData) -> ImageData:
        """The grey training pixels beside their generator."""
        if self.drawing.device.type == "cpu":
            return data
        grey = data.split("train")
        y, mask = (None if v is None else v.to(self.device) for v in (grey.y, grey.mask))
        return replace(data, splits={"train": Split(grey.x.to(self.device), y, mask)})

    def _take_up_drawing(self, state: Tensor) -> None:
        if len(state) == len(self.drawing.get_state()):
            self.drawing.set_state(state)
        else:  # the run was begun on another kind of device
            seed = stream(self.settings.seed, f"pixels from epoch {len(self.epochs)} on")
            self.drawing.manual_seed(seed)

    def train_epoch(self, bar: Any = None) -> tuple[float, float]:
        """All batches once; returns the running mean of the objective, and seconds."""
        began = time.perf_counter()
        data = self.training_data()
        order = self.permutation.to(self.device)
        rows = batches(
            order,
            batch_size=self.settings.batch_size,
            y=data.y,
            labelled_per_batch=self.settings.labelled_per_batch,
        )
        total, count, step = 0.0, 0, 0
        graphed = self._graphed_steps(data, order)
        self.step.look_again()
        while step < self.steps_per_epoch:
            last = min(step + REPORTED, self.steps_per_epoch)
            if graphed is None or not self.step.may_be_graphed:
                whole = next(rows)
                own, share = self.processes.part(whole, data.y)
                total += self.step_on(step, data.rows(own), share=share) * len(whole)
                count, last = count + len(whole), step + 1
            else:
                total += self._steps_on_device(graphed, step, last)
                seen = list(islice(rows, last - step))
                count += sum(len(each) for each in seen)
            if bar is not None:
                self.report(bar, step, last, total / count)
            step = last
        self.shuffle()
        return total / count, self.processes.mean(time.perf_counter() - began)

    def shuffle(self) -> None:
        """Draw the order of the next epoch."""
        self.permutation = torch.randperm(self.num_train, generator=self.shuffling)

    def _graphed_steps(self, data: Observed, order: Tensor) -> GraphedSteps | None:
        """What takes whole steps on the device, where one is waited for and they can be so."""
        if self.launcher is None:
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
            bar.set_description(f"epoch {len(self.epochs) + 1}", refresh=False)
            what = "objective" if self.objective.remark else "bound"
            bar.set_postfix_str(f"{what} {mean:.2f} {self.objective.unit}", refresh=False)

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

    @torch.no_grad()
    def _curve(self, name: str, *, limit: int | None) -> float | None:
        """The bound on a split: the same draws after every epoch, nothing else moved."""
        needed = name == "validation" and self.stopping.needs_validation
        wanted = needed or (self.settings.curve_size and self.objective.ranks)
        if name not in self.data.splits or not wanted:
            return None
        data = self._on_device(self.data.prepared(name, seed=self.settings.seed, limit=limit))
        whole, rank = len(data), self.processes.rank
        data = data[self.processes.own(whole)]
        value, values, raised = float("nan"), data.x.new_zeros(0), None
        by_datum = name == "validation" and bool(self.settings.noise_multiple)
        # not the pixels' own draws again
        noise = stream(self.settings.seed, f"curves {rank}" if rank else "curves")
        with seeded(noise, self.device), evaluating(self.pair):
            try:
                with self.step.autocast():
                    if by_datum and len(data):
                        values = self.objective.values(data.x, y=data.y, mask=data.mask)
                        value = float(values.mean())
                    elif len(data):
                        value = self.objective.value(data.x, y=data.y, mask=data.mask)
            except (ValueError, RuntimeError) as error:  # as in a step
                raised = error
            value = self.processes.mean(value, len(data))
            if value - value == 0:
                if by_datum:
                    self._values = self.processes.joined(values, whole)
                return value
            what = self.processes.first_word(first_nonfinite(self.pair, data) if len(data) else "")
        if not what and raised is not None:
            raise raised
        what = f"{what or 'the bound'} on the {name} split"
        raise self.failure(self.steps_per_epoch - 1, what) from raised

    def _call(self, callbacks: Sequence[Callback]) -> None:
        """Callbacks see the pair in evaluation mode and cannot move the generators."""
        for callback in callbacks if self.processes.rank == 0 else ():
            state = CallbackState(
                pair=self.pair,
                epoch=len(self.epochs),
                epochs=self.settings.epochs,
                history=tuple(self.epochs),
                out=None if self.run is None else self.run.folder,
                last=bool(self.stopping.reason) or len(self.epochs) == self.settings.epochs,
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
        )

    def finish(self) -> History:
        """Say why it ended, take up the best parameters if these are kept, and record it."""
        if not self.stopping.reason:
            self.stopping.stop(f"all {len(self.epochs)} epochs done")
        if self.stopping.restore_best(self.pair):
            self.stopping.stop(
                f"{self.stopping.reason}; parameters of epoch {self.stopping.best_epoch} restored"
            )
        if self.run is not None and self.processes.rank == 0:
            # anew: the last process may have died between the checkpoint and these
            self._save_results(self.run)
            self.run.record_end(self._history())
        self.processes.wait()
        return self._history()
