"""CompletionCVAE: p(x_R | x_C), trained for the one task of completing what C leaves open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_models.counts import is_count
from pyro_models.data.masks import MASKS, check_fraction, mask_name, seen_pixels
from pyro_models.device import placed
from pyro_models.errors import UsageError
from pyro_models.latents import latent_value
from pyro_models.likelihoods import Likelihood
from pyro_models.models.autoencoder import Autoencoder
from pyro_models.models.guide import EncoderGuide
from pyro_models.models.model import Model, take_parts
from pyro_models.networks import ConvDecoder, DenseDecoder, Encoder
from pyro_models.pair import fill_unseen, needed_mask, pixel_mask
from pyro_models.registry import check_choice
from pyro_models.seeds import check_seed
from pyro_models.units import Units

__all__ = ["CompletionCVAE"]


class Completed(TorchDistribution):
    """p(x) over whole data of which some pixels C are ``given``: point masses there, density 1.

    ``rest`` is the distribution of the data, with the pixels of C masked out of its density; x is
    what is given, and anything outside C.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012

    def __init__(self, rest: TorchDistribution, given: Tensor, x: Tensor) -> None:
        self.rest, self.given, self.x = rest, given, x
        super().__init__(rest.batch_shape, rest.event_shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """That of the rest."""
        return self.rest.support

    @property
    def mean(self) -> Tensor:
        """E[x], as given in C."""
        return torch.where(self.given, self.x, self.rest.mean)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Draws, as given in C."""
        return torch.where(self.given, self.x, self.rest.sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x_R), (\\*batch,), nats."""
        return self.rest.log_prob(value)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> Completed:
        """The same distribution with a larger batch shape."""
        return Completed(self.rest.expand(torch.Size(batch_shape)), self.given, self.x)


class Conditioning(nn.Module):
    """The sets C: of datum i of a batch it is the i-th, and then the first again.

    No draw decides, so that model and guide, called one after the other, mean the same C; and
    batches that are shuffled in training bring each datum to every set.
    """

    sets: Tensor

    def __init__(self, sets: Tensor) -> None:
        super().__init__()
        self.register_buffer("sets", sets, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """C of each datum, (B, \\*data_shape)."""
        return self.sets[torch.arange(len(x), device=x.device) % len(self.sets)]


def _stacked(x: Tensor, given: Tensor) -> Tensor:
    """Pixels with the mask beside them as more channels (for vectors: more values)."""
    return torch.cat([x, given.to(x.dtype)], dim=1)


class CompletionModel(Model):
    """p(z | x_C) p(x_R | z, x_C); prior and decoder read x_C through the same features."""

    prior: Encoder
    decoder: DenseDecoder | ConvDecoder
    conditioning: Conditioning

    def __init__(self, likelihood: Likelihood, **parts: Any) -> None:
        nn.Module.__init__(self)
        take_parts(self, parts)  # first: so stored optimizers have their parameters
        self.likelihood, self.num_classes = likelihood, None
        self.units = Units(likelihood.data_shape)

    def given(
        self, x: Tensor | None, mask: Tensor | None, size: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x with 0 where unseen, C and R, (size, \\*data_shape) each; without x C is empty."""
        if x is None:
            x = next(self.parameters()).new_zeros(size, *self.likelihood.data_shape)
            nothing = torch.zeros_like(x, dtype=torch.bool)
            return x, nothing, ~nothing
        sets = self.conditioning(x)
        if mask is None:
            return x, sets, ~sets
        return fill_unseen(x, mask), sets & mask, ~sets & mask

    def features(self, x: Tensor, given: Tensor) -> Tensor:
        """What networks see of x_C, (B, features)."""
        return self.prior.features(_stacked(self.units(x, given), given))

    def told(self, x: Tensor | None, mask: Tensor | None, y: Any, size: int | None) -> Any:
        """The features of x_C, x, C and R; labels are ignored."""
        parts = self.given(x, mask, size if size is not None and is_count(size) else 1)
        return self.features(*parts[:2]), *parts

    def story(self, y: Any) -> Any:
        """z given x_C, and what was told with it."""
        return pyro.sample("z", self.prior.head(y[0])), *y

    def decoded(self, outputs: Any, mask: Tensor | None = None) -> TorchDistribution:
        """p(x_R | z, x_C), of the sets C and R."""
        z, features, x, given, rest = outputs
        return Completed(self.likelihood(self.decoder(z, features), rest), given, x)


class CompletionGuide(EncoderGuide):
    """q(z | x, C) from the encoder."""

    conditioning: Conditioning

    def fed(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """All of x, and C beside it."""
        return _stacked(self.units(x, seen), self.conditioning(x))


class CompletionCVAE(Autoencoder):
    """Conditional VAE that completes images (Sohn, Lee & Yan 2015): pixels C given, R to be told.

    log p(x_R | x_C) ≥ E_{q(z|x)}[log p(x_R | z, x_C)] − KL(q(z | x) ‖ p(z | x_C)), per datum, nats.

    It is called with whole data; which pixels are C is an option. A ``mask`` given besides says,
    as everywhere, what is seen: then C and R are what is seen of them. To complete, draw z from
    p(z | x_C), which the model knows, and decode.

    Parameters
    ----------
    data_shape, latent_dim
        Shape of one datum, (C, H, W) or (D,), and dimension of z.
    masks
        The sets C by name (``pyro_models.data.masks.MASKS``). Of several the data of a batch take
        one each in turn, and :meth:`conditioned_on` gives the pair for one of them, for evaluation.
    fraction, mask_seed
        For the set ``random``, the part of the pixels in it, and the seed of their one draw.
    shared
        Options of :class:`pyro_models.models.autoencoder.Networks`.
        Prior, decoder and encoder have layers of the sizes ``hidden``.

    Notes
    -----
    ``model(n=…)`` generates from nothing given, for which it is not trained.

    Examples
    --------
    >>> import torch
    >>> pair = CompletionCVAE((1, 8, 8), masks=["left"], latent_dim=4, hidden=[32])
    >>> x = torch.ones(5, 1, 8, 8)
    >>> mean = pair.decode({"z": torch.zeros(5, 4)}, x=x)["x"].mean
    >>> bool((mean[..., :4] == 1).all()), bool((mean[..., 4:] < 1).all())
    (True, True)
    """

    called = "CVAE for completion"

    defaults = {"hidden": (500,), "likelihood": "bernoulli", "output_bias": "data"}  # noqa: RUF012
    masks: tuple[str, ...]
    fraction: float

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        masks: Sequence[str] = ("left",),
        fraction: float = 0.5,
        mask_seed: int = 0,
        latent_dim: int = 50,
        **shared: Any,
    ) -> None:
        if not masks or len(set(masks)) < len(masks):
            raise UsageError(f"masks needs one or more names, each once; got {list(masks)}")
        for name in masks:
            check_choice("mask", name, [known for known in MASKS if known != "everything"])
        check_fraction(fraction)
        check_seed(mask_seed)
        networks = self.networks(data_shape, shared)
        shape = networks.data_shape
        sets = [seen_pixels(name, shape, fraction=fraction, seed=mask_seed) for name in masks]
        kind = {"conditioning": Conditioning(torch.cat([one.expand(1, *shape) for one in sets]))}
        if bool(kind["conditioning"].sets.flatten(1).all(1).any()):
            raise UsageError("a mask that sees every pixel leaves nothing to complete")
        stacked = (2 * shape[0], *shape[1:])
        if networks.given_prior is not None:
            raise UsageError(
                "the prior of a CompletionCVAE is its network p(z | x_C): leave out prior"
            )
        prior = networks.normal(latent_dim, data_shape=stacked)
        encoder = networks.encoder(latent_dim, data_shape=stacked)
        decoder = networks.decoder(latent_dim, context=prior.features.out_features)
        super().__init__(
            CompletionModel(networks.likelihood, prior=prior, decoder=decoder, **kind),
            CompletionGuide(shape, encoder=encoder, code=None, **kind),
        )

    @property
    def given(self) -> str:
        """What is conditioned on, for scores: ``x_left``, or ``x_left or x_top``."""
        return " or ".join(f"x_{mask_name(m, fraction=self.fraction)}" for m in self.masks)

    def conditioning(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """C as booleans, (B, \\*data_shape); with a mask, only what is seen of it."""
        x = placed(x, next(self.parameters()))
        sets: Tensor = self.model.conditioning(x)
        seen = pixel_mask(mask, self.data_shape, x)
        return sets if seen is None else sets & seen

    def conditioned_on(self, mask: Tensor) -> CompletionCVAE:
        """The same networks with C = mask for all data, a set that the pair was made for."""
        wanted = needed_mask(mask, self.data_shape)
        sets = self.model.conditioning.sets
        same = [bool((wanted.to(one.device) == one).all()) for one in sets]
        if not any(same):
            raise UsageError(
                f"this {type(self).__name__} was made to complete from {', '.join(self.masks)}, "
                "and from no other pixels"
            )
        if len(self.masks) == 1:
            return self
        like = next(self.parameters())
        config = {**self.config(), "masks": [self.masks[same.index(True)]]}
        alone = type(self)(**config).to(like.device, like.dtype)
        alone.load_state_dict(self.state_dict())
        alone.train(self.training)
        return alone

    def decode(
        self,
        latents: Mapping[str, Tensor],
        *,
        y: Tensor | None = None,
        x: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> dict[str, TorchDistribution]:
        """p(x_R | z, x_C) for ``latents["z"]`` (\\*batch, B, latent_dim) and the x_C of x.

        Without x nothing is given, and z may be of any shape (\\*batch, latent_dim).
        """
        like = next(self.parameters())
        x = placed(x, like)
        told = self.model.told(x, pixel_mask(mask, self.data_shape, x), y, 1)
        if x is None:  # the same for any batch, which may have no dimension
            told = tuple(part.squeeze(0) for part in told)
        z = latent_value(latents, "z", self.latent_sites["z"], like)
        return {"x": self.model.decoded((z, *told))}
