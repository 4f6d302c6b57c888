"""The figure of latent dimensions shows the numbers it was given, in order of use."""

from types import SimpleNamespace

import matplotlib as mpl
import pytest
import torch
from matplotlib.colors import to_hex

from inference.evaluation import diagnose
from inference.figures import latent_use
from inference.figures.palette import MISSING
from pyro_models import VAE, UsageError


def use(kl=(0.5, 0.0, 2.0), of_means=(0.4, 0.001, 0.9), within=(0.5, 0.998, 0.2), active=2):
    return SimpleNamespace(
        kl=None if kl is None else torch.tensor(kl),
        posterior_mean_variance=torch.tensor(of_means),
        posterior_variance=torch.tensor(within),
        active_units=active,
    )


def bars(axes):
    """Bars that can be seen: place, foot, height and colour."""
    return [
        (round(b.get_x() + b.get_width() / 2), b.get_y(), b.get_height(), to_hex(b.get_facecolor()))
        for b in axes.patches
        if b.get_height()
    ]


def test_the_most_used_dimension_stands_first_with_its_own_numbers():
    kl, variance = latent_use(use()).axes
    assert [height for _, _, height, _ in bars(kl)] == pytest.approx([2.0, 0.5])
    assert [label.get_text() for label in variance.get_xticklabels()] == ["3", "1", "2"]
    found = bars(variance)
    assert [b[2] for b in found] == pytest.approx([0.9, 0.4, 0.001, 0.2, 0.5, 0.998])
    assert [b[1] for b in found[3:]] == pytest.approx([0.9, 0.4, 0.001])  # one on the other
    assert "nats" in kl.get_ylabel()
    assert kl.get_title(loc="right") == "in all 2.50 nats"


def test_what_is_not_active_is_grey_and_counted():
    figure = latent_use(use())
    assert figure.get_suptitle() == "2 of 3 latent dimensions active"
    _, variance = figure.axes
    assert {b[0] for b in bars(variance) if b[3] == MISSING} == {2}
    labels = [text.get_text() for text in variance.get_legend().get_texts()]
    assert "not active" in labels
    _, variance = latent_use(use(active=3), title="Mine").axes
    assert not [b for b in bars(variance) if b[3] == MISSING]
    assert len(variance.get_legend().get_texts()) == 2


def test_without_a_kl_by_dimension_the_variances_stand_alone():
    (axes,) = latent_use(use(kl=None)).axes
    assert axes.get_ylabel() == "variance"


@pytest.mark.parametrize("dimensions", [1, 50, 150])
def test_any_number_of_dimensions_can_be_drawn(dimensions):
    many = tuple(torch.linspace(0, 1, dimensions).tolist())
    figure = latent_use(use(kl=many, of_means=many, within=many, active=dimensions // 2))
    figure.draw_without_rendering()
    named = [t.get_text() for t in figure.axes[1].get_xticklabels()]
    assert len(named) == (dimensions if dimensions <= 100 else 0)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (use(kl=(), of_means=(), within=(), active=0), "no latent dimension"),
        (use(kl=(0.5, float("nan"), 2.0)), "not finite"),
        (use(within=(0.5, float("inf"), 2.0)), "not finite"),
    ],
)
def test_what_cannot_be_drawn_is_said(wrong, why):
    with pytest.raises(UsageError, match=why):
        latent_use(wrong)


def test_a_diagnosis_is_drawn_and_matplotlibs_state_stays(few):
    before = dict(mpl.rcParams)
    found = diagnose(VAE((1, 8, 8), hidden=[4], latent_dim=3), few, num_particles=2, limit=10)
    latent_use(found).draw_without_rendering()
    assert dict(mpl.rcParams) == before
