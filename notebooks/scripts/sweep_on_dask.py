"""A sweep over settings and seeds on a Dask cluster: here two workers of this machine.

For a real cluster only the client changes, e.g. Client("tcp://scheduler:8786"), and ``out`` is a
folder that all workers see. Needs ``pip install 'pyro-models[cluster]'``.
"""

import argparse

import joblib
from distributed import Client, LocalCluster

from inference import figures, sweep


def main(epochs=30, out="sweeps/dask", seeds=(0, 1, 2)):
    workers = LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with workers, Client(workers), joblib.parallel_config(backend="dask"):
        result = sweep(
            "ppca",
            "digits",
            grid={"options.latent_dim": [1, 2, 5, 10, 20], "lr": [3e-3, 3e-2]},
            seeds=seeds,
            out=out,
            epochs=epochs,
            curve_size=0,
            threads=1,
            progress=False,
        )
    print(result)
    figure = figures.setting_curves(result, x="options.latent_dim", lines="lr")
    figure.savefig(f"{out}/sweep.png", dpi=150)
    return result


if __name__ == "__main__":  # workers are processes that import this file
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--out", default="sweeps/dask")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    main(given.epochs, given.out, given.seeds)
