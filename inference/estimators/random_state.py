"""A seed of ours from what scikit-learn calls a random state."""

from __future__ import annotations

from typing import Any

from sklearn.utils import check_random_state

from pyro_models.counts import is_count
from pyro_models.seeds import check_seed

__all__ = ["seed_of"]


def seed_of(random_state: Any) -> int:
    """The seed itself, or one that is drawn from a ``RandomState``; from NumPy's own for ``None``.

    >>> seed_of(3)
    3
    """
    if is_count(random_state, least=0):
        check_seed(random_state)
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
