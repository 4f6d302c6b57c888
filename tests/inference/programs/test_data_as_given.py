"""Data of any type, and data that do not fit, each said with its site."""

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule, PyroSample
from torch import nn

from inference import Program, infer
from pyro_models import UsageError

VALUES = [0.0, 1.0, 1.0, 0.0, 1.0]


def coin(y):
    share = pyro.sample("share", dist.Beta(1.0, 1.0))
    with pyro.plate("tosses", len(y)):
        pyro.sample("y", dist.Bernoulli(share), obs=y)


def normal(y):
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Normal(loc, 1.0), obs=y)


@pytest.mark.parametrize("model", [coin, normal])
@pytest.mark.parametrize(
    "given",
    [
        list,
        np.array,
        pd.Series,
        lambda values: np.array(values, dtype=np.int64),
        lambda values: torch.tensor(values).long(),
        lambda values: torch.tensor(values).bool(),
        lambda values: torch.tensor(values).double(),
    ],
)
def test_data_of_any_type_have_the_same_density(model, given) -> None:
    u = torch.linspace(-1, 1, 3).unsqueeze(1)
    expected = Program(model, torch.tensor(VALUES)).log_joint(u)
    torch.testing.assert_close(Program(model, given(VALUES)).log_joint(u), expected)


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        (normal, ["a", "b"], "'y' are list, and no numbers"),
        (normal, torch.tensor([1j, 2.0]), "'y' are complex"),
        (normal, torch.ones(5, 1), r"\(5, 1\), and its distribution \(Normal\) is of \(5,\)"),
        (coin, torch.tensor([0.0, 2.0]), "1 values that Bernoulli cannot have, such as 2:"),
    ],
)
def test_data_that_do_not_fit_are_said_with_their_site(model, data, words) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        Program(model, data)
    assert "\n" not in str(caught.value)


def test_data_outside_of_the_support_are_not_given_a_density() -> None:
    def waiting(t):
        rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
        with pyro.plate("rows", len(t)):
            pyro.sample("t", dist.Exponential(rate), obs=t)

    with pytest.raises(UsageError, match="'t' hold 1 values that Exponential cannot have"):
        Program(waiting, torch.tensor([1.0, -0.5]))


def test_a_column_in_a_plate_of_rows_is_not_taken_for_a_table() -> None:
    def model(X, y):
        w = pyro.sample("w", dist.Normal(torch.zeros(2, 1), 1.0).to_event(2))
        with pyro.plate("rows", len(y)):
            pyro.sample("y", dist.Normal(X @ w, 1.0), obs=y)  # (5, 1) in a plate of 5

    with pytest.raises(UsageError, match=r"'y' has log densities of shape \(5, 5\)"):
        Program(model, torch.ones(5, 2), torch.ones(5))


def shapes(y):
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", 3):
        pyro.sample("y", dist.Normal(loc, 1.0), obs=y)


def comes_and_goes(y):
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    if loc > 0:
        pyro.sample("extra", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(loc, 1.0).expand([5]).to_event(1), obs=y)


def looks_at_a_class(y):
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    wide = pyro.sample("wide", dist.Bernoulli(0.5))
    pyro.sample("y", dist.Normal(loc, 2.0 if wide else 1.0).expand([5]).to_event(1), obs=y)


@pytest.mark.filterwarnings("ignore:.*one draw at a time")
@pytest.mark.parametrize(
    ("model", "words"),
    [
        (shapes, r"'y' have the shape \(5,\), and its distribution \(Normal\) is of \(3,\)"),
        (comes_and_goes, "'extra' is sampled in some runs"),
        (looks_at_a_class, r"all their values come at once; choose between them by an index"),
    ],
)
def test_a_model_that_cannot_be_evaluated_is_said_in_a_line(model, words) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        infer(model, torch.tensor(VALUES))
    assert "\n" not in str(caught.value)


def test_a_guide_that_fails_is_said_in_a_line() -> None:
    def mine(y):
        return {}["nothing"]

    with pytest.raises(UsageError, match=r"the guide mine fails \(KeyError: 'nothing'\)"):
        infer(normal, torch.tensor(VALUES), guide=mine)
    with pytest.raises(UsageError, match="guide_options are options by name"):
        infer(normal, torch.tensor(VALUES), guide="nuts", guide_options=3)


def test_data_that_cannot_be_drawn_are_said_in_a_line() -> None:
    def model(y):
        share = pyro.sample("share", dist.Dirichlet(torch.ones(2)))
        totals = y.sum(-1)  # Pyro draws of one total alone
        with pyro.plate("rows", 2):
            pyro.sample("y", dist.DirichletMultinomial(share, total_count=totals), obs=y)

    posterior = infer(model, torch.tensor([[1.0, 2.0], [3.0, 3.0]]), guide="laplace")
    with pytest.raises(UsageError, match="a draw of data from model cannot be computed"):
        posterior.predictive(2)


X = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
NOISE = torch.randn(30, generator=torch.Generator().manual_seed(1))
TRUE = X @ torch.tensor([1.0, -2.0]) + NOISE
EXACT = torch.linalg.solve(X.T @ X + torch.eye(2), X.T @ TRUE)


def closure(y):
    w = pyro.sample("w", dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1))
    pyro.sample("y", dist.Normal(X @ w, 1.0).to_event(1), obs=y)


PRIOR = dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1)


def made_before(y):
    pyro.sample("y", dist.Normal(X @ pyro.sample("w", PRIOR), 1.0).to_event(1), obs=y)


class Layer(PyroModule):
    def __init__(self) -> None:
        super().__init__()
        self.linear = PyroModule[nn.Linear](2, 1, bias=False)
        self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 2]).to_event(2))

    def forward(self, inputs, y):
        mean = self.linear(inputs).squeeze(-1)
        with pyro.plate("rows", len(inputs)):
            pyro.sample("y", dist.Normal(mean, 1.0), obs=y)
        return mean


@pytest.mark.parametrize(
    ("model", "args"),
    [
        (closure, (TRUE,)),
        (closure, (TRUE.double(),)),
        (made_before, (TRUE,)),
        (Layer(), (X, TRUE)),
        (Layer(), (X.double(), TRUE)),
    ],
)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_tensors_and_priors_of_the_model_s_own_stay_of_their_type(model, args, precision) -> None:
    posterior = infer(model, *args, guide="exact", precision=precision)
    (mean,) = posterior.mean.values()
    torch.testing.assert_close(mean.flatten().float(), EXACT, rtol=0, atol=0.02)


def test_a_design_of_whole_numbers_is_multiplied() -> None:
    design = torch.tensor([[1, 0], [0, 1], [1, 1]])

    def model(x, y):
        w = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("y", dist.Normal(x @ w, 1.0).to_event(1), obs=y)

    u, y = torch.randn(4, 2), torch.ones(3)
    whole, floats = (Program(model, x, y).log_joint(u) for x in (design, design.float()))
    torch.testing.assert_close(whole, floats)
