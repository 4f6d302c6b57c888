"""Figures: latents, decoded images and learning curves.

Every function returns a new ``matplotlib.figure.Figure`` and touches neither pyplot's state, nor
the pair's parameters and modes, nor torch's generators: ``figure.savefig("name.pdf")`` writes it,
and a notebook shows it as a cell's last value (after ``%matplotlib inline``).

===========================  ====================================================================
``latent_scatter``           posterior means of data, by class
``latent_grid``              decoded means on a regular grid of two latents
``reconstructions``          originals beside reconstructions
``prior_samples``            images of latents drawn from the prior
``class_grid``               prior samples of every class, one column each
``interpolation``            images decoded on the way from one datum's code to another's
``mixture_means``            the mean image of every component of a mixture
``completions``              originals, what was seen of them, and the rest filled in
``encoder_free``             originals, decoded from fitted latents, and from the encoder's
``latent_contours``          p(z, x_seen) and q over two latents, in one plot
``learning_curves``          the bound, epoch by epoch
``latent_use``               KL and variances of each latent dimension
``guide_gaps``               what guides lose: approximation and amortisation gap
``setting_curves``           a score against a setting, with error bars over seeds
===========================  ====================================================================
"""

from inference.figures.completion import completions, encoder_free
from inference.figures.contours import latent_contours
from inference.figures.curves import learning_curves
from inference.figures.guides import guide_gaps
from inference.figures.images import (
    class_grid,
    interpolation,
    mixture_means,
    prior_samples,
    reconstructions,
)
from inference.figures.latent import latent_grid, latent_scatter
from inference.figures.latent_use import latent_use
from inference.figures.sweep import setting_curves

__all__ = [
    "class_grid",
    "completions",
    "encoder_free",
    "guide_gaps",
    "interpolation",
    "latent_contours",
    "latent_grid",
    "latent_scatter",
    "latent_use",
    "learning_curves",
    "mixture_means",
    "prior_samples",
    "reconstructions",
    "setting_curves",
]
