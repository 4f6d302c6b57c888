"""What is not seen, given what is: latents and reconstructions."""

from inference.posterior.reconstruction import latent_means, reconstruct

__all__ = ["latent_means", "reconstruct"]
