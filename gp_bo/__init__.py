"""Functions instead of images, on the same ``inference``: Gaussian processes.

``fit_gp`` infers the hyper-parameters by any of several methods; what it returns predicts, draws
functions and scores itself as a mixture over them.
"""

from gp_bo.export import to_arviz
from gp_bo.fit import InferenceWarning, fit_gp
from gp_bo.fitted import FittedGP
from gp_bo.kernels import register_kernel
from gp_bo.latent.fitted import LatentGP
from gp_bo.optimize import Optimizer, minimize, register_acquisition
from gp_bo.prediction import Prediction, PredictiveScores
from gp_bo.sparse import SparseGP
from gp_bo.storing import load_gp

__all__ = [
    "FittedGP",
    "InferenceWarning",
    "LatentGP",
    "Optimizer",
    "Prediction",
    "PredictiveScores",
    "SparseGP",
    "fit_gp",
    "load_gp",
    "minimize",
    "register_acquisition",
    "register_kernel",
    "to_arviz",
]
