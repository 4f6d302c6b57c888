"""Images and vectors in memory, with their preparation named."""

from pyro_models.data.identity import Identity, checksum, weights_checksum
from pyro_models.data.images import ImageData, Split
from pyro_models.data.observed import Observed
from pyro_models.data.precision import check_float32_suffices, loses
from pyro_models.data.preparation import PREPARATIONS, prepare, to_grey
from pyro_models.data.sources import (
    DATA_SETS,
    DATA_VARIABLE,
    PROVENANCE,
    as_data,
    half_seen,
    load_data,
)
from pyro_models.data.table import Table, TableColumn

__all__ = [
    "DATA_SETS",
    "DATA_VARIABLE",
    "PREPARATIONS",
    "PROVENANCE",
    "Identity",
    "ImageData",
    "Observed",
    "Split",
    "Table",
    "TableColumn",
    "as_data",
    "check_float32_suffices",
    "checksum",
    "half_seen",
    "load_data",
    "loses",
    "prepare",
    "to_grey",
    "weights_checksum",
]
