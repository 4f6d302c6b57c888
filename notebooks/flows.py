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
# # Flows: a density of pixels, and a guide that dequantises
#
# A normalising flow $f$ turns data into noise, and so has an exact density, $\log p(v) = \log
# \mathcal{N}(f(v); 0, I) + \log |\det \partial f / \partial v|$. Pixels are no continuous data but
# one of $k$ levels, $x = \lfloor k v \rfloor$, and have a probability,
#
# $$P(x) = \int_{\text{bins of } x} p(v)\, dv \;\ge\;
# \exp \mathbb{E}_{q(u \mid x)}\big[\log p\big(\tfrac{x + u}{k}\big) - D \log k
# - \log q(u \mid x)\big].$$
#
# So a flow is a model with a latent, $u$, and *dequantisation is its guide*. Swapping uniform for
# variational noise is swapping a guide, and bound, importance-weighted bound and bits per dimension
# come from what is there.

# %%
# %matplotlib inline
import matplotlib
import torch
from IPython.display import Markdown, display

from inference import compare, diagnose, evaluate, figures, fit
from pyro_models import Flow, load_data

matplotlib.rcParams["figure.dpi"] = 60
torch.set_num_threads(1)  # small images: more threads only wait for each other

# %% [markdown]
# ## Two guides, one flow
#
# Eight by eight digits of 17 grey levels; four affine couplings on checkerboards, each with a dense
# network that sees one half of the pixels and scales and shifts the other.

# %%
data = load_data("digits")
couplings = {"class_path": "dense", "init_args": {"couplings": 4, "hidden": [128, 128]}}
noise = {"class_path": "dense", "init_args": {"couplings": 2, "hidden": [64]}}
guides = {
    "uniform": "uniform",
    "variational": {"class_path": "variational", "init_args": {"flow": noise}},
}
fits = {}
for name, guide in guides.items():
    torch.manual_seed(0)
    flow = Flow(data.data_shape, flow=couplings, levels=17, dequantise=guide)
    fits[name] = fit(flow, data, epochs=30, lr=2e-3, progress=False)

# %%
figures.learning_curves(fits["uniform"].history, pair=fits["uniform"].pair, title="uniform")

# %% [markdown]
# ## Judge
#
# One $u$ is the ELBO; $K$ of them are a tighter bound, and the table says which $K$. Both columns
# are of the same probability, of the same images.

# %%
scores = [evaluate(f.pair, data, num_particles=16, name=name) for name, f in fits.items()]
display(Markdown(compare(scores).to_markdown()))

# %% [markdown]
# What a guide loses is between the ELBO and $\log P(x)$. Its importance weights tell how much: the
# effective sample size of uniform noise is the smaller one.

# %%
for name, trained in fits.items():
    found = diagnose(trained.pair, data, num_particles=100, limit=100)
    size = float(found.effective_sample_size.median())
    print(f"{name:12} effective draws of 100: {size:.0f}")

# %% [markdown]
# ## Look
#
# Samples are noise that is pushed back through $f^{-1}$ and rounded to levels.

# %%
figures.prior_samples(fits["variational"].pair, n=40, pixels="sample")

# %% [markdown]
# **Exercise.** Of continuous data there is nothing to dequantise, and $\log p(x)$ is exact. Learn
# two moons with one spline of zuko's, and compare with a mixture of Gaussians.

# %%
from sklearn.datasets import make_moons

from pyro_models import GMM

moons = torch.tensor(make_moons(2000, noise=0.05, random_state=0)[0]).float()
spline = {"class_path": "nsf", "init_args": {"transforms": 2, "hidden_features": [32, 32]}}
torch.manual_seed(0)
flow = fit(Flow((2,), flow=spline, dequantise=None), moons, epochs=20, lr=5e-3, progress=False).pair
gmm = fit(GMM((2,), num_components=8), moons, epochs=60, lr=5e-2, progress=False).pair
for name, pair in (("flow", flow), ("mixture of 8", gmm)):
    log_p = pair.exact_log_prob(moons).detach()
    print(f"{name:12} {float(log_p.mean()):.3f} nats per point, exact, on the training data")
