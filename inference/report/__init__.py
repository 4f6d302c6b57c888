"""The report of ``pyro-models demo``: models learned, latents inferred, both evaluated."""

from inference.report.demonstration import demo
from inference.report.part import MakePart, Part

__all__ = ["MakePart", "Part", "demo"]
