"""What stands below the title of a report: when, with which versions, and of which data."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

from pyro_models import ImageData

__all__ = ["Colophon", "colophon"]

_PACKAGES = {"pyro-models": "pyro-models", "torch": "torch", "pyro-ppl": "Pyro"}


@dataclass(frozen=True)
class Colophon:
    """A line each: the date, the versions, and the data with the random seed and the device."""

    date: str
    versions: str
    data: str


def colophon(data: ImageData, *, seed: int, device: str) -> Colophon:
    """The colophon of a report that is made now.

    Examples
    --------
    >>> from pyro_models import load_data
    >>> print(colophon(load_data("digits"), seed=0, device="cpu").data.partition(";")[0])
    Data: digits, images of 8×8 pixels with 17 grey levels
    """
    *channels, height, width = data.data_shape
    colours = f" in {channels[0]} channels" if channels and channels[0] > 1 else ""
    levels = f" with {data.levels} grey levels" if data.levels is not None else ""
    sizes = ", ".join(f"{name} {len(split):,}" for name, split in data.splits.items())
    return Colophon(
        date=f"{datetime.now().astimezone():%d %B %Y}".lstrip("0"),
        versions=", ".join(
            [*(f"{word} {_version(name)}" for name, word in _PACKAGES.items()), _python()]
        ),
        data=f"Data: {data.name}, images of {height}×{width} pixels{colours}{levels}; {sizes}. "
        f"Seed {seed}, on {device}.",
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # imported from a checkout that was never installed
        return "of a checkout"


def _python() -> str:
    return f"Python {platform.python_version()}"
