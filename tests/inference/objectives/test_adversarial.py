"""Adversarial training against what is known: by hand, of Gaussians, and that all else works."""

import json
import math
from dataclasses import replace

import pyro
import pytest
import torch
from torch import nn

from inference import figures
from inference.learning import Run, fit
from inference.objectives import (
    LOSSES,
    Adversarial,
    AdversarialAutoencoder,
    AdversarialLoss,
    make_objective,
)
from pyro_models import CVAE, GMM, PPCA, VAE, CompletionCVAE, Flow, Generator, UsageError

SHAPE = (1, 8, 8)
STILL = 1e-30  # a learning rate at which nothing moves


class Line(nn.Module):
    """G(z) = a z + b, as outputs of a likelihood."""

    def __init__(self, a=1.0, b=0.0):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor([a])), nn.Parameter(torch.tensor([b]))

    def forward(self, z):
        return (self.a * z + self.b).unsqueeze(-2)


class Quadratic(nn.Module):
    """s(x) = c₀ + c₁ x + c₂ x²: the log ratio of any two normals is among these."""

    def __init__(self, c=(0.0, 0.0, 0.0)):
        super().__init__()
        self.c = nn.Parameter(torch.tensor(c))

    def forward(self, x):
        return self.c[0] + self.c[1] * x + self.c[2] * x.square()


def line(a=1.0, b=0.0):
    return Generator((1,), latent_dim=1, sigma=0.1, decoder=Line(a, b)).double()


def game(pair, critic, **options):
    options = {"critic_lr": STILL, "r1": 0.0, **options}
    return make_objective(pair, Adversarial(critic=critic.double(), **options))


def by_hand(loss, real, fake):
    """The losses as the papers write them, D = σ(s)."""
    D_x, D_g = torch.sigmoid(real), torch.sigmoid(fake)
    entropy = -(D_x.log().mean() + (1 - D_g).log().mean())
    return {
        "non_saturating": (entropy, -D_g.log()),
        "minimax": (entropy, (1 - D_g).log()),
        "hinge": ((1 - real).clamp_min(0).mean() + (1 + fake).clamp_min(0).mean(), -fake),
        "wasserstein": (fake.mean() - real.mean(), -fake),
    }[loss]


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_and_the_generators_gradient_are_those_of_the_papers(loss):
    x = torch.randn(6, 1).double() + 2
    critic = Quadratic((0.3, -0.8, 0.2))
    objective = game(line(0.7, 0.4), critic, loss=loss, gradient_penalty=0.0)
    pyro.set_rng_seed(3)
    value = objective.backward(x)
    pyro.set_rng_seed(3)
    z = objective.pair.model.prior().expand([6]).sample()
    a, b = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.7, 0.4))
    of_critic, of_generator = by_hand(loss, critic(x).squeeze(-1), critic(a * z + b).squeeze(-1))
    of_generator.mean().backward()
    decoder = objective.pair.model.decoder.decoder
    assert value == pytest.approx(-of_generator.mean().item(), rel=1e-6)
    assert decoder.a.grad.item() == pytest.approx(a.grad.item(), rel=1e-6)
    assert decoder.b.grad.item() == pytest.approx(b.grad.item(), rel=1e-6)
    assert objective.measures()["critic_loss"] == pytest.approx(of_critic.item(), rel=1e-6)


def test_penalties_are_those_of_a_critic_with_a_known_gradient():
    w, x = torch.tensor([[3.0, -4.0, 12.0]]).double(), torch.randn(5, 3).double()
    linear = nn.Linear(3, 1).double()
    linear.weight.data.copy_(w)
    pair = Generator((3,), latent_dim=2, hidden=[4]).double()
    plain = game(pair, linear).critic_loss(x, -x)[0]
    penalised = game(pair, linear, gradient_penalty=2.0).critic_loss(x, -x)[0]
    assert (penalised - plain).item() == pytest.approx(2.0 * (13.0 - 1) ** 2, rel=1e-12)
    r1 = game(pair, linear, r1=3.0).critic_loss(x, -x)[0]
    assert (r1 - plain).item() == pytest.approx(3.0 / 2 * 169, rel=1e-12)
    curved = Quadratic((0.0, 0.5, 1.5)).double()  # ∇s = ½ + 3x, of scalar data
    x = x[:, :1]
    plain, r1 = (game(line(), curved, r1=r).critic_loss(x, x + 1)[0] for r in (0.0, 3.0))
    assert (r1 - plain).item() == pytest.approx(
        1.5 * float((0.5 + 3 * x).square().mean()), rel=1e-9
    )


def test_the_best_critic_is_p_over_p_and_q():
    """Of N(1, 1) against N(0, 1) the log ratio is x − ½."""
    critic = Quadratic()
    objective = game(line(), critic, loss="minimax", critic_lr=0.03, critic_betas=(0.9, 0.99))
    found = []
    for step in range(150):
        objective.backward(torch.randn(1000, 1).double() + 1)
        if step >= 75:
            found.append(critic.c.detach().clone())
    assert torch.stack(found).mean(0).tolist() == pytest.approx([-0.5, 1.0, 0.0], abs=0.05)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_line_learns_mean_and_spread_of_normal_data(loss):
    """G(z) = a z + b has the data's N(m, s²) at b = m, |a| = s."""
    m, s, pair = 1.0, 0.5, line(1.2, 0.0)
    objective = game(
        pair,
        Quadratic(),
        loss=loss,
        gradient_penalty=0.0,  # in one dimension it keeps a slope from turning
        r1=1.0 if loss == "wasserstein" else 0.3,
        critic_lr=0.03,
        critic_betas=(0.0, 0.9),
        critic_steps=2,
    )
    adam = torch.optim.Adam(pair.parameters(), lr=0.03, betas=(0.0, 0.9))
    slower = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.1, total_iters=200)
    decoder, found = pair.model.decoder.decoder, []
    with pyro.validation_enabled(False):
        for step in range(200):
            adam.zero_grad()
            objective.backward(m + s * torch.randn(100, 1).double())
            adam.step()
            slower.step()
            if step >= 140:
                found.append((decoder.a.abs().item(), decoder.b.item()))
    assert torch.tensor(found).mean(0).tolist() == pytest.approx([s, m], abs=0.1)


class Encoded(nn.Module):
    """q(z | x) = N(a x + b, 0.3²)."""

    def __init__(self):
        super().__init__()
        self.line = Line(2.0, 1.5)

    def forward(self, x):
        return pyro.distributions.Normal(self.line(x).squeeze(-2), 0.3).to_event(1)


def test_an_adversarial_autoencoder_matches_all_latents_together_to_the_prior():
    """Of x ~ N(0, 1) all z together are N(b, a² + 0.3²), the prior at b = 0, a² = 0.91."""
    flat = {"likelihood": "gaussian", "likelihood_options": {"scale": 1e3}}
    pair = VAE((1,), latent_dim=1, encoder=Encoded(), decoder=Line(), **flat).double()
    options = {"critic_lr": 0.03, "critic_betas": (0.0, 0.9), "critic_steps": 2, "r1": 0.3}
    game = AdversarialAutoencoder(critic=Quadratic().double(), **options)
    objective, found = make_objective(pair, game), []
    adam = torch.optim.Adam(pair.guide.parameters(), lr=0.03, betas=(0.0, 0.9))
    slower = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.1, total_iters=200)
    line = pair.guide.encoder.line
    with pyro.validation_enabled(False):
        for step in range(200):
            adam.zero_grad()
            objective.backward(torch.randn(100, 1).double())
            adam.step()
            slower.step()
            if step >= 140:
                found.append((line.a.square().item(), line.b.item()))
    assert torch.tensor(found).mean(0).tolist() == pytest.approx([0.91, 0.0], abs=0.15)
    assert objective.unit == "nats per datum"
    with pytest.raises(UsageError, match="one continuous latent, which its guide samples"):
        make_objective(GMM((4,), num_components=2), game).check(torch.rand(2, 4))


def gan(**options):
    torch.manual_seed(0)
    return Generator(SHAPE, **{"latent_dim": 4, "hidden": [16, 12], "batch_norm": True, **options})


SMALL = {
    "objective": "adversarial",
    "objective_options": {
        "critic": {"class_path": "dense", "init_args": {"hidden": [16], "dropout": 0.2}}
    },
    "optimizer_options": {"betas": (0.5, 0.999)},
    "batch_size": 64,
    "epochs": 3,
    "progress": False,
}


def test_resumed_it_ends_bit_for_bit_and_keeps_its_curves(few, tmp_path):
    whole = fit(gan(), few, out=tmp_path / "whole", **SMALL)
    fit(gan(), few, out=tmp_path / "torn", **{**SMALL, "epochs": 1})
    again = fit(gan(), few, out=tmp_path / "torn", resume=True, **SMALL)
    weights = [tmp_path / name / "weights.safetensors" for name in ("whole", "torn")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    states = [Run(tmp_path / name).load_checkpoint()["objective"] for name in ("whole", "torn")]
    assert states[0]["steps"] == states[1]["steps"] == 9
    for name, value in states[0]["critic"].items():
        assert torch.equal(value, states[1]["critic"][name])
    same = [[replace(e, seconds=0) for e in f.history.epochs] for f in (whole, again)]
    assert same[0] == same[1]
    history = whole.history
    assert history.not_recorded == "the adversarial objective updates a critic of its own"
    assert "trains no guide" in history.remark
    last = history.epochs[-1]
    assert last.train is None
    assert last.running == pytest.approx(-last.measures["generator_loss"], rel=1e-5)
    described = json.loads((tmp_path / "whole" / "run.json").read_text())["training"]["measures"]
    assert described == last.measures
    header = (tmp_path / "whole" / "history.csv").read_text().partition("\n")[0]
    assert header.endswith("critic_loss,accuracy_real,accuracy_fake,diversity,gradient")
    drawn = figures.learning_curves(history)
    assert [axes.get_ylabel() for axes in drawn.axes][1:] == ["loss", "share"]
    with pytest.raises(UsageError, match="begun with objective_options"):
        fit(gan(), few, out=tmp_path / "torn", resume=True, **{**SMALL, "objective_options": {}})


def test_several_seeds_have_a_critic_each(few, tmp_path):
    alone = fit(gan(), few, out=tmp_path / "one", **{**SMALL, "epochs": 1})
    both = fit(gan(), few, seeds=[0, 1], **{**SMALL, "epochs": 1})
    assert all(f.history.not_at_once for f in both.fits)
    losses = [f.history.epochs[0].measures["critic_loss"] for f in (alone, *both.fits)]
    assert losses[1] != losses[2]
    mine = {"critic": nn.Sequential(nn.Flatten(), nn.Linear(64, 1))}
    with pytest.raises(UsageError, match="give its name or class"):
        fit(gan(), few, seeds=[0, 1], **{**SMALL, "objective_options": mine})


COUPLINGS = {"class_path": "dense", "init_args": {"hidden": [8]}}


@pytest.mark.parametrize(
    ("pair", "options"),
    [
        (lambda: VAE(SHAPE, hidden=[8], likelihood="gaussian"), {}),
        (lambda: VAE(SHAPE, hidden=[8], likelihood="gaussian"), {"pixels": "sample"}),
        (lambda: VAE(SHAPE, hidden=[8], likelihood="cross_entropy"), {"pixels": "mean"}),
        (lambda: PPCA(SHAPE, latent_dim=2), {"critic": "conv", "loss": "hinge"}),
        (lambda: gan(network="conv", hidden=[4, 8]), {"critic_steps": 2, "loss": "wasserstein"}),
        (lambda: Flow(SHAPE, flow=COUPLINGS, dequantise=None), {}),
    ],
)
def test_whatever_is_sampled_with_gradients_is_trained_and_its_guide_is_not(pair, options, few):
    made = pair()
    data = few.with_preparation(made.likelihood.preparation)
    before = {name: p.detach().clone() for name, p in made.named_parameters()}
    fit(made, data, **{**SMALL, "epochs": 1, "objective_options": options})
    moved = {n for n, p in made.named_parameters() if not torch.equal(p, before[n])}
    assert any(n.startswith("model.") for n in moved)
    assert not any(n.startswith("guide.") for n in moved)


class Wide(nn.Module):
    def __init__(self, shape=(), outputs=2):
        super().__init__()
        self.linear = nn.Linear(math.prod(SHAPE), outputs)

    def forward(self, x):
        return self.linear(x.flatten(1))


@pytest.mark.parametrize(
    ("pair", "options", "settings", "said"),
    [
        (gan, {"critic": Wide()}, {}, r"one number for each datum, \(2,\) or \(2, 1\); Wide ret"),
        (gan, {"critic": nn.Linear(5, 1)}, {}, r"critic Linear of data of shape \(1, 8, 8\)"),
        (gan, {"critic": "nope"}, {}, "unknown critic 'nope': choose from dense, conv"),
        (
            gan,
            {"critic": {"class_path": "dense", "init_args": {"layers": 3}}},
            {},
            "critic dense.*layers",
        ),
        (gan, {"critic": nn.Flatten()}, {}, "number for each datum"),
        (gan, {"loss": "nope"}, {}, "unknown adversarial loss 'nope': choose from non_saturating"),
        (gan, {"r1": -1.0}, {}, "r1 cannot be negative"),
        (gan, {"critic_steps": 0}, {}, "critic_steps must be at least 1"),
        (gan, {"critic_betas": (0.5, 1.0)}, {}, "decay rate"),
        (gan, {"critic_betas": ("a", "b")}, {}, "critic_betas are two numbers; got"),
        (
            gan,
            {"critic": {"class_path": "conv", "init_args": {"hidden": 8}}},
            {},
            "critic conv: hidden must be Sequence.*; got 8",
        ),
        (gan, {"pixels": "grey"}, {}, "pixels is mean or sample"),
        (gan, {"slope": 1}, {}, "no option slope; it has critic, loss"),
        (gan, {}, {"patience": 2}, "no better model"),
        (gan, {}, {"beta_warmup": 2}, "β warm-up is not defined"),
        (gan, {}, {"capture": True}, "updates a critic of its own"),
        (gan, {}, {"mask": "left"}, "no mask"),
        (lambda: VAE(SHAPE, hidden=[8], likelihood="bernoulli"), {}, {}, "bernoulli has none"),
        (lambda: VAE(SHAPE, hidden=[8], likelihood="categorical"), {}, {}, "categorical has none"),
        (lambda: GMM(SHAPE, num_components=2), {}, {}, "latent 'k' of GMM has none"),
        (lambda: Flow(SHAPE, flow=COUPLINGS, levels=17), {}, {}, "gradients through samples"),
        (lambda: Flow(SHAPE, flow=COUPLINGS, levels=17), {"pixels": "mean"}, {}, "moves its samp"),
        (lambda: CVAE(SHAPE, num_classes=10, hidden=[8]), {}, {}, "given labels or pixels"),
        (lambda: CompletionCVAE(SHAPE, hidden=[8]), {}, {}, "given labels or pixels"),
    ],
)
def test_what_no_critic_can_train_is_one_line(pair, options, settings, said, few):
    made = pair()
    data = few.with_preparation(made.likelihood.preparation)
    given = {**SMALL, "objective_options": options, **settings}
    with pytest.raises(UsageError, match=rf"^.*{said}.*\Z"):
        fit(made, data, **given)


def test_what_is_not_finite_is_found_in_the_critic(few):
    class Overflowing(Wide):
        def forward(self, x):
            return super().forward(x) * (math.inf if self.training else 1.0)

    with pytest.raises(UsageError, match=r"epoch 1, step 1 .* the critic's loss"):
        fit(gan(), few, **{**SMALL, "objective_options": {"critic": Overflowing(outputs=1)}})


def test_a_critic_that_has_won_and_collapsed_samples_are_said_once(few):
    """Against log(1 − D) a critic far ahead leaves no gradient."""
    x = few.split("train").x[:64]
    weak = {"loss": "minimax", "r1": 0.0, "critic_lr": 0.01}
    objective = make_objective(gan(batch_norm=False), Adversarial(**weak))

    def play(objective, steps):
        for _ in range(steps):
            objective.backward(x)
        objective.measures()

    with pytest.warns(UserWarning, match="critic has won") as said:
        [play(objective, 10) for _ in range(6)]
    assert len(said) == 1
    objective = make_objective(gan(batch_norm=False), Adversarial(critic_lr=STILL))
    objective.steps = 299  # as if nobody had looked for so long
    with pytest.warns(UserWarning, match="samples have collapsed") as said:
        [play(objective, 1) for _ in range(2)]
    assert len(said) == 1


def test_a_loss_of_ones_own_is_an_object(few):
    squares = AdversarialLoss(
        lambda real, fake: (real - 1).square().mean() + fake.square().mean(),
        lambda s: (s - 1).square(),
    )
    pair, x = gan(), few.split("train").x[:8]
    assert make_objective(pair, Adversarial(loss=squares)).backward(x) < 0
