"""Which parameters make the story fit the data?"""

from inference.learning.callbacks import Callback, Moment, Snapshots
from inference.learning.fit import Fit, fit
from inference.learning.history import Epoch, History
from inference.learning.nonfinite import NonFiniteError
from inference.learning.objectives import OBJECTIVES, Objective, make_objective
from inference.learning.runs import Run

__all__ = [
    "OBJECTIVES",
    "Callback",
    "Epoch",
    "Fit",
    "History",
    "Moment",
    "NonFiniteError",
    "Objective",
    "Run",
    "Snapshots",
    "fit",
    "make_objective",
]
