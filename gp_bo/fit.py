"""Fit a Gaussian process: a kernel, priors, and how its hyper-parameters are inferred."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gp_bo.fitted import Array, FittedGP, as_inputs, as_outputs
from gp_bo.inference import infer_hyperparameters
from gp_bo.kernels import Kernel, make_kernel
from gp_bo.model import GPModel
from gp_bo.scaling import Scaling
from pyro_models import UsageError

__all__ = ["InferenceWarning", "build_model", "fit_gp"]


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
    priors: Mapping[str, Any] | None = None,
    scale: bool | None = None,
    seed: int = 0,
    **options: Any,
) -> FittedGP:
    """Gaussian-process regression, y = f(x) + ε, f ~ GP(m_θ, k_θ), ε ~ N(0, σ_n²).

    Parameters
    ----------
    X, y
        Inputs, (n, d) or (n,), and outputs, (n,); arrays or tensors, computed with in float64.
    kernel
        A name or formula of names (``"rbf + periodic"``), or a :class:`gp_bo.kernels.Kernel`.
    inference
        How the hyper-parameters θ are inferred, one of ``gp_bo.inference.INFERENCES``.
    noise
        ``"learned"``, or a number: the noise *variance* σ_n² in the output's unit squared.
    mean
        ``"zero"``, ``"constant"`` or ``"linear"``. With scaling, zero is the mean of the outputs.
    priors
        Name of a hyper-parameter to a distribution of ``pyro.distributions``, or to a number, which
        fixes it. Others keep their default prior, made for scaled data.
    scale
        Inputs to the unit box and outputs to mean 0 and variance 1 while computing; whatever is
        returned is in original units again. By default on, unless ``priors`` are given: these are
        taken to be stated in original units. With ``scale=True`` they are of the scaled ones.
    seed
        Of everything random.
    options
        Of the inference.

    Returns
    -------
    FittedGP
        Draws of θ, predictions, functions, scores, diagnostics.

    Raises
    ------
    UsageError
        If data, names, priors or options are wrong: one line says which.

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
    X = as_inputs(X)
    y = as_outputs(y, len(X))
    if noise == 0:
        X, y = _distinct(X, y)
    if len(X) < 2:
        raise UsageError(f"a Gaussian process needs at least two points; got {len(X)}")
    priors = dict(priors or {})
    scale = not priors if scale is None else scale
    scaling = Scaling.of(X, y) if scale else Scaling.none(X.shape[1])
    gp = build_model(X, y, kernel=kernel, mean=mean, noise=noise, priors=priors, scaling=scaling)
    draws = infer_hyperparameters(gp, inference, seed=seed, **options)
    for message in draws.messages:
        warnings.warn(f"{inference}: {message}", InferenceWarning, stacklevel=2)
    return FittedGP(gp, scaling, draws, X, y, inference, seed, priors)


def build_model(
    X: Tensor,
    y: Tensor,
    *,
    kernel: str | Kernel,
    mean: str,
    noise: str | float,
    priors: Mapping[str, Any],
    scaling: Scaling,
) -> GPModel:
    """The Pyro model of scaled data; arguments as in :func:`fit_gp`.

    Raises
    ------
    UsageError
        If the noise is neither learned nor a variance, or a name or prior does not fit.
    """
    priors = dict(priors)
    if noise != "learned":
        if isinstance(noise, str) or not noise >= 0:
            raise UsageError(f"noise is 'learned' or a variance, at least 0; got {noise!r}")
        if "noise" in priors:
            raise UsageError("a fixed noise has no prior: leave one of them out")
        priors["noise"] = float(noise) / float(scaling.spread) ** 2
    return GPModel(
        scaling.inputs(X), scaling.outputs(y), kernel=make_kernel(kernel), mean=mean, priors=priors
    )


def _distinct(X: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Each input once, in the order of first occurrence: a function has one output there."""
    _, group = torch.unique(X, dim=0, return_inverse=True)
    first = torch.full_like(group, len(X)).scatter_reduce(0, group, torch.arange(len(X)), "amin")
    if bool((y != y[first[group]]).any()):
        raise UsageError(
            "one input has two different outputs, which a function without noise cannot have: "
            "allow some noise"
        )
    kept = first[first < len(X)].sort().values
    return X[kept], y[kept]
