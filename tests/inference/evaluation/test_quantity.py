"""A quantity is described once, and a new one is computed, shown and compared from its entry."""

import sys
from dataclasses import replace

import pytest

from inference.evaluation import (
    QUANTITIES,
    Evaluation,
    Quantity,
    compare,
    evaluate,
    register_quantity,
)
from inference.evaluation.quantity import quantities_of
from inference.selection import Sweep, sweep
from inference.selection.row import Row, choices
from inference.selection.trial import Outcome, run_setting
from pyro_models import PPCA, UsageError, load_data


@pytest.fixture
def contrast():
    """A quantity of one's own."""
    own = Quantity(
        name="contrast",
        title="contrast of (x)",
        unit="grey levels",
        direction="lower",
        digits=1,
        column_digits=3,
        compute=lambda of: of.score("contrast", of.grey.flatten(1).amax(1)),
    )
    yield register_quantity(own)
    del QUANTITIES["contrast"]


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", preparation="dequantised")


def evaluated(digits, **options):
    pair = PPCA.maximum_likelihood(digits.prepared("train").x, latent_dim=2)
    return evaluate(pair, digits, num_particles=2, limit=20, **options)


def test_a_new_quantity_is_computed_compared_and_chosen_by(contrast, digits, tmp_path):
    found = evaluated(digits, split="validation")
    score = found.scores["contrast"]
    grey = digits.split("validation").x[:20].flatten(1).amax(1)
    assert score.value == pytest.approx(float(grey.double().mean()))
    assert (score.unit, score.kind) == ("grey levels", "estimate")
    assert str(score).startswith(f"contrast {score.value:.1f} ± {score.standard_error:.1f} grey")
    table = compare([found])
    assert (
        "contrast of (x)\ngrey levels, lower is better; dequantised (seed 0) pixels\n"
        in table.to_text()
    )
    assert f"{score.value:.3f} ± {score.standard_error:.3f}" in table.to_html()
    assert "contrast" in choices()
    worse = replace(found, scores={"contrast": replace(score, value=score.value + 1)})
    rows = [
        Row({"lr": lr}, (Outcome(tmp_path, 0, evaluation),), "contrast")
        for lr, evaluation in ((0.1, worse), (0.2, found))
    ]
    swept = Sweep(tuple(rows), {"lr": [0.1, 0.2]}, (0,), tmp_path)
    assert swept.best.setting == {"lr": 0.2}  # lower is better
    assert swept.label == "contrast of (x) (grey levels)"


def test_workers_of_a_sweep_know_a_quantity_of_ones_own(contrast, digits, tmp_path, monkeypatch):
    def in_a_worker(trials, *own):
        monkeypatch.delitem(QUANTITIES, "contrast")  # as in a process that has only our imports
        return run_setting(trials, *own)

    monkeypatch.setattr(sys.modules["inference.selection.combinations"], "run_setting", in_a_worker)
    options = {"seeds": [0], "epochs": 1, "jobs": 1, "num_particles": 1, "progress": False}
    grid = {"options.latent_dim": [1]}
    swept = sweep("ppca", digits, grid=grid, quantity="contrast", out=tmp_path / "s", **options)
    assert swept.best.scores[0].quantity == "contrast"


def test_other_scores_are_the_same_with_a_new_quantity(digits, request):
    before = evaluated(digits).scores
    request.getfixturevalue("contrast")
    after = dict(evaluated(digits).scores)
    del after["contrast"]
    assert after == before


@pytest.mark.parametrize(("found", "there"), [("no pixels here", True), (None, False)])
def test_a_quantity_may_say_why_there_is_none_or_not_apply(digits, contrast, found, there):
    QUANTITIES["contrast"] = replace(contrast, compute=lambda of: found)
    result = evaluated(digits)
    assert "contrast" not in result.scores
    assert (result.absent.get("contrast") == "no pixels here") == there


def test_two_quantities_cannot_have_one_name():
    with pytest.raises(UsageError, match="there is a quantity 'elbo' already"):
        register_quantity(Quantity(name="elbo", title="other", unit="grey levels"))


def test_what_may_be_compared_is_the_quantitys_to_say(contrast, digits, tmp_path):
    first = evaluated(digits).scores["contrast"]
    other = replace(first, data="others", identity=None)
    assert first.differs_from(other.comparability)
    QUANTITIES["contrast"] = replace(contrast, compared_by=("unit",))
    assert first.comparability == {"quantity": "contrast", "unit": "grey levels"}
    assert not first.differs_from(other.comparability)
    table = compare([Evaluation(str(i), {"contrast": s}) for i, s in enumerate((first, other))])
    assert [column.subtitle for column in table.columns] == ["grey levels"]
    assert all(cell.score is not None for (cell,) in table.cells)
    rows = [
        Row({"lr": lr}, (Outcome(tmp_path, 0, Evaluation("", {"contrast": score})),), "contrast")
        for lr, score in ((0.1, first), (0.2, replace(other, value=other.value + 1)))
    ]
    swept = Sweep(tuple(rows), {"lr": [0.1, 0.2]}, (0,), tmp_path)
    assert "Best: lr = 0.1" in swept.to_text()


def test_every_quantity_says_what_its_tables_need():
    for quantity in QUANTITIES.values():
        assert quantity.title, quantity.name
    for table in ("comparison", "sweep", "guides", "diagnostics"):
        assert quantities_of(table)
    assert all(QUANTITIES[name].direction for name in choices())


def test_the_name_of_before_still_says_what_may_be_compared(digits):
    score = evaluated(digits).scores["elbo"]
    with pytest.warns(DeprecationWarning, match="footing is now comparability"):
        assert score.footing == score.comparability


def test_scores_of_a_quantity_that_is_gone_are_still_read_and_shown(digits):
    odd = replace(evaluated(digits).scores["mse_mean"], quantity="old_score", unit="old unit")
    assert str(odd).startswith(f"old_score {odd.value:.3f} ± {odd.standard_error:.3f} old unit")


@pytest.mark.parametrize(
    ("compute", "why"),
    [(lambda of: 3.0, "gives a Score or a reason; got 3.0"), (lambda of: 1 / 0, "ZeroDivision")],
)
def test_a_quantity_of_ones_own_that_fails_is_one_line(digits, compute, why):
    QUANTITIES["mine"] = Quantity("mine", "mine", "unit", compute=compute)
    try:
        with pytest.raises(UsageError, match=f"the quantity mine .*{why}"):
            evaluate(PPCA(digits.data_shape, latent_dim=1), digits, num_particles=1, limit=3)
    finally:
        del QUANTITIES["mine"]
