"""q(latents | x) as a Pyro guide, of which a family writes the story alone."""

from __future__ import annotations

from typing import Any, ClassVar

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_models.device import like_of, placed
from pyro_models.models.model import take_parts
from pyro_models.pair import data_plate, pixel_mask, register_with_svi
from pyro_models.units import Units

__all__ = ["EmptyGuide", "EncoderGuide", "Guide", "PriorGuide"]


class Guide(nn.Module):
    """q(latents | x, y), for each datum by itself, of data of a shape.

    A family writes :meth:`story`. The rest is done here, as in
    :class:`pyro_models.models.model.Model`; unseen pixels are fed to it as 0, in units of the data.
    There are no units in a guide without a shape, which is fed with what its :meth:`fed` makes of
    x. What else the story needs, networks say, are attributes that the class annotates. Where the
    latents are the pixels themselves, ``unseen`` says what the guide puts where nothing is seen.
    """

    unseen: ClassVar[str] = ""

    def __init__(self, data_shape: tuple[int, ...] | None, **parts: Any) -> None:
        super().__init__()
        if data_shape is not None:
            self.units = Units(tuple(data_shape))
        take_parts(self, parts)

    def story(self, x: Tensor, y: Tensor | None) -> None:
        """Sample the latents given x, (B, \\*data_shape), and its labels."""
        raise NotImplementedError

    def fed(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """What the story is told of x."""
        return self.units(x, seen)

    def labels(self, y: Tensor | None, size: int) -> Tensor | None:
        """What the story is told of labels: as they are given."""
        return y

    def forward(
        self,
        x: Tensor,
        *,
        y: Tensor | None = None,
        n: int | None = None,
        mask: Tensor | None = None,
    ) -> None:
        """Sample the latents of each datum."""
        register_with_svi(self)
        x = placed(x, like_of(self))
        seen = pixel_mask(mask, tuple(x.shape[1:]), x)
        label = self.labels(y, len(x))
        with data_plate(x, n, x):
            self.story(self.fed(x, seen), label)


class EncoderGuide(Guide):
    """q(z | x) from an encoder, or q(z | x, y) from one that is given ``code``s of labels too."""

    encoder: nn.Module
    code: Any

    def labels(self, y: Tensor | None, size: int) -> Tensor | None:
        """One row of code per datum, or one for all."""
        return None if self.code is None else self.code.per_datum(y, size)

    def story(self, x: Tensor, y: Tensor | None) -> None:
        """Sample z given x, and the code of its label."""
        pyro.sample("z", self.posterior(x, y))

    def posterior(self, x: Tensor, code: Tensor | None) -> TorchDistribution:
        """q(z | x, code), x in units of the data."""
        q: TorchDistribution = self.encoder(x) if code is None else self.encoder(x, code)
        return q


class PriorGuide(nn.Module):
    """q(z | x) = p(z), of a model without an encoder: no parameters of its own.

    Its bounds are true and loose, and its latents know nothing of x, which ``blind`` says.
    """

    blind = True
    prior: Any

    def __init__(self, prior: nn.Module) -> None:
        super().__init__()
        self.__dict__["prior"] = prior  # no submodule: the parameters belong to the model alone

    def forward(
        self, x: Tensor, *, n: int | None = None, mask: Tensor | None = None, **given: Any
    ) -> None:
        """Sample z of each datum."""
        pixel_mask(mask, tuple(x.shape[1:]), x)
        with torch.no_grad():
            q_z = self.prior()
        with data_plate(x, n, x):
            pyro.sample("z", q_z)


class EmptyGuide(nn.Module):
    """No guide: every latent site is enumerated in the model."""

    def forward(self, x: Tensor | None = None, **given: Any) -> None:
        """Sample nothing."""
