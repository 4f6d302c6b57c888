"""Gaussian processes as scikit-learn estimators: a regressor and a classifier."""

from gp_bo.estimators.classifier import GPClassifier
from gp_bo.estimators.regressor import GPRegressor

__all__ = ["GPClassifier", "GPRegressor"]
