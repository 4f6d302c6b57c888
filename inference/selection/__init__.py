"""Which setting is best? Every combination under several seeds, evaluated on validation data."""

from inference.selection.outcome import Outcome
from inference.selection.sweep import sweep
from inference.selection.table import Row, Sweep

__all__ = ["Outcome", "Row", "Sweep", "sweep"]
