"""Which parameters make the story fit the data?"""

from inference.learning.callbacks import Callback, CallbackState, Snapshots
from inference.learning.early_warnings import CHECKS, TrainingWarning, register_check
from inference.learning.find_lr import RULES, FoundRate, find_lr
from inference.learning.fit import Fit, Fits, fit
from inference.learning.history import Epoch, History
from inference.learning.nonfinite import NonFiniteError
from inference.learning.optimizers import OPTIMIZERS, SCHEDULES, register_optimizer
from inference.learning.runs import Run
from inference.learning.settings import Settings
from inference.learning.summary import Summary, summarize
from inference.objectives import OBJECTIVES, Objective, make_objective
from pyro_models.moved import renamed

__all__ = [
    "CHECKS",
    "OBJECTIVES",
    "OPTIMIZERS",
    "RULES",
    "SCHEDULES",
    "Callback",
    "CallbackState",
    "Epoch",
    "Fit",
    "Fits",
    "FoundRate",
    "History",
    "NonFiniteError",
    "Objective",
    "Run",
    "Settings",
    "Snapshots",
    "Summary",
    "TrainingWarning",
    "find_lr",
    "fit",
    "make_objective",
    "register_check",
    "register_optimizer",
    "summarize",
]

__getattr__ = renamed(__name__, {"Moment": "CallbackState"})
