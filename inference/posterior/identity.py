"""Of which data, labels, pixels and weights a number is, by content and in words."""

from __future__ import annotations

from torch import Tensor

from pyro_models import Pair
from pyro_models.contract import fulfills, module_of
from pyro_models.data import Identity, checksum, weights_checksum
from pyro_models.data.masks import Mask
from pyro_models.observed import Data, Labels, observed
from pyro_models.pair import ConditionsOnPixels
from pyro_models.priors import is_of_guide

__all__ = ["conditions", "given_labels", "identity_of", "model_checksum"]


def identity_of(
    pair: Pair,
    x: Data,
    *,
    mask: Mask | None = None,
    y: Labels | None = None,
    weights: str | None = None,
) -> Identity:
    """What a number of a pair's model on a batch is of, by content: data, mask, labels, weights.

    No mask is one that sees everything, and no label is −1; labels of a pair that has none are
    nothing. Data, mask and labels are any that :func:`pyro_models.observed.observed` takes; the
    weights are a checksum, that of the model as it is unless given.
    """
    data = observed(pair, x, mask=mask, y=y)
    weights = model_checksum(pair) if weights is None else weights
    conditioned = None
    if fulfills(pair, ConditionsOnPixels):
        conditioned = checksum(pair.conditioning(data.x, data.mask))
    y = None if pair.num_classes is None else data.y
    return Identity.of_batch(data.x, mask=data.mask, y=y, weights=weights, conditioned=conditioned)


def model_checksum(pair: Pair) -> str:
    """A checksum of p(x, z): the pair's options and the weights of its model, without its guide's.

    An exact guide, or another one, makes no other model: a pair may name the options of its guide
    alone in ``options_of_guide``. A prior that is made of the guide makes its weights the model's.
    """
    own = getattr(pair, "options_of_guide", ())
    options = {name: value for name, value in pair.config().items() if name not in own}
    module = module_of(pair) if is_of_guide(pair.model) else pair.model
    return weights_checksum(module, config=options)


def conditions(pair: Pair, y: Tensor | None) -> str | None:
    """What a score of the pair is given: labels, pixels, both or nothing."""
    pixels = pair.given if fulfills(pair, ConditionsOnPixels) else ""
    return ", ".join(part for part in (pixels, given_labels(pair, y)) if part) or None


def given_labels(pair: Pair, y: Tensor | None) -> str:
    """``"y"`` if the pair is given labels that it uses, else nothing."""
    return "" if pair.num_classes is None or y is None else "y"
