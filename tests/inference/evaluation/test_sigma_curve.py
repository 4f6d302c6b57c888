"""log p(x) against σ, and kernel densities, are those of a linear generator in closed form."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from inference import bracket, evaluate, evidence, generate
from inference.evaluation import (
    compare,
    evaluate_evidence,
    kernel_density,
    sigma_curve,
    with_sigma,
)
from inference.evaluation.spherical import fixed_sigma
from inference.precision import original, precision_of
from pyro_models import PPCA, VAE, Generator, UsageError
from pyro_models.observed import observed

D = 6
SIGMAS = (0.2, 0.35, 0.6, 1.0)
ANNEALED = {"num_temperatures": 40, "num_chains": 40, "num_leapfrog": 3}
GAUSSIAN = {"likelihood": "gaussian", "hidden": [8]}


@pytest.fixture(scope="module")
def pair():
    """x = W z + b + σ ε, of two latents."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(2, D)
    decoder = torch.nn.Sequential(linear, torch.nn.Unflatten(-1, (1, D)))
    return Generator((D,), latent_dim=2, sigma=0.35, decoder=decoder).double()


@pytest.fixture(scope="module")
def x(pair):
    """Data of another σ than the pair's."""
    return generate(with_sigma(pair, 0.6), n=8, pixels="sample", seed=5)


def exact(pair, x, sigma, seen=slice(None)):
    linear = pair.model.decoder.decoder[0]
    W, b = linear.weight.detach()[seen], linear.bias.detach()[seen]
    noise = sigma**2 * torch.eye(len(b), dtype=b.dtype)
    return MultivariateNormal(b, W @ W.T + noise).log_prob(x[:, seen])


def truth(pair, x, **how):
    return torch.stack([exact(pair, x, sigma, **how) for sigma in SIGMAS])


@pytest.mark.parametrize(
    ("method", "options", "seen"),
    [
        ("annealing", ANNEALED, slice(None)),
        ("annealing", ANNEALED, slice(0, 4)),
        ("importance", {"num_particles": 10_000}, slice(None)),
    ],
)
def test_the_curve_is_that_of_the_closed_form(pair, x, method, options, seen):
    mask = torch.zeros(len(x), D, dtype=torch.bool)
    mask[:, seen] = True
    wanted = truth(pair, x, seen=seen)
    curve = sigma_curve(pair, observed(pair, x, mask=mask), SIGMAS, method=method, **options)
    assert float(((curve.value - wanted) / curve.standard_error).abs().max()) < 4
    assert float(curve.standard_error.mean()) < 0.15
    assert curve.best == int(wanted.mean(1).argmax())
    assert curve.sigma == curve.pair.sigma
    assert pair.sigma == 0.35  # as it was
    assert curve.kind == "lower bound"
    assert method in str(curve)


def test_weights_are_unbiased_at_every_sigma_of_one_path(pair, x):
    """Few temperatures, many times over, for one datum."""
    again = x[:1].expand(200, -1)
    how = {"num_temperatures": 4, "num_chains": 25, "num_leapfrog": 2, "schedule": "geometric"}
    curve = sigma_curve(pair, again, SIGMAS, seed=3, **how)
    ratio = (curve.value - truth(pair, again)).exp()
    error = ratio.std(1) / 200**0.5
    assert float(error.max()) < 0.15
    assert float(((ratio.mean(1) - 1) / error).abs().max()) < 3


def test_the_path_to_the_least_sigma_is_that_of_evidence(pair, x):
    """One σ has no stops: bit for bit."""
    curve = sigma_curve(pair, x, [0.35], **ANNEALED)
    found = evidence(pair, x, method="annealing", **ANNEALED)
    assert torch.equal(curve.value[0], found.value)
    assert not curve.at_end


def test_blocks_of_the_curve_are_kept(pair, x, tmp_path):
    how = {"resume": tmp_path, "num_temperatures": 3, "num_chains": 2, "num_leapfrog": 1}
    first = sigma_curve(pair, x, SIGMAS, **how)
    assert torch.equal(first.value, sigma_curve(pair, x, SIGMAS, **how).value)
    with pytest.raises(UsageError, match="blocks of another evaluation"):
        sigma_curve(pair, x, SIGMAS[:2], **how)


def test_the_bracket_at_the_best_sigma_holds_the_truth(pair, x):
    best = sigma_curve(pair, x, SIGMAS, **ANNEALED).pair
    found = bracket(best, num_data=10, num_temperatures=30, num_chains=40, num_leapfrog=3)
    wanted = exact(best, found.x, best.sigma)
    assert bool((found.lower - 3 * found.lower_error <= wanted).all())
    assert bool((found.upper + 3 * found.upper_error >= wanted).all())
    assert float(found.gap.mean()) < 0.5


def test_kernels_are_a_mixture_around_samples(pair, x):
    found = kernel_density(pair, x, validation=x, sigmas=SIGMAS, num_samples=30_000, seed=2)
    of_limit = truth(pair, x)  # of means of x, the kernels are the noise
    z = (found.curve.value - of_limit) / found.curve.standard_error
    assert float(z.abs().max()) < 4.5
    assert float(found.curve.standard_error.mean()) < 0.1
    assert found.sigma == SIGMAS[int(of_limit.mean(1).argmax())]
    assert torch.equal(found.value, found.curve.value[found.curve.best])
    one = kernel_density(pair, x, validation=x, sigmas=[0.5], num_samples=1)
    assert one.value.isfinite().all()
    assert one.standard_error.isnan().all()


def test_kernels_of_several_blocks_are_summed_in_one_go(pair, x, monkeypatch):
    how = {"validation": x[:3], "sigmas": [0.02, 0.5], "num_samples": 90}
    monkeypatch.setattr("inference.evaluation.kernels.BLOCK", 40)
    drawn = []

    def kept(*arguments, **options):
        drawn.append(generate(*arguments, **options))
        return drawn[-1]

    monkeypatch.setattr("inference.evaluation.kernels.generate", kept)
    found = kernel_density(pair, x[3:], **how)
    samples = torch.cat(drawn)
    assert samples.unique(dim=0).shape == (90, D)
    squares = (x[:, None] - samples).square().sum(-1)
    for sigma, values in zip((0.02, 0.5), found.curve.value, strict=True):
        log_w = -squares / (2 * sigma**2) - D / 2 * math.log(2 * math.pi * sigma**2)
        mixture = log_w.logsumexp(1) - math.log(90)
        torch.testing.assert_close(values, mixture[:3])
    relative = (log_w - log_w.amax(1, keepdim=True)).exp()
    delta = relative.std(1) / relative.mean(1) / math.sqrt(90)
    torch.testing.assert_close(found.curve.standard_error[1], delta[:3])


def test_only_a_fixed_spherical_sigma_stands_in_the_column(few):
    few = few.with_preparation("dequantised")
    options = {"likelihood_options": {"scale": 0.2}, **GAUSSIAN}
    fixed, learned = (
        VAE((1, 8, 8), **{**options, **more}) for more in ({}, {"likelihood_options": {}})
    )
    how = {"limit": 4, "num_temperatures": 5, "num_chains": 2, "method": "annealing"}
    rows = [evaluate_evidence(p, few, name=n, **how) for n, p in (("a", fixed), ("b", learned))]
    assert [list(row.scores) for row in rows] == [["spherical_log_likelihood"], ["log_likelihood"]]
    table = compare(rows)
    column = [c.quantity for c in table.columns].index("spherical_log_likelihood")
    assert len(table.columns) == 2
    assert table.cells[0][column].score is not None
    assert "σ is learned, one for all pixels" in table.cells[1][column].reason
    of_evaluate = evaluate(fixed, few, limit=4, num_particles=2, name="c")
    assert "spherical_log_likelihood" not in of_evaluate.scores
    kernels = kernel_density(
        fixed, few.prepared("test", limit=4).x, validation=few.split("validation").x, num_samples=9
    )
    beside = evaluate_evidence(fixed, few, kernel_density=kernels, **how).scores["kernel_density"]
    assert (beside.kind, beside.method) == ("objective only", "9 samples, mean pixels")
    with pytest.raises(UsageError, match="the kernel density is of 4 data, and these are 3"):
        evaluate_evidence(fixed, few, kernel_density=kernels, **{**how, "limit": 3})


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: VAE((4,), **GAUSSIAN), "σ is learned, one for all pixels"),
        (
            lambda: VAE((4,), likelihood_options={"scale": "decoder"}, **GAUSSIAN),
            "σ is learned, from z",
        ),
        (lambda: VAE((1, 8, 8), likelihood="bernoulli"), "the likelihood is bernoulli"),
        (lambda: PPCA((4,), latent_dim=1), "not N"),
    ],
)
def test_pairs_of_another_noise_are_refused(make, why):
    with pytest.raises(UsageError, match=why):
        fixed_sigma(make())


@pytest.mark.parametrize("sigmas", [[], [0.1, 0.1], [0.0], [-1.0], [math.nan], ["a"], [True]])
def test_no_set_of_sigmas_is_refused(pair, x, sigmas):
    for found in (sigma_curve, lambda *a: kernel_density(a[0], x, validation=x, sigmas=a[2])):
        with pytest.raises(UsageError, match="sigmas are positive numbers, each once"):
            found(pair, x, sigmas)


def test_other_mistakes_are_one_line(pair, x):
    with pytest.raises(UsageError, match="unknown method 'magic'"):
        sigma_curve(pair, x, SIGMAS, method="magic")
    with pytest.raises(UsageError, match="guide"):
        sigma_curve(pair, x, SIGMAS, guide="normal")
    with pytest.raises(UsageError, match="sigma is a positive number; got 0"):
        with_sigma(pair, 0)
    half = observed(pair, x, mask=torch.arange(D) < 3)
    with pytest.raises(UsageError, match="have unseen pixels"):
        kernel_density(pair, half, validation=x)
    binary = VAE((D,), likelihood="bernoulli", hidden=[8])
    with pytest.raises(UsageError, match="the likelihood bernoulli is of others"):
        kernel_density(binary, x.round(), validation=x.round())
    with pytest.warns(UserWarning, match=r"best σ, 0\.6, is at an end"):
        sigma_curve(pair, x, SIGMAS[:3], num_temperatures=5)


def test_a_copy_with_another_sigma_keeps_its_precision(pair):
    single = Generator((D,), latent_dim=2, hidden=[8])
    curve = sigma_curve(single, torch.zeros(2, D), [0.5], num_temperatures=2, precision="float64")
    assert precision_of(curve.pair) == "float64"
    assert original(curve.pair).sigma == curve.pair.sigma == 0.5
