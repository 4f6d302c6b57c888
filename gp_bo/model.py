"""The Pyro model p(θ) p(y | X, θ) of a Gaussian process with Gaussian noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from gp_bo.cholesky import cholesky
from gp_bo.evidence import Evidence
from gp_bo.hyperparameters import HyperParameters
from gp_bo.kernels import HyperParameter, Kernel, log_normal
from gp_bo.means import mean_hyperparameters
from gp_bo.scaling import far_origin
from pyro_models import UsageError

__all__ = ["GPModel"]


class GPModel(nn.Module):
    """θ ~ p(θ), y | X, θ ~ N(m_θ(X), K_θ + σ_n² I).

    Called without arguments it is an ordinary Pyro model: one ``pyro.sample`` per hyper-parameter
    that is not fixed, and ``y`` observed. Plates around it are allowed: particles are vectorised.

    Inputs (n, d) and outputs (n,) are float64, on the device where everything is computed. Priors
    are Pyro distributions by name, or numbers, which fix θ; ``noise`` is σ_n².

    Examples
    --------
    >>> from gp_bo.kernels import RBF
    >>> X = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None]
    >>> gp = GPModel(X, X.sin()[:, 0], kernel=RBF(), mean="zero", priors={"noise": 1e-4})
    >>> gp.hyperparameters.column_names()
    ['lengthscale', 'variance']
    """

    def __init__(
        self, X: Tensor, y: Tensor, *, kernel: Kernel, mean: str, priors: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.X, self.y = X, y
        self.kernel, self.mean = kernel, mean
        self.evidence = Evidence(X, y, kernel)
        self.origin = far_origin(X)
        dim = X.shape[1]
        noise = HyperParameter("noise", (), log_normal(-4.0, 1.0), 0, 2)
        declared = [*kernel.hyperparameters(dim), *mean_hyperparameters(mean, dim), noise]
        names = [h.name for h in declared]
        twice = ", ".join(sorted({name for name in names if names.count(name) > 1}))
        if twice:
            raise UsageError(
                f"{twice} is a hyper-parameter of the kernel, and of mean or noise as well: give "
                "it another name in the kernel"
            )
        self.hyperparameters = HyperParameters(declared, priors, device=X.device)

    def with_data(self, X: Tensor, y: Tensor) -> GPModel:
        """The same kernel, mean and priors with other data, (n, d) and (n,)."""
        hyper = self.hyperparameters
        priors = {**{s.parameter.name: s.prior for s in hyper.sites}, **hyper.fixed}
        return GPModel(X, y, kernel=self.kernel, mean=self.mean, priors=priors)

    @property
    def device(self) -> torch.device:
        """Where its data are."""
        return self.y.device

    def forward(self) -> dict[str, Tensor]:
        """Sample every hyper-parameter and observe y; returns θ by name."""
        theta = dict(self.hyperparameters.fixed)
        for site in self.hyperparameters.sites:
            theta[site.parameter.name] = pyro.sample(site.parameter.name, site.prior)
        shapes = self.hyperparameters.declared
        batch = torch.broadcast_shapes(
            *(v.shape[: v.dim() - len(shapes[name].shape)] for name, v in theta.items())
        )
        flat = {
            name: v.expand((*batch, *shapes[name].shape)).reshape(-1, *shapes[name].shape)
            for name, v in theta.items()
        }
        loc, covariance = self.evidence.moments(flat)
        loc, tril = loc.reshape(*batch, -1), cholesky(covariance)[0]
        tril = tril.reshape(*batch, *tril.shape[-2:])
        # a covariance without a factor has density NaN, which who evaluates it must expect
        normal = dist.MultivariateNormal(loc, scale_tril=tril, validate_args=False)
        pyro.sample("y", normal, obs=self.y)
        return theta
