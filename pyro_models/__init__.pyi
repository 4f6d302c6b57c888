from . import (
    contract as contract,
    data as data,
    device as device,
    errors as errors,
    labels as labels,
    latents as latents,
    likelihoods as likelihoods,
    models as models,
    moved as moved,
    networks as networks,
    observed as observed,
    pair as pair,
    presets as presets,
    priors as priors,
    registry as registry,
    seeds as seeds,
    units as units,
)
from .data import ImageData as ImageData, Observed as Observed, load_data as load_data
from .errors import UsageError as UsageError
from .models import (
    CVAE as CVAE,
    GMM as GMM,
    PPCA as PPCA,
    VAE as VAE,
    BernoulliMixture as BernoulliMixture,
    CompletionCVAE as CompletionCVAE,
    Guide as Guide,
    Model as Model,
    ModelAndGuide as ModelAndGuide,
    SemiSupervisedVAE as SemiSupervisedVAE,
    TwoLayerVAE as TwoLayerVAE,
    build as build,
)
from .pair import Pair as Pair
from .presets import load_preset as load_preset, preset_names as preset_names
