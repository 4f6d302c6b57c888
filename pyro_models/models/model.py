"""p(x, latents) as a Pyro model, of which a family writes the story alone."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import pyro
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_models.device import device_of, like_of, placed
from pyro_models.labels import known_labels
from pyro_models.likelihoods import Likelihood
from pyro_models.pair import data_plate, fill_unseen, pixel_mask, register_with_svi

__all__ = ["Model", "take_parts"]


class Model(nn.Module):
    """p(x, latents) = p(x | latents) p(latents), one independent copy for each datum.

    A family writes :meth:`story`. The rest is done here: the plate over data, placing what is given
    where the parameters are, masks, what stands in unseen pixels, labels, and showing the
    parameters to ``pyro.infer.SVI``.

    Parameters
    ----------
    likelihood
        p(x | latents), of which the story returns the outputs.
    num_classes
        Number of labels that the story is told; ``None`` if it is told none.
    parts
        What else the story needs, networks say: attributes that the class annotates.

    Examples
    --------
    >>> import torch
    >>> from pyro_models.likelihoods import Bernoulli
    >>> class Coins(Model):
    ...     def __init__(self):
    ...         super().__init__(Bernoulli((3,)))
    ...         self.logits = nn.Parameter(torch.zeros(1, 3))
    ...     def story(self, y):
    ...         return self.logits
    >>> Coins()(n=5).shape
    torch.Size([5, 3])
    """

    who: ClassVar[str] = ""  # what to call it in an error, if not by its class

    def __init__(
        self, likelihood: Likelihood, *, num_classes: int | None = None, **parts: Any
    ) -> None:
        super().__init__()
        self.likelihood = likelihood
        self.num_classes = num_classes
        take_parts(self, parts)

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of one datum."""
        return self.likelihood.data_shape

    def story(self, y: Tensor | None) -> Any:
        """Sample the latents, and return what :meth:`decoded` makes of them.

        That is, unless it is overridden, outputs (\\*batch, num_parameters, \\*data_shape) of the
        likelihood. Labels are as :meth:`labels` gives them.
        """
        raise NotImplementedError

    def decoded(self, outputs: Any, mask: Tensor | None = None) -> TorchDistribution:
        """p(x_seen | latents), of what the story returned."""
        return self.likelihood(outputs, mask)

    def labels(self, y: Tensor | None, size: int | None) -> Tensor | None:
        """What the story is told of labels: integers (size,), −1 where missing."""
        if self.num_classes is None:
            return None
        who = self.who or type(self).__name__
        return known_labels(y, self.num_classes, size, device=device_of(self), who=who)

    def told(self, x: Tensor | None, mask: Tensor | None, y: Any, size: int | None) -> Any:
        """What the story is told: of the labels alone, as :meth:`labels` gives them."""
        return self.labels(y, size)

    def forward(
        self,
        x: Tensor | None = None,
        *,
        y: Tensor | None = None,
        n: int | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Tell the story of each datum of x (B, \\*data_shape), or of n new ones.

        y are labels (B,), and the mask is True = seen, as :func:`pyro_models.pair.pixel_mask` takes
        it.
        """
        register_with_svi(self)
        like = like_of(self)
        x = placed(x, like)
        mask = pixel_mask(mask, self.data_shape, x)
        size = n if x is None else len(x)
        told = self.told(x, mask, y, size)
        if size is None and y is not None and isinstance(told, Tensor):
            size = len(told)
        with data_plate(x, size, like):
            p_x = self.decoded(self.story(told), mask)
            return pyro.sample("x", p_x, obs=None if x is None else fill_unseen(x, mask))


def take_parts(module: nn.Module, parts: Mapping[str, Any]) -> None:
    """Let parts of a module be attributes of it, if their names are annotated in its class."""
    known = {name for cls in type(module).__mro__ for name in inspect.get_annotations(cls)}
    for name, part in parts.items():
        if name not in known:
            raise TypeError(f"{type(module).__name__} has no part {name!r}")
        setattr(module, name, part)
