"""What repeats, as one launch: on a GPU a CUDA graph, elsewhere operation by operation.

A step of a small network takes an accelerator less time than Python takes to ask for it. A graph
asks once for all that happens between two looks of the host: the same operations on the same
memory, with the random numbers of the generators as they are then.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["Launch", "Launched", "Launcher", "can_skip", "launch_of", "launcher_of", "run_directly"]

# calls, which make what a graph must not: records (at the third), handles of libraries, kernels
_RUN_FIRST = 3

Launch = Callable[[], object]
Launcher = Callable[[Launch, Optimizer | None], Launch]
Result = tuple[Tensor, ...]


def launcher_of(
    device: torch.device, generators: Sequence[torch.Generator] = ()
) -> Launcher | None:
    """What makes launches on a device; ``None`` where every operation is waited for.

    ``generators`` are those that a launch draws from beside the device's own.
    """
    make = LAUNCHERS.get(device.type)
    return None if make is None else partial(make, device=device, generators=generators)


def run_directly(steps: Launch, optimizer: Optimizer | None = None) -> Launch:
    """Run the steps, operation by operation."""
    return steps


def launch_of(
    steps: Launch, launcher: Launcher, optimizer: Optimizer | None = None, *, what: str
) -> Launch | None:
    """A launch of steps; ``None``, with a line of why, where they can be none. Nothing has run."""
    try:
        return launcher(steps, optimizer)
    except Exception as error:  # whatever stops it: a mistake is met again where steps are run
        why = " ".join(str(error).split())[:200]
        warnings.warn(f"{what} are no CUDA graph, but run: {why}", stacklevel=4)
        return None


def can_skip(optimizer: Optimizer) -> bool:
    """Whether an optimizer works in a graph, and leaves all as it is where it is told to there."""
    group = optimizer.param_groups[0]
    return "capturable" in group and bool(group.get("fused"))


class Launched:
    """A function whose work is one launch for each shape of what it is given.

    The first calls of a shape are run. Then what is given is written to memory that a launch reads,
    and what it leaves is copied: results are the caller's own.

    Parameters
    ----------
    function
        Of tensors, and of values that a launch is made for, to a tuple of tensors. What else it
        reads must stay in its place.
    launcher
        Of :func:`launcher_of`; ``None``: the function is called.
    what
        What is repeated, in a word, for the warning where it can be no launch.

    Examples
    --------
    >>> double = Launched(lambda x: (2 * x,), run_directly, what="doublings")
    >>> [double(torch.tensor([float(i)]))[0].item() for i in range(5)]
    [0.0, 2.0, 4.0, 6.0, 8.0]
    """

    def __init__(
        self, function: Callable[..., Result], launcher: Launcher | None, *, what: str
    ) -> None:
        self.function, self.launcher, self.what = function, launcher, what
        self._known: dict[tuple[Any, ...], int | Callable[..., Result]] = {}

    def __call__(self, *given: Any) -> Result:
        """What the function returns."""
        if self.launcher is None:
            return self.function(*given)
        key = tuple((v.shape, v.dtype, v.device) if isinstance(v, Tensor) else v for v in given)
        known = self._known.get(key, 0)
        if isinstance(known, int):
            known = known + 1 if known < _RUN_FIRST else self._graphed(given)
            self._known[key] = known
        return (self.function if isinstance(known, int) else known)(*given)

    def _graphed(self, given: Sequence[Any]) -> Callable[..., Result]:
        assert self.launcher is not None
        place = [value.clone() if isinstance(value, Tensor) else value for value in given]
        inputs = [value for value in place if isinstance(value, Tensor)]
        left: list[Tensor] = []

        def steps() -> None:
            with pyro.validation_enabled(False):  # the calls before were checked
                left[:] = self.function(*place)

        launch = launch_of(steps, self.launcher, what=self.what)
        if launch is None:
            self.launcher = None
            return self.function

        def call(*given: Any) -> Result:
            if inputs:
                torch._foreach_copy_(inputs, [v for v in given if isinstance(v, Tensor)])
            launch()
            return tuple(value.clone() for value in left)

        return call


def cuda_graph(
    steps: Launch,
    optimizer: Optimizer | None = None,
    *,
    device: torch.device,
    generators: Sequence[torch.Generator] = (),
) -> Launch:
    """One CUDA graph of the steps. Its memory is its own; its random numbers are the eager ones.

    The learning rate is read from memory, to which that of the optimizer is written before a
    launch, where it has changed.
    """
    groups: list[dict[str, Any]] = [] if optimizer is None else optimizer.param_groups
    rates = [torch.tensor(float(group["lr"]), device=device) for group in groups]
    own = [(group["lr"], group["capturable"]) for group in groups]
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    for group, rate in zip(groups, rates, strict=True):
        group["lr"], group["capturable"] = rate, True
    try:
        _capture(graph, steps, device)
    except Exception:
        graph.reset()
        with torch.cuda.device(device):
            drawn_from = torch.cuda.default_generators[torch.cuda.current_device()]
        for generator in (drawn_from, *generators):
            _set_free(generator)
        raise
    finally:
        for group, (lr, capturable) in zip(groups, own, strict=True):
            group["lr"], group["capturable"] = lr, capturable
    written = [float(group["lr"]) for group in groups]

    def launch() -> None:
        for i, group in enumerate(groups):
            lr = float(group["lr"])
            if lr != written[i]:
                rates[i].fill_(lr)
                written[i] = lr
        graph.replay()

    return launch


def _capture(graph: torch.cuda.CUDAGraph, steps: Launch, device: torch.device) -> None:
    torch.cuda.synchronize(device)
    side = torch.cuda.Stream(device)  # not that of the first device that had a graph
    # other threads watch over nccl's connections
    capture = torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local")
    # entered twice, since a capture that is broken off does not leave its stream
    with torch.cuda.device(device), torch.cuda.stream(side), capture:
        steps()


def _set_free(generator: torch.Generator) -> None:
    """Let a generator be drawn from that a capture, broken off, may have kept."""
    state = generator.get_state()
    try:
        torch.rand(1, device=generator.device, generator=generator)
        generator.set_state(state)
    except RuntimeError:
        generator.graphsafe_set_state(generator.clone_state())


LAUNCHERS: dict[str, Callable[..., Launch]] = {"cuda": cuda_graph}
"""What makes launches, by the kind of device."""
