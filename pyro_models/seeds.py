"""Seeds, and the random numbers of a stretch of computation: apart from those of all others."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

from pyro_models.counts import is_count
from pyro_models.errors import UsageError

__all__ = [
    "alone",
    "check_seed",
    "check_seeds",
    "generator_states",
    "restore_generators",
    "same_generators",
    "seeded",
    "stream",
]

# torch's global generators, its default type and Pyro's handlers belong to the whole process
_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def alone() -> Iterator[None]:
    """No other thread is inside; a thread may enter again.

    Whatever samples, or runs a pair under Pyro's handlers, does so inside, so that a pool of
    threads gets the numbers that one thread gets. As ``@alone()`` it is put around a function.
    """
    with _ONE_AT_A_TIME:
        yield


def check_seed(seed: int) -> None:
    """Refuse a seed that NumPy and scikit-learn would not take: it is in 0…2³² − 1."""
    if not is_count(seed, least=0) or seed >= 2**32:
        raise UsageError(f"a seed is a whole number in 0…4294967295; got {seed!r}")


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse seeds that are none, the same twice, or no seeds, saying which."""
    several = isinstance(seeds, Iterable) and not isinstance(seeds, str)
    given = list(seeds) if several else []
    if not given or len(set(given)) < len(given):
        shown = given if several else repr(seeds)
        raise UsageError(f"seeds are one or more whole numbers, each once; got {shown}")
    for seed in given:
        check_seed(seed)


def stream(seed: int, purpose: str, block: int = 0) -> int:
    """A seed for one purpose, so that two uses of one seed do not share their random numbers.

    Each block of the data has one of its own; the first has that of the whole.
    """
    spawned = (block,) if block else ()
    sequence = np.random.SeedSequence([seed, *purpose.encode()], spawn_key=spawned)
    return int(sequence.generate_state(1)[0])


def generator_states(device: torch.device) -> dict[str, Any]:
    """States of the global generators that sampling on ``device`` uses."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        with _current(device) as module:
            states[device.type] = module.get_rng_state()
    return states


def restore_generators(states: dict[str, Any], device: torch.device) -> None:
    """Put back what :func:`generator_states` returned."""
    torch.set_rng_state(states["cpu"])
    if device.type != "cpu" and device.type in states:
        with _current(device) as module:
            module.set_rng_state(states[device.type])


@contextmanager
def same_generators(device: torch.device) -> Iterator[None]:
    """Put the states of the global generators that ``device`` uses back afterwards."""
    states = generator_states(device)
    try:
        yield
    finally:
        restore_generators(states, device)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators that ``device`` uses, and put their states back afterwards.

    No other thread draws from them meanwhile.
    """
    with alone(), same_generators(device):
        torch.default_generator.manual_seed(seed)
        if device.type != "cpu":
            with _current(device) as module:
                module.manual_seed(seed)
        yield


@contextmanager
def _current(device: torch.device) -> Iterator[Any]:
    """The module of the device's kind; inside, what it does is done on this one of several."""
    module = torch.get_device_module(device)
    several = device.index is not None and hasattr(module, "device")
    with module.device(device) if several else nullcontext():
        yield module
