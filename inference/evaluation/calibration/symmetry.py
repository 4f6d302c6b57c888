"""Are ranks symmetric? The test of variational simulation-based calibration for a bias.

A variational posterior is expected to be too narrow, so its ranks are not uniform; but as long as
it is centred where it should be, their histogram is symmetric (Yao, Vehtari, Simpson & Gelman 2018,
section 3.2).
"""

from __future__ import annotations

import numpy as np

from inference.evaluation.calibration.uniformity import SMALLEST_P

__all__ = ["symmetric_p_value"]


def symmetric_p_value(ranks: np.ndarray, num_draws: int) -> float:
    """P(max_t |#{r ≥ L − t} − #{r ≤ t}| ≥ what it is here), if ranks r and L − r are alike.

    It is the distance of Kolmogorov and Smirnov between the ranks and their mirror image, whose
    distribution given all |r − L / 2| is that of a walk of fair coins (Butler 1969), exact with
    ties.

    Parameters
    ----------
    ranks
        (n,), whole numbers in 0…L.
    num_draws
        L.

    Examples
    --------
    >>> narrow = np.r_[np.zeros(50, int), np.full(50, 99)]
    >>> symmetric_p_value(narrow, 99) > 0.99, symmetric_p_value(np.arange(50), 99) < 1e-9
    (True, True)
    """
    offset = 2 * np.asarray(ranks) - num_draws
    offset = offset[offset != 0]
    offset = offset[np.argsort(-np.abs(offset), kind="stable")]
    n = len(offset)
    if n == 0:
        return 1.0
    last_of_tie = np.append(np.diff(np.abs(offset)) != 0, True)
    farthest = np.abs(np.cumsum(np.sign(offset)))[last_of_tie].max()
    place = np.arange(-n, n + 1)
    chances = (place == 0).astype(float)  # of walks that have not been as far yet
    for looked_at in last_of_tie:
        chances = (np.r_[chances[1:], 0.0] + np.r_[0.0, chances[:-1]]) / 2
        if looked_at:
            chances[np.abs(place) >= farthest] = 0.0
    return float(np.clip(1 - chances.sum(), SMALLEST_P, 1.0))
