"""Effective draws of a hyper-posterior per second: ours beside pyro.contrib.gp and NumPyro.

    python benchmarks/gp_nuts.py [--rounds 2] [--draws 500] [--warmup 300] [--cases exam,thirty]

One thread; the methods take turns, so that what else the machine does falls on all of them. Time is
that of the processor, warm-up included; NumPyro's compilation is told apart. Effective draws are
the least bulk ESS over the hyper-parameters (Vehtari et al. 2021), computed by one function for
all. The last column is the largest distance of a mean of log θ from quadrature, or from the long
run of ours where there are more than two unknowns, in Monte-Carlo standard errors.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyro
import pyro.contrib.gp as contrib
import pyro.distributions as dist
import torch
from clock import add_device, processor_seconds
from pyro.infer import MCMC, NUTS
from torch import Tensor

from gp_bo import fit_gp
from gp_bo.examination.sheet import EXAM_NOISE, exam_data
from inference.mcmc.diagnostics import bulk_ess

NAMES = ("lengthscale", "variance", "noise")


@dataclass(frozen=True)
class Case:
    X: Tensor
    y: Tensor
    priors: dict[str, tuple[float, float]]  # of log-normals; the noise is fixed when it has none


def cases(device: torch.device) -> dict[str, Case]:
    x, y = (values.to(device) for values in exam_data())
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(30, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(30, generator=generator, dtype=torch.float64)
    y30 = (6 * X[:, 0]).sin() + X[:, 1] + 0.2 * noise
    return {
        "exam": Case(x[:, None], y, {"lengthscale": (-1.0, 1.0), "variance": (0.0, 2.0)}),
        "thirty": Case(
            X.to(device),
            y30.to(device),
            {"lengthscale": (-1.0, 1.0), "variance": (0.0, 1.0), "noise": (-3.0, 1.0)},
        ),
    }


def ours(case: Case, seed: int, draws: int, warmup: int, chains: int = 4) -> np.ndarray:
    priors = {n: dist.LogNormal(*p) for n, p in case.priors.items()}
    noise = "learned" if "noise" in priors else EXAM_NOISE
    fitted = fit_gp(
        case.X,
        case.y,
        mean="zero",
        noise=noise,
        priors=priors,
        seed=seed,
        num_draws=draws,
        warmup=warmup,
        num_chains=chains,
    )
    return fitted.draws.unconstrained.reshape(chains, draws // chains, -1).cpu().numpy()


def pyro_contrib(case: Case, seed: int, draws: int, warmup: int) -> np.ndarray:
    with case.X.device:  # where it makes what it is not given
        return _pyro_contrib(case, seed, draws, warmup)


def _pyro_contrib(case: Case, seed: int, draws: int, warmup: int) -> np.ndarray:
    pyro.clear_param_store()
    pyro.set_rng_seed(seed)
    dim = case.X.shape[1]
    kernel = contrib.kernels.RBF(input_dim=dim, lengthscale=torch.ones(dim).double())
    kernel.lengthscale = pyro.nn.PyroSample(_log_normal(case, "lengthscale", dim))
    kernel.variance = pyro.nn.PyroSample(_log_normal(case, "variance", 0))
    model = contrib.models.GPRegression(case.X, case.y, kernel, jitter=0.0)
    if "noise" in case.priors:
        model.noise = pyro.nn.PyroSample(_log_normal(case, "noise", 0))
    else:
        model.noise = torch.tensor(EXAM_NOISE, dtype=torch.float64)
    mcmc = MCMC(NUTS(model.model), num_samples=draws, warmup_steps=warmup, disable_progbar=True)
    mcmc.run()
    found = {name.rpartition(".")[2]: v for name, v in mcmc.get_samples().items()}
    columns = [found[n].reshape(draws, -1).log() for n in NAMES if n in case.priors]
    return torch.cat(columns, 1).cpu().numpy()[None]


def _log_normal(case: Case, name: str, dim: int) -> dist.Distribution:
    loc, scale = (torch.tensor(v, dtype=torch.float64) for v in case.priors[name])
    return dist.LogNormal(loc, scale).expand([dim] if dim else []).to_event(1 if dim else 0)


def make_numpyro(case: Case) -> Callable[[Case, int, int, int], np.ndarray]:
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as nd

    jax.config.update("jax_enable_x64", True)
    X, y = (jnp.asarray(v.cpu().numpy()) for v in (case.X, case.y))
    dim = X.shape[1]

    def model() -> None:
        theta = {}
        for name, prior in case.priors.items():
            shape = (dim,) if name == "lengthscale" else ()
            theta[name] = numpyro.sample(
                name, nd.LogNormal(*prior).expand(shape).to_event(len(shape))
            )
        scaled = X / theta["lengthscale"]
        square = ((scaled[:, None] - scaled) ** 2).sum(-1)
        K = theta["variance"] * jnp.exp(-0.5 * square)
        K = K + theta.get("noise", EXAM_NOISE) * jnp.eye(len(X))
        numpyro.sample("y", nd.MultivariateNormal(jnp.zeros(len(X)), covariance_matrix=K), obs=y)

    samplers: dict[tuple[int, int], numpyro.infer.MCMC] = {}

    def run(case: Case, seed: int, draws: int, warmup: int) -> np.ndarray:
        if (draws, warmup) not in samplers:
            samplers[draws, warmup] = numpyro.infer.MCMC(
                numpyro.infer.NUTS(model),
                num_samples=draws // 4,
                num_warmup=warmup,
                num_chains=4,
                chain_method="vectorized",
                progress_bar=False,
            )
        mcmc = samplers[draws, warmup]
        mcmc.run(jax.random.PRNGKey(seed))
        found = mcmc.get_samples(group_by_chain=True)
        columns = [
            np.log(np.asarray(found[n])).reshape(4, draws // 4, -1)
            for n in NAMES
            if n in case.priors
        ]
        return np.concatenate(columns, -1)

    return run


def truth(case: Case) -> np.ndarray:
    """Means of log θ: quadrature for two unknowns, a long run of ours for more."""
    if len(case.priors) == 2 and case.X.shape[1] == 1:
        priors = {n: dist.LogNormal(*p) for n, p in case.priors.items()}
        fitted = fit_gp(
            case.X, case.y, mean="zero", noise=EXAM_NOISE, priors=priors, inference="quadrature"
        )
        return (fitted.weights @ fitted.draws.unconstrained).cpu().numpy()
    return ours(case, 999, 16000, 300, chains=64).mean((0, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--warmup", type=int, default=300)
    parser.add_argument("--cases", default="exam,thirty")
    add_device(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in options.cases.split(","):
        case = cases(options.device)[name]
        methods = {"gp_bo": ours, "pyro.contrib.gp": pyro_contrib}
        try:
            methods["numpyro"] = make_numpyro(case)
        except ImportError:
            print("NumPyro is not installed: left out")
        expected = truth(case)
        for label, method in methods.items():
            start = processor_seconds(options.device)
            method(case, 1000, 20 if label != "numpyro" else options.draws, options.warmup)
            if label == "numpyro":
                print(
                    f"{name}: numpyro's first run, compilation included: "
                    f"{processor_seconds(options.device) - start:.1f} s"
                )
        rates: dict[str, list[float]] = {label: [] for label in methods}
        for seed in range(options.rounds):
            for label, method in methods.items():
                start = processor_seconds(options.device)
                draws = method(case, seed, options.draws, options.warmup)
                seconds = processor_seconds(options.device) - start
                ess = [bulk_ess(draws[..., i]) for i in range(draws.shape[-1])]
                spread = draws.reshape(-1, draws.shape[-1]).std(0) / np.sqrt(ess)
                off = np.abs(draws.mean((0, 1)) - expected) / spread
                rates[label].append(min(ess) / seconds)
                print(
                    f"{name} seed {seed} {label:16s} {seconds:7.2f} s, least ESS {min(ess):6.0f}, "
                    f"{min(ess) / seconds:7.1f} per s, off by {off.max():.1f} standard errors",
                    flush=True,
                )
        base = math.exp(np.mean(np.log(rates["pyro.contrib.gp"])))
        for label, own in rates.items():
            rate = math.exp(np.mean(np.log(own)))
            print(f"{name}: {label} {rate:.1f} effective draws per s, {rate / base:.1f} × contrib")


if __name__ == "__main__":
    main()
