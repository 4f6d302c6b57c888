"""Seeded stretches of computation that leave every global generator as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["generator_states", "restore_generators", "seeded"]


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators inside, and put their states back afterwards."""
    if device.type in ("cuda", "mps"):
        index = device.index or 0
        with torch.random.fork_rng(devices=[index], device_type=device.type):
            torch.manual_seed(seed)
            yield
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield


def generator_states(device: torch.device) -> dict[str, Any]:
    """States of the global generators that sampling on ``device`` uses."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def restore_generators(states: dict[str, Any], device: torch.device) -> None:
    """Put back what :func:`generator_states` returned."""
    torch.set_rng_state(states["cpu"])
    if device.type != "cpu" and device.type in states:
        torch.get_device_module(device).set_rng_state(states[device.type])
