"""Every result tells itself in a few lines, whatever it holds, in a terminal and in a notebook."""

import contextlib
import dataclasses
import html.parser
import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

import gp_bo
import inference
import pyro_models
from gp_bo.examination.algorithm1 import Algorithm1, Step
from gp_bo.examination.chains import ChainSummary
from gp_bo.inference.maximize import Maximum
from gp_bo.optimize.figures import RegretCurves
from gp_bo.problem import Problem
from inference.evaluation.completion import Conditional
from inference.evaluation.estimates import log_weights
from inference.evaluation.integral import Quadrature
from inference.learning.callbacks import CallbackState
from inference.posterior import optimization
from inference.report.runs import list_runs
from inference.selection.row import Row
from inference.selection.table import Sweep
from inference.selection.trial import Outcome, Trial
from pyro_models.brief import Brief

LINES, WIDTH = 6, 110
NAMES = [  # what users are handed, and may leave as the last line of a cell
    *("inference.learning.fit:Fit", "inference.learning.fit:Fits", "inference:Run"),
    *("inference:Experiment", "inference:Evaluation", "inference:Comparison"),
    *("inference:Posterior", "inference:ProgramPosterior", "inference:GuideComparison"),
    *("inference:Calibration", "inference:Sweep", "inference:Completion"),
    *("gp_bo:FittedGP", "gp_bo:LatentGP", "gp_bo:SparseGP", "gp_bo:Optimizer"),
    "gp_bo.optimize.minimize:Result",
]
UNMADE = {Maximum, Algorithm1, Step, ChainSummary, RegretCurves, Trial, CallbackState}
UNMADE |= {Conditional, Problem, optimization.Outcome}
"""Parts of results that are made deep inside; their contents are arrays and other results."""


def classes(of: type = Brief) -> set[type]:
    own = {c for c in of.__subclasses__() if c.__module__.split(".")[0] in PACKAGES}
    return own.union(*(classes(each) for each in own))


PACKAGES = ("pyro_models", "inference", "gp_bo")


def every_module() -> None:
    for package in (pyro_models, inference, gp_bo):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def model(y: torch.Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(mu, 1.0).expand([len(y)]).to_event(1), obs=y)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Brief]:
    return made(tmp_path_factory.mktemp("runs"))


def made(folder: Path) -> list[Brief]:
    """What the functions of the three packages return."""
    from inference import evaluation, figures, posterior

    data = pyro_models.load_data("digits", preparation="threshold")
    vae = pyro_models.VAE(data.data_shape, latent_dim=2, hidden=[8], likelihood="bernoulli")
    snapshots = inference.Snapshots(figures.prior_samples, at=["end"])
    how = {"epochs": 1, "curve_size": 20, "progress": False, "capture": False}
    learned = inference.fit(vae, data, out=folder / "vae", callbacks=[snapshots], **how)
    seeds = inference.fit(vae, data, seeds=[0, 1], **how)
    x = data.prepared("test", limit=3).x
    q = inference.infer(vae, x, mask="left", guide="normal", max_steps=3, progress=False)
    target = inference.condition(vae, x)
    chains = posterior.hmc(target, num_samples=3, num_chains=2, warmup=20, progress=False)
    few = {"limit": 3, "progress": False}
    scores = inference.evaluate(vae, data, num_particles=2, **few)
    evidence = inference.evidence(vae, x, num_temperatures=4, progress=False)
    y = torch.zeros(4)
    quick = {"num_temperatures": 4, "num_chains": 2}
    of_model = inference.infer(model, y, guide="laplace")
    guides = inference.compare_guides(
        vae,
        x,
        guides=["prior", "normal"],
        num_particles=4,
        infer_options={"max_steps": 3},
        evidence_options={"method": "annealing", **quick},
    )
    of_models = inference.compare_guides(
        model, y, guides=["laplace"], num_particles=50, evidence_options=quick
    )
    z = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    ppca = pyro_models.PPCA.maximum_likelihood(z, latent_dim=2)
    bracketed = evaluation.bracket(ppca, num_data=2, num_temperatures=4, num_chains=2)
    ranks = torch.randint(0, 100, (200,), generator=torch.Generator().manual_seed(0))
    calibrated = inference.Calibration({"mu": ranks}, num_draws=99)
    gan = pyro_models.Generator((5,), latent_dim=2, hidden=[8])
    sigma = torch.tensor([[-9.0, -8.0], [-3.0, -2.0]])
    outcome = Outcome(folder / "sweep", 0, scores)
    swept = Sweep((Row({"lr": 0.1}, (outcome,), "elbo"),), {"lr": [0.1]}, (0,), folder)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(30, 3)), columns=["a", "<b>", "c"])
    frame.iloc[:5, 1] = np.nan
    table = pyro_models.load_data(frame, name="table", test_fraction=0.2, missing="unseen")
    of_table = pyro_models.PPCA(table.data_shape, latent_dim=1)
    X = rng.uniform(size=(12, 1))
    fitted = gp_bo.fit_gp(X, X[:, 0])
    return [
        *(learned, seeds, inference.Run(folder / "vae"), inference.Run(folder / "none")),
        *(snapshots, inference.Settings(), inference.Settings(lr=0.1)),
        inference.Experiment.preset("copenhagen-dense"),
        *(q.bound, list_runs(folder), inference.find_lr(vae, data, num_steps=20)),
        *(q, chains, inference.complete(vae, x, "left", guide="encoder", num_samples=2)),
        *(inference.impute(of_table, frame, like=table, num_particles=5, num_draws=5),),
        *(scores, inference.compare([scores]), inference.diagnose(vae, data, **few)),
        *(evidence, guides, of_models, of_model, of_model.program, bracketed, bracketed.forward),
        *(guides.difference("prior", "normal"), calibrated, calibrated.coverage("mu")),
        Quadrature(*torch.zeros(5, 3), ()),
        evaluation.evaluate_completion(vae, data, "left", guide="encoder", log_prob=False, **few),
        log_weights(vae, x, num_particles=2),
        evaluation.SigmaCurve((0.1, 0.5), sigma, sigma.abs(), "lower bound", "annealing", gan),
        inference.particles(vae, vae.guide, x, num_particles=2),
        *(swept, data, table, data.identity, data.split("test")),
        *(fitted, gp_bo.fit_gp(X, X[:, 0] > 0.5, likelihood="bernoulli", inference="map")),
        gp_bo.fit_gp(X, X[:, 0], inference="sparse_variational", num_inducing=4, epochs=1),
        *(fitted.predict(X), fitted.score(X, X[:, 0])),
        found := gp_bo.minimize(lambda x: x[0] ** 2, [(-1.0, 1.0)], budget=6),
        *(found._optimizer, found.recommended),
    ]


def parts(of: object, seen: dict[int, object]) -> None:
    """What a result is made of, into ``seen``."""
    if id(of) in seen or isinstance(of, type):
        return
    if isinstance(of, Brief):
        seen[id(of)] = of
    if isinstance(of, list | tuple):
        for each in of:
            parts(each, seen)
    elif isinstance(of, dict):
        parts(list(of.values()), seen)
    elif isinstance(of, Brief) or dataclasses.is_dataclass(of):
        seen[id(of)] = of
        parts(dict(vars(of)), seen)
        for name in ("ranks", "table", "state"):
            with contextlib.suppress(pyro_models.UsageError):  # a folder without a run has none
                parts(getattr(of, name, None), seen)


class Parsed(html.parser.HTMLParser):
    """Tags that are open, and texts."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attributes: list) -> None:
        if tag not in ("br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_every_result_is_short_in_a_terminal_and_shown_in_a_notebook(results: list[Brief]) -> None:
    every_module()
    found: dict[int, object] = {}
    parts(results, found)
    briefs = [result for result in found.values() if isinstance(result, Brief)]
    for result in briefs:
        lines, name = repr(result).splitlines(), type(result).__name__
        assert len(lines) <= LINES, repr(result)
        assert max(map(len, lines)) <= WIDTH, repr(result)
        assert lines[0].startswith(name), repr(result)
        assert "object at 0x" not in repr(result)
        assert "Linear(" not in repr(result)  # no tree of modules
        assert "tensor(" not in repr(result)  # no numbers of an array
        parsed = Parsed()
        parsed.feed(result._repr_html_())
        assert not parsed.open, name
        assert "".join(parsed.texts).strip(), name
    left_out = classes() - {type(result) for result in briefs} - UNMADE
    assert not sorted(c.__name__ for c in left_out if not c.__subclasses__())


def test_what_users_are_handed_is_brief() -> None:
    for name in NAMES:
        module, _, attribute = name.partition(":")
        assert issubclass(getattr(importlib.import_module(module), attribute, object), Brief) or (
            attribute == "Evaluation"
        ), name


def test_a_result_says_what_matters(results: list[Brief]) -> None:
    text = [" ".join(repr(result).split()) for result in results]
    assert text[0].startswith("Fit(VAE of 1,")
    assert "epochs: 1" in text[0]
    assert "nats per datum" in text[0]
    assert text[3].endswith("holds: no run)")
    assert text[5] == "Settings(the defaults)"
    assert text[6] == "Settings(lr: 0.1)"
    assert any("3 step limit" in each for each in text)


def test_texts_are_escaped_and_colors_are_those_of_the_page() -> None:
    @dataclass
    class Found(Brief):
        name: str

    shown = Found("<script>1</script>")._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    for style in ("background: #", "background: white", "color: #", "color: black"):
        assert style not in shown
