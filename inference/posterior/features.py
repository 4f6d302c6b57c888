"""The latents of one pair as the data of another: stacked models such as M1 + M2."""

from __future__ import annotations

from dataclasses import replace

import torch

from inference.posterior.reconstruction import latent_means
from pyro_models import ImageData, Pair
from pyro_models.contract import check_pair
from pyro_models.data import Split, as_data, check_float32_suffices, weights_checksum
from pyro_models.observed import Data

__all__ = ["latents_as_data"]


def latents_as_data(pair: Pair, data: ImageData | Data, *, seed: int = 0) -> ImageData:
    """E_q[z | x] of every datum, as vectors with the labels of the data.

    A second pair can then be learned on them, as M2 on the latents of a VAE (M1) by Kingma et al.
    (2014). Its scores are of these vectors, not of the pixels: they compare with nothing else, and
    neither with those of the latents of another pair. The data say whose latents they are.

    Parameters
    ----------
    pair
        A pair with continuous latents; nothing of it changes.
    data
        Its data, or anything that :func:`pyro_models.load_data` splits; the pixels are prepared
        once, with the seed.
    seed
        Random seed of the preparation.

    Raises
    ------
    UsageError
        If the pair has no continuous latent, or needs labels that are missing.

    Examples
    --------
    >>> from pyro_models import VAE, load_data
    >>> vae = VAE((1, 8, 8), latent_dim=5, hidden=[16])
    >>> latents_as_data(vae, load_data("digits"))
    ImageData(digits latents, (5,), train 1,257, validation 180, test 360, grey)
    """
    check_pair(pair)
    data = as_data(data, pair)
    dtype = next(pair.parameters()).dtype
    splits = {}
    for name in data.splits:
        split = data.prepared(name, seed=seed)
        check_float32_suffices(split.x, dtype, name=data.name, seen=split.mask)
        parts = [latent_means(pair, part).cpu() for part in split.chunks(1000)]
        splits[name] = Split(torch.cat(parts), split.y)
    of = replace(data.identity, preparation=data.preparation_with_seed(seed))
    return replace(
        data,
        name=f"{data.name} latents",
        splits=splits,
        preparation="grey",
        levels=None,
        scaling="",
        source=None,
        latents_of={
            "weights": weights_checksum(pair, config=pair.config()),
            "data": of.to_dict(),
            "statistic": "mean of q(z | x)",
        },
    )
