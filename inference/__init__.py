"""q(z | x): how the unknown is learned, inferred and evaluated; pairs are known by their contract.

``fit`` learns, and ``summarize`` and ``find_lr`` say how before; ``infer``, ``complete`` and
``impute`` find what was not seen; ``evaluate``, ``compare``, ``evidence``, ``compare_guides`` and
``calibrate`` say how good it is; ``sweep`` chooses settings; ``export_run``, ``push_to_hub`` and
``from_hub`` pass on what was trained; ``particles`` is what all are built on; ``figures`` draws.
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
    evaluate_evidence,
    evidence,
    kernel_density,
    sigma_curve,
)
from inference.experiment import Experiment
from inference.hub import Pretrained, export_run, from_hub, push_to_hub
from inference.learning import (
    Fit,
    Fits,
    History,
    Run,
    Settings,
    Snapshots,
    find_lr,
    fit,
    register_check,
    register_optimizer,
    summarize,
)
from inference.objectives import register_objective
from inference.particles import Particles, particles
from inference.posterior import (
    Completion,
    Imputation,
    Posterior,
    complete,
    condition,
    generate,
    hmc,
    impute,
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
    "Imputation",
    "Particles",
    "Posterior",
    "Pretrained",
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
    "evaluate_evidence",
    "evidence",
    "export_run",
    "figures",
    "find_lr",
    "fit",
    "from_hub",
    "generate",
    "hmc",
    "impute",
    "infer",
    "kernel_density",
    "latent_means",
    "nuts",
    "particles",
    "push_to_hub",
    "reconstruct",
    "register_check",
    "register_guide",
    "register_objective",
    "register_optimizer",
    "sigma_curve",
    "summarize",
    "sweep",
]
