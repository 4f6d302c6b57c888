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
#
# Every notebook here goes by the same steps: a question, its equation, a few lines of code, a
# figure or a table, and what to see in it. At the end there is an exercise; its answer is in a
# folded cell.

# %%
DATA = "digits"  # or "mnist", "fashion-mnist"
DEVICE = "cpu"  # or "cuda"

# %%
# %matplotlib inline
import matplotlib
import torch
from IPython.display import display
from matplotlib.figure import Figure
from torch.nn.functional import pad

from inference import evaluate, figures, fit, reconstruct
from pyro_models import VAE, load_data

matplotlib.rcParams["figure.dpi"] = 100
matplotlib.rcParams["image.interpolation"] = "nearest"  # pixels as they are
torch.set_num_threads(1)  # the images are small: more threads only wait for each other

# %% [markdown]
# ## Data
#
# *Question.* What is one datum, and what is a pixel of it?
#
# The 8 × 8 digits that scikit-learn bundles, or 28 × 28 pixels of MNIST. `preparation` says what a
# pixel is when a model sees it; here
#
# $$x_d = \begin{cases} 1 & \text{where the grey value is above } \tfrac12 \\ 0 & \text{elsewhere.}
# \end{cases}$$

# %%
data = load_data(DATA, preparation="threshold")
print(data)

# %% [markdown]
# *What to see.* How many images there are to learn from (train), to watch learning by (validation)
# and to judge by (test). The preparation is part of the data's name and goes with every number that
# is computed, for a number on other pixels is another number.
#
# ## Learn
#
# *Question.* Which images does a story of two numbers tell?
#
# A variational autoencoder with two latents: $z \sim \mathcal{N}(0, I_2)$, and every pixel is a
# coin whose probability a network computes from $z$. `fit` raises the evidence lower bound (ELBO),
# per image and in nats:
#
# $$\log p(x) \;\ge\; \mathbb{E}_{q(z \mid x)}[\log p(x \mid z)]
#   - \mathrm{KL}\big(q(z \mid x) \,\|\, p(z)\big).$$

# %%
EPOCHS = 30 if DATA == "digits" else 10
torch.manual_seed(0)  # the weights are drawn here
vae = VAE(data.data_shape, latent_dim=2, hidden=[128], likelihood="bernoulli")
result = fit(vae, data, epochs=EPOCHS, batch_size=64, device=DEVICE, progress=False)
figures.learning_curves(result.history)

# %% [markdown]
# *What to see.* The bound rises and flattens. The curve of the steps is a mean over an epoch, taken
# while the weights moved; the other two are computed after each epoch, at fixed weights, and are
# the ones to compare. Where validation data fall behind training data, the model has begun to learn
# the training images by heart.
#
# ## Judge
#
# *Question.* How good is the story, and what kind of number says so?
#
# The log-likelihood is estimated by importance sampling, a tighter lower bound than the ELBO:
#
# $$L_K = \mathbb{E}\Big[\log \tfrac1K \sum_{k=1}^K \frac{p(x, z_k)}{q(z_k \mid x)}\Big]
#   \;\le\; \log p(x), \qquad z_k \sim q(z \mid x).$$

# %%
print(evaluate(vae, data, num_particles=100))

# %% [markdown]
# *What to see.* Every score says what it is: its unit, whether it is exact or a bound, of how many
# particles $K$, of which pixels. What cannot be computed is named, with the reason.
#
# ## Look
#
# *Question.* Where does the guide put the test images?
#
# $$\mathbb{E}_q[z \mid x] \in \mathbb{R}^2, \quad \text{one point for each } x.$$

# %%
test = data.prepared("test", limit=1000)
figures.latent_scatter(vae, test.x, test.y)

# %% [markdown]
# *What to see.* Images of one class lie together, though the labels took no part in training. All
# together they should fill the prior, whose contours are drawn.
#
# *Question.* What does the model believe images look like?
#
# $$z \sim \mathcal{N}(0, I_2), \qquad x_d \sim \mathrm{Bernoulli}(\mathbb{E}[x_d \mid z]).$$
#
# Ten draws of $z$: the mean image of each, then three images drawn from it. And of four test images
# the mean images of two $z \sim q(z \mid x)$ each.


# %%
def tiles(rows, labels):
    """Rows of images, (n, H, W) each, as one figure."""
    spaced = [pad(row, (0, 1, 0, 1), value=torch.nan) for row in rows]  # white lines between
    grid = torch.cat([torch.cat(list(row), -1) for row in spaced], -2).cpu()
    figure = Figure(figsize=(7, 7.4 * len(rows) / len(rows[0])), layout="constrained")
    axes = figure.subplots()
    axes.imshow(grid, cmap="gray", vmin=0, vmax=1)
    side = grid.shape[0] / len(rows)
    axes.set_yticks([side * (i + 0.5) - 0.5 for i in range(len(rows))], labels)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    return figure


with torch.no_grad():
    pixels = vae.decode({"z": torch.randn(10, 2, device=DEVICE)})["x"]
    drawn = [pixels.sample()[:, 0] for _ in range(3)]
    seen = test.x[:4].to(DEVICE)
    again = [reconstruct(vae, seen)[:, 0] for _ in range(2)]
display(tiles([pixels.mean[:, 0], *drawn], ["mean", "drawn", "drawn", "drawn"]))
display(tiles([seen[:, 0], *again], ["x", "one z", "another z"]))

# %% [markdown]
# *What to see.* A mean is smooth, and no image of the data is: what the model calls an image is a
# row below, with every pixel tossed by itself. Two $z$ of one image decode to nearly the same
# digit where the guide is sure.
#
# ## Exercise
#
# Two latents crowd ten classes. Give the VAE ten, learn it again, and compare $\log p(x)$: by how
# much does it rise, and is that more than the standard errors allow? Then decode latents that are
# drawn from the prior: which of the two makes better digits?

# %% tags=["hide-cell"] jupyter={"source_hidden": true, "outputs_hidden": true}
torch.manual_seed(0)
wider = VAE(data.data_shape, latent_dim=10, hidden=[128], likelihood="bernoulli")
fit(wider, data, epochs=EPOCHS, batch_size=64, device=DEVICE, progress=False)
for latents, pair in {2: vae, 10: wider}.items():
    print(f"{latents:2} latents:", evaluate(pair, data).scores["log_likelihood"])
    display(figures.prior_samples(pair, n=20))
# On the digits it rises by 1.4 nats, some six standard errors, and these are of each number by
# itself: the images are the same, so the difference is known better still. The samples are sharper,
# but not all are digits: the prior of ten latents has many places to which the guide put no image.

# %% [markdown]
# `vae.model` and `vae.guide` are ordinary Pyro modules: `scripts/vae_svi.py` trains them with
# Pyro's own `SVI`. On to `density_models.ipynb`, which compares five kinds of model.
