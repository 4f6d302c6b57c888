"""One recording of a step, wherever steps repeat: its operations without the Python behind them.

Pyro's handlers take about as long for one datum as for many. A step is run once on fake tensors,
the operations it comes to are written down, and later steps run that list alone: the same
operations on the same numbers in the same order, so values, gradients and random draws agree bit
for bit on a CPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from inference.graph_passes import leave_out_what_does_nothing, reuse_memory, take_constants_out
from pyro_models.errors import UsageError

__all__ = ["Recorded", "places_of"]


class Recorded:
    """The operations of a step, to be run on other inputs of the same shapes; no gradient is kept.

    Parameters
    ----------
    step
        A function of tensors, ``None`` and lists of them to a tuple of tensors; no bound method.
    inputs
        What it is recorded on.
    in_place
        Whether memory that is read no more may be written to: not where the graph is vectorised.
    compiled
        Whether inductor makes fused kernels of the operations: faster, equal up to rounding, and
        with the random numbers of the eager step.
    constants
        Those of the inputs that are the same tensors, unchanged, at every later step: what depends
        on them alone is computed once.

    Attributes
    ----------
    operations
        What runs them, called with the tensors of the inputs alone, in their order.

    Raises
    ------
    UsageError
        If it is to be compiled and no compiler is found.
    Exception
        Of any kind, where the Python of the step depends on values of tensors.

    Examples
    --------
    >>> run = Recorded(lambda x: (x.square().sum(),), [torch.ones(2)])
    >>> run(torch.tensor([1.0, 2.0]))
    (tensor(5.),)
    """

    def __init__(
        self,
        step: Callable[..., tuple[Tensor, ...]],
        inputs: Sequence[Any],
        *,
        in_place: bool = True,
        compiled: bool = False,
        constants: Sequence[Tensor] = (),
    ) -> None:
        leaves, structure = tree_flatten(list(inputs))
        there = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

        def flat(*tensors: Tensor) -> tuple[Tensor, ...]:
            given = dict(zip(there, tensors, strict=True))
            filled = [given.get(i, leaf) for i, leaf in enumerate(leaves)]
            return step(*tree_unflatten(filled, structure))

        tensors = [leaves[i] for i in there]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the recorder, about its own parts
            make = make_fx(flat, tracing_mode="fake", _allow_non_fake_inputs=True)
            self.graph: GraphModule = make(*tensors)
        if any(node.op == "get_attr" for node in _returned(self.graph)):
            raise RuntimeError("its results are tensors of the recording, which no operation made")
        leave_out_what_does_nothing(self.graph)
        places = (node for node in self.graph.graph.nodes if node.op == "placeholder")
        constant = {id(tensor) for tensor in constants}
        given = {n: t for n, t in zip(places, tensors, strict=True) if id(t) in constant}
        take_constants_out(self.graph, given)
        if in_place and not compiled:
            reuse_memory(self.graph)
        self.operations: Callable[..., Any] = self.graph.forward
        if compiled:
            self.operations = _compiled(self.graph, tensors)

    @torch.no_grad()
    def __call__(self, *inputs: Any) -> tuple[Tensor, ...]:
        """What the step returns."""
        return tuple(self.operations(*(t for t in tree_leaves(inputs) if isinstance(t, Tensor))))


def _returned(graph: GraphModule) -> list[Node]:
    return next(node for node in graph.graph.nodes if node.op == "output").all_input_nodes


def _compiled(graph: GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
    """The operations in fused kernels, made once for such shapes and kept on disk by inductor."""
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            from torch import _inductor as inductor  # slow to import, and seldom asked for

            made: Callable[..., Any] = inductor.compile(
                graph, list(inputs), options={"fallback_random": True}
            )
    except Exception as error:  # of many kinds, as the compiler is missing or refuses
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UsageError(
            f"compile=True needs a compiler that works (g++ or clang on a CPU, triton on a GPU): "
            f"{reason}; leave compile out"
        ) from error
    return made


def places_of(module: nn.Module, tensors: Sequence[Tensor]) -> dict[str, int]:
    """Where a module holds some of its tensors: name of the place → index of the tensor.

    For ``functional_call(..., tie_weights=False)``: a module that two others share is entered once,
    or what it held would not be put back; a tensor that two modules hold is given to both.
    """
    index = {id(tensor): i for i, tensor in enumerate(tensors)}
    return {
        f"{prefix}.{name}" if prefix else name: index[id(tensor)]
        for prefix, part in module.named_modules()
        for name, tensor in (*part._parameters.items(), *part._buffers.items())
        if id(tensor) in index
    }
