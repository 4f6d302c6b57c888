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
from inference.evaluation.guide_table import GuideComparison, GuideScores
from inference.evaluation.guides import compare_guides
from inference.evaluation.quadrature import Quadrature, quadrature, quadrature_kl
from inference.evaluation.quantities import accuracy
from inference.evaluation.quantity import QUANTITIES, Quantity, register_quantity
from inference.evaluation.scores import Score, from_sum, on_unit_pixels, to_bits_per_dimension
from inference.evaluation.table import Table

__all__ = [
    "QUANTITIES",
    "Annealed",
    "Bracket",
    "Calibration",
    "Comparison",
    "Diagnostics",
    "Evaluation",
    "Evidence",
    "GuideComparison",
    "GuideScores",
    "LogWeights",
    "Quadrature",
    "Quantity",
    "Score",
    "Table",
    "accuracy",
    "anneal",
    "bracket",
    "calibrate",
    "compare",
    "compare_guides",
    "diagnose",
    "evaluate",
    "evaluate_completion",
    "evidence",
    "exact_log_prob",
    "from_sum",
    "log_weights",
    "on_unit_pixels",
    "pareto_k_hat",
    "quadrature",
    "quadrature_kl",
    "register_quantity",
    "to_bits_per_dimension",
]
