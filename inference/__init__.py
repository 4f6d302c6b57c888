"""q(z | x): how the unknown is learned, inferred and evaluated; pairs are known by their contract.

``fit`` learns; ``infer`` and ``complete`` find what was not seen; ``evaluate``, ``compare``,
``evidence``, ``compare_guides`` and ``calibrate`` say how good it is; ``sweep`` chooses settings;
``particles`` is what all are built on; ``figures`` draws.
"""

from inference import figures
from inference.evaluation import (
    Calibration,
    Comparison,
    Evaluation,
    GuideComparison,
    Score,
    bracket,
    calibrate,
    compare,
    compare_guides,
    diagnose,
    evaluate,
    evaluate_completion,
    evidence,
)
from inference.experiment import Experiment
from inference.learning import (
    Fit,
    Fits,
    History,
    Run,
    Settings,
    Snapshots,
    fit,
    register_optimizer,
)
from inference.objectives import register_objective
from inference.particles import Particles, particles
from inference.posterior import (
    Completion,
    Posterior,
    complete,
    condition,
    generate,
    hmc,
    infer,
    latent_means,
    nuts,
    reconstruct,
    register_guide,
)
from inference.programs import Program, ProgramPosterior
from inference.selection import Sweep, sweep

__all__ = [
    "Calibration",
    "Comparison",
    "Completion",
    "Evaluation",
    "Experiment",
    "Fit",
    "Fits",
    "GuideComparison",
    "History",
    "Particles",
    "Posterior",
    "Program",
    "ProgramPosterior",
    "Run",
    "Score",
    "Settings",
    "Snapshots",
    "Sweep",
    "bracket",
    "calibrate",
    "compare",
    "compare_guides",
    "complete",
    "condition",
    "diagnose",
    "evaluate",
    "evaluate_completion",
    "evidence",
    "figures",
    "fit",
    "generate",
    "hmc",
    "infer",
    "latent_means",
    "nuts",
    "particles",
    "reconstruct",
    "register_guide",
    "register_objective",
    "register_optimizer",
    "sweep",
]
