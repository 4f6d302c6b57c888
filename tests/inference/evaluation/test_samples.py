"""Scores of samples: distances against what is known of them, and what they find of a model."""

import math

import pytest
import torch
from torch import nn

from inference import compare, evaluate
from inference.evaluation import (
    CLASSIFIERS,
    QUANTITIES,
    coverage,
    density,
    evaluate_samples,
    frechet_distance,
    kernel_distance,
    register_classifier,
    sample_floors,
)
from inference.evaluation.samples import OF_SAMPLES
from pyro_models import CVAE, GMM, PPCA, VAE, Diffusion, Generator, UsageError, load_data
from pyro_models.data.identity import weights_checksum

DISTANCES = ["frechet", "kernel"]
_D = 8


def normal(n: int, seed: int, *, mean: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return mean + scale * torch.randn(n, _D, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", preparation="dequantised")


@pytest.fixture(scope="module")
def ppca(digits):
    return PPCA.maximum_likelihood(digits.prepared("train").x, latent_dim=10)


def test_the_frechet_distance_is_that_of_gaussians_in_closed_form() -> None:
    value, error = frechet_distance(normal(4000, 0), normal(4000, 1, mean=0.5, scale=2.0))
    exact = _D * (0.5**2 + (2 - 1) ** 2)
    assert abs(value - exact) < 4 * error < 0.2 * exact
    x = normal(300, 0)
    rotation = torch.linalg.qr(normal(_D, 3)).Q  # of the same sets, turned and moved: the same
    y = x @ torch.diag(torch.linspace(0.5, 2, _D, dtype=torch.float64)) + 1
    of_moments = (x.mean(0) - y.mean(0)).square().sum() + _bures(x.T.cov(), y.T.cov())
    for a, b in ((x, y), (y, x), (x @ rotation, y @ rotation)):
        assert frechet_distance(a, b)[0] == pytest.approx(float(of_moments), rel=1e-6)


def _bures(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """tr(A + B − 2 (A^½ B A^½)^½), by eigenvalues of symmetric matrices."""
    values, vectors = torch.linalg.eigh(a)
    root = vectors @ values.sqrt().diag() @ vectors.T
    return a.trace() + b.trace() - 2 * torch.linalg.eigvalsh(root @ b @ root).sqrt().sum()


def test_the_frechet_distance_is_biased_in_n_and_the_kernel_distance_is_not() -> None:
    several = [(normal(40, 2 * i), normal(40, 2 * i + 1)) for i in range(20)]
    kernels = [kernel_distance(*sets) for sets in several]
    values = torch.tensor([value for value, _ in kernels])
    assert abs(values.mean()) < 3 * values.std() / math.sqrt(20)
    assert (values < 0).any()
    errors = torch.tensor([error for _, error in kernels])
    assert 0.5 < errors.mean() / values.std() < 2
    assert sum(frechet_distance(*sets)[0] for sets in several) / 20 > 0.5
    assert frechet_distance(normal(2000, 0), normal(2000, 1))[0] < 0.05


def test_the_kernel_distance_is_the_unbiased_estimate_by_hand() -> None:
    x, y = normal(25, 0), normal(25, 1, mean=1.0)

    def k(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a @ b.T / _D + 1) ** 3

    off = 1 - torch.eye(25, dtype=torch.float64)
    by_hand = ((k(x, x) + k(y, y)) * off).sum() / (25 * 24) - 2 * k(x, y).mean()
    value, error = kernel_distance(x, y)
    assert value == pytest.approx(float(by_hand), rel=1e-6)
    assert value > 2 * error


def test_density_falls_with_outliers_and_coverage_with_modes_that_are_dropped() -> None:
    modes = 20.0 * torch.eye(_D, dtype=torch.float64)[:4]

    def of_modes(seed: int, *, count: int) -> torch.Tensor:
        return normal(400, seed) + modes[torch.arange(400) % count]

    real, like, two = of_modes(0, count=4), of_modes(1, count=4), of_modes(2, count=2)
    for found, exact in ((density(real, like), 1.0), (coverage(real, like), 1 - 2**-5)):
        assert abs(found[0] - exact) < 3 * found[1] < 0.3
    assert coverage(real, two)[0] < 0.55
    assert density(real, two)[0] > 0.8  # they are near data, if not everywhere
    far = torch.cat([like[:200], like[200:] + 100])
    assert density(real, far)[0] == pytest.approx(0.5, abs=0.1)
    outlier = torch.cat([real[:-1], real[-1:] + 500])  # its ball holds all, and counts once
    assert density(outlier, like + 100)[0] == pytest.approx(1 / 5)


def test_too_few_or_other_numbers_of_images_are_refused_in_a_line() -> None:
    for distance, n in ((frechet_distance, _D), (kernel_distance, 19), (density, 6), (coverage, 6)):
        with pytest.raises(UsageError, match=rf"needs at least {n + 1} images; there are {n}\Z"):
            distance(normal(n, 0), normal(n, 1))
        with pytest.raises(UsageError, match="as many samples as data"):
            distance(normal(30, 0), normal(31, 1))


def test_the_classifiers_that_come_along_are_those_that_were_trained(digits) -> None:
    test = digits.with_preparation("grey").prepared("test")
    classifier = CLASSIFIERS["digits"]()
    assert float((classifier.classify(test.x) == test.y).float().mean()) > 0.95
    checksums = {"digits": "05a081a6", "mnist": "8d52bc20", "fashion-mnist": "939800d1"}
    for name, checksum in checksums.items():
        made = CLASSIFIERS[name]()
        assert made.checksum == checksum == weights_checksum(made.body)[:8]
        assert not any(p.requires_grad for p in made.body.parameters())
        assert made.features(torch.rand(3, *made.data_shape)).shape == (3, 64)


def test_scores_say_what_they_are_of_and_come_by_name_alone(ppca, digits, monkeypatch) -> None:
    assert not set(evaluate(ppca, digits, num_particles=1, limit=10).scores) & set(OF_SAMPLES)
    with monkeypatch.context() as no_particles:
        no_particles.setattr("inference.evaluation.evaluation.log_weights", None)
        found = evaluate(ppca, digits, quantities=["coverage", "frechet_mean", *DISTANCES])
    assert list(found.scores) == ["coverage", "frechet_mean", "frechet", "kernel"]
    for score in found.scores.values():
        assert score.num_data == 360
        assert score.standard_error > 0
        assert score.measure == "features of the classifier digits (05a081a6), n = 360"
        assert (score.kind, score.preparation) == ("estimate", "grey")
    assert "features of the classifier" in found.to_text()
    again = evaluate(ppca, digits, quantities=DISTANCES)  # whatever else is asked for
    assert again.scores["frechet"] == found.scores["frechet"]
    bits = evaluate(ppca, digits, num_particles=1, limit=10, quantities=["bits_per_dimension"])
    assert list(bits.scores) == ["bits_per_dimension"]  # which follows from another
    with pytest.raises(UsageError, match="unknown quantity 'fid': choose from elbo"):
        evaluate(ppca, digits, quantities=["fid"])
    with pytest.raises(UsageError, match="unknown quantity 'gap'"):
        evaluate(ppca, digits, quantities=["gap"])


def test_floors_stand_beside_and_a_collapsed_generator_is_found(ppca, digits) -> None:
    names = ["frechet", "coverage"]
    training, linear, mixture = sample_floors(digits, quantities=names)
    gan = Generator(digits.data_shape, latent_dim=2, hidden=[8])
    collapsed = GMM(digits.data_shape, num_components=20)
    collapsed.start_from(digits.prepared("train").x)
    with torch.no_grad():
        collapsed.model.logits.copy_(torch.tensor([20.0] + 19 * [0.0]))
    rows = [training, linear, mixture, evaluate(collapsed, digits, quantities=names, name="one")]
    rows.append(evaluate(gan, digits, quantities=names))
    value = {row.name: {n: row.scores[n].value for n in names} for row in rows}
    assert value["floor: training data"]["coverage"] > 0.9
    assert value["floor: PPCA"]["coverage"] < 0.7
    assert value["one"]["coverage"] < 0.4
    assert value["generator"]["coverage"] < 0.1
    assert value["floor: training data"]["frechet"] < value["floor: PPCA"]["frechet"]
    assert value["floor: PPCA"]["frechet"] < min(value[n]["frechet"] for n in ("one", "generator"))
    assert [column.quantity for column in compare(rows).columns] == names  # all in one column


def test_other_counts_and_other_classifiers_share_no_column(ppca, digits) -> None:
    rows = [evaluate(ppca, digits, quantities=["coverage"], name=f"{n}", limit=n) for n in (99, 98)]
    table = compare(rows)
    assert len(table.columns) == 2
    assert "number of data: 99, not 98" in table.cells[0][1].reason
    try:
        kept = CLASSIFIERS.pop("digits")
        register_classifier("digits", digits.data_shape, nn.Flatten())
        other = evaluate(ppca, digits, quantities=["coverage"], limit=99)
    finally:
        CLASSIFIERS["digits"] = kept
    table = compare([rows[0], other])
    assert len(table.columns) == 2
    assert "measure: features of the classifier digits" in table.cells[0][1].reason


def test_whatever_has_no_such_score_says_why(digits, few) -> None:
    names = [*OF_SAMPLES, "frechet_mean"]
    assert set(names) <= set(QUANTITIES)
    grey = digits.with_preparation("grey")
    vae = VAE(digits.data_shape, hidden=[8], likelihood="cross_entropy")
    absent = evaluate(vae, grey, quantities=["frechet", "frechet_mean"]).absent
    assert absent == {
        "frechet": "the cross-entropy is an objective: there is no p(x) to draw x from"
        ": see the means"
    }
    too_few = evaluate(vae, few, quantities=["frechet_mean"])
    assert "needs at least 65 images; there are 48" in too_few.absent["frechet_mean"]
    assert "needs at least 65" in compare([too_few], quantities=["frechet_mean"]).to_text()
    small = load_data(torch.rand(30, 1, 4, 4))
    absent = evaluate(VAE((1, 4, 4), hidden=[8]), small, quantities=["kernel_mean"]).absent
    assert absent["kernel_mean"].startswith("no classifier of array-30x1x4x4")
    vectors = load_data(torch.rand(30, 4))
    pair = PPCA.maximum_likelihood(vectors.prepared("train").x, latent_dim=1)
    assert "vectors" in evaluate(pair, vectors, quantities=["density"]).absent["density"]


def test_pairs_of_every_kind_of_pixels_have_them(digits, few) -> None:
    names = ["density", "coverage"]
    binary = evaluate(
        VAE((1, 8, 8), hidden=[8], likelihood="bernoulli"),
        digits.with_preparation("threshold"),
        limit=30,
        quantities=names,
    )
    assert binary.scores["density"].preparation == "threshold"
    given = evaluate(
        CVAE((1, 8, 8), num_classes=10, hidden=[8], likelihood="gaussian"), few, quantities=names
    )
    assert given.scores["coverage"].given == "y"
    quick = Diffusion((1, 8, 8), num_steps=6, hidden=[4], levels=17).faster(3, eta=0.0)
    assert evaluate(quick, few, quantities=names).scores["coverage"].num_data == 48
    samples = evaluate_samples(few.split("train").x, few, quantities=[*names, "density_mean"])
    assert samples.scores["density_mean"].value == samples.scores["density"].value > 0.5
    with pytest.raises(UsageError, match="48 data are compared with as many samples; got 5"):
        evaluate_samples(torch.rand(5, 1, 8, 8), few)
    with pytest.raises(UsageError, match="unknown quantity of samples 'elbo'"):
        evaluate_samples(torch.rand(50, 1, 8, 8), few, quantities=["elbo"])
