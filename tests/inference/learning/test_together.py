"""Copies of a pair that are trained as one are each what the pair's own training gives."""

import pytest
import torch

from inference import Fits, fit
from inference.learning import NonFiniteError, Run
from pyro_models import CVAE, GMM, VAE, SemiSupervisedVAE, TwoLayerVAE, UsageError
from pyro_models.seeds import seeded

SHAPE = (1, 8, 8)
SEEDS = (3, 8)


def vae(**options):
    return VAE(SHAPE, hidden=[12], latent_dim=2, **{"likelihood": "cross_entropy", **options})


def two_layers():
    options = {"latent_dims": [3, 2], "hidden": [8], "top_hidden": [8]}
    return TwoLayerVAE(SHAPE, likelihood="cross_entropy", **options)


CASES = {
    "uneven": (vae, {"batch_size": 50}),
    "iwae": (vae, {"objective": "iwae", "objective_options": {"num_particles": 3}}),
    "two layers": (two_layers, {}),
    "gmm": (lambda: GMM(SHAPE, num_components=3), {}),
    "half seen": (vae, {"mask": "random"}),
    "labels": (lambda: CVAE(SHAPE, num_classes=10, hidden=[8], likelihood="cross_entropy"), {}),
    "dynamic": (lambda: vae(likelihood="bernoulli"), {}),
    "clipped": (vae, {"clip_norm": 0.5}),
    "warm-up": (vae, {"beta_warmup": 1}),
    "schedule": (vae, {"schedule": "CosineAnnealingLR", "optimizer": "SGD", "lr": 1e-4}),
    "momentum": (vae, {"optimizer": "RMSprop", "optimizer_options": {"momentum": 0.5}}),
    "of pyro": (vae, {"objective": "trace_graph"}),
    "score function": (vae, {"objective": "rws", "objective_options": {"num_particles": 3}}),
}


def prepared(name, few):
    return few.with_preparation({"dynamic": "dynamic", "gmm": "dequantised"}.get(name, "grey"))


def options_of(options):
    usual = {"batch_size": 32, "epochs": 2, "lr": 3e-3, "curve_size": 0, "progress": False}
    return {**usual, **options}


def alone(make, data, seed, **options):
    """As the command line trains with this seed, in float64."""
    with seeded(seed, torch.device("cpu")):
        pair = make().double()
    return fit(pair, data, seed=seed, **options_of(options))


def assert_same(one, other):
    assert len(one.history.epochs) == len(other.history.epochs)
    for mine, own in zip(one.history.epochs, other.history.epochs, strict=True):
        assert mine.running == pytest.approx(own.running, rel=1e-9)
        assert (mine.learning_rate, mine.beta) == (own.learning_rate, own.beta)
        if own.validation is not None:
            assert mine.validation == pytest.approx(own.validation, rel=1e-9)
    for mine, own in zip(one.pair.parameters(), other.pair.parameters(), strict=True):
        assert torch.allclose(mine, own, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_each_copy_is_its_own_training(name, few, capfd):
    make, options = CASES[name]
    data, pattern = prepared(name, few), make().double()
    before = [p.clone() for p in pattern.parameters()]
    result = fit(pattern, data, seeds=SEEDS, **options_of(options))
    assert isinstance(result, Fits)
    assert all(torch.equal(p, b) for p, b in zip(pattern.parameters(), before, strict=True))
    for seed, copy in zip(SEEDS, result.fits, strict=True):
        assert (copy.history.at_once, copy.history.not_at_once) == (2, "")
        assert_same(copy, alone(make, data, seed, **options))
    assert "Warning" not in capfd.readouterr().err  # of a kernel, about its shapes


def test_a_copy_that_stops_early_keeps_what_it_was_and_the_others_go_on(few):
    options = {"epochs": 8, "patience": 1, "restore_best": True, "lr": 0.03, "min_improvement": 0.3}
    seeds = (0, 1, 2)
    result = fit(vae().double(), few, seeds=seeds, **options_of(options))
    ended = {len(each.history.epochs) for each in result.fits}
    assert len(ended) > 1, ended
    for seed, copy, bound in zip(seeds, result.fits, result.bounds, strict=True):
        own = alone(vae, few, seed, **options)
        assert copy.history.best_epoch == own.history.best_epoch
        assert copy.history.stopped[:30] == own.history.stopped[:30]
        assert bound == pytest.approx(own.history.epochs[own.history.best_epoch - 1].validation)
        assert_same(copy, own)
    assert result.mean == pytest.approx(sum(result.bounds) / 3)
    assert "over 3 seeds" in str(result)


def test_every_seed_has_an_ordinary_run_folder_that_can_be_gone_on_with(few, tmp_path):
    pair, whole = vae().double(), tmp_path / "whole"
    fit(pair, few, seeds=SEEDS, out=whole, **options_of({}))
    half = tmp_path / "half"
    fit(pair, few, seeds=SEEDS, out=half, **options_of({"epochs": 1}))
    gone_on = fit(pair, few, seeds=SEEDS, out=half, resume=True, **options_of({}))
    for seed, each in zip(SEEDS, gone_on.fits, strict=True):
        run = Run(whole / f"seed-{seed}")
        assert run.describe()["settings"]["seed"] == seed
        assert run.describe()["training"]["at_once"] == 2
        loaded = run.load_pair()
        for mine, own in zip(each.pair.parameters(), loaded.parameters(), strict=True):
            assert torch.equal(mine, own)
    size = (whole / f"seed-{SEEDS[0]}" / "checkpoint.pt").stat().st_size
    alone(vae, few, SEEDS[0], out=tmp_path / "alone")
    own = (tmp_path / "alone" / "checkpoint.pt").stat().st_size
    assert size == pytest.approx(own, rel=0.05)
    # a single run goes on where several stopped
    further = options_of({"epochs": 3, "seed": SEEDS[1]})
    one = fit(vae().double(), few, out=half / f"seed-{SEEDS[1]}", resume=True, **further)
    assert_same(one, alone(vae, few, SEEDS[1], epochs=3))


@pytest.mark.parametrize(
    ("make", "options", "says"),
    [
        (vae, {"capture": False}, "capture is off"),
        (vae, {"schedule": "ReduceLROnPlateau"}, "own bound"),
        (
            lambda: SemiSupervisedVAE(
                SHAPE, num_classes=10, hidden=[8], likelihood="cross_entropy"
            ),
            {},
            "labels",
        ),
    ],
)
def test_what_cannot_be_at_once_is_trained_in_turn_and_says_why(make, options, says, few):
    result = fit(make().double(), few, seeds=SEEDS, **options_of({"epochs": 1, **options}))
    for seed, copy in zip(SEEDS, result.fits, strict=True):
        assert says in copy.history.not_at_once
        assert copy.history.at_once == 1
        own = alone(make, few, seed, epochs=1, **options)
        for mine, theirs in zip(copy.pair.parameters(), own.pair.parameters(), strict=True):
            assert torch.equal(mine, theirs)


def test_what_is_not_finite_is_named_with_its_seed(few):
    """The step and site are those of the copy's own training."""
    options = options_of({"batch_size": 8, "optimizer": "SGD", "lr": 1e3})
    own = {}
    for seed in SEEDS:
        with pytest.raises(NonFiniteError) as caught:
            alone(vae, few, seed, **options)
        own[seed] = f"seed {seed}: {caught.value}"
    with pytest.raises(NonFiniteError) as caught:
        fit(vae().double(), few, seeds=SEEDS, **options)
    assert str(caught.value) in own.values()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seeds": []}, "seeds are one or more"),
        ({"seeds": [1, 1]}, "each once"),
        ({"seeds": 3}, "got 3"),
        ({"seeds": [-1]}, "a seed is"),
        ({"seeds": [0, 1], "seed": 2}, "or one seed"),
        ({"seeds": [0, 1], "resume": True}, "resume needs out"),
    ],
)
def test_refusals(options, says, few):
    with pytest.raises(UsageError, match=says):
        fit(vae(), few, progress=False, **options)


def test_an_optimizer_of_one_pair_and_a_folder_of_another_kind_are_refused(few, tmp_path):
    pair = vae()
    with pytest.raises(UsageError, match="give its name"):
        fit(pair, few, seeds=[0, 1], optimizer=torch.optim.Adam(pair.parameters()))
    fit(pair, few, out=tmp_path / "one", **options_of({"epochs": 0}))
    with pytest.raises(UsageError, match="no runs of several seeds"):
        fit(pair, few, seeds=[0, 1], out=tmp_path / "one", **options_of({}))
    fit(pair, few, seeds=[0], out=tmp_path / "two", **options_of({"epochs": 0}))
    with pytest.raises(UsageError, match="already holds a run"):
        fit(pair, few, seeds=[1, 0], out=tmp_path / "two", **options_of({"epochs": 0}))
    assert not (tmp_path / "two" / "seed-1").exists()
