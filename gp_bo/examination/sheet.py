"""Function fitting of Copenhagen's examination in probabilistic machine learning, part A.

f(x) = sin 20x + 2 cos 14x − 2 sin 6x on [−1, 1], five noise-free values; an RBF kernel whose
hyper-parameters have log-normal priors, inferred by NUTS. Scalings are off: the priors are stated
in the units of the data.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gp_bo.fit import fit_gp
from gp_bo.fitted import FittedGP
from gp_bo.kernels import log_normal
from pyro_models import UsageError

__all__ = ["EXAM_NOISE", "exam_data", "exam_function", "exam_priors", "fit_exam"]

EXAM_NOISE = 1e-4
"""The fixed noise variance."""


def exam_function(x: Tensor) -> Tensor:
    """f(x) = sin 20x + 2 cos 14x − 2 sin 6x."""
    return (20 * x).sin() + 2 * (14 * x).cos() - 2 * (6 * x).sin()


def exam_data() -> tuple[Tensor, Tensor]:
    """x = −1, −½, 0, ½, 1 and f(x), both (5,)."""
    x = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0], dtype=torch.float64)
    return x, exam_function(x)


def exam_priors(prior_on: str = "lengthscale") -> dict[str, Any]:
    """LogNormal(−1, 1) for the length-scale and LogNormal(0, 2) for the variance.

    The sheet writes σ_l² and σ_s², k(x, x') = σ_s² exp(−(x − x')² / 2 σ_l²). The variance σ_s² is
    one hyper-parameter in either reading; the length-scale is read in two ways.

    For ``"lengthscale"`` σ_l ~ LogNormal(−1, 1); for ``"squared_lengthscale"``
    σ_l² ~ LogNormal(−1, 1), which is σ_l ~ LogNormal(−½, ½).

    Examples
    --------
    >>> float(exam_priors("squared_lengthscale")["lengthscale"].scale)
    0.5
    """
    readings = {"lengthscale": (-1.0, 1.0), "squared_lengthscale": (-0.5, 0.5)}
    if prior_on not in readings:
        raise UsageError(f"prior_on is one of {', '.join(readings)}; got {prior_on!r}")
    return {"lengthscale": log_normal(*readings[prior_on]), "variance": log_normal(0.0, 2.0)}


def fit_exam(
    x: Tensor | None = None,
    y: Tensor | None = None,
    *,
    inference: str = "nuts",
    prior_on: str = "lengthscale",
    **options: Any,
) -> FittedGP:
    """The sheet's Gaussian process: zero mean, noise variance 10⁻⁴, 500 draws by NUTS.

    Or other data than the five points of the sheet, or any other inference with its options, as
    :func:`gp_bo.fit_gp` takes them; ``prior_on`` as in :func:`exam_priors`.
    """
    if x is None or y is None:
        x, y = exam_data()
    if inference == "nuts":
        options.setdefault("num_draws", 500)
    model: dict[str, Any] = {"kernel": "rbf", "mean": "zero", "noise": EXAM_NOISE, "scale": False}
    model["priors"] = exam_priors(prior_on)
    return fit_gp(x, y, **model, inference=inference, **options)
