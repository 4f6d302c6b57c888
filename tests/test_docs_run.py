"""Every block of code of the pages runs, or its options are read by the parser that would read them.

Blocks of Python run in the order of their page, on small data: what a page takes as given is made
first (``given``), and what would take long is made short (``shorter``). Command lines run in bash, with
recorders in the place of the commands, and each is then read by the command's own parser. What cannot
run is named with the reason, which pytest prints (``-rs``).
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

import gp_bo.cli
import inference.cli
from gp_bo.kernels import KERNELS
from gp_bo.optimize import ACQUISITIONS
from inference.objectives import OBJECTIVES

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "notebooks/README.md")
}
FENCE = re.compile(r"^(`{3,}|:{3,})(.*)$")
PROGRAMS = ("pyro-models", "gp-bo")
COMMANDS = (*PROGRAMS, "make", "pip", "python", "torchrun", "jupytext", "for", ".")

TESTED_ELSEWHERE = {
    "docs/any-model.md": "test_docs.py",
    "docs/diffusion.md": "test_docs.py",
    "docs/flows.md": "test_docs.py",
    "docs/how-fast.md": "test_docs.py",
    "docs/my-own-guide.md": "test_docs.py",
    "docs/my-own-model.md": "test_docs.py",
    "docs/which-guide.md": "test_docs.py",
    "docs/my-own-kernel.md": "gp_bo/test_docs.py",
}
"""Pages whose blocks run where more is asserted of them."""

LEFT_OUT = {
    "docs/gallery.md": "each line is run by docs/gallery.py, which draws the picture above it",
    "docs/on-a-cluster.md": "needs processes started by torchrun: tests/inference/learning has them",
    "docs/vae-gan-flow.md": "needs the trainings of the page, which take minutes",
}
"""Pages whose blocks of Python do not run, and why."""


@dataclass(frozen=True)
class Made:
    """What a page's blocks are given, and what is replaced so that they take seconds."""

    given: str = ""
    shorter: dict[str, str] = field(default_factory=dict)


_DIGITS = """
import torch
from inference import *
from pyro_models import *
torch.manual_seed(0)
data = load_data("digits", preparation="threshold")
vae = pair = VAE(data.data_shape, latent_dim=2, hidden=[8])
x = data.prepared("test", limit=3).x
"""
MADE = {
    "README.md": Made(
        _DIGITS
        + """
import pyro
import pyro.distributions as dist
from pyro.infer import SVI
from inference.objectives import IWAE
few = 25
_fit = fit
y, sigma = torch.tensor([28.0, 8.0, -3.0]), torch.tensor([15.0, 10.0, 16.0])
def f(point): return float(point[0])
""",
        {
            "fit(pair, data, lr=1e-2)": "fit(pair, data, lr=1e-2, epochs=1, progress=False)",
            'guide="full_covariance").summary()': 'guide="laplace").summary()',
            "vae, data, objective=IWAE(num_particles=5)": "vae, data, objective=IWAE(num_particles=5), epochs=1, progress=False",
            "epochs=3": "epochs=1",
            'mask="left", guide="full_covariance")': 'mask="left", guide="normal", max_steps=10)',
            'complete(vae, x, "left")': 'complete(vae, x, "left", infer_options={"max_steps": 10})',
            'guides=["encoder", "normal", "full_covariance"]': 'guides=["encoder", "normal"], num_particles=10, num_temperatures=5, num_chains=2, max_steps=10',
            "from gp_bo import fit_gp, minimize, to_arviz": "from gp_bo import fit_gp, minimize\nX = torch.linspace(0, 6, 8, dtype=torch.float64)[:, None]\ny = ys = X.sin()[:, 0]\nXs = X",
            'inference="nuts")  # warns': 'inference="map")  # warns',
            "to_arviz(fitted)  #": "#",
            "budget=30": "budget=6",
        },
    ),
    "docs/index.md": Made(
        shorter={"fit(pair, data, lr=1e-2)": "fit(pair, data, lr=1e-2, epochs=1, progress=False)"}
    ),
    "docs/how-many-labels.md": Made(
        _DIGITS,
        {
            '"mnist"': '"digits"',
            "num_classes=10, classification_weight=10.0": "num_classes=10, hidden=[8]",
            "labelled_per_batch=100)": "labelled_per_batch=20, epochs=1, progress=False)",
            "num_classes=10, classification_weight=alpha": "num_classes=10, hidden=[8], classification_weight=alpha",
            "labelled_per_batch=100, epochs=10": "labelled_per_batch=20, epochs=1, progress=False",
            "[0.1, 1.0, 10.0, 100.0]": "[1.0, 10.0]",
        },
    ),
    "docs/is-it-calibrated.md": Made(shorter={"num_simulations=200": "num_simulations=20"}),
    "docs/larger-than-memory.md": Made(shorter={"(300, 28, 28)": "(60, 8, 8)"}),
    "docs/optimise-by-hand.md": Made(
        "molecules = [(0.1, 1.0), (0.5, 2.0), (0.9, 3.0)]\ndef measure(point): return sum(point)\n"
    ),
    "docs/tables.md": Made(
        """
import pandas as pd
table = pd.DataFrame({
    "age": [30.5, 41.2, None, 28.9] * 10,
    "eyes": ["brown", "blue", None, "green"] * 10,
    "outcome": [0, 1, 0, 1] * 10,
})
table.to_csv("table.csv", index=False)
table.drop(columns="outcome").head(4).to_csv("new.csv", index=False)
""",
        {"epochs=300": "epochs=1, progress=False", "hidden=[64]": "hidden=[8]"},
    ),
    "docs/train-a-gan.md": Made(
        shorter={"epochs=60": "epochs=1, progress=False", "hidden=[256, 128]": "hidden=[8]"}
    ),
    "docs/which-bound.md": Made(
        _DIGITS
        + """
from inference.objectives import DReG
_fit = fit
def fit(*given, **options): return _fit(*given, epochs=1, progress=False, **options)
""",
        {'"num_particles": 50': '"num_particles": 5', "num_particles=50": "num_particles=5"},
    ),
    "docs/which-likelihood.md": Made("from pyro_models import *\ndata = load_data('digits')\n"),
    "docs/which-prior.md": Made(shorter={"epochs=5": "epochs=1", "hidden=[64]": "hidden=[8]"}),
    "docs/wu.md": Made(
        """
from pyro_models import Generator, load_data
data = load_data("digits", preparation="dequantised")
gan = Generator(data.data_shape, latent_dim=3, hidden=[8])
validation, x = data.prepared("validation", limit=3).x, data.prepared("test", limit=2).x
""",
        {"num_temperatures=600": "num_temperatures=5", "limit=30": "limit=2, num_temperatures=5",
         "num_data=10": "num_data=2", "validation=validation": "validation=validation, num_samples=20"},
    ),
    "docs/how-to-choose.md": Made(),
    "docs/on-a-gpu.md": Made(),
    "docs/my-own-data.md": Made(),
    "docs/save-share-load.md": Made(),
    "docs/which-score.md": Made(),
    "docs/reading-diagnostics.md": Made(),
    "docs/reproduce-a-row.md": Made(),
    "docs/report-a-bug.md": Made(),
}
