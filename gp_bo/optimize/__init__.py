"""Bayesian optimisation: ask for points and tell their values, or minimise in one call."""

from gp_bo.optimize.acquisition import (
    ACQUISITIONS,
    Acquisition,
    acquisition_named,
    botorch_model,
    make_acquisition,
    register_acquisition,
)
from gp_bo.optimize.ask_tell import Optimizer
from gp_bo.optimize.designs import design_points
from gp_bo.optimize.inputs import Categorical, Continuous, Integer
from gp_bo.optimize.minimize import NoNumberError, Result, minimize
from gp_bo.optimize.proposal import Recommendation
from gp_bo.optimize.region import Region
from gp_bo.optimize.space import Space, space_from
from gp_bo.optimize.state import Evaluation, State, load_state, save_state
from gp_bo.optimize.surrogate import Surrogate

__all__ = [
    "ACQUISITIONS",
    "Acquisition",
    "Categorical",
    "Continuous",
    "Evaluation",
    "Integer",
    "NoNumberError",
    "Optimizer",
    "Recommendation",
    "Region",
    "Result",
    "Space",
    "State",
    "Surrogate",
    "acquisition_named",
    "botorch_model",
    "design_points",
    "load_state",
    "make_acquisition",
    "minimize",
    "register_acquisition",
    "save_state",
    "space_from",
]
