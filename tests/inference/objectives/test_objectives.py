"""An objective is nats per datum, with the gradient that belongs to it."""

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import (
    RenyiELBO,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
)
from torch.distributions import kl_divergence

from inference.learning import OBJECTIVES, make_objective
from pyro_models import CVAE, GMM, PPCA, VAE, UsageError

SHAPE = (1, 8, 8)


def vae(**options):
    return VAE(SHAPE, hidden=[12], latent_dim=2, **options).double()


def cvae():
    return CVAE(
        SHAPE, num_classes=10, hidden=[12], latent_dim=2, likelihood="cross_entropy"
    ).double()


def ppca():
    return PPCA(SHAPE, latent_dim=2, guide="linear").double()


def gmm(guide="enumerate"):
    return GMM(SHAPE, num_components=3, guide=guide, hidden=[8]).double()


@pytest.fixture
def batch(few):
    split = few.split("train")
    return split.x[:16].double(), split.y[:16]


def gradients(pair):
    return {name: p.grad.clone() for name, p in pair.named_parameters() if p.grad is not None}


CASES = [
    (vae, TraceMeanField_ELBO),
    (vae, Trace_ELBO),
    (vae, TraceGraph_ELBO),
    (cvae, TraceMeanField_ELBO),
    (ppca, Trace_ELBO),
    (ppca, TraceGraph_ELBO),
    (gmm, TraceEnum_ELBO),
    (lambda: gmm("amortised"), TraceGraph_ELBO),
    (lambda: gmm("amortised"), Trace_ELBO),
    (vae, RenyiELBO),
]


@pytest.mark.parametrize(("make", "elbo"), CASES)
def test_value_and_gradient_are_those_of_pyros_elbo_divided_by_the_batch(make, elbo, batch):
    x, y = batch
    pair = make()
    theirs = elbo(max_plate_nesting=1)
    pyro.set_rng_seed(3)
    with pyro.get_param_store().scope(), poutine.trace(param_only=True):
        loss = theirs.loss_and_grads(pair.model, pair.guide, x, y=y)
    expected = gradients(pair)
    pair.zero_grad()
    pyro.set_rng_seed(3)
    bound = make_objective(pair, elbo(max_plate_nesting=1)).backward(x, y=y)
    assert bound == pytest.approx(-loss / len(x), rel=1e-12)
    found = gradients(pair)
    assert found.keys() == expected.keys()
    assert any(g.abs().max() > 0 for g in found.values())
    for name, grad in expected.items():
        torch.testing.assert_close(found[name], grad / len(x), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("elbo", [TraceMeanField_ELBO, TraceGraph_ELBO])
def test_the_gradient_is_added_to_what_is_there(elbo, batch):
    pair = vae()
    objective = make_objective(pair, elbo(max_plate_nesting=1))
    pyro.set_rng_seed(1)
    objective.backward(batch[0])
    once = gradients(pair)
    pyro.set_rng_seed(1)
    objective.backward(batch[0])
    for name, grad in gradients(pair).items():
        torch.testing.assert_close(grad, 2 * once[name], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("which", ["ppca", "gmm"])
def test_a_batch_counts_as_the_mean_of_its_data(which, batch):
    """Where nothing is left to chance the bound is log p(x), and gradients are averages."""
    x = batch[0]
    noisy = x + 0.1 * torch.randn_like(x)
    pair = gmm() if which == "gmm" else PPCA.maximum_likelihood(noisy, latent_dim=3)
    if which == "gmm":
        pair.start_from(noisy)
    objective = make_objective(pair)
    expected = float(pair.exact_log_prob(x).detach().mean())
    assert objective.backward(x) == pytest.approx(expected, rel=1e-9)
    together = gradients(pair)
    pair.zero_grad()
    bounds = [objective.backward(x[i : i + 1]) for i in range(len(x))]
    assert sum(bounds) / len(x) == pytest.approx(expected, rel=1e-9)
    if which == "gmm":  # no sample enters at all
        for name, grad in gradients(pair).items():
            torch.testing.assert_close(grad / len(x), together[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("beta", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("elbo", [TraceMeanField_ELBO, Trace_ELBO, TraceGraph_ELBO])
@pytest.mark.parametrize("likelihood", ["cross_entropy", "gaussian"])
def test_beta_weighs_the_latent_terms_alone(beta, elbo, likelihood, batch):
    """E_q[log p(x | z)] − β KL(q ‖ p), with the same draw of z and its gradient by autograd."""
    x = batch[0]
    pair = vae(likelihood=likelihood)
    pyro.set_rng_seed(5)
    bound = make_objective(pair, elbo(max_plate_nesting=1)).backward(x, beta=beta)
    found = gradients(pair)
    pair.zero_grad()
    pyro.set_rng_seed(5)
    q = pair.guide.encoder(x)
    z = q.rsample()
    prior = pair.model.prior()
    log_p_x = pair.decode({"z": z})["x"].log_prob(x)
    if elbo is TraceMeanField_ELBO:
        q_z, p_z = q.base_dist, prior.base_dist
        latent = kl_divergence(q_z, p_z).sum(-1)
    else:
        latent = q.log_prob(z) - prior.log_prob(z)
    expected = (log_p_x - beta * latent).mean()
    (-expected).backward()
    assert bound == pytest.approx(float(expected.detach()), rel=1e-10)
    for name, grad in gradients(pair).items():
        torch.testing.assert_close(found[name], grad, rtol=1e-8, atol=1e-11)


def test_trace_and_mean_field_agree_in_expectation_at_every_beta(batch):
    x = batch[0]
    pair = vae()
    for beta in (0.2, 1.0):
        exact_kl, sampled = (
            torch.tensor(
                [
                    make_objective(pair, elbo(max_plate_nesting=1)).backward(x, beta=beta)
                    for _ in range(100)
                ]
            )
            for elbo in (TraceMeanField_ELBO, Trace_ELBO)
        )
        error = ((exact_kl.var() + sampled.var()) / 100).sqrt()
        assert abs(exact_kl.mean() - sampled.mean()) < 4 * error
        assert error < 0.5


def test_the_value_does_not_depend_on_how_the_data_are_cut(batch):
    x = batch[0]
    pair = gmm()
    pair.start_from(x)
    objective = make_objective(pair)
    expected = float(pair.exact_log_prob(x).detach().mean())
    for size in (1, 5, 16, 1000):
        assert objective.value(x, batch_size=size) == pytest.approx(expected, rel=1e-10)


def test_labels_go_with_their_data_when_cut(batch):
    x, y = batch
    pair = cvae()
    with torch.no_grad():  # a scale of almost 0: the draw of z hardly matters
        pair.guide.encoder.head.linear.bias[2:] = -40.0
        pair.guide.encoder.head.linear.weight[2:] = 0.0
        pair.model.decoder.body[0].weight.mul_(20)
    objective = make_objective(pair)
    whole = objective.value(x, y=y)
    assert objective.value(x, y=y, batch_size=3) == pytest.approx(whole, abs=1e-2)
    assert abs(objective.value(x, y=y.flip(0)) - whole) > 0.1


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_name_gives_its_objective(name):
    objective = make_objective(vae(), name)
    pyros = {"trace": Trace_ELBO, "trace_graph": TraceGraph_ELBO, "trace_enum": TraceEnum_ELBO}
    pyros["trace_mean_field"] = TraceMeanField_ELBO
    assert getattr(objective, "elbo", None).__class__ is pyros.get(name, type(None))
    assert name in objective.name
    own = "mean_field" if name == "elbo" else name
    bound = getattr(objective, "bound", getattr(objective, "options", None))
    assert name in pyros if bound is None else type(bound) is OBJECTIVES[own]


def test_the_elbo_of_a_pair_is_pyros_own(batch):
    x, y = batch
    for make in (vae, cvae, ppca, gmm):
        pair = make()
        values = []
        for objective in (make_objective(pair), make_objective(pair, pair.elbo())):
            pyro.set_rng_seed(4)
            values.append(objective.backward(x, y=y))
        assert values[0] == pytest.approx(values[1], rel=1e-10)


@pytest.mark.parametrize("wrong", ["evidence", 3, object()])
def test_what_is_no_objective_is_refused(wrong):
    with pytest.raises(UsageError, match=r"objective|not a Pyro ELBO"):
        make_objective(vae(), wrong)
