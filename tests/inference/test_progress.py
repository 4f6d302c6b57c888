"""Bars: on a terminal, nested, with what they count and the time left; elsewhere none."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from inference import infer
from inference.learning import fit
from inference.progress import Bar, above_bars, announce, bar, is_showing, over, quiet, showing
from pyro_models import PPCA, VAE, load_data


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Standard error as a terminal, on which every step is drawn at once."""
    monkeypatch.setattr("inference.progress._DELAY", 0)
    monkeypatch.setattr("inference.progress._OFTEN", 0)
    stream = Terminal()  # sys itself is captured anew before a test
    monkeypatch.setattr("inference.progress.sys", SimpleNamespace(stderr=stream, modules={}))
    return stream


def test_a_bar_names_what_it_counts_and_the_time_left(terminal: Terminal) -> None:
    with bar(4, unit="images", what="fitting", shown=True) as done:
        done.update(2)
        done.say("bound -3.00")
        done.update(1)
    text = terminal.getvalue()
    assert "fitting:  75%" in text
    assert "3/4 images" in text
    assert " left" in text
    assert "bound -3.00" in text


def test_nothing_is_written_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.progress._DELAY", 0)
    piped = io.StringIO()
    monkeypatch.setattr("inference.progress.sys", SimpleNamespace(stderr=piped, modules={}))
    with bar(2, unit="steps", shown=True) as done:
        done.update(2)
        assert not done.is_shown
    assert not piped.getvalue()


def test_quiet_silences_bars_and_announcements(
    terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    with quiet(), showing(True), bar(2, unit="steps", shown=True) as done:
        done.update(2)
        announce("12 parameters")
    assert not terminal.getvalue()
    assert not capsys.readouterr().out
    announce("12 parameters")
    assert capsys.readouterr().out == "12 parameters\n"


def test_bars_stand_below_one_another(terminal: Terminal) -> None:
    with showing(True):
        for _ in over("ab", unit="guides"):
            for _ in over("xyz", unit="steps"):
                pass
    assert "2/2 guides" in terminal.getvalue()
    assert "3/3 steps" in terminal.getvalue()
    assert not is_showing()


def test_what_is_inside_shows_bars_only_if_asked(terminal: Terminal) -> None:
    with bar(1, unit="steps"):
        pass
    assert not terminal.getvalue()


def test_a_warning_stands_above_the_bars(terminal: Terminal) -> None:
    with bar(2, unit="steps", shown=True) as done:
        done.update()
        with above_bars():
            terminal.write("a warning\n")
    line = terminal.getvalue().split("a warning")[0].rpartition("\r")[2]
    assert not line.strip()  # it begins where the bar was


def test_a_notebook_has_bars_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("IPython")
    monkeypatch.setattr("inference.progress._in_notebook", lambda: True)
    monkeypatch.setattr("tqdm.notebook.IProgress", None)  # without widgets: text
    assert Bar(3, unit="steps", shown=True).is_shown


DATA = load_data("digits", preparation="threshold")


def test_training_counts_steps_and_says_the_bound(terminal: Terminal) -> None:
    vae = VAE(DATA.data_shape, hidden=[4], likelihood="bernoulli")
    fit(vae, DATA, epochs=2, batch_size=500, curve_size=0)
    text = terminal.getvalue()
    assert "epoch 2 of 2" in text
    assert "/6 steps" in text
    assert "bound -" in text
    assert not text.rpartition("\r")[2].strip()  # nothing is left standing


def _ppca() -> tuple[Any, torch.Tensor]:
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    return PPCA.maximum_likelihood(x, latent_dim=2), x


@pytest.mark.parametrize("guide", ["hmc", "nuts"])
def test_chains_count_transitions(terminal: Terminal, guide: str) -> None:
    pair, x = _ppca()
    counts = {"num_samples": 10, "num_chains": 2, "warmup": 20}
    infer(pair, x[:2], guide=guide, guide_options=counts, progress=True)
    assert f"{guide}: 100%" in terminal.getvalue()
    assert "30/30 transitions" in terminal.getvalue()


@pytest.mark.parametrize(("count", "unit"), [(3, "/3 data"), (1, "/50 steps")])
def test_fits_name_what_they_are_of(terminal: Terminal, count: int, unit: str) -> None:
    pair, x = _ppca()
    infer(pair, x[:count], guide="normal", max_steps=50, starts=0, progress=True)
    assert unit in terminal.getvalue()
    assert "image" not in terminal.getvalue()
