"""Stretches of computation that leave generators and modules as they were."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

from pyro_models import Pair

__all__ = [
    "alone",
    "device_of",
    "evaluating",
    "generator_states",
    "restore_generators",
    "same_generators",
    "seeded",
    "stream",
    "undisturbed",
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


def stream(seed: int, purpose: str) -> int:
    """A seed for one purpose, so that two uses of one seed do not share their random numbers."""
    sequence = np.random.SeedSequence([seed, *purpose.encode()])
    return int(sequence.generate_state(1)[0])


def device_of(pair: Pair) -> torch.device:
    """Where the pair's parameters are."""
    device: torch.device = next(iter(pair.parameters())).device
    return device


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


@contextmanager
def evaluating(pair: Pair) -> Iterator[None]:
    """Evaluation mode inside, each module's own mode again afterwards; one thread at a time."""
    with alone():
        modes = {m: m.training for part in (pair.model, pair.guide) for m in part.modules()}
        for module in modes:
            module.training = False
        try:
            yield
        finally:
            for module, training in modes.items():
                module.training = training


@contextmanager
def undisturbed(pair: Pair, *, seed: int = 0) -> Iterator[torch.device]:
    """Evaluation mode, no gradients and seeded generators inside; all as before afterwards."""
    device = device_of(pair)
    with evaluating(pair), torch.no_grad(), seeded(seed, device):
        yield device
