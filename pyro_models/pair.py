"""The contract of a pair, and the few things every pair does in the same way.

A *pair* is a Pyro model p(x, z) with the guide q(z | x) that belongs to it. Whatever learns, infers
or judges (the package ``inference``) knows a pair by this contract alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

import pyro
from pyro.infer.elbo import ELBO
from pyro.poutine import runtime
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor, nn

from pyro_models.counts import is_count
from pyro_models.data.masks import fill_unseen, needed_mask, pixel_mask
from pyro_models.errors import UsageError

if TYPE_CHECKING:  # likelihoods are of data, and so use what is here
    from pyro_models.likelihoods import Likelihood

__all__ = [
    "Classifies",
    "CompletesExactly",
    "ConditionsOnPixels",
    "Diffuses",
    "Exact",
    "LatentSite",
    "MadeOfNoise",
    "MayHaveNoMaximum",
    "Pair",
    "StartsFromData",
    "data_plate",
    "fill_unseen",
    "needed_mask",
    "pixel_mask",
    "register_with_svi",
]

DATA_PLATE = "data"


@dataclass(frozen=True)
class LatentSite:
    """One unobserved site of a model: the shape of one datum's value, () for a discrete site.

    ``num_values`` is the number of values of a discrete site; ``None`` for a continuous one.
    ``why_not_free`` says of a continuous one why no other guide is fitted and no chain is run, as
    its posterior has no density on real vectors; empty where it has.
    """

    event_shape: tuple[int, ...]
    num_values: int | None = None
    why_not_free: str = ""

    @property
    def discrete(self) -> bool:
        """Whether the site takes finitely many values."""
        return self.num_values is not None


class Pair(Protocol):
    """What ``inference`` asks of a model/guide pair; an ``nn.Module`` with these members.

    ``model`` and ``guide`` are modules, both called as ``(x=None, *, y=None, n=None, mask=None)``:
    ``x`` of shape (B, \\*data_shape), ``y`` integer labels (B,), ``n`` the number of data to
    generate when ``x`` is None, ``mask`` True where a pixel is seen. Both put every site inside one
    plate ``"data"`` at dim −1 and use the same site names; the observed site is ``x``. A network
    belongs to exactly one of the two. A guide may be amortised, exact or empty (enumerated sites).
    """

    model: nn.Module
    guide: nn.Module
    data_shape: tuple[int, ...]
    num_classes: int | None

    @property
    def likelihood(self) -> Likelihood:
        """p(x | latents): its measure, its data and its mean."""

    @property
    def latent_sites(self) -> Mapping[str, LatentSite]:
        """Name of every unobserved site, and what it is."""

    def decode(self, latents: Mapping[str, Tensor], *, y: Tensor | None = None) -> dict[str, Any]:
        """Distributions of the observed sites given latents with any leading batch dimensions."""

    def elbo(self) -> ELBO:
        """A new Pyro ELBO of the kind that is right for this pair."""

    def config(self) -> dict[str, Any]:
        """Plain values that rebuild the pair: ``type(pair)(**pair.config())``."""

    def parameters(self, recurse: bool = True) -> Any:
        """All parameters, of model and guide."""

    def state_dict(self) -> dict[str, Any]:
        """All tensors, of model and guide."""


class StartsFromData(Pair, Protocol):
    """A pair that is started from data before it is trained (k-means, the data's mean)."""

    @property
    def started(self) -> bool:
        """Whether the parameters come from data already."""

    def start_from(self, x: Tensor, *, seed: int = 0) -> str:
        """Start from prepared data (N, \\*data_shape); returns its name, or nothing."""


class MayHaveNoMaximum(Pair, Protocol):
    """A pair whose likelihood is unbounded for some data, so that training has no end there."""

    def no_maximum(self, x: Tensor) -> str:
        """Why it is for these data, in a line; empty where it has a maximum."""


class Exact(Pair, Protocol):
    """A pair whose evidence and posterior are known exactly."""

    def exact_log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """log p(x_seen), (B,), nats."""

    def exact_posterior(self, x: Tensor, mask: Tensor | None = None) -> Any:
        """p(latents | x_seen), batch shape (B,)."""


class MadeOfNoise(Pair, Protocol):
    """A pair that makes data of as much noise z by a map with an inverse."""

    def noise(self, x: Tensor) -> Tensor:
        """The z of data, (B, …)."""

    def of_noise(self, z: Tensor) -> Tensor:
        """The data of z with any leading batch dimensions."""


class CompletesExactly(Pair, Protocol):
    """A pair that knows p(x_unseen | x_seen) itself, for any mask."""

    def conditional_mean(self, x: Tensor, mask: Tensor) -> Tensor:
        """E[x | x_seen], (B, \\*data_shape); seen pixels are as given."""

    def conditional_sample(self, x: Tensor, mask: Tensor, *, n: int) -> Tensor:
        """n draws from p(x | x_seen) for each datum, (n, B, \\*data_shape)."""


class ConditionsOnPixels(Pair, Protocol):
    """A pair of p(x_R | x_C): some pixels C are conditioned on, and only the rest R is modelled.

    ``decode`` takes x as well. Its scores are of p(x_R | x_C) and say so.
    """

    @property
    def given(self) -> str:
        """What is conditioned on, for scores: ``x_left``."""

    def conditioning(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """C as booleans, (B, \\*data_shape); with a mask, only what is seen of it."""

    def decode(
        self,
        latents: Mapping[str, Tensor],
        *,
        y: Tensor | None = None,
        x: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> dict[str, Any]:
        """p(x_R | latents, x_C); the pixels of C are point masses at what is given."""

    def conditioned_on(self, mask: Tensor) -> Pair:
        """The same networks with C = mask for all data: one that it was made for."""


class Diffuses(Pair, Protocol):
    """A pair whose bound is a sum over many steps of a chain, of which one can stand for all."""

    def step_bound(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The bound with one step drawn for each datum, (B,), nats; its mean is the ELBO."""

    def noise_error(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Squared error of the noise that is seen in one step of each datum, (B,)."""


class Classifies(Pair, Protocol):
    """A pair whose guide has a classifier q(y | x) that the bound of labelled data leaves out.

    Training maximises, over a batch,

    mean of the bound over all data + α · mean of log q(y | x) over the data with a label.

    Both are means, so α depends neither on the batch size nor on how many labels there are; a batch
    without a label has no second term. In a sum over N data it is α N (Kingma et al. 2014, eq. 9).
    """

    num_classes: int
    classification_weight: float

    def log_label_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """log q(y | x) of the labels y, (B,), nats; 0 where a label is missing (−1)."""

    def log_label_prior(self, y: Tensor) -> Tensor:
        """log p(y), (B,), nats; 0 where a label is missing."""

    def classify(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """q(y | x), (B, C)."""


_counter = itertools.count()
_svi_names: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


def register_with_svi(module: nn.Module) -> None:
    """Show the module's parameters to ``pyro.infer.SVI``, under a name no other module has.

    SVI moves what a param-only trace sees, and trains nothing, silently, when it sees nothing; and
    two modules of one name share tensors in Pyro's global store. Outside such a trace this does
    nothing, so nothing else ever enters that store.
    """
    if not any(isinstance(h, TraceMessenger) and h.param_only for h in runtime._PYRO_STACK):
        return
    pyro.module(_svi_names.setdefault(module, f"{type(module).__name__}_{next(_counter)}"), module)


def data_plate(x: Tensor | None, n: int | None, like: Tensor) -> pyro.plate:
    """The plate over data, as many as of x or, when generating, n; on the device of ``like``."""
    size = n if x is None else x.shape[0]
    if size is None:
        raise UsageError("give x to condition on, or n, the number of data to generate")
    if not is_count(size):
        raise UsageError(f"there must be at least one datum; got {size}")
    return pyro.plate(DATA_PLATE, size, dim=-1, device=like.device)
