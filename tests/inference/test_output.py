"""Whatever happens to standard output, what was computed is kept, and no traceback is shown."""

import errno
import io
import os
import sys

import pytest

from inference.cli import main
from inference.command_line.output import lenient_output
from inference.learning import fit
from pyro_models import PPCA, load_data


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data = load_data("digits", preparation="dequantised")
    folder = tmp_path_factory.mktemp("runs") / "ppca"
    fit(
        PPCA(data.data_shape, latent_dim=2),
        data,
        epochs=1,
        curve_size=0,
        out=folder,
        progress=False,
    )
    return folder


def evaluate(run, out):
    return [
        *("evaluate", str(run), "--limit", "5", "--num_particles", "2", "--progress", "false"),
        *("--out", str(out)),
    ]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_of_few_characters_costs_characters_and_no_result(
    run, tmp_path, monkeypatch, encoding
):
    out, terminal = tmp_path / "scores.json", io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(evaluate(run, out)) == 0
    assert out.exists()
    assert b"nats" in terminal.buffer.getvalue()
    assert (b"?" in terminal.buffer.getvalue()) == (encoding == "ascii")


class Broken(io.TextIOWrapper):
    """A stream whose reader has gone, or whose disk is full."""

    def __init__(self, number):
        super().__init__(io.BytesIO(), encoding="utf-8")
        self.number = number

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("broken", [(errno.EPIPE, 0), (errno.ENOSPC, 2)])
def test_output_that_breaks_loses_no_result(run, tmp_path, monkeypatch, capsys, broken):
    number, code = broken
    out = tmp_path / "scores.json"
    monkeypatch.setattr(sys, "stdout", Broken(number))
    assert main(evaluate(run, out)) == code
    assert out.exists()
    told = capsys.readouterr().err
    assert ("what was printed is lost" in told) == (code == 2)


def test_a_training_goes_on_when_nobody_listens(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Broken(errno.EPIPE))
    monkeypatch.setattr(sys, "stderr", Broken(errno.EPIPE))
    out = tmp_path / "run"
    options = ("--epochs", "1", "--curve_size", "0", "--preparation", "dequantised")
    assert main(["train", "--model", "ppca", *options, "--out", str(out)]) == 0
    assert (out / "weights.safetensors").exists()


def test_streams_are_put_back():
    before = sys.stdout, sys.stderr
    with pytest.raises(KeyError), lenient_output():
        raise KeyError
    assert (sys.stdout, sys.stderr) == before


def test_a_result_that_cannot_be_written_is_printed_all_the_same(
    run, tmp_path, monkeypatch, capsys
):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    assert main(evaluate(run, tmp_path / "scores.json")) == 2
    shown = capsys.readouterr()
    assert "nats" in shown.out
    assert "scores.json could not be written (No space left on device)" in shown.err
    assert shown.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
