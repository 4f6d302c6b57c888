"""The Bernoulli of binary pixels, and the cross-entropy of grey ones."""

import pytest
import torch
from torch.nn import functional as F

from pyro_models.likelihoods import likelihood_named

SHAPE = (1, 3, 4)


def test_bernoulli_is_minus_the_binary_cross_entropy() -> None:
    logits, x = torch.randn(5, *SHAPE).double(), torch.rand(5, *SHAPE).double()
    ce = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum((1, 2, 3))
    ours = likelihood_named("cross_entropy", SHAPE)(logits.unsqueeze(1)).log_prob(x)
    torch.testing.assert_close(ours, ce)
    binary = likelihood_named("bernoulli", SHAPE)(logits.unsqueeze(1)).log_prob(x.round())
    expected = (x.round() * logits).sum((1, 2, 3)) - F.softplus(logits).sum((1, 2, 3))
    torch.testing.assert_close(binary, expected)


def test_bernoulli_sums_to_one_over_all_binary_images() -> None:
    likelihood = likelihood_named("bernoulli", (3,))
    images = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    outputs = torch.randn(1, 3)
    total = likelihood(outputs.expand(8, 1, 3)).log_prob(images).logsumexp(0)
    torch.testing.assert_close(total, torch.zeros(()), atol=1e-6, rtol=0)


@pytest.mark.parametrize("preparation", ["threshold", "static", "dynamic", "grey"])
def test_neither_has_bits_of_grey_pixels(preparation: str) -> None:
    asked = {"preparation": preparation, "levels": 256}
    assert "binarised" in likelihood_named("bernoulli", SHAPE).why_no_bits(**asked)
    cross_entropy = likelihood_named("cross_entropy", SHAPE)
    assert cross_entropy.why_no_bits(**asked) == cross_entropy.no_probability
    assert "no p(x)" in cross_entropy.no_probability
