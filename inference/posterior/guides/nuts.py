"""Pyro's No-U-Turn sampler, one image after the other: a check for a few images."""

from __future__ import annotations

import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor, nn

from inference.posterior.given import Given
from inference.posterior.guides.draws import DrawsGuide
from inference.posterior.guides.family import Family
from pyro_models import UsageError

__all__ = ["NUTS_GUIDE"]

_MOST = 16


def _make(
    given: Given, *, num_samples: int = 200, warmup: int = 200, num_chains: int | None = None
) -> nn.Module:
    """Chains of each image by itself: Pyro's sampler has one step size for all that it samples.

    Each of ``num_chains`` keeps ``num_samples`` draws; unless their number is given, two chains
    share them, so that R-hat can be told.

    Raises
    ------
    UsageError
        If there are more than 16 images, or a number is out of range.
    """
    if len(given) > _MOST:
        raise UsageError(
            f"the guide nuts takes images one after the other, at most {_MOST}; got {len(given)}: "
            "choose the guide hmc, which takes them all at once"
        )
    if num_samples < 1 or warmup < 1:
        raise UsageError(
            f"num_samples and warmup must be at least 1; got {num_samples} and {warmup}"
        )
    if num_chains is None:
        num_chains = 2 if num_samples % 2 == 0 else 1
        num_samples //= num_chains
    if num_chains < 1:
        raise UsageError(f"num_chains must be at least 1; got {num_chains}")
    images = range(len(given))
    chains = [[_run(given, i, num_samples, warmup) for i in images] for _ in range(num_chains)]
    draws = {  # all chains of a draw side by side
        name: torch.stack([torch.cat([c[0][name] for c in of], 1) for of in chains], 1).flatten(
            0, 1
        )
        for name in given.prior
    }
    diverging = torch.stack([torch.stack([c[1] for c in of], 1) for of in chains], 1).flatten(0, 1)
    return DrawsGuide(draws, num_chains=num_chains, stats={"diverging": diverging})


def _run(given: Given, i: int, num_samples: int, warmup: int) -> tuple[dict[str, Tensor], Tensor]:
    """One chain of one image: its draws by site, and which transitions diverged."""
    one = given.select(slice(i, i + 1))
    known: list[int] = []

    def note(kernel: NUTS, _: object, stage: str, __: int) -> None:
        if stage.startswith("Sample"):
            known[:] = kernel.diagnostics()["divergences"]

    with torch.enable_grad():
        chain = MCMC(
            NUTS(given.pair.model, max_plate_nesting=1),
            num_samples=num_samples,
            warmup_steps=warmup,
            disable_progbar=True,
            hook_fn=note,
        )
        chain.run(one.x, **one.conditions)
    diverging = torch.zeros(num_samples, dtype=torch.bool, device=given.x.device)
    for transition in known:
        diverging[min(max(transition, 0), num_samples - 1)] = True
    return chain.get_samples(), diverging


NUTS_GUIDE = Family(_make, fitted=False, density=False)
