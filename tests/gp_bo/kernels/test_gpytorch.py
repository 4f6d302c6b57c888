"""Any kernel of GPyTorch may be given: it predicts as ours does, and is inferred and stored."""

import json
from pathlib import Path
from typing import Any

import gpytorch
import pyro.distributions as dist
import pytest
import torch
from gpytorch.constraints import GreaterThan, Interval
from gpytorch.kernels import (
    AdditiveKernel,
    ConstantKernel,
    CosineKernel,
    Kernel,
    LinearKernel,
    MaternKernel,
    PeriodicKernel,
    PolynomialKernel,
    ProductStructureKernel,
    RBFKernel,
    RBFKernelGrad,
    RFFKernel,
    RQKernel,
    ScaleKernel,
)
from gpytorch.priors import (
    GammaPrior,
    LogNormalPrior,
    NormalPrior,
    SmoothedBoxPrior,
    UniformPrior,
)
from torch import Tensor

from gp_bo import fit_gp, load_gp
from gp_bo.kernels import KERNELS, RBF, GPyTorchKernel, Pairs, make_kernel, register_kernel
from gp_bo.model import GPModel
from pyro_models import UsageError
from tests.gp_bo.kernels.reference import gpytorch_kernel

LEAN = ("rbf", "matern12", "matern32", "matern52", "periodic", "rational_quadratic", "linear")
COMPOSED = ("rbf + linear", "matern52 * periodic", "(rbf + linear) * matern32")

X2 = torch.rand(9, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y2 = (3 * X2[:, 0]).sin() + X2[:, 1]


def pair_of(formula: str, ard: bool = True) -> tuple[GPModel, GPModel, dict[str, Tensor], Any]:
    """A model with our kernel and θ, and one with GPyTorch's kernel that has θ as its values."""
    ours = make_kernel(formula)
    generator = torch.Generator().manual_seed(1)
    theta = {
        h.name: torch.rand(1, *h.shape, generator=generator, dtype=torch.float64) + 0.3
        for h in ours.hyperparameters(2)
    }
    theirs = gpytorch_kernel(ours, {n: v[0] for n, v in theta.items()}, dim=2)
    fixed = {"noise": 0.01}
    own = GPModel(X2, Y2, kernel=ours, mean="zero", priors=fixed)
    other = GPModel(X2, Y2, kernel=make_kernel(theirs), mean="zero", priors=fixed)
    return own, other, {**theta, "noise": theta[next(iter(theta))].new_full((1,), 0.01)}, theirs


def values_of(kernel: Any) -> dict[str, Tensor]:
    """Its hyper-parameters as they are now, (1, *shape)."""
    found = {}
    for path, raw, constraint in kernel.named_parameters_and_constraints():
        name = path.replace("raw_", "")
        value = raw if constraint is None else constraint.transform(raw)
        found[name] = value.detach().reshape(1, *[n for n in raw.shape if n > 1])
    return found


@pytest.mark.parametrize("formula", [*LEAN, *COMPOSED])
def test_evidence_and_its_gradient_are_those_of_our_own_kernel(formula: str) -> None:
    own, other, theta, theirs = pair_of(formula)
    same = {**values_of(theirs), "noise": theta["noise"]}
    value, _ = own.evidence.value_and_gradient(theta)
    found, gradients = other.evidence.value_and_gradient(same)
    assert float((value - found).abs()) < 1e-6
    leaves = {name: v.clone().requires_grad_() for name, v in same.items()}
    other.evidence.value(leaves).sum().backward()
    for name, leaf in leaves.items():
        assert leaf.grad is not None
        torch.testing.assert_close(gradients[name], leaf.grad, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("formula", [*LEAN, *COMPOSED])
def test_predictions_are_those_of_our_own_kernel(formula: str) -> None:
    own, _, theta, theirs = pair_of(formula)
    priors = {name: v[0] for name, v in theta.items() if name != "noise"}
    given = {name: v[0] for name, v in values_of(theirs).items()}
    options: dict[str, Any] = {"inference": "map", "noise": 0.01, "mean": "zero", "scale": False}
    first = fit_gp(X2, Y2, kernel=own.kernel, priors=priors, **options)
    second = fit_gp(X2, Y2, kernel=theirs, priors=given, **options)
    new = torch.rand(70, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    for a, b in zip(
        (first.predict(new).mean, first.predict(new).variance, *first.predictive_draws(new[:5])),
        (second.predict(new).mean, second.predict(new).variance, *second.predictive_draws(new[:5])),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("ard", [None, 2])
def test_the_default_priors_are_those_of_our_own_kernel(ard: int | None) -> None:
    """So the same mode is found, and hyper-parameters are given in the units of the data."""
    X = X2 * torch.tensor([10.0, 0.1])
    y = 7 + 30 * Y2
    kernel = ScaleKernel(RBFKernel(ard_num_dims=ard))
    ours = KERNELS["rbf"](ard=ard is not None)  # type: ignore[call-arg]
    first = fit_gp(X, y, kernel=ours, inference="map", noise=1.0)
    second = fit_gp(X, y, kernel=kernel, inference="map", noise=1.0)
    for name, other in (("lengthscale", "base_kernel.lengthscale"), ("variance", "outputscale")):
        found = first.hyperparameters[name], second.hyperparameters[other]
        torch.testing.assert_close(*found, rtol=1e-4, atol=0)
    torch.testing.assert_close(first.predict(X).mean, second.predict(X).mean, rtol=1e-5, atol=0)
    objective = "objective"
    assert first.draws.details[objective] == pytest.approx(second.draws.details[objective])


OPTIONS: dict[str, dict[str, Any]] = {
    "maximum_likelihood": {"restarts": 3},
    "map": {"restarts": 3},
    "laplace": {"restarts": 3, "num_draws": 20},
    "svi": {"restarts": 2, "steps": 40, "num_draws": 20, "num_particles": 2},
    "nuts": {"restarts": 2, "num_draws": 40, "warmup": 20},
    "quadrature": {"restarts": 2, "num_points": 21},
    "sparse_variational": {"num_inducing": 5, "epochs": 2, "progress": False},
}


@pytest.mark.filterwarnings("ignore::gp_bo.InferenceWarning")
@pytest.mark.parametrize("inference", OPTIONS)
def test_every_inference_takes_it(inference: str) -> None:
    kernel = ScaleKernel(MaternKernel(nu=1.5))
    fitted = fit_gp(
        X2, Y2, kernel=kernel, inference=inference, noise=0.01, mean="zero", **OPTIONS[inference]
    )
    assert bool(fitted.predict(X2).mean.isfinite().all())
    error = (fitted.predict(X2).mean - Y2).square().mean().sqrt()
    assert float(error) < 0.3
    assert fitted.sample(X2, 2).shape == (2, 9)
    assert kernel.outputscale.item() == pytest.approx(0.6931, abs=1e-3)  # ours is a copy


def test_quadrature_and_nuts_agree() -> None:
    given = {"kernel": ScaleKernel(RBFKernel()), "noise": 0.1, "mean": "zero"}
    exact = fit_gp(X2, Y2, inference="quadrature", num_points=41, **given)
    drawn = fit_gp(X2, Y2, inference="nuts", num_draws=1200, warmup=100, seed=1, **given)
    u = drawn.draws.unconstrained
    error = u.std(0) / torch.tensor(list(drawn.diagnostics["bulk_ess"].values())).sqrt()
    truth = exact.weights @ exact.draws.unconstrained
    assert bool(((u.mean(0) - truth).abs() < 4 * error).all())
    assert drawn.diagnostics["rhat"].keys() == {"outputscale", "base_kernel.lengthscale"}


def test_priors_of_the_kernel_are_its_priors_and_those_that_are_given_win() -> None:
    kernel = ScaleKernel(
        RBFKernel(ard_num_dims=2, lengthscale_prior=GammaPrior(3.0, 6.0)),
        outputscale_prior=LogNormalPrior(0.5, 0.25),
    )
    lengthscale, scale = (h.prior for h in make_kernel(kernel).hyperparameters(2)[::-1])
    assert isinstance(lengthscale, dist.Gamma)
    assert (float(lengthscale.concentration), float(lengthscale.rate)) == (3.0, 6.0)
    assert isinstance(scale, dist.LogNormal)
    assert (float(scale.loc), float(scale.scale)) == (0.5, 0.25)
    gp = GPModel(
        X2, Y2, kernel=make_kernel(kernel), mean="zero", priors={"outputscale": 2.0, "noise": 0.1}
    )
    assert float(gp.hyperparameters.fixed["outputscale"]) == 2.0
    (site,) = gp.hyperparameters.sites
    assert site.prior.event_shape == (2,)


def test_a_prior_that_pyro_does_not_know_is_one_line() -> None:
    kernel = RBFKernel(lengthscale_prior=SmoothedBoxPrior(0.1, 2.0))
    with pytest.raises(UsageError, match=r"SmoothedBoxPrior, is not known to Pyro: give priors"):
        fit_gp(X2, Y2, kernel=kernel, inference="map")
    given = fit_gp(X2, Y2, kernel=kernel, inference="map", priors={"lengthscale": 0.4}, restarts=2)
    assert bool((given.hyperparameters["lengthscale"] == 0.4).all())


def test_constraints_hold_and_what_needs_no_gradient_stays() -> None:
    kernel = ScaleKernel(
        RBFKernel(lengthscale_constraint=Interval(0.2, 0.3)),
        outputscale_constraint=GreaterThan(2.0),
    )
    fitted = fit_gp(X2, Y2, kernel=kernel, inference="map", noise=0.01, scale=False, restarts=4)
    lengthscale = fitted.hyperparameters["base_kernel.lengthscale"]
    assert bool(((lengthscale >= 0.2) & (lengthscale <= 0.3 + 1e-6)).all())
    assert float(fitted.hyperparameters["outputscale"]) >= 2.0
    kernel.base_kernel.raw_lengthscale.requires_grad_(False)
    names = [h.name for h in make_kernel(kernel).hyperparameters(2)]
    assert names == ["outputscale"]


def test_inputs_that_a_part_is_of_have_its_units() -> None:
    kernel = AdditiveKernel(
        ScaleKernel(RBFKernel(active_dims=(1,))), ScaleKernel(LinearKernel(active_dims=(0,)))
    )
    X = X2 * torch.tensor([10.0, 0.1])
    fitted = fit_gp(X, 5 * Y2, kernel=kernel, inference="map", noise=0.01, restarts=3)
    scaled = fitted.scaled_hyperparameters
    width, spread = fitted.scaling.width, fitted.scaling.spread
    found = fitted.hyperparameters
    for name, unit in (
        ("kernels.0.base_kernel.lengthscale", width[1]),
        ("kernels.0.outputscale", spread**2),
        ("kernels.1.base_kernel.variance", width[0] ** -2),
        ("kernels.1.outputscale", spread**2),
    ):
        torch.testing.assert_close(found[name], scaled[name] * unit)


STORED = {
    "scaled": lambda: ScaleKernel(RBFKernel(ard_num_dims=2)),
    "sum": lambda: ScaleKernel(RBFKernel()) + LinearKernel(),
    "product": lambda: ScaleKernel(MaternKernel(nu=0.5) * PeriodicKernel()),
    "constrained": lambda: RQKernel(lengthscale_constraint=Interval(0.1, 4.0)),
    "parts": lambda: RBFKernel(active_dims=(1,)) + CosineKernel(active_dims=(0,)),
    "polynomial": lambda: ScaleKernel(PolynomialKernel(power=2)) + ConstantKernel(),
}


@pytest.mark.parametrize("kind", STORED)
def test_it_is_stored_and_loaded_without_code(kind: str, tmp_path: Path) -> None:
    fitted = fit_gp(X2, Y2, kernel=STORED[kind](), inference="map", noise=0.01, restarts=2)
    fitted.save(tmp_path)
    again = load_gp(tmp_path)
    new = X2 + 0.05
    torch.testing.assert_close(again.predict(new).mean, fitted.predict(new).mean, rtol=0, atol=0)
    assert again.hyperparameters.keys() == fitted.hyperparameters.keys()
    json.loads((tmp_path / "gp.json").read_text())


class Sausage(Kernel):
    """A kernel of one's own, k = exp(−w |x − x'|₁)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_parameter("raw_w", torch.nn.Parameter(torch.zeros(())))
        self.register_constraint("raw_w", gpytorch.constraints.Positive())

    @property
    def w(self) -> Tensor:
        weight: Tensor = self.raw_w_constraint.transform(self.raw_w)
        return weight

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **options: Any) -> Tensor:
        apart = x1 - x2 if diag else x1[:, None] - x2[None]
        return (-self.w * apart.abs().sum(-1)).exp()


class Secret(Sausage):
    """One that says nothing of how it is made."""

    def __init__(self, power: float) -> None:
        super().__init__()
        self._power = power

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **options: Any) -> Tensor:
        return super().forward(x1, x2, diag=diag) ** self._power


def test_a_kernel_class_of_ones_own_is_given_registered_and_stored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(KERNELS, "data", dict(KERNELS))
    options = {"inference": "map", "noise": 0.01, "restarts": 2}
    by_class, by_object = (fit_gp(X2, Y2, kernel=k, **options) for k in (Sausage, Sausage()))
    by_object.save(tmp_path)
    with pytest.raises(UsageError, match="class Sausage, which is unknown here: register it"):
        load_gp(tmp_path)
    register_kernel("sausage", Sausage)
    by_name = fit_gp(X2, Y2, kernel="sausage", **options)
    for fitted in (by_class, by_name, load_gp(tmp_path)):
        assert torch.equal(fitted.predict(X2).mean, by_object.predict(X2).mean)
    assert make_kernel("sausage + linear").hyperparameters(1)[0].name == "gpytorch.w"


def test_what_cannot_be_stored_says_so(tmp_path: Path) -> None:
    fitted = fit_gp(X2, Y2, kernel=Secret(2.0), inference="map", noise=0.01, restarts=2)
    with pytest.raises(UsageError, match="a kernel of class Secret cannot be stored"):
        fitted.save(tmp_path / "gp")


def test_a_batch_of_kernels_and_a_name_that_is_taken_are_refused() -> None:
    with pytest.raises(UsageError, match=r"batch shape \(3,\)"):
        make_kernel(RBFKernel(batch_shape=torch.Size([3])))

    class Noisy(Sausage):
        def __init__(self) -> None:
            super().__init__()
            self.noise = torch.nn.Parameter(torch.zeros(()))

    with pytest.raises(UsageError, match="noise is a hyper-parameter of the kernel, and of"):
        fit_gp(X2, Y2, kernel=Noisy(), inference="map")


@pytest.mark.parametrize(
    ("kernel", "why"),
    [
        (ScaleKernel, "ScaleKernel cannot be made without arguments"),
        (RBFKernel(ard_num_dims=3), "RBFKernel has ard_num_dims=3, and is of 2 inputs"),
        (
            ScaleKernel(RBFKernel(active_dims=(2,))),
            r"active_dims \(2,\) are more than the 2",
        ),
        (RBFKernelGrad(), "a kernel of one output is needed: RBFKernelGrad gives"),
        (gpytorch.priors.GammaPrior(1.0, 1.0), "a kernel is a name or a Kernel"),
    ],
)
def test_a_kernel_that_does_not_fit_is_one_line(kernel: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        fit_gp(X2, Y2, kernel=kernel, inference="map", restarts=1)


def test_its_variances_are_the_diagonal_of_its_covariance() -> None:
    for make in STORED.values():
        kernel = GPyTorchKernel(make())
        generator = torch.Generator().manual_seed(2)
        theta = {
            h.name: torch.rand(3, *h.shape, generator=generator, dtype=torch.float64) + 0.3
            for h in kernel.hyperparameters(2)
        }
        K = kernel.covariance(theta, Pairs(X2, X2))
        diagonal = K.diagonal(dim1=-2, dim2=-1)
        torch.testing.assert_close(kernel.variance(theta, X2), diagonal)


@pytest.mark.parametrize("make", [lambda rbf, line: rbf + line, lambda rbf, line: line + rbf])
def test_a_sum_with_a_low_rank_kernel_takes_no_roots(make: Any) -> None:
    """GPyTorch's sum takes the roots of what a linear kernel is added to, which may have none."""
    kernel = make_kernel(make(RBFKernel(), ScaleKernel(LinearKernel())))
    X = torch.rand(5, 2, dtype=torch.float64).repeat(3, 1)  # each input three times
    theta = {
        h.name: torch.full((1, *h.shape), 1e8, dtype=X.dtype) for h in kernel.hyperparameters(2)
    }
    K, pullback = kernel.covariance_and_pullback(theta, Pairs(X, X))
    exact = 1.0 + 1e16 * X @ X.T  # so long a length-scale that the RBF is 1
    torch.testing.assert_close(K[0], exact, rtol=1e-12, atol=0.0)
    assert all(g.isfinite().all() for g in pullback(torch.ones_like(K)).values())
    assert not any("forward" in vars(part) for part in kernel.module.modules())


def test_a_prior_of_gpytorch_is_known_by_what_it_extends() -> None:
    uniform = RBFKernel(lengthscale_prior=UniformPrior(0.1, 2.0))
    (prior,) = (h.prior for h in make_kernel(uniform).hyperparameters(1))
    assert (float(prior.low), float(prior.high)) == pytest.approx((0.1, 2.0))
    of_a_function = RBFKernel(lengthscale_prior=NormalPrior(0.0, 1.0, transform=torch.log))
    (prior,) = (h.prior for h in make_kernel(of_a_function).hyperparameters(1))
    assert isinstance(prior, UsageError)


class Unused(RBFKernel):
    """Has a parameter that the covariance does not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.register_parameter("spare", torch.nn.Parameter(torch.zeros(())))


class Failing(RBFKernel):
    """Cannot be computed."""

    def forward(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("not here\nnor there")


def test_what_the_covariance_does_not_depend_on_has_its_prior() -> None:
    priors = {"spare": dist.Normal(torch.tensor(0.7).double(), torch.tensor(0.1).double())}
    fitted = fit_gp(X2, Y2, kernel=Unused(), inference="map", priors=priors, restarts=1)
    assert float(fitted.hyperparameters["spare"]) == pytest.approx(0.7, abs=1e-4)


def test_what_a_kernel_raises_is_one_line() -> None:
    with pytest.raises(
        UsageError, match=r"kernel Failing cannot be computed \(RuntimeError: not here nor"
    ):
        fit_gp(X2, Y2, kernel=Failing(), inference="map")


def test_a_kernel_that_draws_is_the_same_in_every_fit() -> None:
    means = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        fitted = fit_gp(X2, Y2, kernel=RFFKernel(num_samples=20), inference="map", restarts=1)
        means.append(fitted.predict(X2).mean)
    assert torch.equal(*means)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_kernel_without_its_own_diagonal_predicts() -> None:
    kernel = ProductStructureKernel(RBFKernel(), num_dims=2)  # raises for the diagonal alone
    fitted = fit_gp(X2, Y2, kernel=kernel, inference="map", restarts=1)
    assert bool((fitted.predict(X2).variance >= 0).all())


def test_a_kernel_with_nothing_to_learn_is_a_term_of_a_sum() -> None:
    still = RBFKernel()
    still.raw_lengthscale.requires_grad_(False)
    both = RBF() + GPyTorchKernel(still)
    fitted = fit_gp(X2, Y2, kernel=both, inference="laplace", num_draws=8)
    alone = fit_gp(X2, Y2, kernel=still, inference="laplace", num_draws=8)
    for each in (fitted, alone):
        assert each.predict(X2).mean.isfinite().all()
