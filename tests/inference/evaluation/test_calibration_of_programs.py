"""Any Pyro model is calibrated, all its simulations at once where a guide allows it."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from inference import calibrate
from inference.posterior.guides import Family
from inference.posterior.guides.per_datum import PerDatumGuide
from inference.programs import Program
from inference.programs.simulated import SimulatedPair
from pyro_models import UsageError
from tests.inference.programs.conftest import weak_groups

ZEROS = torch.zeros(4, dtype=torch.float64)


def model(y: Tensor) -> None:
    """θ ~ N(0, 1), four data N(θ, 1): θ | y ~ N(Σ y / 5, 1 / 5)."""
    theta = pyro.sample("theta", dist.Normal(torch.zeros((), dtype=torch.float64), 1.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(theta, 1.0), obs=y)


class InUnits(PerDatumGuide):
    """N(by, scale²) in the units of a program, in which the posterior of a Normal is N(0, 1)."""

    def __init__(self, dim: int, *, by: float, scale: float) -> None:
        super().__init__()
        self.dim, self.by, self.scale = dim, by, scale

    def sample(self, index: Tensor) -> None:
        at = torch.full((len(index), self.dim), self.by, dtype=torch.float64)
        pyro.sample("u", dist.Normal(at, self.scale).to_event(1))


def in_units(by: float = 0.0, scale: float = 1.0) -> Family:
    return Family(lambda target: InUnits(target.dim, by=by, scale=scale), fitted=False)


def test_the_posterior_itself_passes_and_others_are_found_with_their_direction() -> None:
    few = {"num_simulations": 150, "num_draws": 19}
    for seed in range(2):
        right = calibrate(model, ZEROS, guide=in_units(), seed=seed, level=0.01, **few)
        assert right.is_calibrated
    narrow = calibrate(model, ZEROS, guide=in_units(scale=0.5), **few)
    assert list(narrow.values) == ["theta", "log_likelihood", "log_q", "tarp"]
    assert narrow.findings[0].startswith("theta: standard deviations too narrow, 0.5")
    shifted = calibrate(model, ZEROS, guide=in_units(by=0.6), **few)
    assert shifted.findings[0].startswith("theta: shifted upwards by 0.")
    assert shifted.model == "model"


def test_all_data_sets_at_once_have_the_densities_that_each_has() -> None:
    program = Program(model, ZEROS)
    pair = SimulatedPair(program)
    _, data = program.simulate(3, seed=1)
    x = pair.observe(data, seed=0).x
    u = torch.randn(2, 3, 1, dtype=torch.float64)
    reals, terms = pair.reals(u, x), pair.log_terms(u, x)
    assert torch.allclose(pair.standard(reals, x), u)
    for i in range(3):
        own = program.given({"y": data["y"][i]}).log_joint(reals[:, i])
        assert torch.allclose(terms.joint[:, i], own + 0.5 * torch.tensor(1 / 5).log())
    loc, scale = x[:, 4:].T
    assert torch.allclose(loc, data["y"].sum(1) / 5)
    assert torch.allclose(scale.square(), torch.full_like(scale, 1 / 5))


def constrained(counts: Tensor, groups: int) -> None:
    """Positive rates of groups, two data each, and a discrete latent that is summed out."""
    rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
    with pyro.plate("groups", groups):
        own = pyro.sample("own", dist.Gamma(3.0, 3.0))
        high = pyro.sample("high", dist.Bernoulli(0.3))
        pyro.sample("counts", dist.Poisson(rate * own * (1 + high)), obs=counts)


def test_constrained_enumerated_and_integer_sites_are_calibrated() -> None:
    few = {"guide": "laplace", "num_simulations": 6, "num_draws": 9, "max_steps": 30}
    mean = {"mean": lambda values, data: values["own"].mean(-1) + data["counts"].sum()}
    found = calibrate(constrained, torch.ones(3), groups=3, quantities=mean, **few)
    names = ["rate", "own[0]", "own[1]", "own[2]", "log_likelihood", "log_q", "tarp", "mean"]
    assert list(found.values) == names
    assert len(found) == 6


def test_a_guide_that_is_fitted_to_each_data_set_goes_on_after_a_kill(tmp_path) -> None:
    made = []

    class Own(torch.nn.Module):
        """No family: a Pyro guide, called like the model with the data of one set."""

        def forward(self, y: Tensor) -> None:
            made.append(1)
            pyro.sample("theta", dist.Normal(y.mean(), 0.5))

    few = {"guide": Own(), "num_draws": 9, "resume": tmp_path / "kept"}
    first = calibrate(model, ZEROS, num_simulations=2, **few)
    calls = len(made)
    more = calibrate(model, ZEROS, num_simulations=3, **few)
    assert torch.equal(more.values["theta"][:2], first.values["theta"])
    assert 0 < len(made) - calls < calls


def improper(y: Tensor) -> None:
    theta = pyro.sample("theta", dist.ImproperUniform(dist.constraints.real, (), ()))
    pyro.sample("y", dist.Normal(theta, 1.0), obs=y)


def with_factor(y: Tensor) -> None:
    theta = pyro.sample("theta", dist.Normal(0.0, 1.0))
    pyro.factor("y", -theta.square())


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (improper, "the prior of theta is improper"),
        (with_factor, "the model has a factor 'y'"),
        (lambda y: None, "no latent"),
        (3, "calibrate takes a pair, a Pyro model with its arguments"),
    ],
)
def test_what_cannot_be_simulated_is_said_in_one_line(program: object, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        calibrate(program, torch.zeros(()), num_simulations=2)
    assert "\n" not in str(caught.value)


def test_fits_of_many_data_sets_at_once_do_not_fall_into_the_neck_of_a_funnel() -> None:
    found = calibrate(weak_groups, torch.zeros(8), guide="normal", num_simulations=40)
    assert found.num_unfinished == 0
    for i in range(8):  # mean field is nearly right about each group, given the others
        assert found.ranks[f"theta[{i}]"].width[0] > 0.6
