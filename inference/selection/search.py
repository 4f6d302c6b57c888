"""Which setting is tried next? A rule that sees what was tried; each is asked for by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from inference.selection.space import Choice, Range, Whole
from pyro_models import UsageError
from pyro_models.errors import in_one_line
from pyro_models.options import check_known
from pyro_models.registry import Registry
from pyro_models.seeds import stream

__all__ = ["GRID", "SEARCHES", "Random", "Search", "Tried", "make_search", "register_search"]

GRID = "grid"
"""The name of no search: every combination of a grid."""


@dataclass(frozen=True)
class Tried:
    """A setting that was proposed, and what it gave.

    Attributes
    ----------
    setting
        Its values by name.
    value
        The mean score over seeds; ``None`` if there is none.
    failure
        Why there is none, and never will be: it failed, or was pruned. Empty if it is running.
    """

    setting: Mapping[str, Any]
    value: float | None = None
    failure: str = ""


class Search(Protocol):
    """How the next setting is chosen: a function of all that was tried, and of nothing else.

    So that a search that was killed goes on as it would have, and several workers need no more
    than the list of what was tried.
    """

    def __call__(
        self,
        space: Mapping[str, Range],
        tried: Sequence[Tried],
        *,
        seed: int,
        maximize: bool,
    ) -> Mapping[str, Any] | None:
        """The next setting, or ``None`` if there is no other.

        Parameters
        ----------
        space
            The range of each setting by its name.
        tried
            What was proposed so far, in order; what is running has neither value nor failure.
        seed
            Random seed of the search.
        maximize
            Whether large values are wanted.
        """
        ...


SEARCHES: Registry[Callable[..., Any]] = Registry(
    "search",
    hint="grid, a class of a file, my_file.py:MySearch, or in Python a function or object",
    doors={"gp_bo": "gp_bo.optimize.search"},
)
"""Searches by name; ``gp_bo``, which rests on this package, registers its own when asked for."""

register_search = SEARCHES.register
"""``register_search("mine", Mine)`` lets a class, or a function that makes one, be asked for."""

_TRIES = 1000  # draws from a small space until one is new


@register_search("random")
@dataclass(frozen=True)
class Random:
    """Independent draws, even over each range (Bergstra and Bengio 2012); none twice.

    Examples
    --------
    >>> from inference.selection.space import Whole
    >>> space, tried = {"n": Whole(1, 3)}, []
    >>> while setting := Random()(space, tried, seed=0, maximize=True):
    ...     tried.append(Tried(setting))
    >>> sorted(each.setting["n"] for each in tried)
    [1, 2, 3]
    """

    def __call__(
        self,
        space: Mapping[str, Range],
        tried: Sequence[Tried],
        *,
        seed: int,
        maximize: bool,
    ) -> dict[str, Any] | None:
        """A setting that was not tried."""
        known = [dict(each.setting) for each in tried]
        if all(isinstance(own, Whole | Choice) for own in space.values()):
            sizes = (
                len(own.values) if isinstance(own, Choice) else own.high - own.low + 1
                for own in space.values()
            )
            if len(known) >= np.prod([float(size) for size in sizes]):
                return None
        draws = np.random.default_rng(stream(seed, f"setting {len(tried)}"))
        for _ in range(_TRIES):
            setting = {name: own.at(draws.random()) for name, own in space.items()}
            if setting not in known:
                return setting
        return None


def make_search(search: Any, options: Mapping[str, Any] | None = None) -> Search:
    """A search from its name with its options, from its class, or as it is.

    Raises
    ------
    UsageError
        If the name or an option is unknown, or it is no function.
    """
    name, own = SEARCHES.named(search, dict(options or {}))
    make = SEARCHES[name] if isinstance(name, str) else name
    if isinstance(name, str) or inspect.isclass(make):
        takes_space = not inspect.isclass(make) and "tried" in inspect.signature(make).parameters
        if not takes_space:  # a function of a file may be the rule itself
            who = f"the search {name if isinstance(name, str) else make.__name__}"
            check_known(own, [*inspect.signature(make).parameters], who=who)
            with in_one_line(who):
                make = make(**own)
            own = {}
    if own:
        raise UsageError("search_options are for a search that is given by its name")
    if not callable(make):
        raise UsageError(f"a search is a name, a class or a function; got {search!r}")
    found: Search = make
    return found


def name_of_search(search: Any) -> str:
    """A word for a search, for records and tables."""
    name, _ = SEARCHES.named(search, {})
    if isinstance(name, str):
        return name
    cls = name if inspect.isclass(name) else type(name)
    named = SEARCHES.name_of(cls)
    return named or str(getattr(name, "__name__", cls.__name__))
