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
# infer the latents of *given* images the encoder is not needed: each image can have a guide of
# its own, with the model frozen. We do so for many images in one call, see why each fit stopped,
# compare families of guides, and fill in images of which half was seen, where the encoder is
# lost.

# %%
DATA = "digits"  # or "mnist", "fashion-mnist"
DEVICE = "cpu"  # or "cuda"

# %%
# %matplotlib inline
import matplotlib
import torch
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from torch.nn.functional import pad

from inference import figures, fit
from inference.posterior import Plateau, infer
from pyro_models import VAE, load_data
from pyro_models.data.masks import seen_pixels

matplotlib.rcParams["figure.dpi"] = 100
matplotlib.rcParams["image.interpolation"] = "nearest"  # pixels as they are
torch.set_num_threads(1)  # small images: more threads only wait for each other

# %%
data = load_data(DATA, preparation="threshold")
EPOCHS = 40 if DATA == "digits" else 10
torch.manual_seed(0)
vae = VAE(data.data_shape, latent_dim=6, hidden=[128], activation="tanh", likelihood="bernoulli")
fit(vae, data, epochs=EPOCHS, lr=3e-3, device=DEVICE, progress=False)
x = data.prepared("test", limit=100).x

# %% [markdown]
# ## One call, many images
#
# *Question.* What are the latents of these 100 images, if there is no encoder?
#
# $$\Psi_n^* = \arg\max_\Psi\; \mathbb{E}_{q(z;\Psi)}[\log p(x_n \mid z)]
#   - \mathrm{KL}(q(z;\Psi) \,\|\, p(z)), \qquad
#   q(z; \Psi) = \mathcal{N}(\mu, \mathrm{diag}\,\sigma^2).$$
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
# *What to see.* Original, decoded from the fitted latents, decoded from the encoder's: the two
# differ where an image is unusual. All 100 have converged, each by its own stop.
#
# ## Which guide
#
# *Question.* How much of $\log p(x)$ does each family of guides lose?
#
# $$\log p(x) - \mathrm{ELBO}(q) = \mathrm{KL}\big(q(z) \,\|\, p(z \mid x)\big).$$
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
# *What to see.* The standard errors are over images, and the same images are in every row:
# differences of rows are far better known than the rows (see the notebook on swapping guides).
# What the encoder loses against `normal`, its own family fitted to each image, is its
# *amortisation gap*; what `normal` loses against `full_covariance` is part of the *approximation
# gap*.
#
# ## Half of an image
#
# *Question.* What is the right half, given the left?
#
# $$p(x_u \mid x_s) = \int p(x_u \mid z)\, p(z \mid x_s)\, dz, \qquad
#   \log p(x_s \mid z) = \sum_{d \text{ seen}} \log p(x_d \mid z).$$
#
# With `mask` only seen pixels enter $\log p(x_{\mathrm{seen}} \mid z)$; what stands in others,
# NaN included, reaches nothing. The encoder can only be given *something* for the missing half
# (zeros here), and it takes that for an image.

# %%
seen = seen_pixels("left", data.data_shape)[0, 0]  # (H, W), true in the left half
half = torch.where(seen, x[:12], torch.nan)
fitted = infer(vae, half, mask=seen, guide="full_covariance")
misled = infer(vae, half, mask=seen, guide="encoder")
for q in (misled, fitted):
    wrong = (q.complete().cpu() - x[:12])[..., ~seen].square().mean()
    print(
        f"{q.name:16} ELBO of the left half {q.bound.mean[0]:7.2f} nats, right half MSE {wrong:.3f}"
    )

# %% [markdown]
# *What to see.* The encoder takes zeros for black pixels: its bound of what was seen is lower,
# and so is what it makes of the rest worse. Draws of the rest, each with a $z$ of its own; the
# first column is what was seen, the rest of it grey, and the last the true image.

# %%
rest = fitted.select(slice(0, 6)).completions(6, pixels="mean").cpu()
tiles = torch.cat([torch.where(seen, x[:6], 0.5)[None], rest, x[None, :6]])
tiles = pad(tiles, (0, 1, 0, 1), value=torch.nan)  # white lines between the images
grid = torch.cat([torch.cat(list(row[:, 0]), -1) for row in tiles.transpose(0, 1)], -2)
figure = Figure(figsize=(6, 4.6), layout="constrained")
axes = figure.subplots()
axes.imshow(grid, cmap="gray", vmin=0, vmax=1)
side = x.shape[-1] + 1
axes.set_xticks([side * (i + 0.5) - 0.5 for i in range(8)], ["seen", *["drawn"] * 6, "true"])
axes.set_yticks([])
axes.spines[:].set_visible(False)
figure

# %% [markdown]
# *What to see.* Seen pixels stay as they are. Where the left half leaves the digit open the draws
# differ in kind, not only in detail: that is what one completion, however good, does not show.
#
# ## Exercise
#
# Refit with half as many and twice as many seen pixels, drawn at random (`seen_pixels("random",
# data.data_shape, fraction=...)`), and look at how wide the posterior is: the mean, over images and
# latents, of the standard deviation of `posterior.sample(200)["z"]`. When is it 1, and does it go
# to 0?

# %% tags=["hide-cell"] jupyter={"source_hidden": true, "outputs_hidden": true}
fractions, widths = [0.0], [1.0]  # where nothing is seen the posterior is the prior
for fraction in (0.1, 0.25, 0.5, 1.0):
    mask = None if fraction == 1 else seen_pixels("random", data.data_shape, fraction=fraction)
    q = infer(vae, x[:30], mask=mask, guide="normal")
    fractions.append(fraction)
    widths.append(float(q.sample(200)["z"].std(0).mean()))
figure = Figure(figsize=(5, 3), layout="constrained")
axes = figure.subplots()
axes.plot(fractions, widths, marker="o", ms=4)
axes.set(xlabel="share of pixels that are seen", ylabel="posterior standard deviation of z")
axes.set_ylim(0, 1.05)
axes.spines[["top", "right"]].set_visible(False)
display(figure)
# The first pixels tell most; those that follow tell again what is known. It does not reach 0: with
# all pixels seen, several z still explain the image about equally well.

# %% [markdown]
# The same from the shell: `pyro-models infer RUN --guide normal --limit 100 --figure free.png`, and
# `pyro-models complete RUN --mask left`.
