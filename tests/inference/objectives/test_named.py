"""An objective is a name, a class, a function or an instance, and so for optimizers."""

import sys
from functools import partial
from importlib import import_module

import pytest
import torch
from pyro.infer import Trace_ELBO
from torch.optim import lr_scheduler

from inference import Experiment, Run, Settings, fit
from inference.cli import main
from inference.learning import make_objective
from inference.learning.optimizers import make_optimizer
from inference.objectives import (
    IWAE,
    OBJECTIVES,
    DReG,
    Renyi,
    jensen_shannon,
    register_objective,
)
from pyro_models import VAE, UsageError

SHAPE = (1, 8, 8)


def train(data, **options):
    torch.manual_seed(0)
    pair = VAE(SHAPE, hidden=[8])
    return fit(pair, data, **{"epochs": 2, "batch_size": 64, "progress": False, **options})


def same(first, second):
    weights = [[*result.pair.parameters()] for result in (first, second)]
    return all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def largest(p, *, power=1.0):
    """The largest weight of a datum: no bound, and a function of one's own."""
    return power * p.log_weight.amax(0)


class Largest:
    """The same as a class."""

    def __init__(self, power=1.0, num_particles=1):
        self.power, self.num_particles = power, num_particles

    def __call__(self, p):
        return self.power * p.log_weight.amax(0)


@pytest.fixture
def registered():
    register_objective("largest", largest)
    yield
    del OBJECTIVES["largest"]


FORMS = {
    "instance": ({"objective": IWAE(num_particles=3)}, "iwae", {"num_particles": 3}),
    "defaults": ({"objective": IWAE()}, "iwae", {}),
    "class": ({"objective": DReG, "objective_options": {"num_particles": 2}}, "dreg",
              {"num_particles": 2}),
    "beta": ({"objective": Renyi(alpha=0.3, beta=0.5)}, "renyi", {"alpha": 0.3, "beta": 0.5}),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_an_object_is_its_name_and_options(form, few, tmp_path):
    given, name, options = FORMS[form]
    by_name = train(few, objective=name, objective_options=options, out=tmp_path / "run")
    by_object = train(few, **given)
    assert same(by_name, by_object)
    assert by_name.history.objective == by_object.history.objective
    assert Settings(**given) == Settings(objective=name, objective_options=options)
    again = train(few, **given, out=tmp_path / "run", resume=True)  # not begun with another
    assert same(by_name, again)


def test_a_function_of_ones_own_is_passed_or_registered(few, registered, tmp_path):
    options = {"num_particles": 4, "power": 0.5}
    passed = train(few, objective=lambda p, power: largest(p, power=power),
                   objective_options=options)  # fmt: skip
    named = train(few, objective="largest", objective_options=options, out=tmp_path / "run")
    as_class = train(few, objective=Largest(0.5, num_particles=4))
    assert same(passed, named)
    assert same(passed, as_class)
    assert named.history.objective == "largest, K = 4, power = 0.5"
    assert Run(tmp_path / "run").describe()["settings"]["objective_options"] == options
    with pytest.raises(UsageError, match="largest has no option depth; it has num_particles, pow"):
        make_objective(passed.pair, largest, {"depth": 3})
    with pytest.raises(UsageError, match="β warm-up is not defined for the objective largest"):
        train(few, objective=largest, beta_warmup=1)


@pytest.mark.usefixtures("elsewhere", "registered")
def test_a_registered_objective_is_one_of_the_command_line(capsys):
    options = ["--options.hidden", "[4]", "--epochs", "1", "--curve_size", "0", "--progress=false"]
    extra = ["--objective", "largest", "--objective_options.num_particles", "3", "--out", "run"]
    assert main(["train", *options, *extra]) == 0
    assert "(largest, K = 3)" in capsys.readouterr().out
    assert Experiment.load("run").settings.objective == "largest"
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert f"{[*OBJECTIVES][-2]} or largest" in " ".join(capsys.readouterr().out.split())


@pytest.mark.usefixtures("elsewhere")
def test_an_objective_may_stand_in_a_file(few, tmp_path):
    text = "def smallest(p):\n    return p.log_weight.amin(0)\n"
    (tmp_path / "own.py").write_text(text)
    found = train(few, objective="own.py:smallest", objective_options={"num_particles": 2})
    assert found.history.objective == "own.py:smallest, K = 2"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"objective": 3}, "3 is no objective: give a name of elbo, "),
        ({"objective": IWAE(), "objective_options": {"beta": 2.0}}, "give the option to the inst"),
        ({"objective": Trace_ELBO(), "objective_options": {"alpha": 2.0}}, "takes no option alpha"),
        ({"objective": lambda p: p.log_weight}, "returns one number for each datum"),
        ({"optimizer": torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])}, "does not have"),
        ({"schedule": lr_scheduler.StepLR}, "step_size"),
    ],
)
def test_what_is_none_is_refused_in_one_line(given, says, few):
    with pytest.raises(UsageError, match=says) as caught:
        train(few, **given)
    assert "\n" not in str(caught.value)


def test_an_experiment_with_objects_without_a_name_is_run_and_not_written(few, tmp_path):
    experiment = Experiment("vae", few, Settings(objective=largest, epochs=1, curve_size=0),
                            options={"hidden": [4]})  # fmt: skip
    assert experiment.run(out=tmp_path / "run", progress=False).history.epochs
    with pytest.raises(UsageError, match="the objective of this experiment cannot be written"):
        experiment.replace(data="digits").to_dict()


def test_optimizers_and_schedules_are_names_classes_partials_or_instances(few):
    by_name = train(few, optimizer="AdamW", optimizer_options={"weight_decay": 0.1}, lr=0.01,
                    schedule="StepLR", schedule_options={"step_size": 2})  # fmt: skip
    for given in (partial(torch.optim.AdamW, weight_decay=0.1, lr=0.01), None):
        torch.manual_seed(0)
        pair = VAE(SHAPE, hidden=[8])
        how = {"lr": 0.01, "weight_decay": 0.1, "fused": True}
        optimizer = given or torch.optim.AdamW(pair.parameters(), **how)
        schedule = partial(lr_scheduler.StepLR, step_size=2)
        options = {"epochs": 2, "batch_size": 64, "progress": False}
        found = fit(pair, few, optimizer=optimizer, schedule=schedule, **options)
        assert same(by_name, found)
        assert found.history.epochs[-1].learning_rate == by_name.history.epochs[-1].learning_rate
    assert Settings(optimizer=torch.optim.SGD) == Settings(optimizer="SGD")
    cosine = train(few, schedule=lr_scheduler.CosineAnnealingLR)  # spans the run, as by name
    assert same(cosine, train(few, schedule="CosineAnnealingLR"))


@pytest.mark.parametrize(
    ("module", "name", "new"),
    [
        ("inference.learning.objectives", "make_objective", make_objective),
        ("inference.learning.bounds", "jensen_shannon", jensen_shannon),
        ("inference.learning.optimisers", "make_optimiser", make_optimizer),
    ],
)
def test_old_places_still_work_and_say_where_things_are(module, name, new):
    sys.modules.pop(module, None)
    with pytest.warns(DeprecationWarning, match=f"{module} is now inference"):
        assert getattr(import_module(module), name) is new
