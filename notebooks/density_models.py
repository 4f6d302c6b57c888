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
# # Density models of handwritten digits: learn and judge
#
# Given images $x$, find a distribution $p(x)$ that could have made them. We learn variational
# autoencoders (dense, convolutional, of densities, given the label), probabilistic PCA (by
# stochastic gradients and in closed form) and a mixture of Gaussians. Then we ask of every number
# *what it may be compared with*: that is where course reports, and some papers, go wrong.

# %%
DATA = "digits"  # or "mnist", "fashion-mnist"
DEVICE = "cpu"  # or "cuda"

# %%
# %matplotlib inline
import math
import tempfile
from pathlib import Path

import matplotlib
import torch
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from inference import (
    Evaluation,
    Run,
    Score,
    Snapshots,
    compare,
    evaluate,
    figures,
    fit,
    particles,
)
from inference.evaluation import from_sum, on_unit_pixels, to_bits_per_dimension
from inference.evaluation.scores import LEBESGUE_255, NATS, NATS_SUM, SQUARED_ERROR
from pyro_models import CVAE, GMM, PPCA, VAE, UsageError, load_data

matplotlib.rcParams["figure.dpi"] = 80
matplotlib.rcParams["image.interpolation"] = "nearest"  # pixels as they are

SMALL = DATA == "digits"
EPOCHS = 100 if SMALL else 25
CVAE_EPOCHS = 100 if SMALL else 11
LINEAR_EPOCHS = 60 if SMALL else 10
if SMALL:
    torch.set_num_threads(1)  # small images: more threads only wait for each other

# %% [markdown]
# The digits are 1,797 images of 8 × 8 pixels and 17 grey levels and come with scikit-learn. MNIST
# has 70,000 of 28 × 28 pixels and 256 levels. With `DATA = "mnist"` the epochs are the courses',
# the last 10,000 training images validate, and nothing else changes; but it takes far longer, and a
# GPU (`DEVICE = "cuda"`) is worth having. MNIST is looked for in `$PYRO_MODELS_DATA`, then in
# `./data`, and downloaded if it is in neither. The text below describes the digits.
#
# ## Three things a pixel can be
#
# *Question.* What is it that a model gives a probability to?
#
# | preparation | a pixel is | what a model of it gives |
# |---|---|---|
# | `grey` | a value in [0, 1] | with the cross-entropy: no probability at all, see below |
# | `threshold` | 1 if the grey value is above ½, else 0 | probabilities on {0, 1} |
# | `dequantised` | $((L-1)\,x + u)/L$, $u \sim U(0, 1)$, of $L$ grey levels | densities on [0, 1] |

# %%
grey = load_data(DATA)
binary = grey.with_preparation("threshold")
dequantised = grey.with_preparation("dequantised")
for data in (grey, binary, dequantised):
    print(data)

# %% [markdown]
# *What to see.* The same images three times. Each preparation is another data set to a model, and
# its name goes with every score.
#
# ## Learn
#
# *Question.* How are five families learned in the same way?
#
# Every model is a *pair* of a Pyro model $p(x, z)$ and a guide $q(z \mid x)$, and `fit` maximises
# the same bound for all of them, per image and in nats:
#
# $$\log p(x) \;\ge\; \mathrm{ELBO}(x) = \mathbb{E}_{q(z \mid x)}\big[\log p(x \mid z)\big]
#   - \mathrm{KL}\big(q(z \mid x) \,\|\, p(z)\big).$$
#
# ### Two variational autoencoders on grey pixels
#
# *Question.* Does a convolutional network help? The same story, $z \sim \mathcal{N}(0, I_2)$ and
# pixels decoded from it, by different networks.


# %%
def learn(pair, data, **settings):
    """Fit, and return the record of it; the pair is trained in place."""
    return fit(pair, data, device=DEVICE, progress=False, **settings)


torch.manual_seed(0)  # the weights are drawn when a pair is built
dense = VAE(grey.data_shape, latent_dim=2, hidden=[400, 100], likelihood="cross_entropy")
conv = VAE(
    grey.data_shape, latent_dim=2, network="conv", hidden=[16, 32], likelihood="cross_entropy"
)
learned = {"VAE, dense": learn(dense, grey, epochs=EPOCHS)}
learned["VAE, convolutional"] = learn(conv, grey, epochs=EPOCHS)

# %% [markdown]
# *What to see.* The dashed curve is the mean over an epoch's steps, taken while the parameters
# moved. The other two are computed after the epoch, at fixed parameters: those are the ones to
# compare. Where validation falls behind training, the model has begun to learn the training
# images by heart.

# %%
figures.learning_curves(learned["VAE, dense"].history, title="VAE, dense: cross-entropy objective")

# %%
figures.learning_curves(
    learned["VAE, convolutional"].history, title="VAE, convolutional: cross-entropy objective"
)

# %% [markdown]
# ### Two VAEs of densities
#
# *Question.* How uncertain is a pixel, and does that depend on the image?
#
# One word swaps the likelihood: a Gaussian, on dequantised pixels,
#
# $$\log p(x \mid z) = -\sum_{d=1}^{D} \Big[\frac{(x_d - \mu_d(z))^2}{2\,\sigma_d^2(z)}
#   + \log \sigma_d(z) + \tfrac12 \log 2\pi \Big].$$
#
# First one learned $\sigma$ for all pixels, which is PPCA with a curved decoder; then
# $\sigma_d(z)$ of every pixel from the decoder. Either is bounded from below (`floor`): on a pixel
# that never changes the density would otherwise grow without end.

# %%
torch.manual_seed(0)
one_sigma = VAE(
    grey.data_shape,
    latent_dim=10,
    hidden=[400, 100],
    likelihood="gaussian",
    likelihood_options={"scale": "global"},
)
many_sigmas = VAE(
    grey.data_shape,
    latent_dim=10,
    hidden=[400, 100],
    likelihood="gaussian",
    likelihood_options={"scale": "decoder"},
)
learned["VAE, Gaussian, one σ"] = learn(one_sigma, dequantised, epochs=EPOCHS)
learned["VAE, Gaussian, σ(z)"] = learn(many_sigmas, dequantised, epochs=EPOCHS)
figures.learning_curves(learned["VAE, Gaussian, σ(z)"].history, title="VAE, Gaussian, σ(z): ELBO")

# %% [markdown]
# *What to see.* These numbers are far from those above, and of another sign: a density of pixels in
# [0, 1] may exceed 1. They are of another measure, and say nothing beside a cross-entropy.
#
# ### A VAE given the label
#
# *Question.* What is left for $z$ to say once the digit is known?
#
# $$\log p(x \mid y) \;\ge\; \mathbb{E}_{q(z \mid x, y)}[\log p(x \mid z, y)]
#   - \mathrm{KL}\big(q(z \mid x, y) \,\|\, p(z)\big).$$
#
# `Snapshots` draws a figure after chosen
# epochs; the run is kept in a folder, here a temporary one.

# %%
folder = tempfile.TemporaryDirectory()
run_folder = Path(folder.name) / "cvae"
snapshots = Snapshots(lambda pair: figures.class_grid(pair, per_class=3), at=[1, 6, 11])

torch.manual_seed(0)
cvae = CVAE(grey.data_shape, num_classes=10, latent_dim=10, hidden=[256], likelihood="bernoulli")
learned["CVAE, given y"] = learn(
    cvae, binary, epochs=CVAE_EPOCHS, batch_size=64, callbacks=[snapshots], out=run_folder
)
for epoch, figure in snapshots.figures.items():
    figure.suptitle(f"after epoch {epoch}", fontsize=10, fontweight="bold")
    display(figure)

# %% [markdown]
# *What to see.* Ten columns, one for each label, and a $z$ of its own for each image. With every
# epoch the label says more plainly which digit it is, and $z$ is left with how it is written.
#
# ### Probabilistic PCA, twice
#
# *Question.* Do stochastic gradients get to where the closed form is?
#
# $x = W z + \mu + \varepsilon$ with $z \sim \mathcal{N}(0, I_q)$ and
# $\varepsilon \sim \mathcal{N}(0, \sigma^2 I)$. Everything about it is known exactly:
#
# $$p(x) = \mathcal{N}(x;\, \mu,\, W W^\top + \sigma^2 I), \qquad
#   W_{\mathrm{ML}} = U_q(\Lambda_q - \sigma^2 I)^{1/2}, \qquad
#   \sigma^2_{\mathrm{ML}} = \tfrac{1}{D-q} \textstyle\sum_{j > q} \lambda_j,$$
#
# with the eigenvectors $U_q$ and eigenvalues $\lambda$ of the data's covariance (Tipping & Bishop
# 1999).

# %%
torch.manual_seed(0)
q = 10
svi_options = {"epochs": LINEAR_EPOCHS, "lr": 1e-2, "schedule": "CosineAnnealingLR"}
ppca = PPCA(grey.data_shape, latent_dim=q, guide="exact")
learned["PPCA, by SVI"] = learn(ppca, dequantised, **svi_options)
closed = PPCA.maximum_likelihood(dequantised.prepared("train").x, latent_dim=q).to(DEVICE)

train_x = dequantised.prepared("train").x.to(DEVICE)
with torch.no_grad():
    for name, pair in {"by SVI": ppca, "closed form": closed}.items():
        value = pair.exact_log_prob(train_x).mean()
        sigma = pair.model.sigma
        print(f"PPCA {name:12} exact log p(x), training data {value:.3f} nats/datum; σ {sigma:.4f}")

# %% [markdown]
# *What to see.* Two likelihoods and two $\sigma$ that agree. Where the truth is known, use it to
# test the method that you need where it is not.
#
# ### A mixture of Gaussians
#
# *Question.* What does a model say whose only latent is one of 20?
#
# $p(x) = \sum_k \pi_k\, \mathcal{N}(x;\, \mu_k, \mathrm{diag}\,\sigma_k^2)$. The component $k$ is
# summed out, so the bound is $\log p(x)$ itself. It starts at a k-means clustering.

# %%
torch.manual_seed(0)
gmm = GMM(grey.data_shape, num_components=20, covariance="diagonal")
learned["GMM, 20 components"] = learn(gmm, dequantised, **svi_options)
figures.learning_curves(learned["GMM, 20 components"].history, title="GMM: exact log p(x)")

# %% [markdown]
# *What to see.* What is drawn is $\log p(x)$ itself, no bound: there is no guide to lose anything.
#
# ## Judge
#
# ### What one evaluation says
#
# *Question.* Which of these numbers is a probability, which a bound, which neither?
#
# $$\mathrm{ELBO} = L_1 \le L_{100} \le \log p(x), \qquad
#   \mathrm{MSE} = \tfrac1D \textstyle\sum_d (x_d - \mathbb{E}[x_d \mid z])^2.$$

# %%
PARTICLES = 100
evaluations = {
    name: evaluate(pair, data, num_particles=PARTICLES, name=name)
    for name, pair, data in [
        ("VAE, dense", dense, grey),
        ("VAE, convolutional", conv, grey),
        ("VAE, Gaussian, one σ", one_sigma, dequantised),
        ("VAE, Gaussian, σ(z)", many_sigmas, dequantised),
        ("PPCA, by SVI", ppca, dequantised),
        ("PPCA, closed form", closed, dequantised),
        ("GMM, 20 components", gmm, dequantised),
        ("CVAE, given y", cvae, binary),
    ]
}
print(evaluations["VAE, dense"])
print(evaluations["VAE, Gaussian, σ(z)"])

# %% [markdown]
# *What to see.* The first has no $\log p(x)$. Why? On a grey pixel $x \in [0, 1]$ the "Bernoulli"
# term
#
# $$x \log \theta + (1 - x) \log(1 - \theta)$$
#
# is minus a cross-entropy. It is a fine objective, but $\theta^x (1-\theta)^{1-x}$ is no density of
# $x$: its integral over [0, 1] is not 1 but depends on $\theta$, so a bound built on it bounds the
# probability of nothing.

# %%
x_values = torch.linspace(0, 1, 100_001, dtype=torch.float64)
for theta in (0.5, 0.9, 0.999):
    integral = torch.trapezoid(theta**x_values * (1 - theta) ** (1 - x_values), x_values)
    print(f"θ = {theta:5}: ∫ θ^x (1 − θ)^(1−x) dx over [0, 1] = {integral:.4f}")

# %% [markdown]
# On pixels that are 0 or 1 the same formula is a probability, hence `bernoulli` on `binary` for the
# CVAE; on dequantised pixels a Gaussian is a density. Those models have a $\log p(x)$.
#
# ### One table
#
# *Question.* Which model is best, and by which number? Two numbers stand in one column only if
# they agree in unit, measure, preparation, data, split, and what is conditioned on. An empty cell
# names what differs.

# %%
table = compare(list(evaluations.values()))
display(Markdown(table.to_markdown()))

# %% [markdown]
# *What to see.*
#
# * The two cross-entropy VAEs may be compared with each other by their objective, and with the rest
#   only by squared error.
# * PPCA, the mixture and the Gaussian VAEs share the column of $\log p(x)$. For the VAEs it is a
#   lower bound, so they can only be better than they look.
# * The CVAE's $\log p(x \mid y)$ is of binarised pixels *and* given the label: it stands alone. Its
#   squared errors too, for it was told the class.
# * A small squared error is no good density. PPCA reconstructs better than the mixture and is the
#   worse density: it has one $\sigma$ for all pixels, the mixture one for each pixel and component.
#   Likewise the VAEs: with $\sigma_d(z)$ it is the best density here, but with one $\sigma$ it
#   reconstructs better.
#
# ### Bits per dimension
#
# *Question.* What does a pixel cost, in a code made from the model? A density on dequantised
# pixels becomes a number that needs no measure. With $D$ pixels of $L$ levels, Jensen's
# inequality gives (Theis, van den Oord & Bethge 2016)
#
# $$-\frac{1}{D}\log_2 P(x) \;\le\; -\frac{\mathbb{E}_u[\log p(x_u)]}{D \ln 2} + \log_2 L,
#   \qquad x_u = \frac{(L-1)x + u}{L}.$$
#
# Pixels as they are cost $\log_2 L$ bits each.

# %%
print(f"pixels as they are       {math.log2(grey.levels):.3f} bits per dimension")
for name, evaluation in evaluations.items():
    if "bits_per_dimension" in evaluation.scores:
        score = evaluation.scores["bits_per_dimension"]
        error = score.standard_error
        print(f"{name:24} {score.value:.3f} ± {error:.3f} bits per dimension ({score.kind})")

# %% [markdown]
# *What to see.* Every model saves bits, most of all those that know how uncertain each pixel is:
# the models with one $\sigma$ for all pixels come last.
#
# ### Numbers from a report
#
# *Question.* May these be compared, and if not, what would make them comparable?
#
# A course report on MNIST (784 pixels, 10,000 test images) has this table:
#
# | | log-likelihood or ELBO | MSE |
# |---|---|---|
# | VAE | −142.81 | 0.0375 |
# | convolutional VAE | −156.82 | 0.0443 |
# | PPCA | −4329.66 | 3629 |
# | GMM | −1.067 · 10⁷ | 3832 |
#
# Nothing in the first column may be compared. The VAEs' numbers are cross-entropies of pixels in
# [0, 1]; the other two are densities of pixels in [0, 255], and the mixture's is a *sum* over the
# images. Two of the three differences can be undone exactly. With $x' = 255\,x$,
#
# $$p(x) = 255^D\, p'(x') \;\Rightarrow\; \log p(x) = \log p'(x') + D \ln 255, \qquad
#   \mathrm{MSE}(x) = \mathrm{MSE}(x') / 255^2.$$


# %%
def reported(quantity, value, unit, measure, kind="exact"):
    """A number of the report, with what we know of it; it gives no standard errors."""
    return Score(
        quantity=quantity,
        value=value,
        standard_error=math.nan,
        unit=unit,
        kind=kind,
        measure=measure,
        data="mnist",
        split="test",
        preparation="grey",
        num_data=10_000,
        dimensions=784,
    )


ppca_log_p = reported("log_likelihood", -4329.66, NATS, LEBESGUE_255)
print(f"D ln 255 = {784 * math.log(255):.2f} nats")
print("PPCA, as reported, pixels in [0, 255]:  ", ppca_log_p)
print("PPCA, converted to pixels in [0, 1]:    ", on_unit_pixels(ppca_log_p))

gmm_log_p = reported("log_likelihood", -1.067e7, NATS_SUM, LEBESGUE_255)
print("GMM, as reported, pixels in [0, 255]:   ", gmm_log_p)
print("GMM, per image, pixels in [0, 255]:     ", from_sum(gmm_log_p))
print("GMM, per image, pixels in [0, 1]:       ", on_unit_pixels(from_sum(gmm_log_p)))

ppca_error = reported("mse_mean", 3629.0, SQUARED_ERROR, LEBESGUE_255, "estimate")
print("PPCA, squared error, pixels in [0, 255]:", ppca_error)
print("PPCA, squared error, pixels in [0, 1]:  ", on_unit_pixels(ppca_error))

# %% [markdown]
# `compare` makes these two conversions by itself. What cannot be converted stays apart: the
# cross-entropies remain in a column of their own. (The report does not say whether it reconstructs
# from sampled or mean latents; we write them down as means.)

# %%
no_density = {"log_likelihood": "the cross-entropy is an objective: there is no p(x)"}
report = [
    Evaluation(
        "VAE",
        {
            "elbo": reported("elbo", -142.81, NATS, None, "objective only"),
            "mse_mean": reported("mse_mean", 0.0375, SQUARED_ERROR, None, "estimate"),
        },
        no_density,
    ),
    Evaluation(
        "convolutional VAE",
        {
            "elbo": reported("elbo", -156.82, NATS, None, "objective only"),
            "mse_mean": reported("mse_mean", 0.0443, SQUARED_ERROR, None, "estimate"),
        },
        no_density,
    ),
    Evaluation(
        "PPCA",
        {"log_likelihood": ppca_log_p, "mse_mean": ppca_error},
        {"elbo": "log p(x) is known exactly"},
    ),
    Evaluation(
        "GMM",
        {
            "log_likelihood": gmm_log_p,
            "mse_mean": reported("mse_mean", 3832.0, SQUARED_ERROR, LEBESGUE_255, "estimate"),
        },
        {"elbo": "log p(x) is known exactly"},
    ),
]
display(Markdown(compare(report).to_markdown()))

# %% [markdown]
# *What to see.* Now PPCA and GMM share a column, and the squared errors compare. One thing no
# conversion repairs: the mixture's 3,277 nats are mostly about pixels at the border that are
# always 0, where a density can be made as high as one likes by lowering the floor of the
# variance. Dequantised pixels have no such spikes, which is why bits per dimension ask for them,
# and refuse these:

# %%
try:
    to_bits_per_dimension(on_unit_pixels(ppca_log_p), levels=256)
except UsageError as refusal:
    print("refused:", refusal)

# %% [markdown]
# ### How good is the estimate? Importance sampling against the truth
#
# *Question.* How far below $\log p(x)$ is $L_K$? Where $\log p(x)$ is unknown we estimate it with
# $K$ draws from the guide,
#
# $$L_K = \mathbb{E}_{z_1, \dots, z_K \sim q(z \mid x)}\Big[
#   \log \frac{1}{K} \sum_{k=1}^{K} \frac{p(x, z_k)}{q(z_k \mid x)} \Big],
#   \qquad \mathrm{ELBO} = L_1 \le L_2 \le \dots \le \log p(x).$$
#
# For PPCA the truth is known. We learn one with an amortised *linear* guide
# $q(z \mid x) = \mathcal{N}(A x + b,\, L L^\top)$, which contains the exact posterior but need not
# have found it, and watch $L_K$ rise: $L_5$ of one model says nothing beside $L_{10}$ of another.
#
# `particles` is the primitive on which every bound here is built: the log-weights
# $\log p(x, z_k) - \log q(z_k \mid x)$ of every particle and datum, $(K, N)$. We draw 4,096 of each
# image and share them out in groups of $K$, so that all $L_K$ come from the same draws.

# %%
torch.manual_seed(0)
amortised = PPCA(grey.data_shape, latent_dim=q, guide="linear")
learned["PPCA, linear guide"] = learn(amortised, dequantised, **svi_options)

test_x = dequantised.prepared("test", limit=200).x.to(DEVICE)
with torch.no_grad():
    exact = amortised.exact_log_prob(test_x).mean().item()
    draws = [particles(amortised, None, test_x, num_particles=256) for _ in range(16)]
log_w = torch.cat([drawn.log_weight for drawn in draws])  # (4096, N)

print(f"log p(x), exact, mean over {len(test_x)} test images: {exact:.4f} nats per datum\n")
print("   K       L_K   log p(x) − L_K   Monte-Carlo error")
counts, bounds, errors = [2**i for i in range(11)], [], []
for K in counts:
    groups = log_w.unflatten(0, (-1, K)).logsumexp(1) - math.log(K)  # (4096 / K, N)
    per_group = groups.mean(1)
    bounds.append(per_group.mean().item())
    errors.append(per_group.std().item() / math.sqrt(len(per_group)))
    print(f"{K:4} {bounds[-1]:9.4f} {exact - bounds[-1]:16.4f} {errors[-1]:19.4f}")

# %%
figure = Figure(figsize=(6.2, 3.8), layout="constrained")
axes = figure.add_subplot()
axes.axhline(exact, color="black", lw=1.2)
axes.text(counts[0], exact, "log p(x), exact", va="bottom", fontsize=9)
axes.errorbar(counts, bounds, [2 * e for e in errors], marker="o", ms=4, capsize=3)
axes.set_xscale("log", base=2)
axes.margins(y=0.12)
axes.set_xlabel("K, number of particles")
axes.set_ylabel("$L_K$, nats per datum")
axes.set_title("PPCA, linear guide: L_K by K (bars: ± 2 Monte-Carlo errors)", fontsize=10)
axes.spines[["top", "right"]].set_visible(False)
figure

# %% [markdown]
# *What to see.* Every doubling of $K$ halves the gap, and no $L_K$ is above the truth by more than
# its error. A number without its $K$ is half a number.
#
# ## Look
#
# Every figure is one call that returns a `Figure`; keep it by `figure.savefig("name.pdf")`.
#
# *Question.* **Where do the images lie in latent space?** $\mathbb{E}_q[z \mid x]$ of the first
# 1,000 test images (or all, if there are fewer). The labels took no part in training.

# %%
test = grey.prepared("test")
figures.latent_scatter(dense, test.x[:1000], test.y[:1000], title="VAE, dense: posterior means")

# %%
figures.latent_scatter(
    conv, test.x[:1000], test.y[:1000], title="VAE, convolutional: posterior means"
)

# %% [markdown]
# *What to see.* Classes lie apart where their images differ, and mix where they do not; all
# together fill the prior, whose 50 and 90 % contours are drawn. With more than two latents the
# first two principal components of the means are shown.

# %%
test_dequantised = dequantised.prepared("test")
figures.latent_scatter(
    ppca, test_dequantised.x[:1000], test_dequantised.y[:1000], title=f"PPCA, q = {q}"
)

# %% [markdown]
# *Question.* **What do the latents mean?** A regular grid of $z$, decoded. The grid's values are
# $\Phi^{-1}\big((i + \tfrac12)/n\big)$, so that every image stands for the same prior probability.

# %%
figures.latent_grid(dense, size=10)

# %% [markdown]
# *Question.* **What is kept of an image by two numbers?** Reconstructions, first from a sampled
# $z \sim q(z \mid x)$, then from its mean. *What to see:* the sample shows what the guide is unsure
# of, and its error is the larger of the two.

# %%
figures.reconstructions(dense, test.x, latents="sample", rows=3)

# %%
figures.reconstructions(dense, test.x, latents="mean", rows=3)

# %% [markdown]
# *Question.* **What does the model believe images look like?** Samples from the prior: the mean
# image $\mathbb{E}[x \mid z]$ of each, then an image $x$ drawn from $p(x \mid z)$ of the same
# $z$. Reports often call the former samples. The latter are the answer to the question, noise
# included.

# %%
figures.prior_samples(many_sigmas, n=25)

# %%
figures.prior_samples(many_sigmas, n=25, pixels="sample")

# %% [markdown]
# *Question.* **What lies between two images?** On the straight line between their mean codes,
# $z(\lambda) = (1 - \lambda)\, \mathbb{E}[z \mid a] + \lambda\, \mathbb{E}[z \mid b]$, with the
# true images at both ends. *What to see:* other digits are passed on the way, those whose codes lie
# between.

# %%
firsts = torch.stack([(test.y == c).nonzero()[0, 0] for c in range(10)])
figures.interpolation(dense, test.x[firsts[0::2]], test.x[firsts[1::2]])

# %% [markdown]
# **Every class of the CVAE**, after its last epoch: compare with its snapshots above.

# %%
figures.class_grid(cvae, per_class=4)

# %% [markdown]
# **The means of the mixture's components**, with their weights. It has no continuous latent:
# nothing lies between two components.

# %%
figures.mixture_means(gmm)

# %% [markdown]
# ## Keep
#
# *Question.* Is what is loaded what was saved? The CVAE was trained with `out=`: its folder holds
# the description, the weights (safetensors, no pickled code), the history, the checkpoint from
# which `fit(..., resume=True)` goes on, and the snapshots.

# %%
for path in sorted(run_folder.rglob("*")):
    if path.is_file():
        print(f"{path.relative_to(run_folder).as_posix():28} {path.stat().st_size / 1024:8.1f} KiB")

# %%
loaded = Run(run_folder).load_pair().to(DEVICE)
again = evaluate(loaded, binary, num_particles=PARTICLES, name="CVAE, loaded")
before = evaluations["CVAE, given y"]
print(again)
same = all(again.scores[k].value == before.scores[k].value for k in before.scores)
print("the same scores, to the last bit:", same)
folder.cleanup()

# %% [markdown]
# *What to see.* The same scores, to the last bit: of what was saved nothing is missing.
#
# ## Exercise
#
# PPCA has $q$ latents. Learn it in closed form for $q$ = 2, 5, 10, 20, 40, and draw against $q$ the
# exact $\log p(x)$ of training and of test data, and the squared error of the test reconstructions.
# At which $q$ would you stop by each of the two, and why do they differ?

# %% tags=["hide-cell"] jupyter={"source_hidden": true, "outputs_hidden": true}
qs, found = (2, 5, 10, 20, 40), {"train": [], "test": []}
errors = []
for q in qs:
    pair = PPCA.maximum_likelihood(dequantised.prepared("train").x, latent_dim=q).to(DEVICE)
    for split, curve in found.items():
        scores = evaluate(pair, dequantised, split=split, num_particles=1).scores
        curve.append(scores["log_likelihood"].value)
    errors.append(scores["mse_mean"].value)
figure = Figure(figsize=(8, 3), layout="constrained")
left, right = figure.subplots(1, 2)
for split, curve in found.items():
    left.plot(qs, curve, marker="o", ms=4, label=f"{split} data")
left.set_ylabel("exact log p(x), nats per datum")
left.legend(frameon=False)
right.plot(qs, errors, marker="o", ms=4, color="black")
right.set_ylabel("squared error per pixel, test data")
for axes in (left, right):
    axes.set_xlabel("q, number of latents")
    axes.spines[["top", "right"]].set_visible(False)
display(figure)
# The squared error falls for ever: more latents copy more of the image, noise included, and with
# q = D it is 0. log p(x) asks for less: it pays for what is left over, and test data fall ever
# further behind training data. Stop by log p(x) of validation data, never by the squared error of
# a model that may copy.
