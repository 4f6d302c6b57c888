"""What may be going wrong is said once, early, and not where all is well."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from inference import compare, evaluate
from inference.evaluation import Evaluation
from inference.learning import CHECKS, Run, TrainingWarning, fit, register_check
from inference.learning.early_warnings import DIVERGED, EARLY, NOT_LEFT, Look
from inference.learning.history import Epoch
from inference.objectives import make_objective
from pyro_models import VAE, UsageError, load_data
from pyro_models.observed import Observed

DATA = load_data("digits", preparation="threshold")
QUICK: dict[str, Any] = {"batch_size": 100, "curve_size": 0, "progress": False}


def vae(**options: Any) -> VAE:
    torch.manual_seed(0)
    given = {"hidden": [16], "latent_dim": 5, "likelihood": "bernoulli", **options}
    return VAE(DATA.data_shape, **given)


def look(pair: Any = None, data: Any = DATA, **changes: Any) -> Look:
    """A training after its first epoch, in which nothing is wrong but what is changed."""
    pair = vae() if pair is None else pair
    some = data.prepared("train", limit=100)
    epoch = Epoch(1, -20.0, -20.0, -20.0, 1e-3, 1.0, 1.0)
    objective = changes.pop("objective", None) or make_objective(pair)
    own = Look(pair, data, objective, (epoch,), EARLY, -40.0, Observed(some.x))
    return replace(own, **changes)


def said(name: str, seen: Look) -> str:
    return CHECKS[name](seen)


def test_nothing_is_said_of_a_training_that_goes_well() -> None:
    history = fit(vae(), DATA, epochs=30, lr=1e-2, **QUICK).history  # a warning is an error here
    assert history.warnings == ()
    assert not history.diverged


def test_a_posterior_that_collapses_is_said_once_with_its_active_units() -> None:
    heavy = {"objective_options": {"beta": 100.0}, "lr": 1e-2}
    with pytest.warns(TrainingWarning, match="collapsed: 0 of 5 latent dimensions") as caught:
        history = fit(vae(), DATA, epochs=33, **heavy, **QUICK).history
    assert len(caught) == 1  # at epochs 32 and 33
    assert "KL(q ‖ p) is 0.0" in history.warnings[0]
    assert len(history.warnings) == 1


def without_encoder() -> VAE:
    """A pair whose q(z | x) is N(0, I) for every x."""
    pair = vae()
    for parameter in pair.guide.parameters():
        torch.nn.init.zeros_(parameter)
    pair.guide.encoder.head.linear.bias.data[5:] = math.log(math.e - 1)  # σ = 1
    return pair


def test_a_prior_that_is_never_left_is_said_in_place_of_collapse() -> None:
    seen = look(without_encoder(), earlier=(0.0, 0.01))
    assert "q(z | x) has been the prior all along" in said("prior_never_left", seen)
    assert "0 of 5" in said("prior_never_left", seen)
    assert not said("posterior_collapse", seen)


def test_a_prior_that_was_left_and_is_the_posterior_again_has_collapsed() -> None:
    seen = look(without_encoder(), earlier=(2 * NOT_LEFT,))
    assert not said("prior_never_left", seen)
    assert "collapsed: 0 of 5" in said("posterior_collapse", seen)


@pytest.mark.parametrize(("before", "wrong"), [(1.6, True), (0.8, False)])
def test_latents_that_come_into_use_one_by_one_have_not_collapsed(
    before: float, wrong: bool
) -> None:
    """A wide layer of a hierarchy was said to have collapsed while its KL grew fivefold."""
    pair = without_encoder()
    pair.guide.encoder.head.linear.bias.data[5:] = math.log(math.e**0.5 - 1)  # σ = ½: KL = 1.6
    assert bool(said("posterior_collapse", look(pair, earlier=(before,)))) is wrong


@pytest.mark.parametrize("name", ["prior_never_left", "posterior_collapse"])
def test_nobody_expects_latents_in_the_first_steps(name: str) -> None:
    assert not said(name, look(without_encoder(), steps=EARLY - 1))


def test_an_untrained_pair_with_an_encoder_uses_its_latents_or_is_said_not_to() -> None:
    use = look().use
    assert use is not None
    assert use.dimensions == 5
    assert use.kl > NOT_LEFT


def of(bound: float) -> tuple[Epoch, ...]:
    return (Epoch(1, bound, bound, bound, 1e-3, 1.0, 1.0),)


@pytest.mark.parametrize(("bound", "wrong"), [(-1.0, False), (0.5, True)])
def test_a_probability_of_discrete_data_is_at_most_one(bound: float, wrong: bool) -> None:
    assert bool(said("bound_too_high", look(epochs=of(bound)))) is wrong


@pytest.mark.parametrize(("bits", "wrong"), [(0.1, False), (-0.1, True)])
def test_dequantised_pixels_have_at_least_no_bits(bits: float, wrong: bool) -> None:
    data = load_data("digits", preparation="dequantised")  # 17 levels
    nats = 64 * (math.log(17) - bits * math.log(2))
    found = said("bound_too_high", look(vae(likelihood="gaussian"), data, epochs=of(nats)))
    assert bool(found) is wrong
    assert not wrong or "at most 0 bits" in found


def test_an_objective_that_bounds_nothing_may_have_any_value() -> None:
    pair = vae(likelihood="cross_entropy")
    assert not said("bound_too_high", look(pair, epochs=of(3.0)))
    tempered = make_objective(vae(), "elbo", {"beta": 0.1})
    assert not said("bound_too_high", look(objective=tempered, epochs=of(3.0)))


def test_a_scale_at_its_floor_is_said_with_its_share() -> None:
    data = load_data("digits", preparation="dequantised")
    pair = vae(likelihood="gaussian", likelihood_options={"scale": "pixel"})
    assert not said("scale_at_floor", look(pair, data))
    pair.likelihood.raw_scale.data[..., :2] = -30.0  # two of eight columns
    assert "σ stands at its floor for 25% of the pixels" in said("scale_at_floor", look(pair, data))
    fixed = vae(likelihood="gaussian", likelihood_options={"scale": 0.1})
    assert not said("scale_at_floor", look(fixed, data))


def test_a_training_that_diverges_is_said_and_goes_on() -> None:
    with pytest.warns(TrainingWarning, match="after 13 steps the training has diverged"):
        history = fit(vae(), DATA, epochs=2, lr=100.0, **QUICK).history
    assert len(history.epochs) == 2
    assert "find looks for one" in history.diverged


def test_a_bound_that_falls_a_little_has_not_diverged() -> None:
    ends = of(-40.0 - 0.9 * DIVERGED * 64), of(-40.0 - 1.1 * DIVERGED * 64)
    assert [bool(said("diverged", look(epochs=end))) for end in ends] == [False, True]
    assert not said("diverged", look(epochs=ends[1], steps=9))  # the first steps may jump


def test_a_run_that_is_resumed_does_not_repeat_itself(tmp_path: Any) -> None:
    how = {"lr": 100.0, "out": tmp_path / "run", **QUICK}
    with pytest.warns(TrainingWarning, match="diverged"):
        fit(vae(), DATA, epochs=1, **how)
    history = fit(vae(), DATA, epochs=2, resume=True, **how).history  # a warning is an error here
    assert len(history.warnings) == 1
    assert "diverged" in Run(tmp_path / "run").describe()["training"]["warnings"][0]


def test_a_check_of_ones_own_looks_at_every_training() -> None:
    @register_check("short")
    def short(seen: Look) -> str:
        return f"{seen.steps} steps are few"

    try:
        with pytest.warns(TrainingWarning, match="after 13 steps 13 steps are few"):
            fit(vae(), DATA, epochs=1, **QUICK)
    finally:
        del CHECKS["short"]


def test_a_check_that_raises_is_named() -> None:
    CHECKS["broken"] = lambda seen: 1 / 0
    try:
        with pytest.raises(UsageError, match="the check broken cannot be computed"):
            fit(vae(), DATA, epochs=1, **QUICK)
    finally:
        del CHECKS["broken"]


def test_looking_changes_no_number() -> None:
    first = fit(vae(), DATA, epochs=3, **QUICK)
    kept = dict(CHECKS)
    CHECKS.clear()
    try:
        second = fit(vae(), DATA, epochs=3, **QUICK)
    finally:
        CHECKS.update(kept)
    assert [e.running for e in first.history.epochs] == [e.running for e in second.history.epochs]
    for one, other in zip(first.pair.parameters(), second.pair.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_weight_beta_is_said_beside_the_scores(tmp_path: Any) -> None:
    few = {"num_particles": 2, "limit": 20}
    how = {"epochs": 1, "out": tmp_path / "run", "objective_options": {"beta": 4.0}}
    tempered = evaluate(fit(vae(), DATA, **how, **QUICK).pair, DATA, name="tempered", **few)
    usual = evaluate(fit(vae(), DATA, epochs=1, **QUICK).pair, DATA, name="usual", **few)
    table = compare([tempered, usual])
    assert table.remarks == {"tempered": "trained with β = 4"}
    assert "tempered: trained with β = 4" in table.to_text()
    assert "β" not in str(usual)
    assert "trained with β = 4" in str(tempered)
    assert Evaluation.from_json(tempered.to_json()).note == "trained with β = 4"
    again = evaluate(Run(tmp_path / "run").load_pair(), DATA, **few)
    assert again.note == "trained with β = 4"


def test_a_warm_up_that_was_cut_short_is_said() -> None:
    pair = fit(vae(), DATA, epochs=1, beta_warmup=2, **QUICK).pair
    assert evaluate(pair, DATA, num_particles=2, limit=20).note == "trained with β = 0.5"
