"""The examination in short, as the report shows it."""

import pytest
from matplotlib.figure import Figure

from gp_bo.examination.algorithm1 import _FEW as ALGORITHM_1
from gp_bo.examination.section import exam_section
from pyro_models import console


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALGORITHM_1, "num_draws", 40)
    monkeypatch.setitem(ALGORITHM_1, "warmup", 20)


def test_the_part_has_figures_and_numbers_that_say_what_they_are() -> None:
    part = exam_section(turns=0, num_draws=60, seed=1)
    assert len(part.figures) == 3
    assert all(isinstance(figure, Figure) for figure in part.figures.values())
    text = "\n".join(part.numbers)
    for words in ("R-hat", "effective draws", "by quadrature", "diverged", "m ± 2√v", "regret"):
        assert words in text
    assert all("\n" not in line for line in part.numbers)
    assert "of 60 in 4 chains" in text
    assert "of Algorithm 1: chains of 1 fit of 40 draws" in text
    assert "take more" in text
    assert "Seed 1" in part.words


def test_the_command_composes_it_without_inference_knowing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gp_bo.examination.section.exam_section", lambda *, seed: seed)
    assert console._functions(seed=7) == 7
