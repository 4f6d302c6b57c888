"""PPCA against dense linear algebra, scikit-learn, and its own closed form."""

import math

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from sklearn.decomposition import PCA
from torch import Tensor
from torch.distributions import MultivariateNormal

from inference.particles import particles
from pyro_models import PPCA, UsageError, load_data

D, Q, N = 6, 2, 40


@pytest.fixture
def digits() -> Tensor:
    return load_data("digits", preparation="dequantised").prepared("train").x.double()


@pytest.fixture
def ppca() -> PPCA:
    """Two latents, six pixels in an image of two channels; nothing is zero."""
    pair = PPCA((2, 1, 3), latent_dim=Q, guide="linear").double()
    with torch.no_grad():
        pair.model.W.normal_()
        pair.model.mu.normal_()
        pair.model.set_sigma(0.7)
        pair.guide.raw_tril.normal_(std=0.3)
    return pair


@pytest.fixture
def x(ppca: PPCA) -> Tensor:
    return 0.5 + 1.5 * torch.randn(N, 2, 1, 3, dtype=torch.float64)


def covariance(pair: PPCA) -> Tensor:
    W = pair.model.W.detach()
    return W @ W.T + pair.model.sigma.detach() ** 2 * torch.eye(len(W), dtype=W.dtype)


def dense_log_prob(pair: PPCA, x: Tensor, seen: Tensor) -> Tensor:
    """log N(x_S; mu_S, Sigma_SS), one datum at a time."""
    mu, sigma = pair.model.mu.detach(), covariance(pair)
    rows = []
    for row, s in zip(x.flatten(1), seen, strict=True):
        normal = MultivariateNormal(mu[s], sigma[s][:, s]) if s.any() else None
        rows.append(row.new_zeros(()) if normal is None else normal.log_prob(row[s]))
    return torch.stack(rows)


def mask_of(kind: str) -> Tensor | None:
    """None, (H, W) or (B, H, W); some datum of the last is wholly unseen, another wholly seen."""
    if kind == "none":
        return None
    if kind == "shared":
        return torch.tensor([[True, False, True]])
    mask = torch.rand(N, 1, 3) < 0.5
    mask[0], mask[1] = False, True
    return mask


def seen_of(mask: Tensor | None) -> Tensor:
    """(N, D) booleans; both channels of a pixel alike."""
    if mask is None:
        return torch.ones(N, D, dtype=torch.bool)
    return mask.expand(N, 1, 3).unsqueeze(1).expand(N, 2, 1, 3).flatten(1)


MASKS = pytest.mark.parametrize("kind", ["none", "shared", "per datum"])


@MASKS
def test_log_prob_is_that_of_the_dense_normal(ppca: PPCA, x: Tensor, kind: str) -> None:
    mask = mask_of(kind)
    expected = dense_log_prob(ppca, x, seen_of(mask))
    torch.testing.assert_close(ppca.exact_log_prob(x, mask), expected, rtol=1e-10, atol=1e-10)


def explicit_conditional(
    joint_mean: Tensor, joint: Tensor, given: Tensor, wanted: Tensor, value: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and covariance of N(joint_mean, joint) at ``wanted``, given the values at ``given``."""
    gain = joint[wanted][:, given] @ torch.linalg.inv(joint[given][:, given])
    mean = joint_mean[wanted] + gain @ (value - joint_mean[given])
    return mean, joint[wanted][:, wanted] - gain @ joint[given][:, wanted]


@MASKS
def test_posterior_is_the_conditional_of_the_joint(ppca: PPCA, x: Tensor, kind: str) -> None:
    mask = mask_of(kind)
    W = ppca.model.W.detach()
    joint = torch.cat(
        [
            torch.cat([torch.eye(Q, dtype=W.dtype), W.T], 1),
            torch.cat([W, covariance(ppca)], 1),
        ]
    )
    joint_mean = torch.cat([torch.zeros(Q, dtype=W.dtype), ppca.model.mu.detach()])
    posterior = ppca.exact_posterior(x, mask)
    assert posterior.batch_shape == (N,)
    for i, seen in enumerate(seen_of(mask)):
        given = Q + seen.nonzero().squeeze(1)
        mean, cov = explicit_conditional(
            joint_mean, joint, given, torch.arange(Q), x[i].flatten()[seen]
        )
        torch.testing.assert_close(posterior.mean[i], mean, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(posterior.covariance_matrix[i], cov, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["shared", "per datum"])
def test_unseen_given_seen_is_the_conditional_of_the_data(ppca: PPCA, x: Tensor, kind: str) -> None:
    mask = mask_of(kind)
    assert mask is not None
    conditional = ppca.exact_conditional(x, mask)
    assert conditional.batch_shape == (N,)
    assert conditional.event_shape == (D,)
    for i, seen in enumerate(seen_of(mask)):
        given, wanted = seen.nonzero().squeeze(1), (~seen).nonzero().squeeze(1)
        mean, cov = explicit_conditional(
            ppca.model.mu.detach(), covariance(ppca), given, wanted, x[i].flatten()[seen]
        )
        torch.testing.assert_close(conditional.mean[i, wanted], mean, rtol=1e-9, atol=1e-9)
        ours = conditional.covariance_matrix[i][wanted][:, wanted]
        torch.testing.assert_close(ours, cov, rtol=1e-9, atol=1e-9)
        # p(x) = p(seen) p(unseen | seen)
        if len(wanted):
            rest = MultivariateNormal(mean, cov).log_prob(x[i].flatten()[wanted])
            whole = ppca.exact_log_prob(x[i : i + 1]) - ppca.exact_log_prob(
                x[i : i + 1], seen.unflatten(0, (1, 2, 1, 3))
            )
            torch.testing.assert_close(rest, whole.squeeze(0).detach(), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("latent_dim", [1, 2, 10, 50])
def test_maximum_likelihood_is_that_of_scikit_learn(digits: Tensor, latent_dim: int) -> None:
    ours = PPCA.maximum_likelihood(digits, latent_dim=latent_dim, ddof=1)
    flat = digits.flatten(1).numpy()
    theirs = PCA(latent_dim, svd_solver="full").fit(flat)
    for rows in (flat, flat[:7]):
        score = ours.exact_log_prob(torch.as_tensor(rows).unflatten(1, digits.shape[1:])).mean()
        assert score.item() == pytest.approx(theirs.score(rows), abs=1e-6)


def test_maximum_likelihood_is_a_maximum(digits: Tensor) -> None:
    best = PPCA.maximum_likelihood(digits, latent_dim=3)
    top = best.exact_log_prob(digits).mean()
    top.backward()
    for name, parameter in best.model.named_parameters():
        assert parameter.grad is not None
        assert float(parameter.grad.abs().max()) < 1e-6, name
    with torch.no_grad():
        for parameter in best.model.parameters():
            kept = parameter.clone()
            for size in (1e-3, 1e-2, 1e-1):
                for _ in range(3):
                    parameter.add_(size * torch.randn_like(parameter))
                    assert float(best.exact_log_prob(digits).mean()) < float(top)
                    parameter.copy_(kept)
        divided_by_less = PPCA.maximum_likelihood(digits, latent_dim=3, ddof=1)
        assert float(divided_by_less.exact_log_prob(digits).mean()) < float(top)


@pytest.mark.parametrize(("count", "ddof"), [(1, 0), (2, 1)])
def test_maximum_likelihood_of_too_few_data_is_one_line(count: int, ddof: int) -> None:
    x = torch.rand(count, 5)
    with pytest.raises(UsageError, match=rf"at least {ddof + 2} data; got {count}\Z"):
        PPCA.maximum_likelihood(x, latent_dim=2, ddof=ddof)


@pytest.mark.parametrize(
    ("guide", "kind"),  # the linear guide holds the posterior of fully seen data only
    [("exact", "none"), ("exact", "shared"), ("exact", "per datum"), ("linear", "none")],
)
def test_every_weight_under_the_exact_posterior_is_the_evidence(
    x: Tensor, guide: str, kind: str
) -> None:
    pair = PPCA.maximum_likelihood(x, latent_dim=Q, guide=guide)
    mask = mask_of(kind)
    log_w = particles(pair, None, x, num_particles=7, mask=mask).log_weight
    exact = pair.exact_log_prob(x, mask).expand(7, N)
    torch.testing.assert_close(log_w, exact, rtol=0, atol=1e-6)


def test_the_exact_guide_gives_the_gradient_of_the_evidence_on_average(x: Tensor) -> None:
    pair = PPCA.maximum_likelihood(x, latent_dim=Q)
    with torch.no_grad():
        pair.model.W.add_(0.3)
    (-pair.exact_log_prob(x).sum()).backward()
    exact = {n: p.grad.clone() for n, p in pair.named_parameters() if p.grad is not None}
    draws: dict[str, list[Tensor]] = {name: [] for name in exact}
    for _ in range(300):
        pair.zero_grad()
        pair.elbo().differentiable_loss(pair.model, pair.guide, x).backward()
        for name, parameter in pair.named_parameters():
            assert parameter.grad is not None
            draws[name].append(parameter.grad.clone())
    for name, gradients in draws.items():
        stacked = torch.stack(gradients)
        error = stacked.std(0) / math.sqrt(len(stacked))
        assert float(((stacked.mean(0) - exact[name]) / error).abs().max()) < 4.5, name


@pytest.fixture
def wide_of_the_mark(x: Tensor) -> PPCA:
    """A linear guide beside its posterior and wider than it: its weights are bounded."""
    pair = PPCA.maximum_likelihood(x, latent_dim=Q, guide="linear")
    with torch.no_grad():
        pair.guide.mean.bias.add_(0.3)
        pair.guide.raw_tril.diagonal().add_(0.2)
    return pair


@pytest.mark.parametrize("num_particles", [1, 2, 5, 50, 500])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_importance_weights_are_unbiased(
    wide_of_the_mark: PPCA, x: Tensor, num_particles: int, seed: int
) -> None:
    """Mean over independent data and draws of (1/K) Σ w / p(x), which is 1 for every K."""
    pyro.set_rng_seed(seed)
    data = x.repeat(max(1, 2000 // (num_particles * N)), 1, 1, 1)
    with torch.no_grad():
        drawn = particles(wide_of_the_mark, None, data, num_particles=num_particles)
        ratio = (drawn.importance_bound() - wide_of_the_mark.exact_log_prob(data)).exp()
    error = ratio.std() / math.sqrt(len(ratio))
    assert 0 < float(error) < 0.1
    assert abs(float(ratio.mean()) - 1) < 3 * float(error)


def test_the_importance_bound_rises_to_the_evidence(wide_of_the_mark: PPCA, x: Tensor) -> None:
    data = x.repeat(50, 1, 1, 1)
    exact = wide_of_the_mark.exact_log_prob(data).detach()
    gaps, errors = [], []
    for num_particles in (1, 2, 5, 50, 500):
        with torch.no_grad():
            drawn = particles(wide_of_the_mark, None, data, num_particles=num_particles)
        gap = exact - drawn.importance_bound()
        gaps.append(float(gap.mean()))
        errors.append(float(gap.std() / math.sqrt(len(gap))))
    assert gaps[0] > 10 * errors[0]  # the guide is wrong enough to see something
    for i in range(4):
        assert gaps[i + 1] < gaps[i] + 3 * math.hypot(errors[i], errors[i + 1])
    assert all(gap > -3 * error for gap, error in zip(gaps, errors, strict=True))
    assert gaps[1] < gaps[0] - 3 * math.hypot(errors[0], errors[1])
    assert abs(gaps[-1]) < 0.02 * gaps[0]


def test_the_bound_of_the_elbo_class_is_that_of_the_particles(
    wide_of_the_mark: PPCA, x: Tensor
) -> None:
    pair = wide_of_the_mark
    losses = [pair.elbo().loss(pair.model, pair.guide, x) for _ in range(200)]
    with torch.no_grad():
        bounds = particles(pair, None, x, num_particles=200).log_weight.sum(1)
    error = math.hypot(np.std(losses), float(bounds.std())) / math.sqrt(200)
    assert abs(-np.mean(losses) - float(bounds.mean())) < 4 * error


def test_generated_data_have_the_moments_of_the_model(ppca: PPCA) -> None:
    count = 100_000
    with torch.no_grad():
        draws = ppca.model(n=count).flatten(1)
    expected = covariance(ppca)
    centred = draws - ppca.model.mu.detach()
    mean_error = (expected.diagonal() / count).sqrt()
    assert float((centred.mean(0) / mean_error).abs().max()) < 4
    variances = expected.diagonal()
    cov_error = ((expected.square() + torch.outer(variances, variances)) / count).sqrt()
    assert float(((centred.T @ centred / count - expected) / cov_error).abs().max()) < 4


@pytest.mark.parametrize("sigma", [1e-6, 1e-2, 0.3, 50.0])
def test_sigma_is_what_it_was_set_to(sigma: float) -> None:
    for dtype in (torch.float32, torch.float64):
        pair = PPCA((5,), latent_dim=2).to(dtype)
        pair.model.set_sigma(sigma)
        assert pair.model.sigma.item() == pytest.approx(sigma, rel=1e-5)


def test_start_is_at_the_mean_and_total_variance_of_the_data(x: Tensor) -> None:
    pair = PPCA((2, 1, 3), latent_dim=Q).double()
    assert not pair.started
    pair.start_from(x, seed=3)
    again = PPCA((2, 1, 3), latent_dim=Q).double()
    again.start_from(x, seed=3)
    assert pair.started
    torch.testing.assert_close(pair.model.mu, x.flatten(1).mean(0))
    total = x.flatten(1).var(0, correction=0).mean().sqrt().item()
    assert pair.model.sigma.item() == pytest.approx(total, rel=1e-6)
    assert torch.equal(pair.model.W, again.model.W)


def test_one_datum_is_a_start() -> None:
    pair = PPCA((5,), latent_dim=2)
    pair.start_from(torch.rand(1, 5))
    assert bool(pair.exact_log_prob(torch.rand(3, 5)).isfinite().all())


def test_the_posterior_ignores_labels_and_detaches_the_model(x: Tensor) -> None:
    pair = PPCA.maximum_likelihood(x, latent_dim=Q)
    site = poutine.trace(pair.guide).get_trace(x, y=torch.zeros(N).long()).nodes["z"]
    assert not site["value"].requires_grad
    assert not list(pair.guide.parameters())
