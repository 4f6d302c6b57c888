"""A recorded step is the step: the same numbers, bit for bit, or a refusal."""

from dataclasses import replace

import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO

from inference.learning import fit, make_objective
from inference.learning.capture import Captured
from inference.objectives import OBJECTIVES, Bound
from inference.record import Recorded
from pyro_models import (
    CVAE,
    GMM,
    PPCA,
    VAE,
    BernoulliMixture,
    CompletionCVAE,
    Diffusion,
    SemiSupervisedVAE,
    TwoLayerVAE,
    UsageError,
    load_data,
)

SHAPE = (1, 8, 8)
PAIRS = {
    "vae": lambda: VAE(SHAPE, hidden=[12], latent_dim=2),
    "conv": lambda: VAE(SHAPE, network="conv", hidden=[4], latent_dim=2, likelihood="gaussian"),
    "cvae": lambda: CVAE(SHAPE, num_classes=10, hidden=[12], latent_dim=2, learned_prior=True),
    "ppca": lambda: PPCA(SHAPE, latent_dim=2, guide="linear"),
    "diffusion": lambda: Diffusion(SHAPE, num_steps=5, hidden=[4, 8], levels=17),
    "completion": lambda: CompletionCVAE(  # model and guide share a module
        SHAPE, masks=["left"], hidden=[12], latent_dim=2, likelihood="gaussian"
    ),
}
DRAWN_FOR_DATA = [name for name, cls in OBJECTIVES.items() if hasattr(cls, "of_data")]
CASES = [  # every bound with one pair; labels, a learned prior and an exact KL meet the KL terms
    *(
        ("diffusion" if name in DRAWN_FOR_DATA else "vae", name)
        for name, cls in OBJECTIVES.items()
        if issubclass(cls, Bound)
    ),
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


class Scaled(Trace_ELBO):
    """An ELBO of one's own, of which nothing is known."""


def test_an_elbo_of_ones_own_is_run_and_not_recorded(few):
    pair = PAIRS["vae"]()
    with pytest.raises(UsageError, match="cannot be recorded"):
        Captured(make_objective(pair, Scaled()))
    history = fit(pair, few, epochs=1, objective=Scaled(), progress=False).history
    assert not history.recorded
    assert "no bound over particles" in history.not_recorded
    with pytest.raises(UsageError, match="cannot be recorded"):
        fit(pair, few, epochs=1, objective=Scaled(), capture=True, progress=False)


WITH_LABELS = {
    "m2": lambda: SemiSupervisedVAE(
        SHAPE, num_classes=10, hidden=[12], latent_dim=2, likelihood="cross_entropy"
    ),
    "cvae": PAIRS["cvae"],
}
OWN = {
    **PAIRS,
    **WITH_LABELS,
    "gmm": lambda: GMM(SHAPE, num_components=3),
    "full": lambda: GMM(SHAPE, num_components=2, covariance="full"),
    "amortised": lambda: GMM(SHAPE, num_components=3, guide="amortised", hidden=[4]),
    "bernoulli_mixture": lambda: BernoulliMixture(SHAPE, num_components=3),
    "exact ppca": lambda: PPCA(SHAPE, latent_dim=2),
    "hierarchical": lambda: TwoLayerVAE(
        SHAPE, latent_dims=[3, 2], hidden=[12], top_hidden=[8], likelihood="cross_entropy"
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_the_objective_of_every_pair_is_recorded_bit_for_bit(name, few):
    """Enumerated sites, sampled ones, missing labels, two layers."""
    split = few.split("train")
    torch.manual_seed(0)
    pair = OWN[name]()
    y = split.y.clone() if name in WITH_LABELS else None
    if name == "m2":
        y[::3] = -1
    data = replace(few, splits={**few.splits, "train": replace(split, y=y)})
    if name == "bernoulli_mixture":
        data = data.with_preparation("threshold")
    start = {k: v.clone() for k, v in pair.state_dict().items()}
    trained = []
    for capture in (True, False):
        pair.load_state_dict(start)
        history = fit(pair, data, epochs=2, batch_size=40, capture=capture, progress=False).history
        assert history.recorded == capture
        trained.append({k: v.clone() for k, v in pair.state_dict().items()})
    for key, value in trained[0].items():
        assert torch.equal(value, trained[1][key]), key


@pytest.mark.filterwarnings("ignore:TraceEnum_ELBO found no sample sites")
@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceGraph_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO])
@pytest.mark.parametrize("name", ["vae", "amortised", "gmm", "hierarchical"])
@pytest.mark.parametrize("count", [1, 3])
def test_an_elbo_of_pyro_is_recorded_as_the_same_estimate(name, elbo, count, few):
    """Value and gradient in float64, for the same draws."""
    x = few.split("train").x[:8].double().round()
    torch.manual_seed(0)
    pair = OWN[name]().double()
    made = make_objective(
        pair, elbo(max_plate_nesting=1, num_particles=count, vectorize_particles=count > 1)
    )
    enumerates = elbo is TraceEnum_ELBO
    if (name == "gmm" and not enumerates) or (
        elbo is TraceMeanField_ELBO and name in ("amortised", "hierarchical")
    ):
        pytest.skip("it is no bound there")
    if elbo is TraceGraph_ELBO and name == "amortised" and count > 1:
        pytest.skip("Pyro refuses a baseline for several particles")
    recorded = Captured(made)
    recorded.prepare(x)
    found = []
    for step in (made, recorded):
        pair.zero_grad()
        pyro.set_rng_seed(4)
        found.append((step.backward(x), gradients(pair)))
    torch.testing.assert_close(torch.tensor(found[0][0]), torch.tensor(found[1][0]))
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


def test_python_that_changes_from_step_to_step_is_run(few):
    """A record would repeat its first step for ever."""

    class Annealed(torch.nn.Linear):
        calls = 0

        def forward(self, value):
            Annealed.calls += 1
            return super().forward(value) * (1 + 1e-3 * Annealed.calls)

    trained = []
    for capture in (None, False):
        torch.manual_seed(0)
        pair = VAE(SHAPE, hidden=[12], latent_dim=2)
        layer = Annealed(12, 64)
        last = [m for m in pair.model.decoder.modules() if isinstance(m, torch.nn.Linear)][-1]
        layer.load_state_dict(last.state_dict())
        parent = next(m for m in pair.model.decoder.modules() if last in m.children())
        name = next(n for n, m in parent.named_children() if m is last)
        setattr(parent, name, layer)
        history = fit(pair, few, epochs=1, capture=capture, progress=False).history
        assert not history.recorded
        trained.append(history)
    assert "does not do the same in every step" in trained[0].not_recorded


def test_what_is_hooked_to_a_module_runs_in_every_step(few):
    pair, calls = PAIRS["vae"](), []
    pair.model.decoder.register_forward_hook(lambda *_: calls.append(1))
    history = fit(pair, few, epochs=1, batch_size=10, curve_size=0, progress=False).history
    assert "hooks" in history.not_recorded
    assert len(calls) >= len(few.split("train")) // 10


def test_a_scale_of_ones_own_is_not_left_out_silently(few):
    class Scaling(VAE):
        def __init__(self, data_shape, **options):
            super().__init__(data_shape, **options)
            story = self.model.story

            def scaled(y):
                with pyro.poutine.scale(scale=0.5):
                    return story(y)

            self.model.story = scaled

    pair = Scaling(SHAPE, hidden=[8], latent_dim=2)
    with pytest.raises(UsageError, match=r"scale of its own.*beta_warmup"):
        fit(pair, few, epochs=1, progress=False)


def test_a_batch_that_alone_cannot_be_recorded_is_run(few):
    """The last, uneven one is met before the first step, and not in the middle of an epoch."""

    class Branching(torch.nn.Linear):
        def forward(self, value):
            found = super().forward(value)
            return found if found.shape[-2] == 40 or found.sum() < 1e9 else -found

    pair = PAIRS["vae"]()
    features = pair.guide.encoder
    name, layer = next((n, m) for n, m in features.named_modules() if type(m) is torch.nn.Linear)
    parent = features.get_submodule(name.rpartition(".")[0])
    setattr(parent, name.rpartition(".")[2], Branching(layer.in_features, layer.out_features))
    assert len(few.split("train")) % 40
    history = fit(pair, few, epochs=1, batch_size=40, progress=False).history
    assert "depends on values" in history.not_recorded


def test_a_shape_that_is_rare_is_run_and_recorded_when_it_was_met_often_enough():
    pair = VAE((1, 8, 8), hidden=[8], latent_dim=2, likelihood="bernoulli")
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)).round()
    patient = Captured(make_objective(pair, "elbo"), patience=2)
    patient.prepare(x)
    found, known = [], []
    for _ in range(4):  # rows of another number than were prepared
        torch.manual_seed(1)
        pair.zero_grad()
        found.append((patient.backward(x[:3]), [p.grad.clone() for p in pair.parameters()]))
        known.append(len(patient.gradient.recordings))
    assert known == [1, 1, 2, 2]
    for value, gradients in found[1:]:
        assert value == found[0][0]
        assert all(map(torch.equal, gradients, found[0][1]))


def test_a_training_with_labels_records_no_shape_for_each_number_of_them(monkeypatch):
    made, recorded = [], Recorded.__init__
    monkeypatch.setattr(
        Recorded, "__init__", lambda self, *a, **k: made.append(recorded(self, *a, **k))
    )
    data, weights = load_data("digits", preparation="threshold").with_labels(0.5), []
    for capture in (None, False):
        torch.manual_seed(0)
        pair = SemiSupervisedVAE(SHAPE, num_classes=10, hidden=[8], latent_dim=2)
        how = {"epochs": 1, "curve_size": 0, "progress": False, "capture": capture}
        weights.append(fit(pair, data, **how).pair.state_dict())
        assert 0 < len(made) <= 4  # ten batches, each with labels of its own number
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
