"""Data that leave a model nothing to learn from: no noise, no spread, fewer values than components.

Each is learned from as far as that has a meaning, and refused beyond, in a line that says how far.
"""

import math
import re
import warnings
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from inference import fit
from pyro_models import GMM, PPCA, BernoulliMixture, ImageData, UsageError
from pyro_models.data import Split
from pyro_models.models.gmm import COVARIANCES
from pyro_models.moments import directions, spread_of

every_covariance = pytest.mark.parametrize("covariance", COVARIANCES)


def draws(num_data: int, dim: int, rank: int | None = None) -> Tensor:
    """Data that vary in ``rank`` directions, of unlike sizes."""
    generator = torch.Generator().manual_seed(num_data * dim)
    z = torch.randn(num_data, rank or dim, dtype=torch.float64, generator=generator)
    W = torch.randn(rank or dim, dim, dtype=torch.float64, generator=generator)
    return z @ W


WITHOUT_NOISE = {  # data, and in how many directions they vary
    "few data": (draws(6, 9), 5),
    "two data": (draws(2, 9), 1),
    "few data, tiny": (1e-9 * draws(6, 9), 5),
    "few data far away": (1e9 + draws(6, 9), 5),
    "a plane": (draws(50, 9, 2), 2),
    "a plane far away": (1e9 + draws(50, 9, 2), 2),
    "a plane, tiny": (1e-9 * draws(50, 9, 2), 2),
    "a plane in float32": (draws(50, 9, 2).float(), 2),
    "a plane far away in float32": ((1e3 + draws(50, 9, 2)).float(), 2),
    "constant columns": (torch.cat([draws(50, 3), torch.full((50, 6), 0.1).double()], 1), 3),
    "all but constant columns": (
        torch.cat([draws(50, 3), 0.3 + 1e-17 * draws(50, 3), 1e-17 * draws(50, 3)], 1),
        3,
    ),
    "constant columns far away": (torch.cat([draws(50, 3), torch.full((50, 6), 1e9)], 1), 3),
    "the same rows": (draws(4, 9).repeat(20, 1), 3),
    "one row": (torch.full((30, 9), 0.1).double(), 0),
}
without_noise = pytest.mark.parametrize(
    ("x", "rank"), WITHOUT_NOISE.values(), ids=list(WITHOUT_NOISE)
)


@without_noise
def test_ppca_without_noise_is_refused_and_the_largest_q_is_said(x: Tensor, rank: int) -> None:
    assert directions(x).rank == rank
    for latent_dim in range(max(rank, 1), 9):
        with pytest.raises(UsageError, match=r"^.*the likelihood has no maximum.*\Z") as refused:
            PPCA.maximum_likelihood(x, latent_dim=latent_dim)
        most = re.search(r"latent_dim at most (\d+)", str(refused.value))
        assert (most and int(most[1])) == (rank - 1 if rank > 1 else None)
    if rank > 1:
        pair = PPCA.maximum_likelihood(x, latent_dim=rank - 1)
        found = pair.exact_log_prob(x)
        assert bool(found.isfinite().all())
        # the maximum in terms of eigenvalues (Tipping & Bishop, eq. 3 at the maximum)
        wide = x.double() - x.double().mean(0)
        values = torch.linalg.svdvals(wide).square()[: len(x)] / len(x)
        values = torch.cat([values, values.new_zeros(9)])[:9]
        noise = float(values[rank - 1 :].sum()) / (9 - rank + 1)
        log_det = float(values[: rank - 1].log().sum()) + (9 - rank + 1) * math.log(noise)
        expected = -0.5 * (9 * math.log(2 * math.pi) + log_det + 9)
        precise = x.dtype == torch.float64
        assert found.double().mean().item() == pytest.approx(expected, abs=1e-5 if precise else 0.1)


@without_noise
def test_ppca_with_a_floor_is_learned_for_every_q(x: Tensor, rank: int) -> None:
    floor = 1e-4 * float(spread_of(x).square().mean() or 1.0)
    reached = []
    for latent_dim in range(1, 9):
        pair = PPCA.maximum_likelihood(x.double(), latent_dim=latent_dim, floor=floor)
        assert float(pair.model.sigma.square().detach()) >= floor * (1 - 1e-9)
        reached.append(float(pair.exact_log_prob(x.double()).mean().detach()))
    assert all(b >= a - 1e-4 for a, b in pairwise(reached))
    assert reached[-1] == pytest.approx(reached[max(rank, 1) - 1], abs=1e-4)


def test_the_maximum_under_a_floor_is_one() -> None:
    x = draws(20, 4)
    best = PPCA.maximum_likelihood(x, latent_dim=2, floor=2.0)
    top = best.exact_log_prob(x).mean()
    top.backward()
    assert best.model.sigma.item() == pytest.approx(math.sqrt(2.0))
    for parameter in (best.model.W, best.model.mu):
        assert float(parameter.grad.abs().max()) < 1e-9
    with pytest.raises(UsageError, match=r"at least 0; got -1.0\Z"):
        PPCA.maximum_likelihood(x, latent_dim=2, floor=-1.0)


def vectors(x: Tensor) -> ImageData:
    split = Split(x.float())
    return ImageData("vectors", {"train": split, "validation": split, "test": split})


def test_training_ppca_on_data_without_noise_says_so() -> None:
    few = {"epochs": 2, "lr": 1e-3, "progress": False}
    for x, latent_dim in ((draws(6, 9), 5), (draws(50, 9, 2), 2)):
        pair = PPCA((9,), latent_dim=latent_dim)
        with pytest.warns(UserWarning, match="the likelihood has no maximum: the bound rises"):
            found = fit(pair, vectors(x), **few)
        assert all(math.isfinite(epoch.train) for epoch in found.history.epochs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(PPCA((9,), latent_dim=4), vectors(draws(6, 9)), **few)


@pytest.mark.parametrize("sigma", [1e-2, 1e-5, 1e-7])
def test_ppca_with_little_noise_is_the_dense_normal(sigma: float) -> None:
    """Against factors of the covariance's own eigenvectors, of which nothing cancels."""
    pair = PPCA((6,), latent_dim=2).double()
    with torch.no_grad():
        pair.model.W.copy_(draws(6, 2))
        pair.model.set_sigma(sigma)
        x = draws(40, 2) @ pair.model.W.T + sigma * draws(40, 6)
        U, s, _ = torch.linalg.svd(pair.model.W, full_matrices=True)
        scale = torch.cat([(s.square() + sigma**2).sqrt(), torch.full((4,), sigma, dtype=s.dtype)])
        whitened = x @ U / scale
        dense = -0.5 * whitened.square().sum(1) - scale.log().sum() - 3 * math.log(2 * math.pi)
        torch.testing.assert_close(
            pair.exact_log_prob(x), dense, rtol=1e-9, atol=1e-8 + 1e-14 / sigma
        )
        shrunk = (x @ U[:, :2]) * s / (s.square() + sigma**2)
        exact = shrunk @ torch.linalg.svd(pair.model.W, full_matrices=False).Vh
        torch.testing.assert_close(pair.exact_posterior(x).mean, exact, rtol=1e-9, atol=1e-9)


FEW_VALUES = {  # data, and how many of them differ
    "identical": (torch.full((22, 4), 3.0).double(), 1),
    "identical far away": (torch.full((22, 4), 1e9 + 0.1).double(), 1),
    "three values": (7 + draws(3, 4).repeat(8, 1)[:22], 3),
    "three tiny values": (1e-9 * (7 + draws(3, 4).repeat(8, 1)[:22]), 3),
}


@every_covariance
@pytest.mark.parametrize(("x", "different"), FEW_VALUES.values(), ids=list(FEW_VALUES))
def test_no_component_is_left_at_the_origin(x: Tensor, different: int, covariance: str) -> None:
    gmm = GMM((4,), num_components=6, covariance=covariance).double()
    with pytest.warns(UserWarning, match=f"only {different} different values for 6 components"):
        gmm.start_from(x)
    with torch.no_grad():
        nearest = torch.cdist(gmm.model.loc(), x).amin(1)
        assert float(nearest.max()) <= 1e-6 * float(x.abs().max())
        # as a mixture it is that of as many components as there are values
        fewer = GMM((4,), num_components=different, covariance=covariance).double()
        fewer.start_from(x)
        torch.testing.assert_close(gmm.exact_log_prob(x), fewer.exact_log_prob(x))
        assert float(gmm.model.logits.softmax(-1).sum()) == pytest.approx(1)


@every_covariance
def test_one_datum_is_a_mixture_of_one(covariance: str) -> None:
    for datum in (torch.tensor([[1e9, 0.0, -3.0]]), torch.full((1, 3), 1e-9)):
        gmm = GMM((3,), num_components=1, covariance=covariance).double()
        gmm.start_from(datum.double())
        with torch.no_grad():
            torch.testing.assert_close(gmm.model.loc(), datum.double())
            assert bool(gmm.exact_log_prob(datum.double()).isfinite().all())


@every_covariance
def test_a_component_on_one_point_is_as_wide_as_the_floor(covariance: str) -> None:
    """An outlier gets a cluster of its own; the floor is a share of the data's own variance."""
    for unit in (1e-9, 1e9):
        x = unit * torch.cat([draws(40, 3), torch.full((1, 3), 100.0).double()])
        gmm = GMM((3,), num_components=2, covariance=covariance).double()
        gmm.start_from(x)
        optimizer = torch.optim.Adam(gmm.parameters(), lr=0.2)
        for _ in range(30):
            optimizer.zero_grad()
            loss = gmm.elbo().differentiable_loss(gmm.model, gmm.guide, x)
            loss.backward()
            optimizer.step()
        floor = float(gmm.model.floor)
        assert floor == pytest.approx(1e-3 * float(x.var(0, correction=0).max()))
        highest = gmm.exact_log_prob(x).max().item()
        assert highest <= -1.5 * math.log(2 * math.pi * floor)


@pytest.mark.parametrize("covariance", ["tied", "full"])
def test_a_floor_that_is_nothing_beside_the_data_is_one_line(covariance: str) -> None:
    x = 1e9 * torch.cat([draws(20, 2), draws(20, 2)[:, :1]], 1)
    gmm = GMM((3,), num_components=2, covariance=covariance, floor=1e-9).double()
    with pytest.raises(UsageError, match=r"^the covariance floor 1e-09 is too small for data .*\Z"):
        gmm.start_from(x)
    GMM((3,), num_components=2, covariance=covariance).double().start_from(x)


def binary(*rows: str) -> Tensor:
    return torch.tensor([[float(bit) for bit in row] for row in rows], dtype=torch.float64)


def test_bernoulli_components_start_at_different_data_while_there_are_any() -> None:
    x = binary("0000", *["1111"] * 30, "0011")
    for seed in range(5):
        mixture = BernoulliMixture((4,), num_components=3).double()
        mixture.start_from(x, seed=seed)
        assert len(torch.unique(mixture.model.pixel_logits.detach() > 0, dim=0)) >= 2
        assert len(torch.unique(mixture.model.pixel_logits.detach(), dim=0)) == 3


@pytest.mark.parametrize("num_components", [1, 3, 5])
def test_identical_images_are_one_bernoulli_product(num_components: int) -> None:
    x = binary(*["0110"] * 5)
    mixture = BernoulliMixture.maximum_likelihood(x, num_components=num_components)
    with torch.no_grad():
        weights = mixture.model.logits.softmax(-1)
        torch.testing.assert_close(weights, torch.full_like(weights, 1 / num_components))
        assert bool(((mixture.model.pixel_logits > 0) == (x[:1] > 0)).all())


def test_a_bernoulli_component_that_nobody_belongs_to_is_put_at_a_datum() -> None:
    """Fair coins in 200 pixels: 40 data of two kinds, and one that fits neither."""
    generator = torch.Generator().manual_seed(0)
    kinds = (torch.rand(2, 200, generator=generator) < 0.5).double()
    odd = (torch.rand(1, 200, generator=generator) < 0.5).double()
    x = torch.cat([kinds.repeat(20, 1), odd])
    for seed in range(4):
        mixture = BernoulliMixture.maximum_likelihood(
            x, num_components=3, seed=seed, iterations=200
        )
        with torch.no_grad():
            counts = mixture.responsibilities(x).sum(0)
            assert float(counts.min()) > 0.5
            assert float(mixture.exact_log_prob(odd)) > 200 * math.log(0.5)
