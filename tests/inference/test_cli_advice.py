"""The command line says what was probably meant, where help is, and its version."""

import subprocess
import sys

import pytest

import pyro_models
from gp_bo.cli import main as gp_bo
from inference.cli import main


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["trian"], "unknown command 'trian': choose from train, "),
        (["trian"], "; did you mean train? (pyro-models --help lists them)"),
        ([], "name a command: train, "),
        (
            ["guides", "r", "--guides", "normal"],
            '--guides must be a list such as "[a, b]"; got normal',
        ),
        (["plot"], "plot needs RUNS (pyro-models plot --help says more)"),
        (
            ["train", "--epohcs", "3"],
            "unknown option --epohcs; did you mean --epochs? (",
        ),
        (
            ["evaluate", "run", "--qqqqq", "3"],
            "unknown option --qqqqq (pyro-models evaluate --help ",
        ),
        (["train", "--likelihood", "beta"], "one of the model is written --options.likelihood ("),
        (["train", "vae"], "train does not know what 'vae' is for: write --OPTION vae ("),
        (["plot", "nowhere", "--figure", "latent_gird"], "did you mean latent_grid?"),
        (["train", "--model", "vea"], "did you mean vae?"),
    ],
)
def test_a_mistyped_word_is_met_with_advice_in_one_line(given, says, capsys):
    try:
        code = main(given)
    except SystemExit as left:
        code = left.code
    said = capsys.readouterr().err
    assert code == 2
    assert says in said
    assert said.count("\n") == 1


def test_gp_bo_advises_likewise(capsys):
    with pytest.raises(SystemExit):
        gp_bo(["minimise"])
    assert "did you mean minimize? (gp-bo --help lists them)" in capsys.readouterr().err


@pytest.mark.parametrize("program", ["main", "gp_bo"])
def test_both_programs_tell_their_version_without_torch(program):
    script = (
        f"import sys; from pyro_models.console import {program} as main; "
        "sys.argv[1:] = ['--version']; code = main(); sys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    name = {"main": "pyro-models", "gp_bo": "gp-bo"}[program]
    assert done.stdout.startswith(f"{name} {pyro_models.__version__} (pyro-ppl ")
