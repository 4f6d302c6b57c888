"""What is not seen, given what is: latents, reconstructions, completions, new data."""

from inference.posterior.bound import Bound
from inference.posterior.completion import Completion, complete
from inference.posterior.export import to_arviz
from inference.posterior.features import latents_as_data
from inference.posterior.guides import GUIDES, Family, register_guide
from inference.posterior.hmc import Draws, hmc
from inference.posterior.imputation import Imputation, impute
from inference.posterior.infer import infer
from inference.posterior.log_density import LogDensity, condition
from inference.posterior.nuts import nuts
from inference.posterior.plateau import Plateau
from inference.posterior.posterior import Posterior
from inference.posterior.reconstruction import generate, latent_means, posterior_sites, reconstruct
from pyro_models.moved import renamed

__all__ = [
    "GUIDES",
    "Bound",
    "Completion",
    "Draws",
    "Family",
    "Imputation",
    "LogDensity",
    "Plateau",
    "Posterior",
    "complete",
    "condition",
    "generate",
    "hmc",
    "impute",
    "infer",
    "latent_means",
    "latents_as_data",
    "nuts",
    "posterior_sites",
    "reconstruct",
    "register_guide",
    "to_arviz",
]

__getattr__ = renamed(__name__, {"Target": "LogDensity"})
