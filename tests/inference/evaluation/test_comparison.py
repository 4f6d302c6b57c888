"""Two numbers share a column only if they may be compared."""

import csv
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch

from inference.evaluation import Evaluation, Score, compare, evaluate
from inference.evaluation.scores import LEBESGUE_UNIT, NATS, SQUARED_ERROR
from pyro_models import CVAE, PPCA, VAE, UsageError, load_data

SCORE = Score(
    quantity="log_likelihood",
    value=-90.0,
    standard_error=0.5,
    unit=NATS,
    kind="lower bound",
    data="mnist",
    split="test",
    preparation="static",
    num_data=10_000,
    dimensions=784,
    measure="counting on {0,1}",
    num_particles=5,
)
EXACT = {"kind": "exact", "num_particles": None}


def row(name, **fields):
    score = replace(SCORE, **fields)
    return Evaluation(name, {score.quantity: score})


def shown(table):
    """Values by row, None where a cell is empty."""
    return [[cell.score and cell.score.value for cell in cells] for cells in table.cells]


def test_what_agrees_shares_a_column():
    table = compare([row("a", value=-90.0), row("b", value=-80.0, standard_error=2.0, seed=3)])
    assert shown(table) == [[-90.0], [-80.0]]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("num_particles", 10, "K: 10, not 5"),
        ("given", "y", "given: y, not none"),
        ("data", "fashion-mnist", "data: fashion-mnist, not mnist"),
        ("split", "validation", "split: validation, not test"),
        ("num_data", 100, "number of data: 100, not 10000"),
        ("preparation", "dynamic (seed 0)", "preparation: dynamic (seed 0), not static"),
        ("measure", LEBESGUE_UNIT, "measure: Lebesgue on [0,1], not counting on {0,1}"),
        ("kind", "upper bound", "kind: upper bound, not exact or lower bound"),
        ("kind", "estimate", "kind: estimate, not exact or lower bound"),
    ],
)
def test_what_differs_in_one_field_stands_apart_and_the_field_is_named(field, value, reason):
    table = compare([row("a"), row("b", value=-80.0, **{field: value})])
    assert shown(table) == [[-90.0, None], [None, -80.0]]
    assert table.cells[1][0].reason == reason
    assert reason in table.to_markdown()
    assert reason in table.to_text()


def test_another_measure_is_the_whole_reason_where_levels_follow_from_it():
    known = load_data("digits").identity
    assert known.levels == 17
    counting = {"measure": "counting on 17 levels", "identity": replace(known, levels=None)}
    table = compare([row("a", **counting), row("b", measure=LEBESGUE_UNIT, identity=known)])
    assert table.cells[1][0].reason == "measure: Lebesgue on [0,1], not counting on 17 levels"


def test_two_seeds_of_a_random_preparation_are_two_data():
    table = compare(
        [row(str(s), preparation=f"dynamic (seed {s})", value=float(s)) for s in (0, 1)]
    )
    assert shown(table) == [[0.0, None], [None, 1.0]]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (0, 2, 1), (1, 2, 0)])
def test_an_exact_value_joins_every_bound_and_no_bound_is_lost(order):
    rows = [
        row("exact", value=-80.0, **EXACT),
        row("L_5", value=-90.0),
        row("L_10", value=-85.0, num_particles=10),
    ]
    table = compare([rows[i] for i in order])
    assert {c.comparability["K"] for c in table.columns} == {5, 10}
    values = dict(zip(table.rows, shown(table), strict=True))
    assert values["exact"] == [-80.0, -80.0]
    assert sorted(v for v in values["L_5"] if v) == [-90.0]
    assert sorted(v for v in values["L_10"] if v) == [-85.0]
    for column in table.columns:
        assert f"exact or lower bound L_{column.comparability['K']}" in column.subtitle


def test_exact_values_alone_have_a_column_without_particles():
    table = compare([row("a", **EXACT), row("b", **EXACT)])
    assert len(table.columns) == 1
    assert "L_" not in table.columns[0].subtitle


def test_an_objective_stays_out_of_the_density_column():
    few = {"num_particles": 1, "limit": 5}
    data = load_data("digits")
    torch.manual_seed(0)
    grey = evaluate(VAE((1, 8, 8), hidden=[8]), data, name="grey", **few)
    x = data.prepared("train").x
    exact = evaluate(PPCA.maximum_likelihood(x, latent_dim=2), data, name="ppca", **few)
    cvae = CVAE((1, 8, 8), num_classes=10, hidden=[8], likelihood="bernoulli")
    given = evaluate(cvae, data.with_preparation("threshold"), name="cvae", **few)
    table = compare([grey, exact, given])
    of = {name: cells for name, cells in zip(table.rows, table.cells, strict=True)}
    density = [i for i, c in enumerate(table.columns) if c.quantity == "log_likelihood"]
    assert len(density) == 2
    for i in density:
        assert of["grey"][i].score is None
        assert of["grey"][i].reason == "the cross-entropy is an objective: there is no p(x)"
    elbos = [i for i, c in enumerate(table.columns) if c.quantity == "elbo"]
    assert [table.columns[i].title for i in elbos] == ["objective", "ELBO", "ELBO | y"]
    assert "measure: none, not Lebesgue on [0,1]" in of["grey"][elbos[1]].reason
    errors = [i for i, c in enumerate(table.columns) if c.quantity == "mse_mean"]
    assert len(errors) == 2  # given y stands apart
    assert all(of["grey"][i].score is not None for i in errors[:1])
    assert of["cvae"][errors[0]].reason == "given: y, not none"
    shown = [{row[0] for row in small.rows} for small in table.table.tables]
    assert {"grey"} in shown  # a table of its own, and no empty row in another
    assert all(len(row) == len(small.heads) for small in table.table.tables for row in small.rows)
    assert all(
        any(isinstance(c, str) for c in row[1:]) for t in table.table.tables for row in t.rows
    )
    text = table.to_text()
    assert "1. Objective, which is no probability\n" in text
    assert "none for grey: the cross-entropy is an objective" in text
    assert "apart" in text
    assert re.search(r"^Table \d stands apart from \d: .*given: y, not none", text, re.MULTILINE)
    assert r"log p(x \| y)" in table.to_markdown()


def test_columns_follow_the_quantities_asked_for():
    both = Evaluation(
        "a",
        {
            "log_likelihood": SCORE,
            "mse_mean": replace(
                SCORE,
                quantity="mse_mean",
                unit=SQUARED_ERROR,
                measure=None,
                kind="estimate",
                num_particles=None,
                value=0.04,
            ),
        },
    )
    table = compare([both], quantities=["mse_mean", "log_likelihood"])
    assert [c.quantity for c in table.columns] == ["mse_mean", "log_likelihood"]
    assert compare([both], quantities=["mse_mean"]).columns == table.columns[:1]
    missing = compare([both, row("b")], quantities=["mse_mean"])
    assert missing.cells[1][0].reason == "not computed"


def test_nothing_and_unknown_quantities_are_refused():
    with pytest.raises(UsageError, match="nothing to compare"):
        compare([])
    with pytest.raises(UsageError, match="'nll'"):
        compare([row("a")], quantities=["nll"])


NASTY = 'a|b <script>alert("x")</script> & "quoted", \\ comma'


def test_csv_reads_back_whatever_the_names_are():
    table = compare([row(NASTY), row("line\nbreak", num_particles=10, value=-1.25)])
    lines = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert [line["name"] for line in lines] == [NASTY, NASTY, "line\nbreak", "line\nbreak"]
    assert float(lines[0]["value"]) == -90.0
    assert float(lines[3]["value"]) == -1.25
    assert lines[3]["num_particles"] == "10"
    assert lines[1]["reason"] == "K: 5, not 10"
    assert lines[1]["value"] == ""


class _Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text.append(data)


def test_html_shows_names_as_they_are():
    parser = _Cells()
    parser.feed(compare([row(NASTY), row("b", num_particles=10)]).to_html())
    assert NASTY in parser.text
    assert "script" not in parser.tags
    assert parser.tags.count("td") == 4  # one table: K differs, and is said in the headings


def test_markdown_keeps_its_columns_whatever_the_names_are():
    table = compare([row(NASTY), row("line\nbreak", num_particles=10)])
    lines = [line for line in table.to_markdown().splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {4}
    assert "<script" not in re.sub(r"\\<", "", table.to_markdown())


def test_one_datum_has_no_error_to_show():
    table = compare([row("a", standard_error=math.nan, num_data=1)])
    for text in (table.to_markdown(), table.to_text(), table.to_html()):
        assert "nan" not in text
        assert "-90.00" in text


def test_many_reasons_get_distinct_marks():
    rows = [row(str(k), num_particles=k) for k in range(1, 31)]
    marks = re.findall(r"^- \[(\w+)\]", compare(rows).to_markdown(), flags=re.MULTILINE)
    assert len(marks) == len(set(marks)) == 30 * 29


def test_scores_in_json_read_back_equal():
    given = Evaluation("π|name", {"log_likelihood": SCORE}, {"bits_per_dimension": "no pixels"})
    assert Evaluation.from_json(given.to_json()) == given
    one = row("a", standard_error=math.nan, num_data=1)
    assert "NaN" not in one.to_json()
    again = Evaluation.from_json(one.to_json()).scores["log_likelihood"]
    assert math.isnan(again.standard_error)
    assert replace(again, standard_error=0.0) == replace(SCORE, standard_error=0.0, num_data=1)


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "{}", '{"name": "a", "scores": {"elbo": {}}, "absent": {}}']
)
def test_what_are_no_scores_is_refused(text):
    with pytest.raises(UsageError, match="not scores"):
        Evaluation.from_json(text)
