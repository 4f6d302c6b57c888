"""Numbers that cannot both be right are said, and not printed as numbers."""

from dataclasses import replace

import pytest
import torch

from inference.evaluation import Bracket, Evidence, bracket, compare, compare_guides, evaluate
from inference.evaluation.guide_table import GuideComparison
from inference.evaluation.scores import beyond, contradiction, without_contradictions
from inference.figures import guide_gaps
from pyro_models import CVAE, PPCA, UsageError, load_data


@pytest.fixture(scope="module")
def ppca():
    x = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    return PPCA.maximum_likelihood(x, latent_dim=2)


@pytest.fixture(scope="module")
def x():
    return torch.randn(4, 5, generator=torch.Generator().manual_seed(1))


def test_noise_and_rounding_are_no_contradiction():
    assert not beyond(0.29, error=0.1, of=-1.0)
    assert beyond(0.31, error=0.1, of=-1.0)
    assert not beyond(0.5, error=0.0, of=-1e5)  # float32
    assert not beyond(-3.0, error=float("nan"), of=0.0)
    assert contradiction(("a", 0.0), ("b", 1.0), error=0.0) is None


@pytest.mark.parametrize("kind", ["exact", "estimate", "lower bound"])
def test_a_negative_gap_is_said_and_neither_printed_nor_drawn(ppca, x, kind):
    wrong = torch.full((4,), -50.0)  # far below every bound
    method = {"exact": "exact", "estimate": "quadrature"}.get(kind, "importance")
    low = Evidence(wrong, torch.full((4,), 1e-3), None, kind, method, None)
    found = compare_guides(ppca, x, guides=["encoder", "prior"], log_evidence=low, num_particles=99)
    row = found["encoder"]
    if kind == "lower bound":  # the better estimate is taken
        assert float((found.evidence.value - ppca.exact_log_prob(x).detach()).abs().max()) < 0.01
        assert row.value("gap")[0] > -1e-3
        return
    assert row.value("gap") is None
    assert "more than its error: one is wrong" in row.absent["gap"]
    assert row.value("elbo") is None
    assert "one is wrong" in found.to_text()
    assert "-4" not in found.to_text().split("\n")[1]
    with pytest.raises(UsageError, match="above log p"):
        guide_gaps(found)
    assert isinstance(found, GuideComparison)


def test_a_gap_within_its_error_has_no_negative_length(ppca, x):
    found = compare_guides(ppca, x, guides=["encoder", "prior"], num_particles=50)
    rows = tuple(
        replace(row, gap=row.gap - 1e-5) if row.name == "encoder" else row for row in found.rows
    )
    figure = guide_gaps(replace(found, rows=rows))
    assert min(bar.get_width() for bar in figure.axes[0].patches) >= 0
    assert min(bar.get_x() for bar in figure.axes[0].patches) >= 0


def test_a_bound_above_the_exact_value_stands_in_no_table(ppca):
    data = load_data("digits", preparation="dequantised")
    pair = PPCA.maximum_likelihood(data.prepared("train").x, latent_dim=3)
    good = evaluate(pair, data, num_particles=10, limit=20)
    assert {"elbo", "importance_bound"} <= set(good.scores)
    exact = good.scores["log_likelihood"]
    wrong = replace(good.scores["elbo"], value=exact.value + 5.0)
    bad = replace(good, scores={**good.scores, "elbo": wrong})
    text = compare([bad]).to_text()
    assert "ELBO" in text
    assert "elbo: none – elbo" in str(bad)
    assert f"{wrong.value:.3f} ±" not in str(bad)
    assert "more than its error: one is wrong" in text
    assert f"{wrong.value:.2f} ±" not in text
    scores, absent = without_contradictions(bad.scores, {})
    assert "elbo" not in scores
    assert "one is wrong" in absent["elbo"]


def test_a_bracket_that_is_upside_down_is_said(ppca):
    found = bracket(ppca, num_data=5, num_temperatures=20)
    assert "not bracketed" not in str(found)
    swapped = Bracket(
        lower=found.lower + 3,
        lower_error=found.lower_error.clamp_max(0.01),
        upper=found.upper,
        upper_error=found.upper_error.clamp_max(0.01),
        x=found.x,
        forward=found.forward,
    )
    assert "not bracketed, the lower bound" in str(swapped)
    assert "gap" not in str(swapped)


def test_scores_of_a_conditional_model_say_what_is_given(few):
    pair = CVAE(few.data_shape, num_classes=10, latent_dim=2, hidden=[8], likelihood="gaussian")
    from inference.evaluation import diagnose, evidence
    from inference.posterior import infer

    found = evaluate(pair, few, num_particles=5, limit=6)
    for score in found.scores.values():
        assert "given y" in str(score)
    test = few.prepared("test", limit=3)
    assert "given y" in str(diagnose(pair, few, num_particles=30, limit=6))
    assert '"given": "y"' in diagnose(pair, few, num_particles=30, limit=6).to_json()
    assert "log p(x | y)" in str(evidence(pair, test.x, y=test.y))
    assert "y" in infer(pair, test.x, y=test.y, guide="encoder").to_text().split("given")[1]
    table = compare_guides(pair, test.x, y=test.y, guides=["encoder"], num_particles=30)
    assert "log p(x | y) − ELBO" in table.to_text(200)
    assert "ELBO | y" in table.to_text()
    assert ",y," in table.to_csv()
    assert guide_gaps(table).axes[0].get_xlabel().startswith("log p(x | y) − ELBO")
