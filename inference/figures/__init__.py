"""Figures: latents, decoded images and learning curves.

Every function returns a ``matplotlib.figure.Figure`` and touches neither pyplot's state, nor the
pair's parameters and modes, nor torch's generators: ``figure.savefig("name.pdf")`` writes it,
and a notebook shows it as a cell's last value. matplotlib is imported when a figure is drawn: a
command that draws none starts without it.

Every function takes ``ax``, the axes of a grid of subplots, or a figure or a part of one, to draw
in; a figure of several panels takes the place that the axes have in their grid. It then returns
the whole figure. Above stands what is shown of which model, and of which data and epoch where the
pair was trained here or loaded from a run; ``title`` says something else.

A figure has one name, that of its function, in Python, at the command line and in files;
``FIGURES`` has all of them with what they need, and ``register_figure`` adds one of your own.
Latents are counted from 1 in all of them: z₁, z₂, ….
"""

from inference.figures.by_model import reconstructions_by_model, samples_by_model
from inference.figures.calibration import expected_coverage, rank_ecdfs, rank_histograms
from inference.figures.completion import completions, encoder_free
from inference.figures.contours import latent_contours
from inference.figures.curves import learning_curves
from inference.figures.denoising import between_samples, denoising, fewer_steps
from inference.figures.guides import guide_gaps
from inference.figures.images import (
    class_grid,
    mixture_means,
    prior_samples,
    reconstructions,
)
from inference.figures.interpolation import interpolation
from inference.figures.latent import latent_grid, latent_scatter
from inference.figures.latent_use import latent_use
from inference.figures.learning_rates import learning_rates
from inference.figures.marginals import marginals
from inference.figures.nearest import nearest
from inference.figures.program_guides import guide_marginals
from inference.figures.registry import FIGURES, Shown, draw_figure, register_figure
from inference.figures.sigma import sigma_curves
from inference.figures.sweep import search_progress, setting_curves

__all__ = [
    "FIGURES",
    "Shown",
    "between_samples",
    "class_grid",
    "completions",
    "denoising",
    "draw_figure",
    "encoder_free",
    "expected_coverage",
    "fewer_steps",
    "guide_gaps",
    "guide_marginals",
    "interpolation",
    "latent_contours",
    "latent_grid",
    "latent_scatter",
    "latent_use",
    "learning_curves",
    "learning_rates",
    "marginals",
    "mixture_means",
    "nearest",
    "prior_samples",
    "rank_ecdfs",
    "rank_histograms",
    "reconstructions",
    "reconstructions_by_model",
    "register_figure",
    "samples_by_model",
    "search_progress",
    "setting_curves",
    "sigma_curves",
]
