"""Models of public reference posteriors, and what the references say of them."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints

from tests.inference.programs import references


def doubles(values):
    return torch.tensor(values, dtype=torch.float64)


def schools(y, sigma, *, centred=False):
    mu = pyro.sample("mu", dist.Normal(doubles(0.0), 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(doubles(5.0)))
    with pyro.plate("schools", len(y)):
        if centred:
            theta = pyro.sample("theta", dist.Normal(mu, tau))
        else:
            theta = mu + tau * pyro.sample("standard", dist.Normal(doubles(0.0), 1.0))
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def least_squares(of, *, flat_sigma):
    """y ~ N(X β, σ²): b ~ N(β, σ² (XᵀX)⁻¹) and rss ~ σ² χ²(N − 2) say as much as y."""
    flat = dist.ImproperUniform(constraints.real, (), ()).expand([2]).to_event(1)
    beta = pyro.sample("beta", flat)
    improper = dist.ImproperUniform(constraints.positive, (), ())
    sigma = pyro.sample("sigma", improper if flat_sigma else dist.HalfCauchy(doubles(2.5)))
    precision = doubles(of.gram) / sigma**2
    b = dist.MultivariateNormal(beta, precision_matrix=precision)
    pyro.sample("b", b, obs=doubles(of.beta))
    rss = dist.Gamma(doubles((of.count - 2) / 2), 0.5 / sigma**2)
    pyro.sample("rss", rss, obs=doubles(of.rss))


def gp_poisson(x, k):
    rho = pyro.sample("rho", dist.Gamma(doubles(25.0), 4.0))
    alpha = pyro.sample("alpha", dist.HalfNormal(doubles(2.0)))
    standard = pyro.sample("standard", dist.Normal(torch.zeros_like(x), 1.0).to_event(1))
    f = gp_values(x, rho, alpha, standard)
    pyro.sample("k", dist.Poisson(f.exp()).to_event(1), obs=k)


def gp_values(x, rho, alpha, standard):
    square = (x[:, None] - x).square()
    K = alpha[..., None, None] ** 2 * (-square / (2 * rho[..., None, None] ** 2)).exp()
    factor = torch.linalg.cholesky(K + 1e-10 * torch.eye(len(x), dtype=x.dtype))
    return (factor @ standard.unsqueeze(-1)).squeeze(-1)


SCHOOLS = {name: doubles(values).double() for name, values in references.EIGHT_SCHOOLS.items()}
GP = tuple(doubles(references.GP_POISSON[name]).double() for name in ("x", "k"))


def of_schools(draws):
    theta = draws["mu"][:, None] + draws["tau"][:, None] * draws["standard"]
    own = {"mu": draws["mu"], "tau": draws["tau"]}
    return own | {"theta[1]": theta[:, 0], "theta[8]": theta[:, 7]}


def of_regression(draws):
    beta = draws["beta"]
    return {"beta[1]": beta[:, 0], "beta[2]": beta[:, 1], "sigma": draws["sigma"]}


def of_gp(draws):
    f = gp_values(GP[0], draws["rho"], draws["alpha"], draws["standard"])
    return draws | {f"f[{i + 1}]": f[:, i] for i in (0, 5, 10)}


# model, arguments, keywords, what the reference is of, and its means, sds and their errors
REFERENCES = {
    "eight schools": (schools, (), SCHOOLS, of_schools, references.EIGHT_SCHOOLS_POSTERIOR),
    "kidiq": (
        least_squares,
        (references.KIDIQ,),
        {"flat_sigma": False},
        of_regression,
        references.KIDIQ_POSTERIOR,
    ),
    "earnings": (
        least_squares,
        (references.EARNINGS,),
        {"flat_sigma": True},
        of_regression,
        references.EARNINGS_POSTERIOR,
    ),
    "GP Poisson": (gp_poisson, GP, {}, of_gp, references.GP_POISSON_POSTERIOR),
}
