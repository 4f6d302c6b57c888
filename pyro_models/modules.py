"""Parts that are modules, by a name, a class or as they are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from pyro_models.errors import UsageError, in_one_line
from pyro_models.options import check_known, check_types
from pyro_models.registry import Registry

__all__ = ["check_init_args", "module_for"]


def module_for(registry: Registry[Any], given: Any, *args: Any, **defaults: Any) -> nn.Module:
    """A module as it is, or what a name, a class or a function makes of arguments.

    A name is one of the registry, or of a file, either with its options as ``{class_path: NAME,
    init_args: {OPTION: VALUE}}``; these go before the ``defaults``.

    >>> module_for(Registry("layer", {"linear": nn.Linear}), "linear", 3, out_features=2).bias.shape
    torch.Size([2])

    Raises
    ------
    UsageError
        If the name is unknown, or no module is made.
    """
    thing, options = registry.named(given, {})
    if isinstance(thing, nn.Module):
        return thing
    make = registry[thing] if isinstance(thing, str) else thing
    if not callable(make):
        raise UsageError(f"a {registry.kind} is a name, a class or a module; got {given!r}")
    name = thing if isinstance(thing, str) else getattr(thing, "__name__", thing)
    who = f"the {registry.kind} {name}"
    check_init_args(make, {**defaults, **options}, who=who, num_given=len(args))
    with in_one_line(who):
        made = make(*args, **{**defaults, **options})
    if not isinstance(made, nn.Module):
        raise UsageError(f"{who} is made as {made!r:.60}: return an nn.Module")
    return made


def check_init_args(
    make: Callable[..., Any], options: Mapping[str, Any], *, who: str, num_given: int
) -> None:
    """Refuse options by name or type that a class or function does not take.

    Its first ``num_given`` arguments are no options; where it takes any by name, only the types of
    those that it names are looked at.

    >>> check_init_args(nn.Linear, {"bias": True}, who="the layer linear", num_given=2)
    """
    try:
        parameters = inspect.signature(make).parameters
    except ValueError:  # of a builtin, which says itself what it takes
        return
    given = set(list(parameters)[:num_given])
    known = [n for n, p in parameters.items() if n not in given and p.kind is not p.VAR_KEYWORD]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        check_known(options, known, who=who)
    named = {name: value for name, value in options.items() if name in known}
    if named:
        check_types(make, named, who=who, skip=given)
