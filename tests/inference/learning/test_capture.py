"""A recorded step is the step: the same numbers, bit for bit, or a refusal."""

import pyro
import pytest
import torch

from inference.learning import fit, make_objective
from inference.learning.capture import Captured
from inference.objectives import OBJECTIVES, Bound
from pyro_models import CVAE, GMM, PPCA, VAE, CompletionCVAE, UsageError

SHAPE = (1, 8, 8)
PAIRS = {
    "vae": lambda: VAE(SHAPE, hidden=[12], latent_dim=2),
    "conv": lambda: VAE(SHAPE, network="conv", hidden=[4], latent_dim=2, likelihood="gaussian"),
    "cvae": lambda: CVAE(SHAPE, num_classes=10, hidden=[12], latent_dim=2, learned_prior=True),
    "ppca": lambda: PPCA(SHAPE, latent_dim=2, guide="linear"),
    "completion": lambda: CompletionCVAE(  # model and guide share a module
        SHAPE, masks=["left"], hidden=[12], latent_dim=2, likelihood="gaussian"
    ),
}
CASES = [  # every bound with one pair; labels, a learned prior and an exact KL meet the KL terms
    *(("vae", name) for name, cls in OBJECTIVES.items() if issubclass(cls, Bound)),
    ("conv", "dreg"),
    ("cvae", "mean_field"),
    ("cvae", "iwae"),
    ("cvae", "geometric_js"),
    ("ppca", "mean_field"),
    ("ppca", "rws"),
    ("ppca", "js"),
    ("completion", "iwae"),
]


def gradients(pair):
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in pair.parameters()]


@pytest.mark.parametrize(("name", "bound"), CASES)
def test_the_same_bound_and_gradient_bit_for_bit(name, bound, few):
    split = few.split("train")
    pair = PAIRS[name]()
    objective = make_objective(pair, bound)
    captured = Captured(objective)
    for rows, beta in ((slice(0, 8), 1.0), (slice(8, 16), 1.0), (slice(0, 5), 1 / 3)):
        if beta != 1 and not objective.tempers:
            continue
        x, y = split.x[rows], split.y[rows]
        results = []
        for step in (objective, captured):
            pair.zero_grad()
            captured.backward(x, y=y, beta=beta)  # recorded before the seed is set
            pair.zero_grad()
            pyro.set_rng_seed(3)
            results.append((step.backward(x, y=y, beta=beta), gradients(pair)))
        assert results[0][0] == results[1][0]
        for first, second in zip(results[0][1], results[1][1], strict=True):
            assert torch.equal(first, second)


def test_the_recorded_gradient_is_added_to_what_is_there(few):
    pair = PAIRS["vae"]()
    captured, x = Captured(make_objective(pair)), few.split("train").x[:8]
    captured.backward(x)
    pair.zero_grad()
    pyro.set_rng_seed(1)
    captured.backward(x)
    once = gradients(pair)
    pyro.set_rng_seed(1)
    captured.backward(x)
    for first, second in zip(once, gradients(pair), strict=True):
        torch.testing.assert_close(second, 2 * first)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_ends_at_the_same_weights(precision, few):
    weights = []
    for capture in (False, True):
        torch.manual_seed(0)
        pair = PAIRS["vae"]()
        fit(
            pair,
            few,
            epochs=2,
            batch_size=30,
            beta_warmup=1,
            precision=precision,
            capture=capture,
            progress=False,
        )
        weights.append(pair.state_dict())
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name


@pytest.mark.parametrize("bound", ["mean_field", "iwae", "js"])
def test_a_weight_of_the_latent_terms_warms_up_to_the_same_numbers(bound, few):
    pair, x = PAIRS["vae"](), few.split("train").x[:8]
    objective = make_objective(pair, bound, {"beta": 0.3})
    captured = Captured(objective)
    for beta in (0.1, 1 / 3, 0.7, 1.0):
        captured.prepare(x, beta=beta)
        values = []
        for step in (objective, captured):
            pyro.set_rng_seed(3)
            values.append(step.backward(x, beta=beta))
        assert values[0] == values[1]


def test_what_is_not_used_has_no_gradient(few):
    """Weight decay would move it."""
    x = few.split("train").x[:8]
    for make in (lambda objective: objective, Captured):
        pair = GMM(SHAPE, num_components=3, guide="amortised", hidden=[4])
        make(make_objective(pair, "rws")).backward(x)
        unused = [n for n, p in pair.named_parameters() if p.grad is None]
        assert unused
        assert all("baseline" in name for name in unused)


def test_a_changed_module_is_recorded_anew(few):
    x = few.split("train").x[:8]
    pair = PAIRS["vae"]()
    objective = make_objective(pair)
    captured = Captured(objective)
    captured.backward(x)
    pair.model.decoder.requires_grad_(False)
    pair.zero_grad()
    captured.backward(x)
    assert all(p.grad is None for p in pair.model.decoder.parameters())
    pair.guide.encoder.features.body.append(torch.nn.Dropout(0.5))
    values = {}
    for training in (True, False):
        pair.train(training)
        captured.prepare(x)
        pyro.set_rng_seed(3)
        values[training] = captured.backward(x)
    pyro.set_rng_seed(3)
    assert values[False] == objective.backward(x)
    assert values[True] != values[False]


class Branching(VAE):
    """A pair whose Python depends on the data."""

    def __init__(self, data_shape, **options):
        super().__init__(data_shape, **options)
        self.guide.encoder.register_forward_pre_hook(
            lambda _, given: given if given[0].sum() > 0 else None
        )


def test_what_cannot_be_recorded_is_refused(few):
    x = few.split("train").x[:4]
    with pytest.raises(UsageError, match="leave capture out"):
        Captured(make_objective(Branching(SHAPE, hidden=[4]))).backward(x)
    with pytest.raises(UsageError, match="Pyro ELBO"):
        Captured(make_objective(GMM(SHAPE, num_components=2)))
