"""The scores of one pair on one split."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from inference.evaluation.contradictions import without_contradictions
from inference.evaluation.scores import Score
from inference.evaluation.table import Absent, Table, Tabular
from pyro_models import UsageError

__all__ = ["Evaluation"]


@dataclass(frozen=True)
class Evaluation(Tabular):
    """The scores of one pair on one split.

    Attributes
    ----------
    name
        Name of the row it makes in a comparison.
    scores, absent
        Its scores, by the name of their quantity; and those it has no score of, and why.
    per_datum
        The numbers behind the scores, (N,) each; not kept in files.
    """

    name: str
    scores: Mapping[str, Score]
    absent: Mapping[str, str] = field(default_factory=dict)
    per_datum: Mapping[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def _head(self) -> str:
        first = next(iter(self.scores.values()))
        return f"{self.name} on {first.data} {first.split} ({first.num_data:,} data)"

    def __str__(self) -> str:
        return self.to_text().removesuffix("\n")

    def to_text(self) -> str:
        """The scores for a terminal, a line each with all that the number hangs on."""
        scores, absent = without_contradictions(self.scores, self.absent)
        lines = [f"  {score}" for score in scores.values()]
        lines += [f"  {quantity}: none – {why}" for quantity, why in absent.items()]
        return "\n".join([self._head(), *lines]) + "\n"

    @property
    def table(self) -> Table:
        """A row for each quantity, with all that its number hangs on."""
        scores, absent = without_contradictions(self.scores, self.absent)
        return Table(
            heads=[["quantity"], ["value"], ["unit"], ["what it is"]],
            rows=[
                *((name, s.number, s.unit, s.meaning) for name, s in scores.items()),
                *((name, Absent(why), "", "") for name, why in absent.items()),
            ],
            caption=self._head(),
        )

    def to_json(self) -> str:
        """Name, scores and reasons as JSON, which knows no NaN: it is null."""
        scores, absent = without_contradictions(self.scores, self.absent)
        plain = {
            quantity: {k: None if _is_nan(v) else v for k, v in score.to_dict().items()}
            for quantity, score in scores.items()
        }
        content = {"name": self.name, "scores": plain, "absent": absent}
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Evaluation:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        UsageError
            If the text is something else.
        """
        try:
            content = json.loads(text)
            scores = {
                quantity: Score(**{**values, "standard_error": _or_nan(values["standard_error"])})
                for quantity, values in content["scores"].items()
            }
            return cls(content["name"], scores, content["absent"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError("these are not scores of pyro-models; evaluate again") from error


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
