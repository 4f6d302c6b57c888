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
# # A first tour
#
# Data $x$, a story $p(x, z) = p(x \mid z)\,p(z)$ of how they came about, and a guide
# $q(z \mid x)$ that reads the story backwards. Model and guide together are a *pair*. We learn one,
# judge it and look at it: five minutes to read, seconds to run.

# %%
# %matplotlib inline
import matplotlib
import torch

from inference import evaluate, figures, fit
from pyro_models import VAE, load_data

matplotlib.rcParams["figure.dpi"] = 80
torch.set_num_threads(1)  # the images are small: more threads only wait for each other

# %% [markdown]
# ## Data
#
# The 8 × 8 digits that scikit-learn bundles. `preparation` says what a pixel is when a model sees
# it; here 1 where the grey value is above ½, and 0 elsewhere. The name goes with every number that
# is computed, for a number on other pixels is another number.

# %%
data = load_data("digits", preparation="threshold")
data

# %% [markdown]
# ## Learn
#
# A variational autoencoder with two latents: $z \sim \mathcal{N}(0, I_2)$, and every pixel is a
# coin whose probability a network computes from $z$. `fit` raises the evidence lower bound
#
# $$\log p(x) \;\ge\; \mathbb{E}_{q(z \mid x)}[\log p(x \mid z)]
#   - \mathrm{KL}\big(q(z \mid x) \,\|\, p(z)\big)$$
#
# per image, in nats.

# %%
torch.manual_seed(0)  # the weights are drawn here
vae = VAE(data.data_shape, latent_dim=2, hidden=[128], likelihood="bernoulli")
result = fit(vae, data, epochs=30, batch_size=64, progress=False)

last = result.history.epochs[-1]
print(f"bound after epoch {last.epoch}, {result.history.unit}:")
print(f"  training data   {last.train:.2f}")
print(f"  validation data {last.validation:.2f}")

# %% [markdown]
# ## Judge
#
# Every score says what it is: its unit, whether it is exact or a bound, and of how many particles
# $K$. The log-likelihood is estimated by importance sampling,
# $\log \tfrac1K \sum_k p(x, z_k) / q(z_k \mid x)$, a tighter lower bound than the ELBO. What cannot
# be computed is named, with the reason.

# %%
print(evaluate(vae, data, num_particles=100))

# %% [markdown]
# ## Look
#
# Where the guide puts the test images; the labels played no part in training.

# %%
test = data.prepared("test")
figures.latent_scatter(vae, test.x, test.y)

# %% [markdown]
# `vae.model` and `vae.guide` are ordinary Pyro modules: `scripts/vae_svi.py` trains them with
# Pyro's own `SVI`. On to `density_models.ipynb`, which compares five kinds of model.
