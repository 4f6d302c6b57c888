"""Simulations from a pair's model, and its encoder or any guide as the posterior of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pyro import poutine
from torch import Tensor, nn

from inference.chunks import chunk_size
from inference.evaluation.calibration.findings import DENSITY, LOG_LIKELIHOOD
from inference.evaluation.calibration.simulated import Simulated, Simulator, described
from inference.mcmc.diagnostics import bulk_ess
from inference.posterior.continuous import check_free, needs_continuous
from inference.posterior.fitted import NOT_FITTED
from inference.posterior.guides import GUIDES, Family, guide_family
from inference.posterior.guides.draws import DrawsGuide
from inference.posterior.identity import model_checksum
from inference.posterior.infer import infer
from inference.posterior.optimization import CONVERGED
from inference.posterior.posterior import Posterior
from inference.precision import DEFAULT, in_precision
from pyro_models import Pair, UsageError
from pyro_models.contract import fulfills
from pyro_models.data import Identity
from pyro_models.data.masks import Mask
from pyro_models.data.observed import labels_for
from pyro_models.device import device_of
from pyro_models.observed import Labels, observed
from pyro_models.pair import ConditionsOnPixels

__all__ = ["OfPair", "drawn_from", "worth_too_little"]

MOST_TOGETHER = 256


class OfPair(Simulator):
    """Simulations from a pair, all of a block inferred at once.

    Parameters
    ----------
    pair
        Whose model is simulated from.
    guide
        As of :func:`inference.posterior.infer`; a module is a guide that is called with data, and
        is not fitted.
    mask, y, fraction
        What is seen of the simulated data, and labels for a pair that needs them, one for each.
    precision, options
        As of ``infer``, and all others of it.
    """

    pair: Pair

    def __init__(
        self,
        pair: Pair,
        guide: str | Mapping[str, Any] | Family | nn.Module | Callable[..., nn.Module],
        *,
        num_simulations: int,
        num_draws: int,
        mask: Mask | None = None,
        y: Labels | None = None,
        fraction: float = 0.5,
        precision: str = DEFAULT,
        **options: Any,
    ) -> None:
        if precision != DEFAULT:
            pair = in_precision(pair, precision)
        needs_continuous(pair)
        check_free(pair)
        if pair.likelihood.measure is None:
            raise UsageError(f"no data can be simulated: {pair.likelihood.no_probability}")
        if fulfills(pair, ConditionsOnPixels):
            raise UsageError(
                f"{type(pair).__name__} conditions on pixels that it has no distribution of, so "
                "no whole data can be simulated from it"
            )
        if isinstance(guide, Posterior):
            raise UsageError(
                f"the posterior {guide.name} belongs to its data: name its guide, which is then "
                "fitted to simulated data"
            )
        self.pair = pair
        self.name = type(pair).__name__
        named, _ = GUIDES.named(guide, {})
        self.guide, family = guide_family(named)
        fixed = isinstance(guide, nn.Module)
        self.family = Family(family.make, fitted=False) if fixed else guide
        self.y = labels_for(y, num_simulations, device_of(pair))
        self.seen: dict[str, Any] = {"mask": mask, "fraction": fraction}
        self.options = options
        sites = pair.latent_sites.items()
        self.shapes = {n: tuple(s.event_shape) for n, s in sites if not s.discrete}
        density = family.density and not options.get("resample")
        self.densities = (LOG_LIKELIHOOD, DENSITY) if density else (LOG_LIKELIHOOD,)
        said = {"guide": guide, "mask": mask, "y": self.y, "fraction": fraction, **options}
        self.settings = {k: described(v) for k, v in said.items() if not isinstance(v, nn.Module)}
        self.identity = Identity({"simulated": ""}, weights=model_checksum(pair))
        self.modules = (pair.guide, *([guide] if isinstance(guide, nn.Module) else ()))
        self.together = min(MOST_TOGETHER, chunk_size(pair, each=num_draws))

    def __call__(self, rows: Sequence[int], num_draws: int, seed: int) -> Simulated:
        """Simulations of these numbers, and L draws of each."""
        y = None if self.y is None else self.y[list(rows)]
        twice = None if y is None else torch.cat([y, y])
        sites = poutine.trace(self.pair.model).get_trace(None, y=twice, n=2 * len(rows)).nodes
        x = sites["x"]["value"][: len(rows)]
        data = observed(self.pair, x, y=y, seed=seed, **self.seen)
        with torch.enable_grad():
            posterior = infer(self.pair, data, guide=self.family, seed=seed, **self.options)
        both = {name: sites[name]["value"] for name in self.pair.latent_sites if name in sites}
        truth, elsewhere = ({n: v[half] for n, v in both.items()} for half in _halves(len(rows)))
        draws = drawn_from(posterior, num_draws, seed)
        target = posterior.target

        def densities(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
            found = {LOG_LIKELIHOOD: target.log_likelihood(target.pack(values))}
            return found | ({DENSITY: posterior.log_prob(values)} if posterior.density else {})

        own, theirs = densities(truth), densities(draws)
        ended = [reason not in (CONVERGED, NOT_FITTED) for reason in posterior.stopped]
        return Simulated(
            truth,
            elsewhere,
            draws,
            data.x,
            {name: (own[name], theirs[name]) for name in self.densities},
            unfinished=torch.tensor(ended, device=x.device),
            correlated=worth_too_little(posterior, num_draws),
        )


def _halves(n: int) -> tuple[slice, slice]:
    return slice(0, n), slice(n, 2 * n)


def drawn_from(posterior: Posterior, num_draws: int, seed: int) -> dict[str, Tensor]:
    """L draws of every latent, (L, B, \\*event_shape); of chains as far from each other as can be.

    Rank statistics want draws that are independent, so none of those that are kept is taken twice.
    """
    guide = posterior.guide
    if not isinstance(guide, DrawsGuide):
        return posterior.sample(num_draws, seed=seed)
    kept = next(iter(guide.draws.values())).shape[1]
    if kept < num_draws:
        raise UsageError(
            f"the guide {posterior.name} keeps {kept} draws, which is fewer than num_draws "
            f"({num_draws}): keep more (num_samples), or lower num_draws"
        )
    place = torch.linspace(0, kept - 1, num_draws, device=posterior.x.device).round().long()
    return {name: values[:, place].transpose(0, 1) for name, values in guide.draws.items()}


def worth_too_little(posterior: Posterior, num_draws: int) -> Tensor | None:
    """Where chains have fewer than L independent draws of some latent, (B,); else ``None``."""
    guide = posterior.guide
    if not isinstance(guide, DrawsGuide) or not guide.num_chains:
        return None
    draws, _ = guide.chains()
    worth = [bulk_ess(values).reshape(len(posterior), -1).min(1) for values in draws.values()]
    return torch.as_tensor(np.min(worth, 0) < num_draws, device=posterior.x.device)
