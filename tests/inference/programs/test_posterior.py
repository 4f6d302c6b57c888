"""What is asked of a posterior of a program: tables, ArviZ, files, new data."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import infer
from inference.programs import Program, ProgramPosterior
from pyro_models import UsageError


def groups(y):
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    with pyro.plate("groups", 3):
        effect = pyro.sample("effect", dist.Normal(0.0, 1.0))
        mean = pyro.deterministic("mean", scale * effect)
        pyro.sample("y", dist.Normal(mean, 0.5), obs=y)


Y = torch.tensor([0.3, -0.2, 0.9])


@pytest.fixture(scope="module")
def laplace() -> ProgramPosterior:
    return infer(groups, Y, guide="pathfinder", guide_options={"num_paths": 1})


@pytest.fixture(scope="module")
def chains() -> ProgramPosterior:
    counts = {"num_samples": 20, "num_chains": 2, "warmup": 20}
    return infer(groups, Y, guide="nuts", guide_options=counts)


def test_predictions_have_the_data_and_what_is_determined(laplace) -> None:
    state = torch.get_rng_state()
    new = laplace.predictive(7, seed=1)
    assert {name: tuple(v.shape) for name, v in new.items()} == {"y": (7, 3), "mean": (7, 3)}
    assert not torch.equal(new["y"][0], Y)
    assert torch.equal(new["y"], laplace.predictive(7, seed=1)["y"])
    assert torch.equal(torch.get_rng_state(), state)


def test_the_summary_has_a_row_for_each_number_and_chains_say_more(laplace, chains) -> None:
    assert [row[0] for row in laplace.summary().rows] == [
        "scale",
        "effect[0]",
        "effect[1]",
        "effect[2]",
    ]
    assert len(laplace.summary().heads) == 5
    assert [head[0] for head in chains.summary().heads][-2:] == ["R̂", "ESS"]


def test_arviz_has_the_plates_as_dimensions(laplace, chains) -> None:
    pytest.importorskip("arviz")
    data = chains.to_arviz()
    assert dict(data["posterior"].sizes) == {"chain": 2, "draw": 20, "groups": 3}
    assert data["observed_data"]["y"].dims == ("groups",)
    assert "diverging" in data["sample_stats"]
    assert laplace.to_arviz(num_draws=10)["posterior"].sizes["draw"] == 10


def test_a_file_gives_the_same_draws_and_is_refused_for_another_program(
    laplace, chains, tmp_path
) -> None:
    program = Program(groups, Y)
    for i, posterior in enumerate((laplace, chains, laplace.resampled(50))):
        path = tmp_path / f"{i}.pt"
        posterior.save(path)
        again = ProgramPosterior.load(path, program)
        assert again.name == posterior.name
        torch.testing.assert_close(again.sample(5)["effect"], posterior.sample(5)["effect"])
    with pytest.raises(UsageError, match=r"its data are others \(y\)"):
        ProgramPosterior.load(path, Program(groups, Y + 1))

    def other(y):
        return groups(y) or pyro.factor("more", torch.tensor(1.0))

    with pytest.raises(UsageError, match="is of another program"):
        ProgramPosterior.load(path, Program(other, Y))
    torch.save({"x": torch.ones(1)}, path)
    with pytest.raises(UsageError, match="holds no posterior"):
        ProgramPosterior.load(path, program)


def test_a_trained_guide_is_saved_by_its_values(tmp_path) -> None:
    posterior = infer(groups, Y, guide="AutoNormal", max_steps=5)
    posterior.save(tmp_path / "q.pt")
    again = ProgramPosterior.load(tmp_path / "q.pt", Program(groups, Y))
    torch.testing.assert_close(again.sample(3)["scale"], posterior.sample(3)["scale"])


def test_impossible_data_are_said_before_anything_is_fitted() -> None:
    def model(y):
        z = pyro.sample("z", dist.HalfNormal(1.0))
        pyro.sample("y", dist.Uniform(0.0, z), obs=y)

    with pytest.raises(UsageError, match="−∞ or NaN at every one of 100 draws"):
        infer(model, torch.tensor(1e6))
