"""Calibration: is a posterior right over all data that its model might bring about?"""

from inference.evaluation.calibration.calibrate import calibrate
from inference.evaluation.calibration.calibration import Calibration, Coverage
from inference.evaluation.calibration.ranks import Ranks, rank_of
from inference.evaluation.calibration.symmetry import symmetric_p_value
from inference.evaluation.calibration.uniformity import Band, band, uniform_p_value

__all__ = [
    "Band",
    "Calibration",
    "Coverage",
    "Ranks",
    "band",
    "calibrate",
    "rank_of",
    "symmetric_p_value",
    "uniform_p_value",
]
