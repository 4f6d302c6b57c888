"""A recorded graph that does less: the same numbers from fewer operations and less memory."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import GraphModule, Node

__all__ = ["leave_out_what_does_nothing", "reuse_memory", "take_constants_out"]


def leave_out_what_does_nothing(graph: GraphModule) -> None:
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


def reuse_memory(graph: GraphModule) -> None:
    """Write the result of an elementwise operation over an input that nobody reads again.

    The numbers are the same; a step of many particles then passes over a third less memory.
    """
    nodes = list(graph.graph.nodes)
    owner: dict[Node, Node] = {}  # whose memory a tensor lies in
    last: dict[Node, int] = {}  # when that memory is read for the last time
    for place, node in enumerate(nodes):
        of = _shares_memory_of(node)
        owner[node] = owner[of] if of is not None else node
        for given in node.all_input_nodes:
            last[owner[given]] = place
    for place, node in enumerate(nodes):
        in_place = _IN_PLACE.get(node.target)
        if in_place is None or not isinstance(node.args[0], Node):
            continue
        given = node.args[0]
        base = owner[given]
        free = base.op == "call_function" and base.target not in _FILLED and last[base] == place
        also = [other for other in node.all_input_nodes if other is not given]
        if free and not any(owner[other] is base for other in also) and _same_form(given, node):
            node.target = in_place
            owner[node], was = base, owner[node]
            last[base] = last.get(was, place)
            owner.update({n: base for n, o in owner.items() if o is was})
    graph.recompile()


_IN_PLACE: dict[Any, OpOverload] = {
    torch.ops.aten.add.Tensor: torch.ops.aten.add_.Tensor,
    torch.ops.aten.sub.Tensor: torch.ops.aten.sub_.Tensor,
    torch.ops.aten.mul.Tensor: torch.ops.aten.mul_.Tensor,
    torch.ops.aten.div.Tensor: torch.ops.aten.div_.Tensor,
    torch.ops.aten.mul.Scalar: torch.ops.aten.mul_.Scalar,
    torch.ops.aten.div.Scalar: torch.ops.aten.div_.Scalar,
    torch.ops.aten.neg.default: torch.ops.aten.neg_.default,
    torch.ops.aten.exp.default: torch.ops.aten.exp_.default,
    torch.ops.aten.relu.default: torch.ops.aten.relu_.default,
    torch.ops.aten.tanh.default: torch.ops.aten.tanh_.default,
    torch.ops.aten.sigmoid.default: torch.ops.aten.sigmoid_.default,
}
"""Elementwise operations, and what they are in place."""


def _shares_memory_of(node: Node) -> Node | None:
    """The tensor in whose memory the result of an operation lies, if it may lie in one."""
    if node.target is operator.getitem:
        return cast(Node, node.args[0])
    if not isinstance(node.target, OpOverload) or not node.all_input_nodes:
        return None
    schema = node.target._schema
    if any(result.alias_info is not None for result in schema.returns) or schema.is_mutable:
        return node.all_input_nodes[0]
    # may return its input as it is
    return node.all_input_nodes[0] if "to_copy" in node.target.name() else None


def _same_form(given: Node, node: Node) -> bool:
    """Whether the result has the shape, strides and type of the input, each number its own."""
    one, other = given.meta.get("val"), node.meta.get("val")
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return False
    extent = 1 + sum((n - 1) * s for n, s in zip(one.shape, one.stride(), strict=True))
    alike = one.shape == other.shape and one.stride() == other.stride()
    return alike and one.dtype == other.dtype and one.numel() == extent


_FILLED: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.ones_like.default: lambda *_: 1,
    torch.ops.aten.zeros_like.default: lambda *_: 0,
    torch.ops.aten.full_like.default: lambda _, value: value,
    torch.ops.aten.new_zeros.default: lambda *_: 0,
    torch.ops.aten.new_ones.default: lambda *_: 1,
    torch.ops.aten.new_full.default: lambda _, __, value: value,
}
"""Operations that take from a tensor its shape alone: what they fill it with."""


def take_constants_out(graph: GraphModule, given: Mapping[Node, Tensor] | None = None) -> None:
    """Compute once what depends on no input and on no chance, such as where a gradient begins.

    ``given`` are inputs that will always be the tensors they are now.
    """
    known = {node: value for node, value in (given or {}).items() if not _is_written_to(node)}
    inputs = set(known)
    for node in graph.graph.nodes:
        if _is_constant(node, known):
            with torch.no_grad():
                known[node] = _value(node, known)
    for i, (node, value) in enumerate(known.items()):
        if node in inputs or all(user in known for user in node.users):
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
    """Whether an operation in place, or whoever gets the results, may change it or its memory."""
    return any(
        user.op == "output"
        or (
            isinstance(user.target, OpOverload)
            and (user.target._schema.is_mutable or (user.target.is_view and _is_written_to(user)))
        )
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
