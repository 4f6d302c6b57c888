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
# # One VAE, every objective
#
# The objective is one word of one call. It decides how model and guide are learned, whether the
# number that training shows bounds anything, and how noisy its gradient is. It does *not* decide
# how the result is judged: that is the same $L_K$ of test data for all.
# [Which one?](../docs/which-bound.md)

# %%
DATA = "digits"  # or "mnist", "fashion-mnist"
DEVICE = "cpu"  # or "cuda"

# %%
# %matplotlib inline
import math

import matplotlib
import pyro
import pyro.distributions as dist
import torch
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from inference import compare, evaluate, figures, fit, particles
from inference.evaluation import diagnose
from inference.learning import make_objective
from inference.objectives import jensen_shannon
from pyro_models import PPCA, VAE, load_data

matplotlib.rcParams["figure.dpi"] = 90
matplotlib.rcParams["image.interpolation"] = "nearest"  # pixels as they are
torch.set_num_threads(1)  # small images: more threads only wait for each other

# %% [markdown]
# ## The objectives
#
# *Question.* What may be raised in place of $\log p(x)$?
#
# $$w_k = \frac{p(x, z_k)}{q(z_k \mid x)}, \qquad z_k \sim q(z \mid x), \qquad
#   \mathbb{E}[w_k] = p(x).$$
#
# | objective | what it is | bounds $\log p(x)$ |
# |---|---|---|
# | `mean_field` | $\mathbb{E}_q[\log p(x \mid z)] - \mathrm{KL}(q \,\|\, p)$ | from below |
# | `monte_carlo`, `stl` | the same, $\mathbb{E}_q[\log w]$, all of it sampled | from below |
# | `iwae`, `dreg`, `rws` | $L_K = \mathbb{E}[\log \frac1K \sum_k w_k]$ | from below |
# | `renyi` | $\mathbb{E}[\log \frac1K \sum_k w_k^{1-\alpha}] / (1-\alpha)$ | below, α ≥ 0 |
# | `js`, `geometric_js` | another divergence in the place of the KL | no |
#
# The KL of two Gaussians needs no samples, which is what `mean_field` uses:
#
# $$\mathrm{KL}\big(\mathcal{N}(\mu, \mathrm{diag}\,\sigma^2) \,\|\, \mathcal{N}(0, I)\big)
#   = \tfrac12 \sum_j \big(\sigma_j^2 + \mu_j^2 - 1 - \log \sigma_j^2\big).$$

# %%
data = load_data(DATA, preparation="threshold")
EPOCHS = 60 if DATA == "digits" else 5
OBJECTIVES = {
    "mean_field": ("mean_field", {}),
    "monte_carlo": ("monte_carlo", {}),
    "stl": ("stl", {}),
    "iwae, K = 5": ("iwae", {"num_particles": 5}),
    "iwae, K = 10": ("iwae", {"num_particles": 10}),
    "dreg, K = 5": ("dreg", {"num_particles": 5}),
    "renyi, α = ½, K = 5": ("renyi", {"num_particles": 5, "alpha": 0.5}),
    "rws, K = 5": ("rws", {"num_particles": 5}),
    "js": ("js", {}),
    "geometric_js": ("geometric_js", {}),
    "mean_field, β = 2": ("mean_field", {"beta": 2.0}),
}


QUICK = {"curve_size": 0, "capture": True, "progress": False}


def learn(objective, options, **settings):
    """The same VAE from the same start, learned in the same way but for the objective."""
    torch.manual_seed(0)
    vae = VAE(
        data.data_shape, latent_dim=10, hidden=[64], likelihood="bernoulli", output_bias="data"
    )
    how = {"objective": objective, "objective_options": options, **settings}
    return fit(vae, data, epochs=EPOCHS, lr=3e-3, device=DEVICE, **QUICK, **how)


learned = {name: learn(*how) for name, how in OBJECTIVES.items()}
learned["mean_field, warm-up"] = learn("mean_field", {}, beta_warmup=EPOCHS // 3)

# %%
q = dist.Normal(torch.tensor([0.5, -1.0]), torch.tensor([0.3, 0.8]))
closed = 0.5 * (q.variance + q.mean**2 - 1 - q.variance.log()).sum()
z = q.sample((10_000,))
sampled = (q.log_prob(z) - dist.Normal(0.0, 1.0).log_prob(z)).sum(-1)
print(f"KL in closed form  {float(closed):.4f}")
print(f"     from samples  {float(sampled.mean()):.4f} ± {float(sampled.std()) / 100:.4f}")

# %% [markdown]
# *What to see.* The same value, once without noise: `mean_field` and `monte_carlo` differ in that
# alone.
#
# ## One footing
#
# *Question.* Which objective has learned the best model?
#
# On the left what each says of itself on the test data (at β = 1), on the right what all are judged
# by,
#
# $$L_{100} = \mathbb{E}\Big[\log \tfrac{1}{100} \sum_{k=1}^{100} w_k\Big] \le \log p(x).$$
#
# The left numbers are of different things, and their order means nothing: of any one
# model $L_{10}$ is above $L_5$, and `js` gives up at most 0.69 nats for the whole of $q$. One seed
# and 360 test digits: small differences on the right are no order either
# ([how to choose](../docs/how-to-choose.md)).

# %%
evaluations = {
    name: evaluate(result.pair, data, num_particles=100, name=name)
    for name, result in learned.items()
}
x = data.prepared("test", limit=1000).x.to(DEVICE)
print(f"{'objective':22} {'its own value':>14} {'L_100, nats per datum':>28}")
for name, result in learned.items():
    own, options = OBJECTIVES.get(name, ("mean_field", {}))
    pyro.set_rng_seed(0)
    objective = make_objective(result.pair, own, options)
    score = evaluations[name].scores["log_likelihood"]
    remark = f"   ({objective.remark.split(',')[0]})" if objective.remark else ""
    print(
        f"{name:22} {objective.value(x):14.2f} "
        f"{score.value:20.2f} ± {score.standard_error:.2f}{remark}"
    )

# %% [markdown]
# *What to see.* By its own value `js` is ten nats ahead; judged by $L_{100}$ it is far behind.
# `compare` holds only numbers that may stand together. ELBO and MSE depend on the guide as much
# as on the model. So does $L_{100}$ where a guide is far from the posterior: it is a lower bound
# for `js` too, and a very loose one. The guides of `iwae` are worse by the ELBO and better by
# $L_{100}$: that is what they were learned for.

# %%
table = compare(
    list(evaluations.values()), quantities=["log_likelihood", "elbo", "mse_sampled", "mse_mean"]
)
display(Markdown(table.to_markdown()))

# %% [markdown]
# ## log p(x) by Monte Carlo
#
# *Question.* How many samples are enough, and which average of them?
#
# One trained VAE, more and more samples: $L_K$ rises towards $\log p(x)$. Any two K are two
# different numbers, even of the same model. The second column is a common mistake:
# $\sum_k \tilde w_k \log w_k$ with $\tilde w = w / \sum w$. It is
#
# $$\sum_k \tilde w_k \log w_k = L_K + \mathrm{KL}(\tilde w \,\|\, \mathrm{uniform}),$$
#
# so never below $L_K$, by up to $\log K$; it bounds nothing, and tends to
# $\log p(x) + \mathrm{KL}(p(z \mid x) \,\|\, q)$ with growing K.


# %%
@torch.no_grad()
def right_and_wrong(pair, guide, x, count):
    """L_K and Σ w̃ log w, means over data."""
    log_w = particles(pair, guide, x, num_particles=count).log_weight
    bound = log_w.logsumexp(0) - math.log(count)
    wrong = (log_w.softmax(0) * log_w).sum(0)
    assert bool((wrong >= bound - 1e-4).all())
    return float(bound.mean()), float(wrong.mean())


pyro.set_rng_seed(0)
vae = learned["mean_field"].pair
print(f"{'K':>5} {'L_K':>10} {'Σ w̃ log w':>12}")
for count in (1, 5, 10, 100, 1000):
    bound, wrong = right_and_wrong(vae, None, x, count)
    print(f"{count:5d} {bound:10.2f} {wrong:11.2f}")

# %% [markdown]
# *What to see.* $L_K$ rises and settles; the wrong column is above it from the start, and settles
# elsewhere. Probabilistic PCA knows $\log p(x)$ exactly. With a guide twice as wide as the
# posterior, the weighted sum climbs past the truth, and $L_K$ stays below it:

# %%
dequantised = data.with_preparation("dequantised")
ppca = PPCA.maximum_likelihood(dequantised.prepared("train").x.double(), latent_dim=5)
of_test = dequantised.prepared("test", limit=360).x.double()


def wide(x, **_):
    exact = ppca.exact_posterior(x)
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.MultivariateNormal(exact.mean, 4 * exact.covariance_matrix))


pyro.set_rng_seed(0)
with torch.no_grad():
    truth = float(ppca.exact_log_prob(of_test).mean())
print(f"{'K':>5} {'L_K − log p(x)':>16} {'Σ w̃ log w − log p(x)':>24}")
for count in (1, 5, 10, 100, 1000):
    bound, wrong = right_and_wrong(ppca, wide, of_test, count)
    print(f"{count:5d} {bound - truth:16.3f} {wrong - truth:23.3f}")
limit = 5 * (0.5 * (1 / 4 - 1) + math.log(2))  # of five dimensions, N(0, 1) from N(0, 2²)
print(f"limit of the last column, KL(posterior ‖ guide): {limit:.3f}")

# %% [markdown]
# ## JS against KL
#
# *Question.* What happens if another divergence holds the codes near the prior?
#
# $$\mathrm{JS}(q \,\|\, p) = \tfrac12 \mathrm{KL}(q \,\|\, m) + \tfrac12 \mathrm{KL}(p \,\|\, m),
#   \qquad m = (q + p)/2,$$
#
# is at most $\log 2$, however far $q$ is from the prior. Once it is there its
# gradient is gone, and nothing holds the codes near the prior: the model above explains pixels well
# from codes of $q$, of which the prior knows nothing. JS has no closed form for Gaussians; the line
# is an average of samples.

# %%
distance = torch.linspace(0, 6, 61)
q, p = dist.Normal(distance, 1.0), dist.Normal(torch.zeros(61), 1.0)
pyro.set_rng_seed(0)
js = torch.stack([jensen_shannon(q, p, q.sample()) for _ in range(4000)])
figure = Figure(figsize=(7, 3.2), layout="constrained")
axes = figure.add_subplot()
axes.plot(distance, 0.5 * distance**2, label="KL(q ‖ p)", ls="--")
axes.plot(distance, js.mean(0), label="JS(q ‖ p)")
axes.axhline(math.log(2), color="black", lw=0.8, ls=":")
axes.annotate("log 2", (5.6, math.log(2)), xytext=(0, 3), textcoords="offset points")
axes.set_ylim(0, 3)
axes.set_xlabel("distance between the means of q = N(d, 1) and p = N(0, 1)")
axes.set_ylabel("nats")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
figure

# %% [markdown]
# *What to see.* Beyond a distance of 3 the JS is flat: whatever is farther away pays no more.
#
# Is its model bad, or only its guide? Keep the decoder that `js` learned, and learn it a new guide
# by the ELBO:

# %%
torch.manual_seed(0)
js = learned["js"].pair
again = VAE(**js.config()).to(DEVICE)
again.model.load_state_dict(js.model.state_dict())
again.model.requires_grad_(False)
fit(again, data, epochs=EPOCHS, lr=3e-3, device=DEVICE, **QUICK)
for name, pair in (("own guide", js), ("new guide", again)):
    score = evaluate(pair, data, num_particles=100).scores["log_likelihood"]
    print(f"decoder of js, {name}: L_100 = {score.value:8.2f} ± {score.standard_error:.2f}")

# %% [markdown]
# *What to see.* Mostly the guide: it stays so far from the prior that the weights of its samples
# are worth nothing. The model itself is still a few nats behind those above, and what it draws
# from the prior is less of a digit. Mean pixels, learned by the ELBO, and by JS:

# %%
for name in ("mean_field", "js"):
    shown = figures.prior_samples(learned[name].pair, n=20, pixels="mean", seed=0)
    shown.suptitle(name, fontsize=12, fontweight="bold")
    display(shown)

# %% [markdown]
# ## What each latent dimension carries
#
# *Question.* How many of the ten latents are used?
#
# $$\text{active: } \mathrm{Var}_x\big(\mathbb{E}_q[z_j \mid x]\big) > 0.01.$$
#
# KL and variances by dimension, from `diagnose` (on the command line:
# `pyro-models diagnose RUN --figure use.png`). Red, the variance over images of the posterior mean:
# above 0.01 a dimension is *active*. On it, the mean posterior variance; together they are the
# variance of the codes that the decoder sees, which is 1 where these match the prior.

# %%
diagnoses = {
    name: diagnose(learned[name].pair, data, num_particles=1000, limit=360)
    for name in ("mean_field", "iwae, K = 10", "js", "mean_field, β = 2")
}
for name, found in diagnoses.items():
    title = f"{name}: {found.active_units} of 10 latent dimensions active"
    display(figures.latent_use(found, title=title))

# %% [markdown]
# *What to see.* With β = 2 some latents carry nothing: their posterior is the prior. Under `js` the
# means spread far wider than the prior.
#
# ## May the estimate be believed?
#
# *Question.* Does an $L_K$ rest on many samples or on one?
#
# $$P(w > t) \propto t^{-1/\hat k} \quad\text{for large } t.$$
#
# Importance weights with a heavy tail give estimates that rest on one lucky sample. Their Pareto
# $\hat k$ says so, image by image: above 0.7 the $L_K$ of that image is not to be relied upon as an
# estimate of $\log p(x)$. (Values beyond 1.5 are drawn there.)

# %%
figure = Figure(figsize=(7, 3.2), layout="constrained")
axes = figure.add_subplot()
bins = torch.linspace(-0.3, 1.5, 37)
for name in ("mean_field", "iwae, K = 10", "js"):
    found = diagnoses[name]
    label = f"{name}: {found.share_unreliable:.0%} above 0.7"
    k_hat = found.k_hat.cpu().clamp(-0.3, 1.5)
    axes.hist(k_hat, bins=bins, histtype="step", lw=1.6, label=label)
axes.axvline(0.7, color="black", lw=0.8, ls=":")
axes.set_xlabel("Pareto k̂ of 1000 weights")
axes.set_ylabel("test images")
axes.legend(frameon=False, fontsize=8)
axes.spines[["top", "right"]].set_visible(False)
figure

# %% [markdown]
# *What to see.* Of `js` hardly an image is to be relied upon; of the others most are.
#
# ## How noisy is the gradient?
#
# *Question.* Two objectives of one value: which is learned from with less noise?
#
# $$\sum_i \mathrm{Var}\big(\partial \hat L / \partial \phi_i\big).$$
#
# The guide's gradient of one batch, drawn 100 times, at the VAE that `mean_field` has trained: the
# sum of the variances of its elements. `stl` has the value of `monte_carlo` and `dreg` that of
# `iwae`; only the noise differs.


# %%
def variance(vae, batch, name, count):
    pyro.set_rng_seed(0)
    objective = make_objective(vae, name, {"num_particles": count})
    gradients = []
    for _ in range(100):
        vae.zero_grad()
        objective.backward(batch)
        gradients.append(torch.cat([p.grad.flatten() for p in vae.guide.parameters()]))
    return float(torch.stack(gradients).var(0).sum())


batch = data.prepared("train", limit=100).x.to(DEVICE)
noise = {
    (name, count): variance(vae, batch, name, count)
    for name, count in (
        *((name, 1) for name in ("mean_field", "monte_carlo", "stl")),
        *((name, count) for count in (5, 50) for name in ("iwae", "dreg")),
    )
}
figure = Figure(figsize=(7, 3.2), layout="constrained")
axes = figure.add_subplot()
places = [0, 1, 2, 3.5, 4.5, 6, 7]
reduced = [name in ("stl", "dreg") for name, _ in noise]
colours = ["#bd1f01" if r else "#3f90da" for r in reduced]
axes.scatter(places, list(noise.values()), c=colours, s=60)
axes.set_xticks(places, [f"{name}\nK = {count}" for name, count in noise], fontsize=7)
axes.grid(axis="y", color="#e6e6e6", lw=0.6)
axes.set_yscale("log")
axes.set_ylabel("variance of the guide's gradient")
axes.spines[["top", "right"]].set_visible(False)
for better, plain, count in (("stl", "monte_carlo", 1), ("dreg", "iwae", 5), ("dreg", "iwae", 50)):
    ratio = noise[better, count] / noise[plain, count]
    print(f"{better} / {plain}, K = {count}: {ratio:.2f}")
figure

# %% [markdown]
# *What to see.* Leaving out a term whose mean is zero leaves out its noise: the red points lie five
# to ten times lower, and it costs nothing.
#
# ## Exercise
#
# An IWAE of $K = 5$ is reported with $L_5$, one of $K = 10$ with $L_{10}$, and the second is
# higher by some tenths of a nat. How much of that is the model? Judge each of the two by $L_5$,
# by $L_{10}$ and by $L_{1000}$.

# %% tags=["hide-cell"] jupyter={"source_hidden": true, "outputs_hidden": true}
print(f"{'learned by':14}" + "".join(f"{f'L_{K}':>10}" for K in (5, 10, 1000)))
for name in ("iwae, K = 5", "iwae, K = 10"):
    pyro.set_rng_seed(0)
    values = [right_and_wrong(learned[name].pair, None, x, K)[0] for K in (5, 10, 1000)]
    print(f"{name:14}" + "".join(f"{value:10.2f}" for value in values))
# The report compares the first number of the first row with the second of the second. Within a row
# the step from L_5 to L_10 is the estimate's alone, for the model is the same; what is left in a
# column is the models', and in the last one nearly all of it.
