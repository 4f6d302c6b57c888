"""The demonstration writes a page on which every figure and number is there."""

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch

from inference import report
from inference.learning import Run
from inference.report import demonstration, models, samples, unseen
from pyro_models import UsageError


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.images, self.links, self.open, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "img":
            self.images.append(given["src"])
            assert given["alt"]
        if tag == "a":
            self.links.append(given["href"])
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


NAMES = (
    "VAE, dense",
    "VAE, convolutional",
    "CVAE, dense",
    "VAE, dense, Gaussian",
    "PPCA, 10 components",
    "GMM, 20 components",
    "flow, uniform dequantisation",
    "GAN",
)


def undated(page):
    """The page without the line that says when it was made, with what, and by which seed."""
    return re.sub('<p class="byline">.*?</p>', "", page, flags=re.DOTALL)


@pytest.fixture
def short(monkeypatch):
    """One epoch, and no more than a small network, for every model."""
    entries = tuple(
        replace(
            entry,
            training={**entry.training, "epochs": 1, "curve_size": 50},
            options={**entry.options, "hidden": [8]}
            if entry.options.get("network") != "conv" and "hidden" in entry.options
            else entry.options,
        )
        for entry in models.ENTRIES
    )
    monkeypatch.setattr(demonstration, "ENTRIES", entries)
    monkeypatch.setattr(samples, "QUANTITIES", ("coverage", "coverage_mean"))
    monkeypatch.setattr(unseen, "IMAGES", 8)
    monkeypatch.setattr(unseen, "HALF_SEEN", 8)
    monkeypatch.setattr(unseen, "ANNEALING", {**unseen.ANNEALING, "num_temperatures": 2})
    return entries


def test_the_page_holds_what_it_promises(short, tmp_path, capsys):
    folder = tmp_path / "report"
    table = report.demo(str(folder), num_particles=2, progress=False)
    assert f"report: {folder / 'index.html'}" in capsys.readouterr().out
    page = _Page()
    text = (folder / "index.html").read_text()
    page.feed(text)
    assert page.open == []
    assert len(page.images) == sum(1 + len(entry.draw) for entry in short) + 3
    assert len(set(page.images)) == len(page.images)
    for name in page.images:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in (folder / "figures").iterdir()) == sorted(
        name.removeprefix("figures/") for name in page.images
    )
    for link in page.links:
        assert link.startswith(("http", "#")) or (folder / link).exists()
    assert "$" not in text
    assert table.rows == NAMES
    for entry in short:
        assert f'<section id="{entry.key}">' in text
        assert Run(folder / "runs" / entry.key).load_pair().config()["data_shape"] == [1, 8, 8]
    for title in ("Without the encoder", "Half of an image", "Samples", "floor: training data"):
        assert title in page.text
    lines = list(csv.DictReader(io.StringIO((folder / "comparison.csv").read_text())))
    assert {line["name"] for line in lines} == set(table.rows)
    assert (folder / "comparison.md").read_text() == table.to_markdown()
    (head,) = re.findall('<p class="byline">(.*?)</p>', text, re.DOTALL)
    for said in (
        f"torch {torch.__version__.split('+')[0]}",
        "Pyro 1.",
        "Python 3.",
        "digits",
        "8×8",
    ):
        assert said in head
    assert re.search(r"\d{1,2} \w+ \d{4}", head)
    captions = re.findall("<figcaption>(.*?)</figcaption>", text)
    assert len(captions) == len(page.images)
    assert all("<b>" in caption for caption in captions[:-1])  # what it is, and what to see
    assert "mse_" not in text
    assert not re.search(
        r"<tr><th>[^<]*</th>(<td[^>]*>–[^<]*</td>)+</tr>",
        text.split("Samples</h2>")[0].split('id="vae"')[0],
    )
    grey = [line for line in lines if line["name"] == "VAE, dense"]
    assert any("no p(x)" in line["reason"] for line in grey)
    bits = {
        line["name"] for line in lines if line["quantity"] == "bits_per_dimension" and line["value"]
    }
    assert bits == {
        "VAE, dense, Gaussian",
        "PPCA, 10 components",
        "GMM, 20 components",
        "flow, uniform dequantisation",
    }
    with pytest.raises(UsageError, match="holds a report"):
        report.demo(str(folder), progress=False)


def test_a_report_is_replaced_only_with_force(short, monkeypatch, tmp_path):
    monkeypatch.setattr(demonstration, "ENTRIES", [replace(short[-1], draw={})])
    monkeypatch.setattr(demonstration, "_unseen", lambda *_, **__: [])
    folder = tmp_path / "report"
    report.demo(str(folder), num_particles=1, progress=False)
    (folder / "figures" / "stale.png").touch()
    first = (folder / "index.html").read_text()
    report.demo(str(folder), num_particles=1, progress=False, force=True)
    assert not (folder / "figures" / "stale.png").exists()
    assert undated((folder / "index.html").read_text()) == undated(first)
    report.demo(str(folder), num_particles=1, progress=False, force=True, seed=1)
    assert undated((folder / "index.html").read_text()) != undated(first)


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_is_no_report_is_left_alone(force, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not a report"):
        report.demo(str(tmp_path), force=force, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
