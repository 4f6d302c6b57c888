"""The table of course tasks has a row for every task of every sheet, and tells the truth."""

import re
from pathlib import Path

import pytest

from pyro_models import preset_names

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
README = (NOTEBOOKS / "README.md").read_text()
SHEETS = {  # of each task what its row must name
    "Copenhagen, density modelling": (
        "dense VAE, cross-entropy of grey pixels",
        "convolutional VAE",
        "PCA",
        "mixture",
        "Bayesian decoder weights",
        "diffusion",
        "in one table",
        "conversion",
        "scatter by class",
        "grid of z",
        "reconstructions from sampled z",
    ),
    "Copenhagen, function fitting": (
        "kernel and priors",
        "by NUTS",
        "quality of the sample",
        "m ± 2√v",
        "posterior mean of θ",
        "Algorithm 1",
        "how often the minimum is found",
        "a remedy",
        "step size that collapses",
    ),
    "Toronto CSC412/2506, A3": (
        "the model and the encoder",
        "the ELBO as a mean",
        "scatter of a batch",
        "ten prior samples, with the mean and three draws of each",
        "four digits, with two z each",
        "50 × 50 lattice",
        "interpolation of three pairs of classes, ten points",
        "without the unseen pixels",
        "by the ELBO, with its own μ and log σ",
        "isocontours",
        "under the true top",
        "scored as zeros",
    ),
    "Toronto CSC412/2506, project": (
        "loss curves and random samples",
        "variance along each latent dimension",
        "all of them",
        "half of them",
        "coded as zeros",
        "Fashion-MNIST",
        "Jensen–Shannon",
        "IWAE with 5 and 10 samples",
        "L₅ with L₁₀",
        "Σ w̃ log w",
        "Beta likelihood",
        "the bottom from the top",
    ),
    "Eindhoven 2AMU20, assignment 3": (
        "1: Gaussian",
        "1: ELBO curves",
        "1: a stopping criterion",
        "1: save and load",
        "1: the first 32 test images",
        "1: prior samples",
        "2: Beta",
        "2: categorical pixels, and the way back to numbers",
        "2: the Bernoulli cross-entropy",
        "2: which is most appropriate",
        "3: scatter of the first 1,000 test means, K = 2",
        "3: the same after PCA",
        "3: interpolation",
        "4: Ψ*",
        "4: original, encoder-free, encoder",
        "4: the right half from the left",
    ),
    "Tsinghua, deep learning homework 7": (
        "CVAE",
        "the bound for (x, y)",
        "loss curve",
        "epochs 1, 6 and 11",
    ),
    "Amsterdam, deep learning assignment 3": (
        "by Monte Carlo",
        "KL in closed form",
        "VAE: curves",
        "64 samples at three moments",
        "inverse normal CDF",
        "GAN: training",
        "25 samples",
        "interpolation in 7 steps",
        "flow: affine couplings with checkerboard masks",
        "flow: uniform, then variational dequantisation",
        "flow: curves in bits per dimension",
        "below 1.85",
        "the three families compared",
    ),
    "Of every sheet": ("on paper", "training loop"),
}


def rows_of(sheet):
    """Task and place of every row of a sheet's table."""
    (section,) = re.findall(rf"^### {re.escape(sheet)}$(.*?)(?=^##)", README, re.M | re.S)
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in re.findall(r"^\|.*\|$", section, re.M)]
    return [(task.strip(), where.strip()) for task, where in cells[2:]]


def headings_of(name):
    text = (NOTEBOOKS / f"{name}.py").read_text()
    return set(re.findall(r"^# #+ (.*)$", text, re.M))


@pytest.mark.parametrize("sheet", SHEETS)
def test_every_task_of_a_sheet_has_a_row(sheet):
    rows = rows_of(sheet)
    for task in SHEETS[sheet]:
        assert len([row for row in rows if task in row[0]]) == 1, task
    assert len(rows) == len(SHEETS[sheet])


@pytest.mark.parametrize("sheet", SHEETS)
def test_a_row_says_where_or_why_not(sheet):
    for task, where in rows_of(sheet):
        is_place = re.search(r"\]\(|presets? `|`pyro-models |by the command|^`DATA", where)
        assert is_place or where.startswith("not covered: "), task


@pytest.mark.parametrize("sheet", SHEETS)
def test_sections_and_presets_of_a_row_exist(sheet):
    for task, where in rows_of(sheet):
        text = where.replace(r"\|", "|")
        for name, heading in re.findall(r"\]\((\w+)\.ipynb\)(?:, \*([^*]+)\*)?", text):
            assert not heading or heading in headings_of(name), (task, heading)
        for named in re.findall(r"presets? ((?:`[\w-]+`(?:, | and )?)+)", text):
            assert set(re.findall(r"`([\w-]+)`", named)) <= set(preset_names()), task


def test_sheets_are_those_of_the_table():
    table = README[README.index("## Which course task is where") :]
    assert re.findall(r"^### (.*)$", table, re.M) == list(SHEETS)


def test_links_lead_somewhere():
    for place, anchor in re.findall(r"\]\(([^)#]+)(?:#([^)]+))?\)", README):
        target = NOTEBOOKS / place
        assert target.exists(), place
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            assert anchor in {title.lower().replace(" ", "-") for title in titles}, anchor
