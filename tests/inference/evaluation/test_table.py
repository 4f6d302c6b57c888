"""One table: what it holds is in every face of it, whatever the texts are."""

import csv
import io
import re
from html.parser import HTMLParser

import pytest

from inference.evaluation import compare, diagnose, evaluate, evaluate_completion
from inference.evaluation.table import Absent, Table
from inference.evaluation.tables import Group, Tables, in_groups, left_out
from pyro_models import PPCA, load_data

NASTY = 'a|b <script>alert("x")</script> & \\ {{ 7 * 7 }}\nnext'


class _Text(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.found, self.open = [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.found.append(data)


@pytest.fixture
def table():
    return Table(
        heads=[["pair"], ["ELBO", "nats", NASTY], ["MSE"]],
        rows=[
            [NASTY, "-1.0", None],
            ["b", Absent(NASTY), Absent("none")],
            ["c", "", Absent(NASTY)],
        ],
        above=[f"above {NASTY}"],
        caption=f"caption {NASTY}",
        notes=[f"note {NASTY}"],
        conclusions=["last"],
    )


def test_html_shows_every_text_as_it_is(table):
    page = _Text(table.to_html())
    assert {"script", "img"}.isdisjoint(page.tags)
    for text in (NASTY, f"above {NASTY}", f"caption {NASTY}", f"note {NASTY}", "[b] none"):
        assert text in page.found
    assert page.tags.count("td") == 6
    assert page.tags.count("small") == 2
    whole = _Text(table.to_page(f"<b>{NASTY}"))
    assert f"<b>{NASTY}" in whole.found
    assert "script" not in whole.tags


def test_markdown_keeps_its_columns_and_takes_no_text_for_html(table):
    lines = table.to_markdown().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 5
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {4}
    assert "<script" not in table.to_markdown().replace("\\<", "")
    assert lines[-1] == "- last"


def test_text_has_names_and_small_print_for_headings_and_ends_with_the_conclusions(table):
    text = table.to_text()
    lines = text.splitlines()
    rule = next(i for i, line in enumerate(lines) if line.startswith("──"))
    assert {"ELBO", "nats"} <= {line.strip() for line in lines[:rule]}
    assert lines[rule - 1].split()[0] == "pair"
    assert lines[rule - 1].split()[-1] == "MSE"
    assert not re.search(r"\(\d\)", text)
    assert text.startswith("above ")
    assert text.endswith("\n[b] none\nlast\n")
    reasons = [i for i, line in enumerate(lines) if line.startswith("[")]
    assert len(reasons) == 2


def test_columns_that_do_not_fit_stand_in_blocks_that_begin_with_the_names():
    names = [f"model {i}" for i in range(3)]
    heads = [["pair"], *([f"score {j}", "nats per datum"] for j in range(12))]
    rows = [
        [name, *(f"{-100.0 - i - j:.2f} ± 0.50" for j in range(12))] for i, name in enumerate(names)
    ]
    table = Table(heads=heads, rows=rows)
    for width in (60, 80, 100, 200):
        lines = table.to_text(width).splitlines()
        assert max(map(len, lines)) <= width
        blocks = [line for line in lines if line.startswith("model 0")]
        numbers = [float(text) for line in blocks for text in re.findall(r"-\d+\.\d\d", line)]
        assert numbers == [-100.0 - j for j in range(12)]  # each once, in their order
        assert (len(blocks) == 1) == (len(names[0]) + 12 * 16 <= width)
        counts = [line.count("±") for line in blocks]
        assert max(counts) - min(counts) <= len(blocks)  # no column is left alone
    assert table.to_text(200).count("score 3") == 1


def test_names_that_leave_no_room_are_wrapped_and_words_too():
    name = "a variational autoencoder with a name that nobody has room for in a table"
    table = Table(heads=[["pair"], ["ELBO"]], rows=[[name, "-1.0 ± 0.5"]], notes=["word " * 40])
    lines = table.to_text(40).splitlines()
    assert max(map(len, lines)) <= 40
    assert " ".join(line.replace("-1.0 ± 0.5", "").strip() for line in lines[1:4]).startswith(
        name[:30]
    )
    assert table.to_text().splitlines()[-1] == "word " * 40  # whole where no terminal asks


def test_the_width_is_the_terminal_s_and_a_hundred_where_there_is_none(monkeypatch):
    rows = [["a", *["-100.00 ± 0.50"] * 12]]
    table = Table(heads=[["pair"], *([f"score {j}"] for j in range(12))], rows=rows)
    monkeypatch.delenv("COLUMNS", raising=False)
    widest = {w: max(map(len, table.to_text(w).splitlines())) for w in (70, 100, 200)}
    assert max(map(len, table.to_text().splitlines())) == widest[100]
    for columns in (70, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert max(map(len, table.to_text().splitlines())) == widest[columns]


def test_a_mark_over_a_letter_takes_no_room():
    lines = Table(heads=[["guide"], ["R̂"], ["k̂"]], rows=[["nuts", "1.00", "0.10"]]).to_text()
    head, row = lines.splitlines()
    assert len(head.replace("\N{COMBINING CIRCUMFLEX ACCENT}", "")) == len(row)


def test_several_tables_leave_out_rows_without_numbers_and_say_why():
    names, heads = ["a", "b"], [["ELBO"], ["MSE"]]
    cells = [["-1.0", "0.5"], [Absent(f"no density: {NASTY}"), "0.25"]]
    groups = [Group("bounds", "nats", [0]), Group("errors", "per pixel", [1])]
    missing = left_out(names, heads, cells, groups)
    found = Tables(tables=in_groups("", names, heads, cells, groups), above=[NASTY], notes=missing)
    assert [[row[0] for row in table.rows] for table in found.tables] == [["a"], ["a", "b"]]
    assert missing == [f"ELBO – none for b: no density: {NASTY}"]
    page = _Text(found.to_html())
    assert {"script", "img"}.isdisjoint(page.tags)
    assert page.tags.count("table") == 2
    assert {NASTY, missing[0], "bounds", "per pixel"} <= set(page.found)
    assert "bounds\nnats" in found.to_text()
    assert "**errors** – per pixel" in found.to_markdown()
    assert [line.split(",")[0] for line in found.to_csv().splitlines()] == [
        "",
        "a",
        "",
        "",
        "a",
        "b",
    ]


def test_csv_has_the_cells_or_what_says_more(table):
    lines = list(csv.reader(io.StringIO(table.to_csv())))
    assert lines[1:] == [[NASTY, "-1.0", ""], ["b", "", ""], ["c", "", ""]]
    more = Table(heads=[["a"]], rows=[], records=[["x", "y"], [1.5, float("nan")], [None, NASTY]])
    assert list(csv.reader(io.StringIO(more.to_csv()))) == [["x", "y"], ["1.5", ""], ["", NASTY]]


def test_every_result_is_a_table_in_a_notebook():
    data = load_data("digits", preparation="dequantised")
    ppca = PPCA.maximum_likelihood(data.prepared("train").x, latent_dim=2)
    few = {"limit": 5}
    found = evaluate(ppca, data, num_particles=2, **few)
    completed = evaluate_completion(ppca, data, "left", **few)
    diagnosed = diagnose(ppca, data, num_particles=2, **few)
    for result in (found, completed, diagnosed, compare([found, completed])):
        page = _Text(result._repr_html_())
        assert "table" in page.tags
        assert result.to_markdown().count("\n|") >= 2
        assert len(list(csv.reader(io.StringIO(result.to_csv())))) > 1
    assert "MSE of unseen pixels" in compare([completed]).to_html()
    rows = diagnosed.to_text().splitlines()[-2:]
    assert sorted(line.split()[0] for line in rows) == ["1", "2"]  # as in z₁, z₂


def test_a_name_of_any_kind_is_one_line_of_every_face():
    names = ["two\nlines", "*both*", "`code`", "_in_", "[a](b)", "a &lt; b", "in_word"]
    table = Table(heads=[["name"], ["value"]], rows=[[name, "1"] for name in names])
    assert len(table.to_text().splitlines()) == len(names) + 1
    shown = [line.split(" | ")[0][2:] for line in table.to_markdown().splitlines()[2:]]
    marked = [r"\*both\*", r"\`code\`", r"\_in_", r"[a]\(b)", r"a \&lt; b", "in_word"]
    assert shown == ["two lines", *marked]
