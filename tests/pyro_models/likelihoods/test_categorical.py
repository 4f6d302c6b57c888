"""The categorical: which bin a pixel is in, its probability, and what a bin stands for."""

import pytest
import torch

from pyro_models import UsageError, load_data
from pyro_models.data import prepare
from pyro_models.likelihoods import likelihood_named
from pyro_models.likelihoods.levels import level_of


@pytest.mark.parametrize("k", [2, 3, 16, 17, 255, 256, 1000, 1024])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_grey_level_j_of_k_is_bin_j_dequantised_or_not(k: int, dtype: torch.dtype) -> None:
    levels = torch.arange(k)
    grey = levels.to(dtype) / (k - 1)
    assert torch.equal(level_of(grey, k), levels)
    many = grey.expand(50, k)
    noisy = prepare(many, "dequantised", levels=k, generator=torch.Generator().manual_seed(0))
    assert float((level_of(noisy, k) != levels).double().mean()) < 1e-3  # rounding at an edge
    assert torch.equal(level_of((levels.to(dtype) + 0.5) / k, k), levels)


def test_eight_bit_pixels_and_bundled_digits_keep_their_levels() -> None:
    bytes_ = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(level_of(bytes_.float() / 255, 256), bytes_.long())
    digits = load_data("digits")
    sixteenths = (digits.split("train").x * 16).long()
    assert torch.equal(level_of(digits.split("train").x, 17), sixteenths)


def test_the_log_probability_is_the_log_softmax_at_the_bin() -> None:
    torch.manual_seed(0)
    likelihood = likelihood_named("categorical", (1, 2, 3), {"bins": 5}).double()
    outputs, x = 3 * torch.randn(4, 5, 1, 2, 3).double(), torch.rand(4, 1, 2, 3).double()
    bins = (x * 5).long()
    expected = -torch.nn.functional.cross_entropy(outputs, bins, reduction="none").sum((1, 2, 3))
    torch.testing.assert_close(likelihood(outputs).log_prob(x), expected)
    logits = torch.tensor([[-1e4], [1e4]])  # log(p · onehot + ε) would stop at log ε
    two = likelihood_named("categorical", (1,), {"bins": 2})
    assert float(two(logits).log_prob(torch.tensor([0.0]))) == -2e4


@pytest.mark.parametrize(
    ("options", "values"),
    [
        ({"bins": 4}, [0.125, 0.375, 0.625, 0.875]),
        ({"bins": 4, "values": "levels"}, [0, 1 / 3, 2 / 3, 1]),
        ({"bins": 2, "values": "midpoints"}, [0.25, 0.75]),
        ({}, [j / 255 for j in range(256)]),
        ({"values": "midpoints"}, [(j + 0.5) / 256 for j in range(256)]),
    ],
)
def test_a_bin_stands_for_its_level_or_its_middle(options, values) -> None:
    likelihood = likelihood_named("categorical", (1,), options)
    k = len(values)
    certain = 1e4 * torch.eye(k).unsqueeze(-1)
    expected = torch.tensor(values).unsqueeze(-1)
    torch.testing.assert_close(likelihood.mean(certain), expected)
    torch.testing.assert_close(likelihood(certain).sample(), expected)
    assert torch.equal(level_of(expected.squeeze(), k), torch.arange(k))


def test_mean_and_variance_are_sums_over_the_bins() -> None:
    likelihood = likelihood_named("categorical", (1,), {"bins": 3})
    outputs = torch.tensor([0.2, 0.3, 0.5]).log().unsqueeze(-1)
    pixel = likelihood.pixels(outputs)
    assert float(pixel.mean) == pytest.approx(0.2 / 6 + 0.3 / 2 + 0.5 * 5 / 6)
    expected = 0.2 / 36 + 0.3 / 4 + 0.5 * 25 / 36 - float(pixel.mean) ** 2
    assert float(pixel.variance) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["categorical", "logistic_mixture"])
def test_bits_are_of_the_datas_own_grey_levels(name: str) -> None:
    option = {"categorical": "bins", "logistic_mixture": "levels"}[name]
    likelihood = likelihood_named(name, (1,), {option: 17})
    assert likelihood.measure == "counting on 17 levels"
    assert likelihood.why_no_bits(preparation="grey", levels=17) == ""
    assert "17 levels are not of the data's 256" in likelihood.why_no_bits(
        preparation="grey", levels=256
    )
    assert "no known number" in likelihood.why_no_bits(preparation="grey", levels=None)
    assert "threshold pixels" in likelihood.why_no_bits(preparation="threshold", levels=17)


@pytest.mark.parametrize("values", ["levels", "midpoints"])
def test_a_mean_of_dequantised_pixels_is_brought_to_grey_once(values: str) -> None:
    """Levels are grey values already; midpoints are those of the dequantised pixel."""
    likelihood = likelihood_named("categorical", (1,), {"bins": 17, "values": values})
    certain = 1e4 * torch.eye(17).unsqueeze(-1)
    grey = likelihood.grey_mean(likelihood.mean(certain), preparation="dequantised", levels=17)
    torch.testing.assert_close(grey.squeeze(), torch.arange(17) / 16)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"bins": 1}, "bins must be a whole number from 2 to 1024; got 1"),
        ({"bins": 2000}, "bins must be a whole number from 2 to 1024; got 2000"),
        ({"bins": 2.5}, "bins must be int; got 2.5"),
        ({"values": "edges"}, "'levels' or 'midpoints'; got 'edges'"),
    ],
)
def test_options_it_cannot_have_are_one_line(options: dict[str, object], line: str) -> None:
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        likelihood_named("categorical", (1,), options)
