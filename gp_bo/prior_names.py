"""Priors of hyper-parameters as plain values that a file can hold: names and numbers, no code."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import transforms

from gp_bo.kernels.kernel import Above
from pyro_models.errors import UsageError, in_one_line
from pyro_models.registry import Registry
from pyro_models.suggestions import wrong_brackets

__all__ = ["PRIORS", "describe_prior", "prior_for", "rebuild_prior"]

_NAMES = (
    "Beta",
    "Exponential",
    "Gamma",
    "HalfCauchy",
    "HalfNormal",
    "InverseGamma",
    "LogNormal",
    "Normal",
    "StudentT",
    "Uniform",
    "Weibull",
)

PRIORS: Registry[Callable[..., Any]] = Registry(
    "prior",
    {name: getattr(dist, name) for name in _NAMES},
    hint="give a distribution of pyro.distributions, or a number, which fixes it",
)

# what a transform is made from
_TRANSFORMS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "Above": (Above, ("loc", "scale")),
    "AffineTransform": (transforms.AffineTransform, ("loc", "scale")),
    "ExpTransform": (transforms.ExpTransform, ()),
    "PowerTransform": (transforms.PowerTransform, ("exponent",)),
    "SigmoidTransform": (transforms.SigmoidTransform, ()),
    "SoftplusTransform": (transforms.SoftplusTransform, ()),
}


def prior_for(prior: Any) -> Any:
    """A prior by its name with its numbers; a distribution, or a number, as it is.

    Parameters
    ----------
    prior
        As it is written, ``"lognormal(0, 1)"`` or ``"Gamma(2, rate=0.5)"``, in capitals or not;
        ``{class_path: NAME, init_args: {PARAMETER: VALUE}}``; a name of ``PRIORS`` or
        ``"mine.py:my_prior"`` where what it stands for needs no parameter; or anything else.

    Examples
    --------
    >>> prior_for("lognormal(0, 2)").mean
    tensor(7.3891, dtype=torch.float64)
    >>> prior_for({"class_path": "LogNormal", "init_args": {"loc": 0.0, "scale": 2.0}}).mean
    tensor(7.3891, dtype=torch.float64)

    Raises
    ------
    UsageError
        If the name is unknown, or a parameter is not one that it may have.
    """
    name, options = PRIORS.named(prior, {})
    numbers: list[Any] = []
    if isinstance(name, str) and (re.match(r"\s*\w+\s*\(", name) or name.rstrip().endswith(")")):
        name, numbers, options = _written(name)
    if not isinstance(name, str):
        return prior
    first = _known(re.split(r"[\s,\[{]", name.strip())[0])
    if first in PRIORS and not (numbers or options) and name not in PRIORS:
        raise UsageError(f"the prior {name!r} needs its numbers in brackets: {first}(…, …)")
    make = PRIORS[name]
    if not callable(make):
        return make
    with in_one_line(f"the prior {name}"):
        given = [torch.as_tensor(v, dtype=torch.float64) for v in numbers]
        named = {n: torch.as_tensor(v, dtype=torch.float64) for n, v in options.items()}
        return make(*given, **named)


def _written(text: str) -> tuple[str, list[Any], dict[str, Any]]:
    """Name and numbers of a prior that is written as a call; nothing of it is run.

    >>> _written("lognormal(0, scale=0.5)")
    ('LogNormal', [0], {'scale': 0.5})
    """
    if wrong := wrong_brackets(text):
        raise UsageError(f"the prior {text!r} {wrong}: write lognormal(0, 1), say")
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or any(word.arg is None for word in call.keywords):
            raise ValueError
        name = ast.unparse(call.func)
        numbers = [ast.literal_eval(each) for each in call.args]
        named = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    except (ValueError, SyntaxError):
        raise UsageError(
            f"the prior {text!r} is not a name with numbers: write lognormal(0, 1), say"
        ) from None
    return _known(name), numbers, named


def _known(name: str) -> str:
    """The name of a prior as it is registered, in capitals or not."""
    return {each.lower(): each for each in PRIORS}.get(name.replace("_", "").lower(), name)


def describe_prior(prior: Any) -> dict[str, Any]:
    """A prior as its class and the numbers of its parameters, or as what it is a transform of.

    What cannot be written so is a ``UsageError``.

    >>> describe_prior(dist.LogNormal(torch.tensor(0.0), torch.tensor(2.0)))
    {'class': 'LogNormal', 'parameters': {'loc': 0.0, 'scale': 2.0}}
    """
    base = prior.base_dist if isinstance(prior, dist.Independent) else prior
    name = type(base).__name__
    described: dict[str, Any] = {"class": name}
    if type(base) in (dist.TransformedDistribution, dist.FoldedDistribution):
        described["base"] = describe_prior(base.base_dist)
        if name == "TransformedDistribution":
            described["transforms"] = [_describe_transform(t) for t in base.transforms]
    else:
        described["parameters"] = _parameters(base)
    try:
        same = rebuild_prior(described).batch_shape == base.batch_shape
    except (AttributeError, TypeError, ValueError, RuntimeError):
        same = False
    if not same:
        raise UsageError(
            f"a prior of class {name} cannot be saved: take one of pyro.distributions whose "
            "parameters are tensors"
        )
    return described


def rebuild_prior(description: Mapping[str, Any]) -> Any:
    """The prior that :func:`describe_prior` described, in float64."""
    kind = getattr(dist, description["class"])
    if "base" not in description:
        return kind(**_tensors(description["parameters"]))
    base = rebuild_prior(description["base"])
    if "transforms" not in description:
        return kind(base)
    parts = [(each["class"], _tensors(each["parameters"])) for each in description["transforms"]]
    return kind(base, [_TRANSFORMS[name][0](**values) for name, values in parts])


def _parameters(base: Any) -> dict[str, Any]:
    names = [name for name in base.arg_constraints if hasattr(base, name)]
    if isinstance(base, dist.MultivariateNormal):
        names = ["loc", "scale_tril"]  # one of three ways to give its covariance
    values = {name: getattr(base, name) for name in names}
    plain = all(isinstance(v, Tensor) for v in values.values())
    return {name: value.tolist() for name, value in values.items()} if plain else {}


def _describe_transform(transform: Any) -> dict[str, Any]:
    name = type(transform).__name__
    if name not in _TRANSFORMS:
        raise UsageError(
            f"a prior through {name} cannot be saved: take one of {', '.join(_TRANSFORMS)}"
        )
    values = {n: torch.as_tensor(getattr(transform, n)).tolist() for n in _TRANSFORMS[name][1]}
    return {"class": name, "parameters": values}


def _tensors(values: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: torch.tensor(v, dtype=torch.float64) for name, v in values.items()}
