"""A table at the command line: trained on, filled in, sampled, in its own units and names."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from inference import latent_means
from inference.learning import Run
from pyro_models import load_data

RNG = np.random.default_rng(0)
Z = RNG.normal(size=50)
FRAME = pd.DataFrame(
    {
        "age": 40 + 10 * Z,
        "visits": RNG.poisson(np.exp(1 + Z)),
        "kind": np.where(Z > 0.5, "x", np.where(Z < -0.5, "y", "z")),
        "class": np.where(Z > 0, "p", "q"),
    }
)


@pytest.mark.usefixtures("elsewhere")
def test_a_table_is_trained_on_and_filled_in(call, refused, capsys):
    holes = FRAME.copy()
    holes.loc[::4, "age"], holes.loc[1::4, "kind"] = np.nan, None
    holes.to_csv("table.csv", index=False)
    train = ("train", "--data", "table.csv", "--model", "vae", "--options.likelihood", "mixed")
    train += ("--options.hidden", "[4]", "--epochs", 1, "--progress", "false", "--out", "run")
    assert "empty cells" in refused(*train)
    train += ("--missing", "unseen", "--label", "class")
    train += ("--options.likelihood_options.columns", "{age: student_t}")
    assert call(*train) == 0
    record = Run("run").describe()
    likelihood = record["config"]["likelihood_options"]["columns"]
    expected = {"age": "student_t", "visits": "negative_binomial", "kind": "categorical:3"}
    assert likelihood == expected
    assert Run("run").table.label.values == ("p", "q")

    capsys.readouterr()
    scored = ("evaluate", "run", "--num_particles", 20, "--limit", 4, "--progress", "false")
    assert call(*scored, "--out", "scores.json") == 0
    assert "of what is seen" in capsys.readouterr().out
    assert call("diagnose", "run", "--num_particles", 20, "--progress", "false") == 0
    quick = ("--guides", "[encoder]", "--method", "importance", "--num_particles", 20)
    quick += ("--limit", 4, "--progress", "false")
    assert call("guides", "run", *quick, "--out", "guides") == 0
    elbo = pd.read_csv("guides/guides.csv").set_index("quantity")["value"]["elbo"]
    scores = json.loads(Path("scores.json").read_text())["scores"]
    assert elbo == pytest.approx(scores["elbo"]["value"], abs=0.5)  # other draws, the same cells
    new = holes.iloc[:9].assign(id=range(9))
    new.to_csv("new.csv", index=False)
    quick_impute = quick = ("--num_particles", 20, "--num_draws", 20, "--progress", "false")
    given = ("impute", "run", "--data", "new.csv", "--cells", "cells.csv", *quick)
    assert call(*given) == 0
    made, cells = pd.read_csv("completed.csv"), pd.read_csv("cells.csv")
    assert list(made.columns) == list(new.columns)
    assert not made.isna().any().any()
    seen = new.notna()
    pd.testing.assert_frame_equal(made[seen], new[seen], check_dtype=False)
    assert len(cells) == int(new.isna().sum().sum())
    unlabelled = new.assign(**{"class": new["class"].where(new["age"].notna())})
    unlabelled.to_csv("unlabelled.csv", index=False)
    capsys.readouterr()
    assert call("impute", "run", "--data", "unlabelled.csv", "--out", "u.csv", *quick_impute) == 0
    assert "3 empty cells of the label 'class' stay empty" in capsys.readouterr().out
    assert "already there" in refused(*given)
    assert call("complete", "run", "--out", "own.csv", "--progress", "false") == 0
    assert len(pd.read_csv("own.csv")) == 5  # of its own test split
    capsys.readouterr()
    given = ("infer", "run", "--data", "new.csv", "--guide", "encoder", "--progress", "false")
    assert call(*given) == 0
    assert "image" not in capsys.readouterr().out
    assert call("sample", "run", "--n", 3, "--out", "drawn.csv") == 0
    drawn = pd.read_csv("drawn.csv")
    assert list(drawn.columns) == ["age", "visits", "kind"]
    assert set(drawn["kind"]) <= {"x", "y", "z"}
    new.assign(kind="w").to_csv("other.csv", index=False)
    wrong = ("impute", "run", "--data", "other.csv", "--out", "o.csv")
    assert "holds 'w' in row 0, and was learned with 'x', 'y', 'z'" in refused(*wrong)
    holes.assign(age=1.0).to_csv("table.csv", index=False)
    assert "has changed since" in refused("infer", "run", "--progress", "false")
    capsys.readouterr()


@pytest.mark.usefixtures("elsewhere")
def test_a_figure_of_a_table_is_of_what_is_seen_and_names_its_classes(call, monkeypatch):
    holes = FRAME[["age", "class"]].assign(height=1.7 + 0.1 * Z)
    holes.loc[::2, "age"] = np.nan
    holes.to_csv("table.csv", index=False)
    train = ("train", "--data", "table.csv", "--missing", "unseen", "--label", "class")
    train += ("--model", "vae", "--options.hidden", "[4]", "--options.likelihood", "mixed")
    assert call(*train, "--epochs", 1, "--progress", "false", "--out", "run") == 0
    drawn = []
    monkeypatch.setattr("inference.commands.show.save_figure", lambda made, _: drawn.append(made))
    assert call("plot", "run", "--figure", "latent_scatter", "--out", "latents.png") == 0
    axes = drawn[0].axes[0]
    assert {t.get_text() for t in axes.get_legend().get_texts()} == {"0: p", "1: q"}
    test = load_data("table.csv", missing="unseen", label="class").prepared("test")
    means = latent_means(Run("run").load_pair(), test.x, mask=test.mask)
    points = np.concatenate([np.asarray(each.get_offsets()) for each in axes.collections[:2]])
    shown = points[np.argsort(points[:, 0])]
    np.testing.assert_allclose(shown, means[means[:, 0].argsort()].numpy(), atol=1e-5)
