"""Facts of public reference posteriors: means, standard deviations and Monte-Carlo errors.

From posteriordb, https://github.com/stan-dev/posteriordb. Copyright (c) 2011-2024, Stan Developers
and their Assignees, BSD 3-Clause License; redistributed with this notice, without any warranty. The
data of the eight schools are from Rubin (1981).
"""

EIGHT_SCHOOLS = {"y": [28, 8, -3, 7, -1, 1, 18, 12], "sigma": [15, 10, 16, 11, 9, 11, 10, 18]}

EIGHT_SCHOOLS_POSTERIOR = {  # mean, sd, and the Monte-Carlo error of each
    "mu": (4.410518, 3.309296, 0.033093, 0.0234),
    "tau": (3.60206, 3.198478, 0.031985, 0.022617),
    "theta[1]": (6.150502, 5.615863, 0.056159, 0.03971),
    "theta[8]": (4.883997, 5.317692, 0.053177, 0.037602),
}
