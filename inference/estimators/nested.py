"""Parameters of an estimator that are mappings, each entry a parameter of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pyro_models import UsageError

__all__ = ["NestedOptions"]


class NestedOptions:
    """Entries of mappings by ``name__entry``, as scikit-learn has the parameters of a step.

    For the bases of an estimator, before ``BaseEstimator``. ``mappings`` are the parameters that
    are mappings, or ``None`` where they are empty. No mapping of the caller's is changed.

    >>> from inference.estimators import PairEstimator
    >>> estimator = PairEstimator("ppca").set_params(options__latent_dim=3)
    >>> estimator.options, estimator.get_params()["options__latent_dim"]
    ({'latent_dim': 3}, 3)
    """

    mappings: ClassVar[tuple[str, ...]] = ()

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name; if ``deep``, the entries of mappings too."""
        found: dict[str, Any] = super().get_params(deep=deep)  # type: ignore[misc]
        if deep:
            for name in self.mappings:
                found |= _entries(name, found[name])
        return found

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name, entries of mappings among them; returns the estimator."""
        own = [name for name in params if name.partition("__")[0] not in self.mappings]
        whole = [name for name in params if name in self.mappings]
        super().set_params(**{name: params[name] for name in (*own, *whole)})  # type: ignore[misc]
        for key in (name for name in params if name not in (*own, *whole)):
            name, _, entry = key.partition("__")
            setattr(self, name, _with_entry(getattr(self, name), entry, params[key], name))
        return self


def _entries(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {}
    found = {}
    for entry, inner in value.items():
        found[f"{name}__{entry}"] = inner
        found |= _entries(f"{name}__{entry}", inner)
    return found


def _with_entry(value: Any, entry: str, new: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping | None):
        raise UsageError(f"{name} is no mapping of options, so that {entry} cannot be set in it")
    value = dict(value or {})
    first, nested, rest = entry.partition("__")
    value[first] = _with_entry(value.get(first), rest, new, first) if nested else new
    return value
