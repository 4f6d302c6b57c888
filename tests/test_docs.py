"""The code of how-to pages runs as it stands there."""

import re
from pathlib import Path

import pytest
import torch

from inference.learning import CHECKS
from inference.posterior import GUIDES
from pyro_models.contract import fulfills
from pyro_models.models import PAIRS
from pyro_models.pair import Pair

DOCS = Path(__file__).parents[1] / "docs"


def test_the_pair_of_my_own_model_is_fitted_judged_inferred_and_completed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "my-own-model.md").read_text(), re.S)
    assert len(blocks) == 3
    found: dict[str, object] = {"__name__": "my_own_model"}
    torch.manual_seed(0)
    try:
        for block in blocks:
            exec(compile(block, "my-own-model.md", "exec"), found)
    finally:
        PAIRS.pop("factors", None)
    pair, completed = found["pair"], found["completed"]
    assert fulfills(pair, Pair)
    assert type(found["again"]) is found["Factors"]
    assert completed.samples.shape == (3, 4, 1, 8, 8)
    assert torch.equal(completed.mean[..., :4], found["x"][..., :4])
    bound, _ = found["posterior"].bound.mean
    assert -64 * 0.7 < bound < 0
    out = capsys.readouterr().out
    assert "log_likelihood -" in out
    assert "mean image" in out


def test_the_guide_of_my_own_guide_is_registered_fitted_and_weighed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = dict(GUIDES)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "my-own-guide.md").read_text(), re.S)
    assert len(blocks) == 3
    found: dict[str, object] = {"__name__": "my_own_guide"}
    torch.manual_seed(0)
    try:
        for block in blocks:
            exec(compile(block, "my-own-guide.md", "exec"), found)
    finally:
        GUIDES.clear()
        GUIDES.update(before)
    gap, posterior = found["gap"], found["posterior"]
    assert isinstance(gap, torch.Tensor)
    # min over s of KL(Laplace(0, s) ‖ N(0, 1)) = ½ log π − ½ = 0.07, in two dimensions, and more
    # for what of the posterior is correlated
    assert 0.07 < float(gap.mean()) < 0.4
    assert float(posterior.k_hat().max()) < 0.7
    assert "heavy_tails" in capsys.readouterr().out


def test_the_flows_of_the_page_are_learned_and_compared(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "flows.md").read_text(), re.S)
    assert len(blocks) == 2
    found: dict[str, object] = {"__name__": "flows"}
    torch.manual_seed(0)
    for block in blocks:
        quick = block.replace("progress=False", "progress=False, capture=False")
        exec(compile(quick, "flows.md", "exec"), found)
    out = capsys.readouterr().out
    assert "bits per dimension" in out
    assert "(exact)" in out


def test_the_steps_of_how_fast_are_recorded() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "how-fast.md").read_text(), re.S)
    found: dict[str, object] = {}
    exec(compile(block, "how-fast.md", "exec"), found)
    history = found["result"].history  # type: ignore[attr-defined]
    assert (history.recorded, history.not_recorded) == (True, "")


def test_the_example_of_diffusion_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "diffusion.md").read_text(), re.S)
    exec(compile(block, "diffusion.md", "exec"), {})
    assert "bits per dimension" in capsys.readouterr().out


def test_the_program_of_any_model_is_inferred(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "any-model.md").read_text(), re.S)
    found: dict[str, object] = {}
    exec(compile(block, "any-model.md", "exec"), found)
    assert found["replicated"].shape == (100, 20)  # type: ignore[attr-defined]
    assert "slope" in capsys.readouterr().out


def test_the_guides_of_which_guide_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "which-guide.md").read_text(), re.S)
    quick = block.replace('guide="nuts", guide_options=few', 'guide="laplace", max_steps=50')
    quick = quick.replace('"full_covariance", ', '"pathfinder", ')
    quick = quick.replace("in (centred, noncentred)", "in (noncentred,)")
    quick = quick.replace("evidence_options=quick", "log_evidence=-31.3, reference='laplace'")
    exec(compile(quick, "which-guide.md", "exec"), {})
    words = capsys.readouterr().out
    assert words.count("pathfinder:") == words.count("laplace: the reference") == 1


def test_the_page_of_habits_summarises_finds_a_rate_and_registers_a_check(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "before-you-train.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(blocks) == 3
    found: dict[str, object] = {"__name__": "before_you_train"}
    named = dict(CHECKS)
    assert all(f"| `{name}` |" in text for name in named)
    try:
        for block in blocks:
            exec(compile(block, "before-you-train.md", "exec"), found)
    finally:
        CHECKS.clear()
        CHECKS.update(named)
    out = capsys.readouterr().out
    assert "200 = 20 epochs of 10" in out
    assert "(valley; a ramp of" in out
    assert Path("learning-rates.png").is_file()


def test_what_is_saved_is_shared_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "save-share-load.md").read_text(), re.S)
    for block in blocks:
        exec(compile(block, "save-share-load.md", "exec"), found)
    assert found["x"].shape == (16, 1, 8, 8)  # type: ignore[attr-defined]
    out = capsys.readouterr().out
    assert "on digits test (50 data)" in out
    assert "Experiment(model: ppca, data: digits" in out
    assert "license: mit" in (tmp_path / "five/README.md").read_text()


def test_a_training_is_tracked_by_ones_own_tracker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "track-a-training.md").read_text(), re.S)
    own = "fit(vae, data, epochs=1, callbacks=[Table(figures=[])], progress=False)"
    for block in (*blocks, own):
        exec(compile(block, "track-a-training.md", "exec"), found)
    first, *histograms = (tmp_path / "rows.txt").read_text().splitlines()[-20:]
    assert any(line.startswith("1 bound/running=") for line in (first, *histograms))
