"""A recorded step of a fit is the step; what cannot be recorded is run as it is."""

import pytest
import torch
from torch import nn

from inference.posterior import Plateau, infer, separate_fits
from inference.posterior.batch_bound import BatchBound
from inference.posterior.guides.normal import NormalGuide, start_of
from pyro_models import CVAE, VAE

SHAPE = (1, 4, 4)
OPTIONS = {"hidden": [6], "latent_dim": 3, "likelihood": "bernoulli"}


def vae():
    torch.manual_seed(0)
    return VAE(SHAPE, **OPTIONS).double()


@pytest.fixture
def x():
    return torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0)).round().double()


@pytest.fixture
def recordings(monkeypatch):
    """Whether each recording that was tried is used."""
    tried, record = [], BatchBound._recorded

    def noted(self):
        run = record(self)
        tried.append(run != self._step)
        return run

    monkeypatch.setattr(BatchBound, "_recorded", noted)
    return tried


@pytest.mark.parametrize("guide", ["normal", "auto_normal", "full_covariance", "point", "flow"])
@pytest.mark.parametrize("masked", [False, True])
def test_a_recorded_fit_ends_where_it_would_have(guide, masked, x, recordings, monkeypatch):
    if guide == "flow":
        pytest.importorskip("zuko")
    mask = torch.arange(4).expand(4, 4) < 2 if masked else None
    found = []
    for first in (10**9, 2):
        monkeypatch.setattr(separate_fits, "_FIRST", first)
        found.append(infer(vae(), x, guide=guide, mask=mask, max_steps=15).mean["z"])
        assert bool(recordings) == (first == 2)
    assert all(recordings)
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-12)


def test_labels_are_given_to_a_recorded_fit(x, recordings, monkeypatch):
    monkeypatch.setattr(separate_fits, "_FIRST", 2)
    torch.manual_seed(0)
    cvae = CVAE(SHAPE, num_classes=3, **OPTIONS).double()
    means = [
        infer(cvae, x, y=torch.tensor(y), guide="normal", max_steps=15).mean["z"]
        for y in ([0, 1, 2], [2, 1, 0])
    ]
    assert recordings == [True, True]
    assert not torch.equal(means[0][0], means[1][0])
    torch.testing.assert_close(means[0][1], means[1][1])


class Halves(nn.Module):
    """Two names for one part, as a guide may have."""

    def __init__(self, start):
        super().__init__()
        self.first = self.second = NormalGuide(start)

    def forward(self, x, **conditions):
        self.second(x, **conditions)


@pytest.mark.parametrize("first", [10**9, 2])
def test_a_part_with_two_names_is_fitted_like_any_other(first, x, recordings, monkeypatch):
    monkeypatch.setattr(separate_fits, "_FIRST", first)
    options = {"max_steps": 15, "stopping": Plateau(window=50)}
    plain, shared = (
        infer(vae(), x, guide=make, **options).sample(1, seed=1)["z"]
        for make in (lambda g: NormalGuide(start_of(g, 0.1)), lambda g: Halves(start_of(g, 0.1)))
    )
    assert all(recordings)
    torch.testing.assert_close(plain, shared, rtol=1e-9, atol=1e-12)


class Branching(NormalGuide):
    """Its Python depends on its numbers, which no recording can follow."""

    def forward(self, x, **conditions):
        if float(self.loc["z"].detach().abs().max()) > 1e9:
            raise ValueError
        super().forward(x, **conditions)


def test_a_guide_that_cannot_be_recorded_is_fitted_as_it_is(x, recordings, monkeypatch):
    found = []
    for first in (10**9, 2):
        monkeypatch.setattr(separate_fits, "_FIRST", first)
        found.append(infer(vae(), x, guide=lambda g: Branching(g.start), max_steps=15).mean["z"])
    assert recordings == [False]
    assert torch.equal(*found)
