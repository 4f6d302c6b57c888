"""What the autoencoders share: networks between data and latents, their options and their start."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pyro.infer import TraceMeanField_ELBO
from pyro.infer.elbo import ELBO
from torch import Tensor, nn

from pyro_models.counts import layer_sizes
from pyro_models.device import device_of, like_of
from pyro_models.errors import UsageError, in_one_line
from pyro_models.likelihoods import (
    LIKELIHOODS,
    Bernoulli,
    CrossEntropy,
    Likelihood,
    likelihood_for,
)
from pyro_models.models.model_and_guide import ModelAndGuide, parameters_of
from pyro_models.moments import mean_of, spread_of
from pyro_models.networks import (
    LATENT_SCALES,
    Architecture,
    Encoder,
    make_classifier,
    make_decoder,
    make_encoder,
)
from pyro_models.observed import training_data
from pyro_models.pair import LatentSite
from pyro_models.priors import PRIORS, prior_for
from pyro_models.registry import Registry
from pyro_models.seeds import seeded
from pyro_models.units import set_units

__all__ = ["Autoencoder", "Networks"]

OUTPUT_BIASES = Registry("output_bias", {"default": False, "data": True})
_LATER = frozenset(("encoder", "decoder", "prior", "latent_scale"))  # where they are no default


_USUAL = (Bernoulli, CrossEntropy)  # likelihoods that a title does not say
_OF_NETWORKS = {"conv": "convolutional"}
_OF_PRIORS = {"vamp": "VampPrior"}
_NAMES = {"gaussian": "Gaussian", "bernoulli": "Bernoulli"}


class Networks:
    """The options that all autoencoders have, and what is made of them.

    Parameters
    ----------
    data_shape
        Shape of one datum, (C, H, W) or (D,).
    network
        ``"dense"``, ``"conv"``, or an architecture of one's own.
    hidden
        Layer sizes (dense) or channels (conv) from data to latents; the decoder mirrors them.
    activation
        relu, tanh, softplus, silu, gelu, leaky_relu, gated, or a class of ``torch.nn``; with
        options as ``{class_path: leaky_relu, init_args: {negative_slope: 0.2}}``. Gated layers are
        h = (W x + b) ⊙ σ(V x + c) (Dauphin et al. 2017).
    prior
        p(z), of the topmost z: a name of ``pyro_models.priors.PRIORS`` (standard, mixture, vamp,
        flow), a class, or a module whose call returns a distribution over z of event shape
        (latent_dim,); the standard Normal unless given.
    latent_scale
        How the networks of Normals over latents say σ: ``"softplus"``, or ``"clipped"``, log σ² in
        [−6, 2].
    likelihood
        p(x | z): a name of ``pyro_models.likelihoods.LIKELIHOODS``, a class, or an instance. Like a
        network and a prior it may carry its options in a configuration file:
        ``{class_path: gaussian, init_args: {scale: decoder}}``.
    likelihood_options
        Options of a likelihood that is named, e.g. ``{"scale": "decoder"}``.
    output_bias
        Where the decoder's outputs start: ``"default"``, as PyTorch makes them, or ``"data"``, at
        the mean of the data, once ``fit`` or ``start_from`` has seen them. Then, too, networks get
        the units of data that are far from 0, large or tiny, if the likelihood is Gaussian.
    encoder, decoder
        Modules to use instead. The encoder takes x (B, \\*data_shape), and a context (B, C) if
        there is one, and returns a distribution over z; the decoder takes z, and the context, with
        any leading dimensions, and returns (\\*batch, num_parameters, \\*data_shape).
    """

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        network: str | Mapping[str, Any] | Architecture = "dense",
        hidden: Sequence[int] = (400, 100),
        activation: str | Mapping[str, Any] | type[nn.Module] = "relu",
        prior: str | Mapping[str, Any] | type[nn.Module] | nn.Module | None = None,
        latent_scale: str = "softplus",
        likelihood: str | Mapping[str, Any] | type[Likelihood] | Likelihood = "cross_entropy",
        likelihood_options: Mapping[str, Any] | None = None,
        output_bias: str = "default",
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
    ) -> None:
        OUTPUT_BIASES.check(output_bias)
        LATENT_SCALES.check(latent_scale)
        self.data_shape = tuple(data_shape)
        self.network, self.hidden, self.activation = network, layer_sizes(hidden), activation
        self.likelihood = likelihood_for(likelihood, self.data_shape, likelihood_options)
        self.given_prior, self.latent_scale = prior, latent_scale
        self._encoder, self._decoder = encoder, decoder

    def decoder(self, latent_dim: int, *, context: int = 0) -> Any:
        """From z (and a context) to the outputs of the likelihood."""
        out_shape = (self.likelihood.num_parameters, *self.data_shape)
        if self._decoder is not None:
            return _checked_decoder(self._decoder, latent_dim, out_shape, context=context)
        sizes = (latent_dim, self.hidden, out_shape)
        return make_decoder(self.network, *sizes, context=context, activation=self.activation)

    def encoder(
        self, latent_dim: int, *, context: int = 0, data_shape: tuple[int, ...] | None = None
    ) -> Any:
        """From x (and a context) to a distribution over z."""
        if self._encoder is not None:
            return self._encoder
        return self.normal(latent_dim, context=context, data_shape=data_shape)

    def normal(
        self, latent_dim: int, *, context: int = 0, data_shape: tuple[int, ...] | None = None
    ) -> Encoder:
        """From x (and a context) to a Normal over latents, with no module in its place."""
        sizes = (data_shape or self.data_shape, self.hidden, latent_dim)
        options = {"activation": self.activation, "scale": self.latent_scale, "context": context}
        return make_encoder(self.network, *sizes, **options)  # type: ignore[arg-type]

    def between(self, wide: int, narrow: int, hidden: Sequence[int]) -> Encoder:
        """Dense layers from one vector of latents to a Normal over another."""
        layers, scale = layer_sizes(hidden, name="top_hidden"), self.latent_scale
        kind = self.activation
        return make_encoder("dense", (wide,), layers, narrow, activation=kind, scale=scale)

    def prior(self, latent_dim: int) -> nn.Module:
        """p(z), before it is attached to a guide."""
        return prior_for("standard" if self.given_prior is None else self.given_prior, latent_dim)

    def classifier(self, num_classes: int, hidden: Sequence[int] | None) -> Encoder:
        """From x to logits of its label."""
        layers, kind = self.hidden, self.activation
        if hidden is not None:
            layers = layer_sizes(hidden, name="classifier_hidden", least=0) or layers
        return make_classifier(self.network, self.data_shape, layers, num_classes, activation=kind)


class Autoencoder(ModelAndGuide):
    """A pair with p(x | z, …) by a decoder and q(z | x, …) by an encoder.

    A family names the options of its own in its constructor and takes those of :class:`Networks`
    as ``**shared``; ``defaults`` holds its defaults for them where they are others. Model and guide
    have ``decoder`` and ``encoder``.
    """

    defaults: ClassVar[Mapping[str, Any]] = {}
    in_config: ClassVar[frozenset[str]] = frozenset()  # of later options, even at their defaults
    bias_set: Tensor
    latent_dim: int
    output_bias: str

    @classmethod
    def _handed_on(cls) -> list[inspect.Parameter]:
        """The shared options, with the defaults of this family."""
        if cls._family() is not Autoencoder:
            return super()._handed_on()
        defaults = cls.defaults
        return [p.replace(default=defaults.get(p.name, p.default)) for p in parameters_of(Networks)]

    @classmethod
    def networks(cls, data_shape: Sequence[int], shared: Mapping[str, Any]) -> Networks:
        """What makes the networks of this family."""
        return Networks(data_shape, **{**cls.defaults, **shared})

    def __init__(self, model: nn.Module, guide: nn.Module) -> None:
        for part in model.modules():
            attach: Any = getattr(part, "attach", None)
            if attach is not None:
                attach(guide, num_classes=model.num_classes)
        super().__init__(model, guide)
        self.register_buffer("bias_set", torch.tensor(False))

    @property
    def latent_sites(self) -> Mapping[str, LatentSite]:
        """One continuous site, z."""
        return {"z": LatentSite((self.latent_dim,))}

    def elbo(self) -> ELBO:
        """TraceMeanField_ELBO: the KL term in closed form."""
        return TraceMeanField_ELBO(max_plate_nesting=1)

    @property
    def started(self) -> bool:
        """Whether nothing is to be started from data (any more).

        Images are of pixels in [0, 1]; vectors under a Gaussian likelihood may be in any units.
        """
        any_units = self.likelihood.of_any_scale and len(self.data_shape) == 1
        asked = OUTPUT_BIASES[self.output_bias] or bool(self._of_data)
        return bool(self.bias_set) or not (asked or any_units)

    @property
    def _of_data(self) -> list[Any]:
        """Priors that start from data."""
        return [part for part in self.model.modules() if hasattr(part, "start_from")]

    @torch.no_grad()
    def start_from(self, x: Tensor, *, seed: int = 0) -> str:
        """Start from x as the options say; returns a name for the record, empty if nothing changed.

        With the output bias ``"data"`` the decoder need not learn the mean of x first (as in Burda
        et al. 2016), and a learned σ of the likelihood starts at the spread of x. Units are those
        of :func:`pyro_models.units.units_of`. The pseudo-inputs of a VampPrior start at some of x.
        """
        p_x = self.likelihood
        x = training_data(x, p_x.data_shape).to(device_of(self))
        done = []
        if p_x.of_any_scale and set_units(self, x):
            done.append("units of the data")
        if len(self.data_shape) == 1 and (what := p_x.start_units(x)):
            done.append(what)
        if OUTPUT_BIASES[self.output_bias]:
            decoder = self.model.decoder
            if not hasattr(decoder, "set_output_bias"):
                raise UsageError(
                    f"the decoder {type(decoder).__name__} cannot start at the mean of the data: "
                    "give output_bias default, or it a method set_output_bias(mean, outputs_for)"
                )
            if type(p_x).start_at is not Likelihood.start_at:  # a spread of many takes seconds
                p_x.start_at(spread_of(x))
            decoder.set_output_bias(mean_of(x), p_x.outputs_for)
            done.append("output bias from the mean of the data")
        fed = self.guide.units(x.to(like_of(self).dtype)) if self._of_data else x
        done += [prior.start_from(fed, seed=seed) for prior in self._of_data]
        self.bias_set.fill_(True)
        return ", ".join(done)

    def chosen(self) -> list[str]:
        """The network, and likelihood and prior where these are not the usual ones."""
        options, likelihood = self._options, self.likelihood
        given = options.get("encoder") or options.get("decoder")
        words = ["own networks" if given else _words(options.get("network"), _OF_NETWORKS)]
        if not isinstance(likelihood, _USUAL):
            words.append(_words(LIKELIHOODS.name_of(type(likelihood)) or likelihood))
        if (prior := options.get("prior")) not in (None, "standard"):
            named = PRIORS.name_of(prior) or prior
            words.append(_OF_PRIORS.get(str(named)) or f"{_words(named)} prior")
        return words

    def config(self) -> dict[str, Any]:
        """Plain values that rebuild the pair; what has no name, as it was given."""
        p_x, options = self.likelihood, super().config()
        named = LIKELIHOODS.name_of(type(p_x))
        own = p_x.config() if named else None
        now: dict[str, Any] = {"likelihood": named or p_x, "likelihood_options": own}
        if isinstance(prior := options.get("prior"), type):
            now["prior"] = PRIORS.name_of(prior) or prior
        usual = inspect.signature(type(self)).parameters
        left_out = _LATER - self.in_config
        kept = {k: v for k, v in options.items() if k not in left_out or v != usual[k].default}
        return {name: now.get(name, value) for name, value in kept.items()}


def _checked_decoder(
    decoder: nn.Module, latent_dim: int, out_shape: tuple[int, ...], *, context: int
) -> nn.Module:
    """A decoder of one's own that makes of z, and a context, the outputs of the likelihood."""
    name = type(decoder).__name__
    if not isinstance(decoder, nn.Module):
        raise UsageError(f"a decoder is a torch.nn.Module; got {decoder!r:.60}")
    like = next(decoder.parameters(), torch.zeros((), device="cpu"))
    given = [like.new_zeros(2, size) for size in (latent_dim, context) if size]
    training = {part: part.training for part in decoder.modules()}
    who = f"the decoder {name} of z {tuple(given[0].shape)}"
    try:
        with seeded(0, like.device), torch.no_grad(), in_one_line(who):
            found = decoder.eval()(*given)
    finally:
        for part, was in training.items():
            part.training = was
    shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    if shape != (2, *out_shape):
        raise UsageError(
            f"{who} returned {shape}: it returns (*batch, num_parameters, *data_shape), here "
            f"{(2, *out_shape)}"
        )
    if not bool(found.isfinite().all()):
        raise UsageError(f"{who} returned values that are not finite")
    return decoder


def _words(thing: object, known: Mapping[str, str] | None = None) -> str:
    """What is chosen by a name, with its options or without, in words; of an object, its class."""
    name = thing.get("class_path") if isinstance(thing, Mapping) else thing
    if not isinstance(name, str):
        return name.__name__ if isinstance(name, type) else type(name).__name__
    parts = name.rpartition(":")[2].rpartition(".")[2].split("_")
    return (known or {}).get(name) or " ".join(_NAMES.get(part, part) for part in parts)
