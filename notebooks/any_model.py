# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     notebook_metadata_filter: -jupytext.text_representation
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Any Pyro model: which guide, and may it be believed?
#
# A model of your own, $p(x, \theta)$, written in Pyro, and one call:
# `infer(model, *args, guide=...)`. The guide $q(\theta \mid x)$ is a word. Which word is right is a
# question with an answer.

# %%
# %matplotlib inline
import matplotlib
import pyro
import pyro.distributions as dist
import torch

from inference import calibrate, compare_guides, figures, infer

matplotlib.rcParams["figure.dpi"] = 100
torch.set_num_threads(1)  # small models: more threads only wait for each other
CHAINS = {"num_samples": 100, "num_chains": 4, "warmup": 100}  # few, so that it is quick
ANNEALING = {"num_temperatures": 100, "num_chains": 32}

# %% [markdown]
# ## A regression, where the truth is known
#
# *Question.* Does a guide find a posterior that is known exactly?
#
# $$\beta \sim N(0, 2^2 I), \qquad y \sim N(X \beta, 0.5^2 I)$$
#
# The posterior is Normal with precision $X^\top X / 0.5^2 + I / 2^2$, and the two inputs are
# correlated.

# %%
generator = torch.Generator().manual_seed(0)
X = torch.randn(40, 2, generator=generator) @ torch.tensor([[1.0, 0.9], [0.0, 0.4]])
y = X @ torch.tensor([1.0, -0.5]) + 0.5 * torch.randn(40, generator=generator)


def regression(X, y):
    beta = pyro.sample("beta", dist.Normal(torch.zeros(2), 2.0).to_event(1))
    pyro.sample("y", dist.Normal(X @ beta, 0.5).to_event(1), obs=y)


def row(name, values, remark=""):
    print(f"{name:20}" + "".join(f"{float(value):9.4f}" for value in values) + f"   {remark}")


covariance = (X.T @ X / 0.5**2 + torch.eye(2) / 2**2).inverse()
posteriors = [infer(regression, X, y, guide=name) for name in ("normal", "full_covariance")]
print("standard deviation of   beta[0]  beta[1]")
row("exact", covariance.diagonal().sqrt())
for posterior in posteriors:
    row(posterior.name, posterior.sd["beta"], f"k-hat {posterior.k_hat:.2f}")

# %% [markdown]
# *What to see.* Full covariance is exact. The Normal without correlations has the right mean and is
# too narrow: it has $1 / \sqrt{\Lambda_{ii}}$ of the precision $\Lambda$ in the place of
# $\sqrt{(\Lambda^{-1})_{ii}}$.

# %%
row("mean field is to be", covariance.inverse().diagonal().rsqrt())
figures.marginals(posteriors[1])

# %% [markdown]
# ## Eight schools
#
# *Question.* Eight schools have coached their pupils; how large is the effect in each?
#
# $$\mu \sim N(0, 5^2), \quad \tau \sim \text{HalfCauchy}(5), \quad
# \theta_j \sim N(\mu, \tau^2), \quad y_j \sim N(\theta_j, \sigma_j^2)$$

# %%
effects = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
errors = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def centred(y, sigma):
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", len(y)):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


chains = infer(centred, effects, errors, guide="nuts", guide_options=CHAINS)
guides = ["full_covariance", chains]
table = compare_guides(centred, effects, errors, guides=guides, evidence_options=ANNEALING)
print(table.to_text())

# %% [markdown]
# *What to see.* Where $\tau$ is small all $\theta_j$ lie close together: the posterior is a funnel.
# No step size suits both its neck and its mouth: with long steps chains diverge in the neck, and
# with short ones, as here, they crawl; their draws of $\tau$ are worth few independent ones, and
# R-hat tells that they do not agree. A Gaussian guide leaves a part out, which k-hat tells. Neither
# can be the reference of the other.
#
# The same model written *non-centred*, $\theta_j = \mu + \tau \eta_j$ with
# $\eta_j \sim N(0, 1)$, has no funnel:


# %%
def noncentred(y, sigma):
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", len(y)):
        eta = pyro.sample("eta", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu + tau * eta, sigma), obs=y)


chains = infer(noncentred, effects, errors, guide="nuts", guide_options=CHAINS)
guides = ["normal", "full_covariance", "laplace", chains]
table = compare_guides(noncentred, effects, errors, guides=guides, evidence_options=ANNEALING)
print(table.to_text())

# %% [markdown]
# *What to see.* The same data and the same evidence, found by chains in a tenth of the time, with
# ten times the effective draws. Gaussian guides lose some 0.3 nats in the tail of $\tau$,
# which k-hat still tells; Laplace's, at a mode that has little mass, loses everything. (So few
# draws leave R-hat above 1.01: run longer chains before you report.)

# %%
figures.marginals(chains, sites=["mu", "tau"])

# %% [markdown]
# ## A guide that is too narrow is found out
#
# *Question.* Is the guide right over all data that the model might bring about?
#
# $$\theta^* \sim p(\theta), \quad x \sim p(x \mid \theta^*), \quad
#   \theta_1, \dots, \theta_L \sim q(\theta \mid x), \qquad
#   \#\{l : \theta_l < \theta^*\} \sim U\{0, \dots, L\} \text{ if } q \text{ is the posterior.}$$
#
# Draw $\theta$ from the prior and data from $p(x \mid \theta)$; infer; count how many posterior
# draws lie below the truth.

# %%
found = calibrate(regression, X, y, guide="normal", num_simulations=200)
print(found.to_text())
figures.rank_histograms(found)

# %% [markdown]
# *What to see.* Ranks gather at both ends: the truth lies outside the draws too often, with a width
# that the table estimates. It is the mean-field Normal of above, over all data and not over ours.
#
# ## Exercise
#
# Which guide passes? And does importance resampling (`infer(..., resample=2000)`) mend the narrow
# one?

# %% tags=["hide-cell"] jupyter={"source_hidden": true, "outputs_hidden": true}
print(calibrate(regression, X, y, guide="full_covariance", num_simulations=200).findings[0])
mended = infer(regression, X, y, guide="normal", resample=2000)
row("resampled", mended.sd["beta"])
row("exact", covariance.diagonal().sqrt())
# Full covariance passes. Resampling mends a part only: where the narrow guide has no draws there is
# nothing to reweight, and its k-hat of above 0.7 has said so.

# %% [markdown]
# At the command line: `pyro-models guides mine.py:centred --data schools.csv`, and in the same way
# `infer` and `calibrate`.
