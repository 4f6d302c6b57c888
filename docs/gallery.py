"""Draw the gallery: small models of the bundled digits, and every figure that there is.

    python docs/gallery.py                     # learns them (some minutes), writes docs/gallery/ and docs/gallery.md
    python docs/gallery.py --only latent_grid  # draws that one anew

What a picture shows is drawn by the very line of code that stands below it.
"""

from __future__ import annotations

import argparse
import inspect
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pyro
import pyro.distributions as dist
import torch

import gp_bo.figures
import gp_bo.optimize.figures
import inference
from gp_bo import Optimizer, fit_gp
from inference import (
    calibrate,
    figures,
    fit,
    infer,
    sweep,
)
from pyro_models import CVAE, GMM, PPCA, VAE, Diffusion, Generator, load_data

HERE = Path(__file__).parent
FOLDER = HERE / "gallery"
WIDTH = 44  # characters of a line of code below a picture

PICTURES: dict[str, dict[str, str]] = {
    "Images": {
        "reconstructions": "figures.reconstructions(vae, x, columns=6, rows=4)",
        "reconstructions_by_model": "figures.reconstructions_by_model(models, real)",
        "prior_samples": "figures.prior_samples(vae, n=48)",
        "samples_by_model": "figures.samples_by_model(models, n=16)",
        "class_grid": "figures.class_grid(cvae, per_class=6)",
        "interpolation": "figures.interpolation(vae, x[:4], x[4:8])",
        "mixture_means": "figures.mixture_means(gmm)",
        "nearest": "figures.nearest(vae, train, columns=6, rows=4)",
        "completions": "figures.completions(complete(vae, x[:6], 'left', num_samples=4), x[:6])",
        "encoder_free": "figures.encoder_free(infer(vae, x[:8], guide='full_covariance'), rows=4)",
    },
    "Latents": {
        "latent_scatter": "figures.latent_scatter(vae, test.x, test.y)",
        "latent_grid": "figures.latent_grid(vae, size=14)",
        "latent_contours": "figures.latent_contours(vae, x[:1], 'top', infer(vae, x[:1], mask='top', guide='full_covariance'))",
        "latent_use": "figures.latent_use(diagnose(wide, data, num_particles=100))",
        "marginals": "figures.marginals(infer(schools, y, sigma, guide='full_covariance'))",
    },
    "Learning and choosing": {
        "learning_curves": "figures.learning_curves(history)",
        "learning_rates": "figures.learning_rates(find_lr(VAE(data.data_shape, latent_dim=2), data))",
        "setting_curves": "figures.setting_curves(found)",
        "search_progress": "figures.search_progress(searched)",
        "sigma_curves": "figures.sigma_curves(sigma_curve(gan, validation, [0.1, 0.14, 0.2, 0.28, 0.4], num_temperatures=100))",
    },
    "Guides and calibration": {
        "guide_gaps": "figures.guide_gaps(compare_guides(vae, x, guides=['encoder', 'normal', 'full_covariance']))",
        "guide_marginals": "figures.guide_marginals(compare_guides(schools, y, sigma, guides=['normal', 'full_covariance', chains], log_evidence=-31.3))",
        "rank_histograms": "figures.rank_histograms(calibrated)",
        "rank_ecdfs": "figures.rank_ecdfs(calibrated)",
        "expected_coverage": "figures.expected_coverage(calibrated)",
    },
    "Diffusions": {
        "denoising": "figures.denoising(diffusion)",
        "fewer_steps": "figures.fewer_steps(diffusion, num_steps=(20, 5))",
        "between_samples": "figures.between_samples(diffusion)",
    },
    "Functions": {
        "bands": "gp_bo.figures.bands(fitted, truth=f, num_functions=3)",
        "hyper_scatter": "gp_bo.figures.hyper_scatter(fitted)",
        "traces": "gp_bo.figures.traces(fitted)",
        "search_figure": "gp_bo.optimize.figures.search_figure(search)",
        "progress_figure": "gp_bo.optimize.figures.progress_figure(search)",
    },
}
"""By heading: name → the expression that draws it, of the names that ``Shown`` has."""

MODULES = (figures, gp_bo.figures, gp_bo.optimize.figures)


def schools(y: torch.Tensor, sigma: torch.Tensor) -> None:
    """Eight schools, non-centred."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", len(y)):
        eta = pyro.sample("eta", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu + tau * eta, sigma), obs=y)


def f(x: torch.Tensor) -> torch.Tensor:
    """A function of one input, (N, 1), to be learned and minimised."""
    x = x.reshape(-1)
    return (3 * x).sin() + 0.3 * (x - 1) ** 2


class Shown:
    """What the expressions are about, each learned where it is first asked for."""

    y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    sigma = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])

    @cached_property
    def data(self) -> Any:
        return load_data("digits", preparation="threshold")

    @cached_property
    def test(self) -> Any:
        return self.data.prepared("test")

    @cached_property
    def x(self) -> torch.Tensor:
        return self.test.x[:24]

    @cached_property
    def train(self) -> torch.Tensor:
        return self.data.prepared("train").x

    @cached_property
    def _fitted_vae(self) -> Any:
        vae = VAE(self.data.data_shape, latent_dim=2, hidden=[128, 64])
        return fit(vae, self.data, epochs=40, lr=2e-3, batch_size=64, progress=False)

    @cached_property
    def vae(self) -> Any:
        return self._fitted_vae.pair

    @cached_property
    def history(self) -> Any:
        return self._fitted_vae.history

    @cached_property
    def wide(self) -> Any:
        vae = VAE(self.data.data_shape, latent_dim=10, hidden=[64])
        return fit(vae, self.data, epochs=25, lr=2e-3, batch_size=64, progress=False).pair

    @cached_property
    def cvae(self) -> Any:
        cvae = CVAE(self.data.data_shape, num_classes=10, latent_dim=4, hidden=[128])
        return fit(cvae, self.data, epochs=30, lr=2e-3, batch_size=64, progress=False).pair

    @cached_property
    def gmm(self) -> Any:
        data = load_data("digits", preparation="dequantised")
        return fit(
            GMM(data.data_shape, num_components=20), data, epochs=15, lr=3e-2, progress=False
        ).pair

    @cached_property
    def models(self) -> dict[str, Any]:
        data = load_data("digits", preparation="dequantised")
        vae = VAE(data.data_shape, latent_dim=6, hidden=[128], likelihood="gaussian")
        fitted = fit(vae, data, epochs=40, lr=2e-3, batch_size=64, progress=False)
        ppca = PPCA.maximum_likelihood(data.prepared("train").x, latent_dim=6)
        return {"VAE, 6 latents": fitted.pair, "PPCA, 6 latents": ppca, "GMM, 20 means": self.gmm}

    @cached_property
    def real(self) -> torch.Tensor:
        return load_data("digits", preparation="dequantised").prepared("test", limit=10).x

    @cached_property
    def diffusion(self) -> Any:
        data = load_data("digits")
        pair = Diffusion(data.data_shape, num_steps=100, levels=data.levels, hidden=[16, 32])
        return fit(pair, data, epochs=10, lr=2e-3, clip_norm=100.0, progress=False).pair

    @cached_property
    def gan(self) -> Any:
        data = load_data("digits", preparation="dequantised")
        gan = Generator(data.data_shape, latent_dim=10, hidden=[128, 64])
        return fit(gan, data, objective="adversarial", epochs=15, progress=False).pair

    @cached_property
    def validation(self) -> torch.Tensor:
        return load_data("digits", preparation="dequantised").prepared("validation", limit=20).x

    @cached_property
    def found(self) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            options = {"options": {"hidden": [32]}, "epochs": 10, "progress": False}
            grid = {"options.latent_dim": [1, 2, 4]}
            return sweep("vae", "digits", grid=grid, seeds=[0, 1], out=folder, **options)

    @cached_property
    def searched(self) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            options = {"options": {"hidden": [32]}, "epochs": 5, "progress": False}
            space = {"lr": (1e-4, 1e-1, "log"), "options.latent_dim": (1, 20)}
            search = {"search": "gp_bo", "space": space, "trials": 14, "seeds": [0]}
            return sweep("vae", "digits", **search, out=folder, **options)

    @cached_property
    def chains(self) -> Any:
        options = {"num_samples": 200, "num_chains": 4, "warmup": 200}
        return infer(schools, self.y, self.sigma, guide="nuts", guide_options=options)

    @cached_property
    def calibrated(self) -> Any:
        return calibrate(schools, self.y, self.sigma, guide="normal", num_simulations=60)

    @cached_property
    def fitted(self) -> Any:
        x = torch.tensor([-1.0, -0.4, 0.2, 1.1, 1.9, 2.4], dtype=torch.float64)[:, None]
        return fit_gp(x, f(x), inference="nuts", seed=0)

    @cached_property
    def search(self) -> Any:
        search = Optimizer([(-1.0, 3.0)], seed=0)
        for _ in range(10):
            [point] = search.ask()
            search.tell(point, float(f(torch.tensor(point))))
        return search


def caption(name: str) -> str:
    """The first sentence of a figure's docstring."""
    function: Callable[..., Any] = next(vars(m)[name] for m in MODULES if name in vars(m))
    return " ".join(inspect.cleandoc(function.__doc__ or "").split("\n\n")[0].split())


def draw(name: str, expression: str, shown: Shown) -> None:
    """Draw one, from the names in its expression alone, and keep it as a PNG."""
    around = {
        n: getattr(shown, n)
        for n in compile(expression, name, "eval").co_names
        if hasattr(Shown, n)
    }
    torch.manual_seed(0)
    called = {name: getattr(inference, name) for name in inference.__all__}
    figure = eval(expression, globals() | called | around)
    figure.savefig(
        FOLDER / f"{name}.png", dpi=80, bbox_inches="tight", pil_kwargs={"optimize": True}
    )
    print(name, flush=True)


def formatted(expression: str) -> list[str]:
    """The expression in lines that fit below a picture."""
    command = [sys.executable, "-m", "ruff", "format", "--line-length", str(WIDTH), "-"]
    done = subprocess.run(command, input=expression, capture_output=True, text=True, check=True)
    return done.stdout.strip().split("\n")


def page() -> str:
    """The page of all pictures, in Markdown."""
    lines = [
        "# Gallery",
        "",
        "Figures, drawn of small models of the bundled digits by the line of code below it.",
        "`python docs/gallery.py` learns the models and draws all of them again; `pyro-models plot RUN --figure NAME`",
        "draws those of a trained pair. Each has its place in the {doc}`reference of figures </docs/reference/figures>`.",
    ]
    for heading, pictures in PICTURES.items():
        lines += ["", f"## {heading}", "", "::::{grid} 1 1 2 2", ":gutter: 3"]
        for name, expression in pictures.items():
            lines += ["", f":::{{grid-item-card}} {name}", f"![{name}](gallery/{name}.png)", ""]
            lines += [caption(name), "", "```python", *formatted(expression), "```", ":::"]
        lines += ["::::"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Draw what is asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="names of figures; all unless given")
    only = parser.parse_args().only
    mpl.use("agg")
    warnings.simplefilter("ignore")
    FOLDER.mkdir(exist_ok=True)
    shown = Shown()
    for pictures in PICTURES.values():
        for name, expression in pictures.items():
            if only is None or name in only:
                draw(name, expression, shown)
    (HERE / "gallery.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
