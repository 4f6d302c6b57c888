from . import (
    contract as contract,
)
from . import (
    data as data,
)
from . import (
    device as device,
)
from . import (
    errors as errors,
)
from . import (
    labels as labels,
)
from . import (
    latents as latents,
)
from . import (
    likelihoods as likelihoods,
)
from . import (
    models as models,
)
from . import (
    moved as moved,
)
from . import (
    networks as networks,
)
from . import (
    observed as observed,
)
from . import (
    pair as pair,
)
from . import (
    presets as presets,
)
from . import (
    priors as priors,
)
from . import (
    registry as registry,
)
from . import (
    seeds as seeds,
)
from . import (
    units as units,
)
from .data import ImageData as ImageData
from .data import Observed as Observed
from .data import load_data as load_data
from .errors import UsageError as UsageError
from .models import (
    CVAE as CVAE,
)
from .models import (
    GMM as GMM,
)
from .models import (
    PPCA as PPCA,
)
from .models import (
    VAE as VAE,
)
from .models import (
    BernoulliMixture as BernoulliMixture,
)
from .models import (
    CompletionCVAE as CompletionCVAE,
)
from .models import (
    Guide as Guide,
)
from .models import (
    Model as Model,
)
from .models import (
    ModelAndGuide as ModelAndGuide,
)
from .models import (
    SemiSupervisedVAE as SemiSupervisedVAE,
)
from .models import (
    TwoLayerVAE as TwoLayerVAE,
)
from .models import (
    build as build,
)
from .pair import Pair as Pair
from .presets import load_preset as load_preset
from .presets import preset_names as preset_names
