"""A program as a pair of one datum, so that whatever infers for a pair infers for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import pyro
import torch
from pyro.distributions import TorchDistribution
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from torch.distributions import constraints

from inference.programs.program import Program
from inference.programs.sites import LogTerms
from pyro_models.likelihoods import Likelihood
from pyro_models.observed import Observed
from pyro_models.pair import LatentSite, data_plate

__all__ = ["SITE", "ProgramPair"]

SITE = "u"
"""The one latent site: all unconstrained reals of a program, in standard units."""


class ProgramPair(nn.Module):
    """A program as a pair with one datum, the latent ``u`` and the observed site ``x``.

    u, (D,), are the unconstrained reals of the program in standard units, (reals − m) / s: fits
    and chains take steps of about one length in all of them, whatever the scales of the model.
    log p(u) has the Jacobian of this map; bounds and evidence are those of the program.

    Parameters
    ----------
    program
        What is adapted.
    loc, scale
        m and s, each (D,): 0 and 1 unless given.
    minibatches
        Whether subsampled plates draw their data anew at each evaluation.
    jacobian
        Whether log p(u) has log |dθ/du|; without it a maximum is one of log p(x, θ).
    chain_start
        A guide to draw starts of chains from; the prior unless given.
    """

    def __init__(
        self,
        program: Program,
        *,
        loc: Tensor | None = None,
        scale: Tensor | None = None,
        minibatches: bool = False,
        jacobian: bool = True,
        chain_start: nn.Module | None = None,
    ) -> None:
        super().__init__()
        like: dict[str, Any] = {"dtype": program.dtype, "device": program.device}
        self.program, self.minibatches, self.jacobian = program, minibatches, jacobian
        loc = torch.zeros(program.dim, **like) if loc is None else loc.detach()
        scale = torch.ones(program.dim, **like) if scale is None else scale.detach()
        self.loc, self.scale = (nn.Parameter(v, requires_grad=False) for v in (loc, scale))
        self.chain_start = chain_start
        self.num_classes: int | None = None
        self.data_shape: tuple[int, ...] = (1,)
        self.likelihood = _OfProgram(program)
        self.model: nn.Module = _Model(self)
        self.guide: nn.Module = _Model(self, observes=False)

    @property
    def latent_sites(self) -> Mapping[str, LatentSite]:
        """The one site."""
        return {SITE: LatentSite((self.program.dim,))}

    @property
    def data(self) -> Observed:
        """The one datum, which says nothing: the program has its data."""
        return Observed.unchecked(self.loc.new_zeros(1, 1))

    def reals(self, u: Tensor, x: Tensor | None = None) -> Tensor:
        """Unconstrained reals of the program, (\\*batch, D), of u in standard units.

        What x is, (B, \\*data_shape), does not matter here, as the program has its data.
        """
        return self.loc + self.scale * u

    def standard(self, reals: Tensor, x: Tensor | None = None) -> Tensor:
        """u in standard units, (\\*batch, D), of unconstrained reals of the program."""
        return (reals - self.loc) / self.scale

    def like(self, *, minibatches: bool = False, jacobian: bool = True) -> ProgramPair:
        """The same program in the same units, evaluated otherwise."""
        return ProgramPair(
            self.program,
            loc=self.loc,
            scale=self.scale,
            minibatches=minibatches,
            jacobian=jacobian,
            chain_start=self.chain_start,
        )

    @property
    def log_det(self) -> Tensor:
        """log |d reals / du|."""
        return self.scale.log().sum()

    def log_terms(self, u: Tensor, x: Tensor | None = None) -> LogTerms:
        """log p(u) and log p(x | u), each (\\*batch,), nats."""
        terms = self.program.log_terms(
            self.reals(u), minibatches=self.minibatches, jacobian=self.jacobian
        )
        return LogTerms(terms.prior + self.log_det, terms.likelihood)

    def decode(self, latents: Mapping[str, Tensor], *, y: Tensor | None = None) -> dict[str, Any]:
        """The distribution of the observed site given u."""
        return {"x": _Seen(_Known(self, latents[SITE]))}

    def elbo(self) -> Trace_ELBO:
        """Pyro's."""
        return Trace_ELBO()

    def config(self) -> dict[str, Any]:
        """What tells one program from another."""
        return {"program": self.program.checksum}


class _Model(nn.Module):
    """p(u), and p(x | u) unless it is the guide that draws from the prior."""

    pair: ProgramPair

    def __init__(self, pair: ProgramPair, *, observes: bool = True) -> None:
        super().__init__()
        vars(self)["pair"] = pair  # no submodule of its own part
        self.observes = observes

    def forward(
        self,
        x: Tensor | None = None,
        *,
        y: Tensor | None = None,
        n: int | None = None,
        mask: Tensor | None = None,
    ) -> None:
        """Sample u, and observe."""
        known = _Known(self.pair, x=x)
        with data_plate(x, n, self.pair.loc):
            known.u = pyro.sample(SITE, _Prior(known))
            if self.observes:
                pyro.sample("x", _Seen(known), obs=x)


class _Known:
    """Both log densities at the u of one run, computed once for prior and likelihood."""

    def __init__(self, pair: ProgramPair, u: Tensor | None = None, x: Tensor | None = None) -> None:
        self.pair, self.u, self.x = pair, u, x
        self.found: LogTerms | None = None

    def terms(self, u: Tensor) -> LogTerms:
        if u is not self.u:
            return self.pair.log_terms(u, self.x)
        if self.found is None:
            self.found = self.pair.log_terms(u, self.x)
        return self.found


class _Prior(TorchDistribution):
    """p(u), with the moments of standard units."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector

    def __init__(self, known: _Known, batch_shape: tuple[int, ...] = ()) -> None:
        self.known = known
        event = torch.Size((known.pair.program.dim,))
        super().__init__(torch.Size(batch_shape), event, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> _Prior:
        return _Prior(self.known, torch.Size(batch_shape))

    @property
    def mean(self) -> Tensor:
        return self.known.pair.loc.new_zeros(self.shape())

    @property
    def variance(self) -> Tensor:
        return self.known.pair.loc.new_ones(self.shape())

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape, pair = self.shape(sample_shape), self.known.pair
        reals = pair.program.draw_prior(math.prod(shape[:-1]))
        return pair.standard(reals.reshape(shape), self.known.x)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.known.terms(value).prior


class _Seen(TorchDistribution):
    """p(x | u) of the program's data, whatever stands for x."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector

    def __init__(self, known: _Known, batch_shape: torch.Size | None = None) -> None:
        assert known.u is not None
        self.known, shape = known, known.u.shape[:-1] if batch_shape is None else batch_shape
        super().__init__(shape, torch.Size((1,)), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> _Seen:
        return _Seen(self.known, torch.Size(batch_shape))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.known.pair.loc.new_zeros(self.shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        assert self.known.u is not None
        return self.known.terms(self.known.u).likelihood


class _OfProgram(Likelihood):
    """The measure of a program's data is that of its own distributions."""

    name = "program"
    measure = "the program's own"
    preparation = "as given"

    def __init__(self, program: Program) -> None:
        super().__init__((1,))
        values = sum(value.numel() for value in program.observed.values())
        self.num_parameters = max(1, values) * math.prod(program.discrete.values())

    def check(self, x: Tensor, mask: Tensor | None = None) -> None:
        """The data were looked at where the program was made."""
