"""Families of guides on their own: densities, divergences, curvature."""

import math

import pytest
import torch
from pyro.distributions import Normal
from torch.distributions import Independent, MultivariateNormal, kl_divergence

from inference.posterior import Plateau, infer
from inference.posterior.guides.flow import SplineFlow
from inference.posterior.guides.full_covariance import FullCovarianceGuide, TriangularNormal
from inference.posterior.guides.laplace import covariance_factor, hessian
from inference.posterior.guides.low_rank import LowRankNormal
from inference.posterior.start import with_prior
from pyro_models import PPCA, TwoLayerVAE, load_data
from pyro_models.observed import observed

torch_normal = torch.distributions.Normal


def lower(*shape):
    L = torch.randn(*shape, dtype=torch.float64).tril(-1)
    return L + torch.diag_embed(torch.rand(shape[:-1], dtype=torch.float64) + 0.3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_divergences_from_independent_normals_are_those_of_dense_ones(seed):
    torch.manual_seed(seed)
    loc, mean = torch.randn(2, 4, 3, dtype=torch.float64)
    scale = torch.rand(4, 3, dtype=torch.float64) + 0.2
    prior = Normal(mean, scale).to_event(1)
    dense = MultivariateNormal(mean, scale_tril=torch.diag_embed(scale))
    L = lower(4, 3, 3)
    torch.testing.assert_close(
        kl_divergence(TriangularNormal(loc, scale_tril=L), prior),
        kl_divergence(MultivariateNormal(loc, scale_tril=L), dense),
    )
    W, v = torch.randn(4, 3, 2, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64) + 0.1
    covariance = W @ W.mT + torch.diag_embed(v)
    torch.testing.assert_close(
        kl_divergence(LowRankNormal(loc, W, v), prior),
        kl_divergence(MultivariateNormal(loc, covariance), dense),
    )


@pytest.mark.parametrize("make", [TriangularNormal, LowRankNormal])
def test_other_divergences_are_left_to_others(make):
    mean = torch.zeros(3, dtype=torch.float64)
    parts = (torch.ones(3, 1).double(), mean + 1) if make is LowRankNormal else ()
    q = make(mean, *parts) if parts else make(mean, scale_tril=torch.eye(3).double())
    with pytest.raises(NotImplementedError):
        kl_divergence(q, Independent(torch.distributions.Laplace(mean, 1 + mean), 1))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_density_of_a_spline_flow_is_that_of_what_it_draws(seed):
    torch.manual_seed(seed)
    dim = 3
    flow = SplineFlow(
        torch.randn(1, dim).double(),
        lower(1, dim, dim),
        0.5 * torch.randn(1, dim, dim).double(),
        torch.randn(2, 1, dim, 17).double(),
    )

    def drawn(eps):
        first, second = flow.splines
        v = (flow.lower @ first(eps[None]).unsqueeze(-1)).squeeze(-1)
        return (flow.loc + (flow.scale_tril @ second(v).unsqueeze(-1)).squeeze(-1))[0]

    eps = torch.randn(dim).double()
    jacobian = torch.autograd.functional.jacobian(drawn, eps)
    expected = torch_normal(0.0, 1.0).log_prob(eps).sum() - torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(flow.log_prob(drawn(eps)[None])[0], expected)
    torch.manual_seed(seed)
    again = torch.randn(7, 1, dim)
    torch.manual_seed(seed)
    torch.testing.assert_close(flow.rsample((7,))[3, 0], drawn(again[3, 0].double()))


def test_a_spline_flow_integrates_to_one_and_starts_as_a_normal():
    grid = torch.linspace(-12, 12, 4001).double()
    one = torch.ones(1, 1, 1).double()
    for splines in (torch.randn(2, 1, 1, 11).double(), torch.zeros(2, 1, 1, 11).double()):
        flow = SplineFlow(0.3 * one[0], 1.3 * one, one, splines)
        density = flow.log_prob(grid[:, None, None]).exp()
        assert abs(float(density.sum() * (grid[1] - grid[0])) - 1) < 2e-3
    torch.testing.assert_close(
        flow.log_prob(grid[:, None, None])[:, 0],
        torch_normal(0.3, 1.3).log_prob(grid),
        atol=1e-5,
        rtol=1e-6,
    )


def test_sites_of_full_covariance_are_jointly_normal():
    torch.manual_seed(0)
    L, loc = lower(2, 5, 5), torch.randn(2, 5, dtype=torch.float64)
    shapes = {"z2": torch.Size([2]), "z1": torch.Size([3])}
    guide = FullCovarianceGuide(shapes, loc, L)
    import pyro

    x = torch.zeros(2, 1, dtype=torch.float64)
    with torch.no_grad(), pyro.plate("_particles", 40_000, dim=-2), pyro.poutine.trace() as traced:
        guide(x)
    nodes = traced.trace.nodes
    z = torch.cat([nodes["z2"]["value"], nodes["z1"]["value"]], -1)
    joint = MultivariateNormal(loc, scale_tril=L)
    density = sum(nodes[n]["fn"].log_prob(nodes[n]["value"]) for n in shapes)
    torch.testing.assert_close(density, joint.log_prob(z))
    error = joint.variance.sqrt() / 200
    assert ((z.mean(0) - loc).abs() < 4.5 * error).all()
    covariance = torch.stack([z[:, b].T.cov() for b in range(2)])
    torch.testing.assert_close(covariance, joint.covariance_matrix, atol=0.15, rtol=0.05)
    marginal = guide.marginals()["z1"][1]
    torch.testing.assert_close(marginal @ marginal.mT, joint.covariance_matrix[:, 2:, 2:])


def test_the_hessian_of_ppca_is_its_posterior_precision():
    torch.manual_seed(0)
    ppca = PPCA((1, 8, 8), latent_dim=3).double()
    x = load_data("digits").prepared("test").x[:2].double()
    mask = torch.rand(2, 1, 8, 8) < 0.5
    images = with_prior(ppca, observed(ppca, x, mask=mask))
    H = hessian(images, {"z": torch.randn(2, 3, dtype=torch.float64)})
    wanted = ppca.exact_posterior(x, mask).precision_matrix.detach()
    torch.testing.assert_close(H, wanted)
    L, damped = covariance_factor(H)
    torch.testing.assert_close(L @ L.mT, torch.linalg.inv(wanted))
    assert torch.equal(L, L.tril())
    assert not damped.any()


def test_a_curvature_that_is_no_maximum_is_damped_and_said_to_be():
    torch.manual_seed(0)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    good = turn @ torch.diag(torch.tensor([4.0, 2.0, 1.0]).double()) @ turn.T
    saddle = turn @ torch.diag(torch.tensor([4.0, 2.0, -1.0]).double()) @ turn.T
    L, damped = covariance_factor(torch.stack([good, saddle, torch.full((3, 3), math.nan)]))
    assert damped.tolist() == [False, True, True]
    torch.testing.assert_close(L[0] @ L[0].mT, torch.linalg.inv(good))
    variances = torch.linalg.eigvalsh(L[1] @ L[1].mT)
    torch.testing.assert_close(variances, torch.tensor([0.25, 0.5, 250.0]).double())


def test_laplace_and_full_covariance_join_the_sites_of_two_layers():
    torch.manual_seed(1)
    pair = TwoLayerVAE((1, 8, 8), latent_dims=[2, 2], hidden=[8], top_hidden=[4]).double()
    x = (load_data("digits").prepared("test").x[:3] > 0.5).double()
    options = {"stopping": Plateau(window=20), "max_steps": 200}
    bounds = {
        guide: infer(pair, x, guide=guide, **options).elbo(num_particles=500).value
        for guide in ("normal", "full_covariance", "laplace")
    }
    # z1 depends on z2: a Normal over both holds what independent ones cannot
    assert (bounds["full_covariance"] - bounds["normal"]).mean() > -0.02
    assert (bounds["full_covariance"] - bounds["laplace"]).mean() > -0.05
