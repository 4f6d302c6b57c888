"""The batched loop: every image stops on its own, and the rest go on as if it had never been."""

import math

import pytest
import torch
from torch import nn

from inference.posterior import Plateau, infer
from inference.posterior.guides.normal import NormalGuide
from inference.posterior.guides.per_datum import for_data, is_per_datum
from pyro_models import PPCA, VAE

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def ppca():
    torch.manual_seed(0)
    return PPCA(SHAPE, latent_dim=3).double()


@pytest.fixture(scope="module")
def x(ppca):
    torch.manual_seed(1)
    near, far = 0.1 * torch.randn(2, *SHAPE), 6 * torch.randn(2, *SHAPE)
    return torch.stack([near, far], 1).flatten(0, 1).double()


RULE = Plateau(window=5, min_improvement=1e-3, decays=1, patience=1)


@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
def test_images_that_stop_at_different_times_are_as_each_alone(ppca, x, optimizer):
    """A point has no noise, so a smaller batch is to the last digits what the larger one was."""
    options = {
        "guide": "point",
        "stopping": RULE,
        "optimizer": optimizer,
        "lr": 1e-3 if optimizer == "SGD" else 0.05,
        "max_steps": 200,
    }
    together = infer(ppca, x, **options)
    assert len(together.steps.unique()) > 1
    for i in (0, 1):
        alone = infer(ppca, x[i : i + 1], **options)
        assert int(alone.steps) == int(together.steps[i])
        assert alone.stopped[0] == together.stopped[i]
        torch.testing.assert_close(alone.mean["z"][0], together.mean["z"][i])


def test_chunks_bound_the_memory_and_change_nothing(ppca, x):
    options = {"guide": "point", "stopping": RULE, "max_steps": 60}
    whole = infer(ppca, x, **options)
    parts = infer(ppca, x, max_elements=64 * 3, **options)
    torch.testing.assert_close(parts.mean["z"], whole.mean["z"])
    assert torch.equal(parts.steps, whole.steps)


def test_noisy_fits_agree_within_their_noise_whatever_the_batch(ppca, x):
    x = 0.2 * x
    with torch.no_grad():
        log_p = ppca.exact_log_prob(x)
    rule = Plateau()
    together = infer(ppca, x, guide="full_covariance", stopping=rule)
    alone = infer(ppca, x[3:4], guide="full_covariance", stopping=rule)
    assert (log_p - together.bound.value).abs().max() < 0.05
    assert abs(float(log_p[3] - alone.bound.value)) < 0.05


def test_the_step_limit_is_told(ppca, x):
    posterior = infer(ppca, x, guide="normal", max_steps=7)
    assert set(posterior.stopped) == {"step limit"}
    assert posterior.steps.tolist() == [7] * len(x)


class Breaks(NormalGuide):
    """A guide whose second image leaves the numbers after some calls."""

    per_datum = ("bad",)

    def __init__(self, start, calls):
        super().__init__(start)
        self.calls = calls
        bad = torch.zeros(len(start["z"].mean), 1, dtype=torch.float64)
        bad[1] = 1
        self.register_buffer("bad", bad)

    def forward(self, x, *, y=None, n=None, mask=None):
        self.calls.append(len(x))
        if len(self.calls) > 12:
            loc = self.loc
            hurt = nn.ParameterDict()
            hurt["z"] = loc["z"]
            nothing = torch.zeros_like(self.bad)
            spoiled = loc["z"] + torch.where(self.bad.bool(), math.nan, nothing)
            self.__dict__["_spoiled"] = spoiled
            from pyro import sample
            from pyro.distributions import Normal

            from pyro_models.pair import data_plate

            with data_plate(x, n, x):
                q = Normal(spoiled, self.log_scale["z"].exp(), validate_args=False)
                sample("z", q.to_event(1))
        else:
            super().forward(x, y=y, n=n, mask=mask)


def test_an_image_that_leaves_the_numbers_stops_and_the_others_go_on(ppca, x):
    calls = []
    posterior = infer(
        ppca,
        x,
        guide=lambda given: Breaks(given.prior, calls),
        estimator="kl",
        stopping=Plateau(window=5),
        max_steps=60,
    )
    assert posterior.stopped[1] == "non-finite"
    assert "non-finite" not in posterior.stopped[:1] + posterior.stopped[2:]
    assert posterior.steps[1] < 15
    assert posterior.steps[0] > 15
    assert all(torch.isfinite(p).all() for p in posterior.guide.parameters())
    assert max(calls[20:]) == len(x) - 1


class SharedScale(nn.Module):
    """Means of each datum, one scale for all."""

    def __init__(self, start):
        super().__init__()
        self.loc = nn.Parameter(start["z"].mean.clone())
        self.log_scale = nn.Parameter(start["z"].scale[0].log())

    def forward(self, x, *, y=None, n=None, mask=None):
        import pyro
        import pyro.distributions as dist

        from pyro_models.pair import data_plate

        with data_plate(x, n, x):
            pyro.sample("z", dist.Normal(self.loc, self.log_scale.exp()).to_event(1))


def test_images_under_shared_weights_stop_together(ppca, x):
    posterior = infer(
        ppca,
        x,
        guide=lambda given: SharedScale(given.prior),
        stopping=Plateau(window=20, decays=1),
        max_steps=300,
    )
    assert len(posterior.steps.unique()) == 1
    with torch.no_grad():
        precision = ppca.exact_posterior(x).precision_matrix
    # the posteriors of PPCA have one covariance, so one scale loses nothing
    wanted = precision.diagonal(dim1=-2, dim2=-1).rsqrt().log()
    assert (posterior.guide.log_scale - wanted).abs().max() < 0.2
    assert posterior.num_parameters == 3 + 3 / len(x)


def test_shared_weights_see_all_images_in_parts_of_bounded_memory(ppca, x):
    options = {"guide": "amortised_flow", "max_steps": 3, "guide_options": {"hidden": (4,)}}
    parts = infer(ppca, x, max_elements=64 * 3, **options)
    assert len(parts) == 4
    for parameter, start in zip(
        parts.guide.parameters(),
        infer(ppca, x, lr=1e-12, **options).guide.parameters(),
        strict=True,
    ):
        assert parameter.isfinite().all()
        assert parameter.shape == start.shape
    assert parts.bound.value.isfinite().all()
    assert torch.equal(parts.select([3]).guide.mean_0, parts.guide.mean_0[3:])


def test_estimators_agree_on_the_optimum(ppca, x):
    rule = Plateau(window=25)
    path, kl = (
        infer(ppca, x, guide="normal", estimator=e, num_particles=4, stopping=rule)
        for e in ("path", "kl")
    )
    difference = path.elbo(num_particles=500).value - kl.elbo(num_particles=500).value
    assert difference.mean().abs() < 0.1


def test_a_plateau_is_seen_through_noise_and_a_rise_is_not_taken_for_one():
    generator = torch.manual_seed(0)
    rule = Plateau(window=25, min_improvement=0.0, noise_multiple=1.0, patience=2, decays=1)
    watch = rule.watch(2, torch.zeros(1))
    done_at = {}
    for window in range(40):
        steps = 3 * torch.randn(25, 2, generator=generator)
        mean = steps.mean(0).double() + torch.tensor([0.0, 2.0 * window])
        error = steps.std(0).double() / 5
        for i in watch.look(mean, error).nonzero().flatten().tolist():
            done_at.setdefault(i, window)
    assert done_at.keys() == {0}
    assert float(watch.factor[1]) == 1


def test_a_window_below_the_best_is_known_as_worse():
    watch = Plateau(window=10, min_improvement=0.5).watch(3, torch.zeros(1))
    watch.look(torch.zeros(3).double(), torch.full((3,), 0.1).double())
    mean = torch.tensor([-0.4, -0.6, -3.0]).double()
    assert watch.is_worse(mean, torch.full((3,), 0.1).double()).tolist() == [False, False, True]


def test_rows_of_a_guide_leave_the_guide_as_it_is():
    start = {"z": type("M", (), {"mean": torch.arange(8.0).view(4, 2), "scale": torch.ones(4, 2)})}
    guide = NormalGuide(start)
    part = for_data(guide, torch.tensor([3, 1]), 4)
    assert part.loc["z"].tolist() == [[6, 7], [2, 3]]
    with torch.no_grad():
        part.loc["z"].zero_()
    assert guide.loc["z"].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert is_per_datum(guide, 4)
    assert not is_per_datum(guide, 3)


def test_images_share_nothing_with_a_float32_pair_of_many_images():
    torch.manual_seed(2)
    vae = VAE(SHAPE, hidden=[8], latent_dim=2)
    posterior = infer(vae, torch.rand(50, *SHAPE), max_steps=5)
    assert posterior.mean["z"].dtype == torch.float32
    assert posterior.bound.value.shape == (50,)


def test_the_rule_has_the_names_of_training_and_takes_the_old_ones():
    with pytest.warns(DeprecationWarning, match="tolerance of Plateau is now min_improvement"):
        rule = Plateau(tolerance=0.5)
    assert rule == Plateau(min_improvement=0.5)
    with pytest.warns(DeprecationWarning, match="noise of Plateau is now noise_multiple"):
        assert Plateau(noise=2.0).noise_multiple == 2.0
    with pytest.warns(DeprecationWarning, match="tolerance is now min_improvement"):
        assert rule.tolerance == 0.5
