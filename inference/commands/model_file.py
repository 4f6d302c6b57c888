"""A Pyro model of a user's file, called with the columns of a table and with constants."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inference.commands.command import DEVICE
from inference.declared import SEED, check_declared, declared
from inference.precision import DEFAULT
from inference.programs import Program
from inference.programs.door import is_program
from pyro_models import UsageError
from pyro_models.data.from_table import ENDINGS, check_names, is_table, read_table
from pyro_models.errors import in_one_line
from pyro_models.registry import Registry, check_choice

__all__ = ["OnModel", "Table", "is_model_file"]

MODELS: Registry[Any] = Registry("model")
"""None but those of files: a Pyro model is named as ``"mine.py:model"``."""

_SEVERAL = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def is_model_file(argument: str) -> bool:
    """Whether an argument names a Python file, or what is in one.

    >>> is_model_file("mine.py:model"), is_model_file("runs/vae")
    (True, False)
    """
    return ".py:" in argument or argument.endswith(".py")


@dataclass(frozen=True)
class OnModel:
    """What a Pyro model is called with, and how a command goes about it."""

    data: str | None = declared(
        None,
        """CSV, TSV or Parquet file. Its columns become tensors that the model's arguments of the
        same names get; an argument called data gets all of them, by name.""",
    )
    arguments: dict[str, Any] | None = declared(
        {},
        """Further arguments, such as --arguments.N 8 or --arguments "{scale: 2.5, x: [1.0, 2.0]}";
        lists of numbers become tensors. They win over columns.""",
    )
    seed: int = declared(0, "Random seed of all draws.", SEED)
    force: bool = declared(False, "Replace files that are there.")
    device: str = DEVICE
    precision: str = declared(
        DEFAULT,
        "float32, or float64 for all.",
        lambda _, given: check_choice("precision", given, (DEFAULT, "float64")),
    )
    progress: bool = declared(True, "Show progress bars.")

    def __post_init__(self) -> None:
        check_declared(self)

    def open(self, name: str) -> Program:
        """The model of that name with its arguments; what is said of it goes to the terminal."""
        double = self.precision != DEFAULT
        model = _model_of(name)
        table = None if self.data is None else Table(self.data, double=double)
        constants = {n: _constant(v, double=double) for n, v in (self.arguments or {}).items()}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* is run for one draw at a time")
            program = _called(name, model, table, constants)
            if double:
                program = program.double()
        if program.looped:
            print(f"note: densities of {program.name} are not vectorised: {program.looped}")
        return program

    def title(self, name: str, program: Program) -> str:
        """What was inferred from what, in a line."""
        of = "" if self.data is None else f", {self.data}"
        return f"{name}{of}, {program.dim} unconstrained reals, seed {self.seed}"


class Table(Mapping[str, Tensor]):
    """The columns of a file that hold numbers, as tensors: whole ones long, others float.

    Parameters
    ----------
    path
        A CSV, TSV or Parquet file.
    double
        Whether numbers that are not whole become float64, and not torch's default type.

    Raises
    ------
    UsageError
        If the file cannot be read; and where a column is asked for that holds text, or a cell that
        is empty or not finite.
    """

    def __init__(self, path: str, *, double: bool = False) -> None:
        if not is_table(path):
            raise UsageError(f"data is a table ({', '.join(ENDINGS)}); got {path}")
        self.path, self.dtype = path, torch.float64 if double else torch.get_default_dtype()
        frame = read_table(Path(path))
        check_names(frame, path)
        self.columns = {str(name).strip(): frame[name] for name in frame.columns}

    def __iter__(self) -> Any:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, name: str) -> Tensor:
        from pandas.api import types

        series = self.columns[name]
        where = f"{self.path}: column {name!r}"
        if not types.is_numeric_dtype(series.dtype) or types.is_complex_dtype(series.dtype):
            shown = next(iter(series.dropna()), None)
            raise UsageError(
                f"{where} holds no numbers ({shown!r}): write it as plain numbers, or number its "
                "values, from 0"
            )
        whole, boolean = (f(series.dtype) for f in (types.is_integer_dtype, types.is_bool_dtype))
        values = torch.tensor(series.to_numpy(dtype=float, na_value=float("nan")))
        wrong = (~values.to(self.dtype).isfinite()).nonzero().flatten().tolist()
        if wrong:
            what = "is empty" if values[wrong[0]].isnan() else "is not finite"
            others = f", and {len(wrong) - 1} more" * (len(wrong) > 1)
            raise UsageError(
                f"{where} {what} in row {wrong[0] + 1}, counted below the headings{others}: fill "
                "it in, or leave the row out"
            )
        if boolean:
            return values.bool()
        return torch.tensor(series.to_numpy(dtype="int64")) if whole else values.to(self.dtype)

    @property
    def numbers(self) -> dict[str, Tensor]:
        """All columns that are not text."""
        from pandas.api import types

        return {n: self[n] for n, s in self.columns.items() if types.is_numeric_dtype(s.dtype)}


def _model_of(name: str) -> Any:
    """What a file holds under a name, if it is a Pyro model; a class of modules is made."""
    if ".py:" not in name:
        raise UsageError(f"name the model in {name}, as {name}:model")
    model = MODELS[name]
    if isinstance(model, type) and issubclass(model, nn.Module):
        with in_one_line(f"the model {name}"):
            model = model()
    if not is_program(model):
        pair = any(hasattr(model, part) for part in ("guide", "pair", "latent_sites"))
        what = "a pair of model and guide: train it first" if pair else repr(model)[:60]
        raise UsageError(f"{name} is no Pyro model, a function or a module; it is {what}")
    return model


def _constant(value: Any, *, double: bool) -> Any:
    """A list of numbers as a tensor; anything else as it is."""
    if not isinstance(value, list):
        return value
    try:
        tensor = torch.tensor(value)
    except (TypeError, ValueError, RuntimeError):  # of text, or of rows of different lengths
        return value
    return tensor.double() if double and tensor.is_floating_point() else tensor


def _called(name: str, model: Any, table: Table | None, constants: Mapping[str, Any]) -> Program:
    """The program of a model with its arguments found by name."""
    if isinstance(model, Program):
        if table is not None or constants:
            raise UsageError(f"{name} has its arguments already: leave data and arguments out")
        return model
    signature = _signature(model)
    found, used = _found(name, signature, table, constants)
    if table is not None and not used:
        raise UsageError(
            f"{name} is called as {signature}, and {table.path} has the columns "
            f"{', '.join(table)}: none of them is an argument of it"
        )
    bound = inspect.BoundArguments(signature, found)
    return Program(model, *bound.args, **bound.kwargs)


def _signature(model: Any) -> inspect.Signature:
    """How a model is called; one of Pyro's handlers is called as what it handles."""
    while True:
        try:
            signature = inspect.signature(getattr(model, "forward", model))
        except (TypeError, ValueError):  # of something that is not Python
            return inspect.signature(lambda **columns: None)
        inner = [a for a in getattr(model, "args", ()) if callable(a)]
        general = all(p.kind in _SEVERAL for p in signature.parameters.values())
        if not (isinstance(model, functools.partial) and general and inner):
            return signature
        model = inner[-1]


def _found(
    name: str, signature: inspect.Signature, table: Table | None, constants: Mapping[str, Any]
) -> tuple[dict[str, Any], bool]:
    """Arguments by name, and whether any comes from the table."""
    columns: Mapping[str, Any] = {} if table is None else table
    parameters = signature.parameters.values()
    named = [p.name for p in parameters if p.kind not in _SEVERAL]
    rest = next((p.name for p in parameters if p.kind is inspect.Parameter.VAR_KEYWORD), None)
    unknown = [] if rest else [n for n in constants if n not in named]
    if unknown:
        raise UsageError(f"{name} is called as {signature}: it has no argument {unknown[0]!r}")
    found, used = {}, False
    for argument in named:
        if argument in constants:
            found[argument] = constants[argument]
        elif argument in columns:
            found[argument], used = columns[argument], True
        elif argument == "data" and table is not None:
            found[argument], used = table.numbers, True
    missing = [n for n in named if n not in found and _needed(signature.parameters[n])]
    if missing:
        there = f"the columns of {table.path} are {', '.join(table)}" if table else "no --data"
        raise UsageError(
            f"{name} is called as {signature}; {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing: {there}, and "
            f"--arguments.{missing[0]} would give a constant"
        )
    if rest is not None:
        others = {} if table is None else table.numbers
        found[rest] = {n: v for n, v in {**others, **constants}.items() if n not in named}
        used = used or bool(found[rest])
    return found, used


def _needed(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty
