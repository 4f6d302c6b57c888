"""Where a decoder's outputs start: at PyTorch's default, or at the mean of the data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyro_models.errors import UsageError
from pyro_models.likelihoods import Likelihood
from pyro_models.networks import ConvDecoder, DenseDecoder

__all__ = ["OutputBias"]

STARTS = ("default", "data")


class OutputBias(nn.Module):
    """Remembers whether the output bias is to be set from data, and whether it was.

    A decoder that starts at the mean image need not learn it first (Burda et al. 2016 do so).

    Parameters
    ----------
    start
        ``"default"`` or ``"data"``.
    """

    done: Tensor

    def __init__(self, start: str) -> None:
        super().__init__()
        if start not in STARTS:
            raise UsageError(f"unknown output_bias {start!r}: choose from {', '.join(STARTS)}")
        self.start = start
        self.register_buffer("done", torch.tensor(False))

    @property
    def started(self) -> bool:
        """Whether there is nothing (more) to do."""
        return self.start == "default" or bool(self.done)

    @torch.no_grad()
    def start_from(
        self, x: Tensor, decoder: DenseDecoder | ConvDecoder, likelihood: Likelihood
    ) -> str:
        """Set the bias from prepared data (N, \\*data_shape)."""
        decoder.set_output_bias(x.mean(0), likelihood.outputs_for)
        self.done.fill_(True)
        return "output bias from the mean of the data"
