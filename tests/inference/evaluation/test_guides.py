"""Guides compared: every row against the truth on PPCA, and what has no number says why."""

import csv
import io
from dataclasses import replace

import pyro
import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from inference.evaluation import Evidence, GuideComparison, compare_guides, evidence
from inference.posterior import Family, infer
from pyro_models import CVAE, PPCA, VAE, UsageError
from pyro_models.models.hierarchical import TwoLayerVAE

K = 400
SHORT = {"max_steps": 300}


def rotated_ppca():
    """Correlated posteriors, and a guide of the right family that is not the posterior."""
    generator = torch.Generator().manual_seed(0)
    pair = PPCA((8,), latent_dim=3, guide="linear").double()
    with torch.no_grad():
        pair.model.W.copy_(torch.randn(8, 3, generator=generator).double())
        pair.model.set_sigma(1.0)
        pair.guide.raw_tril.fill_diagonal_(-1.0)
        pair.guide.mean.weight.mul_(0.5)
    return pair


@pytest.fixture(scope="module")
def ppca():
    return rotated_ppca()


@pytest.fixture(scope="module")
def x(ppca):
    torch.manual_seed(1)
    return ppca.model(n=6).detach()


@pytest.fixture(scope="module")
def mask():
    return torch.rand(6, 8, generator=torch.Generator().manual_seed(1)) < 0.7


@pytest.fixture(scope="module")
def found(ppca, x, mask):
    guides = ["prior", "encoder", "normal", "full_covariance", "laplace", "point"]
    return compare_guides(
        ppca, x, mask=mask, guides=guides, num_particles=K, infer_options={"max_steps": 600}
    )


def exact_gaps(pair, x, mask):
    """KL(q ‖ p) in closed form, of the guides and of the best of the diagonal Normals."""
    posterior = pair.exact_posterior(x, mask)
    mean, covariance = posterior.mean.detach(), posterior.covariance_matrix.detach()
    posterior = MultivariateNormal(mean, covariance)
    deviation = posterior.precision_matrix.diagonal(dim1=-2, dim2=-1).rsqrt()
    own = pair.guide.mean(torch.where(mask, x, 0.0)).detach()
    guides = {
        "prior": MultivariateNormal(torch.zeros_like(mean), torch.eye(3).double()),
        "encoder": MultivariateNormal(own, scale_tril=pair.guide.scale_tril().detach()),
        "normal": MultivariateNormal(mean, torch.diag_embed(deviation.square())),
        "full_covariance": posterior,
        "laplace": posterior,
    }
    return {name: kl_divergence(q, posterior) for name, q in guides.items()}


@pytest.mark.parametrize("name", ["prior", "encoder", "normal", "full_covariance", "laplace"])
def test_every_gap_is_the_divergence_from_the_exact_posterior(found, ppca, x, mask, name):
    wanted = exact_gaps(ppca, x, mask)[name]
    row = found[name]
    fitted = 0.02 if name in ("normal", "full_covariance") else 0.0
    error = 4.5 * row.elbo_error + fitted + 1e-3
    assert bool(((row.gap - wanted).abs() < error).all())
    exact = ppca.exact_log_prob(x, mask).detach()
    assert found.evidence.kind == "exact"
    torch.testing.assert_close(row.elbo + row.gap, exact)
    assert float((row.importance_bound - exact).mean()) < 0.05
    assert float((row.importance_bound - row.elbo).min()) > -1e-9


def test_the_gap_of_an_amortised_guide_is_split_by_its_family(found, ppca, x, mask):
    """The family holds the posterior: all of the encoder's gap is that it is amortised."""
    encoder, laplace = found["encoder"], found["laplace"]
    assert (encoder.family, encoder.best_of_family) == ("full_covariance", "full_covariance")
    assert float(encoder.approximation_gap.abs().max()) < 0.05
    torch.testing.assert_close(encoder.approximation_gap + encoder.amortisation_gap, encoder.gap)
    assert float(encoder.amortisation_gap.min()) > 0.05
    assert float(laplace.amortisation_gap.abs().max()) < 0.05
    normal = found["normal"]
    assert normal.approximation_gap is normal.gap
    assert "fitted to each datum" in normal.absent["amortisation_gap"]
    assert "nothing that could be fitted" in found["prior"].absent["approximation_gap"]


def test_differences_are_paired(found):
    difference = found.difference("normal", "encoder")
    of_each = found["normal"].elbo - found["encoder"].elbo
    assert difference.value == pytest.approx(float(of_each.mean()))
    assert difference.standard_error == pytest.approx(float(of_each.std()) / 6**0.5)
    close = found.difference("full_covariance", "normal")
    assert close.standard_error < 0.3 * found["normal"].value("elbo")[1]
    assert close.value > 2 * close.standard_error
    assert found.best in ("full_covariance", "laplace")
    with pytest.raises(UsageError, match="point has no ELBO: no density"):
        found.difference("point", "normal")
    with pytest.raises(UsageError, match="no guide 'nix'"):
        found.difference("nix", "normal")
    with pytest.raises(UsageError, match="choose from elbo"):
        found.difference("normal", "encoder", quantity="milliseconds")


def test_weights_say_how_good_a_guide_is(found):
    ess = {row.name: row.value("effective_sample_size") for row in found.rows}
    assert ess["full_covariance"][0] > 0.98 * K > 0.5 * K > ess["prior"][0]
    assert found["full_covariance"].value("share_unreliable")[0] == 0
    assert ess["point"] is None
    assert found["point"].value("milliseconds")[0] > 0
    assert found["normal"].num_parameters == 6


def test_tables_hold_every_number_or_the_reason(found):
    text, markdown = found.to_text(), found.to_markdown()
    for row in found.rows:
        assert row.name in text
        assert f"| {row.name} |" in markdown
    assert "no density: there is no log q" in text
    assert f"K = {K}" in text
    assert "(paired over 6 data)" in markdown
    lines = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert len(lines) == 6 * 9
    for line in lines:
        assert bool(line["value"]) != bool(line["reason"])
    (gap,) = (row for row in lines if (row["guide"], row["quantity"]) == ("encoder", "gap"))
    assert float(gap["value"]) == pytest.approx(found["encoder"].value("gap")[0])
    assert (gap["unit"], gap["kind"], gap["evidence"]) == (
        "nats per datum",
        "estimate",
        "exact (exact)",
    )


def test_the_best_of_a_family_that_is_not_asked_for_is_fitted(x):
    torch.manual_seed(0)
    vae = VAE((8,), latent_dim=2, hidden=[8], likelihood="gaussian").double()
    found = compare_guides(vae, x[:3], guides=["encoder"], num_particles=100, infer_options=SHORT)
    (row,) = found.rows
    assert (row.family, row.best_of_family) == ("normal", "refined")
    assert float(row.amortisation_gap.mean()) > 0
    assert found.evidence.method == "quadrature"


def test_a_family_without_a_fit_says_so(x):
    pair = TwoLayerVAE(
        (8,), latent_dims=[2, 1], hidden=[8], top_hidden=[4], likelihood="gaussian"
    ).double()
    options = {"num_temperatures": 3, "num_leapfrog": 1, "num_chains": 2}
    found = compare_guides(
        pair, x[:2], guides=["encoder"], num_particles=30, evidence_options=options
    )
    assert "depend on each other" in found["encoder"].absent["amortisation_gap"]
    assert "so are the gaps" in found.to_text()


def test_posteriors_and_evidence_that_are_there_are_used(ppca, x):
    posterior = infer(ppca, x, guide="laplace")
    known = evidence(ppca, x)
    found = compare_guides(
        ppca,
        x,
        guides=["encoder", posterior],
        log_evidence=known,
        num_particles=30,
        infer_options=SHORT,
    )
    assert found.evidence is known
    assert isinstance(found, GuideComparison)
    assert [row.name for row in found.rows] == ["encoder", "laplace"]
    with pytest.raises(UsageError, match="another pair or other data"):
        compare_guides(ppca, x[:3], guides=[posterior], num_particles=30)
    whole = torch.ones(8, dtype=torch.bool)
    compare_guides(ppca, x, mask=whole, guides=[posterior], num_particles=30)
    for others, seen in ((x.flip(0), None), (x, torch.arange(8) < 4)):
        with pytest.raises(UsageError, match="other data, or given other pixels"):
            compare_guides(ppca, others, mask=seen, guides=[posterior], num_particles=30)
    with pytest.raises(UsageError, match="does not fit 3 data"):
        compare_guides(ppca, x[:3], guides=["prior"], log_evidence=known, num_particles=30)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"guides": []}, "at least one guide"),
        ({"guides": "prior"}, r"guides is a list of guides: give \['prior'\]"),
        ({"guides": ["nix"]}, "unknown guide 'nix': choose from"),
        ({"guides": ["prior", "prior"]}, "two guides are named 'prior'"),
        ({"num_particles": 1}, "at least 2"),
        ({"seed": -1}, "seed"),
    ],
)
def test_mistakes_are_said(ppca, x, options, why):
    with pytest.raises(UsageError, match=why):
        compare_guides(ppca, x, **options)


def test_a_pair_that_needs_labels_is_given_them(x):
    pair = CVAE((8,), num_classes=2, latent_dim=1, hidden=[4], likelihood="gaussian").double()
    y = torch.tensor([0, 1])
    found = compare_guides(
        pair, x[:2], y=y, guides=["encoder"], num_particles=200, infer_options=SHORT
    )
    assert found.evidence.given == "y"
    assert float(found["encoder"].approximation_gap.abs().max()) < 0.5
    flipped = infer(pair, x[:2], y=y.flip(0), guide="encoder")
    with pytest.raises(UsageError, match="or labels"):
        compare_guides(pair, x[:2], y=y, guides=[flipped], num_particles=30)
    with pytest.raises(UsageError, match="needs labels"):
        compare_guides(pair, x[:2], guides=["encoder"], num_particles=30)


def test_an_exact_guide_has_no_unreliable_weights_in_float32(x):
    pair, small = PPCA((8,), latent_dim=3), x.float() + 100  # rounding of log p is large
    few = {"max_steps": 5}
    found = compare_guides(pair, small, guides=["encoder"], num_particles=100, infer_options=few)
    assert found["encoder"].value("share_unreliable") == (0.0, 0.0)


def test_one_datum_has_no_error_and_says_none(ppca, x):
    found = compare_guides(ppca, x[:1], guides=["prior", "normal"], infer_options={"max_steps": 5})
    assert "nan" not in found.to_text()
    assert "nan" not in infer(ppca, x[:1], guide="encoder").to_text()


def test_fits_that_did_not_converge_are_counted(ppca, x):
    guides = ["prior", "normal", "point"]
    found = compare_guides(ppca, x, guides=guides, infer_options={"max_steps": 5})
    assert [row.unfinished for row in found.rows] == [0, 6, 6]
    assert found.to_text().count("fits did not converge") == 1  # a point has no gap
    assert "normal: 6 of 6 fits did not converge" in found.to_html()
    assert "converge" not in compare_guides(ppca, x, guides=["prior"]).to_text()


@pytest.mark.parametrize("kind", ["lower bound", "objective only"])
def test_evidence_below_a_bound_is_called_too_low(ppca, x, kind):
    exact = evidence(ppca, x)
    low = exact.value - torch.tensor([3.0, 0, 0, 2.0, 0, 0])
    known = Evidence(low, exact.standard_error, None, kind, "annealing", 4)

    class Lost(torch.nn.Module):
        """Weights that are not finite are no reason not to look at the others."""

        def forward(self, x, **_):
            nowhere = torch.full((len(x), 3), 1e200, dtype=torch.float64)
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", pyro.distributions.Normal(nowhere, 1.0).to_event(1))

    class Exact(torch.nn.Module):
        def forward(self, x, **_):
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", ppca.exact_posterior(x))

    guides = [
        infer(ppca, x, guide=Family(lambda given, q=q: q, fitted=False)) for q in (Exact(), Lost())
    ]
    guides = [replace(q, name=name) for q, name in zip(guides, ("exact", "lost"), strict=True)]
    few = {"max_steps": 5}
    found = compare_guides(ppca, x, guides=guides, log_evidence=known, infer_options=few)
    assert "too low for 2 of 6 data: the L_K of a guide is up to 3.0 nats higher" in str(found)
    assert "weights that are not finite" in str(found)
    true = Evidence(exact.value, exact.standard_error, None, kind, "annealing", 4)
    found = compare_guides(ppca, x, guides=guides, log_evidence=true, infer_options=few)
    assert "too low" not in str(found)
    assert ("there is no p(x)" in str(found)) == (kind == "objective only")
