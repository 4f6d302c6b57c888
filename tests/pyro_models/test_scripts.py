"""The plain Pyro scripts run as they stand, and pairs trained in one process keep apart."""

import runpy
from copy import deepcopy
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from pyro.infer import SVI
from torch import Tensor, nn

SCRIPTS = Path(__file__).parents[2] / "notebooks" / "scripts"
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("vae_svi", {}),
    ("conv_vae_svi", {}),
    ("cvae_svi", {}),
    ("ppca_svi", {"guide": "exact"}),
    ("ppca_svi", {"guide": "linear"}),
    ("gmm_svi", {}),
    ("gmm_sampled_svi", {}),
]


def weights(pair: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in pair.named_parameters()}


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def train(pair: Any, steps: int = 3) -> None:
    x = torch.rand(8, *pair.data_shape).round()
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-3}), pair.elbo())
    for _ in range(steps):
        svi.step(x, y=torch.arange(8))


def test_every_script_is_run_here() -> None:
    assert {path.stem for path in SCRIPTS.glob("*_svi.py")} == {name for name, _ in OPTIONS}


@pytest.mark.parametrize(("script", "options"), OPTIONS, ids=str)
def test_script_trains_its_pair_and_no_other(
    script: str, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(SCRIPTS / f"{script}.py"))["main"]

    start, _ = main(epochs=0, **options)  # the same seed: what training begins from
    before = weights(start)
    first, losses = main(epochs=2, **options)
    assert moved(before, weights(first)) == set(before)
    assert losses[1] < losses[0]
    assert "nats per datum" in capsys.readouterr().out
    assert moved(before, weights(start)) == set()

    first_trained = weights(first)
    before = weights(main(epochs=0, seed=1, **options)[0])
    second, losses = main(epochs=2, seed=1, **options)
    assert moved(before, weights(second)) == set(before)
    assert losses[1] < losses[0]
    assert moved(first_trained, weights(first)) == set()

    copied = deepcopy(second)
    original = weights(second)
    train(copied)
    assert moved(original, weights(copied)) == set(original)
    assert moved(original, weights(second)) == set()
    copy_trained = weights(copied)
    train(second)
    assert moved(original, weights(second)) == set(original)
    assert moved(copy_trained, weights(copied)) == set()


def test_training_follows_the_weights_through_load_state_dict_and_a_change_of_float_type() -> None:
    main = runpy.run_path(str(SCRIPTS / "ppca_svi.py"))["main"]
    pair, _ = main(epochs=1)
    other, _ = main(epochs=0, seed=1)
    pair.load_state_dict(other.state_dict())
    before = weights(pair)
    assert moved(before, weights(other)) == set()
    train(pair)
    assert moved(before, weights(pair)) == set(before)
