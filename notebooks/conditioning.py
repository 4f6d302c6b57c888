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
# model of it sums it out. We do both, and see how many labels are enough.

# %%
DATA = "digits"  # or "mnist", "fashion-mnist"
DEVICE = "cpu"  # or "cuda"

# %%
# %matplotlib inline
import matplotlib
import torch
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from inference import compare, evaluate, figures, fit
from inference.evaluation import accuracy, log_weights
from inference.figures.palette import PETROFF
from pyro_models import CVAE, VAE, SemiSupervisedVAE, load_data
from pyro_models.networks import make_classifier

matplotlib.rcParams["figure.dpi"] = 90
matplotlib.rcParams["image.interpolation"] = "nearest"  # pixels as they are
torch.set_num_threads(1)  # the images are small: more threads only wait for each other

# %%
data = load_data(DATA, preparation="threshold")  # a pixel is 1 where it was above ½, else 0
EPOCHS = 30 if DATA == "digits" else 10
test = data.prepared("test", limit=2000)
print(data)


# %%
def learn(pair, data, **settings):
    """Fit in place, with what suits small images."""
    options = {"batch_size": 64, "lr": 3e-3, "schedule": "CosineAnnealingLR", **settings}
    # labels come and go from batch to batch: recording such steps costs more than it saves here
    quick = {"curve_size": 0, "capture": False, "progress": False}
    return fit(pair, data, device=DEVICE, **quick, **options)


# %% [markdown]
# ## All labels: the label is given
#
# *Question.* What is left for $z$ to say, once the class is known?
#
# $$\log p(x \mid y) \;\ge\; \mathbb{E}_{q(z \mid x, y)}\big[\log p(x \mid z, y)\big]
#   - \mathrm{KL}\big(q(z \mid x, y) \,\|\, p(z)\big).$$

# %%
SIZE = {"latent_dim": 5, "hidden": [128], "likelihood": "bernoulli"}

torch.manual_seed(0)  # the weights are drawn when a pair is built
cvae = CVAE(data.data_shape, num_classes=10, **SIZE)
learn(cvae, data, epochs=EPOCHS)
figures.class_grid(cvae, per_class=5)

# %% [markdown]
# *What to see.* One column for each class, every image with a $z$ of its own: the label says which
# digit, $z$ how it is written.
#
# ## Some labels: the missing ones are summed out
#
# *Question.* What do images without a label teach of the classes?
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


# %%
FEW_EPOCHS = 12 if DATA == "digits" else 3


def learn_m2(data, *, seed=0):
    torch.manual_seed(seed)
    pair = SemiSupervisedVAE(data.data_shape, num_classes=10, classification_weight=2.0, **SIZE)
    labelled = data.labelled()
    batches = -(-len(labelled.split("train")) // 64)
    learn(pair, labelled, epochs=-(-200 // batches), lr=1e-3, schedule=None, seed=seed)
    learn(pair, data, epochs=FEW_EPOCHS, labelled_per_batch=20, seed=seed)
    return pair


m2 = learn_m2(few)
print(accuracy(m2, few))

# %% [markdown]
# *What to see.* Three of four images are classified rightly from five labels of each class. It
# generates by class as the CVAE does, from 50 labels instead of all:

# %%
figures.class_grid(m2, per_class=5)

# %% [markdown]
# ## What its scores mean
#
# *Question.* Which of the three is the better model of images?
#
# $$\log p(x) = \log \textstyle\sum_y p(x, y), \qquad \log p(x \mid y) = \log p(x, y) - \log p(y).$$
#
# `evaluate` hides the labels of the test images from M2: its score is then of $p(x)$ and stands
# beside that of a VAE that never heard of labels. `with_labels=True` gives them, and
# $\log p(x \mid y)$ stands beside the CVAE's.

# %%
torch.manual_seed(0)
vae = VAE(data.data_shape, **SIZE)
learn(vae, data, epochs=EPOCHS)
rows = [
    evaluate(vae, data, limit=2000, name="VAE"),
    evaluate(m2, data, limit=2000, name="M2, 50 labels"),
    evaluate(m2, data, limit=2000, with_labels=True, name="M2, 50 labels, given y"),
    evaluate(cvae, data, limit=2000, name="CVAE, all labels"),
]
display(Markdown(compare(rows, quantities=["log_likelihood", "accuracy"]).to_markdown()))

# %% [markdown]
# *What to see.* The two columns of $\log p$ are not comparable, so no row fills both: whoever is
# told the class has less to explain, and is no better a model for it.
#
# ## Two baselines
#
# *Question.* Is it the model, or would any classifier do as well?
#
# $$\hat y(x) = \arg\max_y\, q(y \mid x), \qquad
#   \hat y(x) = \arg\max_y\, \mathcal{L}(x \mid y) \text{ by Bayes' rule.}$$
#
# *A classifier of the same size*: the network of $q(y \mid x)$, trained on the labelled images
# alone. *An all-zero code*: the common shortcut of a CVAE that is told "missing" by a vector of
# zeros (`missing_label="zeros"`, refused unless asked for). It is wrong: "missing" becomes an
# eleventh class, and the unlabelled images teach nothing about the ten others. It classifies by the
# $y$ whose bound on $\log p(x \mid y)$ is highest.


# %%
def by_classifier(data, *, seed=0, steps=300):
    torch.manual_seed(seed)
    network = make_classifier("dense", data.data_shape, [128], 10).to(DEVICE)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    labelled, generator = data.labelled(), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        split = labelled.draw("train", generator)
        rows = torch.randperm(len(split), generator=generator)[:64]
        optimiser.zero_grad()
        x, y = split.x[rows].to(DEVICE), split.y[rows].to(DEVICE)
        torch.nn.functional.cross_entropy(network(x), y).backward()
        optimiser.step()
    with torch.no_grad():
        guessed = network(test.x.to(DEVICE)).argmax(-1).cpu()
    return (guessed == test.y).float().mean().item()


def by_zeros(data, *, seed=0):
    torch.manual_seed(seed)
    pair = CVAE(data.data_shape, num_classes=10, missing_label="zeros", **SIZE)
    learn(pair, data, epochs=FEW_EPOCHS, labelled_per_batch=20, seed=seed)
    bounds = [
        log_weights(pair, test.x, num_particles=10, y=torch.full_like(test.y, label)).bound
        for label in range(10)
    ]
    return (torch.stack(bounds).argmax(0).cpu() == test.y).float().mean().item()


METHODS = {
    "M2": lambda data, seed: accuracy(learn_m2(data, seed=seed), data, limit=2000).value,
    "classifier, labelled data alone": lambda data, seed: by_classifier(data, seed=seed),
    "all-zero code (wrong)": lambda data, seed: by_zeros(data, seed=seed),
}
COUNTS = [20, 50, 100, 400]
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
    xlabel=f"labelled images of {len(data.split('train')):,}",
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
# *What to see.* M2 gains most over the classifier where labels are few, and little where they are
# many. On MNIST, `benchmarks/semi_supervised_mnist.py` does the same with 100 and 3,000 labels, and
# `docs/how-many-labels.md` says what to choose.
#
# ## Exercise
#
# M2 says $q(y \mid x)$, and so how sure it is. Sort the test images by the largest of the ten
# probabilities, and draw the accuracy of the surest share of them against that share. May it be
# trusted where it is sure?

# %% tags=["hide-cell"] jupyter={"source_hidden": true, "outputs_hidden": true}
with torch.no_grad():
    sure, guessed = m2.classify(test.x.to(DEVICE)).cpu().max(-1)
order = sure.argsort(descending=True)
counts = torch.arange(1, len(order) + 1)
right = (guessed == test.y).float()[order].cumsum(0) / counts
claimed = sure[order].cumsum(0) / counts
figure = Figure(figsize=(6.4, 3), layout="constrained")
axes = figure.add_subplot()
axes.plot(counts / len(order), right, label="accuracy of the surest")
axes.plot(counts / len(order), claimed, ls="--", label="their mean probability")
axes.set(xlabel="share of the test images, the surest first", ylim=(0.5, 1.02))
axes.legend(frameon=False, loc="lower left")
axes.spines[["top", "right"]].set_visible(False)
display(figure)
for share in (0.5, 1.0):
    n = round(share * len(order)) - 1
    print(f"surest {share:.0%}: claimed {float(claimed[n]):.3f}, right {float(right[n]):.3f}")
# The surest half are right far more often than the rest: the order can be trusted. The numbers less
# so: M2 claims more than it holds, as networks do that are raised on few labels.
