"""The examination in short, as the report shows it."""

from pathlib import Path

import pytest

from gp_bo.exam_section import exam_section
from gp_bo.optimise.algorithm1 import _FEW as ALGORITHM_1
from pyro_models import console


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALGORITHM_1, "num_draws", 40)
    monkeypatch.setitem(ALGORITHM_1, "warmup", 20)


def test_the_section_has_figures_and_numbers_that_say_what_they_are(tmp_path: Path) -> None:
    section = exam_section(tmp_path, turns=0, draws=60, seed=1)
    assert len(section.figures) == 3
    for path in section.figures.values():
        assert path.is_relative_to(tmp_path)
        assert path.read_bytes().startswith(b"\x89PNG")
    text = "\n".join(section.lines)
    for words in ("R-hat", "effective draws", "by quadrature", "diverged", "m ± 2√v", "regret"):
        assert words in text
    assert all("\n" not in line for line in section.lines)
    assert "of 60 in 4 chains" in text
    assert "Seed 1" in section.text


def test_the_command_composes_it_without_inference_knowing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gp_bo.exam_section.exam_section", lambda folder, *, seed: (folder, seed))
    assert console._functions(tmp_path, seed=7) == (tmp_path, 7)
