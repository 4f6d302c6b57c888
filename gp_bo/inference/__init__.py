"""How hyper-parameters are inferred, by name: one file each.

Each takes the model and, by keyword, ``seed``, of its starts and all draws, ``restarts``, the
number of starts from which the best mode is taken, and what its own page says.
"""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from gp_bo.inference.draws import HyperDraws
from gp_bo.inference.laplace import laplace
from gp_bo.inference.nuts import nuts
from gp_bo.inference.of_guide import of_guide
from gp_bo.inference.point import map_estimate, maximum_likelihood
from gp_bo.inference.quadrature import quadrature
from gp_bo.inference.svi import svi
from inference.programs.guides import PROGRAM_GUIDES
from pyro_models import UsageError
from pyro_models.options import check_known
from pyro_models.registry import Registry, check_choice

__all__ = ["INFERENCES", "HyperDraws", "check_options", "inference_named"]

INFERENCES: Registry[Callable[..., HyperDraws]] = Registry(
    "inference",
    {
        "maximum_likelihood": maximum_likelihood,
        "map": map_estimate,
        "laplace": laplace,
        "svi": svi,
        "nuts": nuts,
        "quadrature": quadrature,
    },
)


def inference_named(name: Any, *, also: Collection[str] = ()) -> Callable[..., HyperDraws]:
    """One of :data:`INFERENCES`, or else a guide for Pyro models, which a Gaussian process is.

    What is neither is a ``UsageError`` with all names; ``also`` are more of those.
    """
    if isinstance(name, str) and name in INFERENCES:
        return INFERENCES[name]
    guides = [guide for guide in PROGRAM_GUIDES if guide not in INFERENCES]
    check_choice("inference", name, (*INFERENCES, *also, *guides))
    return partial(of_guide, guide=name)


def check_options(infer: Callable[..., Any], inference: str, options: Mapping[str, Any]) -> None:
    """Refuse an option that is no keyword of ``infer``, or no number where one is due.

    Those of a guide are for the guide to check.
    """
    if isinstance(infer, partial):
        return
    parameters = inspect.signature(infer, eval_str=True).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "seed"]
    check_known(options, known, who=f"inference {inference!r}")
    kinds = {int: (numbers.Integral, "a whole number"), float: (numbers.Real, "a number")}
    for p in parameters:
        kind, due = kinds.get(p.annotation, (object, ""))
        value = options.get(p.name)
        if p.name in options and due and (not isinstance(value, kind) or isinstance(value, bool)):
            raise UsageError(f"{p.name} of inference {inference!r} is {due}; got {value!r}")
