"""A pair learned from rows: in closed form or by EM where it has that, or else by gradients."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from inference.estimators.abilities import class_of, uses_labels
from inference.experiment import Experiment
from inference.learning import Fit, History, Settings, fit
from pyro_models import ImageData, Pair, UsageError
from pyro_models.contract import fulfills, module_of
from pyro_models.device import check_device
from pyro_models.options import check_known, check_types
from pyro_models.registry import check_choice

__all__ = ["OF_ROWS", "SOLVERS", "Learned", "Recipe"]

SOLVERS = ("auto", "maximum_likelihood", "gradient")

OF_ROWS: dict[str, Any] = {"likelihood": "gaussian", "dequantise": None}
"""Options of models of plain rows, which are numbers of any range, where nothing else is said."""

_FEW = 1000  # steps


@dataclass(frozen=True)
class Learned:
    """A pair that is learned, what happened, and how: by which solver."""

    result: Fit
    solver: str

    @property
    def pair(self) -> Pair:
        """The pair."""
        return self.result.pair


@dataclass(frozen=True)
class Recipe:
    """A model with its options, and how it is learned.

    ``of_rows`` says that data are rows of numbers, for which :data:`OF_ROWS` has options.
    ``"auto"`` takes the model's own ``maximum_likelihood`` where it has one and all is seen;
    gradients follow the settings.
    """

    model: Any
    options: Mapping[str, Any] | None
    solver: str
    settings: Settings
    of_rows: bool

    def __post_init__(self) -> None:
        check_choice("solver", self.solver, SOLVERS)
        if not (isinstance(self.model, str | Mapping) or callable(self.model)):
            raise UsageError(
                f"a model is a name, a class, a function or a pair; got {self.model!r:.80}"
            )
        if not isinstance(self.options, Mapping | None):
            raise UsageError(
                f"options are a mapping of the model's options by name; got {self.options!r}"
            )

    def takes_missing_labels(self, data: ImageData) -> bool:
        """Whether the model learns from data some of which have no label."""
        cls = class_of(self.model)
        if getattr(cls, "takes_missing_labels", False) is True:
            return True
        pair = cls if fulfills(cls, Pair) else self._built(data)
        return bool(getattr(pair, "takes_missing_labels", False))

    def learn(self, data: ImageData, **options: Any) -> Learned:
        """Build the pair, or copy the one that is given, and learn it; options are of ``fit``."""
        cls = class_of(self.model)
        whole = not any(split.half_seen for split in data.splits.values())
        device = self.settings.device
        if _in_closed_form(cls, self.solver, whole=whole):
            x = data.split("train").x
            x = x if device is None else x.to(check_device(device))
            pair = _maximum_likelihood(cls, self._options, x, seed=self.settings.seed)
            done = History((), "log p(x)", stopped="by the model's own maximum_likelihood")
            return Learned(Fit(pair, done, None), "maximum_likelihood")
        x, settings = data.split("train").x, self.settings
        few = settings.epochs * len(x) < _FEW * settings.batch_size
        if settings.capture is None and not settings.compile and few:
            settings = settings.replace(capture=False)  # recording takes longer than it saves
        pair = self._built(data).to(x.dtype)
        return Learned(fit(pair, data, settings=settings, **options), "gradient")

    @property
    def _options(self) -> dict[str, Any]:
        cls, own = class_of(self.model), dict(self.options or {})
        if isinstance(self.model, Mapping):
            own = {**(self.model.get("init_args") or {}), **own}
        if not self.of_rows or not callable(cls) or fulfills(cls, Pair):
            return own
        known = inspect.signature(cls).parameters
        return {**{name: value for name, value in OF_ROWS.items() if name in known}, **own}

    def _built(self, data: ImageData) -> Any:
        if not fulfills(self.model, Pair):
            named: Any = self.model
            name: Any = named.get("class_path") if isinstance(named, Mapping) else named
            experiment = Experiment(name, data, self.settings, options=self._options)
            return module_of(experiment.build(data))
        name = type(self.model).__name__
        if self.options:
            raise UsageError(f"this {name} is a pair with its options: leave options out")
        if uses_labels(self.model) and self.model.num_classes != data.num_classes:
            has = self.model.num_classes
            raise UsageError(f"this {name} has {has} classes, and y has {data.num_classes}")
        return module_of(copy.deepcopy(self.model))


def _in_closed_form(cls: Any, solver: str, *, whole: bool) -> bool:
    if solver == "gradient":
        return False
    has = isinstance(cls, type) and hasattr(cls, "maximum_likelihood")
    if solver == "auto":
        return has and whole
    if not has:
        name = getattr(cls, "__name__", type(cls).__name__)
        raise UsageError(f"{name} has no maximum_likelihood of its own: take the solver gradient")
    if not whole:
        raise UsageError("maximum_likelihood is of whole data: take the solver gradient, or auto")
    return True


def _maximum_likelihood(cls: Any, options: Mapping[str, Any], x: Tensor, *, seed: int) -> Pair:
    known = inspect.signature(cls.maximum_likelihood).parameters
    options = {"seed": seed, **options} if "seed" in known else options
    check_known(options, [n for n in known if n != "x"], who=f"{cls.__name__}.maximum_likelihood")
    usual = {n: p.default for n, p in inspect.signature(cls).parameters.items()}
    of_class = {n: value for n, value in options.items() if n in usual}
    check_types(cls, of_class, who=f"the model {cls.__name__}", skip={"data_shape"})
    needed = {n: usual[n] for n, p in known.items() if p.default is p.empty and n in usual}
    pair: Pair = cls.maximum_likelihood(x, **{**needed, **options})
    return pair
