"""Images and vectors in memory, with their preparation named."""

from pyro_models.data.images import ImageData, Split
from pyro_models.data.preparation import PREPARATIONS, prepare, to_grey
from pyro_models.data.sources import DATA_SETS, DATA_VARIABLE, load_data

__all__ = [
    "DATA_SETS",
    "DATA_VARIABLE",
    "PREPARATIONS",
    "ImageData",
    "Split",
    "load_data",
    "prepare",
    "to_grey",
]
