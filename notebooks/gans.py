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
# %matplotlib inline
import matplotlib
import torch

from inference import complete, figures, fit, infer
from inference.objectives import Adversarial
from pyro_models import VAE, Generator, load_data

matplotlib.rcParams["figure.dpi"] = 60
torch.set_num_threads(1)  # small images: more threads only wait for each other

# %%
data = load_data("digits", preparation="dequantised")
torch.manual_seed(0)
gan = Generator(data.data_shape)
result = fit(gan, data, objective=Adversarial(), epochs=60, progress=False)
last = result.history.epochs[-1].measures
print({name: round(value, 3) for name, value in last.items()})

# %% [markdown]
# The loss does not tell whether it worked: it is relative to a critic that moves. What is worth
# watching: how often the critic is right (one half each, where it cannot tell), and how far samples
# lie from each other, by how far data do. A GAN that has *collapsed* shows it there, and a warning
# says so.

# %%
figures.learning_curves(result.history)

# %%
figures.prior_samples(gan, n=40)

# %% [markdown]
# ## Latents of an image, and the rest of half an image
#
# A GAN has no encoder. A guide is fitted to each image, as for every model here. How well the GAN
# explains an image depends on $\sigma$, which took no part in training.

# %%
x = data.prepared("test", limit=8).x
gan.set_sigma(0.2)
posterior = infer(gan, x, guide="normal")
print(posterior.to_text())
print(f"squared error of the means: {float((posterior.complete() - x).square().mean()):.4f}")

# %%
figures.completions(complete(gan, x, "top", guide="normal", num_samples=4), x)

# %% [markdown]
# ## The critic on anything that can be sampled
#
# The objective takes every model whose samples have gradients. The decoder of a VAE is one: the
# same network under the other objective. Its encoder learns nothing then, and the record says so.

# %%
torch.manual_seed(0)
vae = VAE(data.data_shape, latent_dim=20, hidden=[256, 128], likelihood="gaussian")
again = fit(vae, data, objective=Adversarial(), epochs=60, progress=False)
print(again.history.remark)
figures.prior_samples(vae, n=40)

# %% [markdown]
# **Exercise.** Classes that are missing are seen in no loss. Count the classes of 1,000 samples
# under a classifier.

# %%
from sklearn.svm import SVC

from inference import generate

train = data.prepared("train")
svc = SVC().fit(train.x.flatten(1).numpy(), train.y.numpy())
samples = generate(gan, n=1000).flatten(1).cpu().numpy()
print(torch.bincount(torch.as_tensor(svc.predict(samples)), minlength=10).tolist())
