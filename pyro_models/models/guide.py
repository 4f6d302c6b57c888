"""q(latents | x) as a Pyro guide, of which a family writes the story alone."""

from __future__ import annotations

from torch import Tensor, nn

from pyro_models.device import like_of, placed
from pyro_models.pair import data_plate, pixel_mask, register_with_svi
from pyro_models.units import Units

__all__ = ["EmptyGuide", "Guide"]


class Guide(nn.Module):
    """q(latents | x, y), for each datum by itself.

    A family writes :meth:`story`. The rest is done here, as in
    :class:`pyro_models.models.model.Model`; unseen pixels are fed to it as 0, in units of the data.

    Parameters
    ----------
    data_shape
        Shape of one datum.
    """

    def __init__(self, data_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.units = Units(tuple(data_shape))

    def story(self, x: Tensor, y: Tensor | None) -> None:
        """Sample the latents given x, (B, \\*data_shape), and its labels."""
        raise NotImplementedError

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
            self.story(self.units(x, seen), label)


class EmptyGuide(nn.Module):
    """No guide: every latent site is enumerated in the model."""

    def forward(
        self,
        x: Tensor | None = None,
        *,
        y: Tensor | None = None,
        n: int | None = None,
        mask: Tensor | None = None,
    ) -> None:
        """Sample nothing."""
