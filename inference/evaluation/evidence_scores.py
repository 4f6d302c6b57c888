"""log p(x) of a split by evidence, and kernel densities, as a row that may be compared."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from inference.evaluation.evaluated import ScoredData, evaluated_split
from inference.evaluation.evaluation import Evaluation
from inference.evaluation.evidence import evidence
from inference.evaluation.kernels import KernelDensity
from inference.evaluation.scores import Score
from inference.evaluation.spherical import why_not_spherical
from inference.learning.tempered import words_of_beta
from inference.precision import DEFAULT, at_precision, precision_of
from pyro_models import ImageData, Pair, UsageError
from pyro_models.contract import fulfills
from pyro_models.data import as_data
from pyro_models.models import title_of
from pyro_models.observed import Data
from pyro_models.pair import Classifies

__all__ = ["evaluate_evidence"]


@at_precision
def evaluate_evidence(
    pair: Pair,
    data: ImageData | Data,
    *,
    split: str = "test",
    limit: int | None = None,
    kernel_density: KernelDensity | None = None,
    name: str | None = None,
    seed: int = 0,
    progress: bool = False,
    precision: str = DEFAULT,
    **options: Any,
) -> Evaluation:
    """Score log p(x) by :func:`inference.evaluation.evidence`, as a row of a comparison.

    ``spherical_log_likelihood`` is that of pairs with p(x | z) = N(G(z), σ² I) of a fixed σ, which
    stand in a column of their own (Wu et al. 2017): a density with a σ for each pixel, or one that
    is learned, is higher by thousands of nats on pixels that hardly vary, whatever the samples are.
    Of all other pairs it is ``log_likelihood``, and the reason is said.

    Parameters
    ----------
    pair, options
        A pair, and options of :func:`inference.evaluation.evidence`, such as ``method``.
    data, split, limit
        The first ``limit`` data of a split, prepared as they say, with the seed.
    kernel_density
        Of the same data, to stand beside; an objective only.
    name, seed, progress, precision
        As for :func:`inference.evaluation.evaluate`.

    Raises
    ------
    UsageError
        If data or options do not fit.

    Examples
    --------
    >>> from pyro_models import Generator, load_data
    >>> data = load_data("digits", preparation="dequantised")
    >>> gan = Generator(data.data_shape, latent_dim=2, hidden=[8])
    >>> scored = evaluate_evidence(gan, data, limit=5, method="quadrature")
    >>> scored.scores["spherical_log_likelihood"].kind
    'estimate'
    """
    data = as_data(data, pair, split=split, half_seen=True)
    found = evaluated_split(pair, data, split=split, limit=limit, seed=seed)
    given = pair.num_classes is not None and not fulfills(pair, Classifies)
    y = found.y if given else None
    if kernel_density is not None and len(kernel_density.value) != len(found):
        count = len(kernel_density.value)
        raise UsageError(f"the kernel density is of {count} data, and these are {len(found)}")
    scored = ScoredData.of_split(data, split, seed, limit=limit, labels=given)
    own = evidence(pair, found.x, y=y, mask=found.mask, seed=seed, progress=progress, **options)
    why = why_not_spherical(pair)
    quantity = "log_likelihood" if why else "spherical_log_likelihood"
    of: dict[str, Any] = {"given": own.given, "precision": precision_of(pair)}
    score = scored.log_probability(
        pair, quantity, own.value, error=own.standard_error, kind=own.kind, **own.how, **of
    )
    scores: dict[str, Score] = {quantity: score}
    per_datum: dict[str, Tensor] = {quantity: own.value.cpu()}
    if kernel_density is not None:
        values, how = kernel_density.value, f"{kernel_density.num_samples:,} samples"
        how = f"{how}, {kernel_density.pixels} pixels"
        scores["kernel_density"] = scored.log_probability(
            pair, "kernel_density", values, error=kernel_density.standard_error, method=how
        )
        per_datum["kernel_density"] = values.cpu()
    absent = {"spherical_log_likelihood": why} if why else {}
    note = words_of_beta(pair)
    return Evaluation(name or title_of(pair), scores, absent, per_datum, note)
