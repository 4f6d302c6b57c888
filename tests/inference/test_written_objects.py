"""Objects with their options, in Python, in configuration files and at the command line."""

import json
from functools import partial
from pathlib import Path

import pyro
import pytest
import torch
import yaml

from inference import Experiment, Run, Settings, fit, infer, register_optimizer
from inference.cli import main
from inference.learning import OPTIMIZERS
from inference.objectives import IWAE
from pyro_models import VAE, UsageError, load_data
from pyro_models.likelihoods import likelihood_for
from pyro_models.priors import PRIORS, StandardNormal

pytestmark = pytest.mark.usefixtures("elsewhere")

QUICK = ["--epochs", "1", "--progress", "false", "--curve_size", "50"]
MINE = """
import torch
import pyro.distributions as dist
from torch import nn
from pyro_models.networks import Architecture, DenseDecoder, DenseFeatures

class HalfRate(torch.optim.SGD):
    def __init__(self, parameters, lr, momentum=0.0):
        super().__init__(parameters, lr=lr / 2, momentum=momentum)

class Wide(nn.Module):
    def __init__(self, latent_dim, scale: float = 2.0):
        super().__init__()
        self.log_scale = nn.Parameter(torch.full((latent_dim,), scale).log())
    def forward(self):
        return dist.Normal(torch.zeros_like(self.log_scale), self.log_scale.exp()).to_event(1)

def twice(*, factor: int = 1):
    def features(data_shape, hidden, context, activation):
        return DenseFeatures(data_shape, [factor * h for h in hidden], context, activation)
    return Architecture(features, DenseDecoder)
"""


@pytest.fixture
def mine():
    Path("mine.py").write_text(MINE)
    return "mine.py"


def trained(digits, optimizer, **options):
    torch.manual_seed(0)
    pair = VAE((1, 8, 8), hidden=[8], likelihood="bernoulli")
    options = {"epochs": 1, "curve_size": 0, "progress": False, **options}
    fit(pair, digits, optimizer=optimizer, **options)
    return torch.cat([p.detach().flatten() for p in pair.parameters()])


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", preparation="threshold")


def test_an_optimizer_is_a_name_a_class_an_object_or_ones_own(digits, mine):
    sgd = trained(digits, "SGD", lr=0.05)
    same = {
        "small letters": ("sgd", {"lr": 0.05}),
        "class": (torch.optim.SGD, {"lr": 0.05}),
        "partial": (partial(torch.optim.SGD, lr=0.05), {}),
        "written": ({"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05}}, {}),
        "of Pyro": (pyro.optim.SGD({"lr": 0.05}), {}),
        "of a file": ("mine.py:HalfRate", {"lr": 0.1}),
    }
    for way, (optimizer, options) in same.items():
        assert torch.equal(trained(digits, optimizer, **options), sgd), way
    register_optimizer("halved", lambda parameters, lr: torch.optim.SGD(parameters, lr=lr / 2))
    try:
        assert torch.equal(trained(digits, "halved", lr=0.1), sgd)
    finally:
        del OPTIMIZERS["halved"]


def test_a_name_of_small_letters_is_recorded_as_torch_spells_it():
    assert Settings(optimizer="adamw", schedule="steplr").plain()["optimizer"] == "AdamW"
    assert Settings(optimizer=pyro.optim.Adam({"betas": (0.9, 0.8)})) == Settings(
        optimizer_options={"betas": (0.9, 0.8)}
    )


@pytest.mark.parametrize(
    ("optimizer", "line"),
    [
        ("Adma", "unknown optimizer 'Adma': choose from .*Adam, .*SGD"),
        ("missing.module.SGD", r"unknown optimizer 'missing.module.SGD': .*No module named"),
        ({"class": "SGD"}, "an object is written .*class_path: NAME"),
        (lambda parameters, lr: 3, "makes a int"),
        (pyro.optim.ClippedAdam(lambda name: {"lr": 1.0}), "of an optimizer of Pyro"),
        (pyro.optim.Adam({"lr": 1e-3}, {"clip_norm": 1.0}), "of an optimizer of Pyro"),
    ],
)
def test_what_makes_no_optimizer_is_one_line(optimizer, line, digits):
    with pytest.raises(UsageError, match=f"^.*{line}.*\\Z"):
        trained(digits, optimizer)


def test_an_objective_that_is_written_is_the_object():
    written = {"class_path": "iwae", "init_args": {"num_particles": 3}}
    assert Settings(objective=written) == Settings(objective=IWAE(num_particles=3))
    dotted = {"class_path": "inference.objectives.IWAE", "init_args": {"num_particles": 3}}
    assert Settings(objective=dotted) == Settings(objective=IWAE(num_particles=3))
    both = Settings(objective=written, objective_options={"num_particles": 7})
    assert both.objective_options == {"num_particles": 7}


WRITTEN = {
    "model": "vae",
    "objective": {"class_path": "iwae", "init_args": {"num_particles": 3}},
    "optimizer": {"class_path": "mine.py:HalfRate", "init_args": {"momentum": 0.5}},
    "schedule": {"class_path": "StepLR", "init_args": {"step_size": 4}},
    "options": {
        "hidden": [8],
        "likelihood": {"class_path": "gaussian", "init_args": {"scale": 0.3}},
        "network": {"class_path": "mine.py:twice", "init_args": {"factor": 2}},
        "prior": {"class_path": "mine.py:Wide", "init_args": {"scale": 3.0}},
    },
}


def _check(run):
    record, pair = Run(run).describe(), Run(run).load_pair()
    settings = record["settings"]
    assert (settings["objective"], settings["objective_options"]) == ("iwae", {"num_particles": 3})
    assert settings["optimizer"].endswith("mine.py:HalfRate")
    assert settings["optimizer_options"] == {"momentum": 0.5}
    assert settings["schedule_options"] == {"step_size": 4}
    likelihood = likelihood_for("gaussian", (1, 8, 8), {"scale": 0.3})
    assert pair.likelihood.config() == likelihood.config()
    assert pair.guide.encoder.features.out_features == 16
    assert float(pair.model.prior().base_dist.scale.detach()[0]) == pytest.approx(3.0, rel=0.2)
    assert Experiment.load(run).settings == Settings(**{**settings, "device": None})


def test_a_configuration_file_holds_objects_with_their_options(mine, capsys):
    Path("own.yaml").write_text(yaml.safe_dump(WRITTEN))
    assert main(["train", "--config", "own.yaml", *QUICK, "--out", "run"]) == 0
    _check("run")
    assert main(["train", "--resume", "--out", "run", "--progress", "false"]) == 0
    capsys.readouterr()
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--config", "own.yaml", "--lr", "0.01", "--print_config"])
    Path("again.yaml").write_text(capsys.readouterr().out)
    assert main(["train", "--config", "again.yaml", *QUICK, "--out", "again"]) == 0
    _check("again")
    assert Run("again").describe()["settings"]["lr"] == 0.01


def test_the_command_line_writes_them_too(mine):
    flat = []
    for name in ("objective", "optimizer", "schedule"):
        flat += [f"--{name}.class_path", WRITTEN[name]["class_path"]]
        for option, value in WRITTEN[name]["init_args"].items():
            flat += [f"--{name}.init_args.{option}", str(value)]
    flat += ["--options.hidden", "[8]"]
    for name in ("likelihood", "network", "prior"):
        flat += [f"--options.{name}", json.dumps(WRITTEN["options"][name])]
    assert main(["train", *flat, *QUICK, "--out", "run"]) == 0
    _check("run")


def test_a_guide_carries_its_options(digits, capsys):
    x = digits.split("test").x[:2].round()
    pair = VAE((1, 8, 8), hidden=[8], likelihood="bernoulli", latent_dim=3)
    written = {"class_path": "low_rank", "init_args": {"rank": 1}}
    found = infer(pair, x, guide=written, max_steps=3)
    apart = infer(pair, x, guide="low_rank", guide_options={"rank": 1}, max_steps=3)
    assert found.name == "low_rank"
    assert torch.equal(found.mean["z"], apart.mean["z"])


def test_a_prior_is_a_name_a_class_or_a_module(mine):
    torch.manual_seed(0)
    named = VAE((4,), latent_dim=3, prior="standard")
    assert isinstance(named.model.prior, StandardNormal)
    assert VAE(**named.config()).config() == named.config()
    assert VAE((4,), latent_dim=3, prior=StandardNormal).config()["prior"] == "standard"
    own = VAE((4,), latent_dim=3, prior="mine.py:Wide")
    assert float(own.model.prior().base_dist.scale.detach()[0]) == pytest.approx(2.0)
    PRIORS.register("wide", type(own.model.prior))
    try:
        assert VAE((4,), latent_dim=3, prior=PRIORS["wide"]).config()["prior"] == "wide"
    finally:
        del PRIORS["wide"]
    with pytest.raises(UsageError, match="unknown prior 'norma': choose from standard"):
        VAE((4,), prior="norma")
    with pytest.raises(UsageError, match=r"the prior .* is made as 3"):
        VAE((4,), prior=lambda latent_dim: 3)


def test_no_code_of_a_run_folder_is_run_by_any_name_in_it(mine):
    Path("own.yaml").write_text(yaml.safe_dump({"options": WRITTEN["options"]}))
    assert main(["train", "--config", "own.yaml", *QUICK, "--out", "run"]) == 0
    Path("run/evil.py").write_text("raise SystemExit('run')" + MINE)
    record = json.loads(Path("run/run.json").read_text())
    for name in ("run/evil.py:twice", "run.evil.twice"):
        record["config"]["network"]["class_path"] = name
        Path("run/run.json").write_text(json.dumps(record))
        with pytest.raises(UsageError, match="code from there is never run"):
            Run("run").load_pair()
