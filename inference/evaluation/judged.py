"""The data that a pair is judged on: part of a split, prepared as they say, where the pair is."""

from __future__ import annotations

from numbers import Integral

from inference.learning.recorded_data import check_held_out
from inference.learning.settings import check_pair_fits_data
from pyro_models import ImageData, Pair, UsageError
from pyro_models.data import Split
from pyro_models.seeds import check_seed

__all__ = ["check_limit", "judged_split"]


def check_limit(limit: int | None) -> None:
    """Refuse to judge less than one datum; ``None`` is all of them.

    Raises
    ------
    UsageError
        If it is below 1, or no whole number.
    """
    if limit is None:
        return
    if not isinstance(limit, Integral) or isinstance(limit, bool) or limit < 1:
        raise UsageError(f"limit must be at least 1, a whole number; got {limit}")


def judged_split(pair: Pair, data: ImageData, *, split: str, limit: int | None, seed: int) -> Split:
    """The first ``limit`` data of a split, prepared, on the pair's device and in its float type.

    Parameters
    ----------
    pair
        What is judged.
    data, split
        Data, and which of their splits.
    limit
        Number of data; ``None`` for all.
    seed
        Of the preparation.

    Raises
    ------
    UsageError
        If data or seed do not fit, the limit is below 1, or the split is empty.

    Examples
    --------
    >>> from pyro_models import PPCA, load_data
    >>> ppca, data = PPCA((1, 8, 8), latent_dim=2), load_data("digits")
    >>> judged_split(ppca, data, split="test", limit=20, seed=0).x.shape
    torch.Size([20, 1, 8, 8])
    """
    check_seed(seed)
    check_limit(limit)
    check_pair_fits_data(pair, data, splits=[split], seed=seed)
    check_held_out(pair, data, split)
    prepared = data.prepared(split, seed=seed, limit=limit)
    if not len(prepared):
        raise UsageError(f"the {split} split of {data.name} is empty")
    first = next(pair.parameters())
    y = None if prepared.y is None else prepared.y.to(first.device)
    return Split(prepared.x.to(first.device, first.dtype), y)
