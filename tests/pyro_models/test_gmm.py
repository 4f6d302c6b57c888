"""GMM against scikit-learn, dense marginals, and its two guides against each other."""

import math

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from sklearn.mixture import GaussianMixture
from sklearn.mixture._gaussian_mixture import _compute_precision_cholesky
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from inference.particles import particles
from pyro_models import GMM, UsageError, load_data
from pyro_models.models.gmm import COVARIANCES

SHAPE, D, N = (1, 2, 2), 4, 60
SKLEARN_NAMES = {"diagonal": "diag", "spherical": "spherical", "tied": "tied", "full": "full"}
every_covariance = pytest.mark.parametrize("covariance", COVARIANCES)


@pytest.fixture
def x() -> Tensor:
    """Three clusters of correlated pixels."""
    centre = 3 * torch.randn(3, D, dtype=torch.float64)
    flat = centre[torch.arange(N) % 3] + torch.randn(N, D, dtype=torch.float64).cumsum(1)
    return flat.unflatten(1, SHAPE)


def mixture(covariance: str, num_components: int = 3, guide: str = "enumerate") -> GMM:
    """No parameter at its default, the scale of the data included."""
    gmm = GMM(
        SHAPE,
        num_components=num_components,
        covariance=covariance,
        floor=0.05,
        guide=guide,
        hidden=[8],
    ).double()
    gmm.start_from(2 * torch.randn(50, *SHAPE, dtype=torch.float64) + 1)
    with torch.no_grad():
        for parameter in gmm.model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return gmm


def covariances(gmm: GMM) -> Tensor:
    """(K, D, D)."""
    if gmm.model.dense:
        tril = gmm.model.scale_tril()
        return (tril @ tril.mT).expand(gmm.num_components, D, D).detach()
    return torch.diag_embed(gmm.model.scale().square()).detach()


def scikit_learn(gmm: GMM) -> GaussianMixture:
    """The same mixture as scikit-learn writes it."""
    name = SKLEARN_NAMES[gmm.covariance]
    full = covariances(gmm).numpy()
    theirs = GaussianMixture(gmm.num_components, covariance_type=name)
    theirs.weights_ = gmm.model.logits.softmax(-1).detach().numpy()
    theirs.means_ = gmm.model.loc().detach().numpy()
    theirs.covariances_ = {
        "full": full,
        "tied": full[0],
        "diag": np.diagonal(full, axis1=1, axis2=2),
        "spherical": full[:, 0, 0],
    }[name]
    theirs.precisions_cholesky_ = _compute_precision_cholesky(theirs.covariances_, name)
    return theirs


def dense_mixture(gmm: GMM, seen: Tensor) -> MixtureSameFamily:
    """The marginal over the seen pixels of one datum."""
    normal = MultivariateNormal(
        gmm.model.loc().detach()[:, seen], covariances(gmm)[:, seen][:, :, seen]
    )
    return MixtureSameFamily(Categorical(logits=gmm.model.logits.detach()), normal)


@every_covariance
@pytest.mark.parametrize("num_components", [1, 3])
def test_log_prob_and_enumerated_loss_are_those_of_scikit_learn(
    x: Tensor, covariance: str, num_components: int
) -> None:
    gmm = mixture(covariance, num_components)
    theirs = scikit_learn(gmm)
    flat = x.flatten(1).numpy()
    exact = gmm.exact_log_prob(x).detach()
    np.testing.assert_allclose(exact.numpy(), theirs.score_samples(flat), rtol=1e-10)
    loss = gmm.elbo().loss(gmm.model, gmm.guide, x)
    assert loss == pytest.approx(-theirs.score_samples(flat).sum(), rel=1e-10)
    np.testing.assert_allclose(
        gmm.responsibilities(x).detach().numpy(), theirs.predict_proba(flat), rtol=1e-7, atol=1e-12
    )
    assert torch.equal(
        gmm.exact_posterior(x).probs.argmax(1), torch.as_tensor(theirs.predict(flat))
    )


@every_covariance
@pytest.mark.parametrize("shared", [True, False])
def test_under_a_mask_the_marginal_is_exact(x: Tensor, covariance: str, shared: bool) -> None:
    gmm = mixture(covariance)
    mask = torch.tensor([[True, False], [True, True]]) if shared else torch.rand(N, 2, 2) < 0.5
    if not shared:
        mask[0], mask[1] = False, True
    seen = mask.expand(N, 2, 2).flatten(1)
    expected = torch.stack(
        [
            dense_mixture(gmm, s).log_prob(row[s]) if s.any() else row.new_zeros(())
            for row, s in zip(x.flatten(1), seen, strict=True)
        ]
    )
    torch.testing.assert_close(gmm.exact_log_prob(x, mask).detach(), expected, rtol=1e-9, atol=1e-9)
    loss = gmm.elbo().loss(gmm.model, gmm.guide, x, mask=mask)
    assert loss == pytest.approx(-float(expected.sum()), rel=1e-9)
    log_w = particles(gmm, None, x, num_particles=2, mask=mask).log_weight
    torch.testing.assert_close(log_w.detach(), expected.expand(2, N), rtol=1e-9, atol=1e-9)


@every_covariance
def test_nothing_seen_leaves_the_mixture_weights(covariance: str) -> None:
    gmm = mixture(covariance)
    nothing = torch.full((3, *SHAPE), math.nan, dtype=torch.float64)
    resp = gmm.responsibilities(nothing, torch.zeros(2, 2))
    torch.testing.assert_close(resp, gmm.model.logits.softmax(-1).expand(3, 3))


@every_covariance
@pytest.mark.parametrize("raw", [-100.0, -5.0, 0.0])
def test_the_floor_is_added_to_every_variance(covariance: str, raw: float) -> None:
    gmm = mixture(covariance)
    with torch.no_grad():
        gmm.model.raw_factor.fill_(0.0)
        diagonal = gmm.model.raw_factor.diagonal(dim1=-2, dim2=-1)
        (diagonal if gmm.model.dense else gmm.model.raw_factor).fill_(raw)
        full = covariances(gmm)
        scale = gmm.model.data_scale
        without = scale @ scale.T if gmm.model.dense else torch.diag(scale.square())
    expected = math.exp(2 * raw) * without + gmm.floor * torch.eye(D, dtype=torch.float64)
    torch.testing.assert_close(full, expected.expand_as(full), rtol=1e-9, atol=1e-12)
    assert float(torch.linalg.eigvalsh(full).min()) >= gmm.floor * (1 - 1e-9)
    loss = gmm.elbo().differentiable_loss(gmm.model, gmm.guide, torch.zeros(2, *SHAPE).double())
    loss.backward()
    assert all(bool(p.grad.isfinite().all()) for p in gmm.model.parameters())


@every_covariance
@pytest.mark.parametrize("seed", [0, 1])
def test_start_is_the_first_step_of_scikit_learn(covariance: str, seed: int) -> None:
    """Its k-means and the M step after it; ours has a hundredth of the floor more variance."""
    digits = load_data("digits", preparation="dequantised").prepared("train").x[:400].double()
    flat = digits.flatten(1).numpy()
    gmm = GMM((1, 8, 8), num_components=4, covariance=covariance, floor=1e-3).double()
    assert not gmm.started
    assert gmm.start_from(digits, seed=seed) == "k-means++"
    assert gmm.started
    theirs = GaussianMixture(
        4, covariance_type=SKLEARN_NAMES[covariance], reg_covar=1.01e-3, random_state=seed
    )
    theirs._initialize_parameters(flat, np.random.RandomState(seed))
    np.testing.assert_allclose(gmm.model.logits.softmax(-1).detach(), theirs.weights_, rtol=1e-9)
    np.testing.assert_allclose(gmm.model.loc().detach(), theirs.means_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        gmm.exact_log_prob(digits).detach(), theirs.score_samples(flat), rtol=1e-9
    )


def test_start_does_not_depend_on_the_state_of_the_generators(x: Tensor) -> None:
    first, second = mixture("diagonal"), mixture("diagonal")
    pyro.set_rng_seed(5)
    first.start_from(x, seed=2)
    state = torch.get_rng_state()
    second.start_from(x, seed=2)
    assert torch.equal(state, torch.get_rng_state())
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


@every_covariance
def test_start_with_as_many_components_as_data_is_finite(x: Tensor, covariance: str) -> None:
    gmm = GMM(SHAPE, num_components=5, covariance=covariance).double()
    gmm.start_from(x[:5])
    assert bool(gmm.exact_log_prob(x).isfinite().all())
    with pytest.raises(UsageError, match=r"5 components need at least as many data; got 4\Z"):
        gmm.start_from(x[:4])


@every_covariance
def test_training_climbs_from_the_start_towards_em(x: Tensor, covariance: str) -> None:
    """Never above a maximum: EM run on from here, with the same floor, is the reference."""
    gmm = GMM(SHAPE, num_components=3, covariance=covariance, floor=0.01).double()
    gmm.start_from(x)
    start = gmm.exact_log_prob(x).mean().item()
    em = GaussianMixture(
        3,
        covariance_type=SKLEARN_NAMES[covariance],
        reg_covar=0.01,
        random_state=0,
        tol=1e-9,
        max_iter=2000,
    ).fit(x.flatten(1).numpy())
    optimizer = torch.optim.Adam(gmm.parameters(), lr=0.02)
    for _ in range(400):
        optimizer.zero_grad()
        gmm.elbo().differentiable_loss(gmm.model, gmm.guide, x).backward()
        optimizer.step()
    reached = gmm.exact_log_prob(x).mean().item()
    assert reached > start
    assert reached == pytest.approx(em.score(x.flatten(1).numpy()), abs=5e-3)


def assert_shares(values: Tensor, probs: Tensor) -> None:
    share = torch.bincount(values, minlength=len(probs)) / len(values)
    error = (probs * (1 - probs) / len(values)).sqrt()
    assert float(((share - probs) / error).abs().max()) < 4


def test_generated_assignments_follow_the_mixture_weights() -> None:
    gmm = GMM(SHAPE, num_components=3).double()
    with torch.no_grad():  # so far apart that a datum tells its component
        gmm.model.offset.copy_(torch.arange(3.0).unsqueeze(1).expand(3, D) * 1000)
        gmm.model.logits.copy_(torch.tensor([0.0, 1.0, -1.0]))
        component = (gmm.model(n=20_000).mean((1, 2, 3)) / 1000).round().long()
    assert_shares(component, gmm.model.logits.softmax(-1).detach())


def test_drawn_assignments_follow_the_guide(x: Tensor) -> None:
    gmm = mixture("diagonal", guide="amortised")
    k = particles(gmm, None, x[:1], num_particles=20_000).latents["k"]
    logits = gmm.guide.network((x[:1].flatten(1) - gmm.guide.centre) / gmm.guide.scale)
    assert_shares(k.squeeze(1), logits.squeeze(0).softmax(-1).detach())


def test_generated_data_have_the_moments_of_the_mixture() -> None:
    count = 50_000
    for covariance in COVARIANCES:
        gmm = mixture(covariance)
        with torch.no_grad():
            draws = gmm.model(n=count).flatten(1)
            weights, loc = gmm.model.logits.softmax(-1), gmm.model.loc()
            mean = weights @ loc
            second = torch.einsum(
                "k,kde->de", weights, covariances(gmm) + loc.unsqueeze(2) * loc.unsqueeze(1)
            )
        outer = draws.unsqueeze(2) * draws.unsqueeze(1)
        for estimate, expected in ((draws, mean), (outer, second)):
            error = estimate.std(0) / math.sqrt(count)
            assert float(((estimate.mean(0) - expected) / error).abs().max()) < 4.5, covariance


@pytest.mark.parametrize("masked", [False, True])
def test_the_sampled_gradient_agrees_with_the_enumerated_one(x: Tensor, masked: bool) -> None:
    """Score-function gradients, averaged over the data and many draws, in units of their error."""
    gmm = mixture("diagonal", guide="amortised")
    few = x[:3]
    mask = torch.tensor([[True, False], [True, True]]) if masked else None
    parameters = dict(gmm.model.named_parameters())
    parameters |= {f"guide.{n}": p for n, p in gmm.guide.network.named_parameters()}

    # the same bound with k summed out under q(k | x)
    features = ((few.flatten(1) - gmm.guide.centre) / gmm.guide.scale).detach()
    if mask is not None:
        features = features * mask.flatten()
    log_q = gmm.guide.network(features).log_softmax(-1)
    bound = (log_q.exp() * (gmm._log_joint(few, mask) - log_q)).sum()
    exact = dict(
        zip(parameters, torch.autograd.grad(-bound, list(parameters.values())), strict=True)
    )

    draws: dict[str, list[Tensor]] = {name: [] for name in parameters}
    repeated = few.repeat(100, 1, 1, 1)  # a hundred independent draws of each in one pass
    for _ in range(60):
        gmm.zero_grad()
        with pyro.poutine.trace(param_only=True):
            gmm.elbo().loss_and_grads(gmm.model, gmm.guide, repeated, mask=mask)
        for name, parameter in parameters.items():
            draws[name].append(parameter.grad.clone() / 100)
    largest = []
    for name, gradients in draws.items():
        stacked = torch.stack(gradients)
        error = stacked.std(0) / math.sqrt(len(stacked))
        largest.append(
            float(((stacked.mean(0) - exact[name]).abs() / error.clamp_min(1e-12)).max())
        )
        assert float(exact[name].abs().max()) > 0, name
    assert max(largest) < 4


def test_the_amortised_bound_is_below_the_evidence_by_the_divergence(x: Tensor) -> None:
    gmm = mixture("tied", guide="amortised")
    features = (x.flatten(1) - gmm.guide.centre) / gmm.guide.scale
    q = Categorical(logits=gmm.guide.network(features))
    gap = torch.distributions.kl_divergence(q, gmm.exact_posterior(x)).sum()
    with torch.no_grad():
        bounds = particles(gmm, None, x, num_particles=4000).log_weight.sum(1)
    error = float(bounds.std()) / math.sqrt(len(bounds))
    expected = float((gmm.exact_log_prob(x).sum() - gap).detach())
    assert abs(float(bounds.mean()) - expected) < 4 * error


def test_a_guide_that_knows_the_answer_has_weights_without_variance(x: Tensor) -> None:
    """log w = log p(x) for every drawn k when q(k | x) is the posterior."""
    gmm = mixture("full")

    def exact_guide(x: Tensor, *, y: None = None, mask: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("k", gmm.exact_posterior(x, mask))

    mask = torch.rand(N, 2, 2) < 0.5
    log_w = particles(gmm, exact_guide, x, num_particles=5, mask=mask).log_weight
    torch.testing.assert_close(log_w, gmm.exact_log_prob(x, mask).expand(5, N))


def test_a_minibatch_scale_is_outside_the_sum_over_components(x: Tensor) -> None:
    gmm = mixture("diagonal")
    scaled = pyro.poutine.scale(gmm.model, scale=10.0)
    loss = TraceEnum_ELBO(max_plate_nesting=1).loss(scaled, gmm.guide, x)
    assert loss == pytest.approx(-10 * gmm.exact_log_prob(x).sum().item(), rel=1e-9)


@pytest.mark.parametrize("guide", ["enumerate", "amortised"])
@pytest.mark.parametrize("hidden", [5, "x", None, [0], [2.5]])
def test_layers_that_are_none_are_refused_whatever_the_guide(guide, hidden) -> None:
    with pytest.raises(UsageError, match=r"hidden (is a list of|needs positive)"):
        GMM((4,), guide=guide, hidden=hidden)
