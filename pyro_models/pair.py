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
import torch
from pyro.infer.elbo import ELBO
from pyro.infer.util import is_validation_enabled
from pyro.poutine import runtime
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor, nn

from pyro_models.errors import UsageError

if TYPE_CHECKING:  # likelihoods are of data, and so use what is here
    from pyro_models.likelihoods import Likelihood

__all__ = [
    "Classifies",
    "CompletesExactly",
    "ConditionsOnPixels",
    "Exact",
    "LatentSite",
    "MayHaveNoMaximum",
    "Pair",
    "StartsFromData",
    "data_plate",
    "fill_unseen",
    "needed_mask",
    "one_hot",
    "pixel_mask",
    "register_with_svi",
]

DATA_PLATE = "data"


@dataclass(frozen=True)
class LatentSite:
    """One unobserved site of a model.

    Attributes
    ----------
    event_shape
        Shape of one datum's value: ``(latent_dim,)``, or ``()`` for a discrete site.
    num_values
        Number of values of a discrete site; ``None`` for a continuous one.
    """

    event_shape: tuple[int, ...]
    num_values: int | None = None

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
        ...

    @property
    def latent_sites(self) -> Mapping[str, LatentSite]:
        """Name of every unobserved site, and what it is."""
        ...

    def decode(self, latents: Mapping[str, Tensor], *, y: Tensor | None = None) -> dict[str, Any]:
        """Distributions of the observed sites given latents with any leading batch dimensions."""
        ...

    def elbo(self) -> ELBO:
        """A new Pyro ELBO of the kind that is right for this pair."""
        ...

    def config(self) -> dict[str, Any]:
        """Plain values that rebuild the pair: ``type(pair)(**pair.config())``."""
        ...

    def parameters(self, recurse: bool = True) -> Any:
        """All parameters, of model and guide."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All tensors, of model and guide."""
        ...


class StartsFromData(Pair, Protocol):
    """A pair that is started from data before it is trained (k-means, the data's mean)."""

    @property
    def started(self) -> bool:
        """Whether the parameters come from data already."""
        ...

    def start_from(self, x: Tensor, *, seed: int = 0) -> str:
        """Start from prepared data (N, \\*data_shape); returns its name, or nothing."""
        ...


class MayHaveNoMaximum(Pair, Protocol):
    """A pair whose likelihood is unbounded for some data, so that training has no end there."""

    def no_maximum(self, x: Tensor) -> str:
        """Why it is for these data, in a line; empty where it has a maximum."""
        ...


class Exact(Pair, Protocol):
    """A pair whose evidence and posterior are known exactly."""

    def exact_log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """log p(x_seen), (B,), nats."""
        ...

    def exact_posterior(self, x: Tensor, mask: Tensor | None = None) -> Any:
        """p(latents | x_seen), batch shape (B,)."""
        ...


class CompletesExactly(Pair, Protocol):
    """A pair that knows p(x_unseen | x_seen) itself, for any mask."""

    def conditional_mean(self, x: Tensor, mask: Tensor) -> Tensor:
        """E[x | x_seen], (B, \\*data_shape); seen pixels are as given."""
        ...

    def conditional_sample(self, x: Tensor, mask: Tensor, *, n: int) -> Tensor:
        """n draws from p(x | x_seen) for each datum, (n, B, \\*data_shape)."""
        ...


class ConditionsOnPixels(Pair, Protocol):
    """A pair of p(x_R | x_C): some pixels C are conditioned on, and only the rest R is modelled.

    ``decode`` takes x as well. Its scores are of p(x_R | x_C) and say so.
    """

    @property
    def given(self) -> str:
        """What is conditioned on, for scores: ``x_left``."""
        ...

    def conditioning(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """C as booleans, (B, \\*data_shape); with a mask, only what is seen of it."""
        ...

    def decode(
        self,
        latents: Mapping[str, Tensor],
        *,
        y: Tensor | None = None,
        x: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> dict[str, Any]:
        """p(x_R | latents, x_C); the pixels of C are point masses at what is given."""
        ...

    def conditioned_on(self, mask: Tensor) -> Pair:
        """The same networks with C = mask for all data: one that it was made for."""
        ...


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
        ...

    def log_label_prior(self, y: Tensor) -> Tensor:
        """log p(y), (B,), nats; 0 where a label is missing."""
        ...

    def classify(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """q(y | x), (B, C)."""
        ...


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
    name = _svi_names.setdefault(module, f"{type(module).__name__}_{next(_counter)}")
    pyro.module(name, module)


def data_plate(x: Tensor | None, n: int | None, like: Tensor) -> pyro.plate:
    """The plate over data, sized by ``x`` or, when generating, by ``n``; on the device of ``like``.

    Raises
    ------
    UsageError
        If both are missing, or there are no data.
    """
    size = n if x is None else x.shape[0]
    if size is None:
        raise UsageError("give x to condition on, or n, the number of data to generate")
    if size < 1:
        raise UsageError(f"there must be at least one datum; got {size}")
    return pyro.plate(DATA_PLATE, size, dim=-1, device=like.device)


def pixel_mask(
    mask: Tensor | None,
    data_shape: tuple[int, ...],
    x: Tensor | None = None,
    *,
    num_data: int | None = None,
) -> Tensor | None:
    """A user's mask as booleans of shape (B, \\*data_shape), or (1, \\*data_shape) if shared.

    Parameters
    ----------
    mask
        True = seen. For images (H, W), (C, H, W), (B, H, W) or (B, C, H, W), where C may be 1; for
        vectors (D,) or (B, D). One value per pixel covers all its channels.
    data_shape
        Shape of one datum.
    x
        The data it goes with, if any: then their number and shape must fit too, and they must be
        numbers with a point, since nothing else has a density.
    num_data
        The number of data it goes with, where these are not at hand.

    Raises
    ------
    UsageError
        If it is no tensor, a value is none of 0 and 1, or its shape fits none of these, or fits
        two: (3, H, W) beside three data of three channels. Or if x does not fit.
    """
    if x is not None:
        _check_data(x, data_shape)
        num_data = len(x)
    if mask is None:
        return None
    if not isinstance(mask, Tensor):
        what = repr(mask) if isinstance(mask, str) else f"a {type(mask).__name__}"
        raise UsageError(
            f"a mask is a tensor, True where a pixel is seen; got {what}: "
            "pyro_models.masks.seen_pixels makes one of a name, a file or an array"
        )
    mask = _as_booleans(mask)
    if len(data_shape) == 3 and mask.shape[-2:] == data_shape[1:]:
        if mask.dim() == 2:
            mask = mask[None, None]
        elif mask.dim() == 3:
            per_channel = mask.shape[0] == data_shape[0]
            if per_channel and num_data == mask.shape[0] > 1:
                raise UsageError(
                    f"a mask of shape {tuple(mask.shape)} may be one per datum or one per channel: "
                    f"give {(num_data, 1, *data_shape[1:])} or {(1, *data_shape)}"
                )
            mask = mask[None] if per_channel else mask[:, None]
    elif mask.dim() == 1 and len(data_shape) == 1:
        mask = mask[None]
    try:
        mask = mask.expand(mask.shape[0], *data_shape)
    except (RuntimeError, IndexError) as error:
        raise UsageError(
            f"a mask of shape {tuple(mask.shape)} does not fit data of shape {data_shape}: give "
            "one value per pixel, or one per datum and pixel"
        ) from error
    if x is not None:
        mask = mask.to(x.device)
    if num_data is not None and len(mask) not in (1, num_data):
        raise UsageError(f"a mask for {len(mask)} data does not fit {num_data} data")
    return mask


def _check_data(x: Tensor, data_shape: tuple[int, ...]) -> None:
    """Refuse what would be stretched to the shape of the data, or computed in whole numbers."""
    if tuple(x.shape[1:]) != tuple(data_shape):
        wanted = ", ".join(map(str, ("B", *data_shape)))
        raise UsageError(f"x of shape {tuple(x.shape)} is no data of shape ({wanted})")
    if not x.is_floating_point():
        raise UsageError(f"x is of numbers with a point; got {x.dtype}: give x.float()")


def needed_mask(
    mask: Tensor | None,
    data_shape: tuple[int, ...],
    x: Tensor | None = None,
    *,
    num_data: int | None = None,
) -> Tensor:
    """:func:`pixel_mask` where nothing can be done without one.

    Raises
    ------
    UsageError
        As :func:`pixel_mask`, or if there is none.
    """
    seen = pixel_mask(mask, data_shape, x, num_data=num_data)
    if seen is None:
        raise UsageError("a mask is needed, True where a pixel is seen; got None")
    return seen


def _as_booleans(mask: Tensor) -> Tensor:
    """A mask of zeros and ones as booleans; booleans are not looked at, which would cost a wait."""
    if mask.dtype == torch.bool:
        return mask
    if mask.is_complex():
        raise UsageError("a mask is 1 (or True) where a pixel is seen and 0 elsewhere; got complex")
    values = mask if mask.is_floating_point() else mask.long()
    seen = values == 1
    wrong = ~(seen | (values == 0))
    if bool(wrong.any()):
        found = float(values[wrong][0])
        hint = " (of a mask of 0 and 255 give mask > 0)" if found == 255 else ""
        raise UsageError(
            f"a mask is 1 (or True) where a pixel is seen and 0 elsewhere; got {found:g}{hint}"
        )
    return seen


def fill_unseen(x: Tensor, mask: Tensor | None) -> Tensor:
    """Put 0 where ``mask`` is False, so that what stood there, NaN included, reaches nothing."""
    return x if mask is None else torch.where(mask, x, x.new_zeros(()))


def one_hot(y: Tensor | None, num_classes: int, *, who: str) -> Tensor:
    """Labels (\\*batch,) as one-hot rows (\\*batch, num_classes) of the default float type.

    Raises
    ------
    UsageError
        If labels are missing (None, or −1), out of range, or no integers.
    """
    if y is None:
        raise UsageError(f"{who} needs labels: pass y, integers 0…{num_classes - 1}, one per datum")
    if y.is_floating_point() or y.dtype == torch.bool:
        raise UsageError(f"{who} needs integer labels; got {y.dtype}")
    # reading values makes a step wait for them; training checks them before the first
    checked = is_validation_enabled() and y.numel()
    if checked and (int(y.min()) < 0 or int(y.max()) >= num_classes):
        raise UsageError(
            f"{who} needs every label in 0…{num_classes - 1}; got values from {int(y.min())} to "
            f"{int(y.max())} (−1 means missing)"
        )
    return nn.functional.one_hot(y.long(), num_classes).to(torch.get_default_dtype())
