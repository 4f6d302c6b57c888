"""The code of how-to pages runs as it stands there."""

import re
from pathlib import Path

import pytest
import torch

from pyro_models import registry
from pyro_models.pair import Pair

DOCS = Path(__file__).parents[1] / "docs"


def test_the_pair_of_my_own_model_is_fitted_judged_inferred_and_completed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "PAIRS", dict(registry.PAIRS))
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "my-own-model.md").read_text(), re.S)
    assert len(blocks) == 3
    found: dict[str, object] = {"__name__": "my_own_model"}
    torch.manual_seed(0)
    for block in blocks:
        exec(compile(block, "my-own-model.md", "exec"), found)
    pair, completed = found["pair"], found["completed"]
    assert isinstance(pair, Pair)
    assert type(found["again"]) is found["Factors"]
    assert completed.samples.shape == (3, 4, 1, 8, 8)
    assert torch.equal(completed.mean[..., :4], found["x"][..., :4])
    bound, _ = found["posterior"].bound.mean
    assert -64 * 0.7 < bound < 0
    out = capsys.readouterr().out
    assert "log_likelihood -" in out
    assert "mean image" in out
