"""Files that several processes may write, any of which may die: whole, and held by one."""

from pyro_models.files.atomic import WriteError, is_draft, write_atomically
from pyro_models.files.locks import LOCK, holding, holding_folder, is_free, is_litter
from pyro_models.files.processes import has_ended, this_process

__all__ = [
    "LOCK",
    "WriteError",
    "has_ended",
    "holding",
    "holding_folder",
    "is_draft",
    "is_free",
    "is_litter",
    "this_process",
    "write_atomically",
]
