"""One recording of a step, wherever steps repeat: its operations without the Python behind them.

Pyro's handlers take about as long for one datum as for many. A step is run once on fake tensors,
the operations it comes to are written down, and later steps run that list alone: the same
operations on the same numbers in the same order, so values, gradients and random draws agree bit
for bit (dropout alone, which the recording takes apart, draws others).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

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
    compiled
        Whether inductor makes fused kernels of the operations: faster, equal up to rounding, and
        with the random numbers of the eager step.

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
        compiled: bool = False,
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
        _leave_out_what_does_nothing(self.graph)
        _take_constants_out(self.graph)
        self.operations: Callable[..., Any] = self.graph.forward
        if compiled:
            self.operations = _compiled(self.graph, tensors)

    @torch.no_grad()
    def __call__(self, *inputs: Any) -> tuple[Tensor, ...]:
        """What the step returns."""
        return tuple(self.operations(*(t for t in tree_leaves(inputs) if isinstance(t, Tensor))))


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


def _leave_out_what_does_nothing(graph: GraphModule) -> None:
    """Drop operations that return what they are given, under the same shape."""
    aten = torch.ops.aten
    same = (aten.alias.default, aten.detach.default)
    reshaping = (aten.expand.default, aten.view.default, aten._unsafe_view.default)
    for node in graph.graph.nodes:
        if node.target == aten.t.default and node.args[0].target == aten.t.default:
            node.replace_all_uses_with(node.args[0].args[0])
            continue
        if node.op != "call_function" or node.target not in (*same, *reshaping):
            continue
        given, result = node.args[0].meta.get("val"), node.meta.get("val")
        if node.target in same or (
            isinstance(given, Tensor)
            and isinstance(result, Tensor)
            and given.shape == result.shape
            and given.stride() == result.stride()
        ):
            node.replace_all_uses_with(node.args[0])
    graph.graph.eliminate_dead_code()
    graph.recompile()


_FILLED: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.ones_like.default: lambda *_: 1,
    torch.ops.aten.zeros_like.default: lambda *_: 0,
    torch.ops.aten.full_like.default: lambda _, value: value,
    torch.ops.aten.new_zeros.default: lambda *_: 0,
    torch.ops.aten.new_ones.default: lambda *_: 1,
    torch.ops.aten.new_full.default: lambda _, __, value: value,
}
"""Operations that take from a tensor its shape alone: what they fill it with."""


def _take_constants_out(graph: GraphModule) -> None:
    """Compute once what depends on no input and on no chance, such as where a gradient begins."""
    known: dict[Node, Tensor] = {}
    for node in graph.graph.nodes:
        if _is_constant(node, known):
            with torch.no_grad():
                known[node] = _value(node, known)
    for i, (node, value) in enumerate(known.items()):
        if all(user in known for user in node.users):
            continue
        graph.register_buffer(f"_constant_{i}", value, persistent=False)
        with graph.graph.inserting_before(node):
            node.replace_all_uses_with(graph.graph.get_attr(f"_constant_{i}"))
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _is_constant(node: Node, known: Mapping[Node, Tensor]) -> bool:
    if node.op != "call_function" or not isinstance(node.meta.get("val"), Tensor):
        return False
    if _is_written_to(node) or node.meta["val"].numel() > 2**24:
        return False
    if node.target in _FILLED:
        return not any(isinstance(value, Node) for value in node.args[1:])
    operation = node.target
    if not isinstance(operation, OpOverload) or operation._schema.is_mutable:
        return False
    if torch.Tag.nondeterministic_seeded in operation.tags or "empty" in operation.name():
        return False
    return all(given in known for given in node.all_input_nodes)


def _is_written_to(node: Node) -> bool:
    """Whether an operation in place changes it, or what shares its memory."""
    return any(
        isinstance(user.target, OpOverload)
        and (user.target._schema.is_mutable or (user.target.is_view and _is_written_to(user)))
        for user in node.users
    )


def _value(node: Node, known: Mapping[Node, Tensor]) -> Tensor:
    fake: Tensor = node.meta["val"]
    if node.target in _FILLED:
        made = torch.empty_strided(fake.shape, fake.stride(), dtype=fake.dtype, device=fake.device)
        return made.fill_(_FILLED[node.target](*node.args))
    operation: Any = node.target
    args = torch.fx.map_arg(node.args, lambda given: known[given])
    kwargs = torch.fx.map_arg(node.kwargs, lambda given: known[given])
    value: Tensor = operation(*args, **kwargs)
    return value
