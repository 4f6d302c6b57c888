"""Parts that are modules, by a name, a class or as they are."""

from __future__ import annotations

from typing import Any

from torch import nn

from pyro_models.errors import UsageError, in_one_line
from pyro_models.registry import Registry

__all__ = ["module_for"]


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
    with in_one_line(who):
        made = make(*args, **{**defaults, **options})
    if not isinstance(made, nn.Module):
        raise UsageError(f"{who} is made as {made!r:.60}: return an nn.Module")
    return made
