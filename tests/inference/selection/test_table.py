"""The table of a sweep: means, errors over seeds, the best, and when there is none."""

import csv
import io
import math
from pathlib import Path

import pytest

from inference.evaluation import Evaluation, Score
from inference.selection.row import Row
from inference.selection.table import Sweep
from inference.selection.trial import Outcome
from pyro_models import UsageError

OUT = Path("out")


def score(value, quantity="log_likelihood", **fields):
    unit = "squared error per pixel" if quantity.startswith("mse") else "nats per datum"
    given = {
        "standard_error": 0.7,
        "kind": "lower bound",
        "data": "digits",
        "split": "validation",
        "preparation": "dequantised (seed 0)",
        "num_data": 180,
        "dimensions": 64,
        "measure": "Lebesgue on [0,1]",
        "num_particles": 10,
        **fields,
    }
    return Score(quantity=quantity, value=value, unit=unit, **given)


def outcome(seed, found):
    """A run with a score, or, for a text, one that failed."""
    folder = OUT / "setting" / f"seed={seed}"
    if isinstance(found, str):
        return Outcome(folder, seed, None, failure=found)
    scores = found if isinstance(found, dict) else {"log_likelihood": found}
    return Outcome(folder, seed, Evaluation("a", scores), epochs=3, seconds=2.0 + seed)


def row(setting, *found, quantity=None):
    found = [score(f) if isinstance(f, float) else f for f in found]
    return Row(setting, tuple(outcome(i, f) for i, f in enumerate(found)), quantity)


def table(*rows, grid=None):
    grid = grid or {"lr": [r.setting["lr"] for r in rows]}
    return Sweep(rows, grid, tuple(range(len(rows[0].outcomes))), OUT)


def test_mean_and_standard_error_are_over_seeds():
    one = row({"lr": 0.1}, 1.0, 2.0, 6.0)
    assert one.mean == pytest.approx(3.0)
    assert one.standard_error == pytest.approx(math.sqrt((4 + 1 + 9) / 2 / 3))
    assert one.seconds == pytest.approx(3.0)
    assert math.isnan(row({"lr": 0.1}, 1.0).standard_error)
    assert "over seeds" in str(table(one))


def test_the_best_is_highest_or_lowest_as_the_score_asks():
    rows = [row({"lr": 0.1}, 1.0, 2.0), row({"lr": 0.2}, 3.0, 4.0), row({"lr": 0.3}, 0.0, 9e9)]
    assert table(*rows[:2]).best.setting == {"lr": 0.2}
    assert "Score: log p(x), K = 10 (nats per datum), lower bound, " in str(table(*rows[:2]))
    errors = [
        row({"lr": lr}, *({"mse_mean": score(v, "mse_mean")} for v in pair), quantity="mse_mean")
        for lr, pair in ((0.1, (0.3, 0.4)), (0.2, (0.1, 0.2)))
    ]
    assert table(*errors).best.setting == {"lr": 0.2}


def test_settings_within_the_noise_of_the_best_are_named():
    rows = [row({"lr": 0.1}, 1.0, 2.0), row({"lr": 0.2}, 1.1, 2.1), row({"lr": 0.3}, -9.0, -8.0)]
    found = table(*rows)
    assert found.best.setting == {"lr": 0.2}
    assert [r.setting for r in found.near_best] == [{"lr": 0.1}]
    assert "Within two standard errors of the difference: lr = 0.1." in str(found)


def test_a_failed_seed_is_told_and_its_setting_is_not_best():
    rows = [row({"lr": 0.1}, 1.0, 2.0), row({"lr": 0.2}, 30.0, "lost | its way"), row({"lr": 9}, 0)]
    rows[2] = row({"lr": 9.0}, "bad", "worse")
    found = table(*rows)
    assert found.best.setting == {"lr": 0.1}
    assert rows[1].failures == ((1, "lost | its way"),)
    text = found.to_text()
    assert "1, 1 failed" in text
    assert "0, 2 failed" in text
    assert "Failed: lr = 0.2, seed 1: lost | its way" in text
    assert r"lost \| its way" in found.to_markdown()
    runs = list(csv.DictReader(io.StringIO(found.runs_to_csv())))
    assert len(runs) == 6
    assert [r["failure"] for r in runs] == ["", "", "", "lost | its way", "bad", "worse"]
    assert [r["value"] for r in runs] == ["1.0", "2.0", "30.0", "", "", ""]
    lines = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert lines[0]["standard_error_over_seeds"] == "0.5"
    assert lines[1]["standard_error_over_seeds"] == ""
    assert lines[1]["failures"] == "seed 1: lost | its way"
    assert lines[2]["mean"] == ""


def test_scores_that_may_not_be_compared_have_no_best():
    other = score(5.0, preparation="grey")
    found = table(row({"lr": 0.1}, 1.0), row({"lr": 0.2}, other))
    with pytest.raises(UsageError, match="preparation: grey, not dequantised") as caught:
        _ = found.best
    assert "No best: the scores of these settings may not be compared" in str(found)
    assert "\n" not in str(caught.value)


def test_where_nothing_finished_there_is_no_best():
    with pytest.raises(UsageError, match="no run of this sweep has a score; the first: bad"):
        _ = table(row({"lr": 0.1}, "bad")).best
    with pytest.raises(UsageError, match="each setting has a seed that failed"):
        _ = table(row({"lr": 0.1}, 1.0, "bad")).best


def test_a_score_that_is_not_finite_is_a_failure():
    lost = row({"lr": 0.1}, math.nan, 1.0)
    assert lost.failures == ((0, "its log_likelihood is nan"),)
    assert lost.values == (1.0,)


def test_a_score_that_a_pair_has_not_is_told():
    found = row({"lr": 0.1}, 1.0, quantity="bits_per_dimension")
    assert found.failures == ((0, "it has no bits_per_dimension"),)


def test_quantities_stand_beside_the_score_that_decides_and_decide_nothing():
    def both(bound, error):
        return {"log_likelihood": score(bound), "mse_mean": score(error, "mse_mean")}

    one = row({"lr": 0.1, "hidden": 5}, both(1.0, 0.4), both(2.0, 0.6))
    two = row({"lr": 0.2, "hidden": 5}, both(3.0, 0.9), {"log_likelihood": score(5.0)})
    found = table(one, two, grid={"lr": [0.1, 0.2], "hidden": [5]}).showing(["mse_mean"])
    assert found.best.setting["lr"] == 0.2
    text = found.to_text()
    heads = text.split("──")[0]
    assert "log p(x), K = 10" in heads
    assert "MSE, z mean" in heads
    assert "0.50 ± 0.10" in text
    assert "it has no mse_mean" in text
    lines = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert float(lines[0]["mse_mean"]) == pytest.approx(0.5)
    assert float(lines[0]["mse_mean_standard_error_over_seeds"]) == pytest.approx(0.1)
    narrow = found.to_text(44).splitlines()
    starts = [line.split()[:2] for line in narrow if line.split()[:1] in (["0.1"], ["0.2"])]
    assert starts[:4] == [["0.1", "5"], ["0.2", "5"]] * 2  # settings begin each block
    with pytest.raises(UsageError, match="unknown quantity 'mse'"):
        found.showing(["mse"])


def test_digits_follow_the_error():
    assert "1.50 ± 0.50" in str(table(row({"lr": 0.1}, 1.0, 2.0)))
    assert "1.5000 ± 0.0050" in str(table(row({"lr": 0.1}, 1.495, 1.505)))
    assert "150 ± 50" in str(table(row({"lr": 0.1}, 100.0, 200.0)))
