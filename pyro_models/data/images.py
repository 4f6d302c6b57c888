"""Data in memory: named splits of pixels and labels, and how they are prepared."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pyro_models.brief import WIDTH, Brief
from pyro_models.counts import is_count
from pyro_models.data.identity import Identity, checksum
from pyro_models.data.masks import Mask, seen_pixels
from pyro_models.data.preparation import (
    AS_GIVEN,
    PREPARATIONS,
    STATIC_SEED,
    is_random,
    prepare,
    words_of_preparation,
)
from pyro_models.data.rows import Rows, in_memory, sample_of
from pyro_models.data.split import Split
from pyro_models.data.table import Table
from pyro_models.errors import UsageError
from pyro_models.registry import check_choice
from pyro_models.seeds import check_seed, stream

__all__ = ["ImageData", "Split"]


@dataclass(frozen=True)
class ImageData(Brief):
    """A data set in memory.

    Attributes
    ----------
    name
        Name that goes with every number computed on it.
    splits
        ``train``, ``validation`` (absent when all training data are used) and ``test``; grey.
    preparation
        Name of the pixel preparation, applied at each use (see ``pyro_models.data.preparation``).
    levels, num_classes
        Number of grey levels, 256 for 8-bit pixels, ``None`` if unknown or not pixels; and of
        labels.
    labels_kept, labelled_only
        Which training labels :meth:`with_labels` has kept, ``(count, seed)``, ``None`` for all; and
        whether :meth:`labelled` has left the training data without a label out.
    split_seed, test_fraction
        Of data that came as one array: the seed of the random split, and the part that was asked
        for as a test split; ``None`` where none was drawn, and for a tenth.
    scaling
        What was done to the values when they were read, in words; empty if nothing.
    source
        Absolute path of the file they are from, a hint where to look for it; ``None`` if from none.
    latents_of
        For latents of a pair as data: the checksum of its ``weights``, the identity of the ``data``
        they are of, and which ``statistic`` of the posterior.
    missing
        ``"unseen"`` where NaN counted as unseen when they were read.
    table
        Of a table: what its columns are.
    """

    name: str
    splits: Mapping[str, Split]
    preparation: str = "grey"
    levels: int | None = None
    num_classes: int | None = None
    labels_kept: tuple[int, int] | None = None
    split_seed: int | None = None
    test_fraction: float | None = None
    labelled_only: bool = False
    scaling: str = ""
    source: str | None = None
    latents_of: Mapping[str, Any] | None = None
    missing: str | None = None
    table: Table | None = None

    def facts(self) -> Mapping[str, object]:
        """Name, shape, sizes of the splits, and how it is prepared."""
        sizes = ", ".join(f"{name} {len(split):,}" for name, split in self.splits.items())
        found: dict[str, object] = {"": self.name, "shape": self.data_shape, "data": sizes}
        more = self._absent_classes().removeprefix(", ")
        kept = None if self.labels_kept is None else self.labels_kept[0]
        found |= {"preparation": self.preparation, "training labels": kept}
        return {**found, "scaling": self.scaling, "labels": more}

    def __post_init__(self) -> None:
        if "train" not in self.splits:
            raise UsageError(f"{self.name} needs a split train; got {', '.join(self.splits)}")
        for kind, split in self.splits.items():
            if (shape := tuple(split.x.shape[1:])) != self.data_shape:
                raise UsageError(
                    f"{self.name}: training data of shape {self.data_shape} and {kind} data of "
                    f"shape {shape} do not go together"
                )

    @property
    def identity(self) -> Identity:
        """What these data are, by the content of all splits, and how their pixels are prepared."""
        return self._identity_of(
            {name: (split, None) for name, split in self.splits.items()},
            labels=True,
            preparation=self.preparation_with_seed(None),
            levels=self.levels,
            labels_kept=self.labels_kept,
        )

    def identity_of(self, name: str, *, limit: int | None = None, labels: bool = False) -> Identity:
        """What the first ``limit`` data of a split are, by the content of their grey pixels.

        All are meant by ``None``; ``labels`` says whether their labels matter too.
        """
        return self._identity_of({name: (self.split(name), limit)}, labels=labels)

    def _identity_of(
        self, parts: Mapping[str, tuple[Split, int | None]], *, labels: bool, **fields: Any
    ) -> Identity:
        found = {name: split.checksums(limit) for name, (split, limit) in parts.items()}
        masks = [split.mask[:limit] for split, limit in parts.values() if split.mask is not None]
        return Identity(
            mask=checksum(torch.cat([seen.flatten() for seen in masks])) if masks else None,
            pixels={name: pixels for name, (pixels, _) in found.items()},
            labels={name: y for name, (_, y) in found.items() if labels and y is not None},
            num_data={name: len(split.x[:limit]) for name, (split, limit) in parts.items()},
            split_seed=self.split_seed,
            latents=self.latents_of,
            **fields,
        )

    @property
    def levels_of_noise(self) -> int | None:
        """Number of levels of dequantised pixels, whose noise is one level wide; else ``None``."""
        return self.levels if self.preparation == "dequantised" else None

    @property
    def prepared_levels(self) -> int | None:
        """Number of levels that prepared pixels have; ``None`` if unknown or not pixels."""
        if self.preparation in ("threshold", "dynamic", "static"):
            return 2
        return self.levels

    def preparation_with_seed(self, seed: int | None) -> str:
        """The preparation in a word, with the seed where its draws follow from one."""
        if self.preparation == "static":
            if self.is_streamed:
                return f"static (seed {STATIC_SEED} and number of each datum)"
            seed = STATIC_SEED
        elif not self.redraws:
            seed = None
        return self.preparation if seed is None else f"{self.preparation} (seed {seed})"

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of one datum, (C, H, W) or (D,)."""
        return tuple(self.splits["train"].x.shape[1:])

    @property
    def is_images(self) -> bool:
        """Whether data are images rather than vectors."""
        return len(self.data_shape) == 3

    @property
    def preparation_in_words(self) -> str:
        """What a datum's numbers are: ``"dequantised pixels"``, or of vectors ``"as given"``."""
        return words_of_preparation(self.preparation if self.is_images else AS_GIVEN)

    def split(self, name: str) -> Split:
        """The grey pixels and labels of a split; refused if there is none of that name."""
        if name not in self.splits:
            known = ", ".join(self.splits)
            raise UsageError(f"{self.name} has no {name} split here; it has {known}")
        return self.splits[name]

    def prepared(self, name: str, *, seed: int = 0, limit: int | None = None) -> Split:
        """A split with its pixels prepared; the same draws for the same seed."""
        return self.draw(name, torch.Generator().manual_seed(seed), limit=limit)

    def draw(
        self,
        name: str,
        generator: torch.Generator,
        *,
        limit: int | None = None,
        rows: Tensor | None = None,
    ) -> Split:
        """A split, its first ``limit`` data or some of its ``rows``, prepared by the next draws."""
        split = self.split(name)
        if self.preparation != "grey":
            split.check_grey(f"the {name} split of {self.name}")
        numbers = None
        if isinstance(split.x, Rows) and self.preparation == "static":
            rows = torch.arange(len(split[:limit])) if rows is None else rows
            numbers = split.x.numbers_of(rows)
        part = split[:limit] if rows is None else split.rows(rows)
        x = in_memory(part.x)
        x = prepare(x, self.preparation, levels=self.levels, generator=generator, numbers=numbers)
        return Split(x, part.y, part.mask)

    def sampled(self, name: str, generator: torch.Generator) -> Split:
        """A split as :meth:`draw` gives it; of what is streamed a sample of its data."""
        x = self.split(name).x
        return self.draw(name, generator, rows=sample_of(x.shape) if isinstance(x, Rows) else None)

    @property
    def is_streamed(self) -> bool:
        """Whether its pixels are in a file, of which rows are read when they are needed."""
        return self.splits["train"].is_streamed

    @property
    def written(self) -> tuple[int, int] | None:
        """Size of the file that is streamed, and when it was written, in nanoseconds."""
        x = self.splits["train"].x
        return x.written if isinstance(x, Rows) else None

    @property
    def redraws(self) -> bool:
        """Whether each use of a split draws its pixels anew."""
        return is_random(self.preparation)

    def with_preparation(self, preparation: str) -> ImageData:
        """The same data prepared in another way; vectors are used as they are alone."""
        check_choice("preparation", preparation, PREPARATIONS)
        if preparation != "grey" and not self.is_images:
            raise UsageError(f"{self.name} holds vectors, not pixels: leave its preparation out")
        return replace(self, preparation=preparation)

    def with_mask(self, mask: Mask, *, fraction: float = 0.5, seed: int = 0) -> ImageData:
        """The same data, of which only some pixels are seen, in every split.

        A name such as ``"left"``, a ``.npy`` file, or an array for one datum, with the fraction of
        the pixels that the mask ``random`` sees of each datum and its seed, says which: see
        :func:`pyro_models.data.masks.seen_pixels`. Data that have a mask already refuse another.
        """
        if self.is_streamed:
            raise UsageError(f"{self.name} is streamed from its file, whole: leave the mask out")
        if any(split.mask is not None for split in self.splits.values()):
            raise UsageError(f"{self.name} says itself what is seen: leave the mask out")
        splits = {}
        for name, split in self.splits.items():
            options: dict[str, Any] = {"num_data": len(split), "fraction": fraction}
            own = stream(seed, f"mask of {name}")
            if self.table is None:
                seen = seen_pixels(mask, self.data_shape, seed=own, **options)
            else:  # the values of a column are seen together
                seen = seen_pixels(mask, (len(self.table.columns),), seed=own, **options)
                seen = self.table.of_values(seen)
            splits[name] = Split(split.x, split.y, seen)
        return replace(self, splits=splits)

    def with_labels(self, labels: int | float, *, seed: int = 0) -> ImageData:
        """The same data with some training labels kept and the others missing (−1).

        They are drawn without replacement, equally many of each class (a class with fewer than its
        share keeps all it has); other splits keep theirs.

        Parameters
        ----------
        labels
            How many: a whole number, or a fraction of the training data (a float in 0…1), rounded
            down to equally many of each class.
        seed
            Random seed of the draw.

        Raises
        ------
        UsageError
            If there are fewer labels, some class has too few, or the number is none that divides
            evenly among the classes.

        Examples
        --------
        >>> from pyro_models import load_data
        >>> y = load_data("digits").with_labels(20).split("train").y
        >>> y[y >= 0].bincount()
        tensor([2, 2, 2, 2, 2, 2, 2, 2, 2, 2])
        """
        split = self.split("train")
        if self.labels_kept is not None:
            raise UsageError("labels were left out of these data already: begin with all of them")
        if split.y is None or self.num_classes is None:
            raise UsageError(f"{self.name} has no labels to keep")
        check_seed(seed)
        y, num_classes = split.y, self.num_classes
        if y.numel() and (most := int(y.max())) >= num_classes:
            raise UsageError(f"labels of {self.name} must lie in 0…{num_classes - 1}; got {most}")
        counts = y[y >= 0].bincount(minlength=num_classes)
        each = _of_each_class(counts, labels, num_data=len(y), name=self.name)
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
        kept = torch.cat([order[y[order] == c][:each] for c in range(num_classes)])
        some = torch.full_like(y, -1)
        some[kept] = y[kept]
        splits = {**self.splits, "train": Split(split.x, some, split.mask)}
        return replace(self, splits=splits, labels_kept=(len(kept), seed))

    def labelled(self) -> ImageData:
        """The same data, of the training data only those with a label."""
        split = self.split("train")
        if split.y is None or not bool((split.y >= 0).any()):
            raise UsageError(f"no training data of {self.name} have a label")
        train = Split.of(split[split.y >= 0])
        return replace(self, splits={**self.splits, "train": train}, labelled_only=True)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(split):,}" for name, split in self.splits.items())
        kept = "" if self.labels_kept is None else f", {self.labels_kept[0]:,} training labels"
        scaling = "" if not self.scaling else f", {self.scaling}"
        more = f"{kept}{scaling}{self._absent_classes()}"
        text = f"ImageData({self.name}, {self.data_shape}, {sizes}, {self.preparation}{more})"
        return textwrap.fill(text, WIDTH, subsequent_indent="    ", break_on_hyphens=False)

    def _absent_classes(self) -> str:
        """Which labels below the number of classes no datum has."""
        known = [s.y.unique() for s in self.splits.values() if s.y is not None]
        count = self.num_classes if known and self.num_classes is not None else 0
        absent = sorted(set(range(count)) - {int(y) for labels in known for y in labels})
        if not absent:
            return ""
        shown = ", ".join(map(str, absent[:5])) + (", …" if len(absent) > 5 else "")
        return f", labels below {self.num_classes} of which none is {shown}"


def _of_each_class(counts: Tensor, labels: int | float, *, num_data: int, name: str) -> int:
    """Most labels that a class keeps; one that has fewer keeps all of its own.

    A number of labels must come out as asked for; a fraction is rounded down.
    """
    if isinstance(labels, float) and not 0 <= labels <= 1:
        raise UsageError(
            f"labels is a whole number of training labels, or a fraction in 0…1; got {labels}"
        )
    if not isinstance(labels, float) and not is_count(labels, least=0):
        raise UsageError(f"labels cannot be negative; got {labels}")
    wanted = int(round(labels * num_data, 6)) if isinstance(labels, float) else labels
    num_classes = len(counts)
    levels = torch.arange(int(counts.max()) + 1)
    totals = torch.minimum(counts, levels.unsqueeze(-1)).sum(-1)
    each = int((totals <= wanted).sum()) - 1
    if isinstance(labels, float) or int(totals[each]) == wanted:
        return each
    if wanted % num_classes:
        raise UsageError(
            f"{labels} labels cannot be shared evenly among {num_classes} classes: give a multiple "
            f"of {num_classes}"
        )
    each = wanted // num_classes
    short = int((counts < each).nonzero()[0])
    raise UsageError(
        f"{name} has {int(counts[short])} training labels of class {short}, and {labels} labels "
        f"would need {each}"
    )
