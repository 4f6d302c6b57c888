"""PPCA: a linear Gaussian model, whose evidence and posterior are known exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_models.data.masks import Mask
from pyro_models.device import placed
from pyro_models.errors import UsageError
from pyro_models.models.guide import Guide
from pyro_models.models.linear_gaussian import PPCAModel, no_noise_left, principal_components
from pyro_models.models.model_and_guide import ModelAndGuide
from pyro_models.moments import directions, mean_of, spread_of
from pyro_models.observed import checked, training_data
from pyro_models.pair import LatentSite, data_plate, needed_mask
from pyro_models.registry import check_choice
from pyro_models.units import set_units

__all__ = ["PPCA"]

GUIDES = ("exact", "linear")


class ExactGuide(nn.Module):
    """q(z | x) = p(z | x), with the model's parameters detached: no parameters of its own."""

    model: PPCAModel

    def __init__(self, model: PPCAModel) -> None:
        super().__init__()
        self.__dict__["model"] = model  # no submodule: the parameters belong to the model alone

    def forward(self, x: Tensor, *, mask: Tensor | None = None, **given: Any) -> None:
        """Sample z given x."""
        with torch.no_grad():
            x = placed(x, self.model.W)
            q_z = self.model.exact_posterior(x, mask)
        with data_plate(x, None, x), torch.autocast(x.device.type, enabled=False):
            pyro.sample("z", q_z)


class LinearGuide(Guide):
    """q(z | x) = N(A x + b, L Lᵀ): the family that holds the exact posterior of fully seen data."""

    def __init__(self, data_shape: tuple[int, ...], latent_dim: int) -> None:
        super().__init__(data_shape)
        self.mean = nn.Linear(math.prod(data_shape), latent_dim)
        self.raw_tril = nn.Parameter(torch.zeros(latent_dim, latent_dim))

    def scale_tril(self) -> Tensor:
        """L, lower triangular with positive diagonal, (q, q)."""
        return self.raw_tril.tril(-1) + torch.diag_embed(self.raw_tril.diagonal().exp())

    @torch.no_grad()
    def set_exact(self, W: Tensor, mu: Tensor, noise: float) -> None:
        """Let q(z | x) be the exact N(M⁻¹ Wᵀ (x − μ), σ² M⁻¹), M = WᵀW + σ² I."""
        overall = float(self.units.overall)
        W, noise = W / overall, noise / overall**2
        mu = (mu - self.units.centre.flatten().to(mu)) / overall
        M = W.T @ W + noise * torch.eye(W.shape[1], dtype=W.dtype, device=W.device)
        A = torch.linalg.solve(M, W.T)
        tril = torch.linalg.cholesky(noise * torch.linalg.inv(M))
        self.mean.weight.copy_(A)
        self.mean.bias.copy_(-A @ mu)
        self.raw_tril.copy_(tril.tril(-1) + torch.diag(tril.diagonal().log()))

    def story(self, x: Tensor, y: Tensor | None) -> None:
        """Sample z given x."""
        with torch.autocast(x.device.type, enabled=False):
            mean = self.mean(x.flatten(1))
            pyro.sample("z", dist.MultivariateNormal(mean, scale_tril=self.scale_tril()))


class PPCA(ModelAndGuide):
    """Probabilistic principal component analysis (Tipping & Bishop 1999).

    x = W z + μ + ε, z ~ N(0, I_q), ε ~ N(0, σ² I), hence p(x) = N(μ, W Wᵀ + σ² I).

    Parameters
    ----------
    data_shape
        Shape of one datum; it is treated as a vector of D values.
    latent_dim
        q, the number of components.
    guide
        ``"exact"``: p(z | x) itself, model parameters detached (SVI then follows the gradient of
        log p(x)). ``"linear"``: an amortised Normal with its own weights.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    >>> ppca = PPCA.maximum_likelihood(x, latent_dim=2)
    >>> ppca.exact_log_prob(x).shape
    torch.Size([200])
    """

    options_of_guide = ("guide",)
    model: PPCAModel
    latent_dim: int

    def __init__(
        self, data_shape: Sequence[int], *, latent_dim: int = 2, guide: str = "exact"
    ) -> None:
        shape = tuple(data_shape)
        dim = math.prod(shape)
        if latent_dim >= dim:
            raise UsageError(
                f"PPCA needs fewer components than the {dim} values of a datum; got {latent_dim}"
            )
        check_choice("PPCA guide", guide, GUIDES)
        model = PPCAModel(shape, latent_dim)
        exact = guide == "exact"
        super().__init__(model, ExactGuide(model) if exact else LinearGuide(shape, latent_dim))
        self.guide_name = guide

    def chosen(self) -> list[str]:
        """The number of components, and the guide where it is not exact."""
        count = f"{self.latent_dim} component{'s' if self.latent_dim > 1 else ''}"
        return [count] if self.guide_name == "exact" else [count, f"{self.guide_name} guide"]

    @classmethod
    def maximum_likelihood(
        cls, x: Tensor, *, latent_dim: int, ddof: int = 0, guide: str = "exact", floor: float = 0.0
    ) -> PPCA:
        """The global maximum of the likelihood in closed form (Tipping & Bishop 1999, eq. 7–8).

        W and σ² as :func:`pyro_models.models.linear_gaussian.principal_components` has them.

        Parameters
        ----------
        x, latent_dim
            Data (N, \\*data_shape), computed in float64, and q.
        ddof
            0 is maximum likelihood; 1 is the covariance of ``sklearn.decomposition.PCA``.
        guide
            As for the constructor; its own weights are those of the exact posterior.
        floor
            Least σ², in squared units of the data; the maximum is then the one under this bound.

        Raises
        ------
        UsageError
            If there are fewer than ``ddof`` + 2 data, if these vary in no more than q directions
            (σ² would be 0 and the likelihood unbounded) and there is no floor, or if an option
            does not fit.
        """
        x = training_data(x, least=0)
        if not 0 <= floor < math.inf:
            raise UsageError(f"the floor of σ² must be a finite number, at least 0; got {floor}")
        if len(x) <= ddof + 1:
            raise UsageError(f"PPCA in closed form needs at least {ddof + 2} data; got {len(x)}")
        pair = cls(x.shape[1:], latent_dim=latent_dim, guide=guide).to(x.device, x.dtype)
        flat = x.detach().cpu().flatten(1)
        W, mu, noise = principal_components(flat, latent_dim=latent_dim, ddof=ddof, floor=floor)
        with torch.no_grad():
            pair.model.mu.copy_(mu)
            pair.model.W.copy_(W)
            pair.model.set_sigma(math.sqrt(noise))
            pair.model.started.fill_(True)
        if isinstance(pair.guide, LinearGuide):
            set_units(pair.guide, x, one_scale=True)
            pair.guide.set_exact(W, mu, noise)
        return pair

    @property
    def latent_sites(self) -> Mapping[str, LatentSite]:
        """One continuous site, z."""
        return {"z": LatentSite((self.latent_dim,))}

    @property
    def started(self) -> bool:
        """Whether the parameters come from data already."""
        return bool(self.model.started)

    @torch.no_grad()
    def start_from(self, x: Tensor, *, seed: int = 0) -> str:
        """Start training at the data's mean and total variance; returns a name for the record.

        A linear guide starts at the exact posterior of that. Data that do not vary have no scale:
        a millionth of their size stands for it.
        """
        x = training_data(x, self.data_shape)
        generator = torch.Generator().manual_seed(seed)
        mu = mean_of(x).flatten().cpu()
        scale = float(spread_of(x).square().mean().sqrt()) or 1e-6 * (float(x.abs().max()) or 1.0)
        set_units(self, x, one_scale=True)
        W = torch.randn(self.model.W.shape, generator=generator, dtype=torch.float64) * 0.1 * scale
        units = self.model.likelihood.units
        self.model.mu.copy_(units(mu.to(units.centre).reshape(self.data_shape)).flatten())
        self.model.W.copy_(W / float(units.overall))
        self.model.set_sigma(scale)
        self.model.started.fill_(True)
        if isinstance(self.guide, LinearGuide):
            self.guide.set_exact(W, mu, scale**2)
        return "mean and total variance of the data"

    @torch.no_grad()
    def no_maximum(self, x: Tensor) -> str:
        """Why the likelihood of these data is unbounded, if it is: they leave σ² nothing."""
        x = training_data(x, self.data_shape)
        for count in (4 * (self.latent_dim + 1), len(x)):  # a few data are mostly enough to see
            rank = directions(x[:count].cpu()).rank
            if rank > self.latent_dim:
                return ""
        return no_noise_left(len(x), rank, self.latent_dim)

    def exact_log_prob(self, x: Tensor, mask: Mask | None = None) -> Tensor:
        """log p(x_seen) = log N(x; μ, W Wᵀ + σ² I) over seen pixels, (B,), nats, any mask.

        Only q × q matrices are factorised, and with r = x − μ the quadratic form is
        min_z ‖r − W z‖² / σ² + ‖z‖², reached at the posterior's mean: a sum without cancellation,
        however small σ is.
        """
        x, seen = checked(self, x, mask)
        W, _, sigma, mean, chol, residual = self.model.exact(x, seen)
        q = W.shape[1]
        n_seen = residual.shape[1] if seen is None else seen.flatten(1).sum(1, dtype=W.dtype)
        unexplained = residual - mean @ W.T
        if seen is not None:
            unexplained = unexplained * seen.flatten(1)
        quadratic = (unexplained / sigma).square().sum(1) + mean.square().sum(1)
        log_det = (n_seen - q) * 2 * sigma.log() + 2 * chol.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return (-0.5 * (n_seen * math.log(2 * math.pi) + log_det + quadratic)).to(x.dtype)

    def exact_posterior(self, x: Tensor, mask: Mask | None = None) -> TorchDistribution:
        """p(z | x_seen), a multivariate Normal of batch shape (B,), event shape (q,)."""
        return self.model.exact_posterior(*checked(self, x, mask))

    def exact_conditional(self, x: Tensor, mask: Mask) -> dist.LowRankMultivariateNormal:
        """p(x_unseen | x_seen) as a Normal over all D pixels, batch shape (B,), event shape (D,).

        W z + μ + ε under p(z | x_seen): its marginal over the unseen pixels is the exact
        conditional; at a seen pixel it predicts a fresh noisy copy, not what was given.
        """
        x, seen = checked(self, x, mask)
        exact = self._conditional(x, seen)
        parts = (exact.loc, exact.cov_factor, exact.cov_diag)
        return dist.LowRankMultivariateNormal(*(part.to(x.dtype) for part in parts))

    def _conditional(self, x: Tensor, mask: Tensor | None) -> dist.LowRankMultivariateNormal:
        """The same in float64, where the device has it."""
        W, mu, sigma, mean, chol, _ = self.model.exact(x, mask)
        # σ² M⁻¹ = C Cᵀ with C = σ chol⁻ᵀ
        eye = torch.eye(W.shape[1], dtype=W.dtype, device=W.device)
        C = sigma * torch.linalg.solve_triangular(chol, eye.expand_as(chol), upper=False).mT
        loc = mean @ W.T + mu
        factor = (W @ C).expand(len(loc), -1, -1)
        return dist.LowRankMultivariateNormal(loc, factor, sigma.square().expand(loc.shape))

    def conditional_mean(self, x: Tensor, mask: Mask) -> Tensor:
        """E[x | x_seen], (B, \\*data_shape), exactly; seen pixels are as given."""
        return self._completed(x, mask, lambda p: p.mean)

    def conditional_sample(self, x: Tensor, mask: Mask, *, n: int) -> Tensor:
        """n draws from p(x | x_seen) for each datum, (n, B, \\*data_shape), exactly.

        Seen pixels are as given. Draws come from torch's global generator.
        """
        return self._completed(x, mask, lambda p: p.sample(torch.Size((n,))))

    def _completed(self, x: Tensor, mask: Mask, values: Callable[[Any], Tensor]) -> Tensor:
        x, seen = checked(self, x, mask)
        pixels = values(self._conditional(x, seen)).to(x.dtype)
        seen = needed_mask(seen, self.data_shape, x)
        return torch.where(seen, x, pixels.unflatten(-1, self.data_shape))
