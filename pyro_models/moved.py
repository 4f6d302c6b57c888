"""Old places of what has moved: they work for one release, with a ``DeprecationWarning``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeVar, cast

__all__ = ["install", "renamed", "renamed_arguments", "renamed_attribute"]

Function = TypeVar("Function", bound=Callable[..., Any])

_FAMILIES: tuple[str, ...] = ("autoencoder", "bernoulli_mixture", "clusters", "completion", "gmm")
_FAMILIES += ("conditional", "hierarchical", "linear_gaussian", "mixture", "multivariate_normal")
_FAMILIES += ("ppca", "semi_supervised", "vae")
MODULES = {
    "gp_bo.evidence": ("gp_bo.model",),
    "gp_bo.hyper_posterior": ("gp_bo.model",),
    "gp_bo.function_draws": ("gp_bo.conditional",),
    "gp_bo.inducing": ("gp_bo.sparse",),
    "gp_bo.kernels.linear": ("gp_bo.kernels.elementary",),
    "gp_bo.kernels.periodic": ("gp_bo.kernels.elementary",),
    "gp_bo.kernels.stationary": ("gp_bo.kernels.elementary",),
    "gp_bo.prior_density": ("gp_bo.hyperparameters",),
    "gp_bo.prior_files": ("gp_bo.prior_names",),
    "inference.evaluation.guide_scores": ("inference.evaluation.guide_table",),
    "inference.evaluation.latent_moments": ("inference.evaluation.diagnostics",),
    "inference.figures.decoding": ("inference.figures.grid",),
    "inference.posterior.generation": ("inference.posterior.reconstruction",),
    "inference.posterior.guides.nuts": ("inference.posterior.guides.hmc",),
    "inference.posterior.guides.prior": ("inference.posterior.guides.encoder",),
    "inference.posterior.resampling": ("inference.posterior.latents",),
    "pyro_models.masks": ("pyro_models.data.masks",),
    "inference.posterior.target": ("inference.posterior.log_density",),
    "inference.posterior.given": (
        "inference.posterior.identity",
        "inference.posterior.log_density",
        "inference.posterior.continuous",
        "inference.posterior.infer",
    ),
    "inference.posterior.guides.rows": ("inference.posterior.guides.per_datum",),
    "inference.posterior.optimise": ("inference.posterior.optimize",),
    "inference.posterior.optimisation": ("inference.posterior.optimization",),
    "gp_bo.commands.told": ("gp_bo.commands.search",),
    "gp_bo.diagnostics": ("inference.mcmc.diagnostics", "gp_bo.examination.chains"),
    "gp_bo.exam": ("gp_bo.examination.sheet",),
    "gp_bo.exam_part": ("gp_bo.examination.section",),
    "gp_bo.commands.examination": ("gp_bo.examination.command",),
    "gp_bo.inference.climb": ("gp_bo.inference.maximize",),
    "gp_bo.optimise.algorithm1": ("gp_bo.examination.algorithm1",),
    "gp_bo.optimise.algorithm1_figure": ("gp_bo.examination.algorithm1_figure",),
    "gp_bo.optimise": ("gp_bo.optimize",),
    "inference.report.part": ("inference.report.page",),
    "inference.posterior.transition": ("inference.mcmc.hmc",),
    "inference.undisturbed": ("inference.isolated", "pyro_models.seeds", "pyro_models.device"),
    "inference.learning.files": ("pyro_models.files.atomic",),
    "inference.learning.denormals": ("inference.denormals",),
    "inference.learning.objectives": ("inference.objectives",),
    "inference.learning.bounds": ("inference.objectives",),
    "inference.learning.optimisers": ("inference.learning.optimizers",),
    "pyro_models.standard_normal": ("pyro_models.priors",),
    **{f"pyro_models.{name}": (f"pyro_models.models.{name}",) for name in _FAMILIES},
}
"""Old module → where its names are now; a package's modules follow it."""

NAMES = {
    "undisturbed": "isolated",
    "make_optimiser": "make_optimizer",
    "Target": "LogDensity",
    "Given": "LogDensity",
    "optimise": "optimize",
    "Optimisation": "Optimization",
    "with_rows": "for_data",
    "rows_of": "parameters_of",
    "copy_rows": "copy_parameters",
    "rhat": "r_hat",
    "rank_normalised": "rank_normalized",
    "exam_part": "exam_section",
    "climb": "maximize",
    "Climb": "Maximum",
    "Part": "Section",
    "MakePart": "MakeSection",
}
"""Old name → new name, in the modules that have moved."""


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's ``__getattr__`` under which its old names are new ones, or ``"module:name"``.

    >>> getter = renamed("pyro_models", {"load_images": "load_data"})
    >>> with warnings.catch_warnings(record=True) as said:
    ...     warnings.simplefilter("always")
    ...     getter("load_images").__name__, str(said[0].message)
    ('load_data', 'pyro_models.load_images is now pyro_models.load_data')
    """

    def getter(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        where, _, new = names[name].rpartition(":")
        where = where or module
        _warn(f"{module}.{name}", f"{where}.{new}")
        return getattr(import_module(where), new)

    return getter


def renamed_arguments(**names: str) -> Callable[[Function], Function]:
    """Let a function, or a class's constructor, take arguments under their old names as well.

    >>> @renamed_arguments(colour="color")
    ... def paint(*, color): return color
    >>> with warnings.catch_warnings(record=True) as said:
    ...     warnings.simplefilter("always")
    ...     paint(colour="red"), str(said[0].message)
    ('red', 'colour of paint is now color')
    """

    def decorate(function: Function) -> Function:
        if isinstance(function, type):
            function.__init__ = decorate(function.__init__)  # type: ignore[misc]
            return function

        @wraps(function)
        def taking_both(*args: Any, **options: Any) -> Any:
            for old, new in names.items():
                if old in options:
                    _warn(f"{old} of {function.__qualname__.removesuffix('.__init__')}", new)
                    options.setdefault(new, options.pop(old))
            return function(*args, **options)

        return cast(Function, taking_both)

    return decorate


class renamed_attribute:  # noqa: N801
    """An attribute of a class under its old name, which gives the one of the new name.

    >>> class Wall:
    ...     color = "red"
    ...     colour = renamed_attribute("color")
    >>> with warnings.catch_warnings(record=True) as said:
    ...     warnings.simplefilter("always")
    ...     Wall().colour, str(said[0].message)
    ('red', 'colour is now color')
    """

    def __init__(self, new: str) -> None:
        self._new = new

    def __set_name__(self, owner: type, name: str) -> None:
        self._old = name

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        _warn(self._old, self._new)
        return getattr(instance, self._new)


def install() -> None:
    """Let the old modules be imported."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


class _Finder(MetaPathFinder, Loader):
    """Finds a module under its old name, after all others have not found it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if _places(fullname) else None

    def exec_module(self, module: ModuleType) -> None:
        places = _places(module.__name__)
        _warn(module.__name__, places[0])
        found = [import_module(place) for place in places]

        def getter(name: str) -> Any:
            for where in found:
                for known in (NAMES.get(name, name), name):
                    if hasattr(where, known):
                        return getattr(where, known)
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

        module.__getattr__ = getter  # type: ignore[method-assign]


def _places(name: str) -> tuple[str, ...]:
    """Where a module is now; empty if it has not moved."""
    package, rest = name, ""
    while package:
        if package in MODULES:
            return tuple(place + rest for place in MODULES[package])
        package, _, last = package.rpartition(".")
        rest = f".{last}{rest}"
    return ()


def _warn(old: str, new: str) -> None:
    warnings.warn(f"{old} is now {new}", DeprecationWarning, stacklevel=3)
