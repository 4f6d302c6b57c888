"""Evaluations of one pair under several seeds, as one: means, with their errors over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from inference.evaluation.evaluation import Evaluation
from inference.evaluation.scores import Score
from inference.precision import DEFAULT
from inference.standard_error import mean_and_error
from pyro_models import UsageError

__all__ = ["over_seeds"]


def over_seeds(evaluations: Sequence[Evaluation], *, name: str) -> Evaluation:
    """The mean of each score over seeds, and its standard error over them, s / √K.

    Parameters
    ----------
    evaluations
        Of one pair under each seed, on the same data. What one of them has no score of is absent.
    name
        Name of the row.

    Raises
    ------
    UsageError
        If there are fewer than two, or they may not be compared.
    """
    if len(evaluations) < 2:
        raise UsageError("an error over seeds needs two seeds or more")
    absent = {quantity: why for e in evaluations for quantity, why in e.absent.items()}
    scores = {}
    for quantity, score in evaluations[0].scores.items():
        each = [e.scores.get(quantity) for e in evaluations]
        known = [other for other in each if other is not None]
        if len(known) < len(evaluations):
            absent.setdefault(quantity, "not computed for each seed")
        elif quantity not in absent:
            scores[quantity] = _mean(score, known)
    note = "; ".join(dict.fromkeys(e.note for e in evaluations if e.note))
    return Evaluation(f"{name} ({len(evaluations)} seeds)", scores, absent, note=note)


def _mean(first: Score, scores: Sequence[Score]) -> Score:
    for score in scores:
        difference = score.differs_from(first.comparability)
        if difference:
            raise UsageError(f"{first.quantity} of several seeds has no mean ({difference})")
    precisions = dict.fromkeys(score.precision or DEFAULT for score in scores)
    value, error = mean_and_error(
        torch.tensor([score.value for score in scores], device="cpu").double()
    )
    return replace(
        first,
        value=value,
        standard_error=error,
        monte_carlo_error=None,
        num_seeds=len(scores),
        precision=None if [*precisions] == [DEFAULT] else ", ".join(precisions),
    )
