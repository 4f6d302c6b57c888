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
# # GANs: a generator under another objective
#
# *Question.* Can a model be learned without any likelihood, and what is left of a pair if it is?
#
# A generator $G$ makes images of noise, $z \sim \mathcal{N}(0, I)$. It is trained against a critic
# $D$ that is to tell its samples from data,
#
# $$\max_D \; \mathbb{E}\log D(x) + \mathbb{E}\log(1 - D(G(z))), \qquad
# \max_G \; \mathbb{E}\log D(G(z)),$$
#
# the second being the *non-saturating* loss. Here the generator is a pair, $p(x \mid z) =
# \mathcal{N}(G(z), \sigma^2 I)$, and the game is an objective, which owns the critic. So whatever
# is known of pairs is known of a GAN: latents of a given image, the rest of half an image,
# evidence.

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

from inference import Snapshots, complete, figures, fit, infer
from inference.objectives import Adversarial
from pyro_models import VAE, Generator, load_data

matplotlib.rcParams["figure.dpi"] = 80
matplotlib.rcParams["image.interpolation"] = "nearest"  # pixels as they are
torch.set_num_threads(1)  # small images: more threads only wait for each other

# %% [markdown]
# ## Learn
#
# *Question.* How does one see that it works?

# %%
data = load_data(DATA, preparation="dequantised")
EPOCHS = 60 if DATA == "digits" else 10
torch.manual_seed(0)
gan = Generator(data.data_shape)
moments = Snapshots(lambda pair: figures.prior_samples(pair, n=25), at=[1, EPOCHS // 2, EPOCHS])
how = {"objective": Adversarial(), "epochs": EPOCHS, "device": DEVICE, "progress": False}
result = fit(gan, data, callbacks=[moments], **how)
for name, value in result.history.epochs[-1].measures.items():
    print(f"{name:15} {value:.3f}")

# %% [markdown]
# *What to see.* The loss does not tell whether it worked: it is relative to a critic that moves.
# What is worth watching: how often the critic is right (one half each, where it cannot tell), and
# how far samples lie from each other, by how far data do. A GAN that has *collapsed* shows it
# there, and a warning says so.

# %%
figures.learning_curves(result.history)

# %% [markdown]
# Samples of the same 25 $z$ after the first epoch, at half time and at the end:

# %%
for epoch, figure in moments.figures.items():
    figure.suptitle(f"after epoch {epoch}", fontsize=11, fontweight="bold")
    display(figure)

# %% [markdown]
# *What to see.* First noise, then strokes, then digits, sharper than a VAE's means: a blurred image
# is found out by the critic at once.
#
# ## From one image to another
#
# *Question.* Is there something between two samples, or a jump?
#
# $$z(\lambda) = (1 - \lambda)\, z_a + \lambda\, z_b, \qquad \lambda = 0, \tfrac16, \dots, 1.$$
#
# Seven steps between images of two classes. Their latents are fitted first, for a GAN has no
# encoder.

# %%
test = data.prepared("test", limit=200)
rows = torch.stack([(test.y == digit).nonzero()[0, 0] for digit in (0, 1, 4, 7, 3, 6)])
gan.set_sigma(0.2)
z = infer(gan, test.x[rows], guide="normal").mean["z"]
weights = torch.linspace(0, 1, 7, device=z.device)[:, None, None]
path = gan.decode({"z": (1 - weights) * z[0::2] + weights * z[1::2]})["x"].mean.detach().cpu()
path = pad(path, (0, 1, 0, 1), value=torch.nan)  # white lines between the images
grid = torch.cat([torch.cat(list(row[:, 0]), -1) for row in path.transpose(0, 1)], -2)
figure = Figure(figsize=(6, 2.8), layout="constrained")
axes = figure.subplots()
axes.imshow(grid, cmap="gray", vmin=0, vmax=1)
axes.set(xticks=[], yticks=[])
axes.spines[:].set_visible(False)
figure

# %% [markdown]
# *What to see.* Every step is some digit, or nearly one: the way between two is not a cross-fade.
#
# ## Latents of an image, and the rest of half an image
#
# *Question.* What does a GAN know of a given image?
#
# $$p(x \mid z) = \mathcal{N}\big(x;\, G(z), \sigma^2 I\big), \qquad
#   \Psi^* = \arg\max_\Psi \mathbb{E}_{q(z; \Psi)}[\log p(x \mid z)] - \mathrm{KL}(q \,\|\, p).$$
#
# A guide is fitted to each image, as for every model here. How well the GAN
# explains an image depends on $\sigma$, which took no part in training.

# %%
x = test.x[:8]
posterior = infer(gan, x, guide="normal")
print(posterior.to_text())
error = (posterior.complete().cpu() - x).square().mean()
print(f"squared error of the means: {float(error):.4f}")

# %%
figures.completions(complete(gan, x, "top", guide="normal", num_samples=4), x)

# %% [markdown]
# *What to see.* The rest goes on from what was seen, and its draws differ where that leaves it
# open.
#
# ## The critic on anything that can be sampled
#
# *Question.* Is it the network that makes samples sharp, or the objective?
#
# $$\max_\theta\; \mathbb{E}_{z \sim p(z)} \log D\big(\mathbb{E}_\theta[x \mid z]\big).$$
#
# The objective takes every model whose samples have gradients. The decoder of a VAE is one: the
# same network under the other objective. Its encoder learns nothing then, and the record says so.

# %%
torch.manual_seed(0)
vae = VAE(data.data_shape, latent_dim=20, hidden=[256, 128], likelihood="gaussian")
again = fit(vae, data, **{**how, "objective": Adversarial()})
print(again.history.remark)
figures.prior_samples(vae, n=25)

# %% [markdown]
# *What to see.* It is the objective: no blur here either. They are less often a digit than those
# of the generator above, which is another network, learned in the same way for as long. The
# encoder has learned nothing, and reconstructs nothing.
#
# ## Exercise
#
# Classes that are missing are seen in no loss. Train a classifier on data alone, and count the
# classes of 1,000 samples of the GAN. By how much would even counts be off by chance?

# %% tags=["hide-cell"] jupyter={"source_hidden": true, "outputs_hidden": true}
from sklearn.svm import SVC

from inference import generate

train = data.prepared("train", limit=5000)
svc = SVC().fit(train.x.flatten(1).numpy(), train.y.numpy())
samples = generate(gan, n=1000).flatten(1).cpu().numpy()
counts = torch.bincount(torch.as_tensor(svc.predict(samples)), minlength=10)
for digit, count in enumerate(counts.tolist()):
    print(f"{digit}: {count:4}")
# Of even classes each count would be 100 ± 9.5. What lies beyond some 80 to 120 is not chance: the
# GAN prefers some classes, though it has dropped none. Whether the images of a class vary, counts
# do not say; the history's `diversity` does, for all classes together.
