"""Which pixels a pair learns from, unless told."""

from __future__ import annotations

from pyro_models import ImageData, Pair
from pyro_models.contract import check_pair

__all__ = ["prepared_for"]


def prepared_for(pair: Pair, data: ImageData, *, preparation: str | None = None) -> ImageData:
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
    if preparation is None:
        preparation = pair.likelihood.preparation if data.is_images else "grey"
        if preparation == "dequantised" and data.levels is None:
            preparation = "grey"
    return data if preparation == data.preparation else data.with_preparation(preparation)
