"""What a kernel is, and how kernels add and multiply."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain, islice
from operator import mul
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.transforms import AffineTransform

from gp_bo.kernels.pairs import Pairs
from pyro_models import UsageError
from pyro_models.registry import found_as

__all__ = ["Above", "HyperParameter", "Kernel", "Leaf", "Product", "Sum", "log_normal"]

Theta = Mapping[str, Tensor]
Pullback = Callable[[Tensor], dict[str, Tensor]]
_Pullbacks = Callable[[Tensor], list[dict[str, Tensor]]]

_BLOCK = 64  # inputs whose variances are read off one matrix


def log_normal(loc: float, scale: float) -> dist.LogNormal:
    """LogNormal(loc, scale) in float64."""
    return dist.LogNormal(*(torch.tensor(v, dtype=torch.float64) for v in (loc, scale)))


class Above(AffineTransform):
    """x ↦ loc + scale x of positive x, whose values are known to lie above loc."""

    @property
    def codomain(self) -> Any:  # type: ignore[override]
        """All numbers above loc."""
        return constraints.greater_than(self.loc)


@dataclass(frozen=True)
class HyperParameter:
    """One unknown of a Gaussian process.

    Attributes
    ----------
    shape
        (d,) for one value per input, () for a single one.
    prior
        The default prior, made for inputs in the unit box and outputs of unit variance; a
        ``UsageError`` where it has none and one must be given.
    input_power, output_power
        They give the unit: (unit of the input)^input_power · (unit of the output)^output_power.
    positive
        Whether it must be above 0.
    columns
        The inputs that it is of, where these are not all.
    """

    name: str
    shape: tuple[int, ...]
    prior: dist.Distribution | UsageError
    input_power: int = 0
    output_power: int = 0
    positive: bool = True
    columns: tuple[int, ...] | None = None

    def of_inputs(self, values: Tensor) -> Tensor:
        """Of one value for each input, (d,), those of its own inputs."""
        return values if self.columns is None else values[list(self.columns)]

    def log_unit(self, width: Tensor, spread: Tensor | float) -> Tensor:
        """The logarithm of its unit, in its shape or (), for inputs of some widths, (d,)."""
        own = self.of_inputs(width.log())
        along = self.input_power * (own if self.shape else own.mean()) if self.input_power else 0.0
        return own.new_zeros(()) + along + self.output_power * math.log(float(spread))


class Kernel(ABC):
    """A covariance function k_θ(x, x') whose value, and gradient in θ, are known in closed form.

    Kernels add and multiply: ``RBF() + Periodic() * Linear()``. Their hyper-parameters are named
    after the kernel (``rbf.lengthscale``) when there is more than one, and numbered when a kind
    occurs twice (``rbf_1.lengthscale``).
    """

    @abstractmethod
    def leaves(self) -> tuple[Leaf, ...]:
        """The elementary kernels, from left to right."""

    @abstractmethod
    def _evaluate(self, thetas: Sequence[Theta], pairs: Pairs) -> tuple[Tensor, _Pullbacks]:
        """k and its pullback, for one θ per leaf."""

    def __add__(self, other: Kernel) -> Sum:
        return Sum(self, other) if isinstance(other, Kernel) else NotImplemented

    def __mul__(self, other: Kernel) -> Product:
        return Product(self, other) if isinstance(other, Kernel) else NotImplemented

    def labels(self) -> list[str]:
        """One prefix per leaf: empty for a single leaf."""
        names = [leaf.name for leaf in self.leaves()]
        if len(names) == 1:
            return [""]
        numbered = ((name, names[: i + 1].count(name)) for i, name in enumerate(names))
        return [f"{n}_{i}." if names.count(n) > 1 else f"{n}." for n, i in numbered]

    def hyperparameters(self, dim: int) -> list[HyperParameter]:
        """The kernel's hyper-parameters for inputs of ``dim`` columns."""
        return [
            dataclasses.replace(h, name=label + h.name)
            for label, leaf in zip(self.labels(), self.leaves(), strict=True)
            for h in leaf.own_hyperparameters(dim)
        ]

    def covariance(self, theta: Theta, pairs: Pairs) -> Tensor:
        """k_θ(x_i, x'_j), (C, n, m), for C values of every hyper-parameter, each (C, \\*shape)."""
        return self._evaluate(self._split(theta, pairs.X), pairs)[0]

    def covariance_and_pullback(self, theta: Theta, pairs: Pairs) -> tuple[Tensor, Pullback]:
        """The covariance, and the function that maps ∂L/∂K, (C, n, m), to ∂L/∂θ by name."""
        K, pullbacks = self._evaluate(self._split(theta, pairs.X), pairs)

        def pullback(G: Tensor) -> dict[str, Tensor]:
            each = zip(self.labels(), pullbacks(G), strict=True)
            return {label + n: g for label, own in each for n, g in own.items()}

        return K, pullback

    def variance(self, theta: Theta, X: Tensor) -> Tensor:
        """k_θ(x_i, x_i), (C, n)."""
        return self._diagonal(self._split(theta, X), X)

    @abstractmethod
    def _diagonal(self, thetas: Sequence[Theta], X: Tensor) -> Tensor: ...

    def _split(self, theta: Theta, X: Tensor) -> list[Theta]:
        """θ of each leaf, where the inputs are."""
        theta = {name: value.to(X.device) for name, value in theta.items()}
        return [
            {name.removeprefix(label): v for name, v in theta.items() if name.startswith(label)}
            for label in self.labels()
        ]

    @abstractmethod
    def config(self) -> Any:
        """Plain values from which :func:`gp_bo.kernels.names.kernel_from_config` rebuilds it."""


@dataclass(frozen=True)
class Leaf(Kernel):
    """An elementary kernel. One of your own says its name, its hyper-parameters and its value.

    Parameters
    ----------
    ard
        One length-scale per input; else one for all.
    scaled
        Whether it has a variance of its own; a product takes it from all factors but one.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Laplacian(Leaf):
    ...     name = "laplacian"
    ...
    ...     def own_hyperparameters(self, dim):
    ...         return [self._lengthscale(dim)]
    ...
    ...     def value(self, theta, pairs):
    ...         lengthscale = self._per_input(theta["lengthscale"], pairs.dim)
    ...         return (-(pairs.differences.abs() / lengthscale[..., None, None]).sum(1)).exp()
    >>> [h.name for h in (Laplacian() + Laplacian()).hyperparameters(dim=1)]
    ['laplacian_1.lengthscale', 'laplacian_2.lengthscale']
    """

    ard: bool = dataclasses.field(default=True, kw_only=True)
    scaled: bool = dataclasses.field(default=True, kw_only=True)
    name: ClassVar[str]
    can_be_unscaled: ClassVar[bool] = True

    def leaves(self) -> tuple[Leaf, ...]:
        """The kernel itself."""
        return (self,)

    @abstractmethod
    def own_hyperparameters(self, dim: int) -> list[HyperParameter]:
        """Hyper-parameters, without prefix."""

    def value(self, theta: Theta, pairs: Pairs) -> Tensor:
        """k_θ(x_i, x'_j), (C, n, m), differentiable, for hyper-parameters (C, \\*shape) by name.

        Kernels whose gradient is written in closed form leave it out.
        """
        raise NotImplementedError(f"the kernel {self.name} does not say its value")

    def _evaluate(self, thetas: Sequence[Theta], pairs: Pairs) -> tuple[Tensor, _Pullbacks]:
        (theta,) = thetas

        def pullbacks(G: Tensor) -> list[dict[str, Tensor]]:
            with torch.enable_grad():
                own = {name: v.detach().requires_grad_() for name, v in theta.items()}
                K = self.value(own, pairs)
                if not K.requires_grad:
                    return [{}]
                found = torch.autograd.grad(K, list(own.values()), G, allow_unused=True)
            return [{n: g for n, g in zip(own, found, strict=True) if g is not None}]

        return self.value(theta, pairs), pullbacks

    def _diagonal(self, thetas: Sequence[Theta], X: Tensor) -> Tensor:
        blocks = (self.value(thetas[0], Pairs(part, part)) for part in X.split(_BLOCK))
        return torch.cat([block.diagonal(dim1=-2, dim2=-1) for block in blocks], -1)

    def _lengthscale(self, dim: int, *, input_power: int = 1) -> HyperParameter:
        # the distance between two random points of the unit box grows as √d (Hvarfner et al. 2024)
        prior = log_normal(math.sqrt(2) + math.log(dim) / 2, math.sqrt(3))
        return HyperParameter("lengthscale", (dim,) if self.ard else (), prior, input_power)

    def _variance(self) -> list[HyperParameter]:
        return [HyperParameter("variance", (), log_normal(0.0, 1.0), 0, 2)] if self.scaled else []

    def _per_input(self, value: Tensor, dim: int) -> Tensor:
        """A hyper-parameter (C, d) or (C,) as (C, d)."""
        return value if self.ard else value[:, None].expand(-1, dim)

    def _collect(self, gradient: Tensor) -> Tensor:
        """A gradient (C, d) in the shape of the hyper-parameter."""
        return gradient if self.ard else gradient.sum(-1)

    def config(self) -> Any:
        """``[name, options]``; of a class in a file of its own, the file's name and the class's."""
        return [found_as(type(self)) or self.name, dataclasses.asdict(self)]


@dataclass(frozen=True)
class ScaledLeaf(Leaf):
    """σ² κ(x, x') with κ(x, x) = 1: a kind says κ, (C, n, m), and maps ∂L/∂κ to its gradients."""

    @abstractmethod
    def _form(self, theta: Theta, pairs: Pairs) -> tuple[Tensor, Pullback]: ...

    def _evaluate(self, thetas: Sequence[Theta], pairs: Pairs) -> tuple[Tensor, _Pullbacks]:
        (theta,) = thetas
        k, pullback = self._form(theta, pairs)
        if not self.scaled:
            return k, lambda G: [pullback(G)]
        variance = theta["variance"][:, None, None]
        return variance * k, lambda G: [
            {**pullback(G * variance), "variance": (G * k).sum((-1, -2))}
        ]

    def _diagonal(self, thetas: Sequence[Theta], X: Tensor) -> Tensor:
        ones = X.new_ones(len(thetas[0]["lengthscale"]), len(X))
        return ones * thetas[0]["variance"][:, None] if self.scaled else ones


@dataclass(init=False, repr=False, unsafe_hash=True)
class _Composite(Kernel):
    """Kernels joined by one operation."""

    symbol: ClassVar[str]
    parts: tuple[Kernel, ...]

    def __init__(self, *parts: Kernel) -> None:
        if len(parts) < 2:
            raise UsageError(f"a {type(self).__name__.lower()} needs at least two kernels")
        nested = (part.parts if type(part) is type(self) else (part,) for part in parts)
        self.parts = tuple(chain(*nested))

    def leaves(self) -> tuple[Leaf, ...]:
        """The elementary kernels, from left to right."""
        return tuple(leaf for part in self.parts for leaf in part.leaves())

    def _per_part(self, thetas: Sequence[Theta]) -> list[tuple[Kernel, Sequence[Theta]]]:
        left = iter(thetas)
        return [(part, list(islice(left, len(part.leaves())))) for part in self.parts]

    def config(self) -> Any:
        """``[symbol, parts]``."""
        return [self.symbol, [part.config() for part in self.parts]]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.parts))})"


class Sum(_Composite):
    """k(x, x') = Σ_i k_i(x, x')."""

    symbol = "+"

    def _evaluate(self, thetas: Sequence[Theta], pairs: Pairs) -> tuple[Tensor, _Pullbacks]:
        done = [part._evaluate(own, pairs) for part, own in self._per_part(thetas)]
        K = torch.stack(torch.broadcast_tensors(*(k for k, _ in done))).sum(0)
        return K, lambda G: [g for _, pullback in done for g in pullback(G)]

    def _diagonal(self, thetas: Sequence[Theta], X: Tensor) -> Tensor:
        own = [part._diagonal(theta, X) for part, theta in self._per_part(thetas)]
        return torch.stack(torch.broadcast_tensors(*own)).sum(0)


class Product(_Composite):
    """k(x, x') = Π_i k_i(x, x').

    The data say nothing of how a product's scale is shared: elementary factors lose their variance,
    all but the first, or all when a factor is a sum, which keeps those of its terms, or linear.
    """

    symbol = "*"

    def __init__(self, *parts: Kernel) -> None:
        super().__init__(*parts)
        leaves = [isinstance(part, Leaf) and part.can_be_unscaled for part in self.parts]
        self.parts = tuple(
            dataclasses.replace(part, scaled=part.scaled and i == 0 and all(leaves))
            if isinstance(part, Leaf) and leaves[i]
            else part
            for i, part in enumerate(self.parts)
        )

    def _evaluate(self, thetas: Sequence[Theta], pairs: Pairs) -> tuple[Tensor, _Pullbacks]:
        done = [part._evaluate(own, pairs) for part, own in self._per_part(thetas)]
        factors = [k for k, _ in done]

        def pullbacks(G: Tensor) -> list[dict[str, Tensor]]:
            gradients = []
            for i, (_, pullback) in enumerate(done):
                gradients += pullback(reduce(mul, [*factors[:i], *factors[i + 1 :]]) * G)
            return gradients

        return reduce(mul, factors), pullbacks

    def _diagonal(self, thetas: Sequence[Theta], X: Tensor) -> Tensor:
        return reduce(mul, (part._diagonal(own, X) for part, own in self._per_part(thetas)))
