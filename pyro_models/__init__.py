"""p(x, z): generative models in Pyro, each with the guide that belongs to it.

``VAE``, ``CVAE``, ``SemiSupervisedVAE``, ``TwoLayerVAE``, ``HVAE``, ``PPCA``, ``GMM``,
``BernoulliMixture``, ``CompletionCVAE``, ``Flow``, ``Generator`` and ``Diffusion`` are pairs: a
model, a guide, and the contract of :class:`pyro_models.pair.Pair`. ``load_data`` reads the images
they are about. ``__version__`` is the version that is installed.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from pyro_models.moved import install

if TYPE_CHECKING:
    from pyro_models.data import ImageData, Observed, load_data
    from pyro_models.errors import UsageError
    from pyro_models.models import (
        CVAE,
        GMM,
        HVAE,
        PPCA,
        VAE,
        BernoulliMixture,
        CompletionCVAE,
        Diffusion,
        Flow,
        Generator,
        Guide,
        Model,
        ModelAndGuide,
        SemiSupervisedVAE,
        TwoLayerVAE,
        build,
    )
    from pyro_models.pair import Pair
    from pyro_models.presets import load_preset, preset_names

    __version__: str

__all__ = [
    "CVAE",
    "GMM",
    "HVAE",
    "PPCA",
    "VAE",
    "BernoulliMixture",
    "CompletionCVAE",
    "Diffusion",
    "Flow",
    "Generator",
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

_NOT_IN_MODELS = {
    **dict.fromkeys(("ImageData", "Observed", "load_data"), "data"),
    **dict.fromkeys(("load_preset", "preset_names"), "presets"),
    "Pair": "pair",
    "UsageError": "errors",
}


def __getattr__(name: str) -> Any:
    """A name, imported when it is asked for: torch takes seconds."""
    if name == "__version__":
        found = import_module(f"{__name__}.installation").version_of("pyro-models")
    elif name in __all__:
        found = getattr(import_module(f"{__name__}.{_NOT_IN_MODELS.get(name, 'models')}"), name)
    elif name in {module.name for module in iter_modules(__path__)}:
        found = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


install()
