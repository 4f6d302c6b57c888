"""Programs: any Pyro model with its arguments, inferred by the engine that pairs have."""

from inference.programs.pair import ProgramPair
from inference.programs.posterior import ProgramPosterior
from inference.programs.program import Program

__all__ = ["Program", "ProgramPair", "ProgramPosterior"]
