"""What is learned, from which data, and how: one value that can be kept, changed and run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
import yaml

from inference import figures
from inference.declared import SEED, check_declared, declared, described
from inference.learning import Callback, CallbackState, Fit, Fits, Run, Settings, Snapshots, fit
from inference.learning.own_code import refuse_own_code
from inference.learning.preparation import prepared_for
from inference.learning.recorded_experiment import values_of_record
from inference.learning.settings import SWAPPED
from inference.tracking.named import TRACKERS, as_written, make_trackers
from pyro_models import ImageData, Pair, UsageError, build, load_data
from pyro_models.brief import Brief
from pyro_models.contract import check_pair, fulfills
from pyro_models.data import DATA_SETS
from pyro_models.data.from_table import ENDINGS
from pyro_models.likelihoods import LIKELIHOODS
from pyro_models.models import PAIRS
from pyro_models.options import check_known
from pyro_models.presets import load_preset
from pyro_models.priors import PRIORS
from pyro_models.registry import check_choice
from pyro_models.seeds import seeded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Experiment"]

OPTION = "options."
"""What the name of an option of the model begins with, where it stands beside other settings."""


@described
@dataclass(frozen=True)
class Experiment(Brief):
    """A model, the data it is learned from, and how: all that a run follows from.

    ``settings`` are the :class:`inference.learning.Settings` of the training. In plain values,
    which a preset, a configuration file of ``pyro-models train`` and :meth:`to_dict` have, the
    settings stand beside the rest.

    Raises
    ------
    UsageError
        If an option is not what it may be.

    Examples
    --------
    >>> experiment = Experiment("ppca", "digits", Settings(lr=1e-2), options={"latent_dim": 3})
    >>> experiment.to_dict()
    {'model': 'ppca', 'data': 'digits', 'options': {'latent_dim': 3}, 'lr': 0.01}
    >>> Experiment.from_dict(experiment.to_dict()) == experiment
    True
    >>> experiment.replace(epochs=1, curve_size=0).run(progress=False).pair.latent_dim
    3
    """

    model: str | Callable[..., Pair] = declared(
        "vae",
        lambda: (
            f"""Model to learn: {PAIRS.help(also="a class of a file, my_file.py:MyClass")}. In
        Python also a class, or a function of data_shape and options (and num_classes, where it
        takes them) that builds a pair."""
        ),
    )
    data: str | Path | ImageData | Any = declared(
        "digits",
        lambda: (
            f"""Data to learn from: {", ".join(DATA_SETS)} (digits are bundled), a .npy or .npz
        file, or a table ({", ".join(ENDINGS)}). In Python also data in memory."""
        ),
    )
    settings: Settings = field(default_factory=Settings)
    _: KW_ONLY
    options: Mapping[str, Any] = declared(
        {}, 'Options of the model, e.g. --options.latent_dim 2 --options.hidden "[400, 100]".'
    )
    preparation: str | None = declared(
        None,
        """Preparation of the pixels: grey, threshold, dynamic, static or dequantised; what suits
        the likelihood unless given.""",
    )
    all_training: bool = declared(
        False, "Use all training data, so that no validation split is left."
    )
    split_seed: int = declared(0, "Random seed of the split of a file that holds one array.", SEED)
    test_fraction: float | None = declared(
        None,
        """Fraction of the data that are kept for the test split, of a file that holds one array; a
        tenth unless given.""",
    )
    levels: int | None = declared(
        None,
        """Number of grey levels: of a file's images, where it cannot be told; a named set has as
        many made of it (16 are 4 bits).""",
    )
    missing: str | None = declared(
        None,
        "unseen: what is NaN, or an empty cell of a table, counts as unseen.",
        lambda _, given: check_choice("missing", given, ("unseen",)),
    )
    label: str | None = declared(None, "Column of labels, of a table.")
    columns: list[str] | None = declared(
        None, "Columns of a table that are used; all if not given."
    )
    kinds: dict[str, str] | None = declared(
        None,
        """Kinds of columns of a table by name, real, count, binary or categorical, where they are
        others than are found, or unused, which leaves them out: --kinds '{age: real, id: unused}'.
        """,
    )
    labels: int | float | None = declared(
        None,
        """Number of training labels that are kept, equally many of each class, or their fraction,
        such as 0.5; the others are missing (-1). All of them are kept unless given.""",
    )
    labels_seed: int = declared(0, "Random seed of the draw of the labels that are kept.", SEED)
    labelled_only: bool = declared(False, "Train on the data with a label alone.")
    mask: str | None = declared(
        None,
        """Pixels that are seen in training: left, top, … or a .npy file; the others are left out of
        the bound. Everything is seen unless given.""",
    )
    fraction: float = declared(
        0.5, "Fraction of the pixels that the mask random sees, drawn for each datum by the seed."
    )
    snapshots: list[int | Literal["start", "half", "end"]] | None = declared(
        None,
        "Epochs after which samples are drawn into the run folder: numbers, start, half and end.",
    )
    track: str | Mapping[str, Any] | list[Any] | None = declared(
        None,
        lambda: (
            f"""Who is told of the training: {TRACKERS.help(also="a class of a file, mine.py:Mine")}
            (each is an extra of its name), or several with commas between. With options, in a file:
            {{class_path: tensorboard, init_args: {{figures: [latent_scatter]}}}}."""
        ),
    )

    def facts(self) -> Mapping[str, object]:
        """Model and data, and what differs from its default."""
        usual, settings = Experiment(), self.settings.facts()
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "settings"}
        kept = {k: v for k, v in own.items() if k in ("model", "data") or v != getattr(usual, k)}
        return {**kept, **{name: value for name, value in settings.items() if name}}

    def __post_init__(self) -> None:
        check_declared(self)
        if fulfills(self.model, Pair) and not isinstance(self.model, type):
            raise UsageError(
                "an experiment builds its pair itself: give its model as a name or class, with its "
                "options"
            )
        object.__setattr__(self, "model", PAIRS.name_of(self.model) or self.model)
        object.__setattr__(
            self, "data", str(self.data) if isinstance(self.data, Path) else self.data
        )
        object.__setattr__(self, "track", as_written(self.track))
        named = {k: _name_of(v) for k, v in self.options.items()}
        object.__setattr__(self, "options", named)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Experiment:
        """The experiment of plain values by name, its settings among them, if they may be so."""
        return cls().replace(**values)

    @classmethod
    def from_yaml(cls, text: str | Path) -> Experiment:
        """The experiment of a configuration file of ``pyro-models train``, or of its text."""
        read = text.read_text(encoding="utf-8") if isinstance(text, Path) else text
        return cls.from_dict(yaml.safe_load(read) or {})

    @classmethod
    def preset(cls, name: str) -> Experiment:
        """The experiment of a preset.

        >>> Experiment.preset("burda").options["hidden"]
        [200, 200]
        """
        return cls.from_dict(load_preset(name))

    @classmethod
    def load(cls, run: str | Path) -> Experiment:
        """The experiment of a run folder, whichever release began it, if its pair has a name."""
        record = Run(run).describe()
        own = record.get("experiment", {})
        named = [record["model"], record["config"], record["settings"], own]
        refuse_own_code(Path(run), named)
        if own:
            return cls.from_dict(own)
        return cls(**values_of_record(record, run))

    def to_dict(self) -> dict[str, Any]:
        """Model and data, and what differs from its default, in plain values by name.

        A model without a name is refused, and so are data in memory.
        """
        settings = {name: getattr(self.settings, name) for name in SWAPPED}
        for name, value in {"model": self.model, "data": self.data, **settings}.items():
            if value is not None and not isinstance(value, str):
                unnamed = "an object without a name: register it, or name it"
                which = "in memory: save them, and name their file" if name == "data" else unnamed
                raise UsageError(f"the {name} of this experiment cannot be written, being {which}")
        for name, value in self.options.items():
            if not _is_plain(value):
                raise UsageError(
                    f"the option {name} of this experiment is an object that no file can hold: "
                    "register it, or name it"
                )
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "settings"}
        usual = Experiment()
        kept = {k: v for k, v in own.items() if k in ("model", "data") or v != getattr(usual, k)}
        plain, default = self.settings.plain(), usual.settings.plain()
        return kept | {name: value for name, value in plain.items() if value != default[name]}

    def to_yaml(self) -> str:
        """The text of a configuration file, which ``pyro-models train --config`` takes."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)

    def replace(self, **changes: Any) -> Experiment:
        """The experiment with some of it changed; ``"options.NAME"`` is one option of the model.

        An unknown name is refused, and so is a value that an option may not have.
        """
        own = [f.name for f in fields(self)]
        for name in list(changes):
            if name.startswith(OPTION):
                options = changes.get("options", self.options)
                changes["options"] = {**options, name.removeprefix(OPTION): changes.pop(name)}
        of_settings = {name: changes.pop(name) for name in list(changes) if name not in own}
        settings = changes.pop("settings", self.settings)
        known = [name for name in (*own, *(f.name for f in fields(Settings))) if name != "settings"]
        check_known(of_settings, known, who="an experiment")
        return replace(self, **changes, settings=settings.replace(**of_settings))

    def load_data(self) -> ImageData:
        """The data, with the labels that are kept, before they are prepared for a pair."""
        data = self.data
        if not isinstance(data, ImageData):
            data = load_data(
                data,
                all_training=self.all_training,
                test_fraction=self.test_fraction,
                seed=self.split_seed,
                levels=self.levels,
                stream=self.settings.stream,
                missing=self.missing,
                label=self.label,
                columns=self.columns,
                kinds=self.kinds,
            )
        if self.labels is not None:
            data = data.with_labels(self.labels, seed=self.labels_seed)
        return data.labelled() if self.labelled_only else data

    def build(self, data: ImageData) -> Pair:
        """The pair before it is trained; its weights follow from the seed."""
        if "num_classes" in self.options:
            raise UsageError("the number of classes comes from the data: leave num_classes out")
        with seeded(self.settings.seed, torch.device("cpu")):
            options = _with_columns(self.options, data)
            if isinstance(self.model, str):
                return build(self.model, data.data_shape, num_classes=data.num_classes, **options)
            known = inspect.signature(self.model).parameters
            labels = {"num_classes": data.num_classes} if "num_classes" in known else {}
            pair = self.model(data.data_shape, **labels, **options)
            check_pair(pair)
            return pair

    def prepared(self, pair: Pair, data: ImageData) -> ImageData:
        """The data prepared as asked, or as suits the pair; those in memory stay as they are."""
        if self.preparation is None and isinstance(self.data, ImageData):
            return data
        return prepared_for(pair, data, preparation=self.preparation)

    def make(self) -> tuple[Pair, ImageData]:
        """The pair before it is trained, and the data prepared for it."""
        data = self.load_data()
        pair = self.build(data)
        return pair, self.prepared(pair, data)

    @overload
    def run(self, *, seeds: None = None, **options: Any) -> Fit: ...

    @overload
    def run(self, *, seeds: Sequence[int], **options: Any) -> Fits: ...

    def run(
        self,
        *,
        out: str | Path | None = None,
        made: tuple[Pair, ImageData] | None = None,
        callbacks: Sequence[Callback] = (),
        **options: Any,
    ) -> Fit | Fits:
        """Train the pair, and keep the experiment with it in a run folder, ``out``.

        Parameters
        ----------
        made
            What :meth:`make` has made, where that is at hand.
        callbacks
            As for :func:`inference.learning.fit`.
        options
            ``init_from``, ``resume``, ``force``, ``progress``, ``summary`` and ``seeds`` of
            :func:`inference.learning.fit`.

        Returns
        -------
        Fit
            The pair, the history, and the run folder; of several seeds :class:`Fits`.
        """
        pair, data = made or self.make()
        drawn = [Snapshots(_samples_of, at=self.snapshots)] if self.snapshots else []
        return fit(
            pair,
            data,
            settings=self.settings,
            mask=self.mask,
            fraction=self.fraction,
            callbacks=[self._record, *drawn, *make_trackers(self.track), *callbacks],
            out=out,
            **options,
        )

    def _record(self, state: CallbackState) -> None:
        """Keep the experiment with a run that begins, if a file can hold it."""
        if state.out is not None and state.epoch == 0:
            seed = Run(state.out).describe()["settings"]["seed"]  # perhaps one of several
            with suppress(UsageError):
                values = self.replace(seed=seed).to_dict()
                Run(state.out).add({"experiment": values})


def _with_columns(options: Mapping[str, Any], data: ImageData) -> Mapping[str, Any]:
    """The options of a model, with the columns of a table for a likelihood that is of columns."""
    if data.table is None or "likelihood" not in options:
        return options
    name, own = LIKELIHOODS.named(options["likelihood"], options.get("likelihood_options") or {})
    cls, given = LIKELIHOODS[name] if isinstance(name, str) else name, own.get("columns")
    if not getattr(cls, "of_columns", False) or not isinstance(given, Mapping | None):
        return options
    columns = {**own, "columns": data.table.likelihoods_with(given)}
    return {**options, "likelihood": name, "likelihood_options": columns}


def _samples_of(pair: Pair) -> Figure:
    return figures.class_grid(pair) if pair.num_classes else figures.prior_samples(pair)


def _name_of(value: Any) -> Any:
    """A likelihood's or a prior's class by its name; anything else as it is."""
    if not isinstance(value, type):
        return value
    return LIKELIHOODS.name_of(value) or PRIORS.name_of(value) or value


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
