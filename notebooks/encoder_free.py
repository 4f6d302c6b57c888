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
# # Without the encoder
#
# A trained VAE has two halves: the model $p(x, z)$, and an encoder that guesses $q(z \mid x)$. To
# infer the latents of *given* images the encoder is not needed: each image can have a guide of its
# own,
#
# $$\Psi^* = \arg\max_\Psi\; \mathbb{E}_{q(z;\Psi)}[\log p(x \mid z)]
# - \mathrm{KL}(q(z;\Psi) \,\|\, p(z)),$$
#
# with the model frozen. We do so for many images in one call, see why each fit stopped, compare
# families of guides, and fill in images of which half was seen, where the encoder is lost.

# %%
# %matplotlib inline
import matplotlib
import torch
from IPython.display import Markdown, display

from inference import figures, fit
from inference.posterior import Plateau, infer
from pyro_models import VAE, load_data

matplotlib.rcParams["figure.dpi"] = 60
torch.set_num_threads(1)  # small images: more threads only wait for each other

# %%
data = load_data("digits", preparation="threshold")
torch.manual_seed(0)
vae = VAE(data.data_shape, latent_dim=6, hidden=[128], activation="tanh", likelihood="bernoulli")
fit(vae, data, epochs=40, lr=3e-3, progress=False)
x = data.prepared("test", limit=100).x

# %% [markdown]
# ## One call, many images
#
# `infer` fits 100 guides at once, by one-sample stochastic gradients. Each has its own stop: the
# mean of its bound over a window of 50 steps must exceed that of its best window by the tolerance
# and one standard error of their difference; where it has not for two windows the image's learning
# rate is cut to 0.3 of what it was, and when two cuts have not helped, it has converged and leaves
# the batch. Nothing of the VAE changes.

# %%
posterior = infer(vae, x, guide="normal", stopping=Plateau(min_improvement=0.02))
print(posterior.to_text())

# %%
figures.encoder_free(posterior, rows=5)

# %% [markdown]
# ## Which guide
#
# The family is a word. All bounds below are of the same $\log p(x)$: the highest is the tightest.
# $L_{500}$ is the importance-sampled bound from 500 draws of each guide. `prior` is plain Monte
# Carlo: nearly all of its draws explain the image worse than any trained guide, and its bound says
# so. `encoder` is the amortised guide, `refined` starts there and goes on for each image.

# %%
rows = [
    "| guide | ELBO | $L_{500}$ | effective draws of 500 | numbers per image |",
    "|---" * 5 + "|",
]
for guide in ("prior", "encoder", "refined", "normal", "full_covariance", "laplace"):
    q = infer(vae, x, guide=guide)
    bound, error = q.bound.mean
    weighed, _ = q.importance_bound(500).mean
    size = float(q.effective_sample_size(500).median())
    cells = (guide, f"{bound:.2f} ± {error:.2f}", f"{weighed:.2f}", f"{size:.0f}")
    rows.append(f"| {' | '.join(cells)} | {q.num_parameters:g} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# The standard errors are over images, and the same images are in every row: differences of rows are
# far better known than the rows (see the notebook on swapping guides). What the encoder loses
# against `normal`, its own family fitted to each image, is its *amortisation gap*; what `normal`
# loses against `full_covariance` is part of the *approximation gap*.
#
# ## Half of an image
#
# With `mask` only seen pixels enter $\log p(x_{\mathrm{seen}} \mid z)$; what stands in others,
# NaN included, reaches nothing. The encoder can only be given *something* for the missing half
# (zeros here), and it takes that for an image.

# %%
seen = (torch.arange(8) < 4).expand(8, 8)  # the left half
half = torch.where(seen, x[:12], torch.nan)
fitted = infer(vae, half, mask=seen, guide="full_covariance")
misled = infer(vae, half, mask=seen, guide="encoder")
for q in (misled, fitted):
    wrong = (q.complete() - x[:12])[..., 4:].square().mean()
    print(
        f"{q.name:16} ELBO of the left half {q.bound.mean[0]:7.2f} nats, right half MSE {wrong:.3f}"
    )

# %% [markdown]
# Draws of the rest, each with a $z$ of its own; the first column is what was seen, the rest of it
# grey, and the last the true image.

# %%
rest = fitted.select(slice(0, 6)).completions(6, pixels="mean")
tiles = torch.cat([torch.where(seen, x[:6], 0.5)[None], rest, x[None, :6]])
grid = torch.cat([torch.cat(list(row[:, 0]), -1) for row in tiles.transpose(0, 1)], -2)
figure = matplotlib.figure.Figure(figsize=(8, 6), layout="constrained")
axes = figure.subplots()
axes.imshow(grid, cmap="gray_r", vmin=0, vmax=1)
axes.set_xticks([3.5 + 8 * i for i in range(8)], ["seen", *["drawn"] * 6, "true"])
axes.set_yticks([])
figure

# %% [markdown]
# The same from the shell: `pyro-models infer RUN --guide normal --limit 100 --figure free.png`, and
# `pyro-models complete RUN --mask left`.
