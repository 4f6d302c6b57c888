"""One table: what it holds is in every face of it, whatever the texts are."""

import csv
import io
import re
from html.parser import HTMLParser

import pytest

from inference.evaluation import compare, diagnose, evaluate, evaluate_completion
from inference.evaluation.table import Absent, Table
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


def test_text_numbers_columns_with_small_print_and_ends_with_the_conclusions(table):
    text = table.to_text()
    assert re.search(r"^pair +\(1\) +\(2\)$", text, flags=re.MULTILINE)
    assert "(1) ELBO: nats: a|b" in text
    assert "(2) MSE\n" in text
    assert text.startswith("above ")
    assert text.endswith("\n[b] none\nlast\n")
    reasons = [i for i, line in enumerate(text.splitlines()) if line.startswith("[")]
    assert len(reasons) == 2


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
        assert page.tags[0] == "table"
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
