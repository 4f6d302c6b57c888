"""``pyro-models infer``, ``guides`` and ``calibrate`` of a Pyro model in a file, and mistakes."""

from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("elsewhere")
pytest.importorskip("pandas")

MODELS = """
import pyro
import pyro.distributions as dist
import torch

def observed(mean, sd, y):
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Normal(mean, sd), obs=y)

def mean(y, scale=1.0):
    observed(pyro.sample("mu", dist.Normal(0.0, scale)), 1.0, y)

def of_columns(data):
    assert data["count"].dtype == torch.long and "school" not in data
    mean(data["y"])

class Module(torch.nn.Module):
    def forward(self, y, offset):
        mean(y - offset)

def no_latent(y):
    observed(0.0, 1.0, y)

def no_observation(y):
    pyro.sample("mu", dist.Normal(0.0, 1.0))

def wrong_place(y, count):
    observed(pyro.sample("mu", dist.Normal(torch.zeros(3), 1.0).to_event(1)), 1.0, y)

def clash(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("a", len(y), dim=-1), pyro.plate("b", len(y), dim=-1):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)

def guide_of_another(y):
    pyro.sample("other", dist.Normal(0.0, 1.0))

conditioned = pyro.poutine.condition(
    lambda sd: pyro.sample("x", dist.Normal(pyro.sample("mu", dist.Normal(0.0, 1.0)), sd)),
    {"x": torch.tensor(2.0)},
)
five = 5
"""
Y = [0.5, 1.5, -0.5, 2.0, 1.0, 0.0, 1.2, 0.7]
QUICK = ["--data", "table.csv", "--progress", "false"]
LAPLACE = [*QUICK, "--guide", "laplace", "--max_steps", "60"]


@pytest.fixture(autouse=True)
def files(elsewhere):
    Path("mine.py").write_text(MODELS)
    Path("broken.py").write_text("def model(:\n")
    rows = [f"{name},{y},{i}" for i, (name, y) in enumerate(zip("abcdefgh", Y, strict=True))]
    Path("table.csv").write_text("\n".join(["school,y,count", *rows]))
    Path("holes.csv").write_text("\n".join(["school,y,count", *rows[:2], "c,,3"]))


def mean_in(text):
    return float(next(line for line in text.splitlines() if line.startswith("mu")).split()[1])


def test_a_posterior_is_printed_written_and_drawn(call, capsys):
    given = ["--out", "draws.npz", "--num_draws", "50", "--figure", "mu.png"]
    assert call("infer", "mine.py:mean", *LAPLACE, *given) == 0
    out = capsys.readouterr().out
    assert "mine.py:mean, table.csv, 1 unconstrained reals, seed 0" in out
    assert "all weights equal" in out  # Laplace is exact here
    # N(0, 1) and eight data of variance 1: the mean is Σ y / 9, the standard deviation 1/3
    assert abs(mean_in(out) - sum(Y) / 9) < 4 * (1 / 3) / 4000**0.5 + 0.01
    with np.load("draws.npz") as arrays:
        assert arrays["mu"].shape == (50,)
    assert Path("mu.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("of_columns", []),
        ("Module", ["--arguments.offset", "0"]),
        ("mean", ["--arguments", "{scale: 1.0}", "--precision", "float64"]),
    ],
)
def test_columns_and_constants_find_their_arguments(call, capsys, model, more):
    assert call("infer", f"mine.py:{model}", *LAPLACE, *more) == 0
    assert abs(mean_in(capsys.readouterr().out) - sum(Y) / 9) < 0.04


def test_a_model_that_has_its_data_needs_no_table(call, capsys):
    constant = ["--arguments.sd", "1", "--guide", "laplace", "--progress", "false"]
    assert call("infer", "--max_steps", "60", "mine.py:conditioned", *constant) == 0
    assert abs(mean_in(capsys.readouterr().out) - 1) < 0.06


def test_guides_are_compared_in_a_table_and_in_words(call, capsys):
    chosen = ["--guides", "[laplace, exact]", "--num_particles", "50", "--out", "table"]
    assert call("guides", "mine.py:mean", *QUICK, *chosen) == 0
    out = capsys.readouterr().out
    assert "laplace: means and standard deviations right" in out
    assert "ESS/draw" in out
    fewer = ["--quantities", "elbo,kl", "--force"]
    assert call("guides", "mine.py:mean", *QUICK, *chosen, *fewer) == 0
    out = capsys.readouterr().out
    assert "KL(q ‖ p)" in out
    assert "ESS/draw" not in out
    written = sorted(path.name for path in Path("table").iterdir())
    assert written == ["guides.csv", "guides.md", "marginals.png"]


def test_a_guide_is_calibrated_and_goes_on(call, capsys):
    how = [*LAPLACE, "--num_simulations", "20", "--resume", "blocks", "--out", "found", "--force"]
    printed = []
    for _ in range(2):
        assert call("calibrate", "mine.py:mean", *how) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert "laplace of mean: n = 20 simulations" in printed[0]
    assert Path("found/ranks.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mine.py:no_latent", *QUICK], "the model no_latent has no latent"),
        (["mine.py:no_observation", *QUICK], "the model no_observation observes nothing"),
        (["mine.py:wrong_place", *QUICK], "the model wrong_place fails on these arguments"),
        (["mine.py:clash", *QUICK], "collide at dim=-1"),
        (["mine.py:mean", *QUICK, "--guide", "mine.py:guide_of_another"], "mu"),
        (["mine.py:mean", *QUICK, "--guide", "nix"], "unknown guide 'nix'"),
        (["mine.py:Module", *QUICK], "offset is missing: the columns of table.csv are school, y"),
        (["mine.py:mean"], "y is missing: no --data"),
        (["mine.py:mean", *QUICK, "--arguments.N", "8"], "it has no argument 'N'"),
        (["mine.py:conditioned", *QUICK, "--arguments.sd", "1"], "none of them is an argument"),
        (["mine.py:mean", "--data", "holes.csv"], "'y' is empty in row 3"),
        (["mine.py:mean", "--data", "table.txt"], "data is a table (.csv, .tsv, .parquet)"),
        (["mine.py:none", *QUICK], "mine.py has no 'none'; it has observed, mean"),
        (["mine.py:five", *QUICK], "is no Pyro model"),
        (["mine.py", *QUICK], "name the model in mine.py, as mine.py:model"),
        (["broken.py:model", *QUICK], "broken.py cannot be run (SyntaxError"),
        (["mine.py:mean", *QUICK, "--mask", "left"], "--mask is an option of pyro-models infer"),
        (["runs/vae", "--arguments.N", "8"], "for a Pyro model (FILE.py:NAME), and not for run"),
        (["mine.py:mean", *QUICK, "--out", "draws.txt"], "out must end in .npz or .nc"),
    ],
)
def test_mistakes_are_told_in_one_line_with_exit_code_2(refused, arguments, says):
    assert says in refused("infer", *arguments)
