"""What the rows of a table of runs are called: by the models, where no two would read alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from pyro_models import Pair
from pyro_models.models import title_of

__all__ = ["titles_of"]


def titles_of(
    pairs: Iterable[tuple[str, Pair]], *, shown: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Titles of models by the names of their runs; a run whose title is another's too has none.

    Parameters
    ----------
    pairs
        The name of each run, and its pair.
    shown
        Names of the rows by those of the runs, where they say more, such as ``vae (3 seeds)`` for
        ``vae``; the title then says it as well.

    Examples
    --------
    >>> from pyro_models import PPCA, VAE
    >>> few, more, vae = PPCA((1, 8, 8)), PPCA((1, 8, 8)), VAE((1, 8, 8))
    >>> titles_of([("a", few), ("b", more), ("c", vae)])
    {'c': 'VAE, dense'}
    """
    found = [(name, title_of(pair)) for name, pair in pairs]
    alike = Counter(title for _, title in found)
    said = {} if shown is None else shown
    return {
        said.get(name, name): title + said.get(name, name).removeprefix(name)
        for name, title in found
        if alike[title] == 1
    }
