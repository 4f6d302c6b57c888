"""Which setting is best? Every combination under several seeds, evaluated on validation data."""

from inference.selection.sweep import sweep
from inference.selection.table import Row, Sweep
from inference.selection.trial import Outcome

__all__ = ["Outcome", "Row", "Sweep", "sweep"]
