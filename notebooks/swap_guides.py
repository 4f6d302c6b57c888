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
# # Swap the guide
#
# The guide $q(z \mid x)$ is one word of one call. What does a better one buy? With the evidence
# known, the answer is a number, the *inference gap*. It has two parts (Cremer, Li & Duvenaud 2018):
# what the best member of the family loses, and what is lost by leaving it to a network to find that
# member.

# %%
DATA = "digits"  # or "mnist", "fashion-mnist"
DEVICE = "cpu"  # or "cuda"

# %%
# %matplotlib inline
import matplotlib
import torch
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from inference import figures, fit
from inference.evaluation import bracket, compare_guides, evidence, quadrature
from inference.posterior import condition, hmc, infer
from pyro_models import PPCA, VAE, load_data

matplotlib.rcParams["figure.dpi"] = 100
torch.set_num_threads(1)  # small images: more threads only wait for each other

# %% [markdown]
# ## Two latents: the truth by quadrature
#
# *Question.* What does each guide lose, and whose fault is it?
#
# $$\log p(x) - \mathrm{ELBO}(q) = \mathrm{KL}\big(q(z \mid x) \,\|\, p(z \mid x)\big)
#   = \underbrace{\mathrm{KL}(q^* \,\|\, p)}_{\text{family}}
#   + \underbrace{\mathrm{KL}(q \,\|\, p) - \mathrm{KL}(q^* \,\|\, p)}_{\text{encoder}},$$
#
# with $q^*$ the best member of the family. A VAE of binarised images with two latents. Its
# evidence is an integral over a plane, which a grid takes to any accuracy, so every row is
# measured against (nearly) the truth.

# %%
data = load_data(DATA, preparation="threshold")
how = {"epochs": 30 if DATA == "digits" else 5, "lr": 3e-3, "seed": 0, "device": DEVICE}
torch.manual_seed(0)
vae = VAE(data.data_shape, latent_dim=2, hidden=[64], likelihood="bernoulli")
vae = fit(vae, data, progress=False, **how).pair
x = data.prepared("test", limit=40).x
guides = ["prior", "encoder", "normal", "full_covariance", "laplace", "point"]
table = compare_guides(vae, x, guides=guides, num_particles=500)
display(Markdown(table.to_markdown()))


# %%
figures.guide_gaps(table, log=True)

# %% [markdown]
# *What to see.* A bar is $\mathrm{KL}(q \,\|\, p)$. Most of the encoder's is *amortisation*: a
# Normal fitted to each image (`normal`) closes it, a full covariance closes most of the rest.
# Whether one is better than another is a question about the same images, and has an answer with
# an error:

# %%
print(table.difference("full_covariance", "normal"))
print(table.difference("normal", "encoder"))
print(table.difference("normal", "encoder", quantity="importance_bound"))

# %% [markdown]
# The last line tells that L_K with K = 500 hardly cares: importance weights mend a guide that is
# nearly right.
#
# ## Look at one posterior
#
# *Question.* What is it that an axis-aligned Normal cannot say?
#
# $$p(z \mid x) = p(z)\, p(x \mid z) \Big/ \int p(z')\, p(x \mid z')\, dz'.$$
#
# Contours of $p(z \mid x)$ on the grid, and of what the guides make of it.

# %%
one = x[:1]
exact = quadrature(condition(vae, one))
centre, deviation = exact.mean[0], exact.covariance[0].diagonal().sqrt()
steps = torch.linspace(-4, 4, 80, device=DEVICE)
axes = [steps * s + m for m, s in zip(centre, deviation, strict=True)]
z = torch.cartesian_prod(*axes)[:, None]
axes = [axis.cpu() for axis in axes]
shape = (80, 80)
figure = Figure(figsize=(9, 3), layout="constrained")
panels = figure.subplots(1, 3, sharex=True, sharey=True)
for panel, name in zip(panels, ["encoder", "normal", "full_covariance"], strict=True):
    target = condition(vae, one, guide=infer(vae, one, guide=name))
    with torch.no_grad():
        p = (target.log_joint(z) - exact.log_evidence).exp().reshape(shape).cpu()
        q = target.log_start(z).exp().reshape(shape).cpu()
    panel.contourf(*axes, p.T, cmap="Greys")
    panel.contour(*axes, q.T, colors="C1", linewidths=1)
    panel.set_title(name, fontsize=10)
    panel.set_xlabel("$z_1$")
figure.axes[0].set_ylabel("$z_2$")
figure

# %% [markdown]
# *What to see.* Grey is the posterior, orange the guide. The encoder's is beside it, the fitted one
# on it, and only the full covariance leans as it does.
#
# ## Ten latents: annealed importance sampling
#
# *Question.* What is $\log p(x)$ where no grid reaches?
#
# $$p_t(z) \propto p(z)^{1 - \beta_t}\, p(x, z)^{\beta_t}, \quad 0 = \beta_0 < \dots < \beta_T = 1,
#   \qquad \mathbb{E}[\hat p(x)] = p(x).$$
#
# No grid reaches ten dimensions. Chains that cool from the prior to the posterior give
# $\hat p(x)$ without bias, so $\log \hat p(x)$ is a lower bound in expectation. PPCA knows the
# truth; the chains are started at the prior, and at a guide.

# %%
grey = data.with_preparation("dequantised")
ppca = PPCA.maximum_likelihood(grey.prepared("train").x, latent_dim=10).to(DEVICE)
pixels = grey.prepared("test", limit=10).x
settings = {"method": "annealing", "num_temperatures": 100, "num_leapfrog": 5, "num_chains": 20}
print(evidence(ppca, pixels))
print(evidence(ppca, pixels, **settings))
print(evidence(ppca, pixels, guide="normal", **settings))

# %% [markdown]
# *What to see.* From the prior the chains come within their error of the truth; from a guide that
# is right, at once. How good is it where the truth is not known? On data *simulated from the
# model* an exact posterior draw is known, the z they were made from. Chains that run back from
# there bound log p(x) from above, and the gap between the bounds bounds the error (bidirectional
# Monte Carlo).

# %%
torch.manual_seed(0)
vae10 = VAE(data.data_shape, latent_dim=10, hidden=[64], likelihood="bernoulli")
vae10 = fit(vae10, data, progress=False, **how).pair
print(bracket(vae10, num_data=20, num_temperatures=100, num_leapfrog=5))

# %% [markdown]
# ## Draws from the posterior
#
# *Question.* And if it is $z$ that is wanted, not $\log p(x)$?
#
# $$H(z, v) = -\log p(x, z) + \tfrac12 v^\top v.$$
#
# Hamiltonian Monte Carlo, each image with a step size of its own:

# %%
draws = hmc(condition(vae, x[:5]), num_samples=100, num_chains=8, warmup=80, num_leapfrog=5)
found = quadrature(condition(vae, x[:5]))
print("R-hat at most", round(float(draws.r_hat.max()), 2))
print("acceptance", [round(a, 2) for a in draws.acceptance.tolist()])
worst = float(((draws.mean - found.mean) / draws.mean_error).abs().max())
print(f"means against the grid: at most {worst:.1f} standard errors off")

# %% [markdown]
# *What to see.* Chains agree with each other (R-hat near 1) and with the grid.
#
# ## Exercise
#
# *Is it the family or the encoder that a larger encoder mends?* Keep the decoder of the VAE with
# two latents, give it an encoder of 256 units, learn that alone, and look at the two gaps again.

# %% tags=["hide-cell"] jupyter={"source_hidden": true, "outputs_hidden": true}
import copy

torch.manual_seed(1)
options = {"latent_dim": 2, "likelihood": "bernoulli"}
decoder = copy.deepcopy(vae.model.decoder)
larger = VAE(data.data_shape, hidden=[256], decoder=decoder, **options)
larger.model.requires_grad_(False)
fit(larger, data, progress=False, **how)
for name, pair in (("64 units", vae), ("256 units", larger)):
    found = compare_guides(pair, x, guides=["encoder", "normal", "full_covariance"])
    print(f"encoder of {name}:", found.difference("normal", "encoder"))
# The family's gap belongs to the decoder and cannot move. The encoder's halves: a larger network
# finds the best Normal more nearly. It does not go to 0: what an encoder learned on training images
# is not all that test images need.

# %% [markdown]
# At the command line: `pyro-models guides RUN --guides "[encoder, normal, full_covariance]"`.
