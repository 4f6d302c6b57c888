"""What is launched as a graph comes to what is run: inference, chains, annealing and bounds.

The graph is a simulated one, as strict as CUDA's about what it may read and where.
"""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import cuda_graph
from inference.cuda_graph import Launched, run_directly
from inference.evaluation import estimates
from inference.evaluation.annealing import anneal
from inference.evaluation.estimates import log_weights
from inference.posterior import Plateau, complete, completion, condition, hmc, infer, nuts
from inference.posterior.guides.normal import NormalGuide, start_of
from inference.posterior.separate_fits import STEPS
from pyro_models import VAE
from tests.simulated_graph import tape

SHAPE = (1, 4, 4)


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return VAE(SHAPE, hidden=[6], latent_dim=2, likelihood="bernoulli")


@pytest.fixture(scope="module")
def x():
    return torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0)).round()


@pytest.fixture
def launches(monkeypatch):
    """Call it, and the CPU launches graphs from then on; the list grows by one for each launch."""
    launched = []

    def graph(steps, optimizer=None, **options):
        replay = tape(steps, optimizer, **options)
        return lambda: (launched.append(1), replay())

    def begin():
        monkeypatch.setitem(cuda_graph.LAUNCHERS, "cpu", graph)
        return launched

    return begin


def drawn(draws):
    return draws.z, draws.acceptance, draws.divergences, draws.step_size, draws.scale


def annealed(found):
    return found.log_weights, found.z, found.acceptance, found.step_sizes


WORK = {
    "hmc": lambda vae, x: drawn(
        hmc(
            condition(vae, x[:2]),
            num_samples=4,
            warmup=20,
            num_chains=2,
            num_leapfrog=3,
        )
    ),
    "nuts": lambda vae, x: drawn(
        nuts(condition(vae, x[:2]), num_samples=4, warmup=20, num_chains=2)
    ),
    "annealing": lambda vae, x: annealed(
        anneal(
            condition(vae, x[:2], guide=vae.guide),
            num_temperatures=24,
            num_chains=2,
            num_pilots=1,
            num_leapfrog=10,
        )
    ),
    "a bound of many particles": lambda vae, x: vars(
        log_weights(vae, x, num_particles=60)
    ).values(),
    "completion": lambda vae, x: vars(
        complete(vae, x, "left", guide="encoder_zeros", num_latents=3)
    ).values(),
    "a fit": lambda vae, x: (
        *(p := infer(vae, x, guide="normal", mask="left", max_steps=73)).mean.values(),
        p.steps,
    ),
}


@pytest.mark.parametrize("name", WORK)
def test_launches_give_the_numbers_of_the_operations(name, vae, x, launches, monkeypatch):
    for module, size in ((estimates, 7), (completion, 1)):  # several, the last one smaller
        monkeypatch.setattr(module, "chunk_size", lambda pair, size=size, **_: size)
    found = []
    for _ in range(2):
        torch.manual_seed(1)
        results = [r for r in WORK[name](vae, x) if isinstance(r, torch.Tensor)]
        found.append([*results, torch.rand(3)])
        launched = launches()
    assert len(launched) > 1
    assert len(found[0]) > 2
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


class Breaks(NormalGuide):
    """Images whose scales have grown too far have numbers no more."""

    per_datum = ("most",)

    def __init__(self, target):
        super().__init__(start_of(target, 0.1))
        self.register_buffer("most", torch.tensor([-1.5, 9.0, 9.0]))

    def sample(self, index):
        log_scale = self.log_scale["z"]
        gone = log_scale.detach() > self.most.unsqueeze(-1)
        scale = log_scale.exp() + torch.where(gone, math.nan, 0.0)
        pyro.sample("z", dist.Normal(self.loc["z"], scale, validate_args=False).to_event(1))


def test_an_image_that_leaves_the_numbers_amid_a_launch_stops_at_its_step(vae, x, launches):
    found = []
    for _ in range(2):
        options = {"estimator": "kl", "lr": 0.02, "max_steps": 80, "starts": 0}
        found.append(infer(vae, x[:3], guide=Breaks, **options))
        launched = launches()
    plain, posterior = found
    assert launched
    assert plain.stopped == posterior.stopped == ("non-finite", "step limit", "step limit")
    assert plain.steps.tolist() == posterior.steps.tolist()
    assert 30 < plain.steps[0] < 80
    assert plain.steps[0] % STEPS != 1  # as it is with the steps of a launch


def test_images_that_have_converged_wait_for_half_of_the_others(vae, x, launches):
    """The batch changes its size seldom; what each image comes to is as good."""
    rule = Plateau(window=20, patience=2, decays=0)
    options = {"guide": "normal", "max_steps": 900, "stopping": rule}
    plain = infer(vae, x, **options)
    launched = launches()
    posterior = infer(vae, x, **options)
    assert len(launched) > 5
    assert set(posterior.stopped) == {"converged"}
    assert len(set(posterior.steps.tolist())) > 1
    torch.testing.assert_close(posterior.mean["z"], plain.mean["z"], atol=0.2, rtol=0)


def test_what_can_be_no_graph_is_run_and_says_so():
    waits = Launched(
        lambda x: (x * float(x.sum()),), lambda s, o: tape(s, device=x.device), what="w"
    )
    x = torch.ones(2)
    with pytest.warns(UserWarning, match="w are no CUDA graph, but run: operation not permitted"):
        found = [waits(x * i)[0].tolist() for i in range(6)]
    assert found == [[2.0 * i * i] * 2 for i in range(6)]


def test_each_shape_and_value_has_a_launch_of_its_own_and_results_are_kept():
    times = Launched(lambda x, n: (n * x,), lambda s, o: tape(s, device=x.device), what="w")
    x = torch.ones(2)
    found = [times(x * i, n) + times(x[:1] * i, n) for i in range(6) for n in (2, 3)]
    assert [f[0].tolist() for f in found] == [[float(n * i)] * 2 for i in range(6) for n in (2, 3)]
    assert [f[1].tolist() for f in found] == [[float(n * i)] for i in range(6) for n in (2, 3)]


def test_where_operations_are_waited_for_nothing_is_launched():
    assert cuda_graph.launcher_of(torch.device("cpu")) is None
    steps = list
    assert run_directly(steps) is steps
