"""Whether an object keeps a contract: a protocol's members, looked for as anyone would use them.

``isinstance`` with a runtime protocol does not tell: from Python 3.12 on it looks attributes up
statically, and so is blind to the submodules, parameters and buffers of an ``nn.Module``, which
its ``__getattr__`` gives. So our protocols are not for ``isinstance``.
"""

from __future__ import annotations

import inspect
from typing import TypeVar

from torch import nn
from typing_extensions import TypeIs, get_protocol_members

from pyro_models.errors import UsageError
from pyro_models.pair import Pair

__all__ = ["check_pair", "fulfills", "has_encoder", "is_of_library", "missing_members", "module_of"]

T = TypeVar("T")


def missing_members(obj: object, contract: type) -> tuple[str, ...]:
    """Members of a protocol that an object lacks, in order of the alphabet.

    A member may be anything that the object gives when asked for it: an attribute of the class or
    of the instance, a slot, a property, a submodule, a parameter or a buffer. What is a method of
    the protocol must be callable; ``None`` in its place says that there is none.

    >>> from pyro_models import VAE
    >>> from pyro_models.pair import Exact
    >>> missing_members(VAE((1, 8, 8)), Exact)
    ('exact_log_prob', 'exact_posterior')
    """
    return tuple(n for n in sorted(get_protocol_members(contract)) if not _has(obj, n, contract))


def fulfills(obj: object, contract: type[T]) -> TypeIs[T]:
    """Whether an object has all members of a protocol.

    >>> from pyro_models import PPCA, VAE
    >>> from pyro_models.pair import Exact
    >>> fulfills(PPCA((5,), latent_dim=2), Exact), fulfills(VAE((1, 8, 8)), Exact)
    (True, False)
    """
    return not isinstance(obj, type) and not missing_members(obj, contract)


def check_pair(pair: object) -> None:
    """Refuse what is no pair, before anything is asked of it: one line says what it lacks."""
    if isinstance(pair, type):
        raise UsageError(f"a pair is needed, and {pair.__name__} is a class: make a pair of it")
    kind = type(pair).__name__
    missing = missing_members(pair, Pair)
    if missing:
        hint = "; give its .pair" if fulfills(getattr(pair, "pair", None), Pair) else ""
        raise UsageError(f"{kind} is no pair: it lacks {', '.join(missing)}{hint}")
    for name in ("model", "guide"):
        part = getattr(pair, name)
        if not isinstance(part, nn.Module):
            raise UsageError(
                f"the {name} of {kind} must be a torch.nn.Module; it is a {type(part).__name__}"
            )


def has_encoder(pair: Pair) -> bool:
    """Whether the pair's own guide knows anything of x; that of a generator is its prior."""
    return not getattr(pair.guide, "blind", False)


def module_of(pair: Pair) -> nn.Module:
    """The pair as the module it must be to be trained, recorded or loaded."""
    if not isinstance(pair, nn.Module):
        raise UsageError(
            f"{type(pair).__name__} is no torch.nn.Module: make it one, to train or to load it"
        )
    return pair


def _has(obj: object, name: str, contract: type) -> bool:
    if not callable(inspect.getattr_static(contract, name, None)):
        return hasattr(obj, name)
    return callable(getattr(obj, name, None))


def is_of_library(pair: Pair) -> bool:
    """Whether a pair and its parts are of this library, whose mistakes are not the user's."""
    parts = (pair, pair.model, pair.guide, pair.likelihood)
    return all(type(part).__module__.startswith("pyro_models.") for part in parts)
