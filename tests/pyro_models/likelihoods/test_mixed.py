"""Columns side by side: the density of each kind, its moments, and what it refuses."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from pyro_models import VAE, UsageError
from pyro_models.likelihoods import likelihood_named

COLUMNS = {
    "a": "normal",
    "b": "categorical:3",
    "c": "poisson",
    "d": "student_t",
    "e": "bernoulli",
    "f": "negative_binomial",
    "g": "categorical:2",
}
D = 10
ROW = [0.3, 0, 1, 0, 4, -1.2, 1, 7, 1, 0]


def mixed(**options):
    made = likelihood_named("mixed", (D,), {"columns": COLUMNS, **options}).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape).double())
        made.centre.copy_(torch.randn(D))
        made.unit.copy_(torch.rand(D) + 0.5)
    return made


def reference(made, eta, raw=None):
    """The distribution of each column, by scipy."""
    softplus = lambda v: math.log1p(math.exp(v))  # noqa: E731
    shape = [0.01 + softplus(float(s)) for s in made.raw_shape.detach()]
    raw = made.raw_scale.detach() if raw is None else raw
    c, s = made.centre.tolist(), made.unit.tolist()
    sigma = [u * (0.01 + softplus(float(r))) for u, r in zip(s, raw, strict=True)]
    e = [float(v) for v in eta]
    probs = lambda *i: special.softmax([c[j] + e[j] for j in i])  # noqa: E731
    mu = {j: s[j] * softplus(e[j] + math.log(math.e - 1)) for j in (4, 7)}
    return {
        "a": stats.norm(c[0] + s[0] * e[0], sigma[0]),
        "b": stats.multinomial(1, probs(1, 2, 3)),
        "c": stats.poisson(mu[4]),
        "d": stats.t(2 + shape[5], c[5] + s[5] * e[5], sigma[5]),
        "e": stats.bernoulli(1 / (1 + math.exp(-c[6] - e[6]))),
        "f": stats.nbinom(shape[7], shape[7] / (shape[7] + mu[7])),
        "g": stats.multinomial(1, probs(8, 9)),
    }


@pytest.mark.parametrize("scale", ["column", "decoder"])
def test_each_column_has_the_density_of_its_kind(scale):
    made = mixed(scale=scale)
    outputs = torch.randn(1, made.num_parameters, D).double()
    kinds = reference(made, outputs[0, 0], outputs[0, 1] if scale == "decoder" else None)
    x = torch.tensor([ROW]).double()
    found = made.pixels(outputs).log_prob(x)[0].detach()
    places = {"a": [0], "b": [1, 2, 3], "c": [4], "d": [5], "e": [6], "f": [7], "g": [8, 9]}
    for name, index in places.items():
        value = np.array([ROW[i] for i in index]) if len(index) > 1 else ROW[index[0]]
        one = kinds[name]
        expected = one.logpdf(value) if name in "ad" else one.logpmf(value)
        assert float(found[index].sum()) == pytest.approx(float(expected), rel=1e-6), name
    assert made.measure == "counting on 5 columns × Lebesgue on 2"
    seen = torch.ones(1, D, dtype=torch.bool)
    seen[:, [0, 1, 2, 3]] = False
    whole, rest = (made(outputs, m).log_prob(x).detach() for m in (None, seen))
    assert float(whole - rest) == pytest.approx(float(found[:4].sum()))


@torch.no_grad()
def test_mean_variance_mode_and_draws_are_those_of_each_kind():
    torch.manual_seed(0)
    made = mixed()
    outputs = torch.randn(made.num_parameters, D).double()
    kinds, p_x = reference(made, outputs[0]), made.pixels(outputs)
    for place, name in ((0, "a"), (4, "c"), (5, "d"), (6, "e"), (7, "f")):
        assert float(p_x.mean[place]) == pytest.approx(kinds[name].mean(), rel=1e-6)
        assert float(p_x.variance[place]) == pytest.approx(kinds[name].var(), rel=1e-6)
    for places, name in ((slice(1, 4), "b"), (slice(8, 10), "g")):
        p = torch.as_tensor(kinds[name].p)
        torch.testing.assert_close(p_x.mean[places], p, rtol=1e-6, atol=1e-6)
        assert int(made.mode(outputs)[places].argmax()) == int(p.argmax())
    counts = np.arange(60)
    for place, name in ((4, "c"), (7, "f")):
        assert float(p_x.mode[place]) == counts[kinds[name].pmf(counts).argmax()]
    draws = p_x.sample((20_000,))
    made.check(draws)
    error = (p_x.variance / len(draws)).sqrt()
    assert bool(((draws.mean(0) - p_x.mean).abs() < 5 * error).all())
    kurtosis_free = [0, 4, 6, 7]
    spread = draws.var(0)[kurtosis_free] / p_x.variance[kurtosis_free]
    assert bool(((spread - 1).abs() < 0.15).all())


@pytest.mark.parametrize("extreme", [1e4, -1e4])
def test_extreme_outputs_are_finite_and_log_p_of_large_counts_exact_in_float32(extreme):
    made = likelihood_named("mixed", (D,), {"columns": COLUMNS})
    outputs = torch.full((1, 1, D), extreme, requires_grad=True)
    log_p = made(outputs).log_prob(torch.tensor([ROW]))
    log_p.sum().backward()
    assert bool(log_p.isfinite())
    assert bool(outputs.grad.isfinite().all())
    large = likelihood_named("mixed", (1,), {"columns": ["poisson"]})
    found = large(torch.full((1, 1, 1), 9000.0)).log_prob(torch.tensor([[9000.0]]))
    rate = 9000 + math.log(math.e - 1)
    assert float(found) == pytest.approx(stats.poisson(rate).logpmf(9000), abs=1e-5)


def test_a_pair_starts_at_the_means_of_its_columns():
    rows = torch.tensor([ROW, [5.3, 1, 0, 0, 400, 1.2, 0, 0, 0, 1]]).repeat(20, 1)
    vae = VAE((D,), latent_dim=2, hidden=[4], likelihood="mixed",
              likelihood_options={"columns": COLUMNS})  # fmt: skip
    assert not vae.started
    assert "centres and units" in vae.start_from(rows)
    mean = vae.likelihood.mean(torch.zeros(1, 1, D))[0]
    torch.testing.assert_close(mean, rows.mean(0), atol=0.02, rtol=0.02)
    torch.testing.assert_close(
        vae.likelihood.mean(vae.likelihood.outputs_for(rows.mean(0))[None])[0],
        rows.mean(0).clamp_min(1e-3), atol=2e-3, rtol=1e-3,
    )  # fmt: skip
    again = type(vae)(**vae.config())
    again.load_state_dict(vae.state_dict())
    torch.testing.assert_close(again.likelihood.unit, vae.likelihood.unit)


@pytest.mark.parametrize(
    ("place", "value", "line"),
    [
        (4, -1.0, "column 'c' is poisson, of counts 0, 1, 2, …, and row 1 holds -1"),
        (7, 2.5, "column 'f' is negative_binomial, .* row 1 holds 2.5"),
        (6, 2.0, "column 'e' is bernoulli, of 0 and 1, and row 1 holds 2"),
        (1, 1.0, "column 'b' is categorical, .* row 1 holds 1"),
        (0, math.nan, "NaN or infinite"),
    ],
)
def test_values_that_a_column_cannot_have_are_named_unless_unseen(place, value, line):
    made, x = mixed(), torch.tensor([ROW, ROW]).double()
    made.check(x)
    x[1, place] = value
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        made.check(x)
    seen = torch.ones_like(x, dtype=torch.bool)
    seen[1, [1, 2, 3] if place == 1 else place] = False
    made.check(x, seen)
    seen[0, 2] = False
    with pytest.raises(UsageError, match="column 'b' has 3 values of which only some are seen"):
        made.check(x, seen)


@pytest.mark.parametrize(
    ("shape", "columns", "line"),
    [
        ((3,), ["normal", "poisson"], "2 columns of the likelihood mixed are of 2 values.* of 3"),
        ((3,), {"a": "gauss"}, "unknown column likelihood 'gauss': choose from normal"),
        ((3,), ["categorical"], "column 0: a categorical column says of how many"),
        ((3,), ["categorical:1"], "2 categories or more"),
        ((3,), ["normal:3"], "no other does"),
        ((1, 2, 2), ["normal"] * 4, r"data of shape \(D,\)"),
    ],
)
def test_columns_that_do_not_fit_are_one_line(shape, columns, line):
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        likelihood_named("mixed", shape, {"columns": columns})
