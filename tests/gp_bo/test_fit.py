"""What a user gives, and what is refused."""

import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from gp_bo import InferenceWarning, fit_gp
from pyro_models import UsageError

Data = tuple[Tensor, Tensor]


@pytest.mark.parametrize("mean", ["zero", "constant", "linear"])
def test_results_do_not_depend_on_the_units_of_the_data(surface: Data, mean: str) -> None:
    X, y = surface
    one = fit_gp(X, y, inference="map", mean=mean)
    unit = torch.tensor([1000.0, 0.01])
    other = fit_gp(X * unit + 7, 3 * y - 50, inference="map", mean=mean)
    a, b = one.predict(X + 0.01), other.predict((X + 0.01) * unit + 7)
    assert (3 * a.mean - 50 - b.mean).abs().max() < 1e-6
    assert (9 * a.variance - b.variance).abs().max() < 1e-6
    mine, theirs = one.hyperparameters, other.hyperparameters
    assert (mine["lengthscale"] * unit - theirs["lengthscale"]).abs().max() < 1e-3
    assert (9 * mine["variance"] - theirs["variance"]).abs().max() < 1e-4
    assert (9 * mine["noise"] - theirs["noise"]).abs().max() < 1e-6


@pytest.mark.filterwarnings("ignore::gp_bo.InferenceWarning")  # so few steps
@pytest.mark.parametrize("inference", ["laplace", "svi", "sparse_variational"])
def test_an_evidence_is_of_the_outputs_in_their_own_unit(surface: Data, inference: str) -> None:
    X, y = surface
    few = {
        "svi": {"steps": 20},
        "sparse_variational": {"epochs": 2, "num_inducing": 5, "progress": False},
    }
    options = few.get(inference, {})
    found = [
        fit_gp(X, values, inference=inference, **options).diagnostics  # type: ignore[arg-type]
        for values in (y, 1000 * y - 7)
    ]
    name = {"laplace": "log_evidence", "svi": "elbo"}.get(inference, "bound_per_row")
    first, other = (d[name][-1] if name == "bound_per_row" else d[name] for d in found)
    rows = 1 if name == "bound_per_row" else len(y)
    assert first - other == pytest.approx(rows * math.log(1000), abs=1e-4)


def test_the_evidence_does_not_depend_on_the_scaling(surface: Data) -> None:
    X, y = surface
    spread = float(y.std())
    width = X.amax(0) - X.amin(0)
    y = y - y.mean()
    one = {"lengthscale": 0.4 * torch.ones(2), "noise": 0.01}
    other = {"lengthscale": 0.4 * width, "noise": 0.01 * spread**2}
    unscaled = dist.LogNormal(torch.tensor(2 * math.log(spread)), torch.tensor(1.0))
    scaled = fit_gp(X, y, mean="zero", inference="quadrature", priors=one, scale=True)
    plain = fit_gp(
        X, y, mean="zero", inference="quadrature", priors={**other, "variance": unscaled}
    )
    assert scaled.diagnostics["log_evidence"] == pytest.approx(
        plain.diagnostics["log_evidence"], abs=1e-5
    )


def test_hyperparameters_in_original_units_make_the_same_prior_covariance(surface: Data) -> None:
    from gp_bo.kernels import Pairs

    X, y = surface
    fitted = fit_gp(X, y, kernel="rbf + periodic * linear", mean="linear", inference="map")
    scaled = fitted.gp.kernel.covariance(
        fitted.scaled_hyperparameters, Pairs(fitted.gp.X, fitted.gp.X)
    )
    origin = fitted.scaling.lower  # where the linear kernel is 0
    back = fitted.gp.kernel.covariance(fitted.hyperparameters, Pairs(X - origin, X - origin))
    assert (fitted.scaling.variance_back(scaled) - back).abs().max() < 1e-9
    theta = fitted.hyperparameters
    line = theta["bias"] + X @ theta["weight"][0]
    own = fitted.scaled_hyperparameters
    scaled_line = own["bias"] + fitted.gp.X @ own["weight"][0]
    assert (fitted.scaling.mean_back(scaled_line) - line).abs().max() < 1e-9


def test_priors_of_the_user_are_of_the_data_as_they_are(surface: Data) -> None:
    priors = {"lengthscale": dist.LogNormal(torch.tensor([0.0, 3.0]), 0.01)}
    fitted = fit_gp(*surface, inference="map", priors=priors)
    assert torch.equal(fitted.gp.X, surface[0])
    lengthscale = fitted.hyperparameters["lengthscale"][0].log()
    assert (lengthscale - torch.tensor([0.0, 3.0])).abs().max() < 0.05
    scaled = fit_gp(*surface, inference="map", priors=priors, scale=True)
    assert float(scaled.gp.X.max()) == 1.0


def test_a_fixed_noise_is_in_the_unit_of_the_data(surface: Data) -> None:
    fitted = fit_gp(*surface, inference="map", noise=0.04)
    assert float(fitted.hyperparameters["noise"]) == pytest.approx(0.04)
    assert fitted.gp.hyperparameters.column_names() == [
        "lengthscale[0]",
        "lengthscale[1]",
        "variance",
        "mean",
    ]


def test_arrays_and_single_precision_are_computed_in_double(surface: Data) -> None:
    X, y = surface
    fitted = fit_gp(X.float().numpy(), y.float().numpy()[:, None], inference="map")
    assert fitted.predict(np.zeros((2, 2), dtype=np.float32)).mean.dtype == torch.float64


def test_everything_may_be_fixed(surface: Data) -> None:
    fixed = {"lengthscale": 0.3, "variance": 2.0, "mean": 0.0}
    for inference in ("map", "maximum_likelihood"):
        fitted = fit_gp(*surface, inference=inference, priors=fixed, noise=0.1, scale=True)
        assert fitted.num_draws == 1
        assert fitted.predict(surface[0]).mean.isfinite().all()


def _line(n: int) -> Tensor:
    return torch.linspace(0, 1, n, dtype=torch.float64)


@pytest.mark.parametrize(
    ("X", "y", "options", "words"),
    [
        (_line(1), _line(1), {}, "at least two points"),
        (torch.tensor([0.0, 0.0, 1.0]), _line(3), {"noise": 0.0}, "two different outputs"),
        (torch.tensor([0.0, np.nan]), _line(2), {}, "not a finite number"),
        (_line(2), torch.tensor([0.0, np.inf]), {}, "not a finite number"),
        (_line(3), _line(2), {}, "3 inputs need 3 outputs"),
        (torch.zeros(2, 2, 2), _line(2), {}, "shape"),
        ("text", _line(2), {}, "numbers"),
        (_line(2), _line(2), {"kernel": "rbff"}, "choose from rbf"),
        (_line(2), _line(2), {"kernel": 3}, "a name or a Kernel"),
        (_line(2), _line(2), {"inference": "nutss"}, "choose from"),
        (_line(2), _line(2), {"mean": "cubic"}, "choose from zero"),
        (_line(2), _line(2), {"noise": -1.0}, "at least 0"),
        (_line(2), _line(2), {"noise": "fixed"}, "learned"),
        (_line(2), _line(2), {"noise": 1.0, "priors": {"noise": 1.0}}, "fixed noise"),
        (_line(2), _line(2), {"noise": None}, "learned"),
        (_line(2), _line(2), {"noise": [1.0]}, "learned"),
        (_line(2), _line(2), {"noise": True}, "learned"),
        (_line(2), _line(2), {"priors": ["wide"]}, "map names"),
        (_line(2), _line(2), {"scale": "no"}, "True, False or None"),
        (_line(2), _line(2), {"seed": -1}, "a seed is"),
        (_line(2), _line(2), {"seed": 1.5}, "a seed is"),
        (_line(2), _line(2), {"seed": 10**30}, "a seed is"),
        (_line(3), 1e200 * _line(3), {}, "outputs spread too far"),
        (torch.tensor([-1e308, 1e308]), _line(2), {}, "not a finite|inputs spread too far"),
        (_line(2), _line(2), {"inference": "map", "steps": 3}, "no option steps"),
        (_line(2), _line(2), {"inference": "map", "restarts": 0}, "at least 1"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_mistake_is_told_in_one_line(
    X: Tensor, y: Tensor, options: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        fit_gp(X, y, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_equal_points_without_noise_are_one_point() -> None:
    X = torch.tensor([0.0, 0.0, 1.0])
    fitted = fit_gp(X, torch.tensor([1.0, 1.0, 2.0]), noise=0.0, inference="map")
    assert float(fitted.predict([0.0]).mean) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.filterwarnings("ignore::gp_bo.InferenceWarning")  # so few draws
def test_data_of_a_computation_with_gradients_are_data(surface: Data) -> None:
    X, y = (values.clone().requires_grad_() for values in surface)
    plain, other = (
        fit_gp(*data, inference="nuts", num_draws=40, warmup=20, seed=1)
        for data in (surface, (X, y))
    )
    assert torch.equal(plain.draws.unconstrained, other.draws.unconstrained)


@pytest.mark.filterwarnings("ignore::gp_bo.InferenceWarning")  # chains meet the edge
def test_a_prior_may_end_sharply_inside_its_support() -> None:
    x = _line(6)
    uniform = dist.Uniform(torch.tensor(-3.0), torch.tensor(1.0))
    prior = dist.TransformedDistribution(uniform, [dist.transforms.ExpTransform()])
    options = {"num_draws": 200, "warmup": 60, "mean": "zero", "noise": 1e-4, "scale": False}
    known = {"lengthscale": prior, "variance": 1.0}
    fitted = fit_gp(x, (6 * x).sin(), priors=known, **options)  # type: ignore[arg-type]
    log_lengthscale = fitted.hyperparameters["lengthscale"].log()
    assert -3 <= float(log_lengthscale.min()) < float(log_lengthscale.max()) <= 1
    assert uniform._validate_args is not False  # the user's own is as it was


def test_inputs_of_another_width_are_refused(surface: Data) -> None:
    fitted = fit_gp(*surface, inference="map")
    with pytest.raises(UsageError, match="has 2 inputs; got 3"):
        fitted.predict(torch.zeros(4, 3))
    for count in (0, 1.5, "two"):
        with pytest.raises(UsageError, match="at least 1"):
            fitted.sample(surface[0], count)  # type: ignore[arg-type]
    nothing = torch.zeros(0, 2)
    for asked in (fitted.predict, lambda X: fitted.sample(X, 1), lambda X: fitted.score(X, [])):
        with pytest.raises(UsageError, match="no row"):
            asked(nothing)  # type: ignore[operator]
    with pytest.raises(UsageError, match="between 0 and 1"):
        fitted.score(*surface, levels=(95.0,))


def test_a_warning_says_what_was_not_reached(surface: Data) -> None:
    from gp_bo.inference import maximize as maximize_file
    from gp_bo.inference import point

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(point, "maximize", lambda f, u: maximize_file.maximize(f, u, max_steps=1))
        with pytest.warns(InferenceWarning, match="not reached"):
            fit_gp(*surface, inference="maximum_likelihood")


@pytest.mark.parametrize("restarts", [1, 2])
def test_a_uniform_prior_has_the_peak_of_the_likelihood_inside_it(
    surface: Data, restarts: int
) -> None:
    fixed = {"lengthscale": 0.4, "mean": 5.0, "noise": 0.04}
    uniform = {**fixed, "variance": dist.Uniform(0.01, 1000.0)}
    found = [
        float(
            fit_gp(*surface, inference=i, priors=p, scale=False, restarts=restarts).hyperparameters[
                "variance"
            ]
        )
        for i, p in (("map", uniform), ("maximum_likelihood", fixed))
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-3)


@pytest.mark.parametrize(
    ("inference", "words"),
    [
        ("map", "a point, by: map"),
        ("laplace", "256 draws, by: laplace"),
        ("sparse_variational", "a point, by: sparse_variational"),
    ],
)
@pytest.mark.filterwarnings("ignore::gp_bo.InferenceWarning")  # so few steps
def test_a_fit_is_printed_in_a_line_or_two_without_its_data(
    surface: Data, inference: str, words: str
) -> None:
    X, y = surface
    few = {"epochs": 1, "num_inducing": 5, "progress": False} if "sparse" in inference else {}
    fitted = fit_gp(X, y, inference=inference, **few)  # type: ignore[arg-type]
    said = " ".join(str(fitted).split())
    kind = type(fitted).__name__
    rest = f"data: {len(y)} of {X.shape[1]} inputs"
    assert said == f"{kind}(kernel: RBF(ard=True, scaled=True), θ: {words}, {rest})"
    assert str(fitted).count("\n") <= 1
    assert "tensor" not in said
