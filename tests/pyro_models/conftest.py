"""Every test of this folder starts from the same seed."""

import pyro
import pytest


@pytest.fixture(autouse=True)
def _seed() -> None:
    pyro.set_rng_seed(0)
