"""Pruning: what is behind by more than noise ends early, and is said and not compared."""

import csv

import pytest

from inference import sweep
from inference.learning import Run
from inference.selection.pruning import Halving, Median, make_pruning
from pyro_models import UsageError

QUICK = {"epochs": 4, "curve_size": 50, "num_particles": 2, "progress": False}
GRID = {"lr": [1e-2, 2e-2, 3e-2, 1e-7]}
RULE = {"min_settings": 2}


def swept(few, out, **options):
    how = {"grid": GRID, "seeds": [0, 1], "options": {"hidden": [8], "latent_dim": 2}, **QUICK}
    return sweep("vae", few, out=out, **{**how, **options})


def curves(*ends, seeds=2, spread=0.1):
    """Settings that end at these bounds, seeds apart by a spread."""
    return [[[end - 5.0, end + i * spread] for i in range(seeds)] for end in ends]


@pytest.mark.parametrize("rule", [Median(min_settings=3), Halving(min_settings=3, factor=2)])
def test_what_is_within_noise_is_never_pruned(rule):
    others = curves(-10.0, -10.0, -10.0, -10.0)
    assert rule([[-99.0, -11.0]], others, epoch=2, epochs=4) is not None
    assert rule([[-99.0, -10.1]], others, epoch=2, epochs=4) is None
    noisy = curves(-10.0, -10.0, -10.0, -10.0, spread=2.0)
    assert rule([[-99.0, -11.0]], noisy, epoch=2, epochs=4) is None


def test_the_noise_of_what_went_astray_protects_nobody():
    others = [*curves(-10.0, -10.2, -10.4), [[-1e6, -1e6], [-1e3, -1e3]]]
    assert Median(min_settings=3)([[-99.0, -14.0]], others, epoch=2, epochs=4) is not None


def test_the_median_spares_the_beginning_and_the_few():
    others = curves(-10.0, -10.0, -10.0)
    assert Median(min_settings=3, warmup=0.8)([[-99.0, -50.0]], others, epoch=2, epochs=4) is None
    assert Median(min_settings=4)([[-99.0, -50.0]], others, epoch=2, epochs=4) is None


def test_halving_looks_at_its_rungs_alone_and_keeps_one_in_so_many():
    others = curves(-1.0, -2.0, -3.0, -4.0, -5.0)
    rule = Halving(factor=3, first_rung=2, min_settings=3)
    assert rule([[-9.0, -4.0]], others, epoch=2, epochs=9) is not None
    assert rule([[-9.0, -1.9]], others, epoch=2, epochs=9) is None
    longer = [[[*bounds, bounds[-1]] for bounds in each] for each in others]
    assert rule([[-9.0, -4.0, -4.0]], longer, epoch=3, epochs=9) is None


def test_one_seed_alone_knows_no_noise_unless_it_is_given():
    others = curves(-10.0, -10.0, -10.0, seeds=1)
    assert Median(min_settings=3)([[-99.0, -50.0]], others, epoch=2, epochs=4) is None
    given = Median(min_settings=3, noise=0.1)
    assert given([[-99.0, -50.0]], others, epoch=2, epochs=4) is not None


def test_a_setting_far_behind_ends_early_is_said_and_not_compared(few, tmp_path):
    found = swept(few, tmp_path, prune="median", prune_options=RULE)
    behind = found.rows[-1]
    assert behind.pruned.startswith("seed 0 pruned at epoch 1 of 4: best validation bound")
    assert behind.scores == ()
    assert [o.epochs for o in behind.outcomes] == [1, 0]  # the other seed was not begun
    assert "not trained, as seed 0 was pruned" in behind.outcomes[1].pruned
    assert behind.failures == ()
    assert all(row.is_whole for row in found.rows[:-1])
    assert found.epochs == 3 * 2 * 4 + 1
    assert found.best is not behind
    assert behind not in found.near_best
    text = found.to_text()
    assert "Pruned, and not compared: lr = 1e-07, seed 0 pruned at epoch 1 of 4" in text
    lines = list(csv.DictReader((tmp_path / "sweep.csv").read_text().splitlines()))
    assert lines[-1]["mean"] == ""
    assert lines[-1]["pruned"].startswith("seed 0 pruned")
    assert not (behind.outcomes[1].folder / "run.json").exists()
    assert Run(behind.outcomes[0].folder).describe()["training"]["stopped"].startswith("pruned")


def test_pruned_runs_are_not_repeated_and_go_on_without_the_rule(few, tmp_path):
    swept(few, tmp_path / "out", prune="median", prune_options=RULE)
    again = swept(few, tmp_path / "out", prune="median", prune_options=RULE)
    assert all(o.repeated for row in again.rows for o in row.outcomes if o.epochs)
    assert again.rows[-1].pruned
    whole = swept(few, tmp_path / "out")
    assert not any(row.pruned for row in whole.rows)
    direct = swept(few, tmp_path / "direct")
    assert [row.values for row in whole.rows] == [row.values for row in direct.rows]


def test_a_search_takes_what_was_pruned_for_as_bad_as_the_worst(few, tmp_path):
    seen = []

    def listed(space, tried, *, seed, maximize):
        seen.append([(each.value is None, each.failure) for each in tried])
        return {"lr": GRID["lr"][len(tried)]} if len(tried) < 4 else None

    space = {"lr": (1e-8, 1e-1)}
    rule = {"prune": "median", "prune_options": RULE}
    found = swept(few, tmp_path, grid=None, search=listed, space=space, trials=9, **rule)
    assert [bool(row.pruned) for row in found.rows] == [False, False, False, True]
    assert seen[-1] == [(False, ""), (False, ""), (False, ""), (True, "pruned")]


MISTAKES = [
    ({"seeds": [0]}, "pruning must know the noise between seeds"),
    ({"curve_size": 0}, "pruning looks at the validation bound"),
    ({"at_once": True}, "at_once trains all seeds"),
    ({"grid": {"objective": ["elbo", "iwae"]}}, "under different values of objective"),
    ({"grid": {"options.likelihood": ["bernoulli"]}}, "different values of options.likelihood"),
    ({"prune": "luck"}, "unknown pruning rule 'luck': choose from median, halving"),
    ({"prune_options": {"quantile": 1}}, "the pruning rule median has no option quantile"),
    ({"prune_options": {"warmup": 2.0}}, "warmup lies in 0…1"),
    ({"prune_options": {"noise": -1.0}}, "noise must be positive"),
    ({"prune": None, "prune_options": RULE}, "prune_options are for a pruning rule"),
]


@pytest.mark.parametrize(("options", "says"), MISTAKES, ids=str)
def test_a_mistake_is_refused_before_anything_is_trained(options, says, few, tmp_path):
    with pytest.raises(UsageError, match=says) as caught:
        swept(few, tmp_path / "out", **{"prune": "median", **options})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_rule_may_be_a_function_of_ones_own(few, tmp_path):
    def second(own, others, *, epoch, epochs):
        return "enough" if epoch == 2 and others and own[0][-1] < -1e9 else None

    assert make_pruning(second) is second
    found = swept(few, tmp_path, prune=second, grid={"lr": [1e-2]}, seeds=[0])
    assert found.best.epochs == 4
