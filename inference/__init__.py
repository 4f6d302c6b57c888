"""q(z | x): how the unknown is learned, inferred and judged; pairs are known by their contract.

``fit`` learns, ``evaluate`` and ``compare`` judge, ``sweep`` chooses settings, ``particles`` is
what all are built on, ``figures`` draws.
"""

from inference import figures
from inference.evaluation import Comparison, Evaluation, Score, compare, evaluate
from inference.learning import Fit, History, Run, Snapshots, fit
from inference.particles import Particles, particles
from inference.posterior import generate, latent_means, reconstruct
from inference.selection import Sweep, sweep

__all__ = [
    "Comparison",
    "Evaluation",
    "Fit",
    "History",
    "Particles",
    "Run",
    "Score",
    "Snapshots",
    "Sweep",
    "compare",
    "evaluate",
    "figures",
    "fit",
    "generate",
    "latent_means",
    "particles",
    "reconstruct",
    "sweep",
]
