"""A GAN is a pair: trained at the command line, then inferred, completed and shown as any other."""

import math
from dataclasses import replace

import pytest
import torch

from inference import complete, evaluate, evidence, figures, infer
from inference.figures.registry import Shown, draw_figure
from inference.learning import Run, fit
from inference.posterior import latent_means
from pyro_models import VAE, Generator, UsageError
from pyro_models.data import Split
from pyro_models.priors import StandardNormal

SHAPE = (1, 8, 8)
OWN = torch.nn.Sequential(torch.nn.Linear(10, 64), torch.nn.Unflatten(1, (1, *SHAPE)))


@pytest.fixture(scope="module")
def gan():
    torch.manual_seed(0)
    return Generator(SHAPE, latent_dim=3, hidden=[16, 16], batch_norm=True, sigma=0.2)


@pytest.fixture(scope="module")
def x(gan):
    """Samples of it, whose latents are to be found."""
    with torch.no_grad():
        return gan.eval().decode({"z": torch.randn(2, 3)})["x"].mean


def test_it_is_trained_kept_and_shown_at_the_command_line(call, elsewhere, capsys):
    small = ["--options.hidden", "[16, 8]", "--options.latent_dim", "4", "--batch_size", "500"]
    quick = ["--data", "digits", "--epochs", "2", "--progress=false", "--out", "run"]
    assert call("train", "--preset", "amsterdam-gan", *quick, *small) == 0
    said = capsys.readouterr().out
    assert "the adversarial objective updates a critic of its own" in said
    assert "accuracy fake" in said
    assert (Run("run").folder / "figures" / "epoch-0001.png").is_file()
    assert call("train", "--out", "run", "--resume", "--epochs", "3", "--progress=false") == 0


def test_latents_of_data_are_inferred_wherever_they_are_asked_for(gan, x):
    posterior = infer(gan, x, guide="normal")
    assert (posterior.reconstruct(latents="mean", pixels="mean") - x).abs().max() < 0.1
    means = latent_means(gan, x)
    assert torch.equal(means, posterior.mean["z"])
    drawn = figures.encoder_free(posterior)
    assert "encoder" not in [t.get_text() for t in drawn.axes[0].get_xticklabels()]


def test_an_interpolation_has_as_many_steps_as_asked_for(few):
    shown = Shown(
        pair=VAE(SHAPE, hidden=[8]),
        load_test=lambda: few.prepared("test"),
        load_history=lambda: None,
        steps=7,
    )
    drawn = draw_figure("interpolation", shown)
    assert len(drawn.axes[0].get_xticklabels()) == 7 + 2


def test_half_a_datum_is_completed(gan, x):
    completed = complete(gan, x, "left", num_samples=2, infer_options={"max_steps": 20})
    assert completed.guide == "normal"
    assert torch.equal(completed.mean[..., :4], x[..., :4])
    with pytest.raises(UsageError, match="no encoder of z to feed zeros to"):
        complete(gan, x, "left", guide="encoder_zeros")
    with pytest.raises(UsageError, match="no encoder to complete by: infer a guide"):
        complete(gan, x, "left", guide="encoder")


def test_its_evidence_is_that_of_a_linear_gaussian():
    """G(z) = W z + b: p(x) = N(b, W Wᵀ + σ² I), exactly."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(2, 5)
    pair = Generator(
        (5,),
        latent_dim=2,
        sigma=0.5,
        decoder=torch.nn.Sequential(linear, torch.nn.Unflatten(1, (1, 5))),
    ).double()
    x = torch.randn(3, 5).double()
    cov = linear.weight @ linear.weight.T + 0.25 * torch.eye(5).double()
    exact = torch.distributions.MultivariateNormal(linear.bias, cov).log_prob(x).detach()
    assert torch.allclose(evidence(pair, x).value, exact, atol=1e-3)
    annealed = evidence(pair, x, method="annealing", num_temperatures=200)
    assert ((annealed.value - exact).abs() <= 4 * annealed.standard_error + 0.05).all()
    pair.set_sigma(1.0)
    assert pair.config()["sigma"] == pair.sigma == 1.0
    assert not torch.allclose(evidence(pair, x).value, exact, atol=0.1)


def test_what_has_no_encoder_has_no_reconstructions_in_a_table(gan, few):
    found = evaluate(gan, few, num_particles=20, limit=10)
    assert "there is no encoder" in found.absent["mse_mean"]
    assert found.scores["log_likelihood"].kind == "lower bound"
    assert math.isfinite(found.scores["log_likelihood"].value)


def test_vectors_of_any_scale_are_learned_in_their_units():
    torch.manual_seed(0)
    x = 1e6 + 1e4 * torch.randn(300, 2, dtype=torch.float64)
    pair = Generator((2,), latent_dim=2, hidden=[16], sigma=1e3).double()
    found = fit(pair, x, objective="adversarial", epochs=1, lr=1e-3, progress=False)
    assert found.history.start == "units of the data"
    mean = pair.decode({"z": torch.zeros(1, 2).double()})["x"].mean
    assert (mean - 1e6).abs().max() < 5e4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sigma": 0.0}, "positive number; got 0"),
        ({"sigma": float("nan")}, "positive number; got nan"),
        ({"output": "tanh"}, "unknown output 'tanh': choose from sigmoid, identity"),
        ({"decoder": OWN, "batch_norm": True}, "put it there yourself"),
        ({"decoder": torch.nn.Linear(10, 64)}, r"the decoder Linear of z .* returned \(2, 64\)"),
        ({"prior": "nope"}, "unknown prior"),
    ],
)
def test_what_makes_no_generator_is_one_line(options, said):
    with pytest.raises(UsageError, match=rf"^.*{said}.*\Z"):
        Generator(SHAPE, **options)
    with pytest.raises(UsageError, match="positive"):
        Generator(SHAPE).set_sigma(-1)


def test_a_prior_is_an_argument():
    pair = Generator(SHAPE, prior=StandardNormal, hidden=[8])
    assert pair.config()["prior"] == "standard"
    assert pair.model(n=3).shape == (3, *SHAPE)


def test_a_single_row_passes_batch_norm(few):
    pair = Generator(SHAPE, hidden=[8, 8], latent_dim=2, batch_norm=True)
    one = replace(few, splits={"train": Split(few.splits["train"].x[:9])})
    options = {"objective": "adversarial", "batch_size": 8, "epochs": 1, "progress": False}
    assert math.isfinite(fit(pair, one, **options).history.epochs[0].running)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"objective": "stl"},
        {"objective": "monte_carlo", "objective_options": {"num_particles": 8}},
        {"objective": "js"},
        {"objective": "iwae", "objective_options": {"num_particles": 1}},
        {"objective": "trace"},
    ],
)
def test_a_bound_that_averages_over_the_prior_is_refused(gan, few, how):
    said = r"^Generator has no encoder, and .* mean of the data of all its samples: use the obj.*\Z"
    with pytest.raises(UsageError, match=said):
        fit(gan, few, epochs=1, progress=False, **how)


def test_a_bound_that_weighs_many_draws_of_the_prior_trains_a_generator(few):
    torch.manual_seed(0)
    pair = Generator(SHAPE, latent_dim=2, hidden=[32], sigma=0.3)
    before = evidence(pair, few.prepared("test").x[:5]).mean[0]
    few_steps = {"epochs": 3, "lr": 1e-2, "progress": False}
    fit(pair, few, objective="iwae", objective_options={"num_particles": 20}, **few_steps)
    assert evidence(pair, few.prepared("test").x[:5]).mean[0] > before + 5


def test_the_advice_of_poor_evidence_is_not_to_begin_at_a_guide():
    torch.manual_seed(0)
    linear = torch.nn.Linear(3, 20)
    torch.nn.init.normal_(linear.weight)
    decoder = torch.nn.Sequential(linear, torch.nn.Unflatten(1, (1, 20)))
    pair = Generator((20,), latent_dim=3, sigma=0.05, decoder=decoder)
    with torch.no_grad():
        x = linear(torch.randn(2, 3))
    short = {"method": "annealing", "num_chains": 2, "num_temperatures": 3, "num_leapfrog": 1}
    told = str(evidence(pair, x, **short))
    assert told.endswith("nats or more: anneal longer, or with more chains)")
    guide = infer(pair, x, guide="normal", max_steps=2)
    told = str(evidence(pair, x, guide=guide, **short))
    assert ", from normal, " in told
    assert told.endswith("anneal longer, or with more chains, or from the prior)")
    told = str(evidence(pair, x, method="importance", num_particles=3))
    assert told.endswith("take more particles, a guide that fits better, or the method annealing)")
