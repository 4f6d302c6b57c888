"""GMM: a mixture of Gaussians, assignments summed out or inferred."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.infer import TraceGraph_ELBO
from pyro.infer.elbo import ELBO
from torch import Tensor, nn

from pyro_models.counts import layer_sizes
from pyro_models.errors import UsageError
from pyro_models.likelihoods import Gaussian
from pyro_models.models.clusters import FLOOR, floor_for, start_from_clusters
from pyro_models.models.guide import EmptyGuide, Guide
from pyro_models.models.mixture import Mixture, MixtureModel
from pyro_models.models.multivariate_normal import ImageMultivariateNormal
from pyro_models.networks import dense
from pyro_models.observed import training_data
from pyro_models.pair import fill_unseen
from pyro_models.registry import check_choice

__all__ = ["GMM"]

COVARIANCES = ("diagonal", "spherical", "tied", "full")
GUIDES = ("enumerate", "amortised")


class GMMModel(MixtureModel):
    """p(x, k) = π_k N(x; μ_k, Σ_k + ε I).

    Parameters are kept on the scale of the data, so that one learning rate serves all: with the
    data's centre c and scale S (standard deviations, or a Cholesky factor where Σ is a full
    matrix), μ_k = c + S m_k and Σ_k = S F_k F_kᵀ Sᵀ. Both c and S are buffers set by the start.
    """

    started: Tensor
    centre: Tensor
    data_scale: Tensor
    floor: float | Tensor

    def __init__(
        self, data_shape: tuple[int, ...], num_components: int, covariance: str, floor: float | None
    ) -> None:
        # the likelihood tells its kind: the measure and the data
        super().__init__(Gaussian(data_shape, scale=1.0), num_components)
        dim = math.prod(data_shape)
        self.covariance = covariance
        if floor is None:
            self.register_buffer("floor", torch.tensor(FLOOR))
        else:
            self.floor = floor
        self.dense = covariance in ("tied", "full")
        factor_shape: dict[str, tuple[int, ...]] = {
            "diagonal": (num_components, dim),
            "spherical": (num_components, 1),
            "tied": (dim, dim),
            "full": (num_components, dim, dim),
        }
        self.offset = nn.Parameter(torch.randn(num_components, dim))
        self.raw_factor = nn.Parameter(torch.zeros(factor_shape[covariance]))
        self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("data_scale", torch.eye(dim) if self.dense else torch.ones(dim))
        self.register_buffer("started", torch.tensor(False))

    def loc(self) -> Tensor:
        """μ, (K, D)."""
        scaled = self.offset @ self.data_scale.T if self.dense else self.offset * self.data_scale
        return self.centre + scaled

    def scale(self) -> Tensor:
        """Standard deviations (K, D) for diagonal and spherical covariances, floor included."""
        return ((self.data_scale * self.raw_factor.exp()).square() + self.floor).sqrt()

    def scale_tril(self) -> Tensor:
        """Cholesky factor of S F Fᵀ Sᵀ + ε I: (K, D, D), or (1, D, D) if tied."""
        raw = self.raw_factor if self.covariance == "full" else self.raw_factor.unsqueeze(0)
        factor = raw.tril(-1) + torch.diag_embed(raw.diagonal(dim1=-2, dim2=-1).exp())
        root = self.data_scale @ factor
        eye = torch.eye(root.shape[-1], dtype=root.dtype, device=root.device)
        return torch.linalg.cholesky(root @ root.mT + self.floor * eye)

    def component(self, k: Tensor, mask: Tensor | None = None) -> TorchDistribution:
        """p(x | k) for k of any batch shape; unseen pixels are integrated out exactly."""
        with torch.autocast(k.device.type, enabled=False):
            loc = self.loc()[k]
            if not self.dense:
                parts = (loc, self.scale()[k])
                normal = dist.Normal(*(part.unflatten(-1, self.data_shape) for part in parts))
                masked = normal if mask is None else normal.mask(mask)
                return masked.to_event(len(self.data_shape))
            tril = self.scale_tril()
            tril = tril[k] if self.covariance == "full" else tril.squeeze(0)
            return ImageMultivariateNormal(loc, tril, self.data_shape, mask=mask)


class Baseline(nn.Module):
    """b(x), one value per datum, in the shape that TraceGraph_ELBO compares it with."""

    def __init__(self, dim: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.network = dense([dim, *hidden, 1])

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) to (B,), or to () if B = 1: Pyro's cost of a single datum has no dimension."""
        values: Tensor = self.network(features).squeeze(-1)
        return values.squeeze(0) if len(values) == 1 else values


class AssignmentGuide(Guide):
    """q(k | x) = Categorical(f(x)), with a learned baseline b(x) for its score-function gradient.

    The baseline sees x alone, so the gradient stays unbiased (Mnih & Gregor 2014).
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, dim: int, num_components: int, hidden: Sequence[int]) -> None:
        super().__init__(None)
        self.network = dense([dim, *hidden, num_components])
        self.baseline = Baseline(dim, hidden)
        self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def fed(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """Unseen pixels are fed as the mean of the data."""
        features = (x.flatten(1) - self.centre) / self.scale
        return fill_unseen(features, None if seen is None else seen.flatten(1))

    def story(self, x: Tensor, y: Tensor | None) -> None:
        """Sample k given x."""
        baseline = {"nn_baseline": self.baseline, "nn_baseline_input": x}
        q_k = dist.Categorical(logits=self.network(x).to(x.dtype))
        pyro.sample("k", q_k, infer={"baseline": baseline})


class GMM(Mixture):
    """Gaussian mixture, log p(x) = logsumexp_k [log π_k + log N(x; μ_k, Σ_k + ε I)].

    Parameters
    ----------
    data_shape
        Shape of one datum; it is treated as a vector of D values.
    num_components
        K.
    covariance
        ``"diagonal"``, ``"spherical"``, ``"tied"`` or ``"full"``.
    floor
        ε, added to the diagonal of every covariance, in squared units of the data; scikit-learn's
        ``reg_covar``. ``None``: 1e-3, or what suits data of another scale than pixels in [0, 1],
        as :func:`pyro_models.models.clusters.floor_for` has it at the start.
    guide
        ``"enumerate"``: k is summed out exactly (TraceEnum_ELBO, empty guide). ``"amortised"``: k
        is sampled from a learned q(k | x) (TraceGraph_ELBO with a learned baseline).
    hidden
        Layer sizes of the amortised guide and of its baseline; the guide ``"enumerate"`` has none.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    >>> gmm = GMM((4,), num_components=3)
    >>> gmm.start_from(x)
    'k-means++'
    >>> gmm.responsibilities(x).sum(-1).allclose(torch.ones(300))
    True
    """

    options_of_guide = ("guide", "hidden")
    covariance: str

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        num_components: int = 10,
        covariance: str = "diagonal",
        floor: float | None = None,
        guide: str = "enumerate",
        hidden: Sequence[int] = (64,),
    ) -> None:
        check_choice("covariance", covariance, COVARIANCES)
        if floor is not None and not 0 < floor < math.inf:
            raise UsageError(f"the covariance floor must be positive; got {floor}")
        check_choice("GMM guide", guide, GUIDES)
        layers = layer_sizes(hidden, least=0)
        model = GMMModel(tuple(data_shape), num_components, covariance, floor)
        own: nn.Module = EmptyGuide()
        if guide == "amortised":
            own = AssignmentGuide(math.prod(data_shape), num_components, layers)
        super().__init__(model, own)
        self.floor = floor
        self.guide_name = guide

    def chosen(self) -> list[str]:
        """The number of components; covariances and guide where these are not the usual ones."""
        covariance = [] if self.covariance == "diagonal" else [f"{self.covariance} covariances"]
        guide = [] if self.guide_name == "enumerate" else [f"{self.guide_name} guide"]
        return [*super().chosen(), *covariance, *guide]

    @torch.no_grad()
    def start_from(self, x: Tensor, *, seed: int = 0) -> str:
        """Start at a k-means clustering (k-means++ seeding, one run), as scikit-learn's EM does.

        Returns a name for the record; see :func:`pyro_models.models.clusters.start_from_clusters`.
        Fewer data than components are refused, and a floor that is too small for the data.
        """
        x = training_data(x, self.data_shape)
        floor = floor_for(x) if self.floor is None else self.floor
        flat = x.detach().cpu().double().flatten(1)
        kind, count = self.covariance, self.num_components
        start = start_from_clusters(flat, count, covariance=kind, floor=floor, seed=seed)
        if isinstance(self.model.floor, Tensor):
            self.model.floor.fill_(floor)
        for name, value in start.items():
            getattr(self.model, name).copy_(value)
        self.model.started.fill_(True)
        if isinstance(self.guide, AssignmentGuide):
            self.guide.centre.copy_(start["centre"])
            self.guide.scale.copy_((flat.var(0, correction=0) + floor).sqrt())
        return "k-means++"

    def elbo(self) -> ELBO:
        """TraceEnum_ELBO (k summed out), or TraceGraph_ELBO (k sampled)."""
        amortised = self.guide_name == "amortised"
        return TraceGraph_ELBO(max_plate_nesting=1) if amortised else super().elbo()

    def _unseen(self, k: Tensor, x: Tensor, seen: Tensor, *, draw: bool) -> Tensor:
        """Of p(x_unseen | x_seen, k); pixels of dense covariances are not independent given k."""
        p_x = self.model.component(k, seen)
        if not isinstance(p_x, ImageMultivariateNormal):
            return super()._unseen(k, x, seen, draw=draw)
        return p_x.completed(fill_unseen(x, seen), draw=draw)
