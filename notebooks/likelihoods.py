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
# # One VAE, every likelihood
#
# The decoder of a VAE gives numbers; the *likelihood* $p(x \mid z)$ says what they mean for a
# pixel. It is one word of one call, and it decides what the bound is a bound *of*. We learn the
# same network under each, look, and ask which of the numbers may stand in one column.

# %%
DATA = "digits"  # or "mnist", "fashion-mnist"
DEVICE = "cpu"  # or "cuda"

# %%
# %matplotlib inline
import math

import matplotlib
import torch
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from inference import compare, evaluate, figures, fit
from pyro_models import VAE, UsageError, load_data
from pyro_models.likelihoods import likelihood_named
from pyro_models.likelihoods.continuous_bernoulli import ContinuousBernoulliPixels

matplotlib.rcParams["figure.dpi"] = 80
matplotlib.rcParams["image.interpolation"] = "nearest"  # pixels as they are
torch.set_num_threads(1)  # small images: more threads only wait for each other

# %% [markdown]
# ## The likelihoods
#
# *Question.* What may a pixel be, given $z$?
#
# $$\log p(x \mid z) = \sum_{d=1}^{D} \log p\big(x_d \mid \eta_d(z)\big),$$
#
# where the numbers $\eta_d(z)$ of a pixel come from the decoder, and mean what the likelihood says:
#
# | likelihood | a pixel given z | relative to | pixels |
# |---|---|---|---|
# | `bernoulli` | 0 or 1 | counting on {0, 1} | binarised |
# | `cross_entropy` | – (an objective) | nothing | grey |
# | `gaussian` | $\mathcal{N}(\mu, \sigma^2)$ | Lebesgue | dequantised |
# | `continuous_bernoulli` | $\propto e^{l x}$ on [0, 1] | Lebesgue on [0, 1] | dequantised |
# | `beta` | $\propto x^{\alpha - 1} (1 - x)^{\beta - 1}$ | Lebesgue on [0, 1]; ε | dequantised |
# | `categorical` | one of $k$ bins | counting on $k$ levels | grey |
# | `logistic_mixture` | logistics, rounded to a level | counting on $k$ levels | grey |
#
# In symbols, for the two whose parameters are two images each:
#
# $$\text{Gaussian: } -\tfrac{(x_d - \mu_d)^2}{2 \sigma_d^2} - \log \sigma_d - \tfrac12 \log 2\pi,
#   \qquad \text{Beta: } (\alpha_d - 1) \log x_d + (\beta_d - 1) \log(1 - x_d)
#   - \log B(\alpha_d, \beta_d).$$
#
# The bundled digits have 8 × 8 pixels of 17 grey levels, MNIST has 256; `categorical` and
# `logistic_mixture` are told how many. A bin becomes a number again by its level,
# $x = i / (k - 1)$. `dequantised` pixels are $((L-1)\,x + u)/L$
# with $u \sim U(0, 1)$; what a density is worth at exact grey levels the last section shows.

# %%
pixel = torch.linspace(-0.2, 1.2, 281)
inside = pixel.clamp(1e-3, 1 - 1e-3)
shown = {
    "gaussian": torch.distributions.Normal(0.2, 0.15).log_prob(pixel),
    "continuous_bernoulli": torch.distributions.ContinuousBernoulli(logits=-4.0).log_prob(inside),
    "beta": torch.distributions.Beta(0.5, 2.0).log_prob(inside),
}
figure = Figure(figsize=(7, 2.6), layout="constrained")
axes = figure.add_subplot()
for name, log_p in shown.items():
    density = log_p.exp()
    if name != "gaussian":
        density[(pixel < 0) | (pixel > 1)] = 0
    axes.plot(pixel, density, label=name)
axes.set(xlabel="value of a pixel", ylabel="p(x | z)", ylim=(0, 6))
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
figure

# %% [markdown]
# *What to see.* Three densities of mean 0.2 and thereabouts. The Gaussian has mass where no pixel
# can be; the continuous Bernoulli has one number, and leans to one end; the Beta grows without
# bound at black, where half of the pixels are.
#
# Now the same network under each of the seven:

# %%
grey = load_data(DATA)
LEVELS = grey.levels
EPOCHS = 50 if DATA == "digits" else 15
OPTIONS = {
    "bernoulli": {},
    "cross_entropy": {},
    "gaussian": {"scale": "decoder", "floor": 0.01},
    "continuous_bernoulli": {},
    "beta": {"epsilon": 1e-3},
    "categorical": {"bins": LEVELS, "values": "levels"},
    "logistic_mixture": {"levels": LEVELS, "components": 3},
}


def learn(likelihood, options, **settings):
    """The same VAE and the same training, of pixels as the likelihood wants them."""
    torch.manual_seed(0)
    vae = VAE(
        grey.data_shape,
        latent_dim=10,
        hidden=[128],
        likelihood=likelihood,
        likelihood_options=options,
        output_bias="data",
    )
    data = grey.with_preparation(vae.likelihood.preparation)
    settings = {"epochs": EPOCHS, "lr": 3e-3, "patience": 10, "restore_best": True, **settings}
    return fit(vae, data, device=DEVICE, progress=False, **settings), data


learned = {name: learn(name, options) for name, options in OPTIONS.items()}

# %% [markdown]
# ## Learning curves
#
# *Question.* Do the networks learn equally well under each? Training (blue) and validation (orange)
# bound after each epoch, nats per image. Training stops when the validation bound has not risen for
# ten epochs, and the best epoch is kept.

# %%
figure = Figure(figsize=(14, 6), layout="constrained")
panels = figure.subplots(2, 4).flat
for axes, (name, (result, _)) in zip(panels, learned.items(), strict=False):
    epochs = result.history.epochs
    axes.plot([e.epoch for e in epochs], [e.train for e in epochs], label="training")
    axes.plot([e.epoch for e in epochs], [e.validation for e in epochs], label="validation")
    axes.set_title(f"{name}\n{result.pair.likelihood.measure or 'no probability'}", fontsize=10)
    low = min(e.validation for e in epochs[len(epochs) // 10 :])
    high = max(e.train for e in epochs)
    axes.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
    axes.set_xlabel("epoch")
    axes.spines[["top", "right"]].set_visible(False)
panels = figure.axes
panels[0].legend(frameon=False)
panels[0].set_ylabel("bound, nats per image")
panels[4].set_ylabel("bound, nats per image")
panels[7].set_visible(False)
figure

# %% [markdown]
# *What to see.* The panels have scales of their own and must: each is relative to another measure,
# or to none. A density may be positive; a log-probability may not. Some learn the training images
# by heart sooner than others: that can be compared, panel by panel.
#
# ## Originals and reconstructions
#
# *Question.* Which likelihood makes the best images?
#
# $$\mathbb{E}[x_d \mid z] = \int x_d\, p(x_d \mid z)\, dx_d, \qquad z \sim q(z \mid x).$$
#
# Test images, each beside the mean image of one $z$. The mean is always a grey image in [0, 1],
# however many numbers a pixel takes: of the continuous Bernoulli it is *not* $\sigma(l)$, of bins
# it is the average of their values.

# %%
for name, (result, data) in learned.items():
    x = data.prepared("test", limit=32).x
    grid = figures.reconstructions(result.pair, x, columns=8, rows=4)
    grid.suptitle(name, fontsize=12, fontweight="bold")
    display(grid)

# %% [markdown]
# *What to see.* They look alike. Means hide what the likelihoods differ in, which is how sure they
# are of a pixel: by eye none is best. (`rows=8` gives the 8 × 8 grids of a course sheet, and
# `pixels="sample"` draws pixels in place of means.)
#
# ## Which numbers share a column
#
# *Question.* Which of the seven bounds may be compared?
#
# `compare` puts two numbers into one column only where they mean the same.

# %%
evaluations = [
    evaluate(result.pair, data, num_particles=50, name=name)
    for name, (result, data) in learned.items()
]
table = compare(evaluations, quantities=["elbo"])
display(Markdown(table.to_markdown()))

# %% [markdown]
# *What to see.* There are five columns for what reports all call "the ELBO", and only two pairs of
# rows share one.
#
# What *can* be compared: the squared errors, all against the grey pixels, and the **bits per
# dimension** of those that are a model of the data's $L$ levels:
#
# * a density of dequantised pixels, by Jensen's inequality,
#   $-\log_2 P(x)/D \le -\mathbb{E}_u[\log p(x_u)]/(D \ln 2) + \log_2 L$;
# * a probability of the levels directly, $-\log_2 P(x)/D$. A lower bound on $\log P$ is an upper
#   bound on the bits.
#
# As they are, pixels of 17 levels cost $\log_2 17 = 4.09$ bits.

# %%
table = compare(evaluations, quantities=["bits_per_dimension", "mse_sampled", "mse_mean"])
display(Markdown(table.to_markdown()))

# %% [markdown]
# *What to see.* Which is most appropriate? By bits the mixture of logistics, then the bins: they
# can give exact black a probability of its own, and a density cannot. By squared error the order is
# another. The others stay out, each for its reason. With the data's own levels counted wrongly,
# there are no bits either:

# %%
for options in ({"bins": LEVELS - 1}, {"bins": 2 * LEVELS}):
    why = likelihood_named("categorical", grey.data_shape, options)
    print(options, "–", why.why_no_bits(preparation="grey", levels=grey.levels))

# %% [markdown]
# ## The ε of the Beta is part of the number
#
# *Question.* What does a Beta say of a black pixel?
#
# $$x \mapsto \min(\max(x, \varepsilon), 1 - \varepsilon).$$
#
# At $x = 0$ and $x = 1$ a Beta density is infinite or zero, so pixels are clamped to
# $[\varepsilon, 1 - \varepsilon]$. Here one trained VAE is scored on *grey* digits, half of whose
# pixels are exactly 0, with nothing changed but ε:

# %%
beta_vae = learned["beta"][0].pair
rows = []
for epsilon in (1e-4, 1e-3, 1e-2):
    options = {"epsilon": epsilon}
    again = VAE(**{**beta_vae.config(), "likelihood_options": options})
    again.load_state_dict(beta_vae.state_dict())
    again.to(DEVICE)
    rows.append(evaluate(again, grey, num_particles=20, name=f"Beta, ε = {epsilon:g}"))
    print(rows[-1].scores["elbo"])
display(Markdown(compare(rows, quantities=["elbo"]).to_markdown()))

# %% [markdown]
# *What to see.* Tens of nats, from a number that papers often leave to the code. The measure
# names it, so the three cannot share a column. On dequantised pixels, which are never 0 or 1,
# `epsilon=0` clamps nothing, and the Beta is a density like the others, bits included:

# %%
free, data = learn("beta", {"epsilon": 0.0}, epochs=EPOCHS)
print(evaluate(free.pair, data, num_particles=50).scores["bits_per_dimension"])

# %% [markdown]
# A Beta with *fixed* α and β is the same whatever z is; that is refused:

# %%
try:
    VAE(grey.data_shape, likelihood="beta", likelihood_options={"concentration": [2, 2]})
except UsageError as refusal:
    print("refused:", refusal)

# %% [markdown]
# ## The continuous Bernoulli, ours and torch's
#
# *Question.* Is the same formula the same number?
#
# $$\log p(x) = l x + \log \frac{l}{e^l - 1}.$$
#
# `torch.distributions.ContinuousBernoulli` clamps
# $\lambda = \sigma(l)$ to keep away from 0 and 1, and a decoder of black borders goes there at
# once: tenths of a nat *per pixel*. Against float64:

# %%
logits = torch.linspace(-80, 80, 641)
x = torch.tensor(0.1)
l64, x64 = logits.double(), x.double()
truth = l64 * (x64 - 0.5) + torch.where(
    l64 == 0,
    0.0,
    torch.log(l64.abs() / 2) - (l64 / 2).abs() - torch.log1p(-torch.exp(-l64.abs())) + math.log(2),
)
errors = {
    "torch": torch.distributions.ContinuousBernoulli(logits=logits).log_prob(x) - truth,
    "ours": ContinuousBernoulliPixels(logits).log_prob(x) - truth,
}
figure = Figure(figsize=(7, 3.2), layout="constrained")
axes = figure.add_subplot()
for name, error in errors.items():
    axes.plot(logits, error.abs().clamp_min(1e-17), label=name)
    print(f"{name:5} largest error {float(error.abs().max()):.1e} nats per pixel")
axes.set_yscale("log")
axes.axhline(1e-6, color="black", lw=0.8, ls=":")
axes.set_xlabel("logit l")
axes.set_ylabel("|error| of log p, nats")
axes.set_title("Continuous Bernoulli at x = 0.1, from float32 logits", fontsize=10)
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
figure

# %% [markdown]
# *What to see.* A density whose code is wrong by a nat per pixel is of no use to compare models by.
#
# ## Learned σ, and why it has a floor
#
# *Question.* How high can a density get?
#
# $$\log \mathcal{N}(0;\, 0, \sigma^2) = -\log \sigma - \tfrac12 \log 2\pi \to \infty
#   \quad\text{as } \sigma \to 0.$$
#
# Some border pixels of the digits are 0 in (almost) every image. On *grey* pixels a Gaussian with a
# learned σ per pixel puts ever more density on that one value: nothing but the floor stops it.
# Dequantised, the same pixel fills $[0, 1/L]$, and σ stays. The simplest such model, a Gaussian for
# each pixel without any $z$, has its maximum in closed form, $\sigma_d = \max(\mathrm{sd}_d,
# \text{floor})$; a VAE with a learned σ per pixel contains it.

# %%
print("floor   log p(x), grey pixels   smallest σ   |   log p(x), dequantised   smallest σ")
for floor in (1e-1, 1e-2, 1e-3, 1e-4):
    line = f"{floor:6g}"
    for data in (grey, grey.with_preparation("dequantised")):
        x = data.prepared("train").x.flatten(1).double()
        sigma = x.std(0, correction=0).clamp_min(floor)
        log_p = torch.distributions.Normal(x.mean(0), sigma).log_prob(x).sum(1).mean()
        line += f"{float(log_p):20.1f} {float(sigma.min()):16.4f}  "
    print(line)

# %% [markdown]
# *What to see.* On the left σ follows the floor down, and $\log p(x)$ rises with it, though nothing
# was learned: such numbers compare floors, not models. On the right both stay where they are once
# the floor is below the width of a grey level. So: dequantise, state the floor, and quote bits per
# dimension.
#
# ## Exercise
#
# The categorical likelihood knows nothing of the order of the levels. Learn it and the mixture of
# logistics, which does, from a tenth of the training images. Which loses more bits per dimension by
# it, and why?

# %% tags=["hide-cell"] jupyter={"source_hidden": true, "outputs_hidden": true}
from dataclasses import replace

from pyro_models.data import Split

train = grey.split("train")
few = Split(train.x[: len(train) // 10], train.y[: len(train) // 10])
tenth = replace(grey, name=f"{DATA}-tenth", splits={**grey.splits, "train": few})
for name in ("categorical", "logistic_mixture"):
    torch.manual_seed(0)
    options = {"likelihood": name, "likelihood_options": OPTIONS[name], "output_bias": "data"}
    vae = VAE(grey.data_shape, latent_dim=10, hidden=[128], **options)
    stop = {"lr": 3e-3, "patience": 30, "restore_best": True}
    fit(vae, tenth, epochs=6 * EPOCHS, device=DEVICE, progress=False, **stop)
    for what, pair in (("all of them", learned[name][0].pair), ("a tenth", vae)):
        score = evaluate(pair, grey, num_particles=50).scores["bits_per_dimension"]
        print(f"{name:17} learned from {what:12} {score.value:.3f} ± {score.standard_error:.3f}")
# The categorical loses more: what it has learned of level 12 says nothing of level 13, so it needs
# to have seen every level at every pixel. The logistics share strength between neighbouring levels,
# and have 9 numbers for a pixel, however many levels there are.
