"""Markov chain Monte Carlo, many chains at once: what images and functions both draw with."""

from inference.mcmc.nuts_tree import State, Transition, transition

__all__ = ["State", "Transition", "transition"]
