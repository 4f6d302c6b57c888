"""Learning: one loop for every pair and objective."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.declared import takes
from inference.denormals import denormals_flushed
from inference.learning.callbacks import Callback
from inference.learning.data_parallel import own_device, processes_on
from inference.learning.history import History
from inference.learning.recorded_data import describe_data, remember
from inference.learning.runs import Run
from inference.learning.settings import Settings, check_pair_fits
from inference.learning.training import Training
from pyro_models import ImageData, Pair, UsageError
from pyro_models.contract import check_pair
from pyro_models.data import as_data, half_seen
from pyro_models.data.masks import Mask
from pyro_models.device import check_device, device_of
from pyro_models.observed import Data
from pyro_models.seeds import seeded

__all__ = ["Fit", "fit"]


@dataclass(frozen=True)
class Fit:
    """A trained pair, what happened, and where it lies on disk (``None`` if nowhere)."""

    pair: Pair
    history: History
    out: Path | None


@takes(Settings)
def fit(
    pair: Pair,
    data: ImageData | Data,
    *,
    mask: Mask | None = None,
    fraction: float = 0.5,
    settings: Settings | None = None,
    callbacks: Sequence[Callback] = (),
    init_from: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
    **options: Any,
) -> Fit:
    """Maximise a bound on log p(x) over model and guide, by minibatch gradient ascent.

    The objective is the average over a batch, so a learning rate means the same for any batch size.
    The pair is trained in place. No global generator of the caller moves.

    Where ``torch.distributed`` is initialized, its processes train the pair together: each has its
    rows of every batch, and noise of its own. The first alone writes, shows and calls callbacks.

    Parameters
    ----------
    pair
        The pair; if it knows how to start from data and has not yet, it does so first.
    data
        Training data, prepared anew each epoch where the preparation is random. A tensor, an array,
        a data frame, a torch ``Dataset`` or ``DataLoader`` or an ``Observed`` is read and split as
        :func:`pyro_models.load_data` does; batches are drawn here, whatever a loader's are.
    options
        One of :class:`Settings`, over those in ``settings``.
    mask
        What is seen of the data, as :func:`inference.posterior.infer` takes it: the bound is then
        on log p(x_seen). A pair that starts from data does so from seen values of other data in
        the place of unseen ones. Everything is seen unless given, here or with the data.
    fraction
        Fraction of the pixels that the mask ``random`` sees, drawn for each datum by the seed.
    settings
        All settings in one value, in the place of or below those that are given by name.
    callbacks
        Functions that are called before training and after each epoch, e.g. :class:`Snapshots`.
    init_from
        Run folder of the same pair whose weights training begins with (a resumed run has its own).
    out
        Run folder: checkpoint, weights and history after each epoch.
    resume
        Go on from the last checkpoint in ``out``; on a CPU with the same number of threads it ends
        bit for bit where the uninterrupted run would have.
    force
        Replace a run that is in ``out``.
    progress
        Show a progress bar with the bound per datum.

    Returns
    -------
    Fit
        The pair, the history, and the run folder.

    Raises
    ------
    UsageError
        For settings or data that do not fit.
    NonFiniteError
        If the loss, gradient or parameters become NaN or infinite; it names step, site and the last
        good checkpoint.

    Examples
    --------
    >>> from pyro_models import VAE, load_data
    >>> data = load_data("digits")
    >>> vae = VAE(data.data_shape, hidden=[64])
    >>> result = fit(vae, data, epochs=2, progress=False)
    >>> len(result.history.epochs)
    2
    """
    check_pair(pair)
    if "start" in options:
        warnings.warn("start is now init_from", DeprecationWarning, stacklevel=2)
        init_from = options.pop("start")
    settings = (settings or Settings()).replace(**options)
    device = check_device(own_device(settings.device) or device_of(pair))
    settings = settings.replace(device=str(device))
    seed = settings.seed
    if mask is None or isinstance(data, ImageData):
        whole = as_data(data, pair)
        data = whole if mask is None else half_seen(whole, mask, fraction=fraction, seed=seed)
    else:
        data = whole = half_seen(data, mask, pair, fraction=fraction, seed=seed)
    check_pair_fits(pair, data, settings)
    run, described = None if out is None else Run(out), {}
    if run is not None:
        seen = {} if data is whole else {"seen": data.identity.mask}
        described = {**describe_data(whole), **seen}
    if resume and (run is None or not run.exists):
        raise UsageError(f"there is no run to resume in {out}" if out else "resume needs out")
    held = nullcontext() if run is None else run.held()  # until the last file is written
    with (
        processes_on(device) as processes,
        held,
        seeded(settings.seed, device),
        denormals_flushed(),
        warnings.catch_warnings(),
    ):
        first = processes.rank == 0
        if run is not None and resume:
            run.check_same(pair, described)
        elif run is not None and first:
            run.refuse_to_overwrite(force=force)
        # Pyro's own word for what raises NonFiniteError
        warnings.filterwarnings("ignore", message="Encountered (NaN|[+-]inf)")
        training = Training(pair, data, settings, run, processes)
        if resume and run is not None:
            training.restore(run)
        elif init_from is not None and first:
            training.start_from_run(Run(init_from))
        training.start_from_data()
        training.try_a_step()
        if run is not None and first and not resume:
            run.clear()
            run.create(pair, {"data": described, "settings": settings.plain()})
        remember(pair, whole)
        history = training.run_epochs(callbacks, progress=progress and first)
    return Fit(pair, history, None if run is None else run.folder)
