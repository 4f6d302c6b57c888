"""p(x, z): generative models in Pyro, each with the guide that belongs to it.

``VAE``, ``CVAE``, ``SemiSupervisedVAE``, ``TwoLayerVAE``, ``PPCA``, ``GMM``, ``BernoulliMixture``
and ``CompletionCVAE`` are pairs: a model, a guide, and the contract of
:class:`pyro_models.pair.Pair`. ``load_data`` reads the images they are about.
"""

from pyro_models.data import ImageData, Observed, load_data
from pyro_models.errors import UsageError
from pyro_models.models import (
    CVAE,
    GMM,
    PPCA,
    VAE,
    BernoulliMixture,
    CompletionCVAE,
    Guide,
    Model,
    ModelAndGuide,
    SemiSupervisedVAE,
    TwoLayerVAE,
    build,
)
from pyro_models.moved import install
from pyro_models.pair import Pair
from pyro_models.presets import load_preset, preset_names

__all__ = [
    "CVAE",
    "GMM",
    "PPCA",
    "VAE",
    "BernoulliMixture",
    "CompletionCVAE",
    "Guide",
    "ImageData",
    "Model",
    "ModelAndGuide",
    "Observed",
    "Pair",
    "SemiSupervisedVAE",
    "TwoLayerVAE",
    "UsageError",
    "build",
    "load_data",
    "load_preset",
    "preset_names",
]

install()
