"""Every registered figure, of small models; a figure that is registered must be added here."""

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from matplotlib.figure import Figure

from inference import Calibration, compare_guides, complete, diagnose, figures, infer
from inference.evaluation import Evaluation, Score, SigmaCurve
from inference.learning import FoundRate
from inference.learning.history import Epoch, History
from inference.selection.row import Row
from inference.selection.table import Sweep
from inference.selection.trial import Outcome
from pyro_models import CVAE, GMM, VAE, Diffusion, Generator, load_data

SHAPE = (1, 8, 8)


def history(*, bounds: float = -97.0, epochs: int = 12, measures: bool = False) -> History:
    """A training whose bounds rise."""
    made = tuple(
        Epoch(
            epoch=i,
            running=bounds - 4 - 40 / i,
            train=bounds - 30 / i,
            validation=bounds - 2 - 30 / i,
            learning_rate=1e-3,
            beta=1.0,
            seconds=1.0,
            measures={"generator_loss": 1 / i, "critic_loss": 2 / i} if measures else {},
        )
        for i in range(1, epochs + 1)
    )
    counts = {"train": 10_000, "validation": 6_000}
    return History(made, objective="elbo (mean_field)", best_epoch=epochs - 1, curve_data=counts)


def vae(**options: Any) -> VAE:
    pyro.set_rng_seed(0)
    return VAE(SHAPE, **{"latent_dim": 2, "hidden": [16], "likelihood": "bernoulli", **options})


def far_apart() -> VAE:
    """One whose posterior means lie far out, so that ticks have two digits and a sign."""
    pair = vae()
    with torch.no_grad():
        for parameter in pair.guide.parameters():
            parameter.mul_(60)
    return pair


def model(y: torch.Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    pyro.sample("y", dist.Normal(mu[0], 1.0).expand([len(y)]).to_event(1), obs=y)


def swept() -> Sweep:
    rows = []
    for lr in (0.001, 0.01):
        outcomes = []
        for seed, value in enumerate((-90.0 - 100 * lr, -91.0)):
            score = Score(
                *("elbo", value, 0.5, "nats per datum", "lower bound", "digits", "validation"),
                *("threshold", 180, 64, "counting on {0,1}"),
                num_particles=100,
            )
            evaluation = Evaluation(f"{lr}", {"elbo": score})
            outcomes.append(Outcome(None, seed, evaluation))
        rows.append(Row({"lr": lr}, tuple(outcomes), "elbo"))
    return Sweep(tuple(rows), {"lr": [0.001, 0.01]}, (0, 1), None)


class Every:
    """What figures are drawn of, made once."""

    def __init__(self) -> None:
        self.data = load_data("digits", preparation="threshold")
        test = self.data.prepared("test", limit=60)
        self.x, self.y = test.x, test.y
        self.vae, self.gmm = vae(), GMM(SHAPE, num_components=3)
        self.cvae = CVAE(SHAPE, num_classes=10, latent_dim=2, hidden=[8], likelihood="bernoulli")
        self.diffusion = Diffusion(SHAPE, num_steps=6, hidden=[8])
        few: dict[str, Any] = {"max_steps": 2, "progress": False}
        quick = {"num_temperatures": 4, "num_chains": 2}
        x = self.x
        self.half = {
            name: infer(self.vae, x[:1], mask="top", guide=name, **few)
            for name in ("normal", "full_covariance")
        }
        self.posterior = infer(self.vae, x[:6], guide="normal", **few)
        self.completed = complete(self.vae, x[:4], "left", guide="encoder", num_samples=3)
        self.diagnosis = diagnose(self.vae, self.data, limit=10, num_particles=5, progress=False)
        self.guides = compare_guides(
            self.vae,
            x[:4],
            guides=["prior", "normal"],
            num_particles=5,
            infer_options=few,
            evidence_options={"method": "annealing", **quick},
        )
        y = torch.zeros(4)
        self.program = infer(model, y, guide="laplace")
        self.programs = compare_guides(
            model, y, guides=["laplace"], num_particles=50, evidence_options=quick
        )
        ranks = torch.randint(0, 100, (200,), generator=torch.Generator().manual_seed(0))
        self.calibration = Calibration({"tarp": ranks, "mu": ranks}, num_draws=99)
        gan = Generator((5,), latent_dim=2, hidden=[8])
        values = torch.tensor([[-9.0, -8.0], [-3.0, -2.0], [-6.0, -5.0]])
        self.sigmas = SigmaCurve(
            (0.1, 0.5, 2.0), values, 0.1 * values.abs(), "lower bound", "annealing", gan
        )
        self.sweep = swept()
        ramp = torch.logspace(-4, 0, 9)
        loss = (ramp.log() + 4).square()
        self.rates = FoundRate(
            0.01, "valley", 30.0, ramp, loss, loss, None, "elbo", "nats per datum"
        )

    def figures(self) -> dict[str, Callable[..., Figure]]:
        """Functions of ``ax`` and ``title`` for all names in the registry, and for harder cases."""
        x, y, v = self.x, self.y, self.vae
        f = figures
        long = {"a convolutional VAE with a long name": v, "GMM": self.gmm}
        return {
            "reconstructions": lambda **to: f.reconstructions(v, x, rows=4, **to),
            "prior_samples": lambda **to: f.prior_samples(v, n=16, **to),
            "class_grid": lambda **to: f.class_grid(self.cvae, per_class=3, **to),
            "interpolation": lambda **to: f.interpolation(v, x[:3], x[3:6], steps=5, **to),
            "mixture_means": lambda **to: f.mixture_means(self.gmm, **to),
            "latent_scatter": lambda **to: f.latent_scatter(v, x, y, **to),
            "latent_scatter, far apart": lambda **to: f.latent_scatter(far_apart(), x, y, **to),
            "latent_scatter, long labels": lambda **to: f.latent_scatter(
                vae(latent_dim=12), x, y * 1111, **to
            ),
            "latent_scatter, three": lambda **to: f.latent_scatter(vae(latent_dim=3), x, y, **to),
            "latent_scatter, one": lambda **to: f.latent_scatter(vae(latent_dim=1), x, y, **to),
            "latent_grid": lambda **to: f.latent_grid(v, size=5, **to),
            "latent_use": lambda **to: f.latent_use(self.diagnosis, **to),
            "completions": lambda **to: f.completions(self.completed, x[:4], **to),
            "encoder_free": lambda **to: f.encoder_free(self.posterior, rows=3, **to),
            "latent_contours": lambda **to: f.latent_contours(v, x[:1], "top", self.half, **to),
            "learning_curves": lambda **to: f.learning_curves(history(), pair=v, **to),
            "learning_curves, of several": lambda **to: f.learning_curves(
                {"a run with quite a long name": history(), "b": history(bounds=-80.0)}, **to
            ),
            "learning_curves, adversarial": lambda **to: f.learning_curves(
                history(measures=True), **to
            ),
            "denoising": lambda **to: f.denoising(self.diffusion, rows=2, columns=3, **to),
            "fewer_steps": lambda **to: f.fewer_steps(
                self.diffusion, columns=4, num_steps=(3,), **to
            ),
            "between_samples": lambda **to: f.between_samples(
                self.diffusion, rows=2, steps=4, num_steps=3, **to
            ),
            "guide_gaps": lambda **to: f.guide_gaps(self.guides, **to),
            "guide_gaps, log": lambda **to: f.guide_gaps(self.guides, log=True, **to),
            "marginals": lambda **to: f.marginals(self.program, **to),
            "guide_marginals": lambda **to: f.guide_marginals(self.programs, **to),
            "nearest": lambda **to: f.nearest(v, x, columns=4, rows=2, **to),
            "sigma_curves": lambda **to: f.sigma_curves({"a long name": self.sigmas}, **to),
            "setting_curves": lambda **to: f.setting_curves(self.sweep, **to),
            "search_progress": lambda **to: f.search_progress(self.sweep, **to),
            "learning_rates": lambda **to: f.learning_rates(self.rates, **to),
            "rank_histograms": lambda **to: f.rank_histograms(self.calibration, **to),
            "rank_ecdfs": lambda **to: f.rank_ecdfs(self.calibration, **to),
            "expected_coverage": lambda **to: f.expected_coverage(self.calibration, **to),
            "reconstructions_by_model": lambda **to: f.reconstructions_by_model(long, x, **to),
            "samples_by_model": lambda **to: f.samples_by_model(long, n=9, **to),
        }
