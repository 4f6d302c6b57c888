"""Pictures of Gaussian processes: bands, drawn functions, hyper-posteriors, traces."""

from gp_bo.figures.bands import bands, draw_band, draw_bands
from gp_bo.figures.hyper_posterior import hyper_scatter, traces

__all__ = ["bands", "draw_band", "draw_bands", "hyper_scatter", "traces"]
