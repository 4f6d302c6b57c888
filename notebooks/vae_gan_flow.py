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
# across. This notebook learns one of each and puts into one column only what may stand there.

# %%
DATA = "digits"  # or "mnist", "fashion-mnist"
DEVICE = "cpu"  # or "cuda"

# %%
# %matplotlib inline
import matplotlib
import torch
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from sklearn.svm import SVC

from inference import compare, evaluate, evidence, fit, generate
from inference.evaluation import sample_floors
from pyro_models import PPCA, VAE, Diffusion, Flow, Generator, load_data

matplotlib.rcParams["figure.dpi"] = 110
matplotlib.rcParams["image.interpolation"] = "nearest"  # pixels as they are
torch.set_num_threads(1)  # small images: more threads only wait for each other
grey, densities = load_data(DATA), load_data(DATA, preparation="dequantised")
LEVELS = grey.levels  # 17 of the digits, 256 of MNIST

# %% [markdown]
# ## Learn
#
# *Question.* What does each family give a probability to?
#
# | | $\log p$ | learned by |
# |---|---|---|
# | VAE | $\mathbb{E}_q[\log P(x \mid z)] - \mathrm{KL}(q \,\|\, p)$, of levels | the bound |
# | flow | $\log \mathcal{N}(f(v)) + \log \lvert\det f'(v)\rvert$ | the bound, over noise |
# | diffusion | a bound of $T$ steps, each a Gaussian | the bound, step by step |
# | PPCA | $\log \mathcal{N}(x;\, \mu,\, W W^\top + \sigma^2 I)$, a density | itself, exact |
# | GAN | none that training knows | a critic |
#
# The VAE says a probability of each level of a pixel, the flow dequantises, the diffusion rounds a
# Gaussian at its last step: all three are of the same levels. PPCA has a density of dequantised
# pixels, which bounds that probability.

# %%
SMALL = DATA == "digits"
couplings = {"class_path": "dense", "init_args": {"couplings": 4, "hidden": [128, 128]}}
shape, once = grey.data_shape, {"device": DEVICE, "progress": False, "curve_size": 0}
torch.manual_seed(0)
levels = {"likelihood": "categorical", "likelihood_options": {"bins": LEVELS}}
vae = VAE(shape, latent_dim=20, hidden=[256], **levels)
fit(vae, grey, epochs=60 if SMALL else 10, **once)
flow = Flow(shape, flow=couplings, levels=LEVELS)
fit(flow, grey, epochs=30 if SMALL else 10, lr=2e-3, **once)
diffusion = Diffusion(shape, num_steps=50, hidden=[16, 32], levels=LEVELS)
slow = {"lr": 2e-3, "batch_size": 64, "clip_norm": 100.0}
fit(diffusion, grey, epochs=20 if SMALL else 2, **slow, **once)
ppca = PPCA.maximum_likelihood(densities.prepared("train").x, latent_dim=10).to(DEVICE)
gan = Generator(shape)
fit(gan, densities, objective="adversarial", epochs=60 if SMALL else 10, **once)

models = {"VAE": vae, "flow": flow, "diffusion": diffusion, "PPCA": ppca, "GAN": gan}
for name, pair in models.items():
    print(f"{name:10} {sum(p.numel() for p in pair.parameters()):9,} parameters")

# %% [markdown]
# *What to see.* They are not of one size, nor learned for equally long. What follows shows how to
# compare, not which family is best.
#
# ## Bits per dimension
#
# *Question.* Which model gives the test images the most probability?
#
# $$\text{bits per dimension} = -\frac{\log_2 P(x)}{D} \;\le\; -\frac{L_K}{D \ln 2}.$$
#
# Every empty cell has its reason below. The GAN has none in the column of bits: it has no encoder,
# and a bound from draws of its prior is far too low to say anything.

# %%
seen_by = {name: densities if name in ("PPCA", "GAN") else grey for name in models}
rows = [
    evaluate(pair, seen_by[name], num_particles=8, limit=100, name=name)
    for name, pair in models.items()
]
display(Markdown(compare(rows).to_markdown()))

# %% [markdown]
# *What to see.* VAE, flow and diffusion lie within some tenth of a bit, and PPCA far behind: one
# $\sigma$ for all pixels costs bits at every one that hardly moves. The numbers are upper bounds:
# the true order of the first three may be another. About how samples look they say little: a
# model of which 99 % of samples are noise costs at most $\log_2 100 / D$ more, a tenth of a bit
# on 8 × 8 pixels.
#
# ## The evidence of a GAN
#
# *Question.* Has a GAN a $\log p(x)$?
#
# $$p(x) = \int \mathcal{N}(z; 0, I)\, \mathcal{N}\big(x;\, G(z), \sigma^2 I\big)\, dz.$$
#
# It has that of $\mathcal{N}(G(z), \sigma^2)$, by annealing:

# %%
x = densities.prepared("test", limit=10).x
for sigma in (0.1, 0.2):
    gan.set_sigma(sigma)
    print(f"σ = {sigma}:", evidence(gan, x, method="annealing", num_chains=4, num_temperatures=60))

# %% [markdown]
# *What to see.* It moves with $\sigma$, which took no part in training, as much as with $G$; and
# the estimate itself says for how many of the ten images it is poorly known. It is a density of
# dequantised pixels: nothing of the table above may stand beside it, save PPCA's.
#
# ## Samples, by eye
#
# *Question.* Which looks right?
#
# $$x \sim p(x \mid z), \qquad z \sim p(z).$$
#
# Ten draws of each model. The σ of the GAN is set by hand, to about the width of a grey level.

# %%
gan.set_sigma(0.05)
drawn = {name: generate(pair, n=500, pixels="sample").cpu() for name, pair in models.items()}
figure = Figure(figsize=(6, 4), layout="constrained")
for axes, (name, images) in zip(figure.subplots(len(models)), drawn.items(), strict=True):
    axes.imshow(torch.cat(list(images[:10, 0]), 1), cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.set_ylabel(name, rotation=0, ha="right", va="center")
figure

# %% [markdown]
# *What to see.* The diffusion and the GAN, which has no bits, draw the cleanest digits. The VAE
# draws every pixel by itself, and that is seen; PPCA draws blurs with noise. Ten images show
# whether samples are sharp. They do not show whether all kinds are there, nor whether a model has
# only copied.
#
# ## Samples, by numbers
#
# *Question.* By how much do samples differ from data?
#
# Features $\phi(x)$ of a classifier of these data, $m, C$ their mean and covariance over $n$
# images:
#
# $$\text{Fréchet} = \lVert m - m' \rVert^2
#   + \mathrm{tr}\big(C + C' - 2 (C C')^{1/2}\big), \qquad
#   \text{coverage} = \tfrac1n \#\{x : \text{a sample lies within its } k \text{ nearest data}\}.$$
#
# The kernel distance is an MMD² of the same features, and density counts how many balls of data a
# sample lies in. `sample_floors` are the rows to read beside: training images in the place of
# samples, and what linear and clustered models make.

# %%
QUANTITIES = ["frechet", "kernel", "density", "coverage"]
LIMIT = None if SMALL else 2000  # images, and so samples
scores = [
    evaluate(pair, seen_by[name], quantities=QUANTITIES, limit=LIMIT, name=name)
    for name, pair in models.items()
]
scores += sample_floors(grey, quantities=QUANTITIES, limit=LIMIT)
display(Markdown(compare(scores, quantities=QUANTITIES).to_markdown()))

# %% [markdown]
# *What to see.* Read every row beside the first floor: training images are not at 0 either, and no
# distance below theirs means anything. The order is another than that of bits. What these numbers
#
# * **can say**: whether the features of samples are distributed as those of data (Fréchet, kernel),
#   whether samples lie where data are (density), and which share of the data has a sample near
#   (coverage, which falls when kinds are missing, however good the others look);
# * **cannot say**: whether a model has copied its training images, for the best row would be
#   theirs; which of sharpness and missing kinds a distance is made of; anything that this
#   classifier does not see; and, at another number of images or with another classifier, nothing
#   at all beside these. They are no FID, whose features are those of a network of photographs.
#
# ## Classes
#
# *Question.* Is a class missing?
#
# $$n_c = \#\{x \sim p : \hat y(x) = c\}, \qquad \hat y \text{ a classifier of data alone.}$$

# %%
train = grey.prepared("train", limit=5000)
svc = SVC().fit(train.x.flatten(1).numpy(), train.y.numpy())
print(f"{'of 500':10}" + "".join(f"{digit:5}" for digit in range(10)))
for name, images in drawn.items():
    labels = torch.as_tensor(svc.predict(images.flatten(1).numpy()))
    counts = torch.bincount(labels, minlength=10).tolist()
    print(f"{name:10}" + "".join(f"{count:5}" for count in counts))

# %% [markdown]
# *What to see.* None has lost a class. Whether the images of a class vary, counts do not say, and a
# classifier puts a blur into some class too.
#
# ## Exercise
#
# Papers show $\mathbb{E}[x \mid z]$ of a VAE and of a GAN, not $x \sim p(x \mid z)$. Score both
# (`frechet_mean`, `coverage_mean`). For which model does it matter, and may a table hold one row of
# means and one of draws?

# %% tags=["hide-cell"] jupyter={"source_hidden": true, "outputs_hidden": true}
both = ["frechet", "frechet_mean", "coverage", "coverage_mean"]
rows = [
    evaluate(vae, grey, quantities=both, limit=LIMIT, name="VAE"),
    evaluate(gan, densities, quantities=both, limit=LIMIT, name="GAN, σ = 0.05"),
]
gan.set_sigma(0.2)
rows.append(evaluate(gan, densities, quantities=both, limit=LIMIT, name="GAN, σ = 0.2"))
display(Markdown(compare(rows, quantities=both).to_markdown()))
# It matters for the VAE: its pixels were learned with their noise, its draws are the model, and its
# means, averages that no datum looks like, are twice as far from data. A GAN was learned by its
# means; its draws hang on a σ that nobody has chosen (by less than the errors here). In one column
# the two would be numbers of different things, so each has its own.

# %% [markdown]
# What each number can and cannot say, with results on MNIST, is on a page of its own:
# [VAE, GAN, flow, diffusion](../docs/vae-gan-flow.md).
