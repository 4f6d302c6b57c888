"""Evaluation of a pair: every number with its meaning, and the pair as it was."""

import math
from dataclasses import replace

import pandas
import pytest
import torch

from inference.evaluation import Evaluation, evaluate, log_weights
from inference.posterior import reconstruct
from pyro_models import CVAE, GMM, PPCA, VAE, UsageError, load_data
from pyro_models.data import Split
from pyro_models.seeds import seeded, stream

SHAPE = (1, 8, 8)
CPU = torch.device("cpu")


def vae(**options):
    return VAE(SHAPE, **{"hidden": [8], "latent_dim": 2, **options})


def cvae(**options):
    options = {"likelihood": "bernoulli", **options}
    return CVAE(SHAPE, num_classes=10, hidden=[8], latent_dim=2, **options)


@pytest.fixture
def dequantised(few):
    return few.with_preparation("dequantised")


def exact_pair(name, data):
    x = data.prepared("train").x
    if name == "ppca":
        return PPCA.maximum_likelihood(x, latent_dim=3)
    pair = GMM(SHAPE, num_components=3)
    pair.start_from(x)
    return pair


@pytest.mark.parametrize("name", ["ppca", "gmm"])
def test_an_exact_pair_is_judged_by_its_evidence(name, dequantised):
    pair = exact_pair(name, dequantised)
    scores = evaluate(pair, dequantised, num_particles=4).scores
    truth = pair.exact_log_prob(dequantised.prepared("test").x).detach().double()
    found = scores["log_likelihood"]
    assert found.value == pytest.approx(float(truth.mean()), rel=1e-6)
    assert found.standard_error == pytest.approx(float(truth.std()) / math.sqrt(48), rel=1e-5)
    assert (found.kind, found.num_particles, found.monte_carlo_error) == ("exact", None, None)
    bound = scores["importance_bound"]
    assert bound.value == pytest.approx(found.value, abs=1e-3)
    assert (bound.kind, bound.num_particles) == ("lower bound", 4)
    assert scores["elbo"].value == pytest.approx(found.value, abs=1e-3)
    assert scores["bits_per_dimension"].value == pytest.approx(
        math.log2(17) - found.value / (64 * math.log(2)), rel=1e-9
    )


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_the_scores_are_the_means_of_what_is_kept_per_datum(likelihood, few):
    pair = vae(likelihood=likelihood)
    data = few.with_preparation(pair.likelihood.preparation)
    result = evaluate(pair, data, num_particles=20, seed=4)
    with seeded(stream(4, "particles"), CPU):
        expected = log_weights(pair, data.prepared("test", seed=4).x, num_particles=20)
    for quantity, values in (("elbo", expected.elbo), ("log_likelihood", expected.bound)):
        score = result.scores[quantity]
        assert score.value == pytest.approx(float(values.double().mean()), rel=1e-9)
        assert score.standard_error == pytest.approx(float(values.std()) / math.sqrt(48), rel=1e-5)
    assert torch.equal(result.per_datum["elbo"], expected.elbo)
    assert torch.equal(result.per_datum["importance_bound"], expected.bound)
    assert result.scores["log_likelihood"].num_particles == 20
    assert result.scores["elbo"].seed == 4


@pytest.mark.parametrize("quantity", ["elbo", "log_likelihood"])
def test_the_monte_carlo_error_is_the_spread_over_seeds(quantity, few):
    """On fixed pixels only particles differ from seed to seed; here no weight rules the rest."""
    pair = vae(likelihood="bernoulli")
    with torch.no_grad():
        pair.model.decoder.body[-1].weight.mul_(0.3)
        pair.guide.encoder.head.linear.bias[2:] = (
            0.7  # a scale of about 1.1, wider than the posterior
        )
    data = few.with_preparation("threshold")
    scores = [
        evaluate(pair, data, num_particles=100, seed=s, limit=12).scores[quantity]
        for s in range(60)
    ]
    spread = float(torch.tensor([s.value for s in scores], dtype=torch.float64).std())
    reported = sum(s.monte_carlo_error for s in scores) / len(scores)
    assert reported == pytest.approx(spread, rel=0.3)
    assert all(s.monte_carlo_error < s.standard_error for s in scores)


def test_one_particle_leaves_the_monte_carlo_error_out(few):
    scores = evaluate(vae(), few, num_particles=1).scores
    assert scores["elbo"].monte_carlo_error is None


def test_grey_cross_entropy_is_an_objective_without_likelihood_or_bits(few):
    result = evaluate(vae(), few, num_particles=3)
    assert set(result.scores) == {"elbo", "importance_bound", "mse_sampled", "mse_mean"}
    assert {result.scores[q].kind for q in ("elbo", "importance_bound")} == {"objective only"}
    assert result.scores["elbo"].measure is None
    assert "no p(x)" in result.absent["log_likelihood"]
    assert "no p(x)" in result.absent["bits_per_dimension"]
    assert "log_likelihood: none" in str(result)


@pytest.mark.parametrize(
    ("preparation", "likelihood", "why"),
    [
        ("threshold", "bernoulli", "binarised"),
        ("grey", "gaussian", "density on grey pixels"),
        ("threshold", "gaussian", "density on threshold pixels"),
    ],
)
def test_bits_are_left_out_with_a_reason(preparation, likelihood, why, few):
    result = evaluate(vae(likelihood=likelihood), few.with_preparation(preparation))
    assert "bits_per_dimension" not in result.scores
    assert why in result.absent["bits_per_dimension"]


def test_vectors_are_no_pixels():
    data = load_data(torch.randn(60, 5))
    result = evaluate(VAE((5,), hidden=[8], likelihood="gaussian"), data, num_particles=2)
    assert result.absent["bits_per_dimension"] == "vectors are no pixels"
    assert result.scores["elbo"].measure == "Lebesgue in the data's own units"
    assert result.scores["mse_mean"].preparation == "as given"


@pytest.mark.parametrize("name", ["ppca", "vae"])
def test_half_seen_data_are_scored_by_what_is_seen(name):
    x = torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
    holes = x.clone()
    holes[::2, 1:3] = torch.nan
    data = load_data(holes, name="holes", missing="unseen")
    pair = PPCA((4,), latent_dim=2) if name == "ppca" else VAE((4,), likelihood="gaussian")
    found = evaluate(pair, data, num_particles=20, limit=5)
    score = found.scores["log_likelihood"]
    assert score.measure == "Lebesgue in the data's own units, of what is seen"
    seen = data.prepared("test", limit=5)
    if name == "ppca":
        truth = pair.exact_log_prob(seen.x, seen.mask).detach()
    else:
        truth = log_weights(pair, seen.x, mask=seen.mask, num_particles=500, seed=1).bound
    assert score.value == pytest.approx(float(truth.mean()), abs=1e-5 if name == "ppca" else 0.1)
    whole = evaluate(pair, load_data(x, name="whole"), num_particles=20, limit=5)
    assert "of what is seen" in score.differs_from(whole.scores["log_likelihood"].comparability)
    means = reconstruct(pair, seen.x, mask=seen.mask, latents="mean")
    errors = [(m - v)[s].square().mean() for m, v, s in zip(means, seen.x, seen.mask, strict=True)]
    assert found.scores["mse_mean"].value == pytest.approx(
        float(torch.stack(errors).mean()), rel=1e-4
    )


def test_columns_of_several_kinds_have_no_squared_error_in_common():
    frame = pandas.DataFrame({"mass": [1.5, 2.5, 3.25, 4.0] * 10, "eggs": [0, 3, 9, 1] * 10})
    data = load_data(frame)
    columns = {"columns": data.table.likelihoods}
    pair = VAE(data.data_shape, hidden=[8], likelihood="mixed", likelihood_options=columns)
    found = evaluate(pair, data, num_particles=2)
    assert "no unit in common" in found.absent["mse_mean"]
    assert "pixels" not in str(found.scores["elbo"])


def test_every_score_says_on_what_it_was_computed(few):
    binary = few.with_preparation("dynamic")
    result = evaluate(cvae(), binary, split="validation", num_particles=3, limit=20, seed=7)
    for score in result.scores.values():
        assert (score.data, score.split, score.num_data) == ("digits", "validation", 20)
        assert (score.dimensions, score.seed, score.given) == (64, 7, "y")
    assert result.scores["elbo"].preparation == "dynamic (seed 7)"
    assert result.scores["elbo"].measure == "counting on {0,1}"
    assert result.scores["mse_mean"].preparation == "grey"
    static = evaluate(cvae(), few.with_preparation("static"), num_particles=2).scores["elbo"]
    assert static.preparation == "static"
    assert evaluate(vae(), few, limit=500).scores["elbo"].num_data == 48
    assert evaluate(vae(), few, name="mine").name == "mine"
    assert evaluate(vae(), few).name == "VAE, dense"
    assert evaluate(vae(), few).scores["elbo"].given is None


@pytest.mark.parametrize("preparation", ["dequantised", "grey"])
def test_squared_errors_are_on_the_scale_of_grey_pixels(preparation, few):
    pair = exact_pair("ppca", few.with_preparation(preparation))
    data = few.with_preparation(preparation)
    result = evaluate(pair, data, num_particles=2)
    prepared = data.prepared("test").x
    decoded = reconstruct(pair, prepared, latents="mean")
    if preparation == "dequantised":
        decoded = (decoded * 17 - 0.5) / 16
    error = (decoded - few.split("test").x).square().flatten(1).mean(1)
    torch.testing.assert_close(result.per_datum["mse_mean"], error)
    assert result.scores["mse_mean"].value == pytest.approx(float(error.mean()), rel=1e-5)
    assert result.scores["mse_sampled"].value > result.scores["mse_mean"].value


def test_binarised_reconstructions_are_judged_against_grey_pixels(few):
    pair = vae(likelihood="bernoulli")
    with torch.no_grad():
        for parameter in pair.model.parameters():
            parameter.zero_()  # every pixel is 1 with probability 1/2
    scores = evaluate(pair, few.with_preparation("threshold"), num_particles=1).scores
    expected = float((few.split("test").x - 0.5).square().mean())
    assert scores["mse_mean"].value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "make", [vae, lambda: GMM(SHAPE, num_components=3), lambda: PPCA(SHAPE, guide="linear")]
)
def test_nothing_of_the_pair_or_the_generators_moves(make, few):
    pair = make()
    data = few if pair.likelihood.measure is None else few.with_preparation("dequantised")
    pair.guide.train()
    pair.model.eval()
    modes = [m.training for m in pair.modules()]
    before = {k: v.clone() for k, v in pair.state_dict().items()}
    generator = torch.get_rng_state()
    first = evaluate(pair, data, num_particles=5)
    assert torch.equal(torch.get_rng_state(), generator)
    assert [m.training for m in pair.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in pair.state_dict().items())
    assert all(p.grad is None for p in pair.parameters())
    torch.randn(5)
    assert evaluate(pair, data, num_particles=5) == first
    assert evaluate(pair, data, num_particles=5, seed=1) != first


def test_bounded_memory_gives_the_same_answer_for_an_exact_pair(dequantised):
    pair = exact_pair("ppca", dequantised)
    whole, cut = (
        evaluate(pair, dequantised, num_particles=3, max_elements=n).scores for n in (10**7, 100)
    )
    for quantity in ("elbo", "log_likelihood", "importance_bound"):
        assert cut[quantity].value == pytest.approx(whole[quantity].value, abs=1e-3)


def test_one_datum_has_a_value_and_no_error(few):
    result = evaluate(vae(), few, limit=1, num_particles=2)
    assert math.isnan(result.scores["elbo"].standard_error)
    assert "nan" not in str(result)
    assert Evaluation.from_json(result.to_json()).scores["elbo"].value == pytest.approx(
        result.scores["elbo"].value
    )


@pytest.mark.parametrize(
    ("pair", "change", "options", "says"),
    [
        (vae, lambda d: d, {"limit": 0}, "limit must be at least 1"),
        (vae, lambda d: d, {"num_particles": 0}, "num_particles"),
        (vae, lambda d: d, {"split": "holdout"}, "no holdout split"),
        (lambda: VAE((1, 28, 28)), lambda d: d, {}, "shape"),
        (lambda: vae(likelihood="bernoulli"), lambda d: d, {}, "binarise"),
        (
            cvae,
            lambda d: replace(
                d, splits={"train": d.splits["train"], "test": Split(d.splits["test"].x)}
            ),
            {},
            "needs labels",
        ),
        (
            vae,
            lambda d: replace(d, splits={**d.splits, "test": Split(d.splits["test"].x[:0])}),
            {},
            "test split of digits is empty",
        ),
    ],
)
def test_what_cannot_be_judged_is_refused(pair, change, options, says, few):
    with pytest.raises(UsageError, match=says) as caught:
        evaluate(pair(), change(few), **options)
    assert "\n" not in str(caught.value)


def test_a_quantity_that_was_asked_for_and_is_not_there_is_said(dequantised):
    """The pair stood alone, without a line on it."""
    data, ppca = dequantised, PPCA(dequantised.data_shape, latent_dim=2)
    found = evaluate(ppca, data, limit=4, num_particles=2, quantities=["accuracy"])
    assert found.absent == {"accuracy": "it is not defined for this model and these data"}
    assert "accuracy: none" in found.to_text()
    assert "accuracy" not in evaluate(ppca, data, limit=4, num_particles=2).absent
