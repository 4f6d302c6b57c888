"""Every pair as a scikit-learn estimator, for pipelines, grids and cross-validation.

It is for who imports it: ``import inference`` alone does not wait for scikit-learn.
"""

from inference.estimators.pair_classifier import PairClassifier
from inference.estimators.pair_estimator import PairEstimator

__all__ = ["PairClassifier", "PairEstimator"]
