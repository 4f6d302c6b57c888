"""``pyro-models features``: the latents of a run as data of their own."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from inference.commands.files import free_path, open_run
from inference.posterior import latents_as_data
from pyro_models import UsageError
from pyro_models.data import PROVENANCE
from pyro_models.files import write_atomically

__all__ = ["features"]


def features(
    run: str,
    data: str | None = None,
    seed: int = 0,
    out: str = "latents.npz",
    device: str = "cpu",
    force: bool = False,
) -> None:
    """Write the latent means of a run's data as vectors that another model can be trained on.

    Args:
        run: Run folder of a pair with a continuous latent.
        data: Other data than it was trained on.
        seed: Random seed of the pixel preparation.
        out: File, .npz, with the splits and labels of the data.
        device: Where to compute: cpu, cuda, cuda:1 or mps.
        force: Replace a file that is there.
    """
    path = free_path(out, force=force)
    if path is None or path.suffix != ".npz":
        raise UsageError(f"out must end in .npz; got {out}")
    pair, images, _ = open_run(run, data, device=device)
    latents = latents_as_data(pair, images, seed=seed)
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
