"""A recorded step of several copies at once: their tensors are stacked, their draws their own.

Every operation of the record becomes one on stacks of K tensors. What draws random numbers is done
once for each copy, with that copy's generator, in the order of the record: each copy gets the
numbers that it would get alone, and what it computes agrees up to rounding.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor
from torch.fx import GraphModule, Interpreter, Node
from torch.utils._pytree import tree_flatten, tree_unflatten

from inference.record import Recorded

__all__ = ["stacked"]


def stacked(
    graph: GraphModule, inputs: Sequence[Tensor], shared: int, generators: Sequence[Generator]
) -> Recorded:
    """The recorded operations for K copies.

    Parameters
    ----------
    graph
        What is recorded of one copy.
    inputs
        Those of the graph, stacked along a first dimension K, but for the last ``shared`` ones.
    shared
        How many inputs are the same for all copies.
    generators
        One for each copy, on the device.

    Raises
    ------
    Exception
        Of any kind, where an operation is not defined for stacks.

    Examples
    --------
    >>> one = Recorded(lambda x: (x + torch.rand(2),), [torch.zeros(2)])
    >>> seeds = [torch.Generator().manual_seed(s) for s in (0, 1)]
    >>> both = stacked(one.graph, [torch.zeros(2, 2)], 0, seeds)(torch.zeros(2, 2))[0]
    >>> torch.equal(both[1], torch.rand(2, generator=torch.Generator().manual_seed(1)))
    True
    """

    def step(*values: Tensor) -> Any:
        return _OfCopies(graph, len(generators), shared).run(*values)

    made = Recorded(step, list(inputs))
    _give_generators(made.graph, generators)
    made.operations = made.graph.forward
    return made


class _OfCopies(Interpreter):
    """Runs a graph on stacks of K tensors."""

    def __init__(self, graph: GraphModule, count: int, shared: int) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.count = count
        given = [node for node in graph.graph.nodes if node.op == "placeholder"]
        self.along: set[Node] = set(given[: len(given) - shared])

    def run_node(self, n: Node) -> Any:
        """The value of a node: a stack, if it is in ``along``."""
        leaves, structure = tree_flatten((n.args, n.kwargs))
        for leaf in leaves if n.op == "output" else ():
            self._stack(leaf)  # where all copies have the same
        if n.op != "call_function":
            return super().run_node(n)
        op: Any = n.target
        draws = (
            isinstance(op, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in op.tags
        )
        changed = leaves[0] if _changes_its_first(op) else None
        if draws or any(isinstance(leaf, Node) and leaf in self.along for leaf in leaves):
            # a gradient has the form of its first argument
            first = leaves[0] if "backward" in str(op) else None
            for needed in (changed, first):
                if isinstance(needed, Node):
                    self._stack(needed)
            self.along.add(n)
        values = [self.env[leaf] if isinstance(leaf, Node) else leaf for leaf in leaves]

        def of_one(*own: Any) -> Any:
            given = iter(own)
            filled = [next(given) if i in places else value for i, value in enumerate(values)]
            args, kwargs = tree_unflatten(filled, structure)
            return op(*args, **kwargs)

        places = {i for i, at in enumerate(leaves) if isinstance(at, Node) and at in self.along}
        stacks = [values[i] for i in sorted(places)]
        if n not in self.along or op is operator.getitem:
            return of_one(*stacks)
        if draws:
            each = [of_one(*(stack[k] for stack in stacks)) for k in range(self.count)]
            return values[0] if changed is not None else torch.stack(each)
        linear = op is torch.ops.aten.addmm.default and len(stacks) == len(values) == 3
        if linear and stacks[0].dim() == 2:
            return torch.baddbmm(
                stacks[0].unsqueeze(1), *stacks[1:]
            )  # one pass, where vmap has two
        return _over_copies(of_one, stacks)

    def _stack(self, node: Node) -> None:
        """Let each copy have its own of what is about to be changed."""
        if node not in self.along:
            value = self.env[node]
            self.env[node] = value.expand(self.count, *value.shape).clone()
            self.along.add(node)


def _over_copies(of_one: Callable[..., Any], stacks: list[Any]) -> Any:
    """What is computed of each copy, stacked; ``None`` among it stays."""
    found: list[Any] = []

    def tensors(*own: Any) -> tuple[Tensor, ...]:
        leaves, structure = tree_flatten(of_one(*own))
        found[:] = leaves, structure
        return tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))

    given = iter(torch.vmap(tensors)(*stacks))
    leaves, structure = found
    filled = [next(given) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    return tree_unflatten(filled, structure)


def _changes_its_first(op: Any) -> bool:
    return isinstance(op, torch._ops.OpOverload) and op._schema.is_mutable


def _give_generators(graph: GraphModule, generators: Sequence[Generator]) -> None:
    """Let the draws of each copy, which stand in turn, be from its own generator."""
    nodes = graph.graph
    drawing = [
        node
        for node in nodes.nodes
        if isinstance(node.target, torch._ops.OpOverload)
        and torch.Tag.nondeterministic_seeded in node.target.tags
    ]
    for k, generator in enumerate(generators):
        setattr(graph, f"generator_{k}", generator)
    for i, node in enumerate(drawing):
        with nodes.inserting_before(node):
            own = nodes.create_node("get_attr", f"generator_{i % len(generators)}")
        if not any(a.name == "generator" for a in node.target._schema.arguments):
            node.target = node.target.overloadpacket.generator  # rand and its like
        node.kwargs = {**node.kwargs, "generator": own}
    graph.recompile()
