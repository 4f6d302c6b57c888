"""What the figures show is what was computed."""

import io

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.figure import Figure

from gp_bo import FittedGP, fit_gp
from gp_bo.examination.sheet import exam_function, fit_exam
from gp_bo.figures import bands, hyper_scatter, traces
from pyro_models import UsageError


@pytest.fixture(scope="module")
def drawn() -> FittedGP:
    return fit_exam(num_draws=48, num_chains=4, warmup=60, restarts=2)


@pytest.fixture(scope="module")
def reference() -> FittedGP:
    return fit_exam(inference="quadrature", num_points=41, restarts=2)


def _png(figure: Figure) -> None:
    file = io.BytesIO()
    figure.savefig(file, dpi=40)
    assert file.tell() > 2000


@pytest.mark.filterwarnings("ignore::gp_bo.InferenceWarning")
def test_bands_are_two_standard_deviations_of_the_mixture(drawn: FittedGP) -> None:
    x = torch.linspace(-1, 1, 21, dtype=torch.float64)
    figure = bands(drawn, x, truth=exam_function, num_functions=2)
    (band,) = (c for c in figure.axes[0].collections if isinstance(c, PolyCollection))
    prediction = drawn.predict(x)
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(
        float((prediction.mean + 2 * prediction.standard_deviation).max())
    )
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 21]
    assert len(lines) == 4  # mean, two functions, f
    _png(figure)


@pytest.mark.filterwarnings("ignore::gp_bo.InferenceWarning")
def test_scatter_shows_the_draws_in_original_units(drawn: FittedGP, reference: FittedGP) -> None:
    figure = hyper_scatter(drawn, reference=reference)
    axes = figure.axes[0]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    points = next(c for c in axes.collections if isinstance(c, PathCollection)).get_offsets()
    expected = torch.stack(
        [drawn.hyperparameters["lengthscale"][:, 0], drawn.hyperparameters["variance"]], 1
    )
    assert np.allclose(points, expected)
    _png(figure)


@pytest.mark.filterwarnings("ignore::gp_bo.InferenceWarning")
def test_traces_have_a_line_for_each_chain(drawn: FittedGP) -> None:
    figure = traces(drawn)
    assert [len(axes.lines) for axes in figure.axes] == [4, 4]
    _png(figure)


@pytest.mark.filterwarnings("ignore::gp_bo.InferenceWarning")
def test_what_cannot_be_drawn_is_told_in_one_line(drawn: FittedGP, reference: FittedGP) -> None:
    X = torch.rand(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plane = fit_gp(X, X.sum(1) - 9, inference="map", restarts=2)
    with pytest.raises(UsageError, match="one input"):
        bands(plane)
    with pytest.raises(UsageError, match="has no chains"):
        traces(reference)
    with pytest.raises(UsageError, match="give two of lengthscale, variance"):
        hyper_scatter(drawn, ["lengthscale", "noise"])
    with pytest.raises(UsageError, match="quadrature"):
        hyper_scatter(drawn, reference=drawn)
    with pytest.raises(UsageError, match="positive"):
        hyper_scatter(plane, ["variance", "mean"])
