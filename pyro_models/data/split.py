"""One split of a data set: pixels, labels, what is seen of them, and their checksums."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pyro_models.data.arrays import check_plain
from pyro_models.data.identity import checksum
from pyro_models.data.observed import Observed, labels_for
from pyro_models.data.rows import Rows, sample_of
from pyro_models.errors import UsageError

__all__ = ["Split"]


@dataclass(frozen=True, eq=False)
class Split(Observed):
    """Some data of a set, whose pixels are grey unless they were prepared.

    ``x`` is a tensor (N, \\*data_shape); ``y`` are integers (N,), −1 where missing; ``mask`` is
    True where a pixel was seen, for data of which some never were.
    """

    _checksums: dict[Any, str] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        x, y = self.x, self.y
        if isinstance(x, Rows):
            if self.mask is not None:
                raise UsageError(f"{x.name} is streamed from its file, whole: leave the mask out")
            object.__setattr__(self, "y", labels_for(y, len(x), x.device))
            return
        if not isinstance(x, Tensor):
            kind = type(x).__name__
            raise UsageError(f"a split is of a tensor x; got a {kind}: load_data takes arrays")
        if check_plain(x, "x of a split").dim() < 2:
            raise UsageError(f"x of a split is (N, *data_shape); got shape {tuple(x.shape)}")
        if y is not None and not isinstance(y, Tensor):
            raise UsageError(f"labels are a tensor of integers; got {type(y).__name__}")
        if y is not None and y.shape != (len(x),):
            raise UsageError(f"labels are one per datum, ({len(x)},); got shape {tuple(y.shape)}")
        super().__post_init__()

    @staticmethod
    def of(data: Observed) -> Split:
        """Data as a split of their own."""
        return Split(data.x, data.y, data.mask)

    @property
    def is_streamed(self) -> bool:
        """Whether its pixels are rows of a file that are read when they are needed."""
        return isinstance(self.x, Rows)

    def sample(self) -> Split:
        """Itself; of what is streamed a sample of its data, in memory."""
        return Split.of(self.rows(sample_of(self.x.shape))) if self.is_streamed else self

    def check_grey(self, name: str) -> None:
        """Refuse what is to be prepared and is no real numbers in [0, 1]; looked at once."""
        if self.is_streamed:  # each row is looked at when it is read
            return
        version = None if self.x.is_inference() else self.x._version
        if self._checksums.get("grey", "") == str(version) or not self.x.numel():
            return
        low, high = float(self.x.min()), float(self.x.max())
        if not self.x.is_floating_point() or not (low >= 0 and high <= 1):
            raise UsageError(
                f"{name} holds {self.x.dtype} from {low:g} to {high:g}, and only grey pixels in "
                "[0, 1] can be prepared: load_data makes them, or divide 0…255 by 255"
            )
        self._checksums["grey"] = str(version)

    def same_as(self, other: Split) -> bool:
        """Whether the pixels of another are the same, in the same order."""
        return len(self) == len(other) and self.checksums()[0] == other.checksums()[0]

    def each_checksum(self) -> list[bytes]:
        """A checksum of the pixels of every datum, or of those of the sample."""
        rows = self.sample().x.detach().cpu().float().flatten(1).contiguous().numpy()
        return [hashlib.blake2b(row.data, digest_size=16).digest() for row in rows]

    def checksums(self, limit: int | None = None) -> tuple[str, str | None]:
        """Checksums of pixels and labels of the first ``limit`` data, computed once.

        Anew where a tensor was changed in place since.
        """
        return self._once(self.x, limit), None if self.y is None else self._once(self.y, limit)

    def _once(self, values: Tensor | Rows, limit: int | None) -> str:
        part = values[:limit]
        version: Any = None
        if isinstance(values, Rows):
            version = values.written
        elif not values.is_inference():
            version = values._version
        key = (values is self.x, len(part), version)
        if key not in self._checksums:
            found = part.checksum() if isinstance(part, Rows) else checksum(part)
            self._checksums[key] = found
        return self._checksums[key]
