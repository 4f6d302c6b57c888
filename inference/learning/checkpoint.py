"""The state of a training after an epoch: saved in its run folder, and taken up from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from inference.learning.history import Epoch
from inference.learning.runs import Run
from inference.learning.weights import load_weights
from pyro_models import Pair, UsageError
from pyro_models.contract import module_of
from pyro_models.seeds import generator_states, restore_generators

if TYPE_CHECKING:
    from inference.learning.training import Training

__all__ = ["restore", "save"]


def save(training: Training, run: Run) -> None:
    """Write the checkpoint; of several processes the first does, with the generators of all."""
    step = training.step
    generators = training.processes.gathered(generator_states(training.device))
    if training.processes.rank:
        return
    run.save_checkpoint(
        {
            "weights": training.pair.state_dict(),
            "optimizer": step.optimizer.state_dict(),
            "schedule": None if step.schedule is None else step.schedule.state_dict(),
            "generators": generators[0],
            **({"processes": generators} if len(generators) > 1 else {}),
            **training.epoch_data.state(),
            "stopping": training.stopping.state(),
            "objective": training.objective.state(),
            "history": [asdict(record) for record in training.epochs],
            "start": training.start,
            "warnings": training.warnings.state(),
            "at_once": (training.at_once, training.not_at_once),
        }
    )


def restore(training: Training, run: Run) -> None:
    """Take up the last checkpoint of a run, if an epoch was finished."""
    training.settings.check_same(run.describe()["settings"])
    state = run.load_checkpoint()
    if state is None:
        return
    generators = state.get("processes") or [state["generators"]]
    processes, step = training.processes, training.step
    if len(generators) != processes.size:
        raise UsageError(
            f"this run was begun by {len(generators)} processes, not {processes.size}: "
            f"resume it with as many (torchrun --nproc-per-node), or start another"
        )
    load_weights(training.pair, state["weights"], run.folder / "checkpoint.pt")
    in_order = _in_order(training.pair, state["optimizer"], state["weights"])
    step.optimizer.load_state_dict(in_order)
    if step.schedule is not None:
        step.schedule.load_state_dict(state["schedule"])
    training.stopping.load_state(state["stopping"])
    training.objective.load_state(state.get("objective", {}))
    training.epochs = [Epoch(**record) for record in state["history"]]
    training.start = state["start"]
    training.warnings.load_state(state.get("warnings", {}))
    training.at_once, training.not_at_once = state.get("at_once", (1, ""))
    training.epoch_data.load_state(state, epochs=len(training.epochs))
    step.taken = len(training.epochs) * training.steps_per_epoch
    restore_generators(generators[processes.rank], training.device)


def _in_order(pair: Pair, state: dict[str, Any], weights: Mapping[str, Any]) -> dict[str, Any]:
    """The optimizer's state, which numbers parameters in the order of the weights beside it.

    A release may order the parts of a pair in another way than the one that wrote them.
    """
    named = module_of(pair).named_parameters()
    now = {name: i for i, name in enumerate(n for n, p in named if p.requires_grad)}
    then = [name for name in weights if name in now]
    return {**state, "state": {now[then[i]]: of for i, of in state["state"].items()}}
