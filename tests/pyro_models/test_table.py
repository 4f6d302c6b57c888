"""Tables as data: what columns become, what is unseen, and the table again."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pyro_models import UsageError, load_data
from pyro_models.data import Table

N = 40
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "height": RNG.normal(1.7e3, 80, N),
        "year": RNG.integers(2000, 2010, N),
        "visits": RNG.negative_binomial(2, 0.2, N),
        "smoker": RNG.random(N) < 0.4,
        "sex": RNG.choice(["f", "m"], N),
        "eyes": RNG.choice(["blue", "brown", "green"], N),
        "class": RNG.choice(["ill", "well"], N),
    }
)
HOLES = FRAME.mask(RNG.random(FRAME.shape) < 0.2)
HOLES["class"] = FRAME["class"]
KINDS = ["real", "real", "count", "binary", "binary", "categorical"]


def everything(data):
    return torch.cat([split.x for split in data.splits.values()])


def test_columns_are_found_by_type_and_values_and_come_back_as_they_were():
    data = load_data(FRAME, label="class", seed=3)
    table = data.table
    assert [column.kind for column in table.columns] == KINDS
    assert (data.data_shape, data.num_classes, table.size) == ((8,), 2, 8)
    assert table.likelihoods["eyes"] == "categorical:3"
    assert "1 count" in repr(data)
    train = data.split("train")
    torch.testing.assert_close(train.x[:, :2].mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(train.x[:, :2].std(0, correction=0), torch.ones(2))
    back = pd.concat([table.frame(split.x) for split in data.splits.values()])
    labels = torch.cat([split.y for split in data.splits.values()])
    back["class"] = [table.label.values[i] for i in labels]
    key = ["year", "visits", "height"]
    mine, theirs = (f.sort_values(key).reset_index(drop=True) for f in (back, FRAME))
    pd.testing.assert_frame_equal(mine, theirs, check_dtype=False, rtol=1e-5)
    assert back["smoker"].dtype == bool
    assert Table.from_dict(json.loads(json.dumps(table.to_dict()))) == table


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_a_file_is_the_same_table_and_empty_cells_are_unseen_if_asked(tmp_path: Path, ending):
    path = tmp_path / f"table{ending}"
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
        HOLES.to_parquet(path)
    else:
        HOLES.to_csv(path, index=False, sep="\t" if ending == ".tsv" else ",")
    with pytest.raises(UsageError, match=r'^.* has \d+ empty cells, the first .*missing="unseen"'):
        load_data(path)
    data, same = (load_data(s, missing="unseen", label="class") for s in (path, HOLES))
    assert [column.kind for column in data.table.columns] == KINDS
    torch.testing.assert_close(data.split("train").x, same.split("train").x)
    assert torch.equal(data.split("test").mask, same.split("test").mask)
    split = data.split("train")
    assert int((~data.table.of_columns(split.mask)).sum()) > 20
    assert bool((split.x[~split.mask] == 0).all())
    shown = data.table.frame(split.x, split.mask)
    assert int(shown.isna().sum().sum()) == int((~data.table.of_columns(split.mask)).sum())
    seen = split.x[:, 0][split.mask[:, 0]]  # standardised by what is seen in training alone
    assert float(seen.mean()) == pytest.approx(0, abs=1e-5)
    assert float(seen.std(correction=0)) == pytest.approx(1, abs=1e-5)


def test_new_rows_share_columns_categories_and_units():
    data = load_data(FRAME, label="class")
    new = FRAME[::-1].iloc[:5].assign(extra=1).drop(columns="class")
    rows = load_data(new.iloc[:, ::-1], like=data).split("test").x
    torch.testing.assert_close(load_data(FRAME, like=data.table).split("test").x[-5:].flip(0), rows)
    pd.testing.assert_frame_equal(
        data.table.frame(rows, index=new.index), new.drop(columns="extra"),
        check_dtype=False, rtol=1e-5,
    )  # fmt: skip


def test_kinds_and_columns_are_chosen_by_name():
    data = load_data(FRAME, columns=["visits", "year"], kinds={"visits": "real"})
    assert data.table.likelihoods == {"visits": "normal", "year": "normal"}
    years = load_data(FRAME, columns=["year"], kinds={"year": "categorical"}).table.columns[0]
    assert years.values == tuple(sorted(FRAME["year"].unique().tolist()))
    mask = load_data(FRAME).with_mask("random").split("train").mask
    table = load_data(FRAME).table
    assert torch.equal(table.of_values(table.of_columns(mask)), mask)


@pytest.mark.parametrize(
    ("change", "options", "line"),
    [
        ({}, {"columns": ["heigth"]}, "no column 'heigth' .did you mean 'height'"),
        ({}, {"label": "kind"}, "no column 'kind'"),
        ({}, {"label": "height"}, "label 'height' is of numbers with a point"),
        ({}, {"kinds": {"eyes": "real"}}, "column 'eyes' does not hold numbers"),
        ({}, {"kinds": {"height": "count"}}, "column 'height' holds .* no count 0, 1, 2"),
        ({"visits": -FRAME["visits"]}, {"kinds": {"visits": "count"}}, "holds -.* no count"),
        ({}, {"kinds": {"eyes": "binary"}}, "has 3 values, and binary columns two"),
        ({}, {"kinds": {"eyes": "colour"}}, "unknown kind 'colour': choose from real, count"),
        ({"empty": np.nan}, {"missing": "unseen"}, "column 'empty' is all missing"),
        ({"same": "a"}, {}, "column 'same' has one value, 'a'"),
        ({"day": pd.Timestamp("2020-01-01")}, {}, "column 'day' holds dates"),
        ({"height": np.inf}, {}, "column 'height' holds inf in row 0, which is infinite"),
        ({}, {"missing": "zero"}, "missing is 'unseen', or left out; got 'zero'"),
        ({}, {"levels": 4}, "no levels"),
    ],
)
def test_what_a_table_cannot_be_is_one_line(change, options, line):
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        load_data(FRAME.assign(**change), **options)


def test_rows_and_files_that_do_not_fit_are_one_line(tmp_path: Path, monkeypatch):
    data, path = load_data(FRAME), tmp_path / "twice.csv"
    for new, line in (
        (FRAME.assign(eyes="grey"), "'eyes' holds 'grey' in row 0, and was learned with 'blue'"),
        (FRAME.drop(columns="sex"), "no column 'sex'"),
        (FRAME.assign(visits=-1), "column 'visits' holds -1 in row 0"),
        (FRAME.drop(3).reindex(FRAME.index), "row 3 is all missing"),
    ):
        with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
            load_data(new, like=data, missing="unseen")
    with pytest.raises(UsageError, match="two columns of the name 'sex'"):
        load_data(pd.concat([FRAME, FRAME[["sex"]]], axis=1))
    path.write_text("a,b,a\n1,2,3\n")
    with pytest.raises(UsageError, match=r"twice.csv has two columns of the name 'a': rename one"):
        load_data(path)
    path.write_text("a,b\n7,1,2\n8,3,4\n")  # whose last cells would be lost
    with pytest.raises(UsageError, match="more cells in a row than headings"):
        load_data(path)
    path.write_text("a;b\n1,5;2\n")
    with pytest.raises(UsageError, match=r"have commas between, and these ';': .*decimal=','"):
        load_data(path)
    with pytest.raises(UsageError, match="there is no file"):
        load_data("none.csv")
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r"no readable .parquet table|without pyarrow"):
        load_data(tmp_path / "t.parquet")

    def without(*_: object, **__: object) -> None:
        raise ImportError("Unable to find a usable engine; pyarrow is missing")

    monkeypatch.setattr(pd, "read_parquet", without)
    with pytest.raises(UsageError, match=r"^.*without pyarrow: pip install.*CSV file\Z"):
        load_data(tmp_path / "t.parquet")
    with pytest.raises(UsageError, match="label is of a table"):
        load_data(np.zeros((5, 2)), label="a")


def test_nan_of_an_array_is_unseen_if_asked_and_refused_else(tmp_path: Path):
    x = np.random.default_rng(0).random((20, 4, 4))
    x[3, 1, 2] = np.nan
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x_train=x, x_test=x[:5])
    for source in (x, tmp_path / "x.npy", tmp_path / "x.npz", torch.from_numpy(x).flatten(1)):
        with pytest.raises(UsageError, match="NaN or infinite"):
            load_data(source)
        data = load_data(source, missing="unseen")
        hidden = [s for s in data.splits.values() if s.mask is not None and not s.mask.all()]
        assert hidden
        assert all(int((~split.mask).sum()) == 1 for split in hidden)
        assert bool(everything(data).isfinite().all())
    assert load_data(x[4:], missing="unseen").split("train").mask is None
    x[5] = np.nan
    with pytest.raises(UsageError, match="sees nothing"):
        load_data(x, missing="unseen")
    with pytest.raises(UsageError, match="leave missing out"):
        load_data("digits", missing="unseen")


def test_small_counts_are_counts_whatever_their_variance_happens_to_be():
    rng = np.random.default_rng(0)
    for _ in range(50):  # of half of which the variance is below the mean
        column = load_data(pd.DataFrame({"eggs": rng.poisson(1.5, 60) + 0})).table.columns[0]
        assert column.kind == "count"
    ratings = load_data(pd.DataFrame({"rating": rng.integers(3, 6, 60)})).table.columns[0]
    assert ratings.kind == "real"


def test_names_and_dates_are_left_out_by_their_kind():
    frame = FRAME.iloc[[*range(N)] * 4].reset_index(drop=True)
    frame["name"] = [f"p{i}" for i in range(len(frame))]
    frame["day"] = [f"2026-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(len(frame))]
    with pytest.raises(UsageError, match=r"'name' has 160 .*--kinds '\{name: unused\}'"):
        load_data(frame)
    with pytest.raises(UsageError, match=r"'day' holds dates .*--kinds '\{day: unused\}'"):
        load_data(frame, kinds={"name": "unused"})
    data = load_data(frame, kinds={"name": "unused", "day": "unused", "year": "count"})
    assert data.table.names == list(FRAME.columns)
    assert "2 count (year, visits)" in data.scaling
    with pytest.raises(UsageError, match="has no column 'nam'"):
        load_data(frame, kinds={"nam": "unused"})


def test_a_file_with_other_marks_between_its_cells_is_told_how_it_is_read(tmp_path: Path):
    FRAME.to_csv(tmp_path / "euro.csv", sep=";", decimal=",", index=False)
    with pytest.raises(UsageError, match=r"commas between, .* ';': .*read_csv\('euro.csv', sep"):
        load_data(tmp_path / "euro.csv")
    FRAME[["year"]].to_csv(tmp_path / "one.csv", index=False)
    assert load_data(tmp_path / "one.csv").data_shape == (1,)
