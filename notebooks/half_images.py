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
# # The other half
#
# Half of an image is seen. What is the rest? A generative model answers without having been trained
# for it: with $s$ the seen pixels and $u$ the others,
#
# $$p(x_u \mid x_s) = \int p(x_u \mid z)\, p(z \mid x_s)\, dz.$$
#
# Pixels that are not seen drop out of $\log p(x_s \mid z)$; they are *not* zeros. We infer
# $q(z) \approx p(z \mid x_s)$ for each image by itself, complete, and compare with models that know
# the answer exactly, with a network trained for this one task, and with a common mistake.

# %%
DATA = "digits"  # or "mnist", "fashion-mnist"
DEVICE = "cpu"  # or "cuda"

# %%
# %matplotlib inline
import matplotlib
import torch
from IPython.display import Markdown, display

from inference import compare, figures, fit
from inference.evaluation import evaluate_completion
from inference.posterior import complete, infer
from pyro_models import PPCA, VAE, BernoulliMixture, CompletionCVAE, load_data
from pyro_models.data.masks import seen_pixels

matplotlib.rcParams["figure.dpi"] = 100
matplotlib.rcParams["image.interpolation"] = "nearest"  # pixels as they are
torch.set_num_threads(1)  # small images: more threads only wait for each other

EPOCHS = 30 if DATA == "digits" else 10
data = load_data(DATA, preparation="threshold")
train, test = data.prepared("train").x, data.prepared("test", limit=60)

# %% [markdown]
# ## Who completes
#
# *Question.* Which models can answer, and which were made for it?
#
# $$\log p(x_u \mid x_s) = \log p(x) - \log p(x_s).$$
#
# A mixture of 30 Bernoulli products, by EM in closed form, and PPCA know
# $p(x_u \mid x_s)$ exactly. The VAE is any VAE. The CVAE is trained for the
# task: $p(z \mid x_\text{left})\, p(x_\text{right} \mid z, x_\text{left})$.

# %%
mixture = BernoulliMixture.maximum_likelihood(train, num_components=30).to(DEVICE)
ppca = PPCA.maximum_likelihood(train, latent_dim=10).to(DEVICE)


def learn(pair):
    settings = {"epochs": EPOCHS, "lr": 3e-3, "patience": 10, "restore_best": True}
    return fit(pair, data, curve_size=0, device=DEVICE, progress=False, **settings).pair


torch.manual_seed(0)
options = {"hidden": [64], "likelihood": "bernoulli", "output_bias": "data"}
vae = learn(VAE(data.data_shape, latent_dim=8, **options))
cvae = learn(CompletionCVAE(data.data_shape, masks=["left"], latent_dim=8, hidden=[64]))

# %% [markdown]
# ### What they see, and what they say
#
# *Question.* What do they make of the left half of eight test images?
#
# $$x_u^{(s)} \sim p(x_u \mid z^{(s)}), \qquad z^{(s)} \sim q(z) \approx p(z \mid x_s).$$
#
# `complete` picks what the pair knows best: `exact`, `trained`, or a guide fitted to each image.
# The wrong one has to be asked for: `encoder_zeros` tells the encoder that unseen pixels are black.

# %%
x = test.x[:8]
several = {
    "mixture": complete(mixture, x, "left", num_samples=2),
    "VAE": complete(vae, x, "left", num_samples=2),
    "CVAE": complete(cvae, x, "left", num_samples=2),
    "zeros (wrong)": complete(vae, x, "left", num_samples=2, guide="encoder_zeros"),
}
figures.completions(several, x)

# %% [markdown]
# *What to see.* Three of them draw digits that go on from what was seen. The fourth, told that
# the rest is black, often leaves it black. Seen pixels come back exactly as they were given, and
# whatever stands in the others is ignored:

# %%
dirty = torch.where(seen_pixels("left", data.data_shape), x, torch.nan)
again = complete(mixture, dirty, "left", num_samples=2)
same = again.mean == several["mixture"].mean
print("NaN in unseen pixels changes nothing:", bool(same.all()))
left = x.shape[-1] // 2
kept = again.samples[..., :left].cpu() == x[..., :left]
print("seen pixels are as they were:", bool(kept.all()))

# %% [markdown]
# ## How good is it?
#
# *Question.* Which of them knows most about the half that it did not see?
#
# $\log p(x_u \mid x_s) = \log p(x) - \log p(x_s)$, exact for the
# mixture, and by annealed importance sampling for the VAE: the difference of two lower bounds is an
# *estimate*, and no bound. The CVAE has a lower bound of its own. PPCA's number is a density, so it
# shares no column with probabilities of binary pixels; the squared errors may all be compared.

# %%
annealing = {"num_chains": 4, "num_temperatures": 60, "num_leapfrog": 5}
rows = [
    evaluate_completion(mixture, data, "left", limit=60),
    evaluate_completion(ppca, data, "left", limit=60),
    evaluate_completion(train.mean(0), data, "left", limit=60, name="mean training image"),
    evaluate_completion(vae, data, "left", limit=60, evidence_options=annealing),
    evaluate_completion(vae, data, "left", limit=60, guide="encoder_zeros", log_prob=False),
    evaluate_completion(cvae, data, "left", limit=60, evidence_options=annealing),
]
display(Markdown(compare(rows).to_markdown()))

# %% [markdown]
# *What to see.* By $-\log p$ a model that was never trained for the task keeps up with the network
# that was, whose number is a bound. Nobody should do worse than the mean training image, which sees
# nothing at all; the encoder fed zeros does.
#
# ## Two latents: look at the posterior itself
#
# *Question.* What does half an image say about $z$?
#
# $$p(z, x_\text{top}) = p(z) \prod_{d \text{ in the top}} p(x_d \mid z).$$
#
# With two latents $p(z, x_\text{top})$ can be drawn, and the guides with it. The contours hold 50,
# 90 and 99 % of the mass. Half an image leaves more open than an axis-aligned Normal can say.

# %%
small = learn(VAE(data.data_shape, latent_dim=2, **options))
top, one = seen_pixels("top", data.data_shape), test.x[2:3]
guides = {g: infer(small, one, mask=top, guide=g) for g in ("normal", "full_covariance")}
figures.latent_contours(small, one, top, guides)

# %% [markdown]
# *What to see.* The fitted ellipses cover where the mass is. Where the contours bend they cannot
# follow: that part of the gap no fit of this family closes.
#
# One $z$ of the guide, decoded: its lower half under the true top, the original beside it.

# %%
picked = complete(small, test.x[2:6], "top", guide="full_covariance", num_samples=1)
figures.completions(picked, test.x[2:6], rows=4)

# %% [markdown]
# Other masks by name: quadrants, `random` pixels, or any array.

# %%
shown = complete(mixture, x, "random", fraction=0.3, num_samples=3)
figures.completions(shown, x, rows=4)

# %% [markdown]
# *What to see.* Pixels strewn over the image leave little open: every hole has seen neighbours.
#
# ## Exercise
#
# Is it so that pixels strewn about say more than a half in one piece? Compare the halves `left`,
# `right`, `top`, `bottom` and `random` by the exact $-\log p(x_u \mid x_s)$ of the mixture, per
# unseen pixel.

# %% tags=["hide-cell"] jupyter={"source_hidden": true, "outputs_hidden": true}
for mask in ("left", "right", "top", "bottom", "random"):
    found = evaluate_completion(mixture, data, mask, limit=60)
    score = found.scores["conditional_log_likelihood"]
    unseen = int((~seen_pixels(mask, data.data_shape)).sum())
    value, error = -score.value / unseen, score.standard_error / unseen
    print(f"{mask:7} seen: {value:.3f} ± {error:.3f} nats per unseen pixel")
# Of these digits, no: by a model that knows of a pixel only through which of its 30 components it
# is, 32 pixels tell the component as well wherever they are. The left half says least of the rest.
# Over 60 images differences of 0.01 are nothing.
