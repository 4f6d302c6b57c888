"""What the numbers of each likelihood mean, and which of them share a column."""

import math

import pytest
import torch

from inference import compare, evaluate, figures, reconstruct
from pyro_models import GMM, VAE
from pyro_models.likelihoods import LIKELIHOODS

SHAPE = (1, 8, 8)
every_likelihood = pytest.mark.parametrize("name", LIKELIHOODS)


def vae(likelihood, **options):
    return VAE(SHAPE, latent_dim=2, hidden=[8], likelihood=likelihood, likelihood_options=options)


def judged(few, likelihood, *, num_particles=3, **options):
    pair = vae(likelihood, **options)
    data = few.with_preparation(pair.likelihood.preparation)
    return evaluate(pair, data, num_particles=num_particles, name=f"{likelihood} {options}")


@every_likelihood
def test_squared_errors_of_every_likelihood_are_on_the_grey_scale(name, few):
    """A decoder that says the mean of the prepared data whatever z is, and so the grey mean."""
    levels = {key: {"levels": 17} for key in ("logistic_mixture", "discretized_gaussian")}
    options = {**levels, "categorical": {"bins": 17}}.get(name, {})
    network = {"latent_dim": 2, "hidden": [8], "output_bias": "data"}
    pair = VAE(SHAPE, likelihood=name, likelihood_options=options, **network)
    data = few.with_preparation(pair.likelihood.preparation)
    x = torch.stack([data.prepared("train", seed=seed).x for seed in range(50)]).mean(0)
    last = pair.model.decoder.body[-1]
    torch.nn.init.zeros_(last.weight)
    pair.start_from(x.clamp(0.03, 0.97))
    found = evaluate(pair, data, num_particles=1)
    mean = x.clamp(0.03, 0.97).mean(0)
    if data.preparation == "dequantised":
        mean = (17 * mean - 0.5) / 16
    expected = float((few.split("test").x - mean).square().mean())
    for quantity in ("mse_mean", "mse_sampled"):
        assert found.scores[quantity].value == pytest.approx(expected, rel=1e-4)


@every_likelihood
@pytest.mark.parametrize("network", ["dense", "conv"])
def test_images_are_drawn_with_every_likelihood(name, network, few):
    pair = VAE(SHAPE, latent_dim=2, network=network, hidden=[4, 4], likelihood=name)
    x = few.with_preparation(pair.likelihood.preparation).prepared("test").x[:6]
    for pixels in ("mean", "sample"):
        image = reconstruct(pair, x, pixels=pixels)
        assert image.shape == x.shape
        assert bool(image.isfinite().all())
    figures.reconstructions(pair, x, columns=4, rows=2)
    figures.prior_samples(pair, n=4, pixels="sample")
    figures.latent_grid(pair, size=3)


def test_the_epsilon_of_the_beta_is_printed_and_two_share_no_column_of_densities(few):
    """The same weights: only ε differs, and the number with it."""
    data = few.with_preparation("dequantised")
    results = []
    for epsilon in (1e-3, 1e-2):
        torch.manual_seed(0)
        pair = vae("beta", epsilon=epsilon)
        results.append(evaluate(pair, data, num_particles=3, name=f"{epsilon:g}"))
    elbos = [result.scores["elbo"] for result in results]
    assert elbos[0].value != pytest.approx(elbos[1].value, abs=0.5)
    words = "Lebesgue on [0,1], pixels clamped to [ε, 1 − ε], ε = 0.001"
    assert words in str(elbos[0])
    assert words in results[0].to_json()
    table = compare(results)
    of_elbo = [i for i, c in enumerate(table.columns) if c.quantity == "elbo"]
    assert len(of_elbo) == 2
    assert "ε = 0.001" in table.columns[of_elbo[0]].subtitle
    assert "ε = 0.01, not" in table.cells[1][of_elbo[0]].reason
    assert len([c for c in table.columns if c.quantity == "mse_mean"]) == 1


def test_a_density_of_clamped_pixels_has_no_bits_and_without_epsilon_it_has(few):
    clamped = judged(few, "beta")
    assert "clamped" in clamped.absent["bits_per_dimension"]
    free = judged(few, "beta", epsilon=0)
    log_p = free.scores["log_likelihood"]
    assert log_p.measure == "Lebesgue on [0,1]"
    bits = free.scores["bits_per_dimension"].value
    assert bits == pytest.approx(math.log2(17) - log_p.value / (64 * math.log(2)))


@pytest.mark.parametrize(
    ("name", "options"), [("categorical", {"bins": 17}), ("logistic_mixture", {"levels": 17})]
)
def test_a_probability_of_the_datas_levels_is_in_bits_beside_densities(name, options, few):
    ours = judged(few, name, **options)
    log_p, bits = (ours.scores[q] for q in ("log_likelihood", "bits_per_dimension"))
    assert (log_p.kind, log_p.measure) == ("lower bound", "counting on 17 levels")
    assert (bits.kind, bits.preparation) == ("upper bound", "grey")
    assert bits.value == pytest.approx(-log_p.value / (64 * math.log(2)))
    dequantised = few.with_preparation("dequantised")
    gmm = GMM(SHAPE, num_components=3)
    gmm.start_from(dequantised.prepared("train").x)
    table = compare([ours, evaluate(gmm, dequantised, num_particles=3)])
    (column,) = [i for i, c in enumerate(table.columns) if c.quantity == "bits_per_dimension"]
    assert all(row[column].score is not None for row in table.cells)
    of_log_p = [c for c in table.columns if c.quantity == "log_likelihood"]
    assert {c.comparability["measure"] for c in of_log_p} == {
        "counting on 17 levels",
        "Lebesgue on [0,1]",
    }


def test_a_decoder_that_knows_nothing_costs_log2_of_the_levels(few):
    pair = vae("categorical", bins=17)
    with torch.no_grad():
        for parameter in pair.model.parameters():
            parameter.zero_()
        head = pair.guide.encoder.head.linear
        head.weight.zero_()
        head.bias.copy_(torch.tensor([0.0, 0.0, 0.5413, 0.5413]))  # q(z | x) = N(0, I)
    score = evaluate(pair, few, num_particles=50).scores["bits_per_dimension"]
    assert score.value == pytest.approx(math.log2(17), abs=1e-3)


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("categorical", {"bins": 256}, "256 levels are not of the data's 17"),
        ("categorical", {"bins": 8}, "8 levels are not of the data's 17"),
        ("logistic_mixture", {}, "256 levels are not of the data's 17"),
        ("bernoulli", {}, "binarised"),
        ("cross_entropy", {}, "there is no p(x)"),
    ],
)
def test_what_is_of_other_pixels_stays_out_of_the_bits_with_the_reason(name, options, why, few):
    result = judged(few, name, **options)
    assert "bits_per_dimension" not in result.scores
    assert why in result.absent["bits_per_dimension"]
    table = compare([result, judged(few, "gaussian")])
    (column,) = [i for i, c in enumerate(table.columns) if c.quantity == "bits_per_dimension"]
    assert why in table.cells[0][column].reason


def test_many_outputs_per_pixel_are_weighed_in_smaller_chunks(few):
    """Bounded memory counts the decoder's outputs, 17 a pixel, and changes no number."""
    pair = vae("categorical", bins=17)
    calls = []
    pair.model.decoder.register_forward_hook(lambda _, __, out: calls.append(out.numel()))
    evaluate(pair, few, num_particles=5, max_elements=17 * 64 * 10)
    assert max(calls[:20]) <= 17 * 64 * 10
