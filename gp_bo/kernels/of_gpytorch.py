"""Any kernel of GPyTorch as one of ours: its parameters are hyper-parameters with priors."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from gp_bo.kernels.gpytorch_files import described
from gp_bo.kernels.kernel import Above, HyperParameter, Leaf, Theta, log_normal
from gp_bo.kernels.pairs import Pairs
from pyro_models import UsageError
from pyro_models.seeds import alone

__all__ = ["GPyTorchKernel", "is_gpytorch"]


def is_gpytorch(kernel: object) -> bool:
    """Whether this is a kernel of GPyTorch, or a class of them; GPyTorch is not imported for it."""
    kind = kernel if isinstance(kernel, type) else type(kernel)
    known = {(each.__module__, each.__name__) for each in kind.__mro__}
    return ("gpytorch.kernels.kernel", "Kernel") in known


@dataclass(frozen=True)
class _Parameter:
    """A parameter that GPyTorch would learn, as a hyper-parameter.

    Attributes
    ----------
    path
        The parameter's place in the module: ``base_kernel.raw_lengthscale``.
    owner
        The module that it belongs to.
    constraint
        GPyTorch's constraint, which maps it to the hyper-parameter; None for none.
    shape
        The hyper-parameter's shape: leading dimensions of one are left out.
    """

    path: str
    owner: nn.Module
    constraint: Any
    shape: tuple[int, ...]
    full_shape: torch.Size

    @property
    def name(self) -> str:
        """The path as GPyTorch's users write it: ``base_kernel.lengthscale``."""
        owner, dot, _ = self.path.rpartition(".")
        return owner + dot + self.own

    @property
    def own(self) -> str:
        """The last part of the name."""
        return self.path.rpartition(".")[2].removeprefix("raw_")

    @property
    def is_bounded(self) -> bool:
        """Whether it lies between two finite bounds."""
        bound = self.constraint
        return bound is not None and bool((bound.upper_bound - bound.lower_bound).isfinite().all())

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
    values that they have now are not used.

    Parameters
    ----------
    module
        The kernel, which is copied; one without batch dimensions.

    Raises
    ------
    UsageError
        If the kernel has batch dimensions.

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
            raise UsageError(
                f"a kernel is of one function; this one has the batch shape "
                f"{tuple(self.module.batch_shape)}: make it without batch_shape"
            )
        object.__setattr__(self, "module", copy.deepcopy(self.module).double())

    @cached_property
    def _parameters(self) -> tuple[_Parameter, ...]:
        found = []
        for path, raw in self.module.named_parameters():
            owner_path, _, own = path.rpartition(".")
            owner = self.module.get_submodule(owner_path)
            constraint_of = getattr(owner, "constraint_for_parameter_name", None)
            shape = list(raw.shape)
            while shape and shape[0] == 1:
                del shape[0]
            if raw.requires_grad:
                constraint = None if constraint_of is None else constraint_of(own)
                found.append(_Parameter(path, owner, constraint, tuple(shape), raw.shape))
        return tuple(found)

    def own_hyperparameters(self, dim: int) -> list[HyperParameter]:
        """One for each parameter that requires a gradient."""
        priors = self._registered_priors()
        units = dict(_units(self.module, dim))
        declared = []
        for each in self._parameters:
            default, powers, columns = units.get((each.owner, each.own), (None, (0, 0), None))
            prior = priors.get(each.path) or _default(each.constraint, default)
            low = None if each.constraint is None else each.constraint.lower_bound
            positive = low is not None and bool((low >= 0).all())
            declared.append(
                HyperParameter(each.name, each.shape, prior, *powers, positive, columns)
            )
        return declared

    def value(self, theta: Theta, pairs: Pairs) -> Tensor:
        """k_θ(x_i, x'_j), (C, n, m): one θ after the other, as not every kernel takes batches."""
        return self._evaluated(theta, pairs.X, pairs.Xs, diagonal=False)

    def _diagonal(self, thetas: Any, X: Tensor) -> Tensor:
        return self._evaluated(thetas[0], X, X, diagonal=True)

    def _evaluated(self, theta: Theta, X: Tensor, Xs: Tensor, *, diagonal: bool) -> Tensor:
        from linear_operator.settings import fast_computations, trace_mode

        count = len(next(iter(theta.values()))) if theta else 1
        rows = []
        # plain operations, without roots that a sum would keep; parameters are put in and out
        with alone(), trace_mode(), fast_computations(covar_root_decomposition=False):
            dense = _Dense(self.module).to(X.device)  # where it is already, but for a first time
            for c in range(count):
                raw = {
                    f"kernel.{each.path}": each.raw(theta[each.name][c])
                    for each in self._parameters
                }
                rows.append(torch.func.functional_call(dense, raw, (X, Xs, diagonal)))
        return torch.stack(rows)

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
                    found[each.path] = _of_pyro(prior, each)
                    break
            else:
                raise UsageError(
                    f"the prior {name} is of no parameter that is learned: leave it out, and give "
                    "priors={name: distribution}"
                )
        return found

    def config(self) -> Any:
        """``["gpytorch", description]``: classes, options, constraints and values, no code.

        Raises
        ------
        UsageError
            If the kernel cannot be made again from what it says of itself.
        """
        return [self.name, described(self.module)]

    def __repr__(self) -> str:
        return f"GPyTorchKernel({type(self.module).__name__})"


class _Dense(nn.Module):
    """A kernel's matrix, evaluated while its parameters are those that were put in."""

    def __init__(self, kernel: Any) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, X: Tensor, Xs: Tensor, diagonal: bool) -> Tensor:
        found = self.kernel(X, diag=True) if diagonal else self.kernel(X, Xs)
        values: Tensor = found if isinstance(found, Tensor) else found.to_dense()
        shape = (len(X),) if diagonal else (len(X), len(Xs))
        if values.shape != shape:
            raise UsageError(
                f"a kernel of one output is needed: {type(self.kernel).__name__} gives "
                f"{tuple(values.shape)} in place of {shape}"
            )
        return values


_Unit = tuple[Any, tuple[int, int], tuple[int, ...] | None]


def _units(kernel: Any, dim: int) -> Iterator[tuple[tuple[nn.Module, str], _Unit]]:
    """Module and name of a parameter → its default prior, its unit and the inputs that it is of."""
    yield from _walk(kernel, tuple(range(dim)), owns_output=True)


def _walk(
    kernel: Any, columns: tuple[int, ...], *, owns_output: bool, chosen: bool = False
) -> Iterator[tuple[tuple[nn.Module, str], _Unit]]:
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
    inner = owns_output and not scale
    children = getattr(kernel, "kernels", None) or kernel.children()
    for child in (each for each in children if isinstance(each, kernels.Kernel)):
        yield from _walk(child, columns, owns_output=inner, chosen=scale)
        if isinstance(kernel, kernels.ProductKernel) and _has_scale(child):
            inner = False  # the unit of a product is that of one factor


def _has_scale(kernel: Any) -> bool:
    from gpytorch import kernels

    scales = (kernels.ScaleKernel, kernels.LinearKernel)
    return any(isinstance(each, scales) for each in kernel.modules())


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


def _of_pyro(prior: Any, parameter: _Parameter) -> Any:
    """A prior of GPyTorch as the distribution of Pyro that it extends, or what to do if none is."""
    own: Any = None
    names: tuple[str, ...] = ()
    for kind in type(prior).__mro__:
        found, known = getattr(dist, kind.__name__, None), getattr(kind, "arg_constraints", None)
        whole = found and not getattr(found, "__abstractmethods__", None)
        if kind.__module__.startswith("torch.distributions") and whole and isinstance(known, dict):
            own, names = found, tuple(known)
            break
    if isinstance(prior, torch.distributions.MultivariateNormal):
        names = ("loc", "scale_tril")
    values: Mapping[str, Any] = {n: getattr(prior, n, None) for n in names}
    if own is None or not all(isinstance(v, Tensor) for v in values.values()):
        return UsageError(
            f"the prior of {parameter.name}, a {type(prior).__name__}, is not known to Pyro: give "
            f"priors={{{parameter.name!r}: a distribution of pyro.distributions}}"
        )
    made = own(**{name: value.detach().double() for name, value in values.items()})
    shape = made.batch_shape + made.event_shape
    return made if len(shape) <= len(parameter.shape) else _squeezed(made, parameter)


def _squeezed(prior: Any, parameter: _Parameter) -> Any:
    """A prior of a shape like (1, d) in the shape of the hyper-parameter."""
    values = {name: getattr(prior, name).reshape(parameter.shape) for name in prior.arg_constraints}
    return type(prior)(**values)
