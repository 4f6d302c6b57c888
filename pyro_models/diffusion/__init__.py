"""What a diffusion is made of: amounts of noise, two chains, and networks that see the noise."""

from pyro_models.diffusion.chains import NoisingChain, ReverseChain
from pyro_models.diffusion.denoisers import DENOISERS, DenseDenoiser, UNet
from pyro_models.diffusion.noise import NOISES, PREDICTED, Noise

__all__ = [
    "DENOISERS",
    "NOISES",
    "PREDICTED",
    "DenseDenoiser",
    "Noise",
    "NoisingChain",
    "ReverseChain",
    "UNet",
]
