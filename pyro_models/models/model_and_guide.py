"""A pair: a model with its guide, and what follows from these two and the constructor's options."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import wraps
from itertools import takewhile
from typing import Any, ClassVar

import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from pyro.infer.elbo import ELBO
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from pyro_models.device import device_of, like_of
from pyro_models.latents import latent_value
from pyro_models.likelihoods import Likelihood
from pyro_models.options import typed_signature
from pyro_models.pair import LatentSite
from pyro_models.seeds import seeded

__all__ = ["ModelAndGuide"]


class ModelAndGuide(nn.Module):
    """A pair of a model p(x, latents) and its guide q(latents | x).

    A family makes both in its constructor, such as a :class:`pyro_models.models.model.Model` and a
    :class:`pyro_models.models.guide.Guide`; what else a pair promises
    (:class:`pyro_models.pair.Pair`) follows here: its sites and what decodes them from the model's
    story, an ELBO that is right for any model, and the options that rebuild it from the
    constructor's signature. Each option is an attribute by its name, unless there is one already.
    """

    called: ClassVar[str]  # what readers call the family, where that is not the name of the class
    num_classes: int | None = None
    data_shape: tuple[int, ...]
    model: Any
    guide: Any
    _own: ClassVar[frozenset[str]]
    _options: dict[str, Any]

    def __init_subclass__(cls, **options: Any) -> None:
        """Let the signature list what a family hands on as ``**options`` too, and keep options."""
        super().__init_subclass__(**options)
        init: Any = cls.__init__
        if not hasattr(init, "keeps_options"):
            cls.__init__ = _keeping_options(cls, init)  # type: ignore[method-assign]
        own = parameters_of(init)
        named = [p for p in own if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        cls._own = frozenset(p.name for p in named)
        if len(named) < len(own):
            named += [p for p in cls._handed_on() if p.name not in cls._own]
        cls.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            sorted(named, key=lambda p: p.kind)
        )

    @classmethod
    def _handed_on(cls) -> list[inspect.Parameter]:
        """Parameters of the family that this one builds on, and of what is mixed in before it."""
        mixed_in = takewhile(lambda base: not issubclass(base, ModelAndGuide), cls.__mro__[1:])
        own = [p for base in mixed_in if "__init__" in vars(base) for p in parameters_of(base)]
        named = [p for p in own if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        return named + list(inspect.signature(cls._family()).parameters.values())

    @classmethod
    def _family(cls) -> type[ModelAndGuide]:
        """The family that this one builds on."""
        return next(base for base in cls.__mro__[1:] if issubclass(base, ModelAndGuide))

    def __init__(self, model: nn.Module, guide: nn.Module) -> None:
        super().__init__()
        self.__dict__.setdefault("_options", {"model": model, "guide": guide})
        for name, value in self.__dict__.pop("_given", {}).items():
            there = getattr(type(self), name, None)
            taken = name in ("model", "guide") or isinstance(there, property) or callable(there)
            if value is not None and not taken and not isinstance(value, nn.Module):
                setattr(self, name, tuple(value) if isinstance(value, list | tuple) else value)
        self.model, self.guide = model, guide
        if type(self).latent_sites is ModelAndGuide.latent_sites:
            self.__dict__["_sites"] = _sites_of(self)

    @property
    def likelihood(self) -> Likelihood:
        """p(x | latents): its measure, the data it may have, and its mean."""
        return self.model.likelihood

    @property
    def title(self) -> str:
        """What readers call the pair in tables and figures: its family, and what was chosen."""
        family = vars(type(self)).get("called", type(self).__name__)
        return ", ".join([family, *self.chosen()])

    def chosen(self) -> list[str]:
        """What of the options tells the pair from others of its family, in a word or two each."""
        return []

    @property
    def latent_sites(self) -> Mapping[str, LatentSite]:
        """The unobserved sites of the model's story."""
        return self.__dict__["_sites"]

    def decode(
        self, latents: Mapping[str, Tensor], *, y: Tensor | None = None
    ) -> dict[str, TorchDistribution]:
        """p(x | latents) for values (\\*batch, \\*event_shape) of every site."""
        like = like_of(self)
        values = {
            name: latent_value(latents, name, site, like)
            for name, site in self.latent_sites.items()
        }
        with poutine.block(), poutine.condition(data=values):
            outputs = self.model.story(y)
        return {"x": self.model.decoded(outputs)}

    def elbo(self) -> ELBO:
        """TraceEnum_ELBO if a site is discrete and the guide is without it, else Trace_ELBO."""
        if any(site.discrete for site in self.latent_sites.values()):
            return TraceEnum_ELBO(max_plate_nesting=1)
        return Trace_ELBO(max_plate_nesting=1)

    def config(self) -> dict[str, Any]:
        """Plain values that rebuild the pair, ``type(pair)(**pair.config())``; objects as such."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in self._options.items()
        }


def _keeping_options(cls: type[ModelAndGuide], init: Any) -> Any:
    """A constructor that keeps its options, and those that it gives to what it builds on."""

    @wraps(init)
    def keeping(self: ModelAndGuide, *args: Any, **options: Any) -> None:
        made = self.__dict__
        try:
            bound = inspect.signature(cls).bind(*args, **options)
        except TypeError as error:
            raise TypeError(f"{cls.__name__}: {error}") from None
        said = set(bound.arguments)
        bound.apply_defaults()
        made.setdefault("_options", dict(bound.arguments))
        for name in said - made.get("_known", said):  # decided by the family above: no option
            made["_options"].pop(name, None)
        made["_known"] = said | cls._own
        made.setdefault("_given", {}).update(bound.arguments)
        init(self, *args, **options)

    keeping.keeps_options = True  # type: ignore[attr-defined]
    return keeping


def parameters_of(function: Any) -> list[inspect.Parameter]:
    """Parameters of a constructor, or of a class."""
    function = vars(function).get("__init__", function) if isinstance(function, type) else function
    return [p for p in typed_signature(function).parameters.values() if p.name != "self"]


def _sites_of(pair: Any) -> dict[str, LatentSite]:
    """The unobserved sites of a pair, found by telling the model's story once."""
    device = device_of(pair)
    y = None if pair.num_classes is None else torch.zeros(1, dtype=torch.long, device=device)
    modes = {part: part.training for part in pair.model.modules()}
    with torch.no_grad(), seeded(0, device):
        pair.model.eval()
        try:
            trace = poutine.trace(pair.model).get_trace(n=1, y=y)
        finally:
            for part, training in modes.items():
                part.training = training
    sites = {}
    for name, site in trace.nodes.items():
        if site["type"] != "sample" or name == "x" or site_is_subsample(site):
            continue
        p, event = site["fn"], tuple(site["fn"].event_shape)
        count = len(p.enumerate_support(expand=False)) if p.has_enumerate_support else None
        sites[name] = LatentSite(event, num_values=count)
    return sites
