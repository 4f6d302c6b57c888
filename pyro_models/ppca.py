"""PPCA: a linear Gaussian model, whose evidence and posterior are known exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.infer import Trace_ELBO
from pyro.infer.elbo import ELBO
from torch import Tensor, nn

from pyro_models.device import placed
from pyro_models.errors import UsageError
from pyro_models.likelihoods import Gaussian
from pyro_models.linear_gaussian import PPCAModel, normal_from_precision, principal_components
from pyro_models.pair import LatentSite, data_plate, fill_unseen, pixel_mask, register_with_svi

__all__ = ["PPCA"]

GUIDES = ("exact", "linear")


class ExactGuide(nn.Module):
    """q(z | x) = p(z | x), with the model's parameters detached: no parameters of its own."""

    def __init__(self, model: PPCAModel) -> None:
        super().__init__()
        # A bound method, not a submodule: the parameters belong to the model alone.
        self._model = model.forward

    @property
    def model(self) -> PPCAModel:
        """The model whose posterior this is."""
        model: PPCAModel = self._model.__self__  # type: ignore[attr-defined]
        return model

    def forward(
        self,
        x: Tensor,
        *,
        y: Tensor | None = None,
        n: int | None = None,
        mask: Tensor | None = None,
    ) -> None:
        """Sample z given x."""
        model = self.model
        with torch.no_grad():
            W, mu, sigma = model.W, model.mu, model.sigma
            x = placed(x, W)
            seen = pixel_mask(mask, model.data_shape, x)
            mean, chol, _ = model.posterior(x, seen, W, mu, sigma)
            q_z = normal_from_precision(mean, chol, sigma)
        with data_plate(x, n, x), torch.autocast(x.device.type, enabled=False):
            pyro.sample("z", q_z)


class LinearGuide(nn.Module):
    """q(z | x) = N(A x + b, L Lᵀ): the family that holds the exact posterior of fully seen data."""

    def __init__(self, dim: int, latent_dim: int) -> None:
        super().__init__()
        self.mean = nn.Linear(dim, latent_dim)
        self.raw_tril = nn.Parameter(torch.zeros(latent_dim, latent_dim))

    def scale_tril(self) -> Tensor:
        """L, lower triangular with positive diagonal, (q, q)."""
        return self.raw_tril.tril(-1) + torch.diag_embed(self.raw_tril.diagonal().exp())

    @torch.no_grad()
    def set_exact(self, W: Tensor, mu: Tensor, noise: float) -> None:
        """Let q(z | x) be the exact posterior N(M⁻¹ Wᵀ (x − μ), σ² M⁻¹), M = WᵀW + σ² I.

        Parameters
        ----------
        W, mu, noise
            (D, q), (D,) and σ², of the model.
        """
        M = W.T @ W + noise * torch.eye(W.shape[1], dtype=W.dtype, device=W.device)
        A = torch.linalg.solve(M, W.T)
        tril = torch.linalg.cholesky(noise * torch.linalg.inv(M))
        self.mean.weight.copy_(A)
        self.mean.bias.copy_(-A @ mu)
        self.raw_tril.copy_(tril.tril(-1) + torch.diag(tril.diagonal().log()))

    def forward(
        self,
        x: Tensor,
        *,
        y: Tensor | None = None,
        n: int | None = None,
        mask: Tensor | None = None,
    ) -> None:
        """Sample z given x; unseen pixels are fed as 0."""
        register_with_svi(self)
        x = placed(x, next(self.parameters()))
        seen = pixel_mask(mask, tuple(x.shape[1:]), x)
        with data_plate(x, n, x), torch.autocast(x.device.type, enabled=False):
            mean = self.mean(fill_unseen(x, seen).flatten(1))
            pyro.sample("z", dist.MultivariateNormal(mean, scale_tril=self.scale_tril()))


class PPCA(nn.Module):
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

    num_classes = None

    def __init__(
        self, data_shape: Sequence[int], *, latent_dim: int = 2, guide: str = "exact"
    ) -> None:
        super().__init__()
        self.data_shape = tuple(data_shape)
        self.latent_dim = latent_dim
        dim = math.prod(self.data_shape)
        if latent_dim >= dim:
            raise UsageError(
                f"PPCA needs fewer components than the {dim} values of a datum; got {latent_dim}"
            )
        if guide not in GUIDES:
            raise UsageError(f"unknown PPCA guide {guide!r}: choose from {', '.join(GUIDES)}")
        self.guide_name = guide
        self.model = PPCAModel(self.data_shape, latent_dim)
        self.guide = ExactGuide(self.model) if guide == "exact" else LinearGuide(dim, latent_dim)

    @classmethod
    def maximum_likelihood(
        cls, x: Tensor, *, latent_dim: int, ddof: int = 0, guide: str = "exact"
    ) -> PPCA:
        """The global maximum of the likelihood in closed form (Tipping & Bishop 1999, eq. 7–8).

        W and σ² as :func:`pyro_models.linear_gaussian.principal_components` has them.

        Parameters
        ----------
        x
            Data (N, \\*data_shape); computed in float64.
        latent_dim
            q.
        ddof
            0 is maximum likelihood; 1 is the covariance of ``sklearn.decomposition.PCA``.
        guide
            As for the constructor; its own weights are those of the exact posterior.

        Raises
        ------
        UsageError
            If there are fewer than ``ddof`` + 2 data, or an option does not fit.
        """
        if len(x) <= ddof + 1:
            raise UsageError(f"PPCA in closed form needs at least {ddof + 2} data; got {len(x)}")
        pair = cls(x.shape[1:], latent_dim=latent_dim, guide=guide).to(x.device, x.dtype)
        flat = x.detach().cpu().double().flatten(1)
        W, mu, noise = principal_components(flat, latent_dim=latent_dim, ddof=ddof)
        with torch.no_grad():
            pair.model.mu.copy_(mu)
            pair.model.W.copy_(W)
            pair.model.set_sigma(math.sqrt(noise))
            pair.model.started.fill_(True)
        if isinstance(pair.guide, LinearGuide):
            pair.guide.set_exact(W, mu, noise)
        return pair

    @property
    def likelihood(self) -> Gaussian:
        """p(x | z), one σ."""
        return self.model.likelihood

    @property
    def latent_sites(self) -> dict[str, LatentSite]:
        """One continuous site, z."""
        return {"z": LatentSite((self.latent_dim,))}

    @property
    def started(self) -> bool:
        """Whether the parameters come from data already."""
        return bool(self.model.started)

    @torch.no_grad()
    def start_from(self, x: Tensor, *, seed: int = 0) -> str:
        """Start training at the data's mean and total variance; returns a name for the record."""
        generator = torch.Generator().manual_seed(seed)
        flat = placed(x, self.model.W).flatten(1)
        scale = float(flat.var(0, correction=0).mean().sqrt().clamp_min(1e-6))
        self.model.mu.copy_(flat.mean(0))
        W = torch.randn(self.model.W.shape, generator=generator, dtype=torch.float64)
        self.model.W.copy_(W * 0.1 * scale)
        self.model.set_sigma(scale)
        self.model.started.fill_(True)
        return "mean and total variance of the data"

    def decode(
        self, latents: Mapping[str, Tensor], *, y: Tensor | None = None
    ) -> dict[str, TorchDistribution]:
        """p(x | z) for ``latents["z"]`` of shape (\\*batch, latent_dim)."""
        return {"x": self.likelihood(self.model.decoder(placed(latents["z"], self.model.W)))}

    def elbo(self) -> ELBO:
        """Trace_ELBO: one sample of z; with the exact guide its log-weights have no variance."""
        return Trace_ELBO(max_plate_nesting=1)

    def _exact(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
        """W, μ, σ, then the posterior's mean, Cholesky factor and residual; float64 if possible."""
        x = x.to(self.model.W.device)
        kind = x.dtype if x.device.type == "mps" else torch.float64
        W, mu, sigma = (t.to(kind) for t in (self.model.W, self.model.mu, self.model.sigma))
        seen = pixel_mask(mask, self.data_shape, x)
        return (W, mu, sigma, *self.model.posterior(x.to(kind), seen, W, mu, sigma))

    def exact_log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """log p(x_seen) = log N(x; μ, W Wᵀ + σ² I) over seen pixels, (B,), nats, any mask.

        By the matrix inversion lemma, so that only q × q matrices are factorised.
        """
        x = x.to(self.model.W.device)
        W, _, sigma, _, chol, residual = self._exact(x, mask)
        q = W.shape[1]
        seen = pixel_mask(mask, self.data_shape, x)
        n_seen = residual.shape[1] if seen is None else seen.flatten(1).sum(1, dtype=W.dtype)
        projected = torch.linalg.solve_triangular(
            chol, (residual @ W).unsqueeze(-1), upper=False
        ).squeeze(-1)
        quadratic = (residual.square().sum(1) - projected.square().sum(1)) / sigma.square()
        log_det = (n_seen - q) * 2 * sigma.log() + 2 * chol.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return (-0.5 * (n_seen * math.log(2 * math.pi) + log_det + quadratic)).to(x.dtype)

    def exact_posterior(self, x: Tensor, mask: Tensor | None = None) -> TorchDistribution:
        """p(z | x_seen), a multivariate Normal of batch shape (B,), event shape (q,)."""
        _, _, sigma, mean, chol, _ = self._exact(x, mask)
        kind = x.dtype
        return normal_from_precision(mean.to(kind), chol.to(kind), sigma.to(kind))

    def exact_conditional(self, x: Tensor, mask: Tensor) -> dist.LowRankMultivariateNormal:
        """p(x_unseen | x_seen) as a Normal over all D pixels, batch shape (B,), event shape (D,).

        W z + μ + ε under p(z | x_seen): its marginal over the unseen pixels is the exact
        conditional; at a seen pixel it predicts a fresh noisy copy, not what was given.
        """
        W, mu, sigma, mean, chol, _ = self._exact(x, mask)
        # σ² M⁻¹ = C Cᵀ with C = σ chol⁻ᵀ
        eye = torch.eye(W.shape[1], dtype=W.dtype, device=W.device)
        C = sigma * torch.linalg.solve_triangular(chol, eye.expand_as(chol), upper=False).mT
        loc = mean @ W.T + mu
        noise = sigma.square().expand(loc.shape)
        factor = (W @ C).expand(len(loc), -1, -1)
        return dist.LowRankMultivariateNormal(
            loc.to(x.dtype), factor.to(x.dtype), noise.to(x.dtype)
        )

    def conditional_mean(self, x: Tensor, mask: Tensor) -> Tensor:
        """E[x | x_seen], (B, \\*data_shape), exactly; seen pixels are as given."""
        x = x.to(self.model.W.device)
        mean: Tensor = self.exact_conditional(x, mask).mean
        return torch.where(self._seen(x, mask), x, mean.unflatten(-1, self.data_shape))

    def conditional_sample(self, x: Tensor, mask: Tensor, *, n: int) -> Tensor:
        """n draws from p(x | x_seen) for each datum, (n, B, \\*data_shape), exactly.

        Seen pixels are as given. Draws come from torch's global generator.
        """
        x = x.to(self.model.W.device)
        draws: Tensor = self.exact_conditional(x, mask).sample(torch.Size((n,)))
        return torch.where(self._seen(x, mask), x, draws.unflatten(-1, self.data_shape))

    def _seen(self, x: Tensor, mask: Tensor) -> Tensor:
        seen = pixel_mask(mask, self.data_shape, x)
        assert seen is not None
        return seen

    def config(self) -> dict[str, Any]:
        """Plain values that rebuild the pair."""
        return {
            "data_shape": list(self.data_shape),
            "latent_dim": self.latent_dim,
            "guide": self.guide_name,
        }
