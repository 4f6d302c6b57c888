"""How good is the story, and may these two numbers be compared at all?"""

from inference.evaluation.annealing import Annealed, anneal
from inference.evaluation.bracket import Bracket, bracket
from inference.evaluation.calibration import Calibration, calibrate
from inference.evaluation.comparison import Comparison, compare
from inference.evaluation.completion import evaluate_completion
from inference.evaluation.diagnostics import Diagnostics, diagnose, pareto_k_hat
from inference.evaluation.estimates import LogWeights, exact_log_prob, log_weights
from inference.evaluation.evaluation import Evaluation, evaluate
from inference.evaluation.evidence import Evidence, evidence
from inference.evaluation.evidence_scores import evaluate_evidence
from inference.evaluation.feature_distances import (
    coverage,
    density,
    frechet_distance,
    kernel_distance,
)
from inference.evaluation.features import CLASSIFIERS, Classifier, register_classifier
from inference.evaluation.floors import evaluate_samples, sample_floors
from inference.evaluation.guide_table import GuideComparison, GuideScores
from inference.evaluation.guides import compare_guides
from inference.evaluation.kernels import KernelDensity, kernel_density
from inference.evaluation.program_table import ProgramGuideComparison, ProgramGuideScores
from inference.evaluation.quadrature import Quadrature, quadrature, quadrature_kl
from inference.evaluation.quantities import accuracy
from inference.evaluation.quantity import QUANTITIES, Quantity, register_quantity
from inference.evaluation.scores import Score, from_sum, on_unit_pixels, to_bits_per_dimension
from inference.evaluation.sigmas import SigmaCurve, sigma_curve
from inference.evaluation.spherical import with_sigma
from inference.evaluation.table import Table

__all__ = [
    "CLASSIFIERS",
    "QUANTITIES",
    "Annealed",
    "Bracket",
    "Calibration",
    "Classifier",
    "Comparison",
    "Diagnostics",
    "Evaluation",
    "Evidence",
    "GuideComparison",
    "GuideScores",
    "KernelDensity",
    "LogWeights",
    "ProgramGuideComparison",
    "ProgramGuideScores",
    "Quadrature",
    "Quantity",
    "Score",
    "SigmaCurve",
    "Table",
    "accuracy",
    "anneal",
    "bracket",
    "calibrate",
    "compare",
    "compare_guides",
    "coverage",
    "density",
    "diagnose",
    "evaluate",
    "evaluate_completion",
    "evaluate_evidence",
    "evaluate_samples",
    "evidence",
    "exact_log_prob",
    "frechet_distance",
    "from_sum",
    "kernel_density",
    "kernel_distance",
    "log_weights",
    "on_unit_pixels",
    "pareto_k_hat",
    "quadrature",
    "quadrature_kl",
    "register_classifier",
    "register_quantity",
    "sample_floors",
    "sigma_curve",
    "to_bits_per_dimension",
    "with_sigma",
]
