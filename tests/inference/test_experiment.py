"""An experiment is one value: what a preset is, what a run keeps, and what is run again."""

import inspect
import json
import warnings
from pathlib import Path

import pytest
import torch

from inference import Experiment, Run, Settings, evaluate, fit
from inference.learning.recorded_data import recall
from inference.learning.settings import Settings as OfLearning
from pyro_models import PPCA, VAE, UsageError, build, load_data, load_preset, preset_names
from pyro_models.seeds import seeded

SMALL = Experiment(
    "vae", "digits", Settings(epochs=1, curve_size=0, lr=0.01), options={"hidden": [4]}
)


def weights(pair):
    return torch.cat([p.detach().flatten() for p in pair.parameters()])


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_an_experiment_and_back(name):
    experiment = Experiment.preset(name)
    values = load_preset(name)
    assert Experiment.from_dict(values) == experiment
    assert Experiment.from_dict(experiment.to_dict()) == experiment
    assert Experiment.from_yaml(experiment.to_yaml()) == experiment
    assert experiment.options == values["options"]
    assert experiment.settings.lr == values["lr"]


def test_it_is_the_fit_one_would_write_and_loads_again(tmp_path):
    result = SMALL.run(out=tmp_path / "run", progress=False)
    data = load_data("digits", preparation="grey")
    with seeded(0, torch.device("cpu")):
        pair = build("vae", data.data_shape, hidden=[4])
    fit(pair, data, settings=SMALL.settings, progress=False)
    assert torch.equal(weights(pair), weights(result.pair))
    assert Experiment.load(tmp_path / "run") == SMALL
    again = Experiment.load(tmp_path / "run").replace(epochs=2)
    more = again.run(out=tmp_path / "run", resume=True, progress=False)
    assert len(more.history.epochs) == 2


def test_the_run_of_an_older_release_is_an_experiment_too(tmp_path):
    first = SMALL.run(out=tmp_path / "run", progress=False)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    del record["experiment"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    found = Experiment.load(tmp_path / "run")
    assert found.settings.replace(device=None) == SMALL.settings
    assert found.preparation == "grey"
    assert torch.equal(weights(found.run(progress=False).pair), weights(first.pair))


def test_a_class_is_its_name_and_data_may_be_in_memory(few, tmp_path):
    assert Experiment(VAE, options={"hidden": [4]}, settings=SMALL.settings) == SMALL
    own = SMALL.replace(data=few, preparation="threshold")
    result = own.run(out=tmp_path / "run", progress=False)
    assert Run(result.out).describe()["data"]["preparation"] == "threshold"
    assert Experiment.load(result.out).options["hidden"] == [4]
    with pytest.raises(UsageError, match="the data of this experiment cannot be written"):
        own.to_dict()


@pytest.mark.parametrize("name", ["model", "objective"])
def test_a_run_folder_brings_no_code_with_it(name, few, tmp_path):
    folder = SMALL.replace(data=few).run(out=tmp_path / "run", progress=False).out
    (folder / "evil.py").write_text("raise SystemExit")
    record = json.loads((folder / "run.json").read_text())
    part = record if name == "model" else record["settings"]
    part[name] = f"{folder / 'evil.py'}:Evil"
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match="code from there is never run"):
        Experiment.load(folder)


def test_what_is_changed_leaves_the_rest_and_the_first(tmp_path):
    changed = SMALL.replace(**{"options.latent_dim": 3, "lr": 0.5, "labels": 0.5})
    assert changed.options == {"hidden": [4], "latent_dim": 3}
    assert (changed.settings.lr, changed.settings.epochs, changed.labels) == (0.5, 1, 0.5)
    assert SMALL.options == {"hidden": [4]}
    (tmp_path / "own.yaml").write_text(changed.to_yaml())
    assert Experiment.from_yaml(Path(tmp_path / "own.yaml")) == changed
    for wrong, says in (
        ({"depth": 3}, "an experiment has no option depth; it has"),
        ({"lr": -1.0}, "lr must be positive; got -1.0"),
        ({"split_seed": 0.5}, "a seed is a whole number"),
        ({"model": PPCA((4,), latent_dim=1)}, "give its model as a name or class"),
    ):
        with pytest.raises(UsageError, match=says) as caught:
            SMALL.replace(**wrong)
        assert "\n" not in str(caught.value)


def test_fit_lists_and_describes_every_setting_once():
    parameters = inspect.signature(fit).parameters
    for name, default in vars(OfLearning()).items():
        assert parameters[name].default == (default if default != {} else None)
        assert fit.__doc__.count(f"\n{name}\n    ") == 1
        assert OfLearning.__doc__.count(f"\n{name}\n    ") == 1


def test_settings_may_be_given_whole_and_by_name(few):
    found = []
    for given in ({"settings": Settings(epochs=1, lr=0.1), "lr": 0.01}, {"epochs": 1, "lr": 0.01}):
        torch.manual_seed(0)
        pair = VAE(few.data_shape, hidden=[4])
        found.append(weights(fit(pair, few, curve_size=0, progress=False, **given).pair))
    assert torch.equal(*found)
    with pytest.raises(UsageError, match="training has no option epoch; it has objective"):
        fit(pair, few, epoch=3)


def test_the_old_name_of_init_from_still_works(few, tmp_path):
    torch.manual_seed(0)
    options = {"epochs": 0, "curve_size": 0, "progress": False}
    first = fit(VAE(few.data_shape, hidden=[4]), few, out=tmp_path / "run", **options).pair
    with pytest.warns(DeprecationWarning, match="start is now init_from"):
        old = fit(VAE(few.data_shape, hidden=[4]), few, start=tmp_path / "run", **options).pair
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        new = fit(VAE(few.data_shape, hidden=[4]), few, init_from=tmp_path / "run", **options).pair
    assert torch.equal(weights(first), weights(old))
    assert torch.equal(weights(first), weights(new))


def test_half_seen_data_are_a_part_of_it(tmp_path):
    experiment = SMALL.replace(mask="left", model="ppca", options={"latent_dim": 2})
    found = experiment.run(out=tmp_path / "run", progress=False)
    again = Experiment.load(tmp_path / "run")
    assert again == experiment
    assert torch.equal(weights(again.run(progress=False).pair), weights(found.pair))
    whole = experiment.replace(mask=None).run(progress=False).pair
    assert not torch.equal(weights(whole), weights(found.pair))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    del record["experiment"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match="learned from half-seen data"):
        Experiment.load(tmp_path / "run")


def test_fewer_grey_levels_are_kept_with_the_run_and_score_in_bits(tmp_path):
    options = {"hidden": [4], "latent_dim": 2, "likelihood": "categorical"}
    options["likelihood_options"] = {"bins": 4}
    experiment = Experiment("vae", "digits", Settings(epochs=1), options=options, levels=4)
    experiment.run(out=tmp_path / "run")
    assert Experiment.load(tmp_path / "run") == experiment
    run = Run(tmp_path / "run")
    data = recall(run.describe()["data"], run="run").data
    assert data.levels == 4
    scores = evaluate(run.load_pair(), data, num_particles=2, limit=20).scores
    assert "bits_per_dimension" in scores
