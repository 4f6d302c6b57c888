"""A pool of threads gets the numbers that one thread gets."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from gp_bo import fit_gp
from gp_bo.optimize import Optimizer, minimize
from inference.evaluation import diagnose, evaluate, evidence
from inference.learning import fit
from inference.particles import particles
from inference.posterior import complete, generate, infer, reconstruct
from pyro_models import VAE, load_data
from pyro_models.seeds import seeded

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def data():
    return load_data("digits", preparation="dynamic")


def vae(seed=0):
    with seeded(seed, torch.device("cpu")):
        return VAE(SHAPE, hidden=[8], latent_dim=2, likelihood="bernoulli")


@pytest.fixture(scope="module")
def pair():
    return vae()


@pytest.fixture(scope="module")
def x(data):
    return data.prepared("test", limit=4).x


def trained(seed, data):
    few = vae(seed)
    fit(few, data, epochs=1, curve_size=100, batch_size=400, seed=seed, progress=False)
    return torch.cat([w.flatten() for w in few.parameters()])


def inferred(seed, pair, x):
    posterior = infer(pair, x, guide="normal", max_steps=20, seed=seed, progress=False)
    return posterior.mean["z"]


def gp(seed, inference):
    X = torch.linspace(0, 6, 8, dtype=torch.float64)
    few = {"svi": {"steps": 40, "num_draws": 8}, "map": {"restarts": 2}}
    fitted = fit_gp(X, X.sin(), inference=inference, seed=seed, **few[inference])
    drawn = fitted.sample([[1.0], [2.0]], n=3, seed=seed)
    return torch.cat([fitted.hyperparameters["lengthscale"].flatten(), drawn.flatten()])


def searched(seed):
    gp = {"restarts": 1}
    found = minimize(lambda x: x[0] ** 2, [(-1, 2)], budget=7, seed=seed, gp=gp, initial=5)
    return torch.tensor([e.point[0] for e in found.evaluations])


def scores(evaluation):
    return torch.tensor([score.value for score in evaluation.scores.values()])


WORK = {
    "fit": lambda seed, pair, data, x: trained(seed, data),
    "evaluate": lambda seed, pair, data, x: scores(
        evaluate(pair, data, limit=20, num_particles=5, seed=seed, progress=False)
    ),
    "infer": lambda seed, pair, data, x: inferred(seed, pair, x),
    "complete": lambda seed, pair, data, x: (
        complete(
            pair, x, "left", guide="normal", seed=seed, infer_options={"max_steps": 10}
        ).samples
    ),
    "evidence": lambda seed, pair, data, x: (
        evidence(pair, x, method="annealing", num_chains=2, num_temperatures=20, seed=seed).value
    ),
    "diagnose": lambda seed, pair, data, x: (
        diagnose(pair, data, limit=20, num_particles=200, seed=seed, progress=False).k_hat
    ),
    "generate and reconstruct": lambda seed, pair, data, x: torch.cat(
        [generate(pair, n=3, seed=seed), reconstruct(pair, x, latents="mean", pixels="mean")]
    ),
    "particles": lambda seed, pair, data, x: particles(
        pair, None, x, num_particles=3
    ).log_weight.isfinite(),
    "fit_gp by svi": lambda seed, pair, data, x: gp(seed, "svi"),
    "fit_gp by map": lambda seed, pair, data, x: gp(seed, "map"),
    "minimize": lambda seed, pair, data, x: searched(seed),
}


@pytest.mark.filterwarnings("ignore::gp_bo.InferenceWarning")
def test_the_same_seed_gives_the_same_number_in_a_pool_of_threads(pair, data, x):
    jobs = [(name, seed) for seed in (0, 1) for name in WORK]
    alone = [WORK[name](seed, pair, data, x) for name, seed in jobs]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda job: WORK[job[0]](job[1], pair, data, x), jobs))
    for job, one, other in zip(jobs, alone, found, strict=True):
        assert torch.equal(one, other), job
    assert not torch.equal(alone[0], alone[len(WORK)])  # another seed, another number
    assert torch.get_default_dtype() == torch.float32


def test_threads_that_share_a_search_are_given_different_points_and_lose_no_value(tmp_path):
    optimizer = Optimizer([(0.0, 1.0)], state=tmp_path / "s.json", initial=1000)

    def work(_):
        [point] = optimizer.ask()
        optimizer.tell(point, point[0])
        return point

    with ThreadPoolExecutor(4) as pool:
        points = list(pool.map(work, range(24)))
    assert len(set(points)) == 24
    assert {e.point for e in optimizer.evaluations} == set(points)
    assert len(optimizer.evaluations) == 24
    assert not optimizer.pending
