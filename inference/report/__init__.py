"""The report of ``pyro-models demo``: models learned, latents inferred, both evaluated."""

from inference.report.demonstration import demo
from inference.report.page import MakeSection, Section
from pyro_models.moved import renamed

__all__ = ["MakeSection", "Section", "demo"]

__getattr__ = renamed(__name__, {"MakePart": "MakeSection", "Part": "Section"})
