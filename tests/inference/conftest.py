"""Every test of this folder starts from the same seed; the command, and small data they share."""

import pyro
import pytest

from inference.cli import main
from pyro_models import ImageData, load_data
from pyro_models.data import Split


@pytest.fixture(autouse=True)
def _seed() -> None:
    pyro.set_rng_seed(0)


@pytest.fixture(scope="session")
def program():
    """As tests/conftest.py calls it."""
    return "pyro-models", main


@pytest.fixture(scope="session")
def few() -> ImageData:
    """192 / 48 / 48 grey digits."""
    digits = load_data("digits")
    sizes = {"train": 192, "validation": 48, "test": 48}
    splits = {
        name: Split(digits.splits[name].x[:n], digits.splits[name].y[:n])
        for name, n in sizes.items()
    }
    return ImageData("digits", splits, levels=digits.levels, num_classes=10)
