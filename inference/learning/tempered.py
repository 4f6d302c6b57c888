"""The weight β that the latent terms had when a pair was trained, which its scores say beside."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from torch import nn

from inference.precision import original
from pyro_models import Pair
from pyro_models.contract import module_of

__all__ = ["remember_beta", "words_of_beta"]

_BETA: WeakKeyDictionary[nn.Module, float] = WeakKeyDictionary()


def remember_beta(pair: Pair, beta: float) -> None:
    """Note that the training of a pair ended with a weight β of its latent terms."""
    _BETA[module_of(pair)] = beta


def words_of_beta(pair: Pair) -> str:
    """What a table says of the weight that a pair was trained with; empty if it was 1.

    >>> from pyro_models import VAE
    >>> vae = VAE((1, 8, 8), hidden=[8])
    >>> remember_beta(vae, 4.0)
    >>> words_of_beta(vae)
    'trained with β = 4'
    """
    beta = _BETA.get(module_of(original(pair)), 1.0)
    return "" if beta == 1 else f"trained with β = {beta:.3g}"
