"""How much is computed at once: chunks whose reconstructions fit into memory."""

from __future__ import annotations

import math

from pyro_models import Pair

__all__ = ["MAX_ELEMENTS", "chunk_size", "numbers_per_particle"]

MAX_ELEMENTS = 2**22
"""Numbers that one chunk's reconstructions may hold, unless told otherwise: fastest in caches."""


def numbers_per_particle(pair: Pair) -> int:
    """Numbers of which one datum is decoded, times the values of enumerated sites.

    With those that a prior needs for one value of z: of a mixture all means. A pair whose networks
    hold more for one says so by ``numbers_per_datum``.
    """
    values = [site.num_values for site in pair.latent_sites.values() if site.num_values]
    decoded = pair.likelihood.num_parameters * math.prod(pair.data_shape)
    decoded = max(decoded, getattr(pair, "numbers_per_datum", 0))
    prior = sum(getattr(part, "numbers_per_particle", 0) for part in pair.model.modules())
    return decoded * math.prod(values) + prior


def chunk_size(pair: Pair, *, each: int, max_elements: int = MAX_ELEMENTS) -> int:
    """How many data, each with so many particles, are decoded at once; at least 1.

    Or how many particles, each of so many data. The reconstructions of one chunk hold at most
    ``max_elements`` numbers.

    Examples
    --------
    >>> from pyro_models import GMM
    >>> chunk_size(GMM((1, 8, 8), num_components=20), each=100)
    32
    """
    return max(1, max_elements // (numbers_per_particle(pair) * each))
