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
# # Labels: all, some or none
#
# A label $y$ can be *given* to a model of $x$, or *inferred* by it. With all labels known, a CVAE
# learns $p(x \mid y)$. With some of them missing, $y$ is one more thing that is not seen, and a
# model of it sums it out. We do both on the bundled digits, and see how many labels are enough.

# %%
# %matplotlib inline
import matplotlib
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from inference import compare, evaluate, figures, fit
from inference.evaluation import accuracy, log_weights
from inference.figures.palette import PETROFF
from pyro_models import CVAE, VAE, SemiSupervisedVAE, load_data
from pyro_models.networks import make_classifier

matplotlib.rcParams["figure.dpi"] = 80
torch.set_num_threads(1)  # the images are small: more threads only wait for each other

# %%
data = load_data("digits", preparation="threshold")  # a pixel is 1 where it was above ½, else 0
data


# %%
def learn(pair, data, **settings):
    """Fit in place, with what suits small images."""
    options = {"batch_size": 64, "lr": 3e-3, "schedule": "CosineAnnealingLR", **settings}
    return fit(pair, data, curve_size=0, progress=False, **options)


# %% [markdown]
# ## All labels: the label is given
#
# $$\log p(x \mid y) \;\ge\; \mathbb{E}_{q(z \mid x, y)}\big[\log p(x \mid z, y)\big]
#   - \mathrm{KL}\big(q(z \mid x, y) \,\|\, p(z)\big).$$
#
# One column for each class, every image with a $z$ of its own: the label says which digit, $z$ how
# it is written.

# %%
SIZE = {"latent_dim": 5, "hidden": [128], "likelihood": "bernoulli"}

torch.manual_seed(0)  # the weights are drawn when a pair is built
cvae = CVAE(data.data_shape, num_classes=10, **SIZE)
learn(cvae, data, epochs=30)
figures.class_grid(cvae)

# %% [markdown]
# ## Some labels: the missing ones are summed out
#
# M2 (Kingma et al. 2014) has the same decoder, a prior $p(y) = 1/10$, and a classifier
# $q(y \mid x)$ in its guide. With $\mathcal{L}(x, y) =
# \mathbb{E}_{q(z \mid x, y)}[\log p(x \mid y, z) + \log p(y) + \log p(z) - \log q(z \mid x, y)]$,
#
# $$\log p(x, y) \ge \mathcal{L}(x, y), \qquad
#   \log p(x) \ge \sum_y q(y \mid x)\,\mathcal{L}(x, y) + \mathrm{H}\big(q(y \mid x)\big).$$
#
# The first is for an image with a label, the second for one without; all ten values of $y$ are
# weighed in one pass, none is sampled. `with_labels` keeps some labels, equally many of each class;
# the others become −1.
#
# The bound of a labelled image does not contain the classifier, so training adds
# $\alpha \log q(y \mid x)$ for these. And where labels are few, two habits help: begin with the
# labelled images alone, so that the ten values of $y$ start as the ten digits; then put some
# labelled images beside every batch.

# %%
few = data.with_labels(50)
print(few)


# %%
def learn_m2(data, *, seed=0):
    torch.manual_seed(seed)
    pair = SemiSupervisedVAE(data.data_shape, num_classes=10, classification_weight=2.0, **SIZE)
    labelled = data.labelled()
    batches = -(-len(labelled.split("train")) // 64)
    learn(pair, labelled, epochs=-(-200 // batches), lr=1e-3, schedule=None, seed=seed)
    learn(pair, data, epochs=12, labelled_per_batch=20, seed=seed)
    return pair


m2 = learn_m2(few)
print(accuracy(m2, few))

# %% [markdown]
# It generates by class as the CVAE does, from 50 labels instead of 1,257:

# %%
figures.class_grid(m2)

# %% [markdown]
# ## What its scores mean
#
# `evaluate` hides the labels of the test images from M2: its score is then of $p(x)$ and stands
# beside that of a VAE that never heard of labels. `with_labels=True` gives them, and
# $\log p(x \mid y) = \log p(x, y) - \log p(y)$ stands beside the CVAE's. The two columns are not
# comparable, so no row fills both.

# %%
torch.manual_seed(0)
vae = VAE(data.data_shape, **SIZE)
learn(vae, data, epochs=30)
rows = [
    evaluate(vae, data, name="VAE"),
    evaluate(m2, data, name="M2, 50 labels"),
    evaluate(m2, data, with_labels=True, name="M2, 50 labels, given y"),
    evaluate(cvae, data, name="CVAE, all labels"),
]
compare(rows, quantities=["log_likelihood", "accuracy"])

# %% [markdown]
# ## Two baselines
#
# *A classifier of the same size*: the network of $q(y \mid x)$, trained on the labelled images
# alone. *An all-zero code*: the common shortcut of a CVAE that is told "missing" by a vector of
# zeros (`missing_label="zeros"`, refused unless asked for). It is wrong: "missing" becomes an
# eleventh class, and the unlabelled images teach nothing about the ten others. It classifies by
# Bayes' rule, with the $y$ whose bound on $\log p(x \mid y)$ is highest.


# %%
def by_classifier(data, *, seed=0, steps=300):
    torch.manual_seed(seed)
    network = make_classifier("dense", data.data_shape, [128], 10)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    labelled, generator = data.labelled(), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        split = labelled.draw("train", generator)
        rows = torch.randperm(len(split), generator=generator)[:64]
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(split.x[rows]), split.y[rows]).backward()
        optimiser.step()
    test = data.prepared("test")
    with torch.no_grad():
        return (network(test.x).argmax(-1) == test.y).float().mean().item()


def by_zeros(data, *, seed=0):
    torch.manual_seed(seed)
    pair = CVAE(data.data_shape, num_classes=10, missing_label="zeros", **SIZE)
    learn(pair, data, epochs=12, labelled_per_batch=20, seed=seed)
    test = data.prepared("test")
    bounds = [
        log_weights(pair, test.x, num_particles=10, y=torch.full_like(test.y, label)).bound
        for label in range(10)
    ]
    return (torch.stack(bounds).argmax(0) == test.y).float().mean().item()


METHODS = {
    "M2": lambda data, seed: accuracy(learn_m2(data, seed=seed), data).value,
    "classifier, labelled data alone": lambda data, seed: by_classifier(data, seed=seed),
    "all-zero code (wrong)": lambda data, seed: by_zeros(data, seed=seed),
}
COUNTS = [20, 50, 100, 400, 1000]
DRAWS = 2
found = {
    name: [
        [method(data.with_labels(count, seed=draw), draw) for draw in range(DRAWS)]
        for count in COUNTS
    ]
    for name, method in METHODS.items()
}

# %%
figure = Figure(figsize=(6.4, 4), layout="constrained")
axes = figure.add_subplot()
for (name, values), colour, marker in zip(found.items(), PETROFF, "os^", strict=False):
    means = [sum(draws) / DRAWS for draws in values]
    axes.plot(COUNTS, means, color=colour, marker=marker, label=name)
    for count, draws in zip(COUNTS, values, strict=True):
        axes.plot([count, count], [min(draws), max(draws)], color=colour, linewidth=3, alpha=0.4)
axes.set(
    xscale="log",
    xticks=COUNTS,
    xticklabels=[str(count) for count in COUNTS],
    xlabel="labelled images of 1,257",
    ylabel="fraction of test labels right",
    title=f"Mean of {DRAWS} draws of the labels; bars: the draws",
)
axes.xaxis.set_minor_locator(NullLocator())
axes.legend(frameon=False, loc="lower right")
figure

# %%
print(f"{'labels':32}" + "".join(f"{count:>8}" for count in COUNTS))
for name, values in found.items():
    print(f"{name:32}" + "".join(f"{sum(draws) / DRAWS:8.3f}" for draws in values))

# %% [markdown]
# M2 gains most over the classifier where labels are few, and little where they are many. On MNIST,
# `benchmarks/semi_supervised_mnist.py` does the same with 100 and 3,000 labels, and
# `docs/how-many-labels.md` says what to choose.
