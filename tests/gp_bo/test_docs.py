"""The code of the how-to page on kernels and acquisitions runs as it stands there."""

import re
from pathlib import Path

import pytest
import torch

from gp_bo.kernels import KERNELS
from gp_bo.optimize import ACQUISITIONS

PAGE = Path(__file__).parents[2] / "docs" / "my-own-kernel.md"


def test_a_kernel_and_an_acquisition_of_my_own(capsys: pytest.CaptureFixture[str]) -> None:
    before = [(registry, dict(registry)) for registry in (KERNELS, ACQUISITIONS)]
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 3
    found: dict[str, object] = {"__name__": "my_own_kernel"}
    try:
        for block in blocks:
            exec(compile(block, PAGE.name, "exec"), found)
    finally:
        for registry, names in before:
            registry.clear()
            registry.update(names)
    fitted, own, y = found["fitted"], found["own"], found["y"]
    assert fitted.hyperparameters["kernels.0.outputscale"].item() == pytest.approx(1.0)  # type: ignore[attr-defined]
    assert isinstance(y, torch.Tensor)
    for each in (fitted, own):
        assert float((each.predict(found["X"]).mean - y).abs().max()) < 0.2  # type: ignore[attr-defined]
    assert found["result"].y < 0.01  # type: ignore[attr-defined]
    assert "least value seen" in capsys.readouterr().out
