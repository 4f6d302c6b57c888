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
# A normalising flow $f$ turns data into noise, and so has an exact density,
#
# $$\log p(v) = \log \mathcal{N}\big(f(v); 0, I\big) + \log |\det \partial f / \partial v|.$$
#
# Pixels are no continuous data but one of $k$ levels, $x = \lfloor k v \rfloor$, and have a
# probability,
#
# $$P(x) = \int_{\text{bins of } x} p(v)\, dv \;\ge\;
# \exp \mathbb{E}_{q(u \mid x)}\big[\log p\big(\tfrac{x + u}{k}\big) - D \log k
# - \log q(u \mid x)\big].$$
#
# So a flow is a model with a latent, $u$, and *dequantisation is its guide*. Swapping uniform for
# variational noise is swapping a guide, and bound, importance-weighted bound and bits per dimension
# come from what is there.

# %%
DATA = "digits"  # or "mnist", "fashion-mnist"
DEVICE = "cpu"  # or "cuda"

# %%
# %matplotlib inline
import matplotlib
import torch
from IPython.display import Markdown, display

from inference import compare, diagnose, evaluate, figures, fit
from pyro_models import Flow, load_data

matplotlib.rcParams["figure.dpi"] = 90
matplotlib.rcParams["image.interpolation"] = "nearest"  # pixels as they are
torch.set_num_threads(1)  # small images: more threads only wait for each other

# %% [markdown]
# ## Two guides, one flow
#
# *Question.* How well can noise that fills the bins be chosen?
#
# Four affine couplings on checkerboards, each with a dense network that sees one half of the
# (dequantised, logit-transformed) pixels and scales and shifts the other,
#
# $$y_A = v_A, \qquad y_B = v_B \odot e^{s(v_A)} + t(v_A), \qquad
#   \log\Big|\det \frac{\partial y}{\partial v}\Big| = \textstyle\sum_j s_j(v_A).$$

# %%
data = load_data(DATA)
LEVELS = data.levels  # 17 of the digits, 256 of MNIST
EPOCHS = 30 if DATA == "digits" else 10
couplings = {"class_path": "dense", "init_args": {"couplings": 4, "hidden": [128, 128]}}
noise = {"class_path": "dense", "init_args": {"couplings": 2, "hidden": [64]}}
guides = {
    "uniform": "uniform",
    "variational": {"class_path": "variational", "init_args": {"flow": noise}},
}
fits = {}
for name, guide in guides.items():
    torch.manual_seed(0)
    flow = Flow(data.data_shape, flow=couplings, levels=LEVELS, dequantise=guide)
    fits[name] = fit(flow, data, epochs=EPOCHS, lr=2e-3, device=DEVICE, progress=False)

# %%
figures.learning_curves(fits["uniform"].history, pair=fits["uniform"].pair, title="uniform")

# %% [markdown]
# *What to see.* The bound is of $\log P(x)$, of levels: below 0, as the logarithm of a probability
# must be. (Divided by $-D \ln 2$ it is bits per dimension, as course sheets ask for.)
#
# ## Judge
#
# *Question.* Which guide, and how many samples of it?
#
# $$\text{bits per dimension} = -\frac{\log_2 P(x)}{D}
#   \;\le\; -\frac{L_K}{D \ln 2}, \qquad L_1 \le L_K \le \log P(x).$$
#
# One $u$ is the ELBO; $K$ of them are a tighter bound, and the table says which $K$. Both columns
# are of the same probability, of the same images.

# %%
scores = [
    evaluate(f.pair, data, num_particles=16, limit=1000, name=name) for name, f in fits.items()
]
display(Markdown(compare(scores).to_markdown()))

# %% [markdown]
# *What to see.* Learned noise has the higher bound: it need not fill its bin evenly, which no
# smooth density does well. What a guide loses is between the ELBO and $\log P(x)$. Its importance
# weights tell how much: the effective sample size of uniform noise is the smaller one.

# %%
for name, trained in fits.items():
    found = diagnose(trained.pair, data, num_particles=100, limit=100)
    size = float(found.effective_sample_size.median())
    print(f"{name:12} effective draws of 100: {size:.0f}")

# %% [markdown]
# *What to see.* Of either, few of a hundred draws count. In as many dimensions as there are pixels
# no simple guide is close, and both bounds are loose.
#
# ## Look
#
# *Question.* What does the flow believe images look like?
#
# $$x = \lfloor k\, f^{-1}(\varepsilon) \rfloor, \qquad \varepsilon \sim \mathcal{N}(0, I).$$
#
# Samples are noise that is pushed back through $f^{-1}$ and rounded to levels.

# %%
figures.prior_samples(fits["variational"].pair, n=36, pixels="sample")

# %% [markdown]
# *What to see.* Crisp images, for levels are drawn and not averaged, and about one digit in two.
# Bits per dimension say nothing of that.
#
# ## Exercise
#
# Of continuous data there is nothing to dequantise, and $\log p(x)$ is exact. Learn two moons with
# two splines of zuko's (`flow={"class_path": "nsf", ...}`, `dequantise=None`), compare with a
# mixture of eight Gaussians by $\log p$ of points that neither has seen, and draw from both.

# %% tags=["hide-cell"] jupyter={"source_hidden": true, "outputs_hidden": true}
from matplotlib.figure import Figure
from sklearn.datasets import make_moons

from inference import generate
from pyro_models import GMM

moons, new = (
    torch.tensor(make_moons(2000, noise=0.05, random_state=seed)[0]).float() for seed in (0, 1)
)
spline = {"class_path": "nsf", "init_args": {"transforms": 2, "hidden_features": [32, 32]}}
quick = {"device": DEVICE, "curve_size": 0, "progress": False}
torch.manual_seed(0)
flow = fit(Flow((2,), flow=spline, dequantise=None), moons, epochs=20, lr=5e-3, **quick).pair
gmm = fit(GMM((2,), num_components=8), moons, epochs=60, lr=5e-2, **quick).pair
figure = Figure(figsize=(8, 2.6), layout="constrained")
panels = figure.subplots(1, 3, sharex=True, sharey=True)
panels[0].set(xlim=(-1.6, 2.6), ylim=(-1.1, 1.6))
panels[0].scatter(*new[:500].T, s=4)
panels[0].set_title("data", fontsize=10)
for panel, (name, pair) in zip(panels[1:], {"flow": flow, "mixture": gmm}.items(), strict=True):
    panel.scatter(*generate(pair, n=500, pixels="sample").cpu().T, s=4)
    panel.set_title(name, fontsize=10)
    log_p = pair.exact_log_prob(new.to(DEVICE)).detach()
    print(f"{name:8} {float(log_p.mean()):.3f} nats per point, exact, on new points")
display(figure)
# The flow is ahead by some tenths of a nat: it bends, while eight ellipses tile two bows. What it
# cannot do is tear: a thin thread of points joins the two moons, for f is continuous.
