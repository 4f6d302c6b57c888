"""Scores of completions against their definitions and exact conditionals."""

import math

import pytest
import torch
from torch import Tensor

from inference import compare
from inference.evaluation import evaluate_completion, log_weights
from inference.evaluation.completion import conditional_log_prob
from inference.isolated import isolated
from inference.posterior import condition
from pyro_models import (
    CVAE,
    PPCA,
    VAE,
    BernoulliMixture,
    CompletionCVAE,
    ImageData,
    UsageError,
    load_data,
)
from pyro_models.data.masks import seen_pixels
from pyro_models.models import title_of
from pyro_models.seeds import stream

SHAPE = (1, 8, 8)
LEFT = seen_pixels("left", SHAPE)
QUICK = {"evidence_options": {"num_chains": 4, "num_temperatures": 20, "num_leapfrog": 3}}
FEW = {"complete_options": {"infer_options": {"max_steps": 10}}}


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_data("digits", preparation="threshold")


@pytest.fixture(scope="module")
def mixture(data: ImageData) -> BernoulliMixture:
    return BernoulliMixture.maximum_likelihood(data.prepared("train").x, num_components=10)


@pytest.fixture(scope="module")
def ppca(data: ImageData) -> PPCA:
    return PPCA.maximum_likelihood(data.prepared("train").x, latent_dim=3)


def vae(latent_dim: int = 1, likelihood: str = "bernoulli") -> VAE:
    return VAE(SHAPE, latent_dim=latent_dim, hidden=[8], likelihood=likelihood)


def test_exact_scores_are_the_difference_of_two_evidences(
    mixture: BernoulliMixture, data: ImageData
) -> None:
    found = evaluate_completion(mixture, data, "left", limit=50)
    x = data.prepared("test", limit=50).x
    with torch.no_grad():
        wanted = mixture.exact_log_prob(x).double() - mixture.exact_log_prob(x, LEFT).double()
        mean = mixture.conditional_mean(x, LEFT)
    score = found.scores["conditional_log_likelihood"]
    assert score.value == pytest.approx(float(wanted.mean()), rel=1e-6)
    assert score.standard_error == pytest.approx(float(wanted.std()) / math.sqrt(50), rel=1e-5)
    assert (score.kind, score.given, score.dimensions) == ("exact", "x_left", 32)
    assert (score.measure, score.preparation) == ("counting on {0,1}", "threshold")
    assert score.monte_carlo_error == 0
    squared = (mean - x)[..., 4:].double().square().flatten(1).mean(1)
    error = found.scores["mse_unseen"]
    assert error.value == pytest.approx(float(squared.mean()), rel=1e-6)
    assert error.unit == "squared error per pixel"
    assert found.name == f"{title_of(mixture)}, exact"
    torch.testing.assert_close(found.per_datum["mse_unseen"], squared)


def test_one_image_for_all_has_an_error_and_no_probability(data: ImageData) -> None:
    image = data.prepared("train").x.mean(0)
    found = evaluate_completion(image, data, "bottom", limit=20, name="mean image")
    x = data.prepared("test", limit=20).x
    wanted = (x - image)[:, :, :4].double().square().mean()
    assert found.scores["mse_unseen"].value == pytest.approx(float(wanted), rel=1e-6)
    assert found.absent["conditional_log_likelihood"] == "an image is no distribution"


@pytest.mark.parametrize("seed", [0, 1])
def test_annealing_finds_the_exact_conditional_within_its_error(
    ppca: PPCA, data: ImageData, seed: int
) -> None:
    x = data.prepared("test", limit=8).x
    exact = conditional_log_prob(ppca, x, LEFT)
    assert exact.kind == "exact"
    options = {"method": "annealing", "num_chains": 16, "num_temperatures": 60, "num_leapfrog": 5}
    found = conditional_log_prob(ppca, x, LEFT, evidence_options=options, seed=seed)
    assert found.kind == "estimate"
    assert found.method == "annealing, 16 chains, 60 temperatures"
    assert found.num_particles is None
    error = float(found.standard_error.square().sum().sqrt())
    assert abs(float((found.value - exact.value).sum())) < 4 * error + 0.02 * len(x)
    assert error < 2


def test_one_latent_is_integrated_on_a_grid(data: ImageData) -> None:
    pair, x = vae(), data.prepared("test", limit=4).x
    found = conditional_log_prob(pair, x, LEFT)
    assert (found.kind, found.method) == ("estimate", None)
    with torch.no_grad():
        z = torch.linspace(-8, 8, 4001).unsqueeze(-1)
        log_p = -0.5 * z.square() - 0.5 * math.log(2 * math.pi)
        pixels = pair.decode({"z": z})["x"].base_dist.logits.unsqueeze(1)
        log_prob = x * pixels - torch.nn.functional.softplus(pixels)
        whole, seen = (
            (log_p + (log_prob * m).flatten(2).sum(2)).double().logsumexp(0)
            for m in (torch.ones_like(LEFT), LEFT)
        )
    torch.testing.assert_close(found.value, whole - seen, rtol=0, atol=1e-3)


def test_a_conditional_pair_is_scored_by_its_own_bound(data: ImageData) -> None:
    pair = CompletionCVAE(SHAPE, masks=["left", "top"], latent_dim=3, hidden=[8])
    options = {"method": "importance", "num_particles": 20}
    found = evaluate_completion(pair, data, "left", limit=10, evidence_options=options)
    score = found.scores["conditional_log_likelihood"]
    assert (score.kind, score.num_particles, score.given) == ("lower bound", 20, "x_left")
    assert found.name == "CVAE for completion, dense, trained"
    alone, x = pair.conditioned_on(LEFT), data.prepared("test", limit=10).x
    with isolated(alone, seed=stream(0, "particles")):
        bound = log_weights(alone, x, num_particles=20).bound
    assert score.value == pytest.approx(float(bound.mean()), rel=1e-5)


def test_annealing_starts_a_conditional_pair_from_its_own_prior(data: ImageData) -> None:
    pair = CompletionCVAE(SHAPE, latent_dim=2, hidden=[8])
    with torch.no_grad():
        pair.model.prior.head.linear.weight.mul_(20)  # far from N(0, I)
        x, n = data.prepared("test", limit=4).x, 4000
        x_seen, given, _ = pair.model.given(x, None, 4)
        prior = pair.model.prior.head(pair.model.features(x_seen, given))
    with isolated(pair):
        z = condition(pair, x).sample_prior(n)
    off = (z.mean(0) - prior.mean) / (prior.stddev / math.sqrt(n))
    assert float(off.abs().max()) < 4.5
    assert float((z.std(0) / prior.stddev - 1).abs().max()) < 4.5 / math.sqrt(2 * n)
    assert float(prior.mean.abs().max()) > 1


def test_densities_probabilities_and_bounds_never_share_a_column(
    mixture: BernoulliMixture, ppca: PPCA, data: ImageData
) -> None:
    cvae = CompletionCVAE(SHAPE, latent_dim=3, hidden=[8])
    grey = data.with_preparation("grey")
    rows = [
        evaluate_completion(mixture, data, "left", limit=10),
        evaluate_completion(ppca, data, "left", limit=10),
        evaluate_completion(vae(3), data, "left", limit=10, **QUICK, **FEW),
        evaluate_completion(cvae, data, "left", limit=10, **QUICK),
        evaluate_completion(mixture, data, "top", limit=10),
        evaluate_completion(vae(1, "cross_entropy"), grey, "left", limit=10, **FEW),
    ]
    table = compare(rows)
    nats = [j for j, c in enumerate(table.columns) if c.quantity == "conditional_log_likelihood"]
    filled = [[i for i in range(6) if table.cells[i][j].score] for j in nats]
    assert sorted(filled) == [[0, 2], [1], [3], [4]]
    assert "cross-entropy is an objective" in table.cells[5][nats[0]].reason
    assert "log p(x | x_left)" in table.to_text()
    errors = [j for j, c in enumerate(table.columns) if c.quantity == "mse_unseen"]
    filled = [[i for i in range(6) if table.cells[i][j].score] for j in errors]
    assert sorted(filled) == [[0, 1, 2, 3], [4], [5]]
    assert "annealing, 4 chains, 20 temperatures" in table.to_markdown()


def test_labels_are_given_to_a_pair_that_needs_them(data: ImageData) -> None:
    pair = CVAE(SHAPE, num_classes=10, latent_dim=1, hidden=[8], likelihood="bernoulli")
    found = evaluate_completion(pair, data, "left", limit=4, **FEW)
    assert found.scores["conditional_log_likelihood"].given == "x_left, y"


@pytest.mark.parametrize(
    ("mask", "options", "line"),
    [
        ("everything", {}, "there is nothing to complete"),
        ("left", {"limit": 0}, "limit must be at least 1"),
        ("left", {"split": "nope"}, "no nope split"),
        ("left", {"seed": -1}, "a seed is a whole number"),
    ],
    ids=["all seen", "limit", "split", "seed"],
)
def test_what_cannot_be_scored_is_one_line(
    mask: str, options: dict, line: str, mixture: BernoulliMixture, data: ImageData
) -> None:
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        evaluate_completion(mixture, data, mask, **options)


def test_an_image_of_another_shape_is_one_line(data: ImageData) -> None:
    with pytest.raises(UsageError, match=r"^an image of shape .* does not fit .*\Z"):
        evaluate_completion(torch.zeros(1, 4, 4), data, "left")


def test_random_pixels_are_drawn_for_each_datum_and_the_same_for_every_pair(
    mixture: BernoulliMixture, data: ImageData
) -> None:
    found = evaluate_completion(mixture, data, "random", limit=30, seed=2)
    x = data.prepared("test", limit=30).x
    mask: Tensor = seen_pixels("random", SHAPE, num_data=30, seed=2)
    with torch.no_grad():
        wanted = mixture.exact_log_prob(x) - mixture.exact_log_prob(x, mask)
    score = found.scores["conditional_log_likelihood"]
    assert score.value == pytest.approx(float(wanted.mean()), rel=1e-5)
    assert score.given == "x_random_0.5"
    fewer = evaluate_completion(mixture, data, "random", limit=30, fraction=0.25, log_prob=False)
    assert fewer.scores["mse_unseen"].given == "x_random_0.25"
    assert fewer.absent["conditional_log_likelihood"] == "not asked for"
