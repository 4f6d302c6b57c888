"""A graph of operations where no CUDA is: written down once, and run again on the same memory.

It is as strict as one: while it is made nothing runs (what did is put back), nothing may wait for a
value or copy from the host, and every later launch reads and writes the tensors of that time. So a
number that was taken into the graph, an input that is not refilled or a result that is kept shows
here as it would there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pyro_models.seeds import same_generators

__all__ = ["tape"]

_aten = torch.ops.aten
_WAITS = {_aten._local_scalar_dense.default, _aten.nonzero.default, _aten.equal.default}
_FROM_HOST = {"_to_copy", "copy_", "_foreach_copy_"}


class _Tape(TorchDispatchMode):
    """Writes down every operation, and what is overwritten."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.before: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        kwargs = kwargs or {}
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        kinds = {t.device.type for t in given} | {torch.device(kwargs.get("device") or "cpu").type}
        copies = function.overloadpacket.__name__ in _FROM_HOST and len(kinds) > 1
        copied = (copies and given[-1].device.type == "cpu") or (
            function is _aten.lift_fresh.default and given[0].device.type != "cpu"
        )
        if function in _WAITS or copied:
            raise RuntimeError(f"operation not permitted when stream is capturing: {function}")
        for argument, value in zip(function._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self.before += [(t, t.clone()) for t in tree_leaves(value)]
        result = function(*args, **kwargs)
        self.operations.append((function, args, kwargs, result))
        return result

    def put_back(self) -> None:
        for tensor, content in reversed(self.before):
            tensor.copy_(content)

    @torch.no_grad()
    def replay(self) -> None:
        for function, args, kwargs, results in self.operations:
            again = function(*args, **kwargs)
            if all(r.alias_info is None for r in function._schema.returns):
                for old, new in zip(tree_leaves(results), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor):
                        old.copy_(new)


def tape(
    steps: Callable[[], object],
    optimizer: Any = None,
    *,
    device: torch.device,
    generators: Any = (),
) -> Callable[[], object]:
    """Instead of :func:`inference.cuda_graph.cuda_graph`."""
    made = _Tape()
    with same_generators(device):
        try:
            with made:
                steps()
        finally:
            with torch.no_grad():
                made.put_back()
    return made.replay
