"""What the blocks of each page are given, what of them is made shorter, and which do not run."""

from dataclasses import dataclass, field

TESTED_ELSEWHERE = {
    "docs/any-model.md": "test_docs.py",
    "docs/diffusion.md": "test_docs.py",
    "docs/flows.md": "test_docs.py",
    "docs/how-fast.md": "test_docs.py",
    "docs/my-own-guide.md": "test_docs.py",
    "docs/my-own-model.md": "test_docs.py",
    "docs/which-guide.md": "test_docs.py",
    "docs/my-own-kernel.md": "gp_bo/test_docs.py",
    "docs/before-you-train.md": "test_docs.py",
    "docs/figures.md": "inference/figures/test_figures_listed.py",
    "docs/save-share-load.md": "test_docs.py",
    "docs/track-a-training.md": "test_docs.py",
    "docs/scikit-learn.md": "inference/estimators/test_page.py",
}
"""Pages whose blocks run where more is asserted of them."""

LEFT_OUT = {
    "docs/gallery.md": "each line is run by docs/gallery.py, which draws the picture above it",
    "docs/on-a-cluster.md": "needs processes that torchrun starts, as tests/inference/learning has",
    "docs/vae-gan-flow.md": "needs the trainings of the page, which take minutes",
}
"""Pages whose blocks of Python do not run, and why."""


@dataclass(frozen=True)
class Made:
    """What a page's blocks are given, and what is replaced so that they take seconds."""

    given: str = ""
    shorter: dict[str, str] = field(default_factory=dict)


_SHORT = """
import inference as _inference
from inference import *
def fit(*given, **options):
    few = {"epochs": 1, "batch_size": 500, "curve_size": 50, "progress": False}
    return _inference.fit(*given, **{**options, **few})
"""
_DIGITS = """
import torch
from inference import *
from pyro_models import *
torch.manual_seed(0)
data = load_data("digits", preparation="threshold")
vae = pair = VAE(data.data_shape, latent_dim=2, hidden=[8])
x = data.prepared("test", limit=3).x
"""
_README = """
import pyro
import pyro.distributions as dist
from pyro.infer import SVI
from inference.objectives import IWAE
y, sigma = torch.tensor([28.0, 8.0, -3.0]), torch.tensor([15.0, 10.0, 16.0])
f = lambda point: float(point[0])
"""
_README_SINE = """
X = Xs = torch.linspace(0, 6, 8, dtype=torch.float64)[:, None]
y = ys = X.sin()[:, 0]
from gp_bo import fit_gp, minimize
"""
_TABLE = """
import pandas as pd
table = pd.DataFrame({
    "age": [30.5, 41.2, None, 28.9] * 10,
    "height": [1.7, 1.8, 1.6, None] * 10,
    "eyes": ["brown", "blue", None, "green"] * 10,
    "outcome": [0, 1, 0, 1] * 10,
})
table.to_csv("table.csv", index=False)
table.drop(columns="outcome").head(4).to_csv("new.csv", index=False)
"""
_GAN = """
from pyro_models import Generator, load_data
data = load_data("digits", preparation="dequantised")
gan = Generator(data.data_shape, latent_dim=3, hidden=[8])
validation, x = data.prepared("validation", limit=3).x, data.prepared("test", limit=2).x
"""
_FEW_STEPS = (
    "num_particles=10, infer_options={'max_steps': 5}, "
    "evidence_options={'num_temperatures': 5, 'num_chains': 2}"
)
_IMPORT_FIT = "from inference import compare, evaluate, fit"
_IMPORT_SHORT = "from inference import compare, evaluate"

MADE = {
    "README.md": Made(
        _DIGITS + _SHORT + _README,
        {
            _IMPORT_FIT: _IMPORT_SHORT,
            'guide="full_covariance").summary()': 'guide="laplace").summary()',
            "epochs=3": "epochs=1",
            'mask="left", guide="full_covariance")': 'mask="left", guide="normal", max_steps=10)',
            'complete(vae, x, "left")': 'complete(vae, x, "left", infer_options={"max_steps": 10})',
            'guides=["encoder", "normal", "full_covariance"]': f'guides=["encoder"], {_FEW_STEPS}',
            "from gp_bo import fit_gp, minimize, to_arviz": _README_SINE,
            'inference="nuts")  # warns': 'inference="map")  # warns',
            "to_arviz(fitted)  #": "#",  # an extra
            "budget=30": "budget=6",
        },
    ),
    "docs/index.md": Made(_SHORT, {_IMPORT_FIT: _IMPORT_SHORT}),
    "docs/how-many-labels.md": Made(
        _DIGITS + _SHORT,
        {
            "from inference import fit\n": "",
            '"mnist"': '"digits"',
            "num_classes=10, ": "num_classes=10, hidden=[8], ",
            "labelled_per_batch=100": "labelled_per_batch=20",
            "[0.1, 1.0, 10.0, 100.0]": "[1.0, 10.0]",
        },
    ),
    "docs/how-to-choose.md": Made(
        "import inference\ngrid = {'options.latent_dim': [1, 2]}\n",
        {
            "from distributed import Client  # pip install 'pyro-models[cluster]'": "",
            'Client("tcp://scheduler:8786"), joblib.parallel_config(backend="dask")': (
                'joblib.parallel_config(backend="sequential")'
            ),
            '"vae", "mnist", grid=grid, out="/shared/sweep"': (
                '"vae", "digits", grid=grid, out="sweep", epochs=1, progress=False'
            ),
        },
    ),
    "docs/is-it-calibrated.md": Made(
        shorter={'guide="normal", num_simulations=200': 'guide="laplace", num_simulations=20'}
    ),
    "docs/larger-than-memory.md": Made(shorter={"(300, 28, 28)": "(60, 8, 8)"}),
    "docs/optimise-by-hand.md": Made("molecules, measure = [(0.1, 1.0), (0.5, 2.0)], sum\n"),
    "docs/tables.md": Made(
        _TABLE, {"epochs=300": "epochs=1, progress=False", "hidden=[64]": "hidden=[8]"}
    ),
    "docs/train-a-gan.md": Made(
        shorter={"epochs=60": "epochs=1, progress=False", "hidden=[256, 128]": "hidden=[8]"}
    ),
    "docs/which-bound.md": Made(
        _DIGITS + _SHORT + "from inference.objectives import DReG\n",
        {'"num_particles": 50': '"num_particles": 5', "num_particles=50": "num_particles=5"},
    ),
    "docs/which-likelihood.md": Made("from pyro_models import *\ndata = load_data('digits')\n"),
    "docs/which-prior.md": Made(shorter={"epochs=5": "epochs=1", "hidden=[64]": "hidden=[8]"}),
    "docs/wu.md": Made(
        _GAN,
        {
            "[0.07, 0.1, 0.14, 0.2]": "[0.2, 0.4, 0.8, 1.6]",
            "num_temperatures=600": "num_temperatures=5",
            "limit=30": "limit=2, num_temperatures=5",
            "num_data=10": "num_data=2",
            "validation=validation": "validation=validation, num_samples=20",
        },
    ),
    "docs/on-a-gpu.md": Made(),
    "docs/my-own-data.md": Made(),
    "docs/which-score.md": Made(),
    "docs/reading-diagnostics.md": Made(shorter={'"num_samples": 100': '"num_samples": 30'}),
    "docs/reproduce-a-row.md": Made(),
    "docs/report-a-bug.md": Made(),
}
