"""The command, and small data that most tests of Gaussian processes share."""

import warnings

import pytest
import torch
from torch import Tensor

from gp_bo.cli import main

with warnings.catch_warnings():  # GPyTorch compiles a script when it is imported
    warnings.simplefilter("ignore", FutureWarning)
    import gpytorch  # noqa: F401


@pytest.fixture(scope="session")
def program():
    """As tests/conftest.py calls it."""
    return "gp-bo", main


@pytest.fixture
def surface() -> tuple[Tensor, Tensor]:
    """Twelve noisy values of a function of two inputs, the second in other units."""
    generator = torch.Generator().manual_seed(3)
    X = torch.rand(12, 2, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 40.0])
    noise = torch.randn(12, generator=generator, dtype=torch.float64)
    return X, 5 + 2 * (4 * X[:, 0]).sin() + 0.05 * X[:, 1] + 0.2 * noise
