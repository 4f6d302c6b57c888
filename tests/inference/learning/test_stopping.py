"""Stopping knows the noise of the bound it watches."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from inference.learning import fit
from inference.learning.history import Epoch
from inference.learning.stopping import EarlyStopping, paired_difference
from inference.objectives import make_objective
from pyro_models import GMM, VAE, UsageError
from pyro_models.seeds import seeded

NOISE = 0.5  # of the difference between two epochs, per datum
NUM_DATA = 400


def epoch(number, bound):
    return Epoch(number, bound, None, bound, 1e-3, 1.0, 0.0)


def curve(seed, *, rise, epochs=40):
    """Bounds per datum that differ much between data and rise by so much, noisily, each epoch."""
    generator = torch.Generator().manual_seed(seed)
    hardness = 100 * torch.randn(NUM_DATA, generator=generator, dtype=torch.float64)
    for number in range(1, epochs + 1):
        noise = NOISE / math.sqrt(2) * torch.randn(NUM_DATA, generator=generator)
        yield number, hardness + rise * number + noise


def watched(values_by_epoch, **options):
    """The epoch at which stopping says so, or None, and the stopping."""
    stopping = EarlyStopping(
        **{"patience": 5, "min_improvement": 0.0, "keep_weights": False, **options}
    )
    for number, values in values_by_epoch:
        stopping.look(epoch(number, float(values.mean())), SimpleNamespace(), values)
        if stopping.reason:
            return number, stopping
    return None, stopping


def test_the_paired_error_is_that_of_the_differences_and_not_of_the_bounds():
    before = torch.tensor([10.0, -20.0, 300.0, 4.0], dtype=torch.float64)
    now = before + torch.tensor([1.0, 2.0, 3.0, 6.0])
    mean, error = paired_difference(now, before)
    assert mean == pytest.approx(3.0)
    assert error == pytest.approx(math.sqrt((4 + 1 + 0 + 9) / 3 / 4))
    assert paired_difference(now, now) == (0.0, 0.0)


def test_the_paired_error_is_the_spread_of_the_mean_difference_over_data_sets():
    means, errors = [], []
    for seed in range(300):
        pairs = list(curve(seed, rise=0.2, epochs=2))
        mean, error = paired_difference(pairs[1][1], pairs[0][1])
        means.append(mean)
        errors.append(error)
    spread = float(torch.tensor(means).std())
    assert float(torch.tensor(errors).mean()) == pytest.approx(
        NOISE / math.sqrt(NUM_DATA), rel=0.02
    )
    assert spread == pytest.approx(NOISE / math.sqrt(NUM_DATA), rel=4 / math.sqrt(2 * 300))
    assert float(torch.tensor(means).mean()) == pytest.approx(0.2, abs=4 * spread / math.sqrt(300))


@pytest.mark.parametrize("seed", range(5))
def test_a_curve_that_rises_by_less_than_its_noise_stops(seed):
    error = NOISE / math.sqrt(NUM_DATA)
    stopped, stopping = watched(curve(seed, rise=0.1 * error), noise_multiple=3.0)
    assert stopped is not None
    assert stopped <= 12
    assert "3 standard errors of the paired difference (last" in stopping.reason
    assert f"± {error:.3f}" in stopping.reason or "± 0.02" in stopping.reason
    assert "for 5 epochs" in stopping.reason


@pytest.mark.parametrize("seed", range(5))
def test_a_curve_that_rises_beyond_its_noise_goes_on(seed):
    error = NOISE / math.sqrt(NUM_DATA)
    assert watched(curve(seed, rise=2 * error), noise_multiple=3.0)[0] is None
    # and within patience a slow rise adds up: 5 × 0.9 > 3
    assert watched(curve(seed, rise=1.4 * error), noise_multiple=3.0)[0] is None


def test_without_the_noise_the_same_flat_curve_goes_on_for_longer():
    later = 0
    for seed in range(10):
        plain = watched(curve(seed, rise=0.0))[0] or 41
        wary = watched(curve(seed, rise=0.0), noise_multiple=3.0)[0] or 41
        assert wary <= plain
        later += plain > wary
    assert later >= 5


def test_both_thresholds_must_be_passed():
    rising = [(i, torch.tensor([1.0, 2.0, 3.0]) + 0.1 * i) for i in range(1, 20)]  # no noise at all
    assert watched(rising, noise_multiple=3.0)[0] is None
    stopped, stopping = watched(rising, noise_multiple=3.0, min_improvement=1.0)
    assert stopped == 6
    assert "more than 1 nats and 3 standard errors" in stopping.reason


def test_what_is_seen_is_taken_up_again():
    half = list(curve(0, rise=0.0))
    whole, _ = watched(half, noise_multiple=3.0)
    options = {"patience": 5, "min_improvement": 0.0, "keep_weights": False, "noise_multiple": 3.0}
    first = EarlyStopping(**options)
    for number, values in half[:3]:
        first.look(epoch(number, float(values.mean())), SimpleNamespace(), values)
    second = EarlyStopping(**options)
    second.load_state(first.state())
    for number, values in half[3:whole]:
        assert not second.reason
        second.look(epoch(number, float(values.mean())), SimpleNamespace(), values)
    assert second.reason


def test_the_values_have_the_bound_as_mean(few):
    pair = GMM((1, 8, 8), num_components=3)  # enumerated: the bound has no noise of its own
    x = few.with_preparation("dequantised").prepared("train").x
    pair.start_from(x, seed=0)
    objective = make_objective(pair)
    for part in (x, x[:131], x[:7]):
        values = objective.values(part)
        assert len(values) >= min(20, len(part))
        assert float(values.mean()) == pytest.approx(objective.value(part), rel=1e-5)


def test_stopping_by_noise_resumes_bit_for_bit(few, tmp_path):
    def train(epochs, **options):
        with seeded(0, torch.device("cpu")):
            pair = VAE((1, 8, 8), hidden=[8], latent_dim=2)
        noise = {"patience": 2, "noise_multiple": 25.0, "restore_best": True}
        how = {"lr": 3e-3, "curve_size": 0, "progress": False, **noise}
        return fit(pair, few, epochs=epochs, **how, **options)

    whole = train(12, out=tmp_path / "whole")
    train(2, out=tmp_path / "parts")
    parts = train(12, out=tmp_path / "parts", resume=True)
    assert 2 < len(whole.history.epochs) < 12
    assert "25 standard errors of the paired difference" in whole.history.stopped
    assert parts.history.stopped == whole.history.stopped
    assert [e.validation for e in parts.history.epochs] == [
        e.validation for e in whole.history.epochs
    ]
    theirs = dict(whole.pair.named_parameters())
    for name, parameter in nn.Module.named_parameters(parts.pair):
        assert torch.equal(parameter, theirs[name])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"patience": 2, "noise_multiple": -1.0}, "noise_multiple cannot be negative; got -1"),
        ({"patience": 2, "noise_multiple": math.nan}, "noise_multiple cannot be negative"),
        ({"noise_multiple": 2.0}, "give patience too"),
    ],
    ids=str,
)
def test_noise_that_means_nothing_is_refused(options, says, few):
    with pytest.raises(UsageError, match=says):
        fit(VAE((1, 8, 8), hidden=[8]), few, progress=False, **options)


def test_one_datum_has_no_noise():
    with pytest.raises(UsageError, match="at least two validation data"):
        watched([(1, torch.ones(1))], noise_multiple=1.0)
    stopping = EarlyStopping(
        patience=1, min_improvement=0.0, keep_weights=False, noise_multiple=1.0
    )
    with pytest.raises(UsageError, match="per datum"):
        stopping.look(epoch(1, 0.0), SimpleNamespace())
