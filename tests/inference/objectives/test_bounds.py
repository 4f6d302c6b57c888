"""Every bound against quadrature: PPCA with one latent, float64, its guide beside the posterior."""

import math
from types import SimpleNamespace
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from pyro import poutine
from pyro.infer import RenyiELBO
from torch import Tensor

from inference.learning import make_objective
from inference.objectives import (
    OBJECTIVES,
    Renyi,
    Tempered,
    geometric_jensen_shannon,
    jensen_shannon,
)
from inference.particles import log_mean_exp, particles
from pyro_models import GMM, PPCA, VAE, UsageError

K = 2
OPTIONS: dict[str, dict[str, Any]] = {
    "mean_field": {},
    "monte_carlo": {},
    "stl": {},
    "iwae": {"num_particles": K},
    "dreg": {"num_particles": K},
    "renyi": {"num_particles": K, "alpha": 0.3},
    "rws": {"num_particles": K},
    "js": {},
    "geometric_js": {},
}
EXACT = [name for name in OPTIONS if name not in ("js", "geometric_js")]


@pytest.fixture
def pair() -> PPCA:
    pyro.set_rng_seed(0)
    made = PPCA((3,), latent_dim=1, guide="linear").double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, dtype=torch.float64))
    return made


X = torch.tensor([[0.3, -1.2, 0.8]], dtype=torch.float64)


def densities(pair: PPCA, z: Tensor, *, stop_guide: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """log p(x | z), log p(z) and log q(z | x) at z of any shape."""
    q = guide(pair)
    if stop_guide:
        q = dist.Normal(q.loc.detach(), q.scale.detach())
    p_x = dist.Normal(z[..., None] * pair.model.W[:, 0] + pair.model.mu, pair.model.sigma)
    return p_x.log_prob(X[0]).sum(-1), dist.Normal(0.0, 1.0).log_prob(z), q.log_prob(z)


def guide(pair: PPCA) -> dist.Normal:
    q = poutine.trace(pair.guide).get_trace(X).nodes["z"]["fn"]
    return dist.Normal(q.loc.squeeze(), q.scale_tril.squeeze())


def exact_surrogate(pair: PPCA, name: str) -> tuple[float, Tensor]:
    """The bound in expectation, and a scalar with its gradient, by Gauss–Hermite quadrature."""
    nodes, weights = (torch.as_tensor(a) for a in hermegauss(80))
    weights = weights / weights.sum()
    q = guide(pair)
    z = q.loc + q.scale * nodes
    likelihood, prior, log_q = densities(pair, z)
    log_w = likelihood + prior - log_q
    if name in ("mean_field", "monte_carlo", "stl"):
        bound = (weights * log_w).sum()
        return float(bound.detach()), bound
    two = torch.stack(torch.broadcast_tensors(log_w[:, None], log_w[None, :]))
    mass = weights[:, None] * weights[None, :]
    if name == "renyi":
        alpha = OPTIONS["renyi"]["alpha"]
        power = (1 - alpha) * two
        bound = (mass * (power.logsumexp(0) - math.log(K))).sum() / (1 - alpha)
        return float(bound.detach()), bound
    bound = (mass * (two.logsumexp(0) - math.log(K))).sum()
    if name != "rws":
        return float(bound.detach()), bound
    fixed = z.detach()
    likelihood, prior, log_q = densities(pair, fixed)
    both = likelihood + prior + log_q
    both = torch.stack(torch.broadcast_tensors(both[:, None], both[None, :]))
    return float(bound.detach()), (mass * (two.detach().softmax(0) * both).sum(0)).sum()


def estimates(pair: PPCA, name: str, *, repeats: int, batches: int) -> tuple[Tensor, Tensor]:
    """Values (batches,) and gradients (batches, parameters) of independent draws."""
    objective = make_objective(pair, name, OPTIONS[name])
    values, gradients = [], []
    for _ in range(batches):
        pair.zero_grad()
        values.append(objective.backward(X.expand(repeats, -1)))
        found = [p.grad if p.grad is not None else torch.zeros_like(p) for p in pair.parameters()]
        gradients.append(-torch.cat([g.flatten() for g in found]))
    return torch.tensor(values), torch.stack(gradients)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", EXACT)
def test_value_and_gradient_are_those_of_quadrature(pair: PPCA, name: str, seed: int) -> None:
    value, surrogate = exact_surrogate(pair, name)
    exact = torch.autograd.grad(surrogate, list(pair.parameters()), allow_unused=True)
    expected = torch.cat(
        [
            (torch.zeros_like(p) if g is None else g).flatten()
            for p, g in zip(pair.parameters(), exact, strict=True)
        ]
    )
    pyro.set_rng_seed(seed)
    values, gradients = estimates(pair, name, repeats=500, batches=40)
    error = float(values.std()) / math.sqrt(len(values))
    assert abs(float(values.mean()) - value) < 4 * error + 1e-9
    errors = gradients.std(0) / math.sqrt(len(gradients))
    assert float(expected.abs().max()) > 20 * float(errors.max())  # there is something to see
    assert bool(((gradients.mean(0) - expected).abs() < 4.5 * errors + 1e-9).all())


@pytest.mark.parametrize(("better", "plain"), [("stl", "monte_carlo"), ("dreg", "iwae")])
def test_the_guides_gradient_has_smaller_variance(better: str, plain: str) -> None:
    """Near the posterior, where the score is nearly all there is."""
    data = torch.randn(200, 3, generator=torch.Generator().manual_seed(1)).double()
    pair = PPCA.maximum_likelihood(data, latent_dim=1, guide="linear")
    with torch.no_grad():
        pair.guide.mean.bias.add_(0.1)
    spread = {}
    for name in (better, plain):
        pyro.set_rng_seed(0)
        objective = make_objective(pair, name, OPTIONS[name])
        draws = []
        for _ in range(200):
            pair.zero_grad()
            objective.backward(data[:5])
            draws.append(torch.cat([p.grad.flatten() for p in pair.guide.parameters()]))
        spread[name] = float(torch.stack(draws).var(0).sum())
    assert spread[better] < 0.5 * spread[plain]


def test_more_particles_tighten_the_bound_and_one_is_the_elbo(pair: PPCA) -> None:
    data = X.expand(20_000, -1)
    log_p = float(pair.exact_log_prob(X).detach())
    means, errors = [], []
    for count in (1, 2, 5, 20):
        pyro.set_rng_seed(0)
        values = make_objective(pair, "iwae", {"num_particles": count}).values(data)
        means.append(float(values.mean()))
        errors.append(float(values.std()) / math.sqrt(len(values)))
    for i in range(3):
        assert means[i + 1] > means[i] + 3 * math.hypot(errors[i], errors[i + 1])
    assert means[-1] < log_p + 3 * errors[-1]
    for name in ("iwae", "dreg", "rws", "renyi"):
        pyro.set_rng_seed(7)
        one = make_objective(pair, name, {"num_particles": 1}).values(X)
        pyro.set_rng_seed(7)
        elbo = make_objective(pair, "monte_carlo").values(X)
        torch.testing.assert_close(one, elbo)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 2.0])
def test_agrees_with_pyros_renyi_where_that_is_right(pair: PPCA, alpha: float) -> None:
    """All sites in the data plate, no scale, a reparameterised guide."""
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double()
    theirs = RenyiELBO(alpha=alpha, num_particles=3, vectorize_particles=True, max_plate_nesting=1)
    pyro.set_rng_seed(5)
    with pyro.get_param_store().scope(), poutine.trace(param_only=True):
        loss = theirs.loss_and_grads(pair.model, pair.guide, x)
    expected = [p.grad.clone() for p in pair.parameters()]
    pair.zero_grad()
    pyro.set_rng_seed(5)
    ours = make_objective(pair, "renyi", {"alpha": alpha, "num_particles": 3}).backward(x)
    assert ours == pytest.approx(-loss / 4, rel=1e-10)
    for parameter, gradient in zip(pair.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient / 4)


@pytest.mark.parametrize("gap", [1e-1, 1e-3, 1e-6, 1e-9, -1e-6])
def test_renyi_tends_to_the_elbo_in_single_precision(gap: float) -> None:
    vae = VAE((1, 8, 8), hidden=[4], latent_dim=2, likelihood="bernoulli")
    x = torch.rand(50, 1, 8, 8).round()
    values = []
    for pair in (vae, vae.double()):
        draws = particles(pair, None, x.to(next(pair.parameters()).dtype), num_particles=5)
        exact = draws.log_weight.double()
        scaled = gap * (exact - exact.mean(0))
        expected = exact.mean(0) + (scaled.expm1().mean(0)).log1p() / gap
        found = Renyi(alpha=1 - gap)(draws)
        values.append(float((found - expected).detach().abs().max()))
    assert values[0] < 1e-3
    assert values[1] < 1e-9


@pytest.mark.parametrize("alpha", [0.9, 0.95, 1.0, 1.05, 1.1])
def test_renyi_of_weights_thousands_of_nats_apart_is_finite(alpha: float) -> None:
    log_w = (3000 * torch.randn(5, 40) - 500).requires_grad_()
    found = Renyi(alpha=alpha)(SimpleNamespace(log_weight=log_w))
    exact = log_w.detach().double()
    expected = exact.mean(0) if alpha == 1 else log_mean_exp((1 - alpha) * exact) / (1 - alpha)
    torch.testing.assert_close(found.detach().double(), expected, rtol=1e-6, atol=1e-3)
    (gradient,) = torch.autograd.grad(found.sum(), log_w)
    torch.testing.assert_close(gradient.sum(0), torch.ones(40))  # as of any mean of log w


@pytest.mark.parametrize("name", [n for n, cls in OBJECTIVES.items() if issubclass(cls, Tempered)])
def test_beta_weighs_the_latent_terms_outside_the_average(name: str) -> None:
    """Linear in β up to 1, with E_q[log p(x | z)] at 0; at K = 1 that minus β KL throughout."""
    vae = VAE((3,), hidden=[4], latent_dim=2, likelihood="gaussian").double()
    data = X.expand(500, -1)

    def value(beta: float, **options: Any) -> float:
        pyro.set_rng_seed(3)
        objective = make_objective(vae, name, {**OPTIONS.get(name, {}), **options, "beta": beta})
        return float(objective.mean(data).detach())

    assert value(1.0) - value(0.5) == pytest.approx(value(0.75) - value(0.25), rel=1e-9)
    assert value(1.5) - value(1.0) == pytest.approx(value(2.5) - value(2.0), rel=1e-9)
    assert value(2.0) < value(1.0)
    pyro.set_rng_seed(3)
    warming = make_objective(vae, name, OPTIONS.get(name, {}))
    assert float(warming.mean(data, beta=0.5).detach()) == pytest.approx(value(0.5))
    pyro.set_rng_seed(3)
    tensor = warming.mean(data, beta=torch.tensor(2.0, dtype=torch.float64)).detach()
    assert float(tensor) == pytest.approx(value(2.0), rel=1e-9)
    if name in ("iwae", "renyi", "mean_field"):
        kl = float(particles(vae, None, X, num_particles=1).kl.detach())  # in closed form
        assert value(2.0) - value(1.0) == pytest.approx(-kl, rel=1e-9)
        pyro.set_rng_seed(3)
        count = OPTIONS[name].get("num_particles", 1)
        drawn = particles(vae, None, data, num_particles=count)
        expected = float(drawn.log_likelihood.mean().detach())
        assert 2 * value(0.5) - value(1.0) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["iwae", "renyi"])
def test_a_guide_far_from_the_prior_gains_nothing_while_beta_is_small(name: str) -> None:
    vae = VAE((3,), hidden=[4], latent_dim=2, likelihood="gaussian").double()
    objective = make_objective(vae, name, {"num_particles": 5, "beta": 0.05})
    head = vae.guide.encoder.head.linear
    with torch.no_grad():
        near = float(objective.mean(X.expand(2000, -1)))
        head.bias[:2] += 300.0
        head.bias[2:] += 30.0
        far = float(objective.mean(X.expand(2000, -1)))
    assert far < near


def test_every_particle_agrees_where_all_is_enumerated() -> None:
    x = torch.rand(6, 4).double()
    pair = GMM((4,), num_components=3).double()
    pair.start_from(x)
    for name in ("iwae", "monte_carlo", "mean_field", "renyi", "rws"):
        values = make_objective(pair, name).values(x)
        torch.testing.assert_close(values, pair.exact_log_prob(x).detach())


def test_wake_sleep_teaches_a_discrete_guide_the_posterior() -> None:
    """Its guide gradient tends to that of E_{p(k|x)}[log q(k | x)] as K grows."""
    pyro.set_rng_seed(0)
    pair = GMM((2,), num_components=3, guide="amortised", hidden=[6]).double()
    x = torch.randn(8, 2).double()
    pair.start_from(x)
    log_q = poutine.trace(pair.guide).get_trace(x).nodes["k"]["fn"].logits.log_softmax(-1)
    posterior = pair.exact_posterior(x).probs.detach()
    (posterior * log_q).sum(-1).mean().backward()
    network = [p for p in pair.guide.parameters() if p.grad is not None]  # not the baseline
    expected = torch.cat([p.grad.flatten() for p in network])
    objective = make_objective(pair, "rws", {"num_particles": 2000})
    draws = []
    for _ in range(20):
        pair.zero_grad()
        objective.backward(x)
        draws.append(-torch.cat([p.grad.flatten() for p in network]))
    error = torch.stack(draws).std(0) / math.sqrt(20)
    gap = (torch.stack(draws).mean(0) - expected).abs()
    assert bool((gap < 4.5 * error + 2e-3 * expected.abs().max()).all())


@pytest.mark.parametrize("distance", [0.0, 1.0, 6.0, 1e3])
def test_jensen_shannon_is_at_most_log_two_and_right(distance: float) -> None:
    q = dist.Normal(torch.tensor(distance).double(), torch.tensor(0.7).double())
    p = dist.Normal(torch.zeros(()).double(), torch.ones(()).double())
    z = torch.linspace(-12, 12 + distance, 200_001).double()
    log_q, log_p = q.log_prob(z), p.log_prob(z)
    log_m = torch.logaddexp(log_q, log_p) - math.log(2)
    integrand = 0.5 * log_q.exp() * (log_q - log_m) + 0.5 * log_p.exp() * (log_p - log_m)
    exact = float(torch.trapezoid(integrand, z))
    pyro.set_rng_seed(0)
    draws = jensen_shannon(q.expand([40_000]), p.expand([40_000]), q.sample([40_000]))
    assert bool((draws <= math.log(2) + 1e-12).all())
    error = float(draws.std()) / math.sqrt(len(draws))
    assert abs(float(draws.mean()) - exact) < 4 * error + 1e-6
    assert exact <= math.log(2) + 1e-6


def test_geometric_jensen_shannon_is_its_definition() -> None:
    q = dist.Normal(torch.tensor([1.3]).double(), torch.tensor([0.6]).double()).to_event(1)
    p = dist.Normal(torch.zeros(1).double(), torch.ones(1).double()).to_event(1)
    z = torch.linspace(-12, 12, 200_001).double()
    log_q, log_p = q.log_prob(z[:, None]), p.log_prob(z[:, None])
    for skew in (0.2, 0.5, 0.9):
        log_g = (1 - skew) * log_q + skew * log_p
        log_g = log_g - torch.trapezoid(log_g.exp(), z).log()
        terms = (1 - skew) * log_q.exp() * (log_q - log_g) + skew * log_p.exp() * (log_p - log_g)
        ours = geometric_jensen_shannon(q, p, skew=skew)
        assert float(ours) == pytest.approx(float(torch.trapezoid(terms, z)), abs=1e-9)
    for skew in (0.0, 1.0):
        assert float(geometric_jensen_shannon(q, p, skew=skew)) == pytest.approx(0, abs=1e-12)
    with pytest.raises(UsageError, match="skew"):
        geometric_jensen_shannon(q, p, skew=1.5)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", ["js", "geometric_js"])
def test_value_and_gradient_of_jensen_shannon_are_those_of_quadrature(name: str, seed: int) -> None:
    pyro.set_rng_seed(0)
    pair = VAE((3,), latent_dim=1, hidden=[4], activation="tanh", likelihood="gaussian").double()
    with torch.no_grad():
        pair.guide.encoder.head.linear.bias.copy_(torch.tensor([0.9, -0.5]))
    q = poutine.trace(pair.guide).get_trace(X).nodes["z"]["fn"].base_dist
    p = dist.Normal(torch.zeros_like(q.loc), torch.ones_like(q.scale))
    nodes, weights = (torch.as_tensor(a) for a in hermegauss(80))
    likelihood = pair.decode({"z": (q.loc + q.scale * nodes[:, None])})["x"].log_prob(X[0])
    z = torch.linspace(-15, 15, 20_001, dtype=torch.float64)
    log_q, log_p = q.log_prob(z).squeeze(), p.log_prob(z).squeeze()
    middle = torch.logaddexp(log_q, log_p) if name == "js" else (log_q + log_p) / 2
    middle = middle - torch.trapezoid(middle.exp(), z).log()
    apart = log_q.exp() * (log_q - middle) + log_p.exp() * (log_p - middle)
    exact = weights @ likelihood / weights.sum() - 0.5 * torch.trapezoid(apart, z)
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(exact, list(pair.parameters()))])
    pyro.set_rng_seed(seed)
    values, gradients = estimates(pair, name, repeats=5000, batches=40)
    error = float(values.std()) / math.sqrt(len(values))
    assert abs(float(values.mean() - exact.detach())) < 4 * error
    errors = gradients.std(0) / math.sqrt(len(gradients))
    assert float(expected.abs().max()) > 20 * float(errors.max())  # there is something to see
    assert bool(((gradients.mean(0) - expected).abs() < 4.5 * errors + 1e-9).all())


def test_what_is_no_bound_says_so_beside_its_value(pair: PPCA) -> None:
    for name in ("js", "geometric_js"):
        assert "bounds no evidence" in make_objective(pair, name).remark
    assert "log 2" in make_objective(pair, "js").remark


def test_what_a_bound_cannot_do_is_said_in_one_line(pair: PPCA) -> None:
    wrong = [
        ("iwae", {"num_particles": 0}, "whole number ≥ 1; got 0"),
        ("iwae", {"particles": 5}, "no option particles"),
        ("renyi", {"alpha": -1.0}, "alpha"),
        ("mean_field", {"beta": 0.0}, "beta"),
        ("dreg", {"beta": 0.5}, "no option beta"),
        ("trace", {"alpha": 0.5}, "alpha"),
        ("trace", {"num_particles": 0}, "whole number"),
        ("trace", {"num_particles": 2.5}, "whole number"),
        ("iwae", {"num_particles": True}, "whole number"),
        ("renyi", {"alpha": "half"}, "is a number"),
        ("renyi", {"alpha": math.inf}, "is a number"),
        ("mean_field", {"beta": None}, "is a number"),
        ("geometric_js", {"skew": 2.0}, "0…1"),
    ]
    for name, options, message in wrong:
        with pytest.raises(UsageError, match=message):
            make_objective(pair, name, options)
    sampled = GMM((3,), num_components=2, guide="amortised", hidden=[4]).double()
    for name in ("iwae", "dreg", "stl", "mean_field"):
        with pytest.raises(UsageError, match="use rws"):
            make_objective(sampled, name).backward(X)
    with pytest.raises(UsageError, match="one latent site"):
        make_objective(GMM((3,), num_components=2).double(), "js").backward(X)
    with pytest.raises(UsageError, match="diagonal Gaussian"):
        make_objective(pair, "geometric_js").backward(X)


def test_geometric_js_trains_a_vae() -> None:
    vae = VAE((1, 4, 4), hidden=[8], latent_dim=2)
    make_objective(vae, "geometric_js", {"skew": 0.3}).backward(torch.rand(5, 1, 4, 4))
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in vae.parameters())
