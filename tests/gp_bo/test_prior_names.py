"""Priors of hyper-parameters: a name with its numbers is the distribution that it stands for."""

import pyro.distributions as dist
import pytest
import torch

from gp_bo import fit_gp
from gp_bo.prior_names import PRIORS, prior_for
from pyro_models import UsageError

X = torch.linspace(0, 1, 8, dtype=torch.float64)[:, None]
Y = (5 * X[:, 0]).sin()
WRITTEN = {"class_path": "LogNormal", "init_args": {"loc": -1.0, "scale": 0.5}}


def test_a_name_with_its_numbers_is_the_distribution():
    same = dist.LogNormal(torch.tensor(-1.0).double(), torch.tensor(0.5).double())
    expected = fit_gp(X, Y, inference="map", noise=1e-4, priors={"lengthscale": same}).predict(X)
    dotted = {**WRITTEN, "class_path": "pyro.distributions.LogNormal"}
    for prior in (WRITTEN, dotted):
        found = fit_gp(X, Y, inference="map", noise=1e-4, priors={"lengthscale": prior}).predict(X)
        torch.testing.assert_close(found.mean, expected.mean, rtol=0, atol=0)


def test_one_of_ones_own_is_registered():
    PRIORS.register("short", lambda: dist.LogNormal(torch.tensor(-1.0), torch.tensor(0.5)))
    try:
        fitted = fit_gp(X, Y, inference="map", noise=1e-4, priors={"lengthscale": "short"})
        assert fitted.predict(X).mean.isfinite().all()
    finally:
        del PRIORS["short"]


@pytest.mark.parametrize(
    ("prior", "line"),
    [
        ("LogNorm", "unknown prior 'LogNorm': choose from Beta"),
        ("LogNormal", "the prior LogNormal cannot be computed"),
        ({**WRITTEN, "init_args": {"scale": -1.0, "loc": 0.0}}, "the prior LogNormal cannot"),
        ({"class": "LogNormal"}, "an object is written"),
    ],
)
def test_what_is_no_prior_is_one_line(prior, line):
    with pytest.raises(UsageError, match=f"^.*{line}.*\\Z"):
        fit_gp(X, Y, inference="map", priors={"lengthscale": prior})


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("lognormal(0, 1", "lacks a closing bracket"),
        ("lognormal(", "lacks a closing bracket"),
        ("lognormal 0, 1)", "lacks an opening bracket"),
        ("lognormal(0, 1))", "has a closing bracket too many"),
        ("lognormal 0 1", r"needs its numbers in brackets: LogNormal\(…, …\)"),
        ("lognormal", r"needs its numbers in brackets: LogNormal\(…, …\)"),
        ("lognormal[0, 1]", r"needs its numbers in brackets: LogNormal\(…, …\)"),
    ],
)
def test_brackets_that_are_wrong_are_named(written: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        prior_for(written)
