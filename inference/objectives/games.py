"""What critics judge: samples of a model against data, latents of data against the prior."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyro import poutine
from torch import Tensor

from inference.objectives.of_critic import OfCritic
from pyro_models import Pair, UsageError
from pyro_models.contract import fulfills
from pyro_models.observed import Observed
from pyro_models.pair import ConditionsOnPixels

if TYPE_CHECKING:
    from inference.objectives.adversarial import Adversarial, AdversarialAutoencoder

__all__ = ["OfLatents", "OfSamples"]


class OfSamples(OfCritic):
    """Samples of the model against data."""

    options: Adversarial

    def __init__(self, pair: Pair, options: Adversarial, *, name: str) -> None:
        remark = "it bounds no evidence, being relative to a critic that moves; it trains no guide"
        super().__init__(pair, options, name=name, remark=remark)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of one datum."""
        return tuple(self.pair.data_shape)

    def compared(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the critic is to tell apart, and what the pair descends beside that, a scalar."""
        return self._as_seen(x), self._as_seen(self.samples(len(x))), x.new_zeros(())

    def samples(self, n: int) -> Tensor:
        """n samples of the model, (n, \\*data_shape), with gradients to its parameters."""
        site = poutine.trace(self.pair.model).get_trace(n=n).nodes["x"]
        drawn: Tensor = site["value"] if self.options.pixels == "sample" else site["fn"].mean
        return drawn

    def _as_seen(self, x: Tensor) -> Tensor:
        """Data in the units that networks work in."""
        units = getattr(self.pair.likelihood, "units", None)
        return x if units is None else units(x)

    def _check_pair(self, data: Observed) -> None:
        pair, name = self.pair, type(self.pair).__name__
        refuse_conditions(pair, data)
        nodes = poutine.trace(pair.model).get_trace(n=2).nodes
        for site in pair.latent_sites:
            if not nodes[site]["fn"].has_rsample:
                raise UsageError(
                    f"the adversarial objective needs gradients through samples, and the latent "
                    f"{site!r} of {name} has none"
                )
        p_x, pixels = nodes["x"]["fn"], self.options.pixels
        if not p_x.has_rsample and pixels != "mean":
            raise UsageError(
                f"the adversarial objective needs gradients through samples, and the likelihood "
                f"{pair.likelihood.name} has none: take gaussian, or show the critic the mean "
                "E[x | z] (pixels: mean)"
            )
        if pixels != "sample":
            try:
                p_x.mean  # noqa: B018
            except NotImplementedError:
                raise UsageError(
                    f"p(x | z) of {name} has no mean in closed form: show the critic draws of it "
                    "(pixels: sample)"
                ) from None


class OfLatents(OfCritic):
    """Latents of data, z ~ q(z | x), against the prior; the pair also learns to decode them."""

    options: AdversarialAutoencoder

    def __init__(self, pair: Pair, options: AdversarialAutoencoder, *, name: str) -> None:
        remark = "it bounds no evidence: a critic of all z together stands in the place of the KL"
        super().__init__(pair, options, name=name, remark=remark)
        self.weight = options.weight

    @property
    def shape(self) -> tuple[int, ...]:
        """That of z."""
        return next(iter(self.pair.latent_sites.values())).event_shape

    def compared(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Draws of the prior, z of each datum, and −E log p(x | z)."""
        guide = poutine.trace(self.pair.guide).get_trace(x)
        model = poutine.trace(poutine.replay(self.pair.model, trace=guide)).get_trace(x)
        (name,) = self.pair.latent_sites
        told, p_z = model.nodes["x"], model.nodes[name]["fn"]
        real = p_z.expand((len(x),)).sample().detach()
        return real, guide.nodes[name]["value"], -told["fn"].log_prob(told["value"]).mean()

    def _check_pair(self, data: Observed) -> None:
        """One continuous latent, which the guide draws with gradients."""
        pair, name = self.pair, type(self.pair).__name__
        refuse_conditions(pair, data)
        sites = list(pair.latent_sites.items())
        guide = poutine.trace(pair.guide).get_trace(data.x).nodes
        if len(sites) != 1 or sites[0][1].discrete or sites[0][0] not in guide:
            raise UsageError(
                f"an adversarial autoencoder needs a pair with one continuous latent, which its "
                f"guide samples; {name} has {', '.join(pair.latent_sites)}"
            )
        if not guide[sites[0][0]]["fn"].has_rsample:
            raise UsageError(
                f"the adversarial objective needs gradients through samples, and the guide of "
                f"{name} samples {sites[0][0]!r} without"
            )


def refuse_conditions(pair: Pair, data: Observed) -> None:
    """Refuse masks, labels and pixels that are given: a critic sees none of them."""
    if data.mask is not None:
        raise UsageError("a critic judges whole data: the adversarial objective takes no mask")
    if pair.num_classes is not None or fulfills(pair, ConditionsOnPixels):
        raise UsageError(
            f"the critic sees data alone, and {type(pair).__name__} generates them given labels or "
            "pixels: the adversarial objective is for pairs that generate from latents alone"
        )
