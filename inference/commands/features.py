"""``pyro-models features``: the latents of a run as data of their own."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from inference.commands.command import OnRun, command
from inference.commands.files import free_path
from inference.declared import takes
from inference.posterior import latents_as_data
from pyro_models.data import PROVENANCE
from pyro_models.files import write_atomically

__all__ = ["features"]


@command
@takes(OnRun, without=("split", "limit", "precision", "progress"))
def features(run: str, out: str = "latents.npz", **options: Any) -> None:
    """Write the latent means of a run's data as vectors that another model can be trained on.

    Args:
        run: Run folder of a pair with a continuous latent.
        options: One of :class:`OnRun`.
        out: File, .npz, with the splits and labels of the data.
    """
    on = OnRun(**options)
    path = free_path(out, force=on.force, endings=".npz")
    pair, images = on.open(run)
    latents = latents_as_data(pair, images, seed=on.seed)
    arrays: dict[str, Any] = {}
    for name, split in latents.splits.items():
        arrays[f"x_{name}"] = split.x.numpy()
        if split.y is not None:
            arrays[f"y_{name}"] = split.y.numpy()
    arrays[PROVENANCE] = np.array(json.dumps(latents.latents_of))
    write_atomically(path, lambda file: np.savez(file, **arrays))
    sizes = ", ".join(f"{name} {len(split):,}" for name, split in latents.splits.items())
    print(f"{latents.data_shape[0]} latent means of {images.name} ({sizes}) in {path}; learn them")
    print(f"with: pyro-models train --model gmm --data {path}")
