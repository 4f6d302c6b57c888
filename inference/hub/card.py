"""The model card of an exported folder: ``README.md`` with YAML front matter, for the Hub."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from inference.evaluation import Evaluation
from inference.evaluation.scores import Score, without_contradictions
from pyro_models import Pair
from pyro_models.data import Identity

__all__ = ["Card", "named_in"]

_DATASETS = {"mnist": "mnist", "fashion-mnist": "fashion_mnist"}
"""What named data sets are called on the Hub."""

_SHORT = 12  # digits of a checksum that are shown


@dataclass(frozen=True)
class Card:
    """What a model card says.

    Attributes
    ----------
    name
        Of the repository, ``owner/name``, or of the folder.
    pair, record
        The pair, and the content of its ``run.json``.
    evaluation
        Its scores, if there are any.
    figure, caption
        Name of the figure's file, and what it shows; empty if there is none.
    experiment
        The experiment as a configuration file, if it can be written.
    license, tags
        Of the weights, as the Hub names it; and further words that it is found by.
    """

    name: str
    pair: Pair
    record: Mapping[str, Any]
    evaluation: Evaluation | None = None
    figure: str = ""
    caption: str = ""
    experiment: str = ""
    license: str | None = None
    tags: Sequence[str] = ()

    @property
    def title(self) -> str:
        """The pair and its data."""
        return f"{self.record['class']} of {self._data_name}"

    @property
    def _data_name(self) -> str:
        return str(self.record["data"].get("name", "unnamed data"))

    @property
    def scores(self) -> dict[str, Score]:
        """The scores that do not contradict each other."""
        if self.evaluation is None:
            return {}
        return without_contradictions(self.evaluation.scores, self.evaluation.absent)[0]

    def to_text(self) -> str:
        """The card as Markdown."""
        parts = [
            f"# {self.title}",
            self._about(),
            self._figure(),
            self._loading(),
            self._scores(),
            self._data(),
            self._training(),
        ]
        front = yaml.safe_dump(self.front_matter(), sort_keys=False, allow_unicode=True)
        return f"---\n{front}---\n\n" + "\n\n".join(part for part in parts if part) + "\n"

    def front_matter(self) -> dict[str, Any]:
        """What the Hub finds the model by, and its scores as the Hub lists them."""
        data = self._data_name
        images = len(self.pair.data_shape) == 3
        words = ["pyro", "generative-model", "density-estimation", self.record["class"].lower()]
        front: dict[str, Any] = {
            "library_name": "pyro-models",
            "license": self.license,
            "tags": list(dict.fromkeys([*words, *self.tags])),
            "datasets": [_DATASETS[data]] if data in _DATASETS else None,
            "pipeline_tag": "unconditional-image-generation" if images else None,
        }
        metrics = [
            {"type": name, "name": _in_words(score), "value": score.value}
            for name, score in self.scores.items()
            if math.isfinite(score.value)
        ]
        if metrics:
            first = next(iter(self.scores.values()))
            result = {
                "task": {"type": "density-estimation", "name": "Density estimation"},
                "dataset": {
                    "type": _DATASETS.get(data, data),
                    "name": data,
                    "split": first.split,
                },
                "metrics": metrics,
            }
            front["model-index"] = [{"name": self.title, "results": [result]}]
        return {name: value for name, value in front.items() if value is not None}

    def _about(self) -> str:
        sites = ", ".join(self.pair.latent_sites) or "none"
        count = sum(parameter.numel() for parameter in self.pair.parameters())
        shape = " × ".join(map(str, self.pair.data_shape))
        likelihood = self.record["config"].get("likelihood")
        likelihood = likelihood.get("class_path") if isinstance(likelihood, dict) else likelihood
        given = f" Its likelihood is `{likelihood}`." if likelihood else ""
        return (
            f"A generative model with its guide, trained by [Pyro](https://pyro.ai): data of shape "
            f"{shape}, latents {sites}, {count:,} learned numbers.{given} The weights are "
            "safetensors; the folder holds no code."
        )

    def _figure(self) -> str:
        return f"![{self.caption}]({self.figure})\n\n*{self.caption}*" if self.figure else ""

    def _loading(self) -> str:
        own = _own_class(self.record)
        model = f", model={own}" if own else ""
        lines = [
            "## How to load it",
            "```python\n"
            "from inference import from_hub, generate\n"
            f'pair = from_hub("{self.name}"{model}).pair\n'
            "x = generate(pair, n=16)\n"
            "```",
        ]
        if own:
            lines.append(f"`{own}` is a class of its author's, which you import yourself.")
        release = self.record["versions"].get("pyro-models", "unknown")
        lines.append(
            f"Written by pyro-models {release} (with the extra `hub` to load it from the Hub). "
            "Whatever takes a run folder takes this folder: `pyro-models evaluate FOLDER`."
        )
        return "\n\n".join(lines)

    def _scores(self) -> str:
        if self.evaluation is None:
            return "## Scores\n\nIt was exported without scores."
        heads = ("score", "value ± standard error", "unit", "kind", "K", "seed", "of")
        rows = [
            (
                score.of.heading(score.given),
                score.number,
                score.unit,
                score.kind,
                score.num_particles or "",
                "" if score.seed is None else score.seed,
                f"{score.num_data:,} {score.split} data, {score.preparation}",
            )
            for score in self.scores.values()
        ]
        lines = ["## Scores", _table(heads, rows) if rows else "There are none."]
        measures = dict.fromkeys(s.measure for s in self.scores.values() if s.measure)
        if measures:
            lines.append(f"Log-probabilities are relative to: {'; '.join(measures)}.")
        absent = without_contradictions(self.evaluation.scores, self.evaluation.absent)[1]
        lines.append("\n".join(f"- no {name}: {why}" for name, why in absent.items()))
        return "\n\n".join(line for line in lines if line)

    def _data(self) -> str:
        record = self.record["data"]
        sizes = ", ".join(f"{name} {count:,}" for name, count in record.get("splits", {}).items())
        how = f"preparation {record.get('preparation', 'unknown')}"
        lines = [
            "## Data",
            f"{self._data_name}: {sizes or 'sizes unknown'}; "
            f"{'a table' if record.get('table') else how}.",
        ]
        identity = Identity.from_dict(record.get("identity"))
        if identity is not None:
            sums = ", ".join(f"{name} `{sum_[:_SHORT]}…`" for name, sum_ in identity.pixels.items())
            lines.append(
                f"Their identity, by content: {sums}. Data that differ are refused by "
                "`pyro-models evaluate`, unless they are named with `--data`."
            )
        return "\n\n".join(lines)

    def _training(self) -> str:
        training = self.record.get("training")
        if not training:
            return ""
        lines = [
            "## Training",
            f"{training['epochs']} epochs of {training['objective']} ({training['unit']}); "
            f"{training['stopped']}.",
        ]
        if training.get("remark"):
            lines.append(f"{training['objective']}: {training['remark']}.")
        if self.experiment:
            lines.append(
                "As a configuration file, which `pyro-models train --config` takes:\n\n"
                f"```yaml\n{self.experiment.strip()}\n```"
            )
        return "\n\n".join(lines)


def named_in(card: str, name: str) -> str:
    """A card whose example loads the model from a repository of that name.

    >>> named_in('pair = from_hub("runs/five").pair', "ada/five")
    'pair = from_hub("ada/five").pair'
    """
    return re.sub(r'from_hub\("[^"\n]*"', lambda _: f'from_hub("{name}"', card)


def _in_words(score: Score) -> str:
    """What a score is of, its unit and kind."""
    k = f", K = {score.num_particles}" if score.num_particles else ""
    return f"{score.of.title}, {score.unit} ({score.kind}{k})"


def _own_class(record: Mapping[str, Any]) -> str:
    """The name of a class of the author's own; empty if it is one of ours."""
    name = record["model"]
    return record["class"] if name is None or "." in name else ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown; a bar in a cell is escaped, as in p(x | y)."""
    written = [[str(cell).replace("|", "\\|") for cell in row] for row in (heads, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in written]
    return "\n".join([lines[0], "|---" * len(heads) + "|", *lines[1:]])
