"""What is not seen, given what is: latents, reconstructions, new data."""

from inference.posterior.features import latents_as_data
from inference.posterior.generation import generate
from inference.posterior.hmc import Draws, hmc
from inference.posterior.reconstruction import latent_means, posterior_sites, reconstruct
from inference.posterior.target import Target, condition

__all__ = [
    "Draws",
    "Target",
    "condition",
    "generate",
    "hmc",
    "latent_means",
    "latents_as_data",
    "posterior_sites",
    "reconstruct",
]
