"""Data that are read batch by batch: what is learned from them is what memory would give."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from inference import Experiment, evaluate, fit
from inference.learning import Run, epoch_data
from inference.learning.recorded_data import recall
from pyro_models import GMM, VAE, SemiSupervisedVAE, UsageError, load_data
from pyro_models.data import rows

SHAPE = (1, 8, 8)


@pytest.fixture
def path(tmp_path):
    """300 digits of 256 levels: 240 train, in 5 batches of 50 of which the last has 40."""
    pixels = (load_digits().images[:300] * 17).clip(0, 255).astype(np.uint8)
    np.save(tmp_path / "large.npy", pixels)
    return tmp_path / "large.npy"


def vae(likelihood="bernoulli"):
    torch.manual_seed(0)
    return VAE(SHAPE, hidden=[8], latent_dim=2, likelihood=likelihood)


def gmm():
    torch.manual_seed(0)
    return GMM(SHAPE, num_components=3)


def learned(pair, data, *, epochs=2, capture=False, **options):
    """Parameters, curves and start."""
    options |= {"epochs": epochs, "capture": capture, "batch_size": 50, "progress": False}
    result = fit(pair, data, **options)
    curves = [replace(epoch, seconds=0) for epoch in result.history.epochs]
    return [p.tolist() for p in pair.state_dict().values()], curves, result.history.start


@pytest.mark.parametrize(
    ("make", "preparation", "options"),
    [
        (vae, "threshold", {"noise_multiple": 1.0, "patience": 5, "capture": None}),
        (vae, "threshold", {"objective": "iwae", "objective_options": {"num_particles": 3}}),
        (gmm, "grey", {}),
    ],
    ids=["vae", "iwae", "gmm"],
)
def test_it_is_what_memory_gives_bit_for_bit(make, preparation, options, path):
    data = [load_data(path, preparation=preparation, stream=s) for s in (False, True)]
    assert [d.is_streamed for d in data] == [False, True]
    assert data[0].identity == data[1].identity
    held, streamed = (learned(make(), d, **options) for d in data)
    assert held == streamed
    options = {**options, "capture": False, "stream": True}
    assert learned(make(), data[0], **options) == held  # from memory to the device


def test_pixels_drawn_anew_are_of_the_same_distribution_and_start_alike(path):
    data = load_data(path, preparation="dynamic", stream=True)
    drawn = [data.prepared("train", seed=seed).x for seed in range(100)]
    grey = data.split("train").sample().x
    error = (torch.stack(drawn).mean(0) - grey).abs()
    assert bool((error < 5 * (grey * (1 - grey) / 100).sqrt() + 1e-6).all())
    alike = [load_data(path, preparation="dequantised", stream=s) for s in (False, True)]
    found = [learned(gmm(), d, epochs=0) for d in alike]
    assert found[0] == found[1]


def test_static_pixels_are_those_of_the_datum_whichever_come_with_it(path):
    data = load_data(path, preparation="static", stream=True)
    whole = data.prepared("train").x
    some = torch.tensor([7, 3, 200])
    generator = torch.Generator()
    assert torch.equal(data.draw("train", generator, rows=some).x, whole[some])
    assert set(whole.unique().tolist()) == {0.0, 1.0}
    assert abs(float(whole.mean() - data.split("train").sample().x.mean())) < 0.02


def test_paths_maps_and_labels_are_taken_as_arrays_are(path):
    y, mapped = load_digits().target[:300], np.load(path, mmap_mode="r")
    alike = [learned(vae("cross_entropy"), d, stream=True) for d in (path, str(path), mapped)]
    assert alike[0] == alike[1] == alike[2] == learned(vae("cross_entropy"), load_data(path))
    found = []
    for stream in (False, True):
        torch.manual_seed(0)
        data = load_data(mapped, labels=y, preparation="threshold", stream=stream)
        pair = SemiSupervisedVAE(SHAPE, num_classes=10, hidden=[6], classifier_hidden=[6])
        few = data.with_labels(20)
        found.append(learned(pair, few, labelled_per_batch=5, epochs=1))
    assert found[0] == found[1]


def test_a_resumed_run_ends_bit_for_bit_where_the_other_does(path, tmp_path):
    data = load_data(path, preparation="dynamic", stream=True)
    whole = learned(vae(), data, epochs=3)
    fit(vae(), data, epochs=1, batch_size=50, progress=False, out=tmp_path / "run")
    again = learned(vae(), data, epochs=3, out=tmp_path / "run", resume=True)
    assert whole == again
    held = load_data(path, preparation="dynamic")
    with pytest.raises(UsageError, match="were streamed, and are not now: give stream=True"):
        fit(vae(), held, epochs=4, batch_size=50, progress=False, out=tmp_path / "run", resume=True)


def test_the_command_streams_and_finds_its_data_again(path, tmp_path, call, refused, capsys):
    run = tmp_path / "run"
    given = ["--data", path, "--stream", "true", "--model", "vae", "--options.hidden", "[8]"]
    assert call("train", *given, "--capture", "false", "--epochs", "1", "--out", run) == 0
    assert "streamed from its file" in capsys.readouterr().out
    assert Experiment.load(run).settings.stream
    assert recall(Run(run).describe()["data"], run=str(run)).data.is_streamed
    assert call("train", "--out", run, "--resume", "--epochs", "2") == 0
    os.utime(path, (1, 1))
    said = refused("train", "--out", run, "--resume", "--epochs", "3")
    assert "the file was written to since" in said


def test_more_than_memory_is_streamed_by_itself_and_the_start_says_of_what(path, monkeypatch):
    monkeypatch.setattr(rows, "free_memory", lambda: 100_000)
    monkeypatch.setattr(rows, "SAMPLE", 64 * 100)
    monkeypatch.setattr(epoch_data, "SAMPLE", 64 * 10)
    data = load_data(path)
    assert data.is_streamed
    _, curves, start = learned(gmm(), data)
    assert start == "k-means++ of 100 of the 240 training data"
    assert np.isfinite(curves[-1].validation)  # in 3 chunks
    with pytest.raises(UsageError, match="say how many are wanted"):
        load_data(path, test_fraction=0.9).prepared("test")
    assert len(evaluate(gmm(), data, limit=5, progress=False).per_datum["elbo"]) == 5


def test_what_only_a_later_row_tells_is_refused_when_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "SAMPLE", 64 * 10)
    pixels = np.zeros((100, 8, 8), np.uint8)
    pixels[3] = 200
    np.save(tmp_path / "late.npy", pixels)
    data = load_data(tmp_path / "late.npy", stream=True, preparation="threshold")
    with pytest.raises(UsageError, match=r"from 0 to 200.*sample of its rows has 2 grey levels"):
        fit(vae(), data, epochs=1, progress=False)
    late = (pixels / 255).astype(np.float32)
    late[57, 2, 3] = np.nan
    np.save(tmp_path / "nan.npy", late)
    with pytest.raises(UsageError, match=r"the first in row 57, pixel \(2, 3\)"):
        fit(vae("cross_entropy"), tmp_path / "nan.npy", stream=True, epochs=1, progress=False)
    pixels[4] = 100
    np.save(tmp_path / "late.npy", pixels)
    with pytest.raises(UsageError, match="was written to while it was read"):
        fit(vae(), data, epochs=1, progress=False)


def test_what_cannot_be_streamed_says_what_to_do(tmp_path, path, monkeypatch):
    np.savez(tmp_path / "large.npz", x=np.load(path))
    mapped, items = (
        np.load(path, mmap_mode="r"),
        torch.utils.data.TensorDataset(torch.rand(300, 64)),
    )
    with pytest.raises(UsageError, match="streamed from its file, whole: leave the mask out"):
        fit(vae(), load_data(path, stream=True), mask="left", progress=False)
    with pytest.raises(UsageError, match="give stream=False to load_data"):
        fit(vae("cross_entropy"), load_data(path, stream=True), stream=False, progress=False)
    monkeypatch.setattr(rows, "free_memory", lambda: 10_000)
    with pytest.raises(UsageError, match="leave the mask out"):
        fit(vae("cross_entropy"), mapped, mask="left", progress=False)
    with pytest.raises(UsageError, match="save x alone by"):
        load_data(tmp_path / "large.npz")
    with pytest.raises(UsageError, match="more, which memory cannot hold: write its items into"):
        load_data(items)
