"""Learning: one loop for every pair and objective."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import torch
from torch import nn

from inference.declared import takes
from inference.denormals import denormals_flushed
from inference.learning.begin import begun
from inference.learning.callbacks import Callback
from inference.learning.data_parallel import is_first, own_device, several
from inference.learning.find_lr import found_rate
from inference.learning.history import History
from inference.learning.runs import Run
from inference.learning.settings import FIND, Settings
from inference.learning.stacks import Copy
from inference.learning.summary import FirstEpoch, Summary
from inference.learning.tempered import remember_beta
from inference.learning.together import train_together
from inference.learning.training import Training
from inference.progress import announce
from inference.standard_error import mean_and_error, with_error
from pyro_models import ImageData, Pair, UsageError, build
from pyro_models.brief import Brief
from pyro_models.contract import check_pair, module_of
from pyro_models.data import as_data
from pyro_models.data.masks import Mask
from pyro_models.device import check_device, device_of
from pyro_models.errors import in_one_line
from pyro_models.files import is_free
from pyro_models.observed import Data
from pyro_models.seeds import check_seeds, seeded

__all__ = ["Fit", "Fits", "fit"]


@dataclass(frozen=True)
class Fit(Brief):
    """A trained pair, what happened, and where it lies on disk (``None`` if nowhere)."""

    pair: Pair
    history: History
    out: Path | None

    def facts(self) -> Mapping[str, object]:
        """The pair, how its training went, and where it lies."""
        numbers = sum(int(p.numel()) for p in self.pair.parameters())
        pair = f"{type(self.pair).__name__} of {numbers:,} parameters"
        return {"": pair, **self.history.facts(), "kept in": self.out}


@dataclass(frozen=True)
class Fits(Brief):
    """One pair trained under several seeds.

    Attributes
    ----------
    fits
        Each as :func:`fit` returns it, in the order of the seeds.
    seeds
        The seeds.
    bounds
        The bound of each at its end, nats per datum: on validation data, or else on the training
        data, or else the running mean of the last epoch; NaN without an epoch.
    out
        The folder of their run folders, ``seed-0`` and so on.

    Examples
    --------
    >>> print(Fits((), (0, 1, 2), (-97.0, -98.0, -96.0), None))
    -97.00 ± 0.58 nats per datum over 3 seeds
    """

    fits: tuple[Fit, ...]
    seeds: tuple[int, ...]
    bounds: tuple[float, ...]
    out: Path | None

    def facts(self) -> Mapping[str, object]:
        """The pair, the seeds, and their bounds."""
        pairs = {type(fit.pair).__name__ for fit in self.fits}
        return {"": ", ".join(pairs), "seeds": self.seeds, "bound": str(self), "kept in": self.out}

    @property
    def mean(self) -> float:
        """The mean of the bounds over seeds."""
        return mean_and_error(torch.tensor(self.bounds, device="cpu"))[0]

    @property
    def standard_error(self) -> float:
        """Its standard error over seeds, s / √K; NaN for one seed."""
        return mean_and_error(torch.tensor(self.bounds, device="cpu"))[1]

    def __str__(self) -> str:
        count = f"{len(self.seeds)} seed{'s' if len(self.seeds) > 1 else ''}"
        return f"{with_error(self.mean, self.standard_error)} nats per datum over {count}"


@overload
def fit(pair: Pair, data: Any, *, seeds: None = None, **options: Any) -> Fit: ...


@overload
def fit(pair: Pair, data: Any, *, seeds: Sequence[int], **options: Any) -> Fits: ...


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
    out: str | Path | Sequence[str | Path] | None = None,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
    summary: bool = False,
    seeds: Sequence[int] | None = None,
    **options: Any,
) -> Fit | Fits:
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
        a data frame, a torch ``Dataset`` or ``DataLoader``, an ``Observed`` or the path of a
        ``.npy`` or ``.npz`` file is read and split as :func:`pyro_models.load_data` does; batches
        are drawn here, whatever a loader's are.
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
        Functions that are called before training and after each epoch, e.g. :class:`Snapshots` or a
        tracker such as :class:`inference.tracking.TensorBoard`.
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
    summary
        Print what is to be done before it begins, as :func:`inference.learning.summarize` says it,
        and after the first epoch how long the others take.
    seeds
        Train a copy of the pair under each of these seeds, all at once where that can be, and each
        as it would be trained alone, up to rounding; what cannot be is trained in turn, and the
        history says why. Every copy is made anew from the pair's
        configuration and its seed, as the command line makes it; the pair itself is not trained.
        With ``out``, each has a run folder of its own in it, ``seed-0`` and so on; or ``out`` is a
        list of them, one for each seed.

    Returns
    -------
    Fit
        The pair, the history, and the run folder; of several seeds :class:`Fits`.

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
    of_data: dict[str, Any] = {"mask": mask, "fraction": fraction, "init_from": init_from}
    shared = {**of_data, "force": force}
    with ExitStack() as inside:
        inside.enter_context(denormals_flushed())
        inside.enter_context(warnings.catch_warnings())
        # Pyro's own word for what raises NonFiniteError
        warnings.filterwarnings("ignore", message="Encountered (NaN|[+-]inf)")
        if seeds is None:
            if out is not None and not isinstance(out, str | Path):
                raise UsageError("a run folder for each seed is for several seeds: give one folder")
            run = None if out is None else Run(out)
            settings = _with_rate(pair, data, settings, run if resume else None, **of_data)
            training = begun(pair, data, settings, inside, run=run, resume=resume, **shared)
            _enter(callbacks, inside)
            shown = progress and is_first()
            beside = _announced(training) if summary and is_first() else []
            return _fitted(training, training.run_epochs([*callbacks, *beside], progress=shown))
        check_seeds(seeds)
        if several():
            raise UsageError(
                "several processes train one seed together: give one seed, or one process"
            )
        seeds = tuple(map(int, seeds))
        _refuse_objects(settings)
        if "seed" in options:
            raise UsageError("give seeds, or one seed")
        if mask is None:  # read once
            data = as_data(data, pair, stream=settings.stream)
        runs = _run_folders(out, seeds, resume=resume, force=force)
        before = next((r for r in runs if r is not None and r.exists), None) if resume else None
        settings = _with_rate(pair, data, settings, before, **of_data)
        copies: list[Copy] = []
        for seed, run in zip(seeds, runs, strict=True):
            own = settings.replace(seed=seed)
            again = resume and run is not None and run.exists
            copy = _made_anew(pair, seed)
            training = begun(copy, data, own, inside, run=run, resume=again, **shared)
            training.share(copies[0].training if copies else None)
            copies.append(Copy(training))
        _enter(callbacks, inside)
        beside = _announced(copies[0].training, copies=len(copies)) if summary else []
        histories = train_together(copies, [*callbacks, *beside], progress=progress)
    fits = tuple(_fitted(c.training, h) for c, h in zip(copies, histories, strict=True))
    bounds = tuple(_last_bound(h, restored=settings.restore_best) for h in histories)
    folder = Path(out) if isinstance(out, str | Path) else None
    return Fits(fits, seeds, bounds, folder)


def _announced(training: Training, *, copies: int = 1) -> list[Callback]:
    """Print what is to be done; what says how long it takes."""
    announce(str(Summary.of(training)))
    return [FirstEpoch(copies=copies)]


def _with_rate(
    pair: Pair, data: Any, settings: Settings, before: Run | None, **of_data: Any
) -> Settings:
    """The settings with the learning rate that is to be found, or that an earlier start found."""
    if settings.lr != FIND:
        return settings
    if before is not None and before.exists:
        return settings.replace(lr=before.describe()["settings"]["lr"])
    return settings.replace(lr=found_rate(pair, data, settings, **of_data).suggestion)


def _enter(callbacks: Sequence[Callback], inside: ExitStack) -> None:
    """Enter the callbacks that are context managers, to be left when the training ends."""
    for callback in callbacks if is_first() else ():
        if isinstance(callback, AbstractContextManager):
            inside.enter_context(callback)


def _fitted(training: Training, history: History) -> Fit:
    if history.epochs:
        remember_beta(training.pair, history.beta)
    return Fit(training.pair, history, None if training.run is None else training.run.folder)


def _last_bound(history: History, *, restored: bool) -> float:
    """The bound of the parameters that training ended with."""
    if not history.epochs:
        return math.nan
    at = history.best_epoch if restored and history.best_epoch is not None else 0
    last = history.epochs[at - 1]
    found = (b for b in (last.validation, last.train, last.running) if b is not None)
    return next(found)


def _refuse_objects(settings: Settings) -> None:
    """Refuse an optimizer, a schedule or a critic that is made already, for one pair."""
    objects = {"optimizer": settings.optimizer, "schedule": settings.schedule}
    objects |= {k: v for k, v in settings.objective_options.items() if isinstance(v, nn.Module)}
    for name, made in objects.items():
        one = isinstance(made, nn.Module) or (made is not None and not callable(made))
        if one and not isinstance(made, str):
            raise UsageError(
                f"this {name} is for one pair, and several seeds have a copy each: give its name "
                "or class, with its options"
            )


def _run_folders(
    out: str | Path | Sequence[str | Path] | None,
    seeds: Sequence[int],
    *,
    resume: bool,
    force: bool,
) -> list[Run | None]:
    """A run folder for each seed; refuses, before anything is written, what is in their place."""
    if out is None:
        if resume:
            raise UsageError("resume needs out")
        return [None] * len(seeds)
    if isinstance(out, str | Path):
        folder = Path(out)
        if not is_free(folder) and not any(folder.glob("seed-*/run.json")):
            raise UsageError(
                f"{folder} is there and holds no runs of several seeds: name another one"
            )
        out = [folder / f"seed-{seed}" for seed in seeds]
    if len(out) != len(seeds):
        raise UsageError(f"{len(seeds)} seeds need as many run folders; got {len(out)}")
    runs = [Run(folder) for folder in out]
    if resume and not any(run.exists for run in runs):
        raise UsageError(f"there is no run to resume in {runs[0].folder.parent}")
    for run in runs:
        if not (resume and run.exists):
            run.refuse_to_overwrite(force=force)
    return list(runs)


def _made_anew(pair: Pair, seed: int) -> Pair:
    """Another pair of the same configuration; its weights follow from the seed."""
    kind = type(pair).__name__
    own = {name: p for name, p in module_of(pair).named_parameters()}
    with seeded(seed, torch.device("cpu")), in_one_line(f"making a copy of this {kind}"):
        copy = build(type(module_of(pair)), **pair.config())
    if {id(p) for p in own.values()} & {id(p) for p in copy.parameters()}:
        raise UsageError(
            f"a {kind} of the same configuration has the same network, which was made before it: "
            "for several seeds, write a class of pairs that makes its networks"
        )
    like = next(pair.parameters())
    module_of(copy).to(like.device, like.dtype).train(module_of(pair).training)
    for name, parameter in module_of(copy).named_parameters():
        parameter.requires_grad_(own[name].requires_grad)
    return copy
