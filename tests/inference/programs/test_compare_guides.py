"""``compare_guides`` of any Pyro model, against closed forms and public reference posteriors."""

import pyro.distributions as dist
import pytest
import torch

from inference import compare_guides, infer
from inference.evaluation.program_moments import Departures, moments
from inference.evaluation.program_table import Number, ProgramGuideScores
from inference.evaluation.program_words import sentence
from inference.figures import guide_marginals
from pyro_models import UsageError
from tests.inference.programs.conftest import regression
from tests.inference.programs.models import REFERENCES, SCHOOLS, schools


def failing(X, y):
    raise RuntimeError("no guide\ntoday")


@pytest.fixture(scope="module")
def compared(linear):
    torch.manual_seed(0)
    exact = dist.MultivariateNormal(linear.mean, linear.covariance).sample((20_000,)).float()
    guides = ["normal", "full_covariance", "point", failing]
    return compare_guides(
        *(regression, linear.X, linear.y),
        guides=guides,
        reference={"beta": exact[:, :3], "intercept": exact[:, 3]},
        infer_options={"max_steps": 400},
        evidence_options={"num_temperatures": 40, "num_chains": 32},
    )


def test_full_covariance_is_exact_and_mean_field_as_narrow_as_theory_says(compared, linear) -> None:
    precision = linear.covariance.inverse()
    gap = 0.5 * float(linear.covariance.logdet() + precision.diagonal().log().sum())
    full, normal = compared["full_covariance"], compared["normal"]
    assert abs(full.value("elbo") - linear.log_evidence) < 0.01
    found = normal.numbers["kl"]
    assert abs(found.value - gap) < 4 * found.error + 0.03
    assert found.kind == "lower bound"
    ratio = (precision.diagonal().rsqrt() / linear.covariance.diagonal().sqrt()) - 1
    off = normal.departures
    for site, wanted in (("beta", ratio[:3]), ("intercept", ratio[3:])):
        assert bool(((off.sd[site] - wanted).abs() < 0.06).all())
        assert bool((full.departures.sd[site].abs() < 0.06).all())
    value, error = compared.evidence.value[0], compared.evidence.standard_error[0]
    assert abs(float(value) - linear.log_evidence) < 4 * float(error) + 0.01


def test_a_row_says_what_is_missing_and_words_stand_below(compared) -> None:
    assert "no guide today" in compared["failing"].failed
    text = str(compared)
    assert "failing: failed: " in text
    assert "full_covariance: means and standard deviations right" in text
    assert "point: means right, no spread in" in text
    assert "no density" in text
    assert compared.to_csv().count("\n") == 1 + 4 * 12
    figure = guide_marginals(compared, most=2)
    figure.draw_without_rendering()
    assert len(figure.axes) == 2


def test_annealing_brackets_log_p_and_chains_are_described(linear) -> None:
    nuts = {"class_path": "nuts", "init_args": {"num_samples": 60, "num_chains": 8, "warmup": 60}}
    found = compare_guides(
        *(regression, linear.X, linear.y),
        guides=[nuts],
        evidence_options={"num_temperatures": 40, "num_chains": 32},
    )
    row = found["nuts"]
    assert row.is_reference
    assert row.value("divergences") == 0
    assert 0.2 < row.value("ess_per_draw") < 3
    lower, error = float(found.evidence.value[0]), float(found.evidence.standard_error[0])
    assert lower - 4 * error < linear.log_evidence < found.upper.value + 4 * found.upper.error
    assert found.upper.value - lower < 0.5


@pytest.mark.parametrize("centred", [True, False])
def test_the_funnel_is_found_out(centred) -> None:
    counts = {"num_samples": 15, "num_chains": 64, "warmup": 60, "max_depth": 5}
    found = compare_guides(
        schools,
        **SCHOOLS,
        centred=centred,
        guides=["normal", {"class_path": "nuts", "init_args": counts}],
        log_evidence=-31.3,
        infer_options={"max_steps": 300},
    )
    k_hat, share = found["normal"].value("k_hat"), found["nuts"].value("divergences") / 960
    if centred:
        assert share > 0.01
        assert k_hat > 0.7
        assert "write the model non-centred" in found.words[1]
        assert "do not use it as an importance proposal" in found.words[0]
        assert "is doubtful itself" in str(found)
    else:
        assert share < 0.005
        assert k_hat < 0.7
        assert "non-centred" not in found.words[1]


@pytest.mark.parametrize("name", ["kidiq", "earnings"])
def test_nuts_is_within_its_errors_of_the_reference(name) -> None:
    model, args, kwargs, of, reference = REFERENCES[name]
    counts = {"num_samples": 60, "num_chains": 16, "warmup": 80}
    q = infer(model, *args, guide="nuts", guide_options=counts, **kwargs)
    for site, values in of(q.draws).items():
        if site not in reference:
            continue
        mean, sd, mean_error, _ = reference[site]
        own = float(values.reshape(60, 16).mean(0).std()) / 4
        assert own < 0.15 * sd, site
        assert abs(float(values.mean()) - mean) < 3 * (mean_error**2 + own**2) ** 0.5, site
        assert abs(float(values.std()) / sd - 1) < 0.15, site


def row(name="q", mean=0.0, sd=0.0, **numbers):
    errors = {"tau": torch.tensor(0.01)}
    off = Departures({"tau": torch.tensor(mean)}, errors, {"tau": torch.tensor(sd)}, errors)
    found = {n: Number(v, where="tau") for n, v in numbers.items()}
    return ProgramGuideScores(name, found, departures=off, num_draws=4000, num_chains=4)


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (
            row("full_covariance", sd=-0.51, k_hat=0.9),
            "full_covariance: means right, standard deviations of tau too small by half; k-hat "
            "0.9: do not use it as an importance proposal.",
        ),
        (row(mean=0.4, k_hat=0.6), "mean of tau off by 0.4 standard deviations, standard dev"),
        (row(sd=0.3, k_hat=0.2), "of tau too large by 30%; k-hat 0.2: a good importance proposal"),
        (
            row(divergences=31.0, r_hat=1.003, chain_ess=900.0),
            "31 divergences of 4,000: the geometry is hard, write the model non-centred",
        ),
        (row(divergences=0.0, r_hat=1.2, chain_ess=20.0), "do not agree (R-hat 1.20 at tau)"),
    ],
)
def test_words_say_what_the_numbers_say(scores, words) -> None:
    assert words in sentence(scores)


def test_moments_are_worth_what_their_draws_are() -> None:
    draws = {"z": torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))}
    found, fewer = moments(draws), moments(draws, size=10.0)
    torch.testing.assert_close(found.mean_error["z"], found.sd["z"] / 1000**0.5)
    torch.testing.assert_close(fewer.mean_error["z"], found.sd["z"] / 10**0.5)
    assert bool(((found.sd_error["z"] * 2000**0.5 / found.sd["z"] - 1).abs() < 0.15).all())


def test_mistakes_are_said_in_a_line(linear) -> None:
    given = (regression, linear.X, linear.y)
    with pytest.raises(UsageError, match="two guides are named 'normal'"):
        compare_guides(*given, guides=["normal", "normal"])
    with pytest.raises(UsageError, match="reference draws of the latent intercept are missing"):
        compare_guides(*given, guides=["normal"], reference={"beta": torch.zeros(5, 3)})
    with pytest.raises(UsageError, match="nrmal"):
        compare_guides(*given, guides=["nrmal"])
