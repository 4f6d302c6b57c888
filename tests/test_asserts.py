"""What a user relies on does not hang on ``assert``, which ``python -O`` leaves out."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import pyro_models
from inference.evaluation.guide_table import GuideScores
from inference.learning.batches import batches
from inference.learning.optimizers import make_optimizer, make_schedule
from pyro_models import GMM, PPCA, BernoulliMixture, CompletionCVAE, UsageError
from pyro_models.data.preparation import to_grey

ROOT = Path(pyro_models.__file__).parents[1]
X = torch.rand(2, 1, 4, 4).round()
PARAMETERS = [torch.nn.Parameter(torch.zeros(2))]

MISTAKES = {
    "no optimizer": lambda: make_optimizer(3, PARAMETERS, lr=0.1),
    "no schedule": lambda: make_schedule(3, torch.optim.SGD(PARAMETERS), total_steps=1),
    "no labels": lambda: list(batches(torch.arange(4), batch_size=2, labelled_per_batch=1)),
    "no levels": lambda: to_grey(X, "dequantised", levels=None),
    **{
        f"{name} {cls.__name__}": lambda cls=cls, name=name, options=options: getattr(
            cls((1, 4, 4), **options), f"conditional_{name}"
        )(X, None, **({"n": 1} if name == "sample" else {}))
        for cls, options in (
            (PPCA, {"latent_dim": 2}),
            (GMM, {"num_components": 2}),
            (BernoulliMixture, {"num_components": 2}),
        )
        for name in ("mean", "sample")
    },
    "nothing to complete from": lambda: CompletionCVAE((1, 4, 4), hidden=[4]).conditioned_on(None),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake: str) -> None:
    with pytest.raises(UsageError) as said:
        MISTAKES[mistake]()
    assert "\n" not in str(said.value)


@pytest.mark.slow  # Python compiles all of torch anew for it, once
def test_the_same_mistakes_are_said_without_asserts() -> None:
    script = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("asserts", {__file__!r})
asserts = importlib.util.module_from_spec(spec)
spec.loader.exec_module(asserts)
assert False, "asserts are not left out"
for name, mistake in asserts.MISTAKES.items():
    try:
        mistake()
    except asserts.UsageError:
        print(name)
"""
    done = subprocess.run(
        [sys.executable, "-O", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == list(MISTAKES), done.stderr


def test_a_score_that_is_not_there_is_none() -> None:
    row = GuideScores(name="a guide", num_parameters=0, milliseconds=1.0)
    assert row.value("elbo") is None
    assert row.value("share_unreliable") is None


def test_an_assert_only_tells_the_type_checker_what_cannot_be_otherwise() -> None:
    found = {}
    for package in ("pyro_models", "inference", "gp_bo"):
        for path in (ROOT / package).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.Assert):
                    found[f"{path.relative_to(ROOT)}: {ast.unparse(node.test)}"] = node.test
    assert not {where for where, test in found.items() if not _narrows(test)}


def _narrows(test: ast.expr) -> bool:
    """Whether it is ``isinstance(...)`` or ``... is not None``."""
    if isinstance(test, ast.Call):
        return isinstance(test.func, ast.Name) and test.func.id == "isinstance"
    return isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.IsNot)
