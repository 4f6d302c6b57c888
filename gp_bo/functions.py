"""Functions to try an optimiser on: bounds, least value and where it is taken."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pyro_models import UsageError

__all__ = ["FUNCTIONS", "TestFunction", "function_named"]


@dataclass(frozen=True)
class TestFunction:
    """A function to be minimised, (n, d) → (n,), whose least value is known.

    That is the least inside the bounds, (lower, upper) of each input; ``minimizers`` are all points
    where it is taken.

    >>> branin = function_named("branin")
    >>> round(branin([math.pi, 2.275]), 6)
    0.397887
    >>> round(branin.regret(1.0), 6)
    0.602113
    """

    name: str
    bounds: tuple[tuple[float, float], ...]
    minimum: float
    minimizers: tuple[tuple[float, ...], ...]
    values: Callable[[np.ndarray], np.ndarray]
    __test__ = False  # not a test, whatever its name begins with

    @property
    def dimension(self) -> int:
        """d, number of inputs."""
        return len(self.bounds)

    def __call__(self, x: object) -> float:
        """The value at one point, (d,)."""
        point = np.asarray(x, dtype=np.float64).reshape(-1)
        if point.size != self.dimension:
            raise UsageError(f"{self.name} has {self.dimension} inputs; got {point.size}")
        return float(self.values(point[None])[0])

    def regret(self, best: float) -> float:
        """Simple regret: the best value found, less the least there is."""
        return best - self.minimum


def branin(x: np.ndarray) -> np.ndarray:
    """(x₂ − b x₁² + c x₁ − 6)² + 10 (1 − 1/8π) cos x₁ + 10, b = 5.1/4π², c = 5/π."""
    b, c = 5.1 / (4 * math.pi**2), 5 / math.pi
    valley = (x[:, 1] - b * x[:, 0] ** 2 + c * x[:, 0] - 6) ** 2
    return valley + 10 * (1 - 1 / (8 * math.pi)) * np.cos(x[:, 0]) + 10


_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann6(x: np.ndarray) -> np.ndarray:
    """−Σᵢ αᵢ exp(−Σⱼ Aᵢⱼ (xⱼ − Pᵢⱼ)²), i = 1 … 4, j = 1 … 6."""
    return -(_ALPHA * np.exp(-(_A * (x[:, None] - _P) ** 2).sum(-1))).sum(-1)


def ackley(x: np.ndarray) -> np.ndarray:
    """−20 exp(−0.2 √(mean xⱼ²)) − exp(mean cos 2πxⱼ) + 20 + e."""
    root = np.sqrt((x**2).mean(-1))
    return -20 * np.exp(-0.2 * root) - np.exp(np.cos(2 * math.pi * x).mean(-1)) + 20 + math.e


def exam(x: np.ndarray) -> np.ndarray:
    """sin 20x + 2 cos 14x − 2 sin 6x."""
    u = x[:, 0]
    return np.sin(20 * u) + 2 * np.cos(14 * u) - 2 * np.sin(6 * u)


def gramacy_lee(x: np.ndarray) -> np.ndarray:
    """sin(10πx)/2x + (x − 1)⁴ (Gramacy and Lee 2012)."""
    u = x[:, 0]
    return np.sin(10 * math.pi * u) / (2 * u) + (u - 1) ** 4


_EVERY = (
    TestFunction(
        "branin",
        ((-5.0, 10.0), (0.0, 15.0)),
        5 / (4 * math.pi),
        ((-math.pi, 12.275), (math.pi, 2.275), (3 * math.pi, 2.475)),
        branin,
    ),
    TestFunction(
        "hartmann6",
        ((0.0, 1.0),) * 6,
        -3.322368011415514,
        ((0.20168951, 0.15001069, 0.47687398, 0.27533243, 0.31165162, 0.65730053),),
        hartmann6,
    ),
    # The usual box is symmetric, and its centre, where designs like to start, is the minimum.
    TestFunction("ackley", ((-5.0, 10.0),) * 5, 0.0, ((0.0,) * 5,), ackley),
    TestFunction("exam", ((-1.0, 1.0),), -4.954400388749327, ((0.232705999,),), exam),
    TestFunction("gramacy-lee", ((0.5, 2.5),), -0.8690111349894998, ((0.548563445,),), gramacy_lee),
)
FUNCTIONS: dict[str, TestFunction] = {each.name: each for each in _EVERY}


def function_named(name: str) -> TestFunction:
    """A function by its name; a ``UsageError`` says which there are, if there is none of it."""
    if name not in FUNCTIONS:
        raise UsageError(f"there is no function {name!r}; there are {', '.join(FUNCTIONS)}")
    return FUNCTIONS[name]
