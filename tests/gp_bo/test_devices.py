"""A Gaussian process on another device: the same numbers, and nothing left behind on the CPU."""

import math
from pathlib import Path

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from gp_bo import FittedGP, fit_gp, load_gp, to_arviz
from gp_bo.arrays import gp_device
from gp_bo.conditional import Conditional
from gp_bo.examination.algorithm1 import algorithm1
from gp_bo.examination.sheet import fit_exam
from gp_bo.figures import bands, hyper_scatter, traces
from gp_bo.figures.bands import slice_figure
from gp_bo.inference import INFERENCES
from gp_bo.kernels import Pairs, make_kernel
from gp_bo.optimize import Region, space_from
from gp_bo.optimize.acquisition import ACQUISITIONS, acquisition_named
from gp_bo.optimize.fitting import fit_surrogate
from gp_bo.optimize.proposal import by_acquisition
from gp_bo.optimize.state import Evaluation, State
from gp_bo.prior_sites import moved_prior
from gp_bo.sparse import SPARSE
from pyro_models import UsageError
from tests.simulated_device import MODULE, SIMULATED, simulate

Data = tuple[Tensor, Tensor]


if not simulate():
    pytest.skip("this torch lets no test make a device", allow_module_level=True)

SIM = torch.device(SIMULATED, 0)
CPU = torch.device("cpu")
OPTIONS: dict[str, dict[str, object]] = {
    "maximum_likelihood": {"restarts": 2},
    "map": {"restarts": 2},
    "laplace": {"restarts": 2, "num_draws": 8},
    "svi": {"restarts": 2, "num_draws": 8, "steps": 5},
    "nuts": {"restarts": 2, "num_draws": 16, "warmup": 20, "max_depth": 2},
    "quadrature": {"num_points": 21, "priors": {"lengthscale": 0.3, "mean": 0.0}, "scale": True},
    SPARSE: {"epochs": 1, "num_inducing": 5, "batch_size": 6, "progress": False},
}

# few draws, for speed
pytestmark = pytest.mark.filterwarnings("ignore::gp_bo.InferenceWarning")


@pytest.fixture(autouse=True)
def two_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine has sim:0 and sim:1."""
    monkeypatch.setattr(MODULE, "count", 2)


@pytest.fixture(scope="module")
def pair() -> tuple[FittedGP, FittedGP]:
    """One Gaussian process on the device and on the CPU, several draws of θ."""
    generator = torch.Generator().manual_seed(4)
    X = torch.rand(9, 1, generator=generator, dtype=torch.float64)
    y = (5 * X[:, 0]).sin()
    kernel = "rbf + periodic * linear + rational_quadratic"
    given = {"kernel": kernel, "mean": "linear", "inference": "laplace", **OPTIONS["laplace"]}
    there = fit_gp(X, y, device="sim:0", **given)  # type: ignore[arg-type]
    return there, fit_gp(X, y, **given)  # type: ignore[arg-type]


def test_every_inference_is_listed() -> None:
    assert OPTIONS.keys() == {*INFERENCES, SPARSE}


@pytest.mark.parametrize("inference", OPTIONS)
def test_a_seed_gives_the_same_draws_on_every_device(surface: Data, inference: str) -> None:
    X, y = surface
    options = OPTIONS[inference]
    there = fit_gp(X.to(SIM), y.numpy(), inference=inference, seed=2, **options)  # type: ignore[arg-type]
    here = fit_gp(X, y, inference=inference, seed=2, **options)  # type: ignore[arg-type]
    assert there.device == SIM
    every = [there.draws.unconstrained, there.weights, *there.hyperparameters.values()]
    every += [*there.draws.statistics.values(), there.X, there.y, there.gp.X]
    assert {each.device for each in every} == {SIM}
    assert torch.equal(there.draws.unconstrained.cpu(), here.draws.unconstrained)
    assert there.diagnostics == here.diagnostics


@pytest.mark.parametrize("guide", ["AutoNormal", "AutoIAFNormal", "AutoNormalizingFlow"])
def test_a_guide_is_made_on_the_device(surface: Data, guide: str) -> None:
    few = {"inference": "svi", "guide": guide, **OPTIONS["svi"]}
    fitted = fit_gp(*surface, device="sim", **few)  # type: ignore[arg-type]
    assert fitted.draws.unconstrained.device == SIM
    assert fitted.predict(surface[0]).mean.isfinite().all()


def test_inputs_of_any_device_and_type_are_moved_and_results_are_on_the_device(
    pair: tuple[FittedGP, FittedGP],
) -> None:
    there, here = pair
    x = torch.tensor([0.25, 0.5, 0.75])
    y = torch.tensor([1.0, 0.5, -0.5])
    for inputs in (x.double(), x, x.half(), x.numpy(), x.tolist(), x.to(SIM), x.to("sim:1")):
        prediction = there.predict(inputs, include_noise=True)  # type: ignore[arg-type]
        expected = here.predict(x, include_noise=True)
        assert prediction.mean.device == prediction.variance.device == SIM
        assert prediction.mean.dtype == torch.float64
        assert torch.equal(prediction.mean.cpu(), expected.mean)
        assert torch.equal(prediction.variance.cpu(), expected.variance)
    for joint in (True, False):
        drawn = there.sample(x, 3, joint=joint, include_noise=True, seed=1)
        assert drawn.device == SIM
        expected_draws = here.sample(x, 3, joint=joint, include_noise=True, seed=1)
        assert torch.equal(drawn.cpu(), expected_draws)
    for outputs in (y, y.double().to(SIM), y.numpy()):
        assert there.score(x, outputs) == here.score(x, y)
    some = torch.tensor([1, 0])
    for indices in (some, some.to(SIM)):
        means, covariances = there.predictive_draws(x, include_noise=True, indices=indices)
        assert means.device == covariances.device == SIM
        assert torch.equal(
            covariances.cpu(), here.predictive_draws(x, include_noise=True, indices=some)[1]
        )


def test_a_gradient_comes_back_to_where_the_inputs_are(pair: tuple[FittedGP, FittedGP]) -> None:
    gradients = []
    for fitted in pair:
        x = torch.tensor([[0.3], [0.6]], requires_grad=True)
        fitted.predict(x).mean.sum().backward()
        assert x.grad is not None
        assert x.grad.device == CPU
        gradients.append(x.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("count", [3, 200])  # one part, and several
def test_draws_from_elsewhere_condition_on_the_data(
    pair: tuple[FittedGP, FittedGP], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gp_bo.conditional._MAX_ELEMENTS", 500)
    there, here = pair
    x = torch.linspace(0, 1, count)[:, None]
    again = Conditional(there.gp, here.scaled_hyperparameters)
    for got, expected in zip(again.marginal(x), here.conditional.marginal(x), strict=True):
        assert got.device == SIM
        assert torch.allclose(got.cpu(), expected, atol=1e-12)


def test_hyper_parameters_are_moved_to_the_inputs_of_a_kernel() -> None:
    kernel = make_kernel("matern52 * periodic + linear")
    X = torch.rand(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theta = {
        h.name: torch.full((3, *h.shape), 0.7, dtype=torch.float64)
        for h in kernel.hyperparameters(2)
    }
    K, pullback = kernel.covariance_and_pullback(theta, Pairs(X.to(SIM), X))
    assert K.device == SIM
    assert torch.allclose(K.cpu(), kernel.covariance(theta, Pairs(X, X)))
    assert {g.device for g in pullback(K).values()} == {SIM}
    assert kernel.variance(theta, X.to(SIM)).device == SIM


@pytest.mark.parametrize(
    "prior",
    [
        dist.LogNormal(torch.tensor([0.0, 1.0]), 1.0),
        dist.Gamma(2.0, 1.0).expand((2,)).to_event(1),
        dist.HalfNormal(torch.tensor(2.0)),
        dist.Uniform(torch.tensor(0.1), torch.tensor(4.0)),
        dist.TransformedDistribution(
            dist.Uniform(torch.tensor(-3.0), torch.tensor(1.0)),
            [torch.distributions.transforms.ExpTransform()],
        ),
        dist.InverseGamma(torch.tensor(2.0), torch.tensor(1.0)),
    ],
)
def test_a_prior_is_moved_with_all_that_it_is_made_of(surface: Data, prior: object) -> None:
    given = {"lengthscale": prior, "variance": torch.tensor(2.0).to("sim:1")}
    there, here = (
        fit_gp(*surface, device=d, inference="map", priors=given, scale=True, restarts=2)
        for d in (SIM, CPU)
    )
    assert torch.allclose(there.draws.unconstrained.cpu(), here.draws.unconstrained, atol=1e-9)
    moved = moved_prior(prior, SIM)
    assert moved.sample().device == SIM
    assert moved_prior(moved, SIM) is moved
    assert prior.sample().device == CPU  # type: ignore[attr-defined]
    assert math.isfinite(float(moved.log_prob(moved.sample()).sum()))


@pytest.mark.parametrize("inference", ["nuts", SPARSE])
def test_what_was_fitted_on_one_device_predicts_on_another(
    surface: Data, tmp_path: Path, inference: str
) -> None:
    X, _ = surface
    fitted = fit_gp(*surface, inference=inference, device="sim", **OPTIONS[inference])  # type: ignore[arg-type]
    fitted.save(tmp_path)
    expected = fitted.predict(X).mean.cpu()
    for device in (CPU, SIM, torch.device("sim:1")):
        again = load_gp(tmp_path, device=device)
        every = [again.X, again.draws.unconstrained, *again.scaled_hyperparameters.values()]
        assert {each.device for each in every} == {device}
        assert torch.equal(again.predict(X).mean.cpu(), expected)
        assert again.predict(X).mean.device == device
        again.save(tmp_path)
    assert load_gp(tmp_path).device == CPU


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("cudas", "unknown device"),
        ("sim:7", "2 sim devices"),
        ("meta", "no values"),
        ("mps", "no mps device|float64"),
    ],
)
def test_a_device_that_is_not_there_is_said_in_one_line(
    surface: Data, pair: tuple[FittedGP, FittedGP], tmp_path: Path, device: str, words: str
) -> None:
    pair[1].save(tmp_path)
    for ask in (
        lambda: fit_gp(*surface, device=device),
        lambda: fit_exam(device=device),
        lambda: load_gp(tmp_path, device=device),
        lambda: algorithm1(0, device=device),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_single_precision_devices_are_refused_before_anything_is_moved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    with pytest.raises(UsageError, match="float64, which mps does not have: give device='cpu'"):
        gp_device("mps")


def test_figures_and_chains_move_themselves_to_the_cpu(pair: tuple[FittedGP, FittedGP]) -> None:
    there, _ = pair
    chains = fit_exam(device="sim", **OPTIONS["nuts"])  # type: ignore[arg-type]
    drawn = [
        bands(there, num_functions=2, truth=torch.sin),
        bands(there, torch.linspace(0, 1, 5).to(SIM), include_noise=True),
        slice_figure(there, ["x"], "y"),
        hyper_scatter(chains, reference=fit_exam(inference="quadrature", num_points=31)),
        hyper_scatter(fit_exam(inference="quadrature", num_points=31, device="sim")),
        traces(chains),
    ]
    assert all(isinstance(figure, Figure) for figure in drawn)
    pytest.importorskip("arviz")
    posterior = to_arviz(chains).posterior
    expected = chains.hyperparameters["variance"].cpu().reshape(4, 4).numpy()
    assert np.array_equal(posterior["variance"].values, expected)


@pytest.mark.parametrize("name", [n for n in ACQUISITIONS if n != "noisy_ei"])
@pytest.mark.parametrize("mixed", [False, True])
def test_a_search_proposes_the_same_point_on_every_device(name: str, mixed: bool) -> None:
    level = {"kind": "integer", "low": 1, "high": 4}
    given = {"a": (0.0, 1.0), "b": ["x", "y"], "c": level} if mixed else {"a": (0.0, 1.0)}
    space = space_from(given)
    values = [(a, b, c) if mixed else (a,) for a, b, c in _POINTS]
    told = tuple(Evaluation(p, (p[0] - 0.3) ** 2) for p in values)
    pending = (space.decode(torch.full((1, space.columns), 0.9))[0],)
    settings = {"repeats": False, "design": "sobol"}
    state = State(space, seed=3, settings=settings, evaluations=told, pending=pending)
    x = space.encode(values)
    y = torch.tensor([e.value for e in told], dtype=torch.float64)
    y = (y - y.mean()) / y.std()
    fixed = {"lengthscale": 0.3, "mean": 0.0, "noise": 1e-4}
    proposed = []
    for device in ("sim", "cpu"):
        surrogate = fit_surrogate(
            x, y, inference="laplace", seed=0, kept_draws=3, device=device, priors=fixed, restarts=1
        )
        assert surrogate.device.type == device
        proposed.append(by_acquisition(state, surrogate, acquisition_named(name)))
    assert proposed[0] == proposed[1]


_POINTS = [(0.1, "x", 1), (0.35, "y", 2), (0.6, "x", 3), (0.8, "y", 4), (0.95, "x", 2)]


def test_points_of_a_search_are_where_its_surrogate_is() -> None:
    space = space_from([(0.0, 1.0), (0.0, 1.0)])
    best = torch.full((1, 2), 0.5, dtype=torch.float64).to(SIM)
    region = Region(space, tried=best.cpu(), best=best, allowed=None)
    points = region.candidates(8, seed=0, most=6)
    assert points.device == SIM
    here = Region(space, tried=best.cpu(), best=best.cpu()).candidates(8, seed=0, most=6)
    assert torch.equal(points.cpu(), here)
    assert space.snap(points).device == SIM
    assert region.is_tried(best).device == SIM


def test_algorithm_1_goes_through_the_same_points() -> None:
    few = {"inference": "laplace", "num_draws": 10, "restarts": 2}
    for choose in ("thompson", "log_ei"):
        there, here = (algorithm1(1, choose=choose, device=d, **few) for d in ("sim", None))  # type: ignore[arg-type]
        assert [step.index for step in there.steps] == [step.index for step in here.steps]
        assert there.steps[1].mean.device == CPU


def test_the_commands_take_a_device(call, refused, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{i / 9},{math.sin(i / 2)}" for i in range(10)]
    (tmp_path / "data.csv").write_text("\n".join(["x,y", *rows]) + "\n")
    fit = ("fit", "data.csv", "y", "gp", "--inference", "map")
    assert call(*fit, "--device", "sim") == 0
    assert call("predict", "gp", "data.csv", "--out", "cpu.csv") == 0
    assert call("predict", "gp", "data.csv", "--out", "sim.csv", "--device", "sim:1") == 0
    assert (tmp_path / "cpu.csv").read_text() == (tmp_path / "sim.csv").read_text()
    assert call("plot", "gp", "gp.png", "--device", "sim") == 0
    capsys.readouterr()
    for command in (
        ("fit", "data.csv", "y", "other"),
        ("predict", "gp", "data.csv"),
        ("plot", "gp", "other.png"),
        ("exam", "other"),
    ):
        assert "unknown device" in refused(*command, "--device", "cudas")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("likelihood", ["bernoulli", "student_t"])
def test_labels_and_outliers_are_predicted_on_the_device(surface: Data, likelihood: str) -> None:
    X, y = surface
    y = (y > y.mean()).double() if likelihood == "bernoulli" else y
    few = {"likelihood": likelihood, "inference": "laplace", **OPTIONS["laplace"]}
    there, here = (fit_gp(X, y, device=each, **few) for each in (SIM, CPU))  # type: ignore[arg-type]
    found = [there.predict(X).mean, there.sample(X, 3), *there.band(X)]
    assert {each.device for each in found} == {SIM}
    for mine, theirs in zip(
        found, [here.predict(X).mean, here.sample(X, 3), *here.band(X)], strict=True
    ):
        assert (mine.cpu() - theirs).abs().max() < 1e-9
    assert there.sample(X, 2, include_noise=True).device == SIM
    assert there.score(X, y).num_data == len(y)
