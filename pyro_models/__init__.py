"""p(x, z): generative models in Pyro, each with the guide that belongs to it.

``VAE``, ``CVAE``, ``SemiSupervisedVAE``, ``TwoLayerVAE``, ``PPCA``, ``GMM``, ``BernoulliMixture``
and ``CompletionCVAE`` are pairs: a model, a guide, and the contract of
:class:`pyro_models.pair.Pair`. ``load_data`` reads the images they are about.
"""

from pkgutil import iter_modules

import lazy_loader

from pyro_models.moved import install

# names are in __init__.pyi, and imported when they are asked for: torch takes seconds
__getattr__, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = list({*_names} - {module.name for module in iter_modules(__path__)})

install()
