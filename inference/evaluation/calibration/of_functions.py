"""Simulations and posterior draws of two functions of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from inference.evaluation.calibration.simulated import Simulated, Simulator, described
from pyro_models import UsageError
from pyro_models.errors import in_one_line
from pyro_models.seeds import stream

__all__ = ["OfFunctions"]

Values = Mapping[str, Any] | Any


class OfFunctions(Simulator):
    """Simulations of ``simulate(seed) → (truth, data)``, draws of ``posterior(data, n, seed)``.

    A truth is values by name, or one array, then named ``theta``; draws are the same with a first
    dimension n. Arrays may be NumPy's.
    """

    def __init__(
        self, simulate: Callable[[int], tuple[Values, Any]], posterior: Callable[..., Values]
    ) -> None:
        self.simulate, self.posterior = simulate, posterior
        self.name, self.guide = _name_of(simulate), _name_of(posterior)
        self.settings = {"simulate": described(simulate), "posterior": described(posterior)}
        self.shapes = {name: tuple(v.shape) for name, v in self._simulated(0)[0].items()}

    def __call__(self, rows: Sequence[int], num_draws: int, seed: int) -> Simulated:
        """One simulation, and L draws."""
        truth, data = self._simulated(stream(seed, "truth"))
        elsewhere, _ = self._simulated(stream(seed, "elsewhere"))
        with in_one_line(f"draws by {self.guide}"):
            drawn = self.posterior(data, num_draws, stream(seed, "draws"))
        draws = _by_name(drawn)
        for name, shape in self.shapes.items():
            found = tuple(draws[name].shape) if name in draws else None
            if found != (num_draws, *shape):
                raise UsageError(
                    f"{self.guide} must return draws of {name!r} of shape "
                    f"{(num_draws, *shape)}; got {found or 'none'}"
                )
        one, other = ({n: v.unsqueeze(0) for n, v in of.items()} for of in (truth, elsewhere))
        known = {name: draws[name].unsqueeze(1) for name in self.shapes}
        return Simulated(one, other, known, [data])

    def _simulated(self, seed: int) -> tuple[dict[str, Tensor], Any]:
        with in_one_line(f"a simulation by {self.name}"):
            found = self.simulate(seed)
        if not isinstance(found, tuple) or len(found) != 2:
            raise UsageError(f"{self.name}(seed) must return the two of (truth, data)")
        return _by_name(found[0]), found[1]


def _by_name(values: Values) -> dict[str, Tensor]:
    named = values if isinstance(values, Mapping) else {"theta": values}
    with in_one_line("a tensor of what was returned"):
        return {str(name): torch.as_tensor(value) for name, value in named.items()}


def _name_of(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
