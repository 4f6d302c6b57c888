"""New data from a pair's model."""

from __future__ import annotations

from pyro import poutine
from torch import Tensor

from inference.isolated import isolated
from inference.posterior.reconstruction import Draw, check_draw
from pyro_models import Pair
from pyro_models.contract import check_pair
from pyro_models.counts import check_counts
from pyro_models.labels import labels_for
from pyro_models.seeds import check_seed

__all__ = ["generate"]


def generate(
    pair: Pair, *, n: int, y: Tensor | int | None = None, pixels: Draw = "mean", seed: int = 0
) -> Tensor:
    """Data of latents drawn from the prior, (n, \\*data_shape), where the pair is.

    The same seed gives the same latents, whichever of the two is asked for; the caller's generators
    do not move.

    Parameters
    ----------
    pair
        Whose model generates.
    n
        How many.
    y
        Labels (n,), or one for all, for a pair that conditions on them.
    pixels
        ``"mean"``: E[x | z]. ``"sample"``: x ~ p(x | z).
    seed
        Random seed of the draws.

    Examples
    --------
    >>> from pyro_models import VAE
    >>> generate(VAE((1, 8, 8), hidden=[16]), n=5).shape
    torch.Size([5, 1, 8, 8])

    Raises
    ------
    UsageError
        If n < 1, or labels do not fit.
    """
    check_pair(pair)
    check_draw("pixels", pixels)
    check_counts(n=n)
    check_seed(seed)
    with isolated(pair, seed=seed) as device:
        labels = labels_for(y, n, device)
        trace = poutine.trace(pair.model).get_trace(n=n, y=labels)
        found: Tensor = trace.nodes["x"]["value"]
        if pixels == "mean":
            latents = {n: trace.nodes[n]["value"] for n in pair.latent_sites if n in trace}
            found = pair.decode(latents, y=labels)["x"].mean
        return found
