"""Acquisition functions against high precision, quadrature, Monte Carlo and BoTorch."""

import importlib.util
import math
import warnings

import mpmath
import pytest
import torch

from gp_bo.optimize import ACQUISITIONS, Region, acquisition_named, botorch_model, space_from
from gp_bo.optimize.acquisition import (
    KnowledgeGradient,
    LogExpectedImprovement,
    MaxValueEntropy,
    NoisyImprovement,
    ProbabilityOfImprovement,
    ThompsonSampling,
    UpperConfidenceBound,
    joint_draw,
    log_h,
)
from gp_bo.optimize.acquisition.entropy import entropy_reduction
from gp_bo.optimize.acquisition.multistart import maximize_by_multistart
from gp_bo.optimize.acquisition.thompson import MOST
from gp_bo.optimize.inputs import Integer
from pyro_models import UsageError

HAS_BOTORCH = importlib.util.find_spec("botorch") is not None
needs_botorch = pytest.mark.skipif(not HAS_BOTORCH, reason="BoTorch is not installed")
SEEDS = pytest.mark.parametrize("seed", [0, 1, 2])
BOX = space_from([(0, 1)] * 2)


def points(seed, count=20, columns=2):
    generator = torch.Generator().manual_seed(seed + 50)
    return torch.rand(count, columns, dtype=torch.float64, generator=generator)


def region(space=BOX, tried=None, best=None, allowed=None):
    none = torch.empty(0, space.columns, dtype=torch.float64)
    return Region(
        space,
        tried=none if tried is None else tried,
        best=none if best is None else best,
        allowed=allowed,
    )


def exact_log_h(u):
    with mpmath.workdps(60):
        u = mpmath.mpf(u)
        return float(mpmath.log(mpmath.npdf(u) + u * mpmath.ncdf(u)))


def test_log_h_has_all_its_digits_from_far_below_to_far_above():
    at = [-1e5, -3e3, -101.0, -50.0001, -49.9999, -30, -6, -1.0001, -1, -0.5, 0, 0.3, 5, 40, 1e4]
    values = log_h(torch.tensor(at, dtype=torch.float64)).tolist()
    assert values == pytest.approx([exact_log_h(u) for u in at], rel=1e-11)


def test_the_gradient_of_log_h_is_right_everywhere_and_never_nan():
    at = torch.tensor([-1e5, -60.0, -20.0, -1.5, 0.0, 3.0], dtype=torch.float64)
    at.requires_grad_()
    (slope,) = torch.autograd.grad(log_h(at).sum(), at)
    with mpmath.workdps(60):
        truth = [float(mpmath.ncdf(u) / (mpmath.npdf(u) + u * mpmath.ncdf(u))) for u in at.tolist()]
    assert slope.tolist() == pytest.approx(truth, rel=1e-8)


@SEEDS
def test_expected_improvement_is_its_quadrature_over_f_and_mean_over_draws(rbf_surrogate, seed):
    surrogate, z = rbf_surrogate(seed=seed), points(seed, 5)
    mean, variance = surrogate.moments(z)
    u = torch.linspace(-12, 12, 200001, dtype=torch.float64)
    density = torch.exp(-0.5 * u**2) / math.sqrt(2 * math.pi) * (u[1] - u[0])
    f = mean[..., None] + variance.sqrt()[..., None] * u
    each = ((surrogate.incumbent[:, None, None] - f).clamp_min(0) * density).sum(-1)
    ours = LogExpectedImprovement().value(surrogate, z).exp()
    torch.testing.assert_close(ours, each.mean(0), rtol=1e-6, atol=1e-10)


def test_expected_improvement_is_not_flat_where_it_underflows(rbf_surrogate):
    surrogate = rbf_surrogate(n=12, noise=1e-8)
    z = (surrogate.x[:6] + 1e-4).clone().requires_grad_()
    value = LogExpectedImprovement().value(surrogate, z)
    (slope,) = torch.autograd.grad(value.sum(), z)
    assert (value < -1000).any()
    assert slope.isfinite().all()
    assert (slope.abs().amax(1) > 0).all()


@needs_botorch
@SEEDS
@pytest.mark.parametrize("name", ["log_ei", "pi", "ucb"])
def test_closed_forms_are_botorchs(rbf_surrogate, name, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from botorch.acquisition import analytic
    for draws in (1, 3):
        surrogate, z = rbf_surrogate(seed=seed, draws=draws), points(seed)
        model = botorch_model(surrogate)
        shared = surrogate.incumbent.min().expand(draws)
        object.__setattr__(surrogate, "incumbent", shared)  # BoTorch has one for all draws
        if name == "log_ei":
            ours = LogExpectedImprovement().value(surrogate, z)
            theirs = analytic.LogExpectedImprovement(model, best_f=-shared[0])
        elif name == "pi":
            ours = ProbabilityOfImprovement().value(surrogate, z)
            theirs = analytic.LogProbabilityOfImprovement(model, best_f=-shared[0])
        else:
            ours = UpperConfidenceBound(beta=2.0).value(surrogate, z)
            theirs = analytic.UpperConfidenceBound(model, beta=2.0)
        torch.testing.assert_close(ours, theirs(z[:, None]), rtol=1e-6, atol=1e-7)


@needs_botorch
@SEEDS
def test_the_bridge_gives_botorch_our_posterior(rbf_surrogate, seed):
    surrogate = rbf_surrogate(seed=seed)
    blocks = points(seed, 10).reshape(5, 2, 2)
    theirs = botorch_model(surrogate).posterior(blocks).distribution
    for b in range(5):
        for s in range(surrogate.draws):
            mean, covariance = surrogate.joint(blocks[b], s)
            torch.testing.assert_close(theirs.mean[b, s], -mean, atol=1e-9, rtol=0)
            torch.testing.assert_close(
                theirs.covariance_matrix[b, s], covariance, atol=1e-8, rtol=0
            )


@needs_botorch
def test_noisy_improvement_without_noise_is_expected_improvement(rbf_surrogate):
    surrogate, z = rbf_surrogate(draws=1, noise=1e-8, n=5), points(0, 12)
    noisy = NoisyImprovement(samples=2048).function(surrogate, seed=0)(z[:, None]).exp()
    plain = LogExpectedImprovement().value(surrogate, z).exp()
    # the softened maximum of the noisy one is an approximation, to 0.01 of a standard deviation
    torch.testing.assert_close(noisy, plain, atol=0.02, rtol=0.05)


def test_noisy_improvement_without_botorch_is_refused_in_one_line(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == "botorch" else find(n, *a)
    )
    with pytest.raises(UsageError, match=r"pip install 'pyro-models\[bo\]'"):
        acquisition_named("noisy_ei")


def test_entropy_reduction_is_the_loss_of_entropy_by_truncation():
    # of N(0, 1) truncated to values above −γ, by quadrature
    for gamma in (-3.0, -0.5, 0.0, 1.0, 4.0):
        u = torch.linspace(-gamma, -gamma + 14 + abs(gamma), 2000001, dtype=torch.float64)
        log_p = -0.5 * u**2 - 0.5 * math.log(2 * math.pi)
        log_p = log_p - torch.special.log_ndtr(torch.tensor(gamma, dtype=torch.float64))
        entropy = -torch.trapezoid(log_p.exp() * log_p, u)
        lost = 0.5 * math.log(2 * math.pi * math.e) - entropy
        ours = entropy_reduction(torch.tensor(gamma, dtype=torch.float64))
        assert ours.item() == pytest.approx(lost.item(), abs=1e-8)


def test_entropy_search_draws_minima_below_what_was_seen(rbf_surrogate):
    surrogate = rbf_surrogate()
    minima = MaxValueEntropy(minima=9, candidates=100).drawn_minima(surrogate, region(), seed=0)
    assert minima.shape == (3, 3)
    assert (minima < surrogate.incumbent[:, None]).all()


@SEEDS
def test_the_knowledge_gradient_is_the_expected_fall_of_the_least_mean(rbf_surrogate, seed):
    surrogate, z = rbf_surrogate(seed=seed, draws=1, noise=0.05), points(seed, 1)
    among = torch.cat([surrogate.x, points(seed + 9, 8)])
    value = KnowledgeGradient(nodes=64).value(surrogate, z, among=among)
    everywhere = torch.cat([among, z])
    least, _ = surrogate.moments(everywhere)
    mean, variance = surrogate.moments(z)
    generator = torch.Generator().manual_seed(seed)
    falls = []
    for noise in torch.randn(400, generator=generator, dtype=torch.float64):
        y = mean[0] + (variance[0] + surrogate.noise).sqrt() * noise
        updated = type(surrogate)(
            surrogate.covariance,
            surrogate.prior_variance,
            surrogate.prior_mean,
            surrogate.noise,
            torch.cat([surrogate.x, z]),
            torch.cat([surrogate.y, y]),
        )
        falls.append(least.amin() - updated.moments(everywhere)[0].amin())
    falls = torch.stack(falls)
    error = falls.std() / math.sqrt(len(falls))
    assert abs(falls.mean() - value.item()) < 4 * error + 1e-4


@SEEDS
def test_joint_draws_have_the_covariance_of_the_posterior(rbf_surrogate, seed):
    surrogate, z = rbf_surrogate(seed=seed), points(seed, 4)
    mean, covariance = surrogate.joint(z, 1)
    generator = torch.Generator().manual_seed(seed)
    draws = torch.stack([joint_draw(mean, covariance, generator=generator) for _ in range(4000)])
    # the error of a covariance of n normal draws: sqrt((c_ij² + c_ii c_jj) / n)
    sizes = covariance.diagonal()
    error = ((covariance**2 + sizes[:, None] * sizes) / 4000).sqrt()
    assert ((draws.T.cov() - covariance).abs() < 4.5 * error + 1e-9).all()
    assert ((draws.mean(0) - mean).abs() < 4.5 * (sizes / 4000).sqrt() + 1e-6).all()


def test_a_draw_from_no_covariance_is_refused():
    matrix = torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64)
    with pytest.raises(UsageError, match="semi-definite"):
        joint_draw(torch.zeros(2).double(), matrix, generator=torch.Generator())


def test_thompson_sampling_proposes_as_often_as_a_point_is_least(rbf_surrogate):
    surrogate = rbf_surrogate(n=3)
    allowed = points(4, 5)
    chosen = [
        ThompsonSampling()(surrogate, region(allowed=allowed), seed=seed) for seed in range(300)
    ]
    counts = torch.stack([(torch.stack(chosen) == p).all(1).double().mean() for p in allowed])
    generator = torch.Generator().manual_seed(0)
    truth = torch.zeros(5, dtype=torch.float64)
    for s in range(3):
        mean, covariance = surrogate.joint(allowed, s)
        for _ in range(2000):
            truth[joint_draw(mean, covariance, generator=generator).argmin()] += 1 / 6000
    error = (truth * (1 - truth) / 300).sqrt()
    assert ((counts - truth).abs() < 4 * error + 0.01).all()


def test_a_joint_draw_at_a_large_set_of_candidates_takes_some_of_them(rbf_surrogate):
    surrogate, allowed = rbf_surrogate(), points(2, 50_000)  # all at once would take 20 GB
    chosen = ThompsonSampling()(surrogate, region(allowed=allowed), seed=0)
    assert (allowed == chosen).all(1).any()
    some = region(allowed=allowed).candidates(10, seed=1, most=MOST)
    assert len(some) == len(some.unique(dim=0)) == MOST


def test_entropy_search_takes_some_of_a_large_set_too(rbf_surrogate, monkeypatch):
    from gp_bo.optimize.acquisition import entropy

    monkeypatch.setattr(entropy, "MOST", 30)
    sizes = []
    draw = entropy.joint_draw

    def spied(mean, covariance, *, generator):
        sizes.append(len(mean))
        return draw(mean, covariance, generator=generator)

    monkeypatch.setattr(entropy, "joint_draw", spied)
    allowed = region(allowed=points(2, 200))
    MaxValueEntropy(minima=3).drawn_minima(rbf_surrogate(), allowed, seed=0)
    assert sizes == [30] * 3


def test_the_knowledge_gradient_looks_at_all_of_a_finite_set(rbf_surrogate, monkeypatch):
    # not only at its first points, which in a sorted list lie in one corner
    allowed = points(3, 500)
    allowed = allowed[allowed[:, 0].argsort()]
    seen = []
    value = KnowledgeGradient.value

    def spied(self, surrogate, z, *, among):
        seen.append(among)
        return value(self, surrogate, z, among=among)

    monkeypatch.setattr(KnowledgeGradient, "value", spied)
    surrogate = rbf_surrogate()
    KnowledgeGradient(points=40)(surrogate, region(allowed=allowed), seed=0)
    extra = seen[0][len(surrogate.x) :, 0]
    assert len(extra) == 40
    assert extra.max() > 0.8


def test_multistart_finds_the_highest_of_many_hills():
    def hills(z):
        return torch.cos(12 * z[:, 0]) + torch.cos(9 * z[:, 1]) - (z - 0.52).square().sum(1)

    found = maximize_by_multistart(hills, region(), seed=0)
    axis = torch.linspace(0, 1, 1001, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    assert hills(found[None]) >= hills(grid).max() - 1e-12
    assert (found - grid[hills(grid).argmax()]).abs().max() < 2e-3


def test_multistart_over_whole_numbers_and_categories_finds_the_best():
    space = space_from({"x": (0.0, 1.0), "n": Integer(0, 50), "kind": ["a", "b", "c"]})

    def height(z):
        kinds = z[:, 2:] @ torch.tensor([0.0, 0.3, 0.1], dtype=torch.float64)
        return kinds - (z[:, 0] - 0.25) ** 2 - (z[:, 1] - 0.62) ** 2

    found = maximize_by_multistart(height, region(space), seed=1)
    [point] = space.decode(found[None])
    assert point[1:] == (31, "b")
    assert point[0] == pytest.approx(0.25, abs=1e-5)


def test_a_point_that_was_tried_is_not_proposed_again():
    top = torch.tensor([[0.5, 0.5]], dtype=torch.float64)

    def height(z):
        return -(z - 0.5).square().sum(1)

    found = maximize_by_multistart(height, region(tried=top, best=top), seed=0)
    assert (found - 0.5).abs().max() > 1e-7


@pytest.mark.parametrize("name", [n for n in ACQUISITIONS if HAS_BOTORCH or n != "noisy_ei"])
def test_every_acquisition_proposes_a_point_of_the_space_the_same_for_one_seed(rbf_surrogate, name):
    surrogate = rbf_surrogate(draws=2)
    acquire = acquisition_named(name)
    where = region(tried=surrogate.x, best=surrogate.best_points(3))
    first, again = (acquire(surrogate, where, seed=5) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (2,)
    assert 0 <= first.min() <= first.max() <= 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ei", {}, "acquisition is one of log_ei"),
        ("ucb", {"kappa": 2}, "takes beta"),
        ("log_ei", {"beta": 2}, "takes no options"),
        ("ucb", {"beta": -1.0}, "0 or more"),
        ("ucb", {"beta": "wide"}, "beta must be float"),
        ("thompson", {"candidates": 1.5}, "candidates must be int"),
        ("thompson", {"candidates": 0}, "candidates must be at least 1"),
        ("max_value_entropy", {"minima": 0}, "minima must be at least 1"),
        ("knowledge_gradient", {"nodes": 1}, "nodes"),
    ],
)
def test_an_acquisition_that_is_none_is_refused(name, options, message):
    with pytest.raises(UsageError, match=message):
        acquisition_named(name, **options)
