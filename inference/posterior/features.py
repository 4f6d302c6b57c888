"""The latents of one pair as the data of another: stacked models such as M1 + M2."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from inference.posterior.reconstruction import posterior_sites
from pyro_models import ImageData, Pair, UsageError
from pyro_models.data import Split

__all__ = ["LatentData", "latents_as_data"]


@dataclass(frozen=True, repr=False)
class LatentData(ImageData):
    """Vectors z ~ N(μ, diag σ²): training data drawn anew at each use, the others at their mean.

    Attributes
    ----------
    scales
        σ (N, D) of the training data; the splits hold μ.
    """

    scales: Tensor = field(kw_only=True)

    @property
    def redraws(self) -> bool:
        """Whether each use of a split draws anew."""
        return True

    def draw(self, name: str, generator: torch.Generator, *, limit: int | None = None) -> Split:
        """A split, or its first ``limit`` data; the next draws of ``generator`` if of training."""
        split = self.split(name)
        x, y = split.x[:limit], None if split.y is None else split.y[:limit]
        if name == "train":
            x = x + self.scales[:limit] * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        return Split(x, y)

    def labelled(self) -> LatentData:
        """The same data, of the training data only those with a label."""
        y = self.split("train").y
        data = super().labelled()
        assert isinstance(data, LatentData)
        assert y is not None
        object.__setattr__(data, "scales", self.scales[y >= 0])
        return data


@torch.no_grad()
def latents_as_data(pair: Pair, data: ImageData, *, seed: int = 0) -> LatentData:
    """What a pair infers of data, as data: z ~ q(z | x) for training, E_q[z | x] for the others.

    A second pair can then be learned on it, as M2 on the latents of a VAE (M1) in Kingma et al.
    (2014). Labels go along.

    Parameters
    ----------
    pair
        A pair with one continuous latent site and a Normal guide.
    data
        Its data; random preparations are drawn once, with the seed.
    seed
        Of the preparation.

    Raises
    ------
    UsageError
        If the pair has other latents.

    Examples
    --------
    >>> from pyro_models import VAE, load_data
    >>> vae = VAE((1, 8, 8), latent_dim=5, hidden=[16])
    >>> latents_as_data(vae, load_data("digits"))
    ImageData(digits latents, (5,), train 1,257, validation 180, test 360, grey)
    """
    if [site.discrete for site in pair.latent_sites.values()] != [False]:
        raise UsageError(
            f"latents are taken from a pair with one continuous site; {type(pair).__name__} has "
            f"{', '.join(pair.latent_sites)}"
        )
    (name,) = pair.latent_sites
    like = next(pair.parameters())
    splits, scales = {}, None
    for key in data.splits:
        split = data.prepared(key, seed=seed)
        parts = [posterior_sites(pair, x.to(like), y=None)[name] for x in split.x.split(1000)]
        splits[key] = Split(torch.cat([q.mean for q in parts]).cpu(), split.y)
        if key == "train":
            scales = torch.cat([q.stddev for q in parts]).cpu()
    assert scales is not None
    return LatentData(
        f"{data.name} latents",
        splits,
        num_classes=data.num_classes,
        labels_kept=data.labels_kept,
        scales=scales,
    )
