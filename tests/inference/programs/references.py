"""Facts of public reference posteriors: means, standard deviations and Monte-Carlo errors.

From posteriordb, https://github.com/stan-dev/posteriordb. Copyright (c) 2011-2024, Stan Developers
and their Assignees, BSD 3-Clause License; redistributed with this notice, without any warranty. The
data of the eight schools are from Rubin (1981), those of the regressions ``kidiq`` and ``earnings``
from Gelman & Hill (2007): of these there is what the likelihood needs, N, the least squares b, XᵀX
and the residual sum of squares.
"""

from typing import NamedTuple

EIGHT_SCHOOLS = {"y": [28, 8, -3, 7, -1, 1, 18, 12], "sigma": [15, 10, 16, 11, 9, 11, 10, 18]}

EIGHT_SCHOOLS_POSTERIOR = {  # mean, sd, and the Monte-Carlo error of each
    "mu": (4.410518, 3.309296, 0.033093, 0.0234),
    "tau": (3.60206, 3.198478, 0.031985, 0.022617),
    "theta[1]": (6.150502, 5.615863, 0.056159, 0.03971),
    "theta[8]": (4.883997, 5.317692, 0.053177, 0.037602),
}


class LeastSquares(NamedTuple):
    """A regression y ~ N(X β, σ²) by its sufficient statistics."""

    count: int
    beta: list[float]
    gram: list[list[float]]
    rss: float


KIDIQ = LeastSquares(
    434, [25.79977785, 0.6099745717], [[434.0, 43400.0], [43400.0, 4437425.0]], 144137.3365
)
KIDIQ_POSTERIOR = {
    "beta[1]": (25.916532, 5.968603, 0.059686, 0.042204),
    "beta[2]": (0.608628, 0.058982, 0.00059, 0.000417),
    "sigma": (18.275848, 0.624015, 0.00624, 0.004412),
}

EARNINGS = LeastSquares(
    1192, [5.778505759, 0.05881684512], [[1192.0, 79765.0], [79765.0, 5355253.0]], 949.1381635
)
EARNINGS_POSTERIOR = {
    "beta[1]": (5.781724, 0.454779, 0.004548, 0.003216),
    "beta[2]": (0.058772, 0.006782, 6.8e-05, 4.8e-05),
    "sigma": (0.893957, 0.018395, 0.000184, 0.00013),
}

GP_POISSON = {
    "x": [-10, -8, -6, -4, -2, 0, 2, 4, 6, 8, 10],
    "k": [40, 37, 29, 12, 4, 3, 9, 19, 77, 82, 33],
}
GP_POISSON_POSTERIOR = {
    "rho": (5.666529, 0.679021, 0.00679, 0.004801),
    "alpha": (2.921344, 0.792822, 0.007928, 0.005606),
    "f[1]": (3.635741, 0.152096, 0.001521, 0.001075),
    "f[6]": (1.295262, 0.2662, 0.002662, 0.001882),
    "f[11]": (3.506817, 0.1631, 0.001631, 0.001153),
}
