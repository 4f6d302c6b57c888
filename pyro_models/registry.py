"""The pairs by name, for configuration files, the command line and the contract test."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from torch import nn

from pyro_models.bernoulli_mixture import BernoulliMixture
from pyro_models.completion import CompletionCVAE
from pyro_models.conditional import CVAE
from pyro_models.contract import check_pair
from pyro_models.errors import UsageError
from pyro_models.gmm import GMM
from pyro_models.hierarchical import TwoLayerVAE
from pyro_models.options import check_types
from pyro_models.pair import Pair
from pyro_models.ppca import PPCA
from pyro_models.semi_supervised import SemiSupervisedVAE
from pyro_models.vae import VAE

__all__ = ["PAIRS", "build", "name_of"]

PAIRS: dict[str, type[nn.Module]] = {
    "vae": VAE,
    "cvae": CVAE,
    "m2": SemiSupervisedVAE,
    "two_layer_vae": TwoLayerVAE,
    "ppca": PPCA,
    "gmm": GMM,
    "bernoulli_mixture": BernoulliMixture,
    "completion_cvae": CompletionCVAE,
}


def build(
    name: str, data_shape: Sequence[int], *, num_classes: int | None = None, **options: Any
) -> Pair:
    """Build a pair by its name.

    Parameters
    ----------
    name
        One of ``PAIRS``.
    data_shape
        Shape of one datum.
    num_classes
        Number of labels in the data; needed by pairs that use them, else ignored.
    options
        The pair's own options.

    Examples
    --------
    >>> build("gmm", (1, 8, 8), num_components=5).num_components
    5

    Raises
    ------
    UsageError
        If the name or an option is unknown, labels are needed and there are none, or the class
        makes no pair.
    """
    if name not in PAIRS:
        raise UsageError(f"unknown model {name!r}: choose from {', '.join(PAIRS)}")
    cls = PAIRS[name]
    known = [p for p in inspect.signature(cls).parameters if p != "data_shape"]
    if "num_classes" in known:
        known.remove("num_classes")
        if num_classes is None:
            raise UsageError(f"the model {name} needs labels, and these data have none")
        options = {"num_classes": num_classes, **options}
    unknown = [o for o in options if o not in known and o != "num_classes"]
    if unknown:
        raise UsageError(
            f"the model {name} has no option {', '.join(unknown)}; it has {', '.join(known)}"
        )
    given = {key: value for key, value in options.items() if key != "num_classes"}
    check_types(cls, given, who=f"the model {name}", skip={"data_shape", "num_classes"})
    pair: Any = cls(data_shape, **options)
    check_pair(pair)
    return pair


def name_of(pair: Pair) -> str:
    """The registered name of a pair's class.

    Raises
    ------
    UsageError
        If its class is not registered.
    """
    for name, cls in PAIRS.items():
        if type(pair) is cls:
            return name
    raise UsageError(
        f"{type(pair).__name__} is not registered: add it to pyro_models.registry.PAIRS"
    )
