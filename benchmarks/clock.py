"""On what device a benchmark computes, and its clock: Python runs ahead of an accelerator."""

from __future__ import annotations

import argparse
import time

import torch

from pyro_models import UsageError
from pyro_models.device import check_device


def add_device(parser: argparse.ArgumentParser) -> None:
    """The option ``--device``, which is a device of this machine."""
    told = "cpu, cuda, cuda:1 or mps (default cpu)"
    parser.add_argument("--device", type=_device, default=torch.device("cpu"), help=told)


def _device(name: str) -> torch.device:
    try:
        return check_device(name)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def seconds(device: torch.device) -> float:
    """Wall-clock time when all that a device was given is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def processor_seconds(device: torch.device) -> float:
    """Time of the processor, which another program takes no part of; of an accelerator, all."""
    return time.process_time() if device.type == "cpu" else seconds(device)


def name_of(device: torch.device) -> str:
    """What the device is called."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
