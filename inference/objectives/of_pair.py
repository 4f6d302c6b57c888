"""The objective of a pair, by name or object; one that is wrong for the pair is refused."""

from __future__ import annotations

from typing import Any

from pyro.infer import TraceEnum_ELBO, TraceMeanField_ELBO
from pyro.infer.elbo import ELBO

from inference.objectives.bound import Bound
from inference.objectives.elbo import PairELBO
from inference.objectives.named import Options, instance_of, name_of, refuse_options
from inference.objectives.objective import Objective
from inference.objectives.of_particles import OfParticles
from inference.objectives.of_pyro import OVER_PARTICLES, OfPyro
from pyro_models import Pair, UsageError
from pyro_models.contract import check_pair, fulfills, has_encoder, is_of_library
from pyro_models.pair import Diffuses

__all__ = ["check_objective", "make_objective"]


def make_objective(pair: Pair, objective: Any = "elbo", options: Options = None) -> Objective:
    """What is to be maximised for a pair.

    Parameters
    ----------
    pair
        The pair it is about.
    objective
        A name of :data:`inference.objectives.OBJECTIVES`; an instance or class of what it stands
        for; any Pyro ELBO; or an object of one's own that is called with
        :class:`inference.particles.Particles` and returns (B,) nats per datum: a function, a
        :class:`Bound`, or an instance of any other class.
    options
        Options of an objective that is a name, class or function: ``num_particles`` (K), ``beta``,
        ``alpha`` …

    Raises
    ------
    UsageError
        If the name or an option is unknown, or the objective is not defined for the pair.

    Examples
    --------
    >>> from inference.objectives import IWAE
    >>> from pyro_models import VAE
    >>> vae = VAE((1, 8, 8), hidden=[8])
    >>> make_objective(vae, IWAE(num_particles=3)).name
    'iwae, K = 3'
    >>> make_objective(vae, lambda p: p.log_weight.amax(0), {"num_particles": 3}).num_particles
    3
    """
    check_pair(pair)
    made, name = instance_of(objective, options), name_of(objective)
    if hasattr(made, "of_pair"):
        of_pair: Objective = made.of_pair(pair, name=name)
        return of_pair
    if isinstance(made, PairELBO):
        return _of_pair(pair, pair.elbo(), made.options, name)
    if hasattr(made, "differentiable_loss") or hasattr(made, "loss_and_grads"):
        return OfPyro(pair, made, name=name)
    return OfParticles(pair, made, name=name)


def _of_pair(pair: Pair, elbo: ELBO, options: Options, name: str) -> Objective:
    """The ELBO that a pair says is its own, over particles where it is one of those known here."""
    if fulfills(pair, Diffuses):
        by_step: Objective = instance_of("one_step", options).of_pair(
            pair, name=f"{name} (one_step)"
        )
        return by_step
    if type(elbo) is TraceMeanField_ELBO:
        return OfParticles(pair, instance_of("mean_field", options), name=f"{name} (mean_field)")
    refuse_options(elbo, options or {})
    of_pyro = OfPyro(pair, elbo, name=f"{name} ({type(elbo).__name__})")
    same = of_pyro.over_particles() if is_of_library(pair) else None
    return of_pyro if same is None else same


def check_objective(pair: Pair, objective: Any, options: Options = None) -> None:
    """Refuse an objective that is wrong for the pair.

    A Pyro ELBO that does not enumerate samples, from the prior, a discrete site that the guide
    leaves out: components of a mixture then collapse into one, silently. So does, of a pair whose
    guide is its prior, a bound that averages over draws of it.
    """
    made, own = make_objective(pair, objective, options), pair.elbo()
    if not has_encoder(pair) and _averages(made):
        raise UsageError(
            f"{type(pair).__name__} has no encoder, and {made.name} over draws of the prior makes "
            "the mean of the data of all its samples: use the objective adversarial, or iwae with "
            "many particles"
        )
    if not isinstance(made, OfPyro) or isinstance(made.elbo, TraceEnum_ELBO):
        return
    if isinstance(own, TraceEnum_ELBO) and not isinstance(own, type(made.elbo)):
        raise UsageError(
            f"{type(pair).__name__} leaves discrete sites to enumeration, and "
            f"{type(made.elbo).__name__} does not enumerate: use the objective elbo or trace_enum"
        )


def _averages(made: Objective) -> bool:
    """Whether every draw of the guide counts alike: E_q[log p(x | z)] is then all that matters."""
    if isinstance(made, OfPyro):
        return type(made.elbo) in OVER_PARTICLES or made.elbo.num_particles == 1
    if not isinstance(made, OfParticles) or not isinstance(made.bound, Bound):
        return False  # a game, or a function of one's own
    return not made.bound.weighs or made.num_particles == 1
