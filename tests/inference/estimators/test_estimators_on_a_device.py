"""Estimators compute where they are told to, and answer with arrays; the device is simulated."""

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from gp_bo.estimators import GPRegressor
from inference.estimators import PairEstimator
from tests.simulated_device import simulate

pytestmark = pytest.mark.skipif(not simulate(), reason="this torch lets nobody simulate a device")
SIM = "sim:0"
SMALL = {"hidden": [4], "latent_dim": 2}


@pytest.mark.parametrize(
    ("name", "options"),
    [("vae", SMALL), ("cvae", SMALL), ("m2", SMALL), ("ppca", {}), ("gmm", {"num_components": 2})],
)
def test_what_a_device_learned_is_answered_in_arrays(name: str, options: Any) -> None:
    X, y = make_blobs(40, n_features=3, random_state=0)
    estimator = PairEstimator(
        name, options=options, epochs=1, num_particles=3, device=SIM, random_state=0
    ).fit(X, y)
    assert str(next(iter(estimator.pair_.parameters())).device) == SIM
    Z = estimator.transform(X)
    answers = [estimator.score_samples(X), Z, estimator.inverse_transform(Z), estimator.sample(3)]
    if hasattr(estimator, "predict"):
        answers += [estimator.predict_proba(X), estimator.predict(X)]
    assert all(type(found) is np.ndarray for found in answers)


def test_a_gaussian_process_on_a_device_answers_in_arrays() -> None:
    X, y = np.linspace(0, 6, 15)[:, None], np.sin(np.linspace(0, 6, 15))
    gp = GPRegressor(device=SIM, inference_options={"restarts": 1}, random_state=0).fit(X, y)
    assert str(gp.fitted_.device) == SIM
    mean, covariance = gp.predict(X, return_cov=True)
    found = (mean, covariance, gp.sample_y(X, 2), gp.X_train_, gp.hyperparameters_["noise"])
    assert all(type(each) is np.ndarray for each in found)
    assert np.isfinite(gp.log_marginal_likelihood_value_)
