"""NUTS draws from the posterior of many data at once, each with its own scale and step."""

import pytest
import torch
from pyro.infer import MCMC, NUTS

from inference.posterior import condition
from inference.posterior.nuts import nuts
from pyro_models import PPCA, VAE, UsageError
from tests.inference.posterior.test_hmc import rotated_ppca


@pytest.mark.parametrize(("masked", "seed"), [(False, 0), (True, 1)])
def test_mean_and_covariance_are_those_of_the_exact_posterior(masked: bool, seed: int) -> None:
    pair = rotated_ppca()
    x = torch.randn(4, 8, dtype=torch.float64)
    mask = torch.rand(4, 8) < 0.5 if masked else None
    chains = 60
    target = condition(pair, x, mask=mask)
    draws = nuts(target, num_samples=40, num_chains=chains, warmup=60, seed=seed)
    exact = pair.exact_posterior(x, mask)
    mean, covariance = exact.mean.detach(), exact.covariance_matrix.detach()
    z = (draws.mean - mean) / draws.mean_error
    assert float(z.square().mean()) < 2.5  # 12 numbers
    assert float(z.abs().max()) < 4.5
    centered = draws.z - mean  # the mean of products about the true mean has no bias
    products = torch.einsum("scbi,scbj->cbij", centered, centered) / len(centered)
    wrong = (products.mean(0) - covariance) / (products.std(0) / chains**0.5)
    assert float(wrong.abs().max()) < 5
    assert float(draws.r_hat.max()) < 1.1
    assert float((draws.acceptance - 0.8).abs().max()) < 0.15
    assert not draws.stats["diverging"].any()
    assert draws.stats["acceptance_rate"].shape == (40, chains, 4)


def test_each_datum_finds_its_own_scale() -> None:
    pair = PPCA((4,), latent_dim=1).double()
    with torch.no_grad():
        pair.model.W.copy_(torch.tensor([[0.1], [3.0], [10.0], [100.0]], dtype=torch.float64))
        pair.model.set_sigma(1.0)
    x, mask = torch.randn(4, 4, dtype=torch.float64), torch.eye(4).bool()
    exact = pair.exact_posterior(x, mask)
    draws = nuts(condition(pair, x, mask=mask), num_samples=60, num_chains=30, warmup=100)
    assert float(((draws.mean - exact.mean.detach()) / draws.mean_error).abs().max()) < 4
    torch.testing.assert_close(draws.scale, exact.stddev.detach(), rtol=0.4, atol=0)


def test_it_agrees_with_the_sampler_of_pyro() -> None:
    torch.manual_seed(0)
    vae = VAE((1, 4, 4), latent_dim=2, hidden=[8], likelihood="bernoulli").double()
    x = (torch.rand(1, 1, 4, 4) < 0.5).double()
    ours = nuts(condition(vae, x), num_samples=400, num_chains=8, warmup=60)
    chain = MCMC(
        NUTS(vae.model, max_plate_nesting=1),
        num_samples=400,
        warmup_steps=100,
        disable_progbar=True,
    )
    chain.run(x)
    theirs = chain.get_samples()["z"][:, 0]
    error = (theirs.var(0) / 100 + ours.mean_error[0].square()).sqrt()  # a quarter are independent
    assert float(((theirs.mean(0) - ours.mean[0]) / error).abs().max()) < 4.5


def test_the_same_seed_draws_the_same_and_leaves_the_generators_alone() -> None:
    target = condition(rotated_ppca(), torch.randn(2, 8, dtype=torch.float64))
    before = torch.get_rng_state()
    first, second = (nuts(target, num_samples=5, num_chains=2, warmup=20, seed=3).z for _ in "ab")
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, nuts(target, num_samples=5, num_chains=2, warmup=20, seed=4).z)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"num_samples": 0}, "num_samples must be at least 1"),
        ({"num_chains": 0}, "num_chains must be at least 1"),
        ({"max_depth": 0}, "max_depth must be at least 1"),
        ({"warmup": 19}, "warmup must be at least 20"),
        ({"target_acceptance": 1.0}, "target_acceptance lies between 0 and 1"),
    ],
)
def test_settings_out_of_range_are_one_line(options: dict[str, float], says: str) -> None:
    target = condition(rotated_ppca(), torch.randn(2, 8, dtype=torch.float64))
    with pytest.raises(UsageError, match=says):
        nuts(target, **options)  # type: ignore[arg-type]
