"""The code of docs/scikit-learn.md runs as it stands there."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "scikit-learn.md"


def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 4
    found: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), found)
    accuracy, best, shape, half_labelled = capsys.readouterr().out.splitlines()
    assert float(accuracy) > 0.8
    assert best in {"{'options__latent_dim': 20}", "{'options__latent_dim': 40}"}
    assert shape == "(2, 5)"
    assert float(half_labelled) > 0.7
    assert float(found["std"][0]) < 0.2  # type: ignore[index]
