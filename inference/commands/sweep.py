"""``pyro-models sweep``: which setting is best on validation data?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inference import figures
from inference.commands.files import printed_after, save_figure
from inference.selection import Sweep
from inference.selection import sweep as run_sweep
from pyro_models import UsageError

__all__ = ["sweep"]


def sweep(
    grid: dict[str, Any],
    seeds: list[int] | None = None,
    model: str = "vae",
    options: dict[str, Any] | None = None,
    data: str = "digits",
    preparation: str | None = None,
    labels: int | float | None = None,
    labels_seed: int = 0,
    split_seed: int = 0,
    levels: int | None = None,
    quantity: str | None = None,
    num_particles: int = 100,
    limit: int | None = None,
    x: str | None = None,
    lines: str | None = None,
    out: str | None = None,
    jobs: int | None = None,
    threads: int | None = None,
    progress: bool = True,
    **training: Any,
) -> Sweep:
    """Train every combination of settings under several seeds; compare them on validation data.

    The same command again takes finished runs from the folder and goes on with the others. Options
    of train that are in no grid are shared by all runs.

    Args:
        grid: Values of each setting, e.g. --grid.lr "[1e-3, 1e-2]" --grid.options.latent_dim
            "[2, 10]"; any option of the training, preparation, or options of the model.
        seeds: Random seeds of each setting; "[0, 1, 2]" unless given.
        model: vae, cvae, m2, two_layer_vae, completion_cvae, ppca, gmm or bernoulli_mixture.
        options: Options of the model that all runs share.
        data: digits (bundled), mnist, fashion-mnist, or a .npy or .npz file.
        preparation: grey, threshold, dynamic, static or dequantised; what suits the likelihood
            unless given.
        labels: Number of training labels that are kept, as for train; all of them unless given.
        labels_seed: Random seed of the draw of these labels.
        split_seed: Random seed of the split of a file that holds one array.
        levels: Number of grey levels of a file's images, where it cannot be told (16 of 4 bits).
        quantity: The score that decides: log_likelihood, importance_bound, elbo,
            bits_per_dimension, mse_sampled, mse_mean or accuracy; the first of these that there is
            unless given.
        num_particles: Number of particles K of the importance-sampled bound, for all runs.
        limit: Evaluate on the first so many validation data only.
        x: Setting along the axis of the figure; the first that varies unless given.
        lines: Setting that makes a line for each of its values; the second unless given.
        out: Folder of runs, tables and figure; sweeps/MODEL-DATA unless given.
        jobs: Runs at a time, in processes of their own; 1 unless given.
        threads: Threads of each run; its share of the cores unless given.
        progress: Show a progress bar over runs.
    """
    values = _flat(grid)
    x, lines = _full_name(x, values), _full_name(lines, values)
    folder = Path(out or f"sweeps/{model}-{Path(data).stem}")
    result = run_sweep(
        model,
        data,
        grid=values,
        seeds=(0, 1, 2) if seeds is None else seeds,
        out=folder,
        options=options,
        preparation=preparation,
        labels=labels,
        labels_seed=labels_seed,
        split_seed=split_seed,
        levels=levels,
        quantity=quantity,
        num_particles=num_particles,
        limit=limit,
        jobs=jobs,
        threads=threads,
        progress=progress,
        **training,
    )
    with printed_after(result.to_text):
        best = result.best  # a line of complaint and code 2 where there is none
        if result.varied:
            shown = [x, lines] if lines else [x] if x else []
            shown += [name for name in result.varied if name not in shown][: 2 - len(shown)]
            at = {k: v for k, v in best.setting.items() if k in result.varied and k not in shown}
            figure = figures.setting_curves(result, x=x, lines=lines, at=at)
            save_figure(figure, folder / "sweep.png")
    print(f"kept in {folder}; evaluate the best on test data with: pyro-models evaluate ", end="")
    print(best.outcomes[0].folder)
    return result


def _flat(grid: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the model one below the other, ``options: {latent_dim: […]}``, as one name."""
    flat: dict[str, Any] = {}
    for name, values in grid.items():
        if name != "options":
            flat[name] = values
        elif isinstance(values, Mapping):
            flat |= {f"options.{option}": of_option for option, of_option in values.items()}
        else:
            raise UsageError(f"options in the grid need names; got {values!r}")
    return flat


def _full_name(name: str | None, grid: Mapping[str, Any]) -> str | None:
    """A setting's name as in the grid, given with or without ``options.``."""
    if name is None or name in grid:
        return name
    if f"options.{name}" not in grid:
        raise UsageError(f"{name} is no setting of this sweep: choose from {', '.join(grid)}")
    return f"options.{name}"
