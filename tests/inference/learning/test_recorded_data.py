"""A run knows its data by content: loaded again they are the same, or it is said what differs."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.learning import Run, fit
from inference.learning.recorded_data import recall
from pyro_models import PPCA, UsageError, load_data

X = np.random.default_rng(0).normal(size=(60, 3))
QUICK = {"epochs": 1, "progress": False}


def trained(out, data, **options):
    return fit(PPCA(data.data_shape, latent_dim=1), data, out=out, **{**QUICK, **options})


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run on a file, named from the present folder, split by another seed than 0."""
    monkeypatch.chdir(tmp_path)
    np.save("mine.npy", X)
    trained("run", load_data("mine.npy", seed=1))
    return "run"


def recorded(run):
    return Run(run).describe()["data"]


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_split_is_the_run_s_own(run):
    found = recall(recorded(run), run=run)
    own = load_data("mine.npy", seed=1)
    assert found.note == ""
    for name in own.splits:
        assert torch.equal(found.data.split(name).x, own.split(name).x)
    assert not torch.equal(found.data.split("test").x, load_data("mine.npy").split("test").x)


def test_equal_content_elsewhere_is_the_same_data(run, tmp_path):
    (tmp_path / "other").mkdir()
    os.replace("mine.npy", "other/path.npy")
    with pytest.raises(UsageError, match=r"^the data of run are not there .*--data\Z"):
        recall(recorded(run), run=run)
    found = recall(recorded(run), run=run, given="other/path.npy")
    assert found.note == ""
    assert found.data.identity.to_dict() == recorded(run)["identity"]
    trained(run, load_data("other/path.npy", seed=1), resume=True)


def test_a_file_that_changed_is_said_and_nothing_is_changed(run, tmp_path):
    np.save("mine.npy", X + 1)
    before = contents(tmp_path / run)
    line = r"^mine.npy is not what run was trained on, or has changed since .other pixels.*\Z"
    with pytest.raises(UsageError, match=line):
        recall(recorded(run), run=run)
    with pytest.raises(UsageError, match=r"^this run was begun with other data .other pixels.*\Z"):
        trained(run, load_data("mine.npy", seed=1), resume=True, epochs=2)
    assert contents(tmp_path / run) == before
    given = recall(recorded(run), run=run, given="mine.npy")
    assert "mine.npy is not what run was trained on (other pixels" in given.note
    assert given.data.split_seed == 1


def test_another_split_is_not_gone_on_with(run):
    with pytest.raises(UsageError, match="split seed: 0, not 1"):
        trained(run, load_data("mine.npy"), resume=True, epochs=2)


def test_a_file_of_the_same_name_in_another_folder_is_not_taken_for_it(run, tmp_path, monkeypatch):
    other = tmp_path / "elsewhere"
    other.mkdir()
    monkeypatch.chdir(other)
    folder = str(tmp_path / run)
    found = recall(recorded(folder), run=folder)  # where it was
    assert found.place == str(tmp_path / "mine.npy")
    np.save("mine.npy", X + 1)
    found = recall(recorded(folder), run=folder)
    assert found.place == str(tmp_path / "mine.npy")
    assert "mine.npy here is another file" in found.note
    assert torch.equal(
        found.data.split("test").x, load_data(tmp_path / "mine.npy", seed=1).split("test").x
    )
    os.remove(tmp_path / "mine.npy")
    with pytest.raises(UsageError, match=r"not what .* was trained on"):
        recall(recorded(folder), run=folder)


def test_a_run_without_an_identity_still_loads_and_says_so(run):
    path = Run(run).folder / "run.json"
    record = json.loads(path.read_text())
    new = ("identity", "source", "split_seed", "scaling")
    record["data"] = {k: v for k, v in record["data"].items() if k not in new}
    path.write_text(json.dumps(record))
    found = recall(recorded(run), run=run)
    assert "does not say which data it was trained on but by name" in found.note
    assert found.data.split_seed == 0  # as its version did
    with pytest.warns(UserWarning, match="identity of the data is not on record"):
        trained(run, load_data("mine.npy"), resume=True)


def test_data_in_memory_are_found_again_in_a_file_of_the_same_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained("run", load_data(X, seed=3))
    with pytest.raises(UsageError, match=r"^run was trained on data in memory .array-.*--data\Z"):
        recall(recorded("run"), run="run")
    np.save("saved.npy", X)
    found = recall(recorded("run"), run="run", given="saved.npy")
    assert found.note == ""
    assert found.data.split_seed == 3


def test_levels_and_kept_labels_are_the_run_s_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 16, (60, 4, 4)).astype(np.uint8)
    np.savez("mine.npz", x=images, y=np.arange(60) % 3)
    data = load_data("mine.npz", levels=16, seed=2, preparation="dequantised").with_labels(6)
    trained("run", data)
    assert recorded("run")["scaling"] == "divided by 15"
    found = recall(recorded("run"), run="run")
    assert found.data.identity == data.identity
    assert torch.equal(found.data.split("train").y, data.split("train").y)
    bits = (images > 7).astype(np.uint8)  # other data are read on their own terms
    np.savez("bits.npz", x=bits, y=np.arange(60) % 3)
    assert recall(recorded("run"), run="run", given="bits.npz").data.levels == 2
    labelled = data.labelled()
    trained("labelled", labelled)
    assert recall(recorded("labelled"), run="labelled").data.identity == labelled.identity


def test_bundled_data_that_were_altered_are_not_taken_for_the_set(tmp_path):
    digits = load_data("digits", preparation="dequantised")
    few = replace(digits, splits={**digits.splits, "test": digits.split("validation")})
    trained(tmp_path / "run", few)
    with pytest.raises(UsageError, match="digits is not what run was trained on"):
        recall(recorded(tmp_path / "run"), run="run")


def test_data_that_float32_rounds_together_are_refused_before_anything_is_written(tmp_path):
    data = load_data(X + 1.7e9)
    with pytest.raises(UsageError, match=r"^float32 cannot tell .* column 0 .*pair\.double.*\Z"):
        trained(tmp_path / "run", data)
    assert not (tmp_path / "run").exists()
    pair = PPCA((3,), latent_dim=1).double()
    fit(pair, data, **QUICK)


def test_a_run_on_labelled_data_alone_finds_them_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    y = np.arange(60) % 3
    y[::2] = -1
    np.savez("some.npz", x=X, y=y)
    data = load_data("some.npz").labelled()
    trained("run", data)
    found = recall(recorded("run"), run="run")
    assert found.note == ""
    assert torch.equal(found.data.split("train").x, data.split("train").x)
    kept = load_data("some.npz").with_labels(6)
    trained("kept", kept)  # six labels, and all the data
    assert len(recall(recorded("kept"), run="kept").data.split("train")) == len(kept.split("train"))


def test_labels_beside_the_same_pixels_make_no_other_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("bare.npy", X)
    np.savez("labelled.npz", x=X, y=np.arange(len(X)) % 2)
    np.savez("relabelled.npz", x=X, y=np.arange(len(X)) % 3)
    trained("run", load_data("bare.npy", seed=1))
    assert recall(recorded("run"), run="run", given="labelled.npz").note == ""
    trained("with labels", load_data("labelled.npz", seed=1))
    assert recall(recorded("with labels"), run="run", given="bare.npy").note == ""
    assert "other labels" in recall(recorded("with labels"), run="r", given="relabelled.npz").note
    trained("run", load_data(X, labels=np.arange(len(X)) % 2, seed=1), resume=True)


def test_a_run_finds_its_data_again_as_large_as_they_were_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("mine.npy", X)
    data = load_data("mine.npy", test_fraction=0.5, seed=2)
    trained("run", data)
    assert recall(recorded("run"), run="run").data.identity == data.identity
