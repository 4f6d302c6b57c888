"""The scores of one pair on one split: every quantity that there is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from inference.blocks import spread
from inference.chunks import MAX_ELEMENTS
from inference.evaluation import quantities as _quantities  # noqa: F401 - registers them
from inference.evaluation import samples as _samples  # noqa: F401 - registers them
from inference.evaluation.estimates import LogWeights, log_weights
from inference.evaluation.evaluated import Evaluated, ScoredData, evaluated_split
from inference.evaluation.quantity import QUANTITIES, quantities_of, quantity_named
from inference.evaluation.scores import Score, without_contradictions
from inference.evaluation.table import Absent, Table, Tabular, in_lines
from inference.isolated import isolated
from inference.learning.tempered import words_of_beta
from inference.particles import checked_count
from inference.posterior.identity import conditions, given_labels, identity_of
from inference.posterior.log_density import log_label_prior
from inference.precision import DEFAULT, at_precision, precision_of
from inference.progress import bar
from pyro_models import ImageData, Pair
from pyro_models.contract import fulfills
from pyro_models.data import as_data, checksum
from pyro_models.errors import UsageError, in_one_line
from pyro_models.models import title_of
from pyro_models.observed import Data
from pyro_models.pair import Classifies, ConditionsOnPixels
from pyro_models.seeds import stream

__all__ = ["Evaluation", "evaluate"]


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
    note
        What must be said beside them, such as ``trained with β = 4``; mostly empty.
    """

    name: str
    scores: Mapping[str, Score]
    absent: Mapping[str, str] = field(default_factory=dict)
    per_datum: Mapping[str, Tensor] = field(default_factory=dict, repr=False, compare=False)
    note: str = ""

    def facts(self) -> Mapping[str, object]:
        """What it is of, and its scores."""
        scores, absent = without_contradictions(self.scores, self.absent)
        numbers = {name: f"{s.number} {s.unit}".rstrip() for name, s in scores.items()}
        return {"": self._head(), **numbers, "none of": list(absent)}

    def _head(self) -> str:
        note = f"; {self.note}" if self.note else ""
        for first in self.scores.values():
            return f"{self.name} on {first.data} {first.split} ({first.num_data:,} data){note}"
        return f"{self.name}{note}"

    def __str__(self) -> str:
        return self.to_text().removesuffix("\n")

    def to_text(self, width: int | None = None) -> str:
        """The scores for a terminal, a line each with all that the number hangs on."""
        scores, absent = without_contradictions(self.scores, self.absent)
        lines = [f"  {score}" for score in scores.values()]
        lines += [f"  {quantity}: none – {why}" for quantity, why in absent.items()]
        return "\n".join([self._head(), *in_lines(lines, width)]) + "\n"

    @property
    def table(self) -> Table:
        """A row for each quantity, with all that its number hangs on."""
        scores, absent = without_contradictions(self.scores, self.absent)
        numbers = [(s.of.title, s.number, s.unit, s.meaning) for s in scores.values()]
        missing = [
            (quantity_named(name).title, Absent(why), "", "") for name, why in absent.items()
        ]
        return Table(
            heads=[["quantity"], ["value"], ["unit"], ["what it is"]],
            rows=[*numbers, *missing],
            caption=self._head(),
            records=self._records(scores, absent),
        )

    def _records(
        self, scores: Mapping[str, Score], absent: Mapping[str, str]
    ) -> list[list[object]]:
        """A line for each quantity by its name: the value and its error, or why there is none."""
        lines: list[list[object]] = [
            ["quantity", "value", "standard_error", "unit", "what it is", "reason"]
        ]
        for name, s in scores.items():
            lines.append([name, s.value, s.standard_error, s.unit, s.meaning, None])
        for name, why in absent.items():
            lines.append([name, None, None, None, None, why])
        return lines

    def to_json(self) -> str:
        """Name, scores and reasons as JSON, which knows no NaN: it is null."""
        scores, absent = without_contradictions(self.scores, self.absent)
        plain = {quantity: score.to_dict() for quantity, score in scores.items()}
        for values in plain.values():
            nan = [k for k, v in values.items() if isinstance(v, float) and math.isnan(v)]
            values.update(dict.fromkeys(nan))
        content = {"name": self.name, "scores": plain, "absent": absent}
        content |= {"note": self.note} if self.note else {}
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Evaluation:
        """Read what :meth:`to_json` wrote; a ``UsageError`` is raised of other text."""
        try:
            content = json.loads(text)
            for values in content["scores"].values():
                if values["standard_error"] is None:
                    values["standard_error"] = math.nan
            scores = {quantity: Score(**values) for quantity, values in content["scores"].items()}
            note = str(content.get("note", ""))
            return cls(content["name"], scores, content["absent"], note=note)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError("these are not scores of pyro-models; evaluate again") from error


@at_precision
def evaluate(
    pair: Pair,
    data: ImageData | Data,
    *,
    split: str = "test",
    quantities: Sequence[str] | None = None,
    num_particles: int = 100,
    limit: int | None = None,
    with_labels: bool = False,
    name: str | None = None,
    seed: int = 0,
    max_elements: int = MAX_ELEMENTS,
    progress: bool = False,
    workers: int | None = None,
    resume: str | Path | None = None,
    precision: str = DEFAULT,
) -> Evaluation:
    """Score a pair on a split.

    Every quantity of :data:`inference.evaluation.QUANTITIES` that can be computed is: ``elbo``,
    ``log_likelihood`` (exact where the pair knows it, else the importance-sampled L_K),
    ``bits_per_dimension`` (densities of dequantised pixels, probabilities of all grey levels),
    ``mse_sampled`` and ``mse_mean`` (reconstructions from sampled and from mean z, against the grey
    pixels), and ``accuracy`` of a pair that classifies. A pair that infers labels is not given
    them, unless asked for. By name alone come ``frechet``, ``kernel``, ``density`` and
    ``coverage`` of samples x ~ p(x | z) and, as ``frechet_mean`` and so on, of means E[x | z]: see
    :mod:`inference.evaluation.samples`.

    Parameters
    ----------
    pair
        The pair; nothing of it changes.
    data, split, limit
        The first ``limit`` data of the split ``"test"``, ``"validation"`` or ``"train"``, prepared
        as they say, with the seed; the scores say how many. Of what is no data set with splits
        (:func:`pyro_models.data.as_data`) all is scored, as it is. Of half-seen data log p(x_seen)
        is, as the measure says, and reconstructions are compared with what is seen.
    quantities
        Names of those that are computed, in their order; all that do not come by name alone unless
        given. For those of samples alone no particles are drawn.
    num_particles
        Number of particles K.
    with_labels
        Give a pair that infers labels those of the split: its scores are then of p(x | y), with
        log p(x | y) = log p(x, y) − log p(y), as those of a pair that needs labels always are.
    name
        Name for the row; the pair's title (:func:`pyro_models.models.title_of`) by default.
    seed
        Random seed of the preparation and the particles; the caller's generators do not move.
    max_elements, progress
        Bound on memory, see :func:`inference.evaluation.log_weights`; show a progress bar.
    workers, resume
        As for :func:`inference.evaluation.evidence`, of the particles.
    precision
        ``"float32"``, ``"bfloat16"`` or ``"float64"``, see
        :func:`inference.precision.in_precision`; the result says it.

    Examples
    --------
    >>> from pyro_models import PPCA, load_data
    >>> data = load_data("digits", preparation="dequantised")
    >>> ppca = PPCA.maximum_likelihood(data.prepared("train").x, latent_dim=5)
    >>> evaluate(ppca, data, num_particles=10).scores["log_likelihood"].kind
    'exact'
    """
    num_particles = checked_count(num_particles)
    named = _named(quantities)
    data = as_data(data, pair, split=split, half_seen=True)
    found = evaluated_split(pair, data, split=split, limit=limit, seed=seed)
    x, y, mask = found.x, found.y, found.mask
    infers = fulfills(pair, Classifies)
    if with_labels and (not infers or y is None or bool((y < 0).any())):
        raise UsageError("with_labels is for a pair that infers labels, and data that have them")
    if infers and not with_labels:
        y = None
    labels = bool(given_labels(pair, y))
    scored = ScoredData.of_split(data, split, seed, limit=limit, labels=labels)
    of_pixels = checksum(pair.conditioning(x, mask)) if fulfills(pair, ConditionsOnPixels) else None
    identity = replace(scored.identity, conditioned=of_pixels)
    given, precise = conditions(pair, y), precision_of(pair)
    scored = replace(scored, given=given, identity=identity, precision=precise)
    of: dict[str, Any] = {"identity": identity_of(pair, x, mask=mask, y=y), "guides": (pair.guide,)}
    settings = {"num_particles": num_particles, "seed": seed}

    def weigh() -> LogWeights:
        with (
            spread(workers, resume, pair, settings=settings, **of) as blocks,
            bar(len(x), unit="data", what=name or "", shown=progress) as done,
        ):
            bounds: dict[str, Any] = {"max_elements": max_elements, "progress": done.update}
            bounds |= {"num_particles": num_particles, "seed": seed, "blocks": blocks}
            weights = log_weights(pair, x, y=y, mask=mask, **bounds)
        prior = log_label_prior(pair, x, y)
        return replace(weights, elbo=weights.elbo - prior, bound=weights.bound - prior)

    with isolated(pair, seed=stream(seed, "quantities")):
        grey = data.split(split).x[:limit].to(x)
        evaluated = Evaluated(pair, scored, x, y, found.y, grey, weigh, limit, max_elements, mask)
        absent: dict[str, str] = {}
        if not all(QUANTITIES[key].by_name for key in named):
            _ = evaluated.weights  # what is wrong with a pair is said of the pair
        for key in _with_needs(named):
            compute = QUANTITIES[key].compute
            assert compute is not None
            with in_one_line(f"the quantity {key}"):
                score = compute(evaluated)
            if isinstance(score, str):
                absent[key] = score
            elif isinstance(score, Score):
                evaluated.scores[key] = score
            elif score is not None:
                raise UsageError(f"the quantity {key} gives a Score or a reason; got {score!r:.60}")
            elif quantities is not None:  # who asks for it by its name is told
                absent[key] = "it is not defined for this model and these data"
    scores = {key: evaluated.scores[key] for key in named if key in evaluated.scores}
    absent = {key: absent[key] for key in named if key in absent}
    per_datum = {key: values.cpu() for key, values in evaluated.per_datum.items()}
    note = words_of_beta(pair)
    return Evaluation(name or title_of(pair), scores, absent, per_datum, note)


def _named(quantities: Sequence[str] | None) -> list[str]:
    """What is to be computed, checked; each once."""
    known = quantities_of("evaluation")
    if quantities is None:
        return [key for key, quantity in known.items() if not quantity.by_name]
    names = [quantities] if isinstance(quantities, str) else list(dict.fromkeys(quantities))
    if not names:
        raise UsageError(f"name at least one quantity: {', '.join(known)}")
    for name in names:
        known.check(name)
    return names


def _with_needs(names: Sequence[str]) -> list[str]:
    """The same with what they need, in the order in which they are computed."""
    known = quantities_of("evaluation")
    all_of_them = {*names, *(need for name in names for need in known[name].needs)}
    return [key for key in known if key in all_of_them]
