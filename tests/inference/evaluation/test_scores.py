"""Numbers keep their meaning, and are converted only where that is exact."""

import math
from dataclasses import replace

import pytest
import torch

from inference.evaluation import (
    Evaluation,
    Score,
    compare,
    from_sum,
    on_unit_pixels,
    to_bits_per_dimension,
)
from inference.evaluation.scores import (
    BITS,
    LEBESGUE_255,
    LEBESGUE_UNIT,
    NATS,
    NATS_SUM,
    SQUARED_ERROR,
)
from pyro_models import UsageError

SCORE = Score(
    quantity="log_likelihood",
    value=-90.0,
    standard_error=0.5,
    unit=NATS,
    kind="lower bound",
    data="mnist",
    split="test",
    preparation="grey",
    num_data=10_000,
    dimensions=784,
    measure=LEBESGUE_UNIT,
    num_particles=5,
    monte_carlo_error=0.1,
    seed=0,
)


def row(name, **fields):
    score = replace(SCORE, **fields)
    return Evaluation(name, {score.quantity: score})


def test_the_densities_of_the_copenhagen_table_are_converted_exactly():
    """PPCA was given per datum and the GMM summed over the test set, both on 0…255 pixels."""
    exact = {"kind": "exact", "num_particles": None, "monte_carlo_error": None}
    ppca = row("PPCA", value=-4329.66, measure=LEBESGUE_255, **exact)
    total = {"value": -1.067e7, "standard_error": 5e4, "unit": NATS_SUM}
    gmm = row("GMM", measure=LEBESGUE_255, **total, **exact)
    table = compare([ppca, gmm])
    assert len(table.columns) == 1
    first, second = (cells[0].score for cells in table.cells)
    assert first.value == pytest.approx(-4329.66 + 784 * math.log(255), rel=1e-14)
    assert first.value == pytest.approx(14.69, abs=0.005)
    assert second.value == pytest.approx(-1067.0 + 784 * math.log(255), rel=1e-14)
    assert second.standard_error == pytest.approx(5.0)
    assert {s.measure for s in (first, second)} == {LEBESGUE_UNIT}
    assert {s.unit for s in (first, second)} == {NATS}


def test_a_change_of_scale_is_the_change_of_variables():
    x = torch.rand(50, 3, dtype=torch.float64)
    loc, scale = torch.tensor([0.4, 0.3], dtype=torch.float64)
    small = torch.distributions.Normal(loc, scale)
    large = torch.distributions.Normal(255 * loc, 255 * scale)
    given = replace(
        SCORE,
        value=float(large.log_prob(255 * x).sum(1).mean()),
        dimensions=3,
        measure=LEBESGUE_255,
    )
    assert on_unit_pixels(given).value == pytest.approx(
        float(small.log_prob(x).sum(1).mean()), rel=1e-12
    )


def test_squared_errors_of_large_pixels_are_divided_by_255_squared():
    given = replace(
        SCORE,
        quantity="mse_mean",
        unit=SQUARED_ERROR,
        value=2601.0,
        standard_error=26.01,
        monte_carlo_error=None,
        num_particles=None,
        kind="estimate",
        measure=LEBESGUE_255,
    )
    converted = on_unit_pixels(given)
    assert converted.value == pytest.approx(0.04)
    assert converted.standard_error == pytest.approx(0.0004)
    assert converted.measure is None


def test_sums_become_means_with_all_their_errors():
    mean = from_sum(replace(SCORE, unit=NATS_SUM, value=-9e5, monte_carlo_error=1000.0))
    assert (mean.value, mean.standard_error, mean.monte_carlo_error) == (-90.0, 5e-5, 0.1)
    with pytest.raises(UsageError, match="not a sum"):
        from_sum(SCORE)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_a_uniform_density_costs_log2_of_the_levels(levels):
    uniform = replace(SCORE, value=0.0, preparation="dequantised (seed 0)")
    bits = to_bits_per_dimension(uniform, levels=levels)
    assert bits.value == math.log2(levels)
    assert bits.unit == BITS
    assert bits.kind == "upper bound"
    assert bits.quantity == "bits_per_dimension"
    assert bits.measure == f"counting on {levels} levels"
    assert bits.preparation == "grey"
    half = to_bits_per_dimension(replace(uniform, value=784 * math.log(2)), levels=levels)
    assert half.value == pytest.approx(math.log2(levels) - 1)
    assert half.standard_error == pytest.approx(0.5 / (784 * math.log(2)))
    assert half.monte_carlo_error == pytest.approx(0.1 / (784 * math.log(2)))


def test_bits_bound_the_probability_of_discrete_pixels():
    """One pixel of four levels: the bound of a piecewise-constant density is its cross-entropy."""
    probabilities = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64)
    density = 4 * probabilities  # on [0, 1], level k on [k/4, (k+1)/4)
    value = float((probabilities * density.log()).sum())
    score = replace(SCORE, value=value, dimensions=1, preparation="dequantised")
    assert to_bits_per_dimension(score, levels=4).value == pytest.approx(1.75)


@pytest.mark.parametrize("levels", [17, 256])
@pytest.mark.parametrize(
    ("kind", "of_bits"),
    [("exact", "exact"), ("lower bound", "upper bound"), ("estimate", "estimate")],
)
def test_a_probability_of_all_levels_becomes_bits_exactly(levels, kind, of_bits):
    counting = f"counting on {levels} levels"
    uniform = replace(SCORE, value=-784 * math.log(levels), measure=counting, kind=kind)
    bits = to_bits_per_dimension(uniform, levels=levels)
    assert bits.value == pytest.approx(math.log2(levels), rel=1e-14)
    assert (bits.kind, bits.measure, bits.preparation) == (of_bits, counting, "grey")
    assert bits.standard_error == pytest.approx(0.5 / (784 * math.log(2)))
    assert bits.monte_carlo_error == pytest.approx(0.1 / (784 * math.log(2)))


def test_bits_of_densities_and_of_probabilities_share_a_column():
    density = to_bits_per_dimension(
        replace(SCORE, preparation="dequantised (seed 0)", num_particles=None, kind="exact"),
        levels=17,
    )
    probability = to_bits_per_dimension(
        replace(SCORE, measure="counting on 17 levels", num_particles=20), levels=17
    )
    known = replace(probability, kind="exact", num_particles=None)
    rows = [Evaluation("x", {"bits_per_dimension": s}) for s in (density, probability, known)]
    table = compare(rows)
    assert len(table.columns) == 1
    assert "exact or upper bound L_20; counting on 17 levels" in table.columns[0].subtitle


@pytest.mark.parametrize(
    "fields",
    [
        {"preparation": "grey"},
        {"measure": "counting on 16 levels", "preparation": "grey"},
        {"measure": "counting on 256 levels", "preparation": "threshold"},
        {"measure": "counting on 256 levels", "unit": NATS_SUM},
        {"measure": None, "kind": "objective only"},
        {
            "measure": f"{LEBESGUE_UNIT}, pixels clamped to [ε, 1 − ε], ε = 0.001",
            "preparation": "dequantised",
        },
        {"measure": "counting on {0,1}", "preparation": "dequantised"},
        {"measure": LEBESGUE_255, "preparation": "dequantised"},
    ],
)
def test_what_is_neither_density_of_dequantised_nor_probability_of_all_levels_has_no_bits(fields):
    with pytest.raises(UsageError, match="dequantised pixels"):
        to_bits_per_dimension(replace(SCORE, **fields), levels=256)


@pytest.mark.parametrize("fields", [{"measure": LEBESGUE_UNIT}, {"measure": None, "unit": BITS}])
def test_what_is_not_on_large_pixels_is_not_converted(fields):
    with pytest.raises(UsageError, match="not Lebesgue on"):
        on_unit_pixels(replace(SCORE, **fields))


@pytest.mark.parametrize("unit", [NATS, NATS_SUM])
def test_nats_without_a_measure_are_an_objective_only(unit):
    with pytest.raises(UsageError, match="objective only"):
        replace(SCORE, measure=None, unit=unit)
    assert replace(SCORE, measure=None, unit=unit, kind="objective only").value == -90.0


def test_a_score_prints_its_value_error_unit_kind_and_particles():
    text = "log_likelihood -90.000 ± 0.500 nats per datum "
    assert str(SCORE) == text + "(lower bound, K = 5; Lebesgue on [0,1]; grey pixels)"
    alone = replace(SCORE, standard_error=math.nan, num_particles=None)
    assert (
        str(alone)
        == "log_likelihood -90.000 nats per datum (lower bound; Lebesgue on [0,1]; grey pixels)"
    )
