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
# # Functions: a Gaussian process, and its minimum
#
# The function-fitting task of Copenhagen's examination, parts A and B, and then the same loop with
# other choices. $f(x) = \sin 20x + 2 \cos 14x - 2 \sin 6x$ on $[-1, 1]$ is known at five points;
# the kernel is RBF, its hyper-parameters θ have log-normal priors and are inferred by NUTS.

# %%
# %matplotlib inline
import warnings

import matplotlib
import torch
from IPython.display import Markdown, display

from gp_bo.examination.algorithm1 import CHOICES, algorithm1, exam_grid
from gp_bo.examination.algorithm1_figure import algorithm1_figure
from gp_bo.examination.sheet import exam_function, fit_exam
from gp_bo.figures import bands, hyper_scatter, traces
from gp_bo.functions import function_named
from gp_bo.optimize import Optimizer, minimize
from gp_bo.optimize.figures import search_figure

matplotlib.rcParams["figure.dpi"] = 60
torch.set_num_threads(1)  # small matrices: more threads only wait for each other
TURNS = 5  # T of Algorithm 1: the sheet has 10

# %% [markdown]
# ## A: p(θ | D)
#
# 500 draws of four chains. R-hat compares the chains (1.00 when they agree; rank-normalised and
# split), the effective sample size says how many independent draws they are worth.

# %%
fitted = fit_exam(seed=0)
for name, value in fitted.diagnostics.items():
    print(f"{name}: {value}")
display(hyper_scatter(fitted, reference=fit_exam(inference="quadrature")), traces(fitted))

# %% [markdown]
# Five points do not say how fast f wiggles: the length-scale's draws differ tenfold and more. A
# prediction averages over all of them, $m = \frac1S \sum_s m_s$ and
# $v = \frac1S \sum_s (v_s + m_s^2) - m^2$. Left out most often in reports is the second part, the
# variance *between* the means:

# %%
grid = exam_grid()
display(bands(fitted, grid, truth=exam_function))
means, variances = fitted.predictive_marginals(grid)
within, between = variances.mean(0), means.var(0, correction=0)
share = float((between / (between + within)).max())
print(f"between the draws of θ lies up to {share:.0%} of the variance at a point")

# %% [markdown]
# ## B: Algorithm 1
#
# For each k: NUTS on the grown D, *one* θ, *one* joint draw f* of all 200 values, its argmin is
# evaluated and added. (A joint draw is a function; 200 separate draws are not, and their argmin
# would be noise.)

# %%
run = algorithm1(TURNS, seed=0)
display(algorithm1_figure(run, turns=(0, TURNS // 2, TURNS)))

# %% [markdown]
# Once the minimum is found, Thompson sampling tends to draw it again and again. Two remedies at the
# same budget: leave out points that are already in D, or take the largest expected improvement
# over all draws of θ. One seed shows how they go, not which is better: for that
# `gp-bo exam FOLDER --seeds 20` counts over seeds.

# %%
rows = ["| choose | regret on the grid after each turn | turns at points in D |", "|---|---|---|"]
for choose in CHOICES:
    other = run if choose == "thompson" else algorithm1(TURNS, choose=choose, seed=0)
    regret = ", ".join(f"{value:.2g}" for value in other.regret.tolist())
    rows.append(f"| `{choose}` | {regret} | {other.repeats} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# ## The same, off the grid
#
# `minimize` does the whole loop; inference and acquisition are words. The simple regret is the best
# value found, less the least there is.

# %%
function = function_named("exam")
rows = ["| acquisition | inference | simple regret after 16 evaluations |", "|---|---|---|"]
for acquisition, inference in (("log_ei", "map"), ("thompson", "map"), ("log_ei", "laplace")):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = minimize(
            function,
            function.bounds,
            budget=16,
            acquisition=acquisition,
            inference=inference,
            gp={"noise": 1e-6, "restarts": 4},
            seed=1,
        )
    rows.append(f"| `{acquisition}` | `{inference}` | {function.regret(result.y):.1e} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# ## By hand
#
# Where the function is an experiment, ask and tell. With `state="file.json"` everything told is in
# a file before `tell` returns. Below: what the optimiser believes, and why it asks for what it
# does.

# %%
optimizer = Optimizer([(-1.0, 1.0)], problem="f(x)", gp={"noise": 1e-6, "restarts": 4}, seed=2)
for _ in range(8):
    [point] = optimizer.ask()
    optimizer.tell(point, function(point))
display(search_figure(optimizer))
print("next:", optimizer.space.describe_point(optimizer.ask()[0]))
