"""Ranks stand in their band where they are uniform, and out of it, in red, where they are not."""

import pytest
import torch

from inference.evaluation import Calibration
from inference.figures import expected_coverage, rank_ecdfs, rank_histograms
from inference.figures.palette import PETROFF
from pyro_models import UsageError


@pytest.fixture(scope="module")
def found() -> Calibration:
    generator = torch.Generator().manual_seed(0)
    flat = torch.randint(0, 20, (200,), generator=generator)
    return Calibration({"right": flat, "wrong": flat // 2, "tarp": flat}, num_draws=19)


def test_every_quantity_has_a_panel_of_its_color(found: Calibration) -> None:
    for draw in (rank_histograms, rank_ecdfs):
        figure = draw(found)
        assert [axes.get_title() for axes in figure.axes] == ["right", "wrong", "tarp"]
        assert figure.get_suptitle() == "the guide of the model, n = 200 simulations"
    lines = [axes.lines[0] for axes in rank_ecdfs(found).axes]
    assert [line.get_color() for line in lines] == [PETROFF[0], PETROFF[2], PETROFF[0]]
    heights = rank_histograms(found, quantities=["wrong"]).axes[0].patches[1].get_data().values
    assert heights.mean() == pytest.approx(1)
    assert heights[:5].mean() == pytest.approx(2)
    assert lines[1].get_ydata().max() == pytest.approx(found.ranks["wrong"].ecdf[9] - 0.5)


def test_coverage_is_drawn_of_what_is_known(found: Calibration) -> None:
    figure = expected_coverage(found, title="mine")
    (axes,) = figure.axes
    assert (axes.get_title(), figure.get_suptitle()) == ("tarp", "mine")
    assert axes.lines[1].get_ydata()[[0, -1]].tolist() == [0, 1]
    with pytest.raises(UsageError, match="no other among the quantities right, wrong, tarp"):
        expected_coverage(found, quantities=["other"])
    with pytest.raises(UsageError, match="nothing to draw"):
        expected_coverage(Calibration({"a": torch.tensor([1])}, num_draws=3))


def test_of_many_quantities_those_with_the_smallest_p_are_drawn() -> None:
    flat = torch.arange(20)
    many = {f"z[{i}]": flat for i in range(20)} | {"far": torch.zeros(20, dtype=torch.long)}
    titles = [axes.get_title() for axes in rank_ecdfs(Calibration(many, num_draws=19)).axes]
    assert len(titles) == 12
    assert titles[-1] == "far"
