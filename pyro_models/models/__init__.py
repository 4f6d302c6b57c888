"""The pairs: one family of models with its guides in each file, and all of them by name."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from torch import nn

from pyro_models.contract import check_pair
from pyro_models.errors import UsageError, in_one_line
from pyro_models.models.bernoulli_mixture import BernoulliMixture
from pyro_models.models.completion import CompletionCVAE
from pyro_models.models.conditional import CVAE
from pyro_models.models.diffusion import Diffusion
from pyro_models.models.flow import Flow
from pyro_models.models.generator import Generator
from pyro_models.models.gmm import GMM
from pyro_models.models.guide import EmptyGuide, Guide
from pyro_models.models.hierarchical import TwoLayerVAE
from pyro_models.models.model import Model
from pyro_models.models.model_and_guide import ModelAndGuide
from pyro_models.models.ppca import PPCA
from pyro_models.models.semi_supervised import SemiSupervisedVAE
from pyro_models.models.top_down import HVAE
from pyro_models.models.vae import VAE
from pyro_models.options import check_options
from pyro_models.pair import Pair
from pyro_models.registry import Registry

__all__ = [
    "CVAE",
    "GMM",
    "HVAE",
    "PAIRS",
    "PPCA",
    "VAE",
    "BernoulliMixture",
    "CompletionCVAE",
    "Diffusion",
    "EmptyGuide",
    "Flow",
    "Generator",
    "Guide",
    "Model",
    "ModelAndGuide",
    "SemiSupervisedVAE",
    "TwoLayerVAE",
    "build",
    "name_of",
    "title_of",
]

PAIRS: Registry[type[nn.Module]] = Registry(
    "model",
    {
        "vae": VAE,
        "cvae": CVAE,
        "m2": SemiSupervisedVAE,
        "two_layer_vae": TwoLayerVAE,
        "hvae": HVAE,
        "ppca": PPCA,
        "gmm": GMM,
        "flow": Flow,
        "bernoulli_mixture": BernoulliMixture,
        "completion_cvae": CompletionCVAE,
        "diffusion": Diffusion,
        "generator": Generator,
    },
    hint="name a class of a file, my_file.py:MyClass",
)


def build(
    model: str | type[nn.Module],
    data_shape: Sequence[int],
    *,
    num_classes: int | None = None,
    **options: Any,
) -> Pair:
    """Build a pair by its name.

    Parameters
    ----------
    model
        One of ``PAIRS``, a class of a Python file (``"mine.py:Factors"``), or a class.
    data_shape, num_classes
        Shape of one datum, and number of labels in the data; needed by pairs that use them.
    options
        Options of the pair.

    Raises
    ------
    UsageError
        If the name or an option is unknown, labels are needed and there are none, or the class
        makes no pair.

    Examples
    --------
    >>> build("gmm", (1, 8, 8), num_components=5).num_components
    5
    """
    cls = PAIRS[model] if isinstance(model, str) else model
    name = model if isinstance(model, str) else PAIRS.name_of(cls) or cls.__name__
    if not isinstance(cls, type):
        raise UsageError(f"a model is a name or a class; got {cls!r}")
    if "num_classes" in inspect.signature(cls).parameters:
        if num_classes is None:
            raise UsageError(f"the model {name} needs labels, and these data have none")
        options = {"num_classes": num_classes, **options}
    given = {key: value for key, value in options.items() if key != "num_classes"}
    check_options(cls, given, who=f"the model {name}", skip={"data_shape", "num_classes"})
    try:
        inspect.signature(cls).bind(data_shape, **options)
    except TypeError as error:
        raise UsageError(f"{name} cannot be made of data_shape and options ({error})") from error
    make: Any = cls
    try:
        pair: Any = make(data_shape, **options)
    except Exception as error:
        if "got multiple values" in str(error):  # the class builds on another, and gives it itself
            raise UsageError(f"the model {name} decides one of these itself ({error})") from error
        if cls.__module__.startswith("pyro_models."):
            raise
        with in_one_line(f"the model {name}"):
            raise
    check_pair(pair)
    return pair


def name_of(pair: Pair) -> str:
    """The name of a pair's class: as it is registered, or its file's with the class."""
    name = PAIRS.name_of(type(pair))
    if name is None:
        raise UsageError(
            f"{type(pair).__name__} is not registered: PAIRS.register(name, "
            f"{type(pair).__name__}) of pyro_models.models does"
        )
    return name


def title_of(pair: Pair) -> str:
    """What readers call a pair in a table or a figure.

    It is the pair's ``title``, such as the family and the network, or the name of its class.

    Examples
    --------
    >>> title_of(VAE((1, 8, 8), network="conv", hidden=[16, 32], likelihood="gaussian"))
    'VAE, convolutional, Gaussian'
    >>> title_of(PPCA((1, 8, 8), latent_dim=10))
    'PPCA, 10 components'
    """
    title = getattr(pair, "title", None)
    return title if isinstance(title, str) and title else type(pair).__name__
