"""Which data is it? An identity by content, carried by whatever is stored, scored or compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_models.brief import Brief

__all__ = ["Identity", "checksum", "weights_checksum"]

BATCH = "batch"  # what stands for the name of a split where data are a batch and of none
LENGTH = 32  # hexadecimal digits: 128 bits


@dataclass(frozen=True)
class Identity(Brief):
    """What decides whether two things are of the same data; plain values, all of them.

    ``None`` (or nothing) stands for what does not apply: no mask, no labels used, no seed.

    Attributes
    ----------
    pixels, labels, num_data
        By the name of each split: a checksum of type, shape and values of the pixels, one of the
        labels if these matter, and the number of data. Of numbers on one split, of the data they
        are of.
    split_seed
        Random seed of the split, for data that came as one array.
    preparation, levels
        Name of the pixels' preparation, with its seed where one is drawn, and number of grey
        levels.
    labels_kept
        Count and seed of the training labels that were kept.
    mask, conditioned
        Checksums of what is seen, and of the pixels conditioned on, as booleans of all the data.
    latents
        For latents as data: ``weights`` (a checksum), ``data`` (the identity of the data they are
        of, as plain values) and ``statistic``.
    weights
        A checksum of the model that a number is of, where it belongs to no other.

    Examples
    --------
    >>> from pyro_models import load_data
    >>> one, other = load_data("digits").identity, load_data("digits").with_labels(20).identity
    >>> one.differs_from(one) is None
    True
    >>> other.differs_from(one)
    'labels kept: [20, 0], not none'
    """

    pixels: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    num_data: Mapping[str, int] = field(default_factory=dict)
    split_seed: int | None = None
    preparation: str | None = None
    levels: int | None = None
    labels_kept: tuple[int, int] | None = None
    mask: str | None = None
    conditioned: str | None = None
    latents: Mapping[str, Any] | None = None
    weights: str | None = None

    def differs_from(self, other: Identity) -> str | None:
        """The first thing that differs from another identity, in words; ``None`` if nothing does.

        What explains a difference is named before what follows from it: another seed of the split
        before other pixels of a split, and nothing where the pixels are the same.
        """
        return next(self._differences(other), None)

    def _differences(self, other: Identity) -> Iterator[str]:
        if dict(self.pixels) != dict(other.pixels):
            yield from self._other_pixels(other)
        yield from self._other("labels_kept", "labels kept", other)
        for name in (*self.labels, *other.labels):
            if self.labels.get(name) != other.labels.get(name):
                yield f"other labels{_of(name)}"
        yield from self._other("preparation", "preparation", other)
        yield from self._other("levels", "grey levels", other)
        yield from self._other_mask(other)
        if self.conditioned != other.conditioned:
            yield _other_set("pixels conditioned on", self.conditioned, other.conditioned)
        if self.weights != other.weights:
            yield "other weights of the model"

    def _other(self, name: str, what: str, other: Identity) -> Iterator[str]:
        own, theirs = (_plain(getattr(of, name)) for of in (self, other))
        if own != theirs:
            yield _words(what, own, theirs)

    def _other_pixels(self, other: Identity) -> Iterator[str]:
        if self.latents != other.latents:
            yield _other_latents(self.latents, other.latents)
        yield from self._other("split_seed", "split seed", other)
        if set(self.pixels) != set(other.pixels):
            yield _words("splits", ", ".join(self.pixels), ", ".join(other.pixels))
        for name, count in self.num_data.items():
            if count != other.num_data.get(name):
                yield _words("number of data" + _of(name), count, other.num_data.get(name))
        yield from self._other_mask(other)  # what is unseen counts as 0, so that pixels differ too
        for name, pixels in self.pixels.items():
            if pixels != other.pixels.get(name):
                yield f"other pixels or values{_of(name)}"
        yield "other pixels or values"  # of a split that is not here

    def _other_mask(self, other: Identity) -> Iterator[str]:
        if self.mask != other.mask:
            yield _other_set("mask", self.mask, other.mask, none="everything is seen")

    @classmethod
    def of_batch(
        cls, x: Tensor, *, mask: Tensor | None = None, y: Tensor | None = None, **fields: Any
    ) -> Identity:
        """The identity of a batch x (B, \\*data_shape), 0 where unseen, that a function is given.

        A mask (B, \\*data_shape) that sees all is none, and labels (B,) that are all −1 are none;
        ``fields`` are other attributes of the identity.
        """
        labels = {} if y is None or not bool((y >= 0).any()) else {BATCH: checksum(y)}
        seen = None if mask is None or bool(mask.all()) else checksum(mask.expand(x.shape))
        return cls({BATCH: checksum(x)}, labels, {BATCH: len(x)}, mask=seen, **fields)

    @property
    def checksum(self) -> str:
        """One word for all of it."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; what does not apply is left out."""
        values = {f.name: _plain(getattr(self, f.name)) for f in fields(self)}
        return {name: value for name, value in values.items() if value not in (None, {})}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Identity | None:
        """What :meth:`to_dict` wrote; ``None``, an unknown identity, where nothing was written."""
        if values is None or not isinstance(values.get("pixels"), Mapping):
            return None
        known = {f.name: values[f.name] for f in fields(cls) if f.name in values}
        if known.get("labels_kept") is not None:
            known["labels_kept"] = tuple(known["labels_kept"])
        return cls(**known)


def checksum(values: Tensor) -> str:
    """A checksum of type, shape and values: 128 bits of SHA-256, hexadecimal.

    It does not depend on the device, the strides or the float type: values that float32 holds
    exactly count as float32. Integers count as int64.

    >>> x = torch.tensor([[0.5, 0.25]])
    >>> checksum(x) == checksum(x.double()), checksum(x) == checksum(x.T)
    (True, False)
    """
    x = values.detach().cpu()
    if x.is_floating_point():
        narrow = x.float()
        lost = x.dtype == torch.float64 and bool(((narrow.double() != x) & ~x.isnan()).any())
        x = (x if lost else narrow) + 0  # −0 becomes 0: what compares equal has one checksum
    elif x.dtype != torch.bool:
        x = x.long()
    found = hashlib.sha256(f"{x.dtype} {tuple(x.shape)} ".encode())
    found.update(np.ascontiguousarray(x.numpy()).data)
    return found.hexdigest()[:LENGTH]


def weights_checksum(module: Any, *, config: Mapping[str, Any] | None = None) -> str:
    """A checksum of a module's class, parameters and buffers, and of the options that made it."""
    options = json.dumps(config or {}, sort_keys=True, default=lambda o: type(o).__name__)
    found = hashlib.sha256(f"{type(module).__name__} {options}".encode())
    for name, tensor in module.state_dict().items():
        found.update(f" {name} {checksum(tensor)}".encode())
    return found.hexdigest()[:LENGTH]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _of(name: str) -> str:
    return "" if name == BATCH else f" of the {name} split"


def _words(what: str, own: Any, other: Any) -> str:
    own, other = ("none" if v is None else v for v in (own, other))
    return f"{what}: {own}, not {other}"


def _other_set(what: str, own: str | None, other: str | None, *, none: str = "none") -> str:
    """Of two sets of pixels, whose checksums would tell a reader nothing."""
    if own is not None and other is not None:
        return f"{what}: other pixels"
    return _words(what, *(none if v is None else "some pixels" for v in (own, other)))


def _other_latents(own: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> str:
    if own is None or other is None:
        return "latents: only one of the two are latents of a pair"
    if own.get("weights") != other.get("weights"):
        return "latents: made by other weights"
    if own.get("statistic") != other.get("statistic"):
        return _words("latents", own.get("statistic"), other.get("statistic"))
    mine, theirs = (Identity.from_dict(of.get("data")) for of in (own, other))
    why = mine.differs_from(theirs) if mine is not None and theirs is not None else None
    return f"latents: of other data ({why or 'their identity is unknown'})"
