"""Options of a class, checked against the types that its constructor names."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from pyro_models.errors import UsageError

__all__ = ["check_types"]


def check_types(cls: type, options: Mapping[str, Any], *, who: str, skip: set[str]) -> None:
    """Refuse options of another type than the constructor's annotations.

    Parameters
    ----------
    cls
        The class.
    options
        Options by name.
    who
        What they are options of, for the message.
    skip
        Parameters that are no options.

    Raises
    ------
    UsageError
        Naming the option.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, skip=skip)
    kinds = inspect.signature(cls).parameters
    for name, value in options.items():
        try:
            parser.parse_object({name: list(value) if isinstance(value, tuple) else value})
        except ArgumentError as error:
            kind = kinds[name].annotation
            raise UsageError(f"{who}: {name} must be {kind}; got {value!r}") from error
