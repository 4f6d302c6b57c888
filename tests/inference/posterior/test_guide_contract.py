"""What every registered guide keeps to, with every kind of pair, whole or half-seen."""

from functools import cache

import pyro
import pytest
import torch

from inference.particles import particles
from inference.posterior import GUIDES, Plateau, infer
from pyro_models import CVAE, SemiSupervisedVAE, TwoLayerVAE, UsageError, load_data

SHAPE = (1, 8, 8)
LEFT = (torch.arange(8) < 4).expand(8, 8)
QUICK = {
    "hmc": {"num_samples": 6, "num_chains": 2, "warmup": 20, "num_leapfrog": 3},
    "nuts": {"num_samples": 4, "warmup": 20},
    "amortised_flow": {"hidden": (8,), "transforms": 1, "bins": 3},
    "flow": {"bins": 3},
}
PAIRS = {
    "cvae": lambda: CVAE(SHAPE, num_classes=10, hidden=[8], latent_dim=2),
    "two_layer_vae": lambda: TwoLayerVAE(
        SHAPE, latent_dims=[3, 2], hidden=[8], top_hidden=[4], likelihood="cross_entropy"
    ),
}
every_guide = pytest.mark.parametrize("guide", GUIDES)
every_pair = pytest.mark.parametrize("kind", list(PAIRS))


@cache
def pair_of(kind):
    torch.manual_seed(4)
    return PAIRS[kind]()


@cache
def data():
    split = load_data("digits").prepared("test")
    return split.x[:3], split.y[:3]


def call(guide, kind, *, half=True, rows=slice(None), x=None, **options):
    images, y = data()
    settings = {
        "guide_options": QUICK.get(guide),
        "stopping": Plateau(window=4, patience=1, decays=0),
        "max_steps": 10,
        **options,
    }
    return infer(
        pair_of(kind),
        (images if x is None else x)[rows],
        y=y[rows] if kind == "cvae" else None,
        mask=LEFT if half else None,
        guide=guide,
        **settings,
    )


@cache
def inferred(guide, kind):
    return call(guide, kind)


def state(pair):
    modules = [m for part in (pair.model, pair.guide) for m in part.modules()]
    return (
        {name: value.clone() for name, value in pair.state_dict().items()},
        [(p.requires_grad, p.grad) for p in pair.parameters()],
        [m.training for m in modules],
        torch.get_rng_state(),
        set(pyro.get_param_store()),
    )


def assert_same_state(before, after):
    for name, value in before[0].items():
        assert torch.equal(after[0][name], value), name
    assert before[1] == after[1]
    assert before[2] == after[2]
    assert torch.equal(before[3], after[3])
    assert before[4] == after[4]


@every_pair
@every_guide
def test_nothing_of_the_pair_changes(guide, kind):
    pair = pair_of(kind)
    pair.train()
    pair.model.eval()
    before = state(pair)
    posterior = call(guide, kind, half=False)
    posterior.sample(2)
    _ = posterior.mean
    assert_same_state(before, state(pair))
    assert not any(p.requires_grad for p in posterior.guide.parameters())


@every_pair
@every_guide
def test_a_seed_gives_the_same_whatever_stands_in_unseen_pixels_and_another_others(guide, kind):
    x = data()[0].clone()
    x[..., 4:] = torch.nan
    spoiled, clean = call(guide, kind, x=x), inferred(guide, kind)
    for name, value in clean.sample(3).items():
        assert torch.isfinite(value).all()
        assert torch.equal(spoiled.sample(3)[name], value)
        if guide != "point":
            assert not torch.equal(clean.sample(3, seed=2)[name], value)
    assert torch.equal(spoiled.steps, clean.steps)
    assert torch.equal(spoiled.complete(num_samples=2), clean.complete(num_samples=2))


@every_pair
@every_guide
def test_draws_are_finite_and_of_the_shapes_of_the_latents(guide, kind):
    posterior, pair = inferred(guide, kind), pair_of(kind)
    draws = posterior.sample(5)
    assert list(draws) == list(pair.latent_sites)
    for name, site in pair.latent_sites.items():
        assert draws[name].shape == (5, 3, *site.event_shape)
        assert torch.isfinite(draws[name]).all()
        assert posterior.mean[name].shape == (3, *site.event_shape)
    assert posterior.reconstruct().shape == (3, *SHAPE)
    assert posterior.reconstruct(latents="mean", pixels="sample").shape == (3, *SHAPE)


@every_pair
@every_guide
def test_seen_pixels_are_exactly_as_given(guide, kind):
    posterior, x = inferred(guide, kind), data()[0]
    seen = LEFT.expand(x.shape)
    assert torch.equal(posterior.complete(num_samples=3)[seen], x[seen])
    drawn = posterior.completions(2, pixels="mean")
    assert drawn.shape == (2, 3, *SHAPE)
    assert torch.equal(drawn[:, seen], x[seen].expand(2, -1))
    assert torch.isfinite(drawn).all()


@every_pair
@every_guide
def test_rows_of_a_posterior_are_posteriors(guide, kind):
    posterior = inferred(guide, kind)
    part = posterior.select([2, 0])
    assert len(part) == 2
    for name, mean in posterior.mean.items():
        if guide not in ("prior", "amortised_flow"):  # averages of draws
            torch.testing.assert_close(part.mean[name], mean[[2, 0]], atol=0.2, rtol=0.1)
    assert part.stopped == (posterior.stopped[2], posterior.stopped[0])
    booleans = posterior.select(torch.tensor([True, False, True]))
    assert torch.equal(booleans.steps, posterior.steps[[0, 2]])


@every_pair
@every_guide
def test_a_single_image_is_a_batch_of_one(guide, kind):
    posterior = call(guide, kind, rows=slice(1, 2))
    assert len(posterior) == 1
    assert all(torch.isfinite(m).all() for m in posterior.mean.values())
    # within reach of the image's own posterior in the batch: ten steps from the same start
    assert posterior.steps[0] <= 30  # ten of each family: normal, full covariance, the flow


@every_pair
@every_guide
def test_with_a_density_it_is_weighed_and_without_one_it_says_so(guide, kind):
    posterior, x = inferred(guide, kind), data()[0]
    y = data()[1] if kind == "cvae" else None
    if not posterior.density:
        for ask in (posterior.elbo, posterior.k_hat, lambda: posterior.importance_bound(5)):
            with pytest.raises(UsageError, match=r"has no density"):
                ask()
        return
    drawn = particles(pair_of(kind), posterior, x, num_particles=7, mask=LEFT, y=y)
    latents = {name: value.detach() for name, value in drawn.latents.items()}
    torch.testing.assert_close(
        posterior.log_prob(latents), drawn.log_q.detach(), atol=1e-3, rtol=1e-4
    )
    bound = posterior.bound
    assert bound.value.shape == bound.standard_error.shape == (3,)
    assert torch.isfinite(bound.value).all()
    assert (posterior.importance_bound(50).value > bound.value - 6 * bound.standard_error).all()
    size = posterior.effective_sample_size(50)
    assert ((size >= 1) & (size <= 50.001)).all()


@pytest.mark.parametrize("half", [False, True])
def test_labels_that_are_missing_are_summed_out_and_drawn(half):
    torch.manual_seed(0)
    pair = SemiSupervisedVAE(
        SHAPE, num_classes=3, hidden=[8], latent_dim=2, likelihood="cross_entropy"
    )
    x = data()[0]
    mask = LEFT if half else None
    quick = {"stopping": Plateau(window=4, patience=1, decays=0), "max_steps": 10, "mask": mask}
    for guide in ("auto_normal", "full_covariance", "refined", "laplace", "prior"):
        posterior = infer(pair, x, guide=guide, **quick)
        draws = posterior.sample(300)
        assert draws["y"].shape == (300, 3)
        assert set(draws["y"].unique().tolist()) <= {0, 1, 2}
        # how often a label is drawn agrees with p(y | z, x) averaged over z
        scores = torch.stack(
            [
                pair.decode({"z": draws["z"], "y": torch.full((300, 3), k)})["x"]
                .base_dist.log_prob(x)[..., : 4 if half else 8]
                .flatten(2)
                .sum(-1)
                for k in range(3)
            ],
            -1,
        ).softmax(-1)
        counts = torch.nn.functional.one_hot(draws["y"], 3).double()
        error = (counts.mean(0) - scores.mean(0)).abs()
        assert (error < 4.5 * (0.25 / 300) ** 0.5).all()
    known = infer(pair, x, y=torch.tensor([2, -1, 0]), guide="normal", **quick)
    drawn = known.sample(20)["y"]
    assert (drawn[:, 0] == 2).all()
    assert (drawn[:, 2] == 0).all()
