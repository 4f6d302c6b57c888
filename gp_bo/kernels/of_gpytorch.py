"""Any kernel of GPyTorch as one of ours: its parameters are hyper-parameters with priors."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import dropwhile
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from gp_bo.kernels.gpytorch_files import described
from gp_bo.kernels.kernel import Above, HyperParameter, Leaf, Theta, log_normal
from gp_bo.kernels.pairs import Pairs
from pyro_models.errors import UsageError, in_one_line
from pyro_models.seeds import seeded

__all__ = ["GPyTorchKernel", "is_gpytorch"]


def is_gpytorch(kernel: object) -> bool:
    """Whether this is a kernel of GPyTorch, or a class of them; GPyTorch is not imported for it."""
    kind = kernel if isinstance(kernel, type) else type(kernel)
    known = {(each.__module__, each.__name__) for each in kind.__mro__}
    return ("gpytorch.kernels.kernel", "Kernel") in known


@dataclass(frozen=True)
class _Parameter:
    """A parameter that GPyTorch would learn, as a hyper-parameter."""

    path: str  # base_kernel.raw_lengthscale
    owner: nn.Module
    constraint: Any  # maps it to the hyper-parameter; None for none
    full_shape: torch.Size

    @property
    def own(self) -> str:
        return self.path.rpartition(".")[2].removeprefix("raw_")

    @property
    def name(self) -> str:
        """The path as GPyTorch's users write it: ``base_kernel.lengthscale``."""
        owner, dot, _ = self.path.rpartition(".")
        return owner + dot + self.own

    @property
    def shape(self) -> tuple[int, ...]:  # leading dimensions of one are left out
        return tuple(dropwhile(lambda size: size == 1, self.full_shape))

    def raw(self, value: Tensor) -> Tensor:
        """The parameter under which the hyper-parameter has this value."""
        value = value.reshape(self.full_shape)
        return value if self.constraint is None else self.constraint.inverse_transform(value)


@dataclass(frozen=True, eq=False)
class GPyTorchKernel(Leaf):
    """k(x, x') of a :class:`gpytorch.kernels.Kernel`, its gradient by autograd.

    Every parameter that requires a gradient is a hyper-parameter, named as in GPyTorch
    (``base_kernel.lengthscale``, ``kernels.0.outputscale``); the others stay as they are. A prior
    that is registered with the kernel is its prior; else it has the default prior that the same
    hyper-parameter has in a kernel of ours, for inputs in the unit box and outputs of unit
    variance. Length-scales, periods, and the variances of scale and linear kernels are given in
    the units of the data; other hyper-parameters stay in those that the model computes in. The
    values that they have now are not used. The kernel is copied, and has no batch dimensions.

    Examples
    --------
    >>> from gpytorch.kernels import RBFKernel, ScaleKernel
    >>> [h.name for h in GPyTorchKernel(ScaleKernel(RBFKernel())).hyperparameters(dim=1)]
    ['outputscale', 'base_kernel.lengthscale']
    """

    module: Any
    name = "gpytorch"
    can_be_unscaled = False

    def __post_init__(self) -> None:
        if self.module.batch_shape:
            shape = f"this one has the batch shape {tuple(self.module.batch_shape)}"
            raise UsageError(f"a kernel is of one function; {shape}: make it without batch_shape")
        object.__setattr__(self, "module", copy.deepcopy(self.module).double())

    @cached_property
    def _parameters(self) -> tuple[_Parameter, ...]:
        found = []
        for path, raw in self.module.named_parameters():
            owner_path, _, own = path.rpartition(".")
            owner = self.module.get_submodule(owner_path)
            constraint_of = getattr(owner, "constraint_for_parameter_name", lambda _: None)
            if raw.requires_grad:
                found.append(_Parameter(path, owner, constraint_of(own), raw.shape))
        return tuple(found)

    def own_hyperparameters(self, dim: int) -> list[HyperParameter]:
        """One for each parameter that requires a gradient."""
        priors = self._registered_priors()
        units = dict(_units(self.module, tuple(range(dim)), owns_output=True))
        declared = []
        for each in self._parameters:
            default, powers, columns = units.get((each.owner, each.own), (None, (0, 0), None))
            prior = priors.get(each.path) or _default(each.constraint, default)
            bound = each.constraint
            own = (*powers, bound is not None and bool((bound.lower_bound >= 0).all()), columns)
            declared.append(HyperParameter(each.name, each.shape, prior, *own))
        return declared

    def value(self, theta: Theta, pairs: Pairs) -> Tensor:
        """k_θ(x_i, x'_j), (C, n, m): one θ after the other, as not every kernel takes batches."""
        return self._evaluated(theta, pairs.X, pairs.Xs, diagonal=False)

    def _diagonal(self, thetas: Any, X: Tensor) -> Tensor:
        try:
            return self._evaluated(thetas[0], X, X, diagonal=True)
        except UsageError:  # not every kernel gives its diagonal alone
            return super()._diagonal(thetas, X)

    def _evaluated(self, theta: Theta, X: Tensor, Xs: Tensor, *, diagonal: bool) -> Tensor:
        from linear_operator.settings import trace_mode

        count = len(next(iter(theta.values()))) if theta else 1
        # plain operations; parameters are put in and out; a kernel that draws does so once for all
        with seeded(0, X.device), trace_mode(), _dense_parts(self.module):
            dense = _Dense(self.module).to(X.device)  # where it is already, but for a first time
            rows = [
                torch.func.functional_call(dense, self._raw(theta, c), (X, Xs, diagonal))
                for c in range(count if self._parameters else 1)
            ]
        return torch.stack(rows) if self._parameters else rows[0].expand(count, *rows[0].shape)

    def _raw(self, theta: Theta, c: int) -> dict[str, Tensor]:
        return {f"kernel.{p.path}": p.raw(theta[p.name][c]) for p in self._parameters}

    def _registered_priors(self) -> dict[str, Any]:
        """Path of a parameter → the prior that the kernel's maker has registered for it."""
        found: dict[str, Any] = {}
        for name, owner, prior, closure, _ in self.module.named_priors():
            own = name.rpartition(".")[2].removesuffix("_prior")
            value = closure(owner)
            for each in self._parameters:
                if each.owner is owner and (
                    own == each.own
                    or (own not in vars(owner) and value is getattr(owner, each.own))
                ):
                    found[each.path] = _of_pyro(prior, name=each.name, shape=each.shape)
                    break
            else:
                raise UsageError(
                    f"the prior {name} is of no parameter that is learned: leave it out, and give "
                    "priors={name: distribution}"
                )
        return found

    def config(self) -> Any:
        """``["gpytorch", description]``: classes, options, constraints and values, no code."""
        return [self.name, described(self.module)]

    def __repr__(self) -> str:
        return f"GPyTorchKernel({type(self.module).__name__})"


class _Dense(nn.Module):
    """A kernel's matrix, evaluated while its parameters are those that were put in."""

    def __init__(self, kernel: Any) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, X: Tensor, Xs: Tensor, diagonal: bool) -> Tensor:
        name = type(self.kernel).__name__
        with in_one_line(f"the kernel {name}"):
            values = _dense(self.kernel(X, diag=True) if diagonal else self.kernel(X, Xs))
        shape = (len(X),) if diagonal else (len(X), len(Xs))
        if values.shape != shape:
            got = f"{name} gives {tuple(values.shape)} in place of {shape}"
            raise UsageError(f"a kernel of one output is needed: {got}")
        return values


def _dense(found: Any) -> Tensor:
    values: Tensor = found if isinstance(found, Tensor) else found.to_dense()
    return values


@contextmanager
def _dense_parts(kernel: Any) -> Iterator[None]:
    """Each part gives its matrix: of a low-rank one, a sum would take roots that nobody needs."""
    parts = [each for each in kernel.modules() if hasattr(each, "covar_dist")]

    def dense(forward: Callable[..., Any]) -> Callable[..., Tensor]:
        return lambda *points, **options: _dense(forward(*points, **options))

    for part in parts:
        vars(part)["forward"] = dense(part.forward)
    try:
        yield
    finally:
        for part in parts:
            del vars(part)["forward"]


_Unit = tuple[Any, tuple[int, int], tuple[int, ...] | None]


def _units(
    kernel: Any, columns: tuple[int, ...], *, owns_output: bool, chosen: bool = False
) -> Iterator[tuple[tuple[nn.Module, str], _Unit]]:
    """Module and name of a parameter → its default prior, its unit and the inputs that it is of."""
    from gpytorch import kernels

    if kernel.active_dims is not None and not chosen:
        if int(kernel.active_dims.max()) >= len(columns):
            raise UsageError(
                f"the kernel's active_dims {tuple(kernel.active_dims.tolist())} are more than the "
                f"{len(columns)} inputs that there are"
            )
        columns = tuple(columns[i] for i in kernel.active_dims.tolist())
    if kernel.ard_num_dims not in (None, len(columns)):
        raise UsageError(
            f"{type(kernel).__name__} has ard_num_dims={kernel.ard_num_dims}, and is of "
            f"{len(columns)} input{'s' if len(columns) > 1 else ''}"
        )
    output = 2 if owns_output else 0
    wide = log_normal(math.sqrt(2) + math.log(len(columns)) / 2, math.sqrt(3))
    one, period = log_normal(0.0, 1.0), log_normal(math.log(0.5), 0.7)
    periodic = isinstance(kernel, kernels.PeriodicKernel)
    if kernel.has_lengthscale:  # the square of a length without a unit, where it is periodic
        prior, power = (log_normal(0.0, 2.0), 0) if periodic else (wide, 1)
        yield (kernel, "lengthscale"), (prior, (power, 0), columns)
    if periodic or isinstance(kernel, kernels.CosineKernel):
        yield (kernel, "period_length"), (period, (1, 0), columns)
    if isinstance(kernel, kernels.RQKernel):
        yield (kernel, "alpha"), (log_normal(math.log(2.0), 1.0), (0, 0), None)
    if isinstance(kernel, kernels.ScaleKernel):
        yield (kernel, "outputscale"), (one, (0, output), None)
    elif isinstance(kernel, kernels.LinearKernel):
        yield (kernel, "variance"), (one, (-2, output), columns)
    scale = isinstance(kernel, kernels.ScaleKernel)  # it has taken the columns of its part
    inner, scales = owns_output and not scale, (kernels.ScaleKernel, kernels.LinearKernel)
    children = getattr(kernel, "kernels", None) or kernel.children()
    for child in (each for each in children if isinstance(each, kernels.Kernel)):
        yield from _units(child, columns, owns_output=inner, chosen=scale)
        has_scale = any(isinstance(each, scales) for each in child.modules())
        if isinstance(kernel, kernels.ProductKernel) and has_scale:
            inner = False  # the unit of a product is that of one factor


def _default(constraint: Any, known: Any) -> Any:
    """What is known to suit, moved above the bound; uniform between two bounds.

    Where nothing is known it is LogNormal(0, 1) of what is positive, N(0, 1) of a real number.
    """
    normal = dist.Normal(*(torch.tensor(v, dtype=torch.float64) for v in (0.0, 1.0)))
    if constraint is None:
        return known or normal
    low, high = (each.double() for each in (constraint.lower_bound, constraint.upper_bound))
    if bool((high - low).isfinite().all()):
        return dist.Uniform(low, high)
    if not bool((low >= 0).all()):
        return normal
    known = known or log_normal(0.0, 1.0)
    if not bool((low > 0).any()):
        return known
    return dist.TransformedDistribution(known, [Above(low, torch.ones_like(low))])


def _of_pyro(prior: Any, *, name: str, shape: tuple[int, ...]) -> Any:
    """A prior of GPyTorch as the distribution of Pyro that it extends, or what to do if none is.

    ``name`` and ``shape`` are those of the hyper-parameter.
    """
    own: Any = None
    of_torch = (k for k in type(prior).__mro__ if k.__module__.startswith("torch.distributions"))
    kind = next(of_torch, torch.distributions.Distribution)  # the first is what it extends
    of_a_function = getattr(prior, "_transform", None) is not None
    if kind is not torch.distributions.Distribution and not of_a_function:
        own = getattr(dist, kind.__name__, None)
    names = () if own is None else tuple(prior.arg_constraints)
    if isinstance(prior, torch.distributions.MultivariateNormal):
        names = ("loc", "scale_tril")
    values: dict[str, Any] = {n: getattr(prior, n, None) for n in names}
    if own is None or not all(isinstance(v, Tensor) for v in values.values()):
        return UsageError(
            f"the prior of {name}, a {type(prior).__name__}, is not known to Pyro: give "
            f"priors={{{name!r}: a distribution of pyro.distributions}}"
        )
    made = own(**{each: value.detach().double() for each, value in values.items()})
    if len(made.batch_shape + made.event_shape) <= len(shape):
        return made
    # a shape like (1, d) in the shape of the hyper-parameter
    return own(**{each: getattr(made, each).reshape(shape) for each in made.arg_constraints})
