"""Our draws of θ as a BoTorch model, and BoTorch's noisy expected improvement over them.

BoTorch's own fully Bayesian models take their draws from JAX and NumPyro. Here they come from any
inference of :func:`gp_bo.fit_gp`; BoTorch sees an ensemble and averages its acquisition functions.
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import torch
from torch import Tensor

from gp_bo.optimize.acquisition.multistart import maximize_by_multistart
from gp_bo.optimize.region import Region
from gp_bo.optimize.surrogate import Surrogate
from pyro_models import UsageError
from pyro_models.counts import check_counts

__all__ = ["NoisyImprovement", "botorch_model"]


def _need_botorch() -> None:
    if importlib.util.find_spec("botorch") is None:
        raise UsageError("this needs BoTorch: pip install 'pyro-models[bo]'")


def botorch_model(surrogate: Surrogate) -> Any:
    """A :class:`botorch.models.model.Model` whose posterior is that of the surrogate.

    BoTorch maximises, so it is the posterior of −f: values are standardised and sign-flipped,
    inputs are of the unit cube. The model is an ensemble of S: for X (…, q, D) the posterior has
    batch shape (…, S), as in BoTorch's fully Bayesian models. Without BoTorch, a ``UsageError``.
    """
    _need_botorch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # BoTorch's imports warn of torch.jit
        from botorch.models.model import Model
        from botorch.posteriors.fully_bayesian import GaussianMixturePosterior
    from gpytorch.distributions import MultivariateNormal

    class Ensemble(Model):
        """S Gaussian processes."""

        _is_fully_bayesian = True
        _is_ensemble = True

        @property
        def num_outputs(self) -> int:
            return 1

        @property
        def batch_shape(self) -> torch.Size:
            return torch.Size([surrogate.draws])

        def posterior(self, X: Tensor, *_: Any, posterior_transform: Any = None, **__: Any) -> Any:
            X = X.to(surrogate.x)
            mean, covariance = _blocks(surrogate, X)
            jitter = 1e-10 * torch.eye(X.shape[-2], dtype=X.dtype, device=X.device)
            posterior = GaussianMixturePosterior(MultivariateNormal(-mean, covariance + jitter))
            return posterior if posterior_transform is None else posterior_transform(posterior)

    return Ensemble()


def _blocks(surrogate: Surrogate, X: Tensor) -> tuple[Tensor, Tensor]:
    """Joint posteriors of q points each: X (…, q, D) → (…, S, q) and (…, S, q, q)."""
    *batch, q, columns = X.shape
    blocks, shape = X.reshape(-1, q, columns), (*batch, surrogate.draws, q)
    mean, half = surrogate.from_data(blocks.reshape(-1, columns))
    # (S, n, count, q): only pairs within a block are multiplied
    half = half.reshape(*half.shape[:2], len(blocks), q)
    explained = torch.einsum("snbq,snbr->bsqr", half, half)
    prior = torch.func.vmap(lambda block: surrogate.covariance(block, block))(blocks)
    mean = mean.reshape(-1, len(blocks), q).transpose(0, 1).reshape(shape)
    return mean, (prior - explained).reshape(*shape, q)


class NoisyImprovement:
    """log E max(0, min f(X) − f(z)) with f at the data unknown too: BoTorch's qLogNoisyEI.

    For noisy values: the best of the points tried is uncertain, and is drawn together with f(z)
    (Letham et al. 2019; Ament et al. 2023). Needs the extra ``bo``.

    Parameters
    ----------
    samples
        Quasi-Monte Carlo draws.
    """

    def __init__(self, *, samples: int = 128) -> None:
        _need_botorch()
        check_counts(samples=samples)
        self.samples = samples

    def function(self, surrogate: Surrogate, *, seed: int) -> Any:
        """BoTorch's acquisition function, of points (…, q, D)."""
        model = botorch_model(surrogate)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from botorch.acquisition.logei import qLogNoisyExpectedImprovement
            from botorch.sampling.normal import SobolQMCNormalSampler
        with torch.no_grad():
            return qLogNoisyExpectedImprovement(
                model,
                X_baseline=surrogate.x,
                sampler=SobolQMCNormalSampler(torch.Size([self.samples]), seed=seed),
                prune_baseline=True,
                cache_root=False,
            )

    def __call__(self, surrogate: Surrogate, region: Region, *, seed: int) -> Tensor:
        """The point of the region where it is largest, (D,)."""
        function = self.function(surrogate, seed=seed)
        return maximize_by_multistart(
            lambda z: function(z[:, None]), region, seed=seed, raw=128, starts=4, steps=50
        )
