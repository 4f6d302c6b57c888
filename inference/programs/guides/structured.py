"""The noise from which Pyro's AutoStructured makes given reals."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter

import torch
from pyro.infer.autoguide import AutoStructured
from torch import Tensor

__all__ = ["noise_of"]


def noise_of(guide: AutoStructured, reals: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The noise ε of each site, name → (n, d), given unconstrained reals, site → (n, \\*shape).

    Site i is u_i = loc_i + a_i with a_i = s_i L_i ε_i + Σ_j f_ij(a_j) over the sites j before it.
    So a_i = u_i − loc_i, and ε_i = L_i⁻¹ (a_i − Σ_j f_ij(a_j)) / s_i. A point has no noise.
    """
    shifted = {
        name: reals[name].reshape(len(reals[name]), -1) - attrgetter(name)(guide.locs)
        for name, _ in guide._sorted_sites
    }
    noise = {}
    for name, _ in guide._sorted_sites:
        kind, own = guide.conditionals[name], shifted[name]
        if kind not in ("normal", "mvn"):
            continue
        for before in guide.dependencies.get(name, {}):
            own = own - attrgetter(before)(attrgetter(name)(guide.deps))(shifted[before])
        own = own / attrgetter(name)(guide.scales)
        if kind == "mvn":
            factor = attrgetter(name)(guide.scale_trils)
            own = torch.linalg.solve_triangular(factor, own.mT, upper=False).mT
        noise[f"{name}_aux"] = own
    return noise
