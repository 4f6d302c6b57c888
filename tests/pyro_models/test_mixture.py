"""What a mixture says of unseen pixels, against conditioning by enumeration and by matrices."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from pyro_models import GMM, BernoulliMixture
from pyro_models.models.gmm import COVARIANCES

SHAPE, D, N, K = (1, 2, 2), 4, 6, 3


def gaussian(covariance: str) -> GMM:
    """No parameter at its default."""
    gmm = GMM(SHAPE, num_components=K, covariance=covariance, floor=0.05).double()
    gmm.start_from(2 * torch.randn(50, *SHAPE, dtype=torch.float64) + 1)
    with torch.no_grad():
        for parameter in gmm.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return gmm


def moments_given(gmm: GMM, x: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of x given its seen values, by blocks of each Σ_k."""
    model, (u, s) = gmm.model, (~seen, seen)
    means, seconds = torch.zeros(K, D).double(), torch.zeros(K, D, D).double()
    log_weights = model.logits.log_softmax(-1).clone()
    for k in range(K):
        loc = model.loc()[k]
        if model.dense:
            tril = model.scale_tril()[k if gmm.covariance == "full" else 0]
            sigma = tril @ tril.T
        else:
            sigma = model.scale()[k].expand(D).square().diag()
        gain = sigma[u][:, s] @ torch.linalg.inv(sigma[s][:, s])
        residual = x[s] - loc[s]
        means[k, s], means[k, u] = x[s], loc[u] + gain @ residual
        conditional = torch.zeros(D, D).double()
        conditional[u.outer(u)] = (sigma[u][:, u] - gain @ sigma[s][:, u]).flatten()
        seconds[k] = conditional + means[k].outer(means[k])
        normal = torch.distributions.MultivariateNormal(loc[s], sigma[s][:, s])
        log_weights[k] += normal.log_prob(x[s])
    weights = log_weights.softmax(-1)
    mean = weights @ means
    return mean, torch.einsum("k,kij->ij", weights, seconds) - mean.outer(mean)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("shared", [True, False])
def test_the_gaussian_mixture_completes_as_its_blocks_say(covariance: str, shared: bool) -> None:
    gmm = gaussian(covariance)
    x = gmm.model(n=N).detach()
    mask = torch.tensor([[True, False], [True, False]]) if shared else torch.rand(N, *SHAPE) < 0.5
    if not shared:
        mask[:, 0, 0, 0], mask[:, 0, 1, 1] = True, False
    seen = mask.expand(N, *SHAPE).flatten(1)
    dirty = torch.where(mask.expand_as(x), x, math.nan)
    n = 4000
    with torch.no_grad():
        mean = gmm.conditional_mean(dirty, mask).flatten(1)
        draws = gmm.conditional_sample(dirty, mask, n=n).flatten(2)
        for b in range(N):
            wanted, covariance_ = moments_given(gmm, x[b].flatten(), seen[b])
            torch.testing.assert_close(mean[b], wanted, rtol=1e-9, atol=1e-9)
            assert bool((draws[:, b, seen[b]] == x[b].flatten()[seen[b]]).all())
            error = (covariance_.diagonal().clamp_min(0) / n).sqrt() + 1e-9
            assert float(((draws[:, b].mean(0) - wanted) / error).abs().max()) < 4.5
            spread = draws[:, b].T.cov(correction=0)
            products = (draws[:, b] - wanted).unsqueeze(-1) * (draws[:, b] - wanted).unsqueeze(-2)
            error = products.std(0) / math.sqrt(n) + 1e-9
            assert float(((spread - covariance_) / error).abs().max()) < 4.5


def bernoulli() -> BernoulliMixture:
    mixture = BernoulliMixture(SHAPE, num_components=K).double()
    with torch.no_grad():
        mixture.model.logits.normal_()
        mixture.model.pixel_logits.normal_().mul_(2)
    return mixture


def all_images() -> Tensor:
    """All 16 images of 2 × 2 binary pixels."""
    return torch.tensor(list(product([0.0, 1.0], repeat=D)), dtype=torch.float64).unflatten(
        1, SHAPE
    )


def test_the_probabilities_of_all_binary_images_are_those_of_the_products_and_sum_to_one() -> None:
    mixture, images = bernoulli(), all_images()
    p = mixture.model.pixel_logits.sigmoid()
    x = images.flatten(1).unsqueeze(1)
    expected = (mixture.model.logits.softmax(-1) * (x * p + (1 - x) * (1 - p)).prod(-1)).sum(-1)
    found = mixture.exact_log_prob(images).exp()
    torch.testing.assert_close(found, expected)
    assert float(found.detach().sum()) == pytest.approx(1)
    loss = mixture.elbo().loss(mixture.model, mixture.guide, images)
    assert loss == pytest.approx(-float(found.detach().log().sum()))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_unseen_binary_pixels_are_summed_out_and_completed_as_enumeration_says(seed: int) -> None:
    torch.manual_seed(seed)
    mixture, images = bernoulli(), all_images()
    x = images[torch.randint(16, (N,))]
    mask = torch.rand(N, *SHAPE) < 0.5
    mask[:, 0, 0, 0] = True
    with torch.no_grad():
        joint = mixture.exact_log_prob(images).exp()
        agrees = ((images == x.unsqueeze(1)) | ~mask.unsqueeze(1)).flatten(2).all(2)  # (N, 16)
        weights = agrees * joint
        dirty = torch.where(mask, x, math.nan)
        torch.testing.assert_close(mixture.exact_log_prob(dirty, mask).exp(), weights.sum(1))
        weights = weights / weights.sum(1, keepdim=True)
        wanted = (weights @ images.flatten(1)).unflatten(1, SHAPE)
        torch.testing.assert_close(mixture.conditional_mean(dirty, mask), wanted)
        n = 4000
        draws = mixture.conditional_sample(dirty, mask, n=n)
        assert bool((draws == torch.where(mask, x, draws)).all())
        frequency = (draws.unsqueeze(2) == images).flatten(3).all(3).double().mean(0)  # (N, 16)
        error = (weights * (1 - weights) / n).sqrt() + 1e-12
        assert float(((frequency - weights) / error).abs().max()) < 4.5
