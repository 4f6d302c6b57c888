"""A training that is ready to go: data, pair and settings that fit, and a step that was tried."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from inference.learning.checkpoint import restore
from inference.learning.data_parallel import processes_on
from inference.learning.first_step import try_a_step
from inference.learning.recorded_data import describe_data, remember
from inference.learning.runs import Run
from inference.learning.settings import Settings, check_pair_fits
from inference.learning.training import Training
from pyro_models import ImageData, Pair, UsageError
from pyro_models.data import as_data, half_seen
from pyro_models.data.masks import Mask
from pyro_models.observed import Data
from pyro_models.seeds import seeded

__all__ = ["begun"]


def begun(
    pair: Pair,
    data: ImageData | Data,
    settings: Settings,
    inside: ExitStack,
    *,
    run: Run | None = None,
    resume: bool = False,
    mask: Mask | None = None,
    fraction: float = 0.5,
    init_from: str | Path | None = None,
    force: bool = False,
    tried: bool = False,
) -> Training:
    """A training that is ready to go; the generators are its own, and its folder is held.

    What is ``inside`` ends with it. One that is ``tried`` alone is of a copy of the pair, which
    nobody scores: it is not remembered what that has seen. All else is as for
    :func:`inference.learning.fit`.
    """
    device, seed = torch.device(settings.device or "cpu"), settings.seed
    if mask is None or isinstance(data, ImageData):
        whole = as_data(data, pair, stream=settings.stream)
        if whole.is_streamed:  # and is so when it is resumed
            settings = settings.replace(stream=settings.stream is not False)
        data = whole if mask is None else half_seen(whole, mask, fraction=fraction, seed=seed)
    else:
        data = whole = half_seen(data, mask, pair, fraction=fraction, seed=seed)
    check_pair_fits(pair, data, settings)
    described: dict[str, Any] = {}
    if run is not None:
        seen = {} if data is whole else {"seen": data.identity.mask}
        described = {**describe_data(whole), **seen}
    if resume and (run is None or not run.exists):
        raise UsageError(
            f"there is no run to resume in {run.folder}" if run else "resume needs out"
        )
    processes = inside.enter_context(processes_on(device))
    first = processes.rank == 0
    if run is not None:
        inside.enter_context(run.held())  # until the last file is written
    inside.enter_context(seeded(seed, device))
    if run is not None and resume:
        run.refuse_without_checkpoint()
        run.check_same(pair, described)
    elif run is not None and first:
        run.refuse_to_overwrite(force=force)
    training = Training(pair, data, settings, run, processes)
    if resume and run is not None:
        restore(training, run)
    elif init_from is not None and first:
        training.start_from_run(Run(init_from))
    training.start_from_data()
    try_a_step(training)
    if run is not None and first and not resume:
        run.clear()
        run.create(pair, {"data": described, "settings": settings.plain()})
    if not tried:
        remember(pair, whole)
    return training
