"""``pyro-models export``, ``push`` and ``pull``: trained pairs to pass on, and those of others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.commands.command import OnRun, command
from inference.declared import at_least, declared, takes
from inference.evaluation import Evaluation
from inference.evaluation import evaluate as evaluate_pair
from inference.hub.export import export_run
from inference.hub.pretrained import check_names
from inference.hub.repository import download, push_to_hub
from inference.learning import Run
from pyro_models import UsageError
from pyro_models.files import is_free

__all__ = ["export", "pull", "push"]


@dataclass(frozen=True)
class OfCard(OnRun):
    """What a model card says."""

    scores: str | None = declared(
        None,
        """JSON file of scores, as of evaluate --out; those in the run folder, or else computed
        now, unless given.""",
    )
    num_particles: int = declared(
        100, "Number of particles K of the importance-sampled bound.", at_least(1)
    )
    figure: str | None = declared(
        None,
        """Figure of the card, of the model alone: samples, or else learning curves, unless
        given.""",
    )
    license: str | None = declared(None, "License of the weights as the Hub names it, mit, say.")
    tags: list[str] | None = declared(None, "Words that the model is found by on the Hub.")

    def evaluation(self, run: str) -> Evaluation | None:
        """The scores of the card: given, in the run folder, or computed; why not is printed."""
        given = Path(self.scores) if self.scores else Path(run) / "scores.json"
        if self.scores or given.is_file():
            return Evaluation.from_json(given.read_text(encoding="utf-8"))
        try:
            pair, images = self.open(run)
        except UsageError as error:
            Run(run).load_pair()  # what is wrong with the run itself is raised
            print(f"note: the card has no scores: {error}")
            return None
        return evaluate_pair(
            pair, images, name=Path(run).name, num_particles=self.num_particles, **self.scored
        )

    @property
    def shown(self) -> dict[str, Any]:
        """What a function that writes the card is told."""
        return {"figure": self.figure, "license": self.license, "tags": self.tags or ()}


@command
@takes(OfCard)
def export(run: str, out: str | None = None, **options: Any) -> Path:
    """Write a trained pair into a folder to pass on: weights, configuration, scores, a model card.

    Args:
        run: Run folder.
        options: One of :class:`OfCard`.
        out: Folder that is made, exports/NAME unless given; the Hub takes it as it is, and every
            command as a run folder.
    """
    on = OfCard(**options)
    folder = Path(out or f"exports/{Path(run).resolve().name}")
    if not on.force and not is_free(folder):
        raise UsageError(f"{folder} is not empty: replace it with --force, or name another")
    place = export_run(run, folder, evaluation=on.evaluation(run), force=on.force, **on.shown)
    print(f"exported to {place}; its card is {place / 'README.md'}")
    print(
        f'load it with: from_hub("{place}"); send it with: pyro-models push {place} --to OWNER/NAME'
    )
    return place


@command
@takes(OfCard)
def push(
    run: str,
    to: str | None = None,
    private: bool = False,
    revision: str | None = None,
    message: str = "Weights, configuration, scores and card",
    **options: Any,
) -> str:
    """Send a trained pair to a repository of the Hugging Face Hub (extra: hub).

    Args:
        run: Run folder, or a folder that export has written.
        options: One of :class:`OfCard`.
        to: Repository, OWNER/NAME, which is made if there is none.
        private: Make a private repository.
        revision: Branch, which is made if there is none; main unless given.
        message: Message of the commit.
    """
    if to is None:
        raise UsageError("name the repository: --to OWNER/NAME")
    on = OfCard(**options)
    how: dict[str, Any] = {"private": private, "revision": revision, "message": message}
    if "exported" not in Run(run).describe():
        how |= {"evaluation": on.evaluation(run), **on.shown}
    address = push_to_hub(run, to, **how)
    print(f'sent to {address}; load it with: from_hub("{to}")')
    return address


@command
def pull(
    repo: str, out: str | None = None, revision: str | None = None, force: bool = False
) -> Path:
    """Take a trained pair from a repository of the Hugging Face Hub into a run folder (extra: hub).

    Args:
        repo: Repository, OWNER/NAME.
        out: Folder; runs/NAME unless given.
        revision: Branch, tag or commit; main unless given.
        force: Replace the files of an earlier one.
    """
    folder = Path(out or f"runs/{repo.rpartition('/')[2]}")
    earlier = Run(folder).exists and "exported" in Run(folder).describe()
    if not is_free(folder) and not (force and earlier):
        raise UsageError(f"{folder} is not empty: name another folder (--out)")
    found = download(repo, revision=revision)
    check_names(Run(found).describe(), who=repo, files=False)
    place = download(repo, revision=revision, into=folder)
    print(f"{repo} is in {place}; score it with: pyro-models evaluate {place}")
    return place
