"""M2 against the sum over labels and quadrature over z; labelled, unlabelled and mixed batches."""

import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, TraceEnum_ELBO

from inference.evaluation import log_weights
from inference.particles import particles
from pyro_models import SemiSupervisedVAE, UsageError
from pyro_models.contract import fulfills
from pyro_models.labels import KnownLabels
from pyro_models.pair import Classifies

CLASSES, PIXELS, B = 3, 5, 4
Y = torch.tensor([-1, 2, -1, 0])


def tiny(seed=0, **options):
    """Two-dimensional z, three classes, five binary pixels; weights large enough to matter."""
    torch.manual_seed(seed)
    options = {"latent_dim": 2, "hidden": [6], "activation": "tanh", **options}
    pair = SemiSupervisedVAE((PIXELS,), num_classes=CLASSES, **options).double()
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
        pair.guide.encoder.head.linear.bias[2:] += 2  # wide, so that importance weights are tame
    return pair


def data(seed=0, size=B):
    generator = torch.Generator().manual_seed(seed)
    return torch.bernoulli(
        torch.full((size, PIXELS), 0.5, dtype=torch.float64), generator=generator
    )


def log_joint(pair, x):
    """log p(x, y) of every label by quadrature over z on a grid, (C, B)."""
    points = torch.linspace(-7, 7, 281, dtype=torch.float64)
    z = torch.cartesian_prod(points, points)
    log_area = 2 * math.log(float(points[1] - points[0]))
    log_z = dist.Normal(z.new_zeros(2), z.new_ones(2)).to_event(1).log_prob(z) + log_area
    columns = []
    for label in range(CLASSES):
        latents = {"z": z.unsqueeze(1), "y": torch.full((1,), label)}
        log_x = pair.decode(latents)["x"].log_prob(x)
        columns.append((log_x + log_z.unsqueeze(1)).logsumexp(0) - math.log(CLASSES))
    return torch.stack(columns)


def terms_by_hand(pair, x, label, noise):
    """L(x, y) with z = μ + σ ε, written out; (B,)."""
    one_hot = torch.nn.functional.one_hot(label, CLASSES)
    q_z = pair.guide.encoder(x, one_hot)
    z = q_z.mean + q_z.stddev * noise
    p_z = dist.Normal(torch.zeros_like(z), torch.ones_like(z)).to_event(1)
    p_x = pair.decode({"z": z, "y": label})["x"]
    return p_x.log_prob(x) - math.log(CLASSES) + p_z.log_prob(z) - q_z.log_prob(z)


def averaged(function, draws):
    values = torch.tensor([function() for _ in range(draws)], dtype=torch.float64)
    return float(values.mean()), float(values.std() / math.sqrt(draws))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("y", [None, torch.full((B,), -1), Y, torch.tensor([1, 2, 0, 0])], ids=str)
def test_importance_sampling_arrives_at_the_sum_over_labels(seed, y):
    pair, x = tiny(seed), data(seed)
    log_p = log_joint(pair, x)
    truth = log_p.logsumexp(0)
    if y is not None:
        given = log_p.gather(0, y.clamp(min=0).unsqueeze(0)).squeeze(0)
        truth = torch.where(y < 0, truth, given)
    found = log_weights(pair, x, num_particles=20_000, y=y)
    assert bool(((found.bound - truth).abs() < 5 * found.bound_error + 1e-9).all())
    assert float(found.bound_error.max()) < 0.05
    assert bool((found.elbo <= truth + 5 * found.elbo_error).all())


@pytest.mark.parametrize("y", [None, Y, torch.tensor([1, 2, 0, 0])], ids=str)
def test_the_bound_is_the_one_of_the_paper(y):
    """Σ_y q(y|x) [L(x, y) − log q(y|x)] where y is missing, L(x, y) where it is known."""
    draws = 1600
    pair, x = tiny(1), data(1).repeat(draws, 1)
    known = torch.full((B,), -1) if y is None else y

    @torch.no_grad()
    def by_hand():
        size = draws * B
        noise = torch.randn(CLASSES, size, 2, dtype=torch.float64)
        every = torch.stack(
            [terms_by_hand(pair, x, torch.full((size,), c), noise[c]) for c in range(CLASSES)]
        )
        q = pair.classify(x).T
        unlabelled = (q * (every - q.log())).sum(0)
        label = known.repeat(draws)
        labelled = every.gather(0, label.clamp(min=0).unsqueeze(0)).squeeze(0)
        return float(torch.where(label < 0, unlabelled, labelled).sum()) / draws

    expected, error = averaged(by_hand, 20)
    labels = None if y is None else y.repeat(draws)
    for elbo in (
        pair.elbo(),
        TraceEnum_ELBO(max_plate_nesting=1, strict_enumeration_warning=False),
    ):
        bound = partial(elbo.loss, pair.model, pair.guide, x, y=labels)
        found, other = averaged(lambda bound=bound: -bound() / draws, 20)
        assert error < 0.25
        assert abs(found - expected) < 4.5 * math.hypot(error, other)


def test_a_known_label_has_its_own_gradient_and_none_of_the_classifier():
    pair, x = tiny(), data()
    y = torch.tensor([1, 2, 0, 0])
    pyro.set_rng_seed(3)
    pair.elbo().differentiable_loss(pair.model, pair.guide, x, y=y).backward()
    found = {name: p.grad.clone() for name, p in pair.named_parameters() if p.grad is not None}
    assert not any("classifier" in name for name in found)
    pair.zero_grad()
    pyro.set_rng_seed(3)
    dist.Categorical(logits=torch.zeros(B, CLASSES, dtype=torch.float64)).sample()  # y, as it is
    noise = torch.randn(B, 2, dtype=torch.float64)
    (-terms_by_hand(pair, x, y, noise).sum()).backward()
    assert found.keys() == {n for n, p in pair.named_parameters() if p.grad is not None}
    for name, parameter in pair.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[name], parameter.grad)


def test_the_classifier_follows_the_unlabelled_bound_without_score_function_noise():
    """d/dφ Σ_y q(y) [L(x, y) − log q(y)] for the classifier, on the very same draws of z."""
    pair, x = tiny(2), data(2)
    parameters = list(pair.guide.classifier.parameters())
    pyro.set_rng_seed(0)
    loss = pair.elbo().differentiable_loss(pair.model, pair.guide, x)
    found = torch.autograd.grad(loss, parameters)
    pyro.set_rng_seed(0)
    noise = torch.randn(CLASSES, B, 2, dtype=torch.float64)
    every = [terms_by_hand(pair, x, torch.full((B,), c), noise[c]) for c in range(CLASSES)]
    q = pair.classify(x).T
    expected = torch.autograd.grad(-(q * (torch.stack(every) - q.log())).sum(), parameters)
    for ours, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, wanted)


def test_labelled_rows_of_a_mixed_batch_are_decoded_once(monkeypatch):
    pair, x = tiny(), data(size=8)
    y = torch.tensor([-1, 1, 2, 0, 1, 1, 2, 0])
    decoded = []
    original = pair.model.decoder.forward

    def counting(z, context):
        batch = torch.broadcast_shapes(z.shape[:-1], context.shape[:-1])
        decoded.append(math.prod(batch))
        return original(z, context)

    monkeypatch.setattr(pair.model.decoder, "forward", counting)
    pair.elbo().loss(pair.model, pair.guide, x, y=y)
    assert sum(decoded) == 7 + CLASSES


def test_missing_pixels_of_a_mixed_batch_are_split_with_it():
    pair, x = tiny(), data()
    mask = torch.rand(B, PIXELS) < 0.6
    dirty = torch.where(mask, x, x.new_tensor(float("nan")))

    def loss(pixels, seen):
        pyro.set_rng_seed(0)
        return pair.elbo().loss(pair.model, pair.guide, pixels, y=Y, mask=seen)

    assert loss(dirty, mask) == loss(x, mask)
    assert loss(x, mask) != loss(x, None)
    assert loss(x, mask[0]) == loss(x, mask[0].expand(B, PIXELS))


def test_a_guide_without_labels_has_them_summed_out_and_the_known_ones_kept():
    """Encoder-free inference of z alone: log p(x, z) or log p(x, y, z), nothing else."""
    pair, x = tiny(), data()

    def guide(x, **conditions):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))

    drawn = particles(pair, guide, x, num_particles=3, y=Y)
    z = drawn.latents["z"]
    every = torch.stack(
        [pair.decode({"z": z, "y": torch.full((1,), c)})["x"].log_prob(x) for c in range(CLASSES)]
    ) - math.log(CLASSES)
    expected = torch.where(Y < 0, every.logsumexp(0), every[Y.clamp(min=0), :, torch.arange(B)].T)
    torch.testing.assert_close(drawn.log_likelihood, expected)


def test_known_labels_are_generated_and_missing_ones_drawn():
    pair = tiny()
    y = torch.tensor([2, -1, 0] * 100)
    trace = pyro.poutine.trace(pair.model).get_trace(n=300, y=y)
    drawn = trace.nodes["y"]["value"]
    assert bool((drawn[y >= 0] == y[y >= 0]).all())
    assert len(drawn[y < 0].unique()) == CLASSES
    assert pair.model(n=2, y=torch.tensor([1])).shape == (2, PIXELS)
    assert pair.model(y=torch.tensor([1, 2, 0])).shape == (3, PIXELS)


def test_what_is_known_of_labels_survives_expansion():
    p_y = KnownLabels(logits=torch.zeros(2, 4), known=torch.tensor([3, -1])).expand((5, 2))
    assert p_y.batch_shape == (5, 2)
    assert bool((p_y.sample()[:, 0] == 3).all())
    assert p_y.log_prob(torch.tensor(1))[:, 0].eq(-math.inf).all()


def test_the_classification_term_is_that_of_labelled_data_alone():
    pair, x = tiny(), data()
    assert fulfills(pair, Classifies)
    probs = pair.classify(x).detach()
    torch.testing.assert_close(probs.sum(-1), torch.ones(B, dtype=torch.float64))
    expected = torch.tensor([0, probs[1, 2].log(), 0, probs[3, 0].log()], dtype=torch.float64)
    torch.testing.assert_close(pair.log_label_prob(x, Y), expected)
    assert pair.log_label_prob(x, torch.full((B,), -1)).eq(0).all()
    prior = pair.log_label_prior(Y)
    assert prior.tolist() == pytest.approx([0, -math.log(3), 0, -math.log(3)])


def test_plain_svi_trains_model_encoder_and_classifier():
    pair = tiny(latent_dim=1)
    x, y = data(size=40), torch.arange(40) % 4 - 1
    before = {name: p.detach().clone() for name, p in pair.named_parameters()}
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-2}), pair.elbo())
    losses = [svi.step(x, y=y) for _ in range(25)]
    assert sum(losses[-5:]) < sum(losses[:5])
    assert all(not torch.equal(p, before[name]) for name, p in pair.named_parameters())


@pytest.mark.parametrize(
    ("y", "line"),
    [
        (torch.tensor([0, 1, 2, 3]), "labels in 0…2, or −1 where missing; got values from 0 to 3"),
        (torch.tensor([0, 1, 2, -2]), "labels in 0…2"),
        (torch.tensor([0.0, 1, 2, 0]), "integer labels"),
        (torch.tensor([0, 1, 2]), "one label per datum"),
        (torch.tensor([[0], [1], [2], [0]]), "one label per datum"),
    ],
)
def test_labels_it_cannot_use_are_one_line(y, line):
    pair, x = tiny(), data()
    calls = [
        lambda: pair.model(x, y=y),
        lambda: pair.guide(x, y=y),
        lambda: pair.log_label_prob(x, y),
        lambda: pair.elbo().loss(pair.model, pair.guide, x, y=y),
        lambda: particles(pair, None, x, num_particles=2, y=y),
    ]
    for call in calls:
        with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
            call()


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: SemiSupervisedVAE((4,), num_classes=1), "at least two classes; got 1"),
        (
            lambda: SemiSupervisedVAE((4,), num_classes=3, classification_weight=-1.0),
            "cannot be negative",
        ),
        (lambda: tiny().decode({"z": torch.zeros(2, 2)}), "decodes z with a label"),
        (
            lambda: tiny().decode({"z": torch.zeros(1, 2)}, y=torch.tensor([-1])),
            "labels in 0…2 only",
        ),
    ],
)
def test_what_makes_no_sense_is_one_line(call, line):
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        call()
