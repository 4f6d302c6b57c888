"""A step that is tried before training: what cannot be is refused before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from inference.isolated import evaluating
from inference.learning.nonfinite import finite_parameters
from inference.particles import draw
from pyro_models import Pair, UsageError
from pyro_models.contract import is_of_library, module_of
from pyro_models.errors import in_one_line
from pyro_models.observed import Observed
from pyro_models.seeds import seeded

if TYPE_CHECKING:
    from inference.learning.training import Training

__all__ = ["try_a_step"]


def try_a_step(training: Training) -> None:
    """Refuse an objective or a record that the pair cannot have."""
    settings, step, pair = training.settings, training.step, training.pair
    few = training.epoch_data.prepared("train", limit=settings.batch_size)
    two = few[:2]
    ours = is_of_library(pair)
    of_library = ours and not _own_parts(pair)
    with seeded(settings.seed, training.device), step.autocast():
        try:
            step.objective.check(two.x, **two.conditions)
            if training.processes.size > 1:
                _refuse_global_sites(training, two)
            if not ours:
                with evaluating(pair):
                    step.objective.value(two.x, y=two.y, mask=two.mask)
            if settings.epochs > len(training.epochs):
                last = training.epoch_data.num_train % settings.batch_size
                for size in dict.fromkeys((len(few), last or len(few))):
                    own = few[:size][training.processes.own(size)]
                    if len(own):
                        step.prepare(own, beta=training.beta(0))
        except UsageError:
            raise
        except Exception as error:
            if finite_parameters(pair) and not of_library:
                with in_one_line(f"a step of {type(pair).__name__}"):
                    raise
            if not isinstance(error, ValueError | RuntimeError):
                raise
            # of NaN: the first step says where it comes from
    step.agree()


def _own_parts(pair: Pair) -> bool:
    """Whether a pair of the library is made of modules of the user's own, or of torch's."""
    options = getattr(pair, "_options", {}).values()
    given = any(isinstance(option, nn.Module) for option in options)
    kinds = {type(part).__module__.partition(".")[0] for part in module_of(pair).modules()}
    return given or bool(kinds - {"pyro_models", "torch", "zuko"})


def _refuse_global_sites(training: Training, data: Observed) -> None:
    """What is outside of the plate over data counts once in each process, as does a critic."""
    if training.objective.state():
        raise UsageError(f"{training.objective.name} learns a critic: train it in one process")
    pair, same = training.pair, training.objective.over_particles()
    parts = same.parts(data.x, **data.conditions) if same else [(data.x, data.conditions)]
    for x, given in parts:
        draw(pair.model, pair.guide, Observed.unchecked(x, **given), num_particles=1)
