"""How much memory there is for data, here or on a device."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import torch

__all__ = ["free_memory", "in_words"]


def free_memory(device: torch.device | None = None) -> int:
    """Bytes that can still be had: of a GPU, or of this machine as far as a process may have it.

    Here it is the least of what the system says is available, of the limit of a container, and of
    the limits of the process (``ulimit -d`` and ``-v``).

    >>> free_memory() > 0
    True
    """
    if device is not None and device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    known = [_available(), _of_container()]
    with suppress(ImportError):  # which Windows has not
        import resource

        for limit in (resource.RLIMIT_DATA, resource.RLIMIT_AS):
            soft = resource.getrlimit(limit)[0]
            if soft != resource.RLIM_INFINITY:
                known.append(soft)
    return min(known)


def _available() -> int:
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    with suppress(AttributeError, OSError, ValueError):
        return int(os.sysconf("SC_PHYS_PAGES")) * int(os.sysconf("SC_PAGE_SIZE"))
    return sys.maxsize


def _of_container() -> int:
    """What is left of the limit of a control group; files that are kept for speed do not count."""
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError, StopIteration):
        most = int((group / "memory.max").read_text())
        lines = (group / "memory.stat").read_text().splitlines()
        own = next(line for line in lines if line.startswith("anon "))
        return max(0, most - int(own.split()[1]))
    return sys.maxsize


def in_words(count: float) -> str:
    """A number of bytes for a reader.

    >>> in_words(6e10), in_words(3e6)
    ('60.0 GB', '3.0 MB')
    """
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
