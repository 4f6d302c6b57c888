"""Which pixels a pair learns from, and begins with, unless told."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_models import ImageData, Observed, Pair
from pyro_models.contract import check_pair
from pyro_models.data import as_data
from pyro_models.observed import Data

__all__ = ["for_start", "prepared_for"]

_PIXELS = 64  # sorted at a time, which bounds memory


def prepared_for(
    pair: Pair, data: ImageData | Data, *, preparation: str | None = None
) -> ImageData:
    """The data prepared as asked, or as suits the pair's likelihood.

    Vectors stay as they are, and so do pixels that the likelihood would have dequantised but whose
    number of grey levels is unknown.

    Raises
    ------
    UsageError
        If the preparation asked for is unknown or not one for these data.

    Examples
    --------
    >>> from pyro_models import GMM, load_data
    >>> prepared_for(GMM((1, 8, 8)), load_data("digits")).preparation
    'dequantised'
    """
    check_pair(pair)
    data = as_data(data, pair)
    if preparation is None:
        preparation = pair.likelihood.preparation if data.is_images else "grey"
        if preparation == "dequantised" and data.levels is None:
            preparation = "grey"
    return data if preparation == data.preparation else data.with_preparation(preparation)


def for_start(data: Observed) -> Tensor:
    """Whole data (N, \\*data_shape) to start a pair from, which may be half-seen.

    An unseen pixel takes the value that another datum was seen to have there, each seen one in
    turn; it is 0 where no datum was seen. Every pixel so keeps its own distribution.

    Examples
    --------
    >>> seen = Observed(torch.tensor([[1.0, 9.0], [2.0, 9.0]]), mask=[[1, 0], [0, 0]])
    >>> for_start(seen)
    tensor([[1., 0.],
            [1., 0.]])
    """
    if data.mask is None:
        return data.x
    turns = torch.arange(len(data), device=data.x.device).unsqueeze(1)
    parts = []
    for x, seen in zip(
        data.x.flatten(1).split(_PIXELS, 1), data.mask.flatten(1).split(_PIXELS, 1), strict=True
    ):
        seen_first = (~seen).to(torch.uint8).argsort(dim=0, stable=True)
        which = seen_first.gather(0, turns % seen.sum(0).clamp_min(1))
        parts.append(torch.where(seen, x, x.gather(0, which)))
    return torch.cat(parts, 1).reshape(data.x.shape)
