"""A target is the pair's own log density, with its gradient, whatever the pair and what is seen."""

import math
from dataclasses import astuple

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import nn

from inference.densities import log_density
from inference.particles import particles
from inference.posterior import condition
from inference.record import Recorded
from pyro_models import CVAE, GMM, PPCA, VAE, Observed, UsageError
from pyro_models.models.hierarchical import TwoLayerVAE
from pyro_models.models.semi_supervised import SemiSupervisedVAE

B, C = 4, 3
LABELS = torch.tensor([0, 2, -1, 1])
OPTIONS = {"hidden": [8], "likelihood": "bernoulli"}


def vae():
    return VAE((1, 4, 4), latent_dim=2, **OPTIONS)


def cvae():
    return CVAE((1, 4, 4), num_classes=3, latent_dim=2, **OPTIONS)


def m2():
    return SemiSupervisedVAE((1, 4, 4), num_classes=3, latent_dim=2, **OPTIONS)


def two_layer():
    return TwoLayerVAE((1, 4, 4), latent_dims=[3, 2], top_hidden=[4], **OPTIONS)


def ppca():
    return PPCA((1, 4, 4), latent_dim=3)


CASES = [
    pytest.param(vae, None, id="vae"),
    pytest.param(cvae, LABELS.clamp(min=0), id="cvae"),
    pytest.param(m2, None, id="m2"),
    pytest.param(m2, LABELS, id="m2-labels"),
    pytest.param(two_layer, None, id="two_layer"),
    pytest.param(ppca, None, id="ppca"),
]
each_pair = pytest.mark.parametrize(("make", "y"), CASES)


@pytest.fixture
def x():
    return torch.rand(B, 1, 4, 4, dtype=torch.float64).round()


@pytest.fixture
def mask():
    return torch.rand(B, 1, 4, 4) < 0.6


@each_pair
def test_values_are_those_of_the_particles_the_guide_draws(make, y, x):
    pair = make().double()
    drawn = particles(pair, None, x, num_particles=C, y=y)
    latents = {n: v.detach() for n, v in drawn.latents.items() if n != "y"}
    target = condition(pair, x, y=y)
    z = target.pack(latents)
    assert z.shape == (C, B, target.dim)
    assert all(torch.equal(v, latents[n]) for n, v in target.unpack(z).items())
    torch.testing.assert_close(target.log_prior(z), target.at(z).start)
    if make is not m2:  # there the guide draws y, which the target sums out
        torch.testing.assert_close(target.log_likelihood(z), drawn.log_likelihood.detach())
        torch.testing.assert_close(target.log_joint(z), drawn.log_prior + drawn.log_likelihood)


@each_pair
def test_gradients_are_those_of_autograd_and_no_parameter_has_one(make, y, x, mask):
    pair = make().double()
    target = condition(pair, x, mask=mask, y=y, guide=pair.guide)
    z = target.sample_start(C).requires_grad_()
    at, *_, recorded = (target.at(z) for _ in range(4))
    for one, other in zip(astuple(recorded), astuple(at), strict=True):
        torch.testing.assert_close(one, other)
    if make is not m2:  # whose Python looks at the labels
        assert any(isinstance(kept, Recorded) for kept in target._recordings.values())
    (joint,) = torch.autograd.grad(target.log_joint(z).sum(), z)
    (start,) = torch.autograd.grad(target.log_start(z).sum(), z)
    torch.testing.assert_close(at.joint_gradient, joint)
    torch.testing.assert_close(at.start_gradient, start)
    torch.testing.assert_close(at.joint, target.log_joint(z).detach())
    assert all(p.grad is None for p in pair.parameters())
    assert pair.model.training


@each_pair
def test_what_stands_in_unseen_pixels_changes_nothing(make, y, x, mask):
    pair = make().double()
    with_nan = torch.where(mask, x, math.nan)
    z = condition(pair, x).sample_prior(C) if y is None else condition(pair, x, y=y).sample_prior(C)
    one, other = (condition(pair, data, mask=mask, y=y).at(z) for data in (x, with_nan))
    assert torch.equal(one.joint, other.joint)
    assert torch.equal(one.joint_gradient, other.joint_gradient)


@each_pair
def test_rows_are_the_same_data_alone(make, y, x, mask):
    target = condition(make().double(), x, mask=mask, y=y)
    z = target.sample_prior(C)
    whole = target.at(z)
    for rows in (slice(1, 3), torch.tensor([3, 0])):
        part = target.select(rows).at(z[:, rows])
        torch.testing.assert_close(part.joint, whole.joint[:, rows])
        torch.testing.assert_close(part.joint_gradient, whole.joint_gradient[:, rows])


def test_labels_are_summed_out_or_conditioned_on(x):
    pair = m2().double()
    z = torch.randn(C, B, 2, dtype=torch.float64)
    of_label = torch.stack(
        [condition(pair, x, y=torch.full((B,), k)).log_likelihood(z) for k in range(3)]
    )
    summed = condition(pair, x).log_likelihood(z)
    torch.testing.assert_close(summed, of_label.logsumexp(0) - math.log(3))  # p(y) = 1/3


def test_a_guide_that_draws_labels_has_them_summed_out_too(x):
    pair = m2().double()
    z = torch.randn(C, B, 2, dtype=torch.float64)
    found = log_density(pair.guide, Observed(x), {"z": z})
    log_q_y = pair.guide.class_logits(x).log_softmax(-1)
    of_label = [
        log_q_y[:, k]
        + pair.guide.encoder(x, nn.functional.one_hot(torch.full((B,), k), 3)).log_prob(z)
        for k in range(3)
    ]
    torch.testing.assert_close(found, torch.stack(of_label).logsumexp(0))


def test_pyros_own_normal_has_its_density(x):
    pair = vae().double()
    pyro.clear_param_store()
    plates = lambda x, **_: pyro.plate("data", len(x), dim=-1)  # noqa: E731
    guide = AutoNormal(pair.model, init_scale=0.3, create_plates=plates)
    guide(x)
    z = torch.randn(C, B, 2, dtype=torch.float64)
    wanted = dist.Normal(guide.locs.z, guide.scales.z).log_prob(z).sum(-1)
    torch.testing.assert_close(condition(pair, x, guide=guide).log_start(z), wanted)
    pyro.clear_param_store()


def test_what_cannot_be_recorded_is_run_as_it_is(x):
    class Fussy(nn.Module):
        def forward(self, x, **conditions):
            assert float(x.sum()) > 0  # a recording has no values
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", dist.Normal(x.new_zeros(2), 2.0).to_event(1))

    target = condition(vae().double(), x, guide=Fussy())
    z = target.sample_prior(C)
    wanted = torch.distributions.Normal(0, 2).log_prob(z).sum(-1)
    for _ in range(4):
        torch.testing.assert_close(target.at(z).start, wanted)
        torch.testing.assert_close(target.at(z).start_gradient, -z / 4)


def test_mistakes_are_said():
    x = torch.rand(B, 1, 4, 4).round()
    with pytest.raises(UsageError, match="no continuous latent"):
        condition(GMM((1, 4, 4)), x)
    with pytest.raises(UsageError, match="x is one datum"):
        condition(vae(), x[0])
    with pytest.raises(UsageError, match="needs labels"):
        condition(cvae(), x)
    with pytest.raises(UsageError, match="does not fit"):
        condition(vae(), x, mask=torch.ones(3, 3))
