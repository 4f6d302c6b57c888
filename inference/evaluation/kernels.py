"""The Parzen-window estimate of GAN papers, kept to show what it says and what it does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inference.evaluation.quantity import Kind
from inference.evaluation.sigmas import SIGMAS, SigmaCurve, checked_sigmas
from inference.posterior.decoding import Draw
from inference.posterior.reconstruction import generate
from inference.progress import over
from inference.standard_error import mean_and_error, with_error
from pyro_models import Pair, UsageError
from pyro_models.contract import check_pair
from pyro_models.counts import check_counts
from pyro_models.likelihoods.likelihood import LEBESGUE, widened
from pyro_models.observed import Data, observed
from pyro_models.seeds import check_seed, stream

__all__ = ["KernelDensity", "kernel_density"]

BLOCK = 1000


@dataclass(frozen=True, eq=False)
class KernelDensity:
    """log of a kernel density of B data, made of samples of a model.

    Attributes
    ----------
    value, standard_error
        (B,), nats, and what other samples would change.
    curve
        The same of the validation data, against σ.
    num_samples, pixels
        M, and whether samples are E[x | z] or drawn from p(x | z).
    kind
        ``"objective only"``: it is the density of another model, a mixture around M samples with a
        σ of its own. It is far below log p(x) in many dimensions, whatever M, and it orders models
        otherwise (Theis et al. 2016; Wu et al. 2017).
    """

    value: Tensor
    standard_error: Tensor
    curve: SigmaCurve
    num_samples: int
    pixels: Draw
    kind: Kind = "objective only"

    @property
    def sigma(self) -> float:
        """σ of the kernels, the best on the validation data."""
        return self.curve.sigma

    @property
    def mean(self) -> tuple[float, float]:
        """Mean over data, and its standard error over data."""
        return mean_and_error(self.value)

    def __str__(self) -> str:
        return (
            f"kernel density {with_error(*self.mean, digits=1)} nats per datum over "
            f"{len(self.value):,} data ({self.kind}, no log p(x); {self.num_samples:,} samples, "
            f"σ {self.sigma:g}, seed {self.curve.seed})"
        )


def kernel_density(
    pair: Pair,
    x: Data,
    *,
    validation: Data,
    sigmas: Sequence[float] = SIGMAS,
    num_samples: int = 10_000,
    pixels: Draw = "mean",
    seed: int = 0,
    progress: bool = False,
) -> KernelDensity:
    """log (1/M) Σ_m N(x; x_m, σ² I) of samples x_m of a model, σ the best on validation data.

    Parameters
    ----------
    pair
        A pair of continuous data; nothing of it changes.
    x, validation
        Prepared data, (B, \\*data_shape), and those that σ is chosen on.
    sigmas
        Values of σ, in units of the data.
    num_samples, pixels
        M; and whether samples are E[x | z], as G(z) is, or drawn from p(x | z).
    seed, progress
        Random seed of all draws; show a progress bar.

    Raises
    ------
    UsageError
        If a number is out of range, data do not fit, or pixels are unseen.

    Examples
    --------
    >>> from pyro_models import Generator
    >>> gan, x = Generator((5,), latent_dim=2, hidden=[8]), torch.zeros(3, 5)
    >>> kernel_density(gan, x, validation=x, sigmas=(0.5, 1.0), num_samples=100).kind
    'objective only'
    """
    check_pair(pair)
    check_counts(num_samples=num_samples)
    check_seed(seed)
    sigmas = checked_sigmas(sigmas)
    if not str(pair.likelihood.measure).startswith(LEBESGUE):
        raise UsageError(
            f"a kernel density is of real numbers, and the likelihood {pair.likelihood.name} is of "
            "others: use gaussian, of dequantised pixels"
        )
    given = [observed(pair, data) for data in (validation, x)]
    if any(data.half_seen for data in given):
        raise UsageError("a kernel density is of whole data: these have unseen pixels")
    flat = torch.cat([widened(data.x).flatten(1) for data in given])
    centre = flat.mean(0)  # so that squares do not cancel
    sums = _Sums(flat - centre, sigmas)
    blocks = range(0, num_samples, BLOCK)
    for block in over(blocks, unit="blocks of samples", shown=progress):
        n, own = min(BLOCK, num_samples - block), stream(seed, "kernel density", block)
        drawn = generate(pair, n=n, pixels=pixels, seed=own)
        sums.add(widened(drawn).flatten(1) - centre)
    value, error = sums.found(num_samples)
    first = len(given[0])
    by = f"kernel density, {num_samples:,} samples"
    of_validation = value[:, :first], error[:, :first], "objective only", by
    curve = SigmaCurve(sigmas, *of_validation, pair, seed)  # type: ignore[arg-type]
    of_x = value[curve.best, first:], error[curve.best, first:]
    return KernelDensity(*of_x, curve, num_samples, pixels)


class _Sums:
    """Σ_m w_m and Σ_m w_m² of w_m = exp(−‖x − x_m‖² / 2σ²), relative to the heaviest, (S, B)."""

    def __init__(self, x: Tensor, sigmas: Sequence[float]) -> None:
        self.x, self.sigmas = x, sigmas
        first = x.new_zeros(len(sigmas), len(x))
        self.heaviest, self.first, self.second = first - math.inf, first, first.clone()

    def add(self, samples: Tensor) -> None:
        squares = torch.cdist(self.x, samples).square().T
        for s, sigma in enumerate(self.sigmas):
            log_w = squares / (-2 * sigma**2)
            heaviest = torch.maximum(self.heaviest[s], log_w.amax(0))
            before, w = (self.heaviest[s] - heaviest).exp(), (log_w - heaviest).exp_()
            self.first[s] = self.first[s] * before + w.sum(0)
            self.second[s] = self.second[s] * before.square() + w.square_().sum(0)
            self.heaviest[s] = heaviest

    def found(self, count: int) -> tuple[Tensor, Tensor]:
        """Log-densities and their errors, as of :func:`inference.evaluation.relative_error`."""
        size = self.x.shape[1]
        log_c = [0.5 * size * math.log(2 * math.pi * sigma**2) for sigma in self.sigmas]
        value = self.heaviest + (self.first / count).log() - self.x.new_tensor(log_c)[:, None]
        if count == 1:
            return value, torch.full_like(value, math.nan)
        relative = (count * self.second / self.first.square() - 1).clamp_min(0)
        others = (self.first - 1).clamp_min(0) / (count - 1)
        without = (self.first / count).log() - others.log()
        return value, torch.maximum((relative / (count - 1)).sqrt(), without)
