"""The model of PPCA, linear and Gaussian: its exact posterior, and its maximum likelihood."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_models.errors import NotPositiveDefiniteError, UsageError
from pyro_models.likelihoods import Gaussian
from pyro_models.likelihoods.likelihood import widened
from pyro_models.models.model import Model
from pyro_models.moments import directions
from pyro_models.pair import fill_unseen, pixel_mask
from pyro_models.priors import StandardNormal

__all__ = ["PPCAModel", "no_noise_left", "principal_components"]


class PPCAModel(Model):
    """p(x, z) = N(x; W z + μ, σ² I) N(z; 0, I_q).

    The parameters ``W``, ``mu`` and s are in the units of the likelihood, so that one learning rate
    serves data of any scale; ``loadings``, ``loc`` and ``sigma`` are W, μ and σ in those of the
    data. Both are the same until a start from data that are far from 0, large or tiny.
    """

    likelihood: Gaussian
    started: Tensor

    def __init__(self, data_shape: tuple[int, ...], latent_dim: int) -> None:
        super().__init__(Gaussian(data_shape, scale="global", floor=0.0))
        dim = math.prod(data_shape)
        self.prior = StandardNormal(latent_dim)
        self.W = nn.Parameter(torch.randn(dim, latent_dim) * 0.1)
        self.mu = nn.Parameter(torch.zeros(dim))
        self.register_buffer("started", torch.tensor(False))

    @property
    def sigma(self) -> Tensor:
        """Noise standard deviation σ, a scalar, in units of the data."""
        return self.likelihood.units.overall * F.softplus(self.likelihood.raw_scale)

    @property
    def loadings(self) -> Tensor:
        """W in units of the data, (D, q)."""
        units = self.likelihood.units
        return self.W if units.as_they_are else units.scale.reshape(-1, 1) * self.W

    @property
    def loc(self) -> Tensor:
        """μ in units of the data, (D,)."""
        return self.likelihood.units.restored(self.mu.reshape(self.data_shape)).reshape(-1)

    @torch.no_grad()
    def set_sigma(self, sigma: float) -> None:
        """Let σ be this value, in units of the data."""
        sigma /= float(self.likelihood.units.overall)
        # log(expm1(σ)), written so that neither a tiny nor a large σ overflows
        self.likelihood.raw_scale.fill_(sigma + math.log(-math.expm1(-sigma)))

    def decoder(self, z: Tensor) -> Tensor:
        """W z + μ in the likelihood's units, (\\*batch, q) to (\\*batch, 1, \\*data_shape)."""
        with torch.autocast(z.device.type, enabled=False):
            return (F.linear(z, self.W) + self.mu).unflatten(-1, (1, *self.data_shape))

    def story(self, y: Tensor | None) -> Tensor:
        """z from the prior, and W z + μ."""
        return self.decoder(pyro.sample("z", self.prior()))

    def exact(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
        """p(z | x_seen) = N(M⁻¹ Wᵀ r, σ² M⁻¹) with M = WᵀW + σ² I over seen rows of W.

        All of it is in float64 where the device has it, whatever x is. Returns W (D, q), μ (D,) and
        σ in units of the data, M⁻¹ Wᵀ r (B, q), the Cholesky factor of M ((q, q), or
        (B or 1, q, q) under a mask), and r = x − μ (B, D), 0 where unseen.
        """
        x = x.to(self.W.device)
        mask = pixel_mask(mask, self.data_shape, x)
        x = widened(x)
        W, mu, sigma = (t.to(x.dtype) for t in (self.loadings, self.loc, self.sigma))
        with torch.autocast(x.device.type, enabled=False):
            residual = fill_unseen(x, mask).flatten(1) - mu
            seen: Tensor | float = 1.0
            if mask is None:
                M = W.T @ W
            else:
                seen = mask.flatten(1).to(W.dtype)
                residual = residual * seen
                M = torch.einsum("bd,di,dj->bij", seen, W, W)
            eye = torch.eye(W.shape[1], dtype=W.dtype, device=W.device)
            try:
                chol = torch.linalg.cholesky(M + sigma.square() * eye)
            except torch.linalg.LinAlgError:
                raise NotPositiveDefiniteError(
                    "the noise of this PPCA is too small beside W, or a parameter is not finite, "
                    "for the posterior of z to be computed: learn it with a larger floor of σ²"
                ) from None

            def solved(right: Tensor) -> Tensor:
                return torch.cholesky_solve(right.unsqueeze(-1), chol).squeeze(-1)

            mean = solved(residual @ W)
            # once more for what is left: M squares W, which loses digits where σ is small beside it
            left = ((residual - mean @ W.T) * seen) @ W - sigma.square() * mean
            return W, mu, sigma, mean + solved(left), chol, residual

    def exact_posterior(self, x: Tensor, mask: Tensor | None) -> dist.MultivariateNormal:
        """p(z | x_seen) = N(mean, σ² M⁻¹), (B, q).

        Its Cholesky factor is computed in the float type of :meth:`exact`, and only then rounded.
        """
        _, _, sigma, mean, chol, _ = self.exact(x, mask)
        with torch.autocast(mean.device.type, enabled=False):
            tril = chol / sigma
            normal = dist.MultivariateNormal(mean, precision_matrix=tril @ tril.mT)
            tril = normal.scale_tril.to(x.dtype)
            return dist.MultivariateNormal(mean.to(x.dtype), scale_tril=tril)


def principal_components(
    x: Tensor, *, latent_dim: int, ddof: int = 0, floor: float = 0.0
) -> tuple[Tensor, Tensor, float]:
    """W (D, q), μ (D,) and σ² of maximum likelihood (Tipping & Bishop 1999, eq. 7–8).

    W = U_q (Λ_q − σ² I)^½ from the eigenvectors U and eigenvalues λ of the sample covariance S = Σ
    (x − μ)(x − μ)ᵀ / (N − ddof) of x (N, D), of any offset and scale, the largest first, and σ² =
    mean of the D − q smallest λ, or the floor if that is larger: then this W maximises the
    likelihood under that σ². A ``ddof`` of 0 is maximum likelihood, 1 the covariance of
    ``sklearn.decomposition.PCA``. Where nothing is left for the noise, and there is no floor, that
    is refused: data that vary in r directions have a σ² > 0 for q < r only.

    >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.5], [0.0, -0.5]])
    >>> W, _, noise = principal_components(x, latent_dim=1)
    >>> round(float(W.square().sum() + noise), 12), round(noise, 12)  # the eigenvalues of S
    (0.5, 0.125)
    """
    found = directions(x)
    if not floor and found.rank <= latent_dim:
        most = f"take latent_dim at most {found.rank - 1}"
        more = "give data that vary in more directions"
        raise UsageError(
            f"{no_noise_left(len(x), found.rank, latent_dim)}; {more if found.rank < 2 else most}, "
            "or give floor, the least σ², in squared units of the data"
        )
    eigenvalues = found.scales.square() / (len(x) - ddof)
    # the others of the D eigenvalues are 0
    noise = max(float(eigenvalues[latent_dim:].sum()) / (x.shape[1] - latent_dim), floor)
    W = x.new_zeros(x.shape[1], latent_dim, dtype=eigenvalues.dtype)
    top = found.vectors[:, :latent_dim] * (eigenvalues[:latent_dim] - noise).clamp_min(0).sqrt()
    W[:, : top.shape[1]] = top
    return W, found.mean, noise


def no_noise_left(num_data: int, rank: int, latent_dim: int) -> str:
    """Why σ² of the maximum likelihood is 0."""
    who = f"{num_data} data that vary in {rank} direction{'s' * (rank > 1)} only leave"
    if rank == 0:
        who = f"{num_data} data that are all the same leave"
    if num_data == 1:
        who = "one datum leaves"
    return (
        f"{who} no noise beside latent_dim = {latent_dim}: σ² goes to 0 and the likelihood has no "
        "maximum"
    )
