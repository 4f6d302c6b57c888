"""Particles that are drawn together and decoded some at a time: the draws do not hang on memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from inference.chunks import numbers_per_particle
from inference.particles import Particles, draw
from inference.sites import traced
from pyro_models import Pair
from pyro_models.observed import Observed
from pyro_models.seeds import alone

__all__ = ["drawn_in_pieces", "for_rows", "log_weights_of"]

Guide = Callable[..., Any]


def drawn_in_pieces(
    pair: Pair, guide: Guide | None, data: Observed, *, num_particles: int, max_elements: int
) -> Iterator[tuple[slice, slice, Particles]]:
    """K particles of every datum: which particles of which data, and these.

    The guide, the pair's own unless given, draws them all at once; of the model's reconstructions
    at most ``max_elements`` numbers are there at a time, but one particle's of one datum at least.
    """
    K, size = num_particles, len(data)
    most = max(1, max_elements // numbers_per_particle(pair))
    if K * size <= most:
        drawn = draw(pair.model, guide or pair.guide, data, num_particles=K)
        yield slice(0, K), slice(0, size), drawn
        return
    with alone():
        sites = traced(guide or pair.guide, data, K).nodes
    values = {
        name: site["value"].expand(K, size, *site["value"].shape[2:])
        for name, site in sites.items()
        if site["type"] == "sample" and not site_is_subsample(site)
    }
    count = max(1, min(K, most // size))
    width = max(1, most // count)
    for start in range(0, K, count):
        k = slice(start, min(start + count, K))
        for first in range(0, size, width):
            rows = slice(first, min(first + width, size))
            own = for_rows(guide, rows) or pair.guide
            with _Given({n: v[k, rows] for n, v in values.items()}):
                drawn = draw(pair.model, own, data[rows], num_particles=k.stop - k.start)
            yield k, rows, drawn


def log_weights_of(
    pair: Pair, guide: Guide | None, data: Observed, *, num_particles: int, max_elements: int
) -> Tensor:
    """log w of K particles of every datum, (K, B), drawn at once and decoded in pieces."""
    options = {"num_particles": num_particles, "max_elements": max_elements}
    parts = [
        (k, rows, drawn.log_weight)
        for k, rows, drawn in drawn_in_pieces(pair, guide, data, **options)
    ]
    if len(parts) == 1:
        return parts[0][2]
    log_w = parts[0][2].new_empty(num_particles, len(data))
    for k, rows, part in parts:
        log_w[k, rows] = part
    return log_w


def for_rows(guide: Guide | None, rows: slice | Tensor) -> Guide | None:
    """A guide for some data: one with parameters of each datum gives their part."""
    select = getattr(guide, "select", None)
    return guide if select is None else select(rows)


class _Given(Messenger):
    """Gives the samples of a guide their values, after plates have expanded their distributions."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.values and not msg["done"]:
            msg["value"], msg["done"] = self.values[msg["name"]], True
