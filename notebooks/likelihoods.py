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

matplotlib.rcParams["figure.dpi"] = 60
torch.set_num_threads(1)  # small images: more threads only wait for each other

# %% [markdown]
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
# The bundled digits have 8 × 8 pixels of 17 grey levels, so `categorical` and `logistic_mixture`
# are told 17. (For 8-bit pixels 256 is the default.) `dequantised` pixels are $((L-1)\,x + u)/L$
# with $u \sim U(0, 1)$; what a density is worth at exact grey levels the last section shows.

# %%
grey = load_data("digits")
OPTIONS = {
    "bernoulli": {},
    "cross_entropy": {},
    "gaussian": {"scale": "decoder", "floor": 0.01},
    "continuous_bernoulli": {},
    "beta": {"epsilon": 1e-3},
    "categorical": {"bins": 17, "values": "levels"},
    "logistic_mixture": {"levels": 17, "components": 3},
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
    settings = {"epochs": 50, "lr": 3e-3, "patience": 10, "restore_best": True, **settings}
    return fit(vae, data, progress=False, **settings), data


learned = {name: learn(name, options) for name, options in OPTIONS.items()}

# %% [markdown]
# ## Learning curves
#
# Training (blue) and validation (orange) bound after each epoch, nats per image. The panels have
# scales of their own and must: each is relative to another measure, or to none. A density may be
# positive; a log-probability may not.

# %%
figure = Figure(figsize=(14, 6), layout="constrained")
panels = figure.subplots(2, 4).flat
for axes, (name, (result, _)) in zip(panels, learned.items(), strict=False):
    epochs = result.history.epochs
    axes.plot([e.epoch for e in epochs], [e.train for e in epochs], label="training")
    axes.plot([e.epoch for e in epochs], [e.validation for e in epochs], label="validation")
    axes.set_title(f"{name}\n{result.pair.likelihood.measure or 'no probability'}", fontsize=10)
    low = min(e.validation for e in epochs[3:])
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
# ## Originals and reconstructions
#
# 8 × 8 grids of test images, each beside the mean image $\mathbb{E}[x \mid z]$ of one
# $z \sim q(z \mid x)$. `mean` is always a grey image in [0, 1], however many numbers a pixel takes:
# of the continuous Bernoulli it is *not* $\sigma(l)$, of bins it is the average of their values.

# %%
for name, (result, data) in learned.items():
    grid = figures.reconstructions(result.pair, data.prepared("test").x, columns=8, rows=8)
    grid.suptitle(name, fontsize=12, fontweight="bold")
    display(grid)

# %% [markdown]
# ## Which numbers share a column
#
# `compare` puts two numbers into one column only where they mean the same. Read the columns: there
# are five for what reports all call "the ELBO", and only two pairs of rows share one.

# %%
evaluations = [
    evaluate(result.pair, data, num_particles=50, name=name)
    for name, (result, data) in learned.items()
]
table = compare(evaluations, quantities=["elbo"])
display(Markdown(table.to_markdown()))

# %% [markdown]
# What *can* be compared: the squared errors, all against the grey pixels, and the **bits per
# dimension** of those that are a model of the 17-level pixels:
#
# * a density of dequantised pixels, by Jensen's inequality,
#   $-\log_2 P(x)/D \le -\mathbb{E}_u[\log p(x_u)]/(D \ln 2) + \log_2 L$;
# * a probability of the 17 levels directly, $-\log_2 P(x)/D$. A lower bound on $\log P$ is an upper
#   bound on the bits.
#
# The others stay out, each for its reason. As they are, pixels cost $\log_2 17 = 4.09$ bits.

# %%
table = compare(evaluations, quantities=["bits_per_dimension", "mse_sampled", "mse_mean"])
display(Markdown(table.to_markdown()))

# %% [markdown]
# With the data's own levels counted wrongly, there are no bits either:

# %%
for options in ({"bins": 16}, {"bins": 256}):
    why = likelihood_named("categorical", grey.data_shape, options)
    print(options, "–", why.why_no_bits(preparation="grey", levels=grey.levels))

# %% [markdown]
# ## The ε of the Beta is part of the number
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
    rows.append(evaluate(again, grey, num_particles=20, name=f"Beta, ε = {epsilon:g}"))
    print(rows[-1].scores["elbo"])
display(Markdown(compare(rows, quantities=["elbo"]).to_markdown()))

# %% [markdown]
# Tens of nats, from a number that papers often leave to the code. The measure names it, so the
# three cannot share a column. On dequantised pixels, which are never 0 or 1, `epsilon=0` clamps
# nothing, and the Beta is a density like the others, bits included:

# %%
free, data = learn("beta", {"epsilon": 0.0})
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
# $\log p(x) = l x + \log \frac{l}{e^l - 1}$. `torch.distributions.ContinuousBernoulli` clamps
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
# ## Learned σ, and why it has a floor
#
# Some border pixels of the digits are 0 in (almost) every image. On *grey* pixels a Gaussian with a
# learned σ per pixel puts ever more density on that one value: nothing but the floor stops it.
# Dequantised, the same pixel fills [0, 1/17], and σ stays.

# %%
print("floor    bound, grey pixels   smallest σ   |   bound, dequantised   smallest σ")
for floor in (1e-1, 1e-2, 1e-3, 1e-4):
    line = f"{floor:5g} "
    for data in (grey, grey.with_preparation("dequantised")):
        torch.manual_seed(0)
        vae = VAE(
            grey.data_shape,
            latent_dim=2,
            hidden=[32],
            likelihood="gaussian",
            likelihood_options={"scale": "pixel", "floor": floor},
            output_bias="data",
        )
        schedule = {"lr": 3e-2, "schedule": "CosineAnnealingLR"}
        fit(vae, data, epochs=100, curve_size=0, progress=False, **schedule)
        bound = evaluate(vae, data, split="train", num_particles=1).scores["elbo"].value
        with torch.no_grad():
            sigma = vae.likelihood(torch.zeros(1, *grey.data_shape)).variance.sqrt().min()
        line += f"{bound:20.1f} {float(sigma):14.4f}   "
    print(line)

# %% [markdown]
# On the left σ follows the floor down as far as training gets, and the bound rises with it: such
# numbers compare floors, not models. On the right both stay where they are from a floor of 0.01 on.
# So: dequantise, state the floor, and quote bits per dimension.
