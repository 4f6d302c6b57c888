"""Priors against direct sums, grids and quadrature; the VampPrior holds the encoder once."""

import copy
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI
from torch import nn

from inference import fit
from inference.evaluation import log_weights
from inference.figures import latent_grid, latent_scatter
from inference.posterior import infer
from inference.posterior.identity import model_checksum
from pyro_models import (
    CVAE,
    HVAE,
    VAE,
    CompletionCVAE,
    Generator,
    SemiSupervisedVAE,
    TwoLayerVAE,
    UsageError,
    load_data,
)
from pyro_models.flows import FLOWS
from pyro_models.priors import PRIORS, FlowPrior, MixturePrior, VampPrior, prior_for

SHAPE = (1, 3, 3)
OPTIONS = {
    "mixture": {"num_components": 3},
    "vamp": {"num_pseudo_inputs": 4},
    "flow": {"flow": "maf", "transforms": 2, "hidden_features": [6]},
}


def written(name):
    return {"class_path": name, "init_args": OPTIONS.get(name, {})}


def vae(name="vamp", seed=0, **options):
    """A VAE of two latents, every weight a little away from its start, in float64."""
    torch.manual_seed(seed)
    options = {"latent_dim": 2, "hidden": [6], "likelihood": "bernoulli", **options}
    pair = VAE(SHAPE, prior=written(name), **options).double()
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        pair.guide.encoder.head.linear.bias[2:] += 1.5  # wide, so that importance weights are tame
    return pair


def data(n=3):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, *SHAPE, generator=generator, dtype=torch.float64).round()


def grid(reach=9.0, size=361):
    """Points (size², 2) and the logarithm of the area that each stands for."""
    axis = torch.linspace(-reach, reach, size, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    return points, 2 * math.log(float(axis[1] - axis[0]))


def test_a_mixture_is_the_sum_of_its_components_and_near_the_standard_normal_at_the_start():
    torch.manual_seed(0)
    prior, z = MixturePrior(3, num_components=4).double(), torch.randn(5, 3).double()
    nn.init.normal_(prior.logits)
    parts = torch.distributions.Normal(prior.loc, prior.log_scale.exp())
    direct = parts.log_prob(z.unsqueeze(1)).sum(-1) + prior.logits.log_softmax(0)
    torch.testing.assert_close(prior().log_prob(z), direct.logsumexp(1))
    many = MixturePrior(2, num_components=5000)()
    torch.testing.assert_close(many.mean, torch.zeros(2), atol=0.05, rtol=0)
    torch.testing.assert_close(many.stddev, torch.ones(2), atol=0.05, rtol=0)


def test_a_vamp_prior_is_the_mean_of_the_posteriors_at_its_pseudo_inputs():
    pair, z = vae(), torch.randn(5, 2, dtype=torch.float64)
    prior, encoder = pair.model.prior, pair.guide.encoder
    q = encoder(prior.pseudo_inputs)
    direct = q.log_prob(z.unsqueeze(1)).logsumexp(1) - math.log(4)
    found = prior().log_prob(z)
    torch.testing.assert_close(found, direct)
    found.sum().backward()
    for reached in (prior.pseudo_inputs, *encoder.parameters()):
        assert bool((reached.grad != 0).any())


def test_one_pseudo_input_at_a_datum_is_that_datums_posterior():
    pair = VAE((4,), likelihood="gaussian", prior=VampPrior(2, num_pseudo_inputs=1)).double()
    x = 1e5 + 1e4 * torch.randn(1, 4, dtype=torch.float64)  # fed in units of its own
    pair.start_from(torch.cat([x, x + 3e4]))
    drawn = pyro.poutine.trace(pair.guide).get_trace(torch.cat([x, x + 3e4])).nodes["z"]["fn"]
    z = torch.randn(7, 1, 2, dtype=torch.float64)
    each = drawn.log_prob(z).T  # of both data: which of them is drawn is the seed's choice
    found = pair.model.prior().log_prob(z.squeeze(1))
    assert any(torch.allclose(found, one) for one in each)


@pytest.mark.parametrize("name", sorted(set(FLOWS) - {"conv", "multiscale"}))
def test_a_flow_prior_integrates_to_one_and_draws_what_it_says(name):
    torch.manual_seed(0)
    with torch.no_grad():
        few = {"couplings": 2, "hidden": [8]} if name == "dense" else {}
        prior = FlowPrior(2, flow=name, **few).double()().expand(torch.Size([1]))
        points, log_area = grid(20.0, 201)
        density = prior.log_prob(points)
        assert float((density + log_area).logsumexp(0)) == pytest.approx(0.0, abs=5e-3)
        z = prior.rsample(torch.Size([64])).squeeze(1)
        weights = (density + log_area).exp().unsqueeze(1)
        mean = (weights * points).sum(0)
        scale = (weights * (points - mean).square()).sum(0).sqrt()
    assert bool(((z.mean(0) - mean).abs() < 5 * scale / 8).all())
    if name in ("nsf", "maf"):  # inverted without a search: moments take no time
        assert bool(((prior.mean[0] - mean).abs() < 5 * scale / 64).all())
        torch.testing.assert_close(prior.stddev[0], scale, rtol=0.1, atol=0)


@pytest.mark.parametrize("name", PRIORS)
def test_importance_sampling_arrives_at_quadrature(name):
    pair, x = vae(name), data()
    points, log_area = grid()
    with torch.no_grad():
        log_p = pair.model.prior().log_prob(points).unsqueeze(1)
        log_x = pair.decode({"z": points.unsqueeze(1)})["x"].log_prob(x)
        truth = (log_p + log_x + log_area).logsumexp(0)
    torch.manual_seed(1)
    found = log_weights(pair, x, num_particles=20_000)
    assert bool(((found.bound - truth).abs() < 5 * found.bound_error).all())
    assert float(found.bound_error.max()) < 0.05


def test_the_encoder_is_held_once_copied_whole_and_part_of_what_the_model_is():
    pair, x = vae(), data()
    weights = [name for name in pair.state_dict() if name.endswith("head.linear.weight")]
    assert weights == ["guide.encoder.head.linear.weight"]
    twin, before = copy.deepcopy(pair), model_checksum(pair)
    assert twin.model.prior._posterior.__self__ is twin.guide
    with torch.no_grad():
        twin.guide.encoder.head.linear.bias.add_(1.0)
    assert model_checksum(twin) != before == model_checksum(pair)
    z = torch.zeros(1, 2, dtype=torch.float64)
    assert twin.model.prior().log_prob(z) != pair.model.prior().log_prob(z)
    posterior = infer(
        pair, x, guide="normal", starts=4, max_steps=20
    )  # another guide: the prior stays
    assert model_checksum(pair) == before
    assert bool((posterior.elbo().value < 0).all())
    rebuilt = VAE(**pair.config()).double()
    rebuilt.load_state_dict(pair.state_dict())
    assert model_checksum(rebuilt) == before


def test_plain_svi_trains_encoder_and_pseudo_inputs():
    pair, x = vae(), data()
    before = copy.deepcopy(pair.state_dict())
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 0.01}), pair.elbo())
    svi.step(x)
    moved = {n for n, v in pair.state_dict().items() if not torch.equal(v, before[n])}
    assert moved == {name for name, _ in pair.named_parameters()}


def test_fit_starts_pseudo_inputs_at_training_data_and_records_the_step():
    few = load_data("digits", preparation="threshold")
    prior = VampPrior(2, num_pseudo_inputs=5)
    pair = VAE(few.data_shape, hidden=[6], prior=prior, likelihood="bernoulli")
    result = fit(pair, few, epochs=0, progress=False)
    assert "pseudo-inputs from data" in result.history.start
    train = few.prepared("train").x.flatten(1)
    distances = torch.cdist(prior.pseudo_inputs.flatten(1), train)
    assert bool((distances.min(1).values == 0).all())
    assert len(distances.argmin(1).unique()) == 5
    assert fit(pair, few, epochs=1, progress=False, curve_size=0).history.recorded


def test_figures_show_where_another_prior_is():
    pair = vae("mixture", latent_dim=2)
    title = latent_grid(pair, size=3).axes[0].get_title()
    assert "draws of p(z)" in title
    assert "N(0, 1)" in latent_grid(vae("standard"), size=3).axes[0].get_title()
    (axes,) = latent_scatter(pair, data(20)).axes
    assert {line.get_linestyle() for line in axes.lines} == {"--", "-"}  # around p(z)


class OfAnother(nn.Module):
    """A prior whose call returns what it is given."""

    def __init__(self, returned):
        super().__init__()
        self.returned = returned

    def forward(self):
        return self.returned


NORMAL = dist.Normal(torch.zeros(2), 1.0)
DISCRETE = dist.Bernoulli(torch.full((2,), 0.5)).to_event(1)


@pytest.mark.parametrize("pair", [VAE, Generator])
@pytest.mark.parametrize(
    ("prior", "line"),
    [
        (MixturePrior(3), r"event shape \(2,\) .*; the prior mixture has \(3,\) and \(\)"),
        (OfAnother(NORMAL), r"the prior OfAnother has \(\) and \(2,\): use to_event"),
        (OfAnother(NORMAL.expand((3, 2)).to_event(1)), r"has \(2,\) and \(3,\)"),
        (OfAnother(torch.zeros(2)), "OfAnother returns a Tensor: return a distribution over z"),
        (OfAnother(DISCRETE), "z is continuous, and the prior OfAnother is of discrete values"),
        (nn.Linear(2, 2), "prior Linear cannot be computed"),
    ],
)
def test_a_prior_of_ones_own_that_is_no_density_of_z_is_one_line(pair, prior, line):
    with pytest.raises(UsageError, match=rf"^.*({line}).*\Z"):
        pair(SHAPE, latent_dim=2, hidden=[8], prior=prior)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (
            lambda: VAE(
                SHAPE, prior={"class_path": "vamp", "init_args": {"num_pseudo_inputs": 2.5}}
            ),
            "num_pseudo_inputs must be int; got 2.5",
        ),
        (lambda: FlowPrior(1, flow="dense"), "two values or more"),
        (lambda: CompletionCVAE((1, 8, 8), prior="mixture"), "leave out prior"),
        (lambda: TwoLayerVAE(SHAPE, prior="vamp"), "TwoLayerGuide has no such density"),
        (lambda: CVAE(SHAPE, num_classes=2, prior="flow", learned_prior=True), "has one prior"),
        (lambda: VAE(SHAPE, prior=vae().model.prior), "of one pair's guide"),
        (lambda: prior_for("vamp", 2).forward(), "is made of a guide's encoder"),
        (lambda: FlowPrior(2, flow="glow"), "unknown flow 'glow': choose from dense"),
        (lambda: VAE(SHAPE, prior={"class_path": "vamp", "init_args": {"k": 2}}), "vamp|VampPrior"),
        (lambda: MixturePrior(2, num_components=0), "num_components must be at least 1"),
        (lambda: VAE(SHAPE, latent_scale="tanh"), "unknown latent_scale 'tanh'"),
    ],
)
def test_what_cannot_be_is_one_line(make, line):
    with pytest.raises(UsageError, match=rf"^.*({line}).*\Z"):
        make()


def test_labels_of_pseudo_inputs_are_learned_where_the_encoder_has_labels():
    for cls in (CVAE, SemiSupervisedVAE):
        pair = cls(SHAPE, num_classes=3, latent_dim=2, hidden=[6], prior=written("vamp"))
        prior = pair.model.standard if cls is CVAE else pair.model.prior
        assert prior.pseudo_labels.shape == (4, 3)
        with torch.no_grad():
            prior.pseudo_labels.copy_(torch.eye(3)[[0, 1, 2, 0]])
        q = pair.guide.encoder(prior.pseudo_inputs, torch.eye(3)[[0, 1, 2, 0]])
        z = torch.randn(5, 2)
        direct = q.log_prob(z.unsqueeze(1)).logsumexp(1) - math.log(4)
        torch.testing.assert_close(prior().log_prob(z), direct)


def test_two_levels_arrive_at_quadrature_and_z2_is_decoded_too():
    torch.manual_seed(0)
    options = {"latent_dims": [1, 1], "hidden": [6], "top_hidden": [4], "prior": written("vamp")}
    pair, x = HVAE((5,), **options).double(), data().flatten(1)[:, :5]
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        axis = torch.linspace(-12, 12, 601, dtype=torch.float64)
        z1, z2 = axis.view(-1, 1, 1, 1), axis.view(-1, 1, 1)
        log_p = pair.model.top().log_prob(z2) + pair.model.prior(z2).log_prob(z1)
        log_x = pair.decode({"z1": z1, "z2": z2.expand(601, 1, 1)})["x"].log_prob(x)
        step = 2 * math.log(float(axis[1] - axis[0]))
        truth = (log_p + log_x + step).logsumexp((0, 1))
    found = log_weights(pair, x, num_particles=20_000)
    assert bool(((found.bound - truth).abs() < 5 * found.bound_error).all())
    assert float(found.bound_error.max()) < 0.05
    many = x.repeat(8000, 1)  # and the closed KL terms are those of the bound
    loss = pair.elbo().loss(pair.model, pair.guide, many) / 8000
    error = float(found.elbo_error.square().sum().sqrt()) * 2
    assert abs(-loss - float(found.elbo.sum())) < 6 * error
