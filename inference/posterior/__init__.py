"""What is not seen, given what is: latents, reconstructions, new data."""

from inference.posterior.features import latents_as_data
from inference.posterior.generation import generate
from inference.posterior.reconstruction import latent_means, posterior_sites, reconstruct

__all__ = [
    "generate",
    "latent_means",
    "latents_as_data",
    "posterior_sites",
    "reconstruct",
]
