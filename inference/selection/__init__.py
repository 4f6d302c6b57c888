"""Which setting is best? Those of a grid or a search under several seeds, on validation data."""

from inference.selection.outcome import Outcome
from inference.selection.pruning import PRUNING, Halving, Median, PruningRule, register_pruning
from inference.selection.row import Row
from inference.selection.search import SEARCHES, Random, Search, Tried, register_search
from inference.selection.space import Choice, Number, Whole
from inference.selection.sweep import sweep
from inference.selection.table import Sweep

__all__ = [
    "PRUNING",
    "SEARCHES",
    "Choice",
    "Halving",
    "Median",
    "Number",
    "Outcome",
    "PruningRule",
    "Random",
    "Row",
    "Search",
    "Sweep",
    "Tried",
    "Whole",
    "register_pruning",
    "register_search",
    "sweep",
]
