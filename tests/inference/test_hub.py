"""What is passed on is the same pair again, on disk and by the Hub; no code of a stranger runs."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from inference import Experiment, Run, Settings, evaluate, export_run, fit, from_hub, push_to_hub
from inference.cli import main
from inference.hub.export import FILES
from pyro_models import PPCA, VAE, UsageError, load_data
from pyro_models.likelihoods import Bernoulli
from pyro_models.models import PAIRS
from tests.inference.hub_server import TOKEN, Repositories, running_hub


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with scores."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    options = {"hidden": [4], "latent_dim": 2, "likelihood": "bernoulli"}
    how = Settings(epochs=2, curve_size=50, capture=False)
    experiment = Experiment("vae", "digits", how, options=options, track=None)
    pair, data = experiment.make()
    result = experiment.run(made=(pair, data), out=folder, progress=False)
    scores = evaluate(result.pair, data, num_particles=5, limit=20, progress=False)
    (folder / "scores.json").write_text(scores.to_json())
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repositories]:
    pytest.importorskip("huggingface_hub")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
    with running_hub() as server:
        yield server


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(n == m and torch.equal(v, w) for (n, v), (m, w) in pairs)


def front_matter(card: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return found


def test_an_exported_folder_is_the_same_pair(run: Path, tmp_path: Path) -> None:
    place = export_run(run, tmp_path / "out", license="mit", tags=["digits"])
    assert sorted(path.name for path in place.iterdir()) == sorted(FILES)
    again = from_hub(place)
    assert same_weights(again.pair, Run(run).load_pair())
    assert again.evaluation is not None
    assert again.evaluation.scores["elbo"].num_data == 20
    assert again.experiment == Experiment.load(run)


def test_a_card_says_what_it_is_what_it_is_worth_and_how_to_load_it(
    run: Path, tmp_path: Path
) -> None:
    place = export_run(run, tmp_path / "out", license="mit", tags=["digits"])
    card = (place / "README.md").read_text()
    front = front_matter(card)
    assert front["library_name"] == "pyro-models"
    assert front["license"] == "mit"
    assert {"vae", "digits", "pyro"} <= set(front["tags"])
    scores = json.loads((run / "scores.json").read_text())["scores"]
    metrics = {m["type"]: m["value"] for m in front["model-index"][0]["results"][0]["metrics"]}
    assert metrics["elbo"] == scores["elbo"]["value"]
    head, _, *rows = (line for line in card.splitlines() if line.startswith("|"))
    assert head == "| score | value ± standard error | unit | kind | K | seed | of |"
    (bound,) = (row for row in rows if row.startswith("| log p(x)"))
    assert "| nats per datum | lower bound | 5 | 0 | 20 test data, threshold |" in bound
    assert "counting on {0,1}" in card
    identity = Run(run).describe()["data"]["identity"]["pixels"]["test"]
    assert identity[:12] in card
    assert (place / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert "(figure.png)" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.S)
    assert len(code.strip().splitlines()) == 3
    found: dict[str, Any] = {}
    exec(code.replace('"out"', repr(str(place))), found)
    assert found["x"].shape == (16, 1, 8, 8)


def test_the_card_is_one_that_the_hub_reads(run: Path, tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    place = export_run(run, tmp_path / "out")
    data = hub.ModelCard((place / "README.md").read_text()).data
    assert data.library_name == "pyro-models"
    assert {result.metric_type for result in data.eval_results} >= {"elbo", "log_likelihood"}


def test_places_on_this_machine_are_not_passed_on(tmp_path: Path) -> None:
    file, first = tmp_path / "mine.csv", tmp_path / "runs/first"
    file.write_text("a,b\n" + "\n".join(f"{i / 7},{i % 5}" for i in range(40)))
    how = Settings(epochs=1, curve_size=0)
    own = Experiment("ppca", file, how, options={"latent_dim": 1}, test_fraction=0.2)
    own.run(out=first, progress=False)
    track = {"class_path": "tensorboard", "init_args": {"folder": str(tmp_path / "events")}}
    second = own if "tensorboard" not in sys.modules else own.replace(track=track)
    second.run(out=tmp_path / "runs/second", init_from=first, progress=False)
    place = export_run(tmp_path / "runs/second", tmp_path / "out")
    for path in place.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path.name
    assert "track" not in Run(place).describe()["experiment"]
    assert "learning" not in (place / "README.md").read_text().split("## Scores")[1]


def test_commands_take_an_exported_folder_as_a_run_folder(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(run), "--out", "out"]) == 0
    assert 'load it with: from_hub("out")' in capsys.readouterr().out
    assert main(["evaluate", "out", "--num_particles", "2", "--limit", "5"]) == 0
    assert main(["plot", "out", "--figure", "learning_curves"]) == 0
    few = ["--model", "vae", "--epochs", "1", "--curve_size", "0", "--progress", "false"]
    own = ["--options.hidden", "[4]", "--options.latent_dim", "2"]
    own += ["--options.likelihood", "bernoulli"]
    assert main(["train", *few, *own, "--init_from", "out", "--out", "more"]) == 0
    capsys.readouterr()
    assert main(["train", "--resume", "--out", "out", "--epochs", "5"]) == 2
    assert "holds no checkpoint to resume from" in capsys.readouterr().err


def test_scores_are_computed_where_a_run_has_none(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    bare = shutil.copytree(run, tmp_path / "bare")
    (bare / "scores.json").unlink()
    few = ["--num_particles", "2", "--limit", "7", "--progress", "false"]
    assert main(["export", "bare", *few]) == 0
    assert "7 test data" in (tmp_path / "exports/bare/README.md").read_text()
    assert main(["export", "bare", *few]) == 2
    assert "exports/bare is not empty" in capsys.readouterr().err
    assert main(["export", "bare", "--force", *few, "--figure", "latent_grid"]) == 0
    assert "Latent grid." in (tmp_path / "exports/bare/README.md").read_text()
    record = json.loads((bare / "run.json").read_text())
    record["data"]["identity"]["pixels"]["test"] = "0" * 32
    (bare / "run.json").write_text(json.dumps(record))
    assert main(["export", "bare", "--out", "other", *few]) == 0
    assert "note: the card has no scores: digits is not what" in capsys.readouterr().out
    assert "exported without scores" in (tmp_path / "other/README.md").read_text()


def test_what_cannot_be_exported_is_one_line(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run folder"):
        export_run(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(UsageError, match="is the run folder itself"):
        export_run(run, run)
    with pytest.raises(UsageError, match="is not empty: name another folder"):
        export_run(run, run.parent)
    with pytest.raises(UsageError, match="this one needs data"):
        export_run(run, tmp_path / "out", figure="reconstructions")
    assert not (tmp_path / "out").exists()
    data = load_data("digits", preparation="dequantised")
    result = fit(PPCA(data.data_shape), data, epochs=0, progress=False)
    with pytest.raises(UsageError, match="has no run folder to export"):
        export_run(result, tmp_path / "out")


class Own(VAE):
    """A user's own class."""


def test_a_class_of_ones_own_is_passed(tmp_path: Path) -> None:
    data = load_data("digits", preparation="threshold")
    small: dict[str, Any] = {"hidden": [4], "latent_dim": 2}
    pair = Own(data.data_shape, likelihood="bernoulli", **small)
    result = fit(pair, data, epochs=1, out=tmp_path / "run", curve_size=0, progress=False)
    place = export_run(result, tmp_path / "out")
    card = (place / "README.md").read_text()
    assert 'from_hub("out", model=Own)' in card
    with pytest.raises(UsageError, match="holds a Own, which is not registered"):
        from_hub(place)
    assert type(from_hub(place, model=Own).pair) is Own


@pytest.mark.parametrize("part", ["model", "likelihood", "prior", "network"])
@pytest.mark.parametrize("kind", ["file", "module"])
def test_no_code_that_a_folder_names_is_run(
    run: Path, tmp_path: Path, part: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = export_run(run, tmp_path / "out")
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"{tmp_path / 'evil.py'}:Evil" if kind == "file" else "evil.Evil"
    record = json.loads((place / "run.json").read_text())
    if part == "model":
        record |= {"model": name, "class": "Evil"}
    else:
        record["config"][part] = {"class_path": name, "init_args": {}}
        record["config"].pop("likelihood_options")
    (place / "run.json").write_text(json.dumps(record))
    with pytest.raises(UsageError):
        from_hub(place)
    assert not (tmp_path / "ran").exists()
    if part == "likelihood":
        bernoulli = {"likelihood": Bernoulli}
        assert from_hub(place, options=bernoulli).pair.likelihood.name == "bernoulli"


def test_an_experiment_that_names_code_is_refused(run: Path, tmp_path: Path) -> None:
    place = export_run(run, tmp_path / "out")
    record = json.loads((place / "run.json").read_text())
    record["experiment"]["objective"] = "os.system"
    (place / "run.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match=r"names 'os.system', and code that a"):
        _ = from_hub(place).experiment


def test_a_pair_is_sent_to_the_hub_and_taken_from_it(
    run: Path, tmp_path: Path, hub: Repositories
) -> None:
    of: dict[str, Any] = {"token": TOKEN, "endpoint": hub.address}
    address = push_to_hub(run, "ada/small", message="First", license="mit", **of)
    assert address.startswith(f"{hub.address}/ada/small/commit/")
    assert hub.messages == ["First"]
    assert set(hub.files["ada/small"]["main"]) == set(FILES)
    card = hub.files["ada/small"]["main"]["README.md"].decode()
    assert 'from_hub("ada/small")' in card
    hub.files["ada/small"]["main"]["evil.py"] = b"raise SystemExit"
    again = from_hub("ada/small", **of)
    assert same_weights(again.pair, Run(run).load_pair())
    assert again.evaluation is not None
    assert not (again.folder / "evil.py").exists()


def test_a_branch_is_a_revision(run: Path, tmp_path: Path, hub: Repositories) -> None:
    of: dict[str, Any] = {"token": TOKEN, "endpoint": hub.address}
    other = export_run(run, tmp_path / "out")
    (other / "README.md").write_text('mine: from_hub("out")')
    push_to_hub(run, "ada/small", private=True, **of)
    push_to_hub(other, "ada/small", revision="v2", **of)
    assert hub.private == {"ada/small"}
    branches = hub.files["ada/small"]
    assert branches["v2"]["README.md"] == b'mine: from_hub("ada/small")'  # a card that is kept
    assert branches["main"]["README.md"] != branches["v2"]["README.md"]
    place = from_hub("ada/small", revision="v2", **of).folder
    assert (place / "README.md").read_bytes() == branches["v2"]["README.md"]
    with pytest.raises(UsageError, match="is an export with a card of its own"):
        push_to_hub(other, "ada/small", license="mit", **of)


def test_push_and_pull_at_the_command_line(
    run: Path,
    tmp_path: Path,
    hub: Repositories,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from huggingface_hub import constants

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    assert main(["push", str(run), "--to", "ada/small", "--license", "mit"]) == 0
    assert 'load it with: from_hub("ada/small")' in capsys.readouterr().out
    assert main(["pull", "ada/small"]) == 0
    assert same_weights(Run("runs/small").load_pair(), Run(run).load_pair())
    assert main(["pull", "ada/small"]) == 2
    assert "runs/small is not empty" in capsys.readouterr().err
    assert main(["pull", "ada/small", "--force"]) == 0
    assert main(["push", str(run)]) == 2
    assert "name the repository: --to OWNER/NAME" in capsys.readouterr().err


def test_what_the_hub_refuses_is_one_line(
    run: Path, tmp_path: Path, hub: Repositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from huggingface_hub import constants

    def said(call: Any, *args: Any, **options: Any) -> str:
        with pytest.raises(UsageError) as raised:
            call(*args, **{"endpoint": hub.address, **options})
        assert "\n" not in str(raised.value)
        return str(raised.value)

    push_to_hub(run, "ada/small", token=TOKEN, endpoint=hub.address)
    assert said(from_hub, "ada/none").startswith("there is no repository ada/none on the Hub")
    assert said(from_hub, "ada/small", revision="v9").startswith("ada/small has no revision v9")
    assert "the Hub refuses bob/small (401)" in said(push_to_hub, run, "bob/small", token="hf_no")
    assert "a repository of the Hub is owner/name" in said(from_hub, "a/b/c")
    assert "a repository of the Hub is owner/name" in said(from_hub, "ada/-small-")
    assert "which has no revisions" in said(from_hub, run, revision="v2")
    away = said(from_hub, "ada/else", endpoint="http://127.0.0.1:9")
    assert "ada/else" in away
    assert "cannot be reached" in away
    assert "cannot be reached" in said(
        push_to_hub, run, "ada/small", token=TOKEN, endpoint="http://127.0.0.1:9"
    )
    hub.files["ada/empty"] = {"main": {"README.md": b"nothing"}}
    assert said(from_hub, "ada/empty") == (
        "ada/empty is no model of pyro-models: it has no run.json"
    )
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert said(push_to_hub, run, "ada/small").startswith("there is no token for the Hub: log in")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "cannot be reached (offline" in said(from_hub, "ada/else")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert 'pip install "pyro-models[hub]"' in said(from_hub, "ada/small")


def test_registered_classes_of_ones_own_are_found(run: Path, tmp_path: Path) -> None:
    place = export_run(run, tmp_path / "out")
    record = json.loads((place / "run.json").read_text())
    record["model"], record["class"] = "own", "Own"
    (place / "run.json").write_text(json.dumps(record))
    PAIRS.register("own", Own)
    try:
        assert type(from_hub(place).pair) is Own
    finally:
        PAIRS.pop("own")
