"""Data and latents that masks hide."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

from inference import Program, infer
from pyro_models import UsageError

Y = torch.tensor([0.3, -1.2, 0.8, 2.1, 0.4])
SEEN = torch.tensor([True, True, False, True, False])


def by_poutine(y, seen):
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", 5), poutine.mask(mask=seen):
        pyro.sample("y", dist.Normal(loc, 1.0), obs=y)


def by_distribution(y, seen):
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(loc, 1.0).expand([5]).mask(seen).to_event(1), obs=y)


@pytest.mark.parametrize("model", [by_poutine, by_distribution])
def test_masked_data_that_are_nan_leave_the_posterior_of_the_others(model) -> None:
    y = torch.where(SEEN, Y, torch.nan)
    posterior = infer(model, y, SEEN, guide="exact")  # by gradients
    assert float(posterior.mean["loc"]) == pytest.approx(float(Y[SEEN].sum()) / 4, abs=0.05)
    assert float(posterior.sd["loc"]) == pytest.approx(0.5, abs=0.02)
    with pytest.raises(UsageError, match="'y' hold 1 values that are NaN"):
        Program(model, torch.where(torch.arange(5) == 0, torch.nan, Y), SEEN)


def test_masked_data_that_are_impossible_have_no_gradient() -> None:
    def model(y, seen):
        shape = pyro.sample("shape", dist.LogNormal(0.0, 1.0))
        with pyro.plate("rows", 5), poutine.mask(mask=seen):
            pyro.sample("y", dist.Gamma(shape, 1.0), obs=y)

    u = torch.zeros(1, 1, requires_grad=True)
    Program(model, torch.where(SEEN, Y.abs(), 0.0), SEEN).log_joint(u).backward()
    (hidden,) = u.grad
    v = torch.zeros(1, 1, requires_grad=True)
    Program(model, torch.where(SEEN, Y.abs(), 1.0), SEEN).log_joint(v).backward()
    torch.testing.assert_close(hidden, v.grad[0])


LENGTHS = torch.tensor([4, 1, 2])
SERIES = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
MOVES = torch.tensor([[0.9, 0.1], [0.3, 0.7]])


def padded_hmm(y):
    means = pyro.sample("means", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("series", 3):
        z = 0
        for t in pyro.markov(range(4)):
            with poutine.mask(mask=t < LENGTHS):
                z = pyro.sample(f"z{t}", dist.Categorical(MOVES[z]))
                pyro.sample(f"y{t}", dist.Normal(means[z], 1.0), obs=y[:, t])


def each_hmm(y):
    means = pyro.sample("means", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    for i, length in enumerate(LENGTHS.tolist()):
        z = 0
        for t in pyro.markov(range(length)):
            z = pyro.sample(f"z{i}_{t}", dist.Categorical(MOVES[z]))
            pyro.sample(f"y{i}_{t}", dist.Normal(means[z], 1.0), obs=y[i, t])


def test_padded_sequences_have_the_density_of_sequences_of_their_own_lengths() -> None:
    u = torch.randn(3, 2)
    padded, each = Program(padded_hmm, SERIES), Program(each_hmm, SERIES)
    torch.testing.assert_close(padded.log_joint(u), each.log_joint(u))


def padded_chain(y):
    drift = pyro.sample("drift", dist.Normal(0.0, 2.0))
    with pyro.plate("series", 3):
        z = torch.zeros(())
        for t in range(4):
            with poutine.mask(mask=t < LENGTHS):
                z = pyro.sample(f"z{t}", dist.Normal(drift + 0.5 * z, 1.0))
                pyro.sample(f"y{t}", dist.Normal(z, 1.0), obs=y[:, t])


def each_chain(y):
    drift = pyro.sample("drift", dist.Normal(0.0, 2.0))
    for i, length in enumerate(LENGTHS.tolist()):
        z = torch.zeros(())
        for t in range(length):
            z = pyro.sample(f"z{i}_{t}", dist.Normal(drift + 0.5 * z, 1.0))
            pyro.sample(f"y{i}_{t}", dist.Normal(z, 1.0), obs=y[i, t])


def test_latents_of_padding_change_neither_posterior_nor_evidence() -> None:
    padded, each = (infer(m, SERIES, guide="exact") for m in (padded_chain, each_chain))
    assert padded.log_evidence == pytest.approx(each.log_evidence, abs=1e-3)
    for of in ("mean", "sd"):
        torch.testing.assert_close(
            getattr(padded, of)["drift"], getattr(each, of)["drift"], rtol=0.1, atol=0.1
        )


def test_cells_that_are_not_observed_are_latent_and_those_that_are_change_nothing() -> None:
    def model(y, seen):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", 5):
            pyro.sample("y", dist.Normal(loc, 1.0), obs=y, obs_mask=seen)

    cells, alone = (infer(m, Y, SEEN, guide="exact") for m in (model, by_poutine))
    assert cells.log_evidence == pytest.approx(alone.log_evidence, abs=1e-3)
    hidden = cells.mean["y_unobserved"][~SEEN]
    torch.testing.assert_close(hidden, alone.mean["loc"].expand(2), rtol=0, atol=0.1)


def test_a_prior_that_is_masked_away_is_improper() -> None:
    def flat(y):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0).mask(False))
        pyro.sample("y", dist.Normal(loc, 1.0), obs=y)

    assert Program(flat, torch.tensor(2.0)).improper == ("loc",)
