"""Processes that share work: how many, with how many threads, and which GPU each takes."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Iterator
from contextlib import contextmanager

import joblib
import torch
from joblib.parallel import get_active_backend

__all__ = ["device_of_worker", "parallel", "threads"]


def parallel(jobs: int | None) -> joblib.Parallel:
    """Whatever joblib's configuration says, ``jobs`` at a time; results come as they are there."""
    unordered = get_active_backend()[0].supports_return_generator
    return joblib.Parallel(n_jobs=jobs, return_as="generator_unordered" if unordered else "list")


def device_of_worker(device: str | torch.device | None) -> str | torch.device | None:
    """Where there are several CUDA devices, workers take one each, in turn."""
    worker = re.fullmatch(r".*-(\d+)", multiprocessing.current_process().name)
    count = torch.cuda.device_count() if worker and str(device) == "cuda" else 0
    return f"cuda:{(int(worker[1]) - 1) % count}" if worker and count > 1 else device


@contextmanager
def threads(number: int) -> Iterator[None]:
    """So many threads of torch inside, as many as before afterwards."""
    before = torch.get_num_threads()
    try:
        if number != before:
            torch.set_num_threads(number)
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
