"""Diffusion: its chains against quadrature, its one-step bound against that of all steps."""

import math

import pytest
import torch
from torch import Tensor, nn

from inference import complete, evidence, figures, fit, generate, infer, particles
from inference.objectives import make_objective
from pyro_models import VAE, Diffusion, Observed, UsageError
from pyro_models.diffusion import NOISES, Noise


def moderate(num_steps: int) -> Tensor:
    return torch.linspace(0.1, 0.8, num_steps)


def tiny(num_steps: int = 4, size: int = 1) -> Diffusion:
    """Weights a little away from their start, moderate noise, three levels, float64."""
    torch.manual_seed(5)
    network = {"denoiser": "dense", "hidden": [8]}
    pair = Diffusion((size,), num_steps=num_steps, levels=3, noise=moderate, **network).double()
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    torch.manual_seed(0)
    return pair


LEVELS = torch.tensor([[0.0], [0.5], [1.0]]).double()


def test_quadrature_over_the_chain_is_how_often_the_model_draws_each_level() -> None:
    pair, n = tiny(num_steps=2), 100_000
    p = evidence(pair, LEVELS, method="quadrature").value.exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-4)
    with torch.no_grad():
        share = torch.stack([(pair.model(n=n) == level).double().mean() for level in LEVELS])
    error = (p * (1 - p) / n).sqrt()
    assert bool(((share - p).abs() < 4 * error).all())


@pytest.mark.parametrize("seen", [None, [True, False]], ids=["all", "half seen"])
def test_one_step_is_the_bound_of_all_steps_on_average(seen: list[bool] | None) -> None:
    pair, n = tiny(size=2), 20_000
    x = torch.tensor([[0.0, 0.5], [1.0, 0.5]]).double()
    mask = None if seen is None else torch.tensor(seen)
    with torch.no_grad():
        whole = particles(pair, None, x, num_particles=n, mask=mask).log_weight
        repeated = x.repeat(n, 1)
        masks = None if mask is None else mask.expand_as(repeated)
        single = pair.step_bound(repeated, masks).unflatten(0, (n, 2))
    difference = whole.mean(0) - single.mean(0)
    error = ((whole.var(0) + single.var(0)) / n).sqrt()
    assert bool((difference.abs() < 4 * error).all())
    assert bool((error < 0.02 * whole.mean(0).abs()).all())


class OfOneDatum(nn.Module):
    """The noise in z_t when all data are u: exact, so that every KL of a step is 0."""

    def __init__(self, u: Tensor, noise: Noise) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros((), dtype=u.dtype))
        self.u, self.noise = u, noise

    def forward(self, z: Tensor, time: Tensor) -> Tensor:
        t = (time * len(self.noise)).round().long() - 1
        signal, spread = (v[t].unsqueeze(-1) for v in (self.noise.alpha_bar, self.noise.remaining))
        return (z - signal.sqrt() * self.u) / spread.sqrt()


@pytest.mark.parametrize("name", NOISES)
def test_a_network_that_knows_the_only_datum_has_the_exact_bound_and_draws_it(name: str) -> None:
    x = torch.tensor([[0.25, 1.0]]).double()
    exact = OfOneDatum(2 * x[0] - 1, Noise(NOISES[name](50)).double())
    pair = Diffusion(
        (2,), num_steps=50, noise=name, levels=5, denoiser=exact, predicts="noise"
    ).double()
    noise = exact.noise = pair.model.noise
    decoded = pair.decode({"z": torch.zeros(1, 50, 2).double()})["x"]  # û = u, whatever z is
    expected = float(decoded.log_prob(x) - noise.kl_to_prior(2 * x - 1, dims=1))
    for bound in (
        pair.step_bound(x.repeat(200, 1)).mean(),
        particles(pair, None, x, num_particles=2000).log_weight.mean(),
    ):
        assert float(bound) == pytest.approx(expected, abs=0.01)
    for sampler in (pair, pair.faster(7), pair.faster(7, eta=0.0)):
        drawn = generate(sampler, n=4)
        torch.testing.assert_close(drawn, decoded.mean.expand(4, -1))


def test_fewer_steps_are_a_model_of_their_own_that_shares_the_network() -> None:
    pair = tiny(num_steps=4, size=2)
    all_steps, half = pair.faster(4), pair.faster(2)
    x = torch.tensor([[0.0, 0.5]]).double()
    same = [particles(p, None, x, num_particles=3, seed=1) for p in (pair, all_steps)]
    z = same[0].latents["z"]
    chains = [p.model_sites["z"]["fn"].log_prob(z) for p in same]
    torch.testing.assert_close(*chains)
    assert half.model.denoiser is pair.model.denoiser
    assert half.model.noise.time.tolist() == [0.25, 1.0]
    assert type(half)(**half.config()).latent_sites["z"].event_shape == (2, 2)


def test_samples_without_noise_follow_from_the_first_and_have_no_score() -> None:
    pair = tiny(size=2)
    certain = pair.faster(3, eta=0.0)
    with pytest.raises(UsageError, match=r"eta 0\.0 is a way to draw samples"):
        particles(certain, None, torch.zeros(1, 2).double(), num_particles=1).log_prior  # noqa: B018
    torch.testing.assert_close(generate(certain, n=3, seed=2), generate(certain, n=3, seed=2))


def test_the_schedules_are_those_of_the_papers() -> None:
    assert NOISES["linear"](1000)[[0, -1]].tolist() == pytest.approx([1e-4, 0.02])
    alpha_bar = torch.cumprod(1 - NOISES["cosine"](100), 0)
    middle = (
        math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)
    ) ** 2
    assert float(alpha_bar[49]) == pytest.approx(middle)


def test_long_chains_keep_their_digits_in_float32() -> None:
    x = torch.rand(1, 16).mul(255).round() / 255
    pair = Diffusion((16,), num_steps=1000, denoiser="dense", hidden=[8])
    z = particles(pair, None, x, num_particles=1).latents["z"].detach()
    found = []
    for dtype in (torch.float32, torch.float64):
        sites = particles(pair.to(dtype), None, x.to(dtype), num_particles=1)
        found += [
            float(part["z"]["fn"].log_prob(z.to(dtype)).detach())
            for part in (sites.model_sites, sites.guide_sites)
        ]
    model, guide, exact_model, exact_guide = found
    assert model - guide == pytest.approx(exact_model - exact_guide, abs=0.5)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"num_steps": 0}, "num_steps must be at least 1"),
        ({"eta": 1.5}, "eta is a number from 0 to 1; got 1.5"),
        ({"eta": "0"}, "eta is a number from 0 to 1; got '0'"),
        ({"denoiser": nn.Bilinear(3, 1, 2)}, r"^the denoiser Bilinear of z \(2, 2\) .*\Z"),
        ({"num_steps": 5, "sampling_steps": 6}, "of 5 steps at most all are taken"),
        ({"noise": "pink"}, "unknown noise 'pink'"),
        ({"noise": torch.zeros}, "positive numbers"),
        ({"denoiser": "unet"}, r"a U-Net is of images \(C, H, W\)"),
        ({"hidden": 8}, "hidden must be Sequence.*; got 8"),
        ({"denoiser": "dense", "hidden": [8, 4]}, "blocks of one width"),
    ],
)
def test_impossible_options_are_refused(options: dict, line: str) -> None:
    with pytest.raises(UsageError, match=line):
        Diffusion((2,), **{"denoiser": "dense", "num_steps": 4, **options})


def test_objectives_of_a_step_are_of_diffusions_alone() -> None:
    x = torch.zeros(2, 1, 8, 8)
    for name in ("one_step", "noise_prediction"):
        with pytest.raises(UsageError, match="is of a diffusion, and VAE is none"):
            make_objective(VAE((1, 8, 8), hidden=[4]), name).value(x)
    simple = make_objective(tiny(size=2), "noise_prediction")
    assert "no bound on log p" in simple.remark
    assert make_objective(tiny(), "elbo").name == "elbo (one_step)"


def test_chains_are_inferred_by_guides_of_their_own() -> None:
    pair = tiny(num_steps=2)
    truth = evidence(pair, LEVELS, method="quadrature").value
    for guide in ("normal", "encoder"):
        bound = infer(pair, LEVELS, guide=guide, max_steps=20, starts=2).bound
        assert bool((bound.value < truth + 4 * bound.standard_error).all())
        assert bool((bound.value > truth - 3).all())
    for guide in ("low_rank", "flow", "amortised_flow"):
        with pytest.raises(UsageError, match=f"the guide {guide} is of vectors, and z is none"):
            infer(pair, LEVELS, guide=guide)
    p_z = particles(pair, None, LEVELS, num_particles=1).model_sites["z"]["fn"]
    drawn = p_z.sample((20_000,))
    error = drawn.std(0) / 8  # of 64 draws
    assert bool(((p_z.mean - drawn.mean(0)).abs() < 5 * error).all())
    assert bool((p_z.variance / drawn.var(0) - 1).abs().max() < 5 * math.sqrt(2 / 63))


def test_nothing_is_learned_or_completed_of_the_black_that_stands_for_unseen_pixels() -> None:
    pair, x, seen = tiny(size=2), torch.zeros(8, 2).double(), torch.tensor([True, False])
    done = complete(pair, x, seen, infer_options={"max_steps": 5, "starts": 2}, num_samples=2)
    assert done.samples.shape == (2, 8, 2)
    for guide in ("encoder", "encoder_zeros"):
        with pytest.raises(UsageError, match=r"own guide, which puts black .* such as normal\Z"):
            complete(pair, x, seen, guide=guide)
    with pytest.raises(UsageError, match=r"^a Diffusion learns of whole data: .*\Z"):
        fit(pair, Observed(x, mask=seen), epochs=1, progress=False)


def test_the_way_between_two_chains_is_no_figure() -> None:
    pair = Diffusion((1, 4, 4), num_steps=2, denoiser="dense", hidden=[4])
    with pytest.raises(UsageError, match=r"a cross-fade, and shows nothing of it\Z"):
        figures.interpolation(pair, torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4))


class OfOneNumber(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, z: Tensor, time: Tensor) -> Tensor:
        return self.weight * z[..., :1]


def test_a_denoiser_of_ones_own_that_returns_too_little_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match=r"each of z, \(2, 3\); OfOneNumber returned \(2, 1\)\Z"):
        Diffusion((3,), denoiser=OfOneNumber(), num_steps=2)
