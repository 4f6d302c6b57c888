"""Fit a Gaussian process: a kernel, priors, and how its hyper-parameters are inferred."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch

from gp_bo.arrays import Array
from gp_bo.fitted import FittedGP
from gp_bo.inference import check_options, inference_named
from gp_bo.kernels import Kernel
from gp_bo.latent.fitted import LatentGP
from gp_bo.latent.model import LatentGPModel
from gp_bo.problem import regression_problem
from gp_bo.sparse import SPARSE, sparse_gp
from inference.progress import showing
from pyro_models import UsageError
from pyro_models.seeds import alone, check_seed

__all__ = ["InferenceWarning", "fit_gp"]


class InferenceWarning(UserWarning):
    """The hyper-parameters were inferred, but not well: the message says how."""


def fit_gp(
    X: Array,
    y: Array,
    *,
    kernel: str | Kernel = "rbf",
    inference: str = "nuts",
    noise: str | float = "learned",
    mean: str = "constant",
    likelihood: Any = "gaussian",
    priors: Mapping[str, Any] | None = None,
    scale: bool | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool | None = None,
    **options: Any,
) -> FittedGP:
    """Gaussian-process regression, y = f(x) + ε, f ~ GP(m_θ, k_θ), ε ~ N(0, σ_n²).

    With another likelihood y_i ~ p(y_i | f(x_i)): labels, counts, data with outliers.

    Parameters
    ----------
    X, y
        Inputs, (n, d) or (n,), and outputs, (n,); arrays or tensors on any device, computed with in
        float64.
    kernel
        A name or formula of names (``"rbf + periodic"``), or a :class:`gp_bo.kernels.Kernel`.
    inference
        How the hyper-parameters θ are inferred, one of ``gp_bo.inference.INFERENCES``; or by a
        guide of :func:`inference.infer` for any Pyro model, ``"full_covariance"`` for one; or
        ``"sparse_variational"``, which takes 10⁴ rows and more: f is inferred through inducing
        points, by minibatches, and θ is a point (:func:`gp_bo.sparse.sparse_gp` has its options).
    noise
        ``"learned"``, or a number: the noise *variance* σ_n² in the output's unit squared.
    mean
        ``"zero"``, ``"constant"`` or ``"linear"``. With scaling, zero is the mean of the outputs.
    likelihood
        p(y | f): ``"gaussian"``; ``"bernoulli"`` of labels 0 and 1, f their log-odds; ``"poisson"``
        of counts, f the logarithm of their rate; ``"student_t"``; or a
        :class:`gp_bo.likelihoods.Likelihood`. Of all but the first f is inferred by Laplace's
        approximation at each θ, and θ by its evidence (Rasmussen & Williams 2006, chapter 3).
        Labels and counts are not scaled, and have no ``noise``.
    priors
        Name of a hyper-parameter to a distribution of ``pyro.distributions``; to one by its name,
        ``{class_path: NAME, init_args: {PARAMETER: VALUE}}`` with a name of
        :data:`gp_bo.prior_names.PRIORS`; or to a number, which fixes it. Others keep their default
        prior, made for scaled data.
    scale
        Inputs to the unit box and outputs to mean 0 and variance 1 while computing; whatever is
        returned is in original units again. By default on, unless ``priors`` are given: these are
        taken to be stated in original units. With ``scale=True`` they are of the scaled ones.
    seed
        Random seed of the starts and all draws.
    device
        Where to compute: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …; where X is unless given. Priors are
        moved there, and what is predicted is returned there.
    progress
        Show bars of what is done and the time left; of ``"sparse_variational"`` alone unless given.
    options
        Options of the inference, by the names of its keyword arguments.

    Returns
    -------
    FittedGP
        Draws of θ, predictions, functions, scores, diagnostics; a :class:`gp_bo.SparseGP` of
        ``"sparse_variational"``, a :class:`gp_bo.LatentGP` of another likelihood.

    Raises
    ------
    UsageError
        If data, names, priors, options or the device are wrong: one line says which.

    Warns
    -----
    InferenceWarning
        If the inference did not reach what it should: a chain that has not converged, say.

    Examples
    --------
    >>> import torch
    >>> X = torch.linspace(0, 6, 12, dtype=torch.float64)
    >>> fitted = fit_gp(X, X.sin(), inference="maximum_likelihood", noise=1e-6)
    >>> prediction = fitted.predict([[1.5], [4.5]])
    >>> [round(float(m), 2) for m in prediction.mean]
    [1.0, -0.98]
    """
    infer: Any = sparse_gp if inference == SPARSE else inference_named(inference, also=[SPARSE])
    check_seed(seed)
    with alone(), showing(bool(progress)):
        model: dict[str, Any] = {"kernel": kernel, "noise": noise, "mean": mean, "priors": priors}
        model["likelihood"] = likelihood
        problem = regression_problem(X, y, scale=scale, device=device, **model)
        check_options(infer, inference, options)
        latent = isinstance(problem.gp, LatentGPModel)
        if infer is sparse_gp and latent:
            raise UsageError(f"{SPARSE} is for gaussian noise: name another inference")
        if infer is sparse_gp:
            shown = progress is not False
            fitted: FittedGP = sparse_gp(problem, seed=seed, progress=shown, **options)
        else:
            draws = infer(problem.gp, seed=seed, **options)
            if isinstance(problem.gp, LatentGPModel):
                draws = problem.gp.looked_at(draws)
            own = (problem.gp, problem.scaling, draws, problem.X, problem.y)
            fitted = (LatentGP if latent else FittedGP)(*own, inference, seed, problem.priors)
    for message in fitted.draws.messages:
        warnings.warn(f"{inference}: {message}", InferenceWarning, stacklevel=2)
    return fitted
