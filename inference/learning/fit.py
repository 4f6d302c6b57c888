"""Learning: one loop for every pair and objective."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pyro.infer.elbo import ELBO
from torch.optim import Optimizer

from inference.learning.callbacks import Callback
from inference.learning.history import History
from inference.learning.recorded_data import describe_data, remember
from inference.learning.runs import Run
from inference.learning.settings import Settings, check_pair_fits
from inference.learning.training import Training
from pyro_models import ImageData, Pair, UsageError
from pyro_models.contract import check_pair
from pyro_models.data import as_data, half_seen
from pyro_models.data.masks import Mask
from pyro_models.device import device_of
from pyro_models.observed import Data
from pyro_models.seeds import seeded

__all__ = ["Fit", "fit"]


@dataclass(frozen=True)
class Fit:
    """A trained pair, what happened, and where it lies on disk (``None`` if nowhere)."""

    pair: Pair
    history: History
    out: Path | None


def fit(
    pair: Pair,
    data: ImageData | Data,
    *,
    mask: Mask | None = None,
    fraction: float = 0.5,
    objective: str | ELBO = "elbo",
    objective_options: Mapping[str, Any] | None = None,
    optimizer: str | Callable[..., Optimizer] = "Adam",
    optimizer_options: Mapping[str, Any] | None = None,
    lr: float = 1e-3,
    schedule: str | Callable[..., Any] | None = None,
    schedule_options: Mapping[str, Any] | None = None,
    epochs: int = 25,
    batch_size: int = 128,
    labelled_per_batch: int = 0,
    clip_norm: float | None = None,
    beta_warmup: int = 0,
    patience: int | None = None,
    min_improvement: float = 0.0,
    noise_multiple: float = 0.0,
    restore_best: bool = False,
    curve_size: int = 10_000,
    callbacks: Sequence[Callback] = (),
    start: str | Path | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    precision: str = "float32",
    capture: bool = False,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
) -> Fit:
    """Maximise a bound on log p(x) over model and guide, by minibatch gradient ascent.

    The objective is the average over a batch, so a learning rate means the same for any batch size.
    The pair is trained in place. No global generator of the caller moves.

    Parameters
    ----------
    pair
        The pair; if it knows how to start from data and has not yet, it does so first.
    data
        Training data, prepared anew each epoch where the preparation is random. A tensor, an array,
        a data frame, a torch ``Dataset`` or ``DataLoader`` or an ``Observed`` is read and split as
        :func:`pyro_models.load_data` does; batches are drawn here, whatever a loader's are.
    mask
        What is seen of the data, as :func:`inference.posterior.infer` takes it: the bound is then
        on log p(x_seen). A pair that starts from data does so from seen values of other data in
        the place of unseen ones. Everything is seen unless given, here or with the data.
    fraction
        Fraction of the pixels that the mask ``random`` sees, drawn for each datum by the seed.
    objective, objective_options
        ``"elbo"`` (the right one for the pair), a bound over particles by name
        (:mod:`inference.learning.bounds`: ``"mean_field"``, ``"iwae"``, ``"dreg"``, ``"stl"``,
        ``"renyi"``, ``"rws"``, ``"js"`` …) with its options (``num_particles``, ``beta``,
        ``alpha`` …), a Pyro ELBO by name (``"trace"``, ``"trace_mean_field"``, ``"trace_graph"``,
        ``"trace_enum"``), or an instance of any.
    optimizer, optimizer_options, lr
        Name or class from ``torch.optim`` (fused where it can be), further options, learning rate.
    schedule, schedule_options
        Name from ``torch.optim.lr_scheduler`` or a function of the optimiser, stepped per batch.
    epochs, batch_size
        Passes over the training data; data per step.
    labelled_per_batch
        Data with a label that stand beside them in each step, taken in turn; see
        :func:`inference.learning.batches.batches`. For training data of which few have labels.
    clip_norm
        Largest norm of the gradient of the bound per datum.
    beta_warmup
        Epochs over which β, the weight of the latent terms, rises linearly to 1. The curves, and
        what stops by them, are of the objective at β = 1 throughout.
    patience, min_improvement, noise_multiple
        Stop after this many epochs whose validation bound rose by no more than ``min_improvement``
        nats, or than ``noise_multiple`` standard errors of the paired difference, over the last
        that did.
    restore_best
        End with the parameters of the best validation epoch.
    curve_size
        The training curve is computed on this many training data; 0 leaves both curves out, unless
        stopping needs the validation curve.
    callbacks
        Called before training and after each epoch, e.g. :class:`Snapshots`.
    start
        A run folder of the same pair: begin with its weights (a resumed run has its own).
    seed
        Random seed of shuffling, pixel preparation, sampling and the start. (Weights were drawn
        when the pair was built.)
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``; the pair ends there. It stays where it is
        unless given.
    precision
        ``"float32"``: no autocast (a pair in float64 trains in float64). ``"bfloat16"``: autocast
        for the networks; log-probabilities stay in float32.
    capture
        Record the operations of one step and run that record from then on, which saves Pyro's
        constant time per step and changes no number (:mod:`inference.learning.capture`). For
        objectives over particles, and models whose Python does the same in every step.
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
    settings = Settings(
        objective=objective,
        objective_options=objective_options or {},
        optimizer=optimizer,
        optimizer_options=optimizer_options or {},
        lr=lr,
        schedule=schedule,
        schedule_options=schedule_options or {},
        epochs=epochs,
        batch_size=batch_size,
        labelled_per_batch=labelled_per_batch,
        clip_norm=clip_norm,
        beta_warmup=beta_warmup,
        patience=patience,
        min_improvement=min_improvement,
        noise_multiple=noise_multiple,
        restore_best=restore_best,
        curve_size=curve_size,
        seed=seed,
        device=str(device_of(pair) if device is None else device),
        precision=precision,
        capture=capture,
    )
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
    with held, seeded(seed, torch.device(settings.device)), warnings.catch_warnings():
        if run is not None and resume:
            run.check_same(pair, described)
        elif run is not None:
            run.refuse_to_overwrite(force=force)
        # Pyro's own word for what raises NonFiniteError
        warnings.filterwarnings("ignore", message="Encountered (NaN|[+-]inf)")
        training = Training(pair, data, settings, run)
        if resume and run is not None:
            training.restore(run)
        elif start is not None:
            training.start_from_run(Run(start))
        training.start_from_data()
        training.try_a_step()
        if run is not None and not resume:
            run.clear()
            run.create(pair, {"data": described, "settings": settings.plain()})
        remember(pair, whole)
        history = training.run_epochs(callbacks, progress=progress)
    return Fit(pair, history, None if run is None else run.folder)
