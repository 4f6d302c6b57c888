"""Whether an object keeps a contract: a protocol's members, looked for as anyone would use them.

``isinstance`` with a runtime protocol does not tell: from Python 3.12 on it looks attributes up
statically, and so is blind to the submodules, parameters and buffers of an ``nn.Module``, which
its ``__getattr__`` gives. So our protocols are not for ``isinstance``.
"""

from __future__ import annotations

import inspect
from typing import TypeVar

from typing_extensions import TypeIs, get_protocol_members

__all__ = ["fulfills", "missing_members"]

T = TypeVar("T")


def missing_members(obj: object, contract: type) -> tuple[str, ...]:
    """Members of a protocol that an object lacks, in order of the alphabet.

    A member may be anything that the object gives when asked for it: an attribute of the class or
    of the instance, a slot, a property, a submodule, a parameter or a buffer. What is a method of
    the protocol must be callable; ``None`` in its place says that there is none.

    Parameters
    ----------
    obj
        Any object.
    contract
        A protocol class.

    Examples
    --------
    >>> from pyro_models import VAE
    >>> from pyro_models.pair import Exact
    >>> missing_members(VAE((1, 8, 8)), Exact)
    ('exact_log_prob', 'exact_posterior')
    """
    return tuple(n for n in sorted(get_protocol_members(contract)) if not _has(obj, n, contract))


def fulfills(obj: object, contract: type[T]) -> TypeIs[T]:
    """Whether an object has all members of a protocol.

    Parameters
    ----------
    obj
        Any object.
    contract
        A protocol class.

    Examples
    --------
    >>> from pyro_models import PPCA, VAE
    >>> from pyro_models.pair import Exact
    >>> fulfills(PPCA((5,), latent_dim=2), Exact), fulfills(VAE((1, 8, 8)), Exact)
    (True, False)
    """
    return not isinstance(obj, type) and not missing_members(obj, contract)


def _has(obj: object, name: str, contract: type) -> bool:
    if not callable(inspect.getattr_static(contract, name, None)):
        return hasattr(obj, name)
    return callable(getattr(obj, name, None))
