"""Figures of a diffusion."""

import pytest
import torch
from pyro import poutine

from inference import figures
from pyro_models import VAE, Diffusion, UsageError


def test_chains_and_fewer_steps_are_shown_with_their_names() -> None:
    pair = Diffusion((1, 8, 8), num_steps=6, hidden=[4], levels=17)
    axes = figures.denoising(pair, rows=2, columns=3).axes[0]
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == ["$z_{6}$", "$z_{4}$", "$z_{1}$", "E[x | $z_1$]"]
    axes = figures.fewer_steps(pair, columns=3, num_steps=(50, 2)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["6 (DDPM)", "2 (DDIM)"]
    shown = figures.Shown(pair=pair.faster(6, eta=0.0), load_test=list, load_history=list)
    axes = figures.draw_figure("fewer_steps", shown).axes[0]  # as the command line draws it
    assert [label.get_text() for label in axes.get_yticklabels()] == ["6 (DDIM)", "5 (DDIM)"]


def test_rows_between_samples_go_from_one_sample_to_another() -> None:
    pair = Diffusion((1, 8, 8), num_steps=6, hidden=[4], levels=17)
    figure = figures.between_samples(pair, rows=2, steps=3)
    names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert names == ["0", "0.5", "1"]
    chain = poutine.trace(pair.faster(6, eta=0.0).model).get_trace(n=1).nodes["z"]["fn"]
    noise = torch.randn(4, 6, 1, 8, 8)
    z = chain.from_noise(noise)
    last = noise[:, -1:].expand_as(noise)
    assert torch.equal(chain.from_noise(last), z)  # of the last noise alone
    assert torch.equal(z[:, -1], noise[:, -1])


def test_other_pairs_are_refused_in_a_line() -> None:
    for draw in (figures.denoising, figures.fewer_steps, figures.between_samples):
        with pytest.raises(UsageError, match="of a diffusion, and VAE is none"):
            draw(VAE((1, 8, 8), hidden=[4]))
