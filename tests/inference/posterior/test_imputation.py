"""Empty cells, against the exact conditionals of a linear Gaussian model."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from inference import fit, impute
from inference.evaluation import log_weights
from inference.objectives import make_objective
from pyro_models import PPCA, VAE, UsageError, load_data

N = 60
RNG = np.random.default_rng(0)
Z = RNG.normal(size=(N, 1))
FRAME = pd.DataFrame(
    1e3 + 50 * (Z @ np.array([[1.0, -0.8, 0.5]]) + 0.4 * RNG.normal(size=(N, 3))),
    columns=["a", "b", "c"],
    index=[f"row {i}" for i in range(N)],
)
HOLES = FRAME.mask(RNG.random(FRAME.shape) < 0.3)
HOLES = HOLES[HOLES.notna().any(axis=1)]
TRUTH = FRAME.loc[HOLES.index]
DATA = load_data(HOLES, missing="unseen", test_fraction=0)


@pytest.fixture(scope="module")
def ppca() -> PPCA:
    """One whose guide is no exact one, so that its weights have work to do."""
    pair = PPCA((3,), latent_dim=1, guide="linear").double()
    pair.start_from(torch.tensor(((FRAME - FRAME.mean()) / FRAME.std()).to_numpy()))
    return pair


def conditional(pair: PPCA, row: torch.Tensor, seen: torch.Tensor):
    """Mean and covariance of N(μ, W Wᵀ + σ² I) where unseen, given what is seen."""
    W, mu, sigma = (
        v.detach().double() for v in (pair.model.loadings, pair.model.loc, pair.model.sigma)
    )
    cov = W @ W.T + sigma**2 * torch.eye(3).double()
    gain = cov[~seen][:, seen] @ torch.linalg.inv(cov[seen][:, seen])
    mean = mu[~seen] + gain @ (row[seen] - mu[seen])
    return mean, cov[~seen][:, ~seen] - gain @ cov[seen][:, ~seen]


@pytest.mark.parametrize("guide", ["best", "encoder"])
def test_cells_have_the_moments_intervals_and_scores_of_the_exact_conditional(ppca, guide):
    found = impute(ppca, HOLES, like=DATA, guide=guide, num_particles=2000, num_draws=2000)
    assert found.guide == ("exact" if guide == "best" else "encoder, resampled from 2000")
    x, scale = found.data.x, [c.scale for c in DATA.table.columns]
    centre = [c.centre for c in DATA.table.columns]
    low, high = found.interval(0.9)
    log_p = found.log_prob(TRUTH)
    cells = found.cells().set_index(["row", "column"])
    assert len(cells) == int(HOLES.isna().sum().sum())
    for i, name in enumerate(HOLES.index[:25]):
        seen = found.data.mask[i]
        if bool(seen.all()):
            continue
        mean, cov = conditional(ppca, x[i], seen)
        for m, v, j in zip(mean, cov.diagonal(), (~seen).nonzero()[:, 0].tolist(), strict=True):
            column, sd = HOLES.columns[j], scale[j] * math.sqrt(float(v))
            expected = stats.norm(centre[j] + scale[j] * float(m), sd)
            tolerance = 5 * sd / math.sqrt(400)  # draws that are resampled twice
            assert found.mean.loc[name, column] == pytest.approx(expected.mean(), abs=tolerance)
            assert found.sd.loc[name, column] == pytest.approx(sd, rel=0.15)
            for end, p in ((low, 0.05), (high, 0.95)):
                assert end.loc[name, column] == pytest.approx(expected.ppf(p), abs=0.25 * sd)
            score = expected.logpdf(TRUTH.loc[name, column])
            tolerance = 1e-6 if guide == "best" else 0.2
            assert log_p.loc[name, column] == pytest.approx(score, abs=tolerance)
            assert cells.loc[(name, column), "sd"] == found.sd.loc[name, column]
    whole = HOLES.notna()
    assert found.sd[whole].isna().all().all()
    for frame in (found.mean, *found.imputations(3)):
        pd.testing.assert_frame_equal(frame[whole], HOLES[whole])
        assert not frame.isna().any().any()


def test_particles_on_half_seen_rows_average_to_p_of_what_is_seen(ppca):
    """MIWAE: L_K rises to log p(x_seen), and the mean of its weights is p(x_seen) itself."""
    split = DATA.split("train")
    x, mask = split.x[:8].double(), split.mask[:8]
    exact = ppca.exact_log_prob(x, mask).detach()
    w = log_weights(ppca, x, mask=mask, num_particles=20_000, seed=0)
    assert bool(((w.bound - exact).abs() < 5 * w.bound_error + 1e-9).all())
    assert bool((w.elbo < exact + 5 * w.elbo_error + 1e-9).all())
    bounds = []
    for k in (1, 5, 50):
        torch.manual_seed(0)
        iwae = make_objective(ppca, "iwae", {"num_particles": k})
        values = torch.tensor([iwae.value(x, mask=mask) for _ in range(100)])
        bounds.append((float(values.mean()), float(values.std()) / math.sqrt(100)))
    means = [m for m, _ in bounds]
    assert means[0] < means[1] < means[2] < float(exact.mean()) + 4 * bounds[2][1]
    assert means[2] == pytest.approx(float(exact.mean()), abs=0.05)


def test_categories_have_probabilities_and_counts_stay_whole_in_draws():
    z = RNG.normal(size=150)
    truth = pd.DataFrame({
        "count": RNG.poisson(np.exp(1 + z)), "size": z + 0.1 * RNG.normal(size=150),
        "sign": np.where(z > 0, "plus", "minus"),
        "third": np.select([z < -0.4, z < 0.4], ["low", "middle"], "high"),
    })  # fmt: skip
    rows = truth.copy().astype({"count": float})
    rows.loc[::3, "third"], rows.loc[1::3, "sign"], rows.loc[2::3, "count"] = None, None, np.nan
    data = load_data(rows, missing="unseen", test_fraction=0)
    torch.manual_seed(0)
    options = {"columns": data.table.likelihoods}
    vae = VAE((6,), latent_dim=1, hidden=[16], likelihood="mixed", likelihood_options=options)
    fit(vae, data, epochs=120, lr=2e-2, batch_size=150, capture=False, progress=False)
    found = impute(vae, rows, like=data, num_particles=200, num_draws=200)
    assert (found.mean["third"] == truth["third"])[::3].mean() > 0.7
    assert (found.mean["sign"] == truth["sign"])[1::3].mean() > 0.8
    p = found.probabilities["third"]
    assert list(p.columns) == ["high", "low", "middle"]
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert found.log_prob(truth)["third"].mean() > -math.log(3)
    drawn = found.imputations(1)[0]["count"]
    assert (drawn % 1 == 0).all()
    assert (drawn >= 0).all()
    assert found.sd["third"].isna().all()


def test_what_cannot_be_imputed_is_one_line(ppca):
    for call, line in (
        (lambda: impute(ppca, HOLES), "need like"),
        (lambda: impute(ppca, [1.0], like=DATA), "rows are a data frame"),
        (lambda: impute(ppca, load_data("digits")), "digits is no table"),
        (lambda: impute(ppca, HOLES, like=DATA, num_draws=0), "num_draws"),
        (lambda: impute(ppca, HOLES, like=DATA, num_draws=3).imputations(5), "3 draws"),
        (lambda: impute(VAE((3,), likelihood="gaussian"), HOLES, like=DATA, guide="exact"),
         "does not know"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
            call()
