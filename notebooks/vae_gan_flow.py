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
# # VAE, GAN, flow, diffusion: which number says what
#
# All four make images of noise. What can be compared? *Bits per dimension* of the pixels' own
# levels where a model gives a probability of them; *samples*, by eye and by classes; nothing
# across. This notebook learns one of each on the bundled digits and puts into one column only what
# may stand there.

# %%
# %matplotlib inline
import matplotlib
import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from sklearn.svm import SVC

from inference import compare, evaluate, evidence, fit, generate
from pyro_models import PPCA, VAE, Diffusion, Flow, Generator, load_data

matplotlib.rcParams["figure.dpi"] = 60
torch.set_num_threads(1)  # small images: more threads only wait for each other
grey, densities = load_data("digits"), load_data("digits", preparation="dequantised")

# %% [markdown]
# ## Learn
#
# The VAE says a probability of each of 17 levels of a pixel, the flow dequantises, the diffusion
# rounds a Gaussian at its last step: all three are of the same 17 levels. PPCA has a density of
# dequantised pixels, which bounds that probability. The GAN is trained by a critic alone.

# %%
couplings = {"class_path": "dense", "init_args": {"couplings": 4, "hidden": [128, 128]}}
shape, once = grey.data_shape, {"progress": False, "curve_size": 0}
torch.manual_seed(0)
levels = {"likelihood": "categorical", "likelihood_options": {"bins": 17}}
vae = fit(VAE(shape, latent_dim=20, hidden=[256], **levels), grey, epochs=60, **once).pair
flow = fit(Flow(shape, flow=couplings, levels=17), grey, epochs=30, lr=2e-3, **once).pair
diffusion = Diffusion(shape, num_steps=50, hidden=[16, 32], levels=17)
fit(diffusion, grey, epochs=20, lr=2e-3, batch_size=64, clip_norm=100.0, **once)
ppca = fit(PPCA(shape, latent_dim=10), densities, epochs=20, lr=1e-2, **once).pair
gan = fit(Generator(shape), densities, objective="adversarial", epochs=60, **once).pair

# %% [markdown]
# ## One table
#
# Every empty cell has its reason below. The GAN has none in the column of bits: it has no encoder,
# and a bound from draws of its prior is far too low to say anything.

# %%
models = {"VAE": vae, "flow": flow, "diffusion": diffusion}
rows = [
    evaluate(pair, grey, num_particles=8, limit=100, name=name) for name, pair in models.items()
]
rows += [
    evaluate(pair, densities, num_particles=8, limit=100, name=name)
    for name, pair in (("PPCA", ppca), ("GAN", gan))
]
display(Markdown(compare(rows).to_markdown()))

# %% [markdown]
# A GAN's evidence is that of $\mathcal{N}(G(z), \sigma^2)$, by annealing, and moves with $\sigma$
# as much as with $G$.

# %%
x = densities.prepared("test", limit=10).x
for sigma in (0.1, 0.2):
    gan.set_sigma(sigma)
    print(sigma, evidence(gan, x, method="annealing", num_chains=4, num_temperatures=60))

# %% [markdown]
# ## Samples
#
# Ten draws of each model, and how many of 500 are of each class, by a classifier that has seen data
# alone. The first shows sharpness, the second missing classes; neither shows whether a model has
# only copied.

# %%
models |= {"PPCA": ppca, "GAN": gan}
train = grey.prepared("train")
svc = SVC().fit(train.x.flatten(1).numpy(), train.y.numpy())
figure, axes = plt.subplots(len(models), 1, figsize=(6, 4.6), layout="constrained")
for axis, (name, pair) in zip(axes, models.items(), strict=True):
    drawn = generate(pair, n=500, pixels="sample").cpu()
    axis.imshow(torch.cat(list(drawn[:10, 0]), 1), cmap="gray", vmin=0, vmax=1)
    axis.set(xticks=[], yticks=[])
    axis.set_ylabel(name, rotation=0, ha="right", va="center")
    labels = torch.as_tensor(svc.predict(drawn.flatten(1).numpy()))
    print(f"{name:10} {torch.bincount(labels, minlength=10).tolist()}")

# %% [markdown]
# What each number can and cannot say is on a page of its own, `docs/vae-gan-flow.md`.
