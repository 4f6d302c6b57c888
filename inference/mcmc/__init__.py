"""Markov chain Monte Carlo, many chains at once: what images and functions both draw with."""

from inference.mcmc.diagnostics import bulk_ess, effective_sample_size, r_hat, tail_ess
from inference.mcmc.leapfrog import leapfrog
from inference.mcmc.nuts_tree import State, Transition, transition
from inference.mcmc.warm_up import Chains, DualAveraging, check_sampling

__all__ = [
    "Chains",
    "DualAveraging",
    "State",
    "Transition",
    "bulk_ess",
    "check_sampling",
    "effective_sample_size",
    "leapfrog",
    "r_hat",
    "tail_ess",
    "transition",
]
