"""Expectation maximisation of Bernoulli products: its fixed point, its ascent, known mixtures."""

import math

import pyro
import pytest
import torch
from torch import Tensor

from pyro_models import BernoulliMixture, UsageError, load_data


@pytest.fixture(scope="module")
def digits() -> Tensor:
    return load_data("digits", preparation="threshold").prepared("train").x.double()


def test_one_component_is_the_smoothed_mean_image(digits: Tensor) -> None:
    mixture = BernoulliMixture.maximum_likelihood(digits, num_components=1, smoothing=0.5)
    p = (digits.sum(0) + 0.5) / (len(digits) + 1)
    torch.testing.assert_close(
        mixture.decode({"k": torch.tensor(0)})["x"].mean.detach(), p, rtol=1e-9, atol=1e-9
    )
    expected = (digits * p.log() + (1 - digits) * (1 - p).log()).flatten(1).sum(1)
    torch.testing.assert_close(mixture.exact_log_prob(digits).detach(), expected)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_iteration_raises_the_penalised_likelihood(digits: Tensor, seed: int) -> None:
    smoothing, found = 0.5, []
    for iterations in (1, 2, 3, 6, 12):
        mixture = BernoulliMixture.maximum_likelihood(
            digits, num_components=8, iterations=iterations, smoothing=smoothing, seed=seed
        )
        with torch.no_grad():
            logits = mixture.model.pixel_logits
            penalty = torch.nn.functional.logsigmoid(torch.cat([logits, -logits])).sum()
            penalty = penalty + mixture.model.logits.log_softmax(-1).sum()
            found.append(float(mixture.exact_log_prob(digits).sum() + smoothing * penalty))
    assert found == sorted(found)
    assert found[-1] > found[0] + 1


def test_its_end_is_a_fixed_point_of_bishops_equations(digits: Tensor) -> None:
    a = 0.2
    mixture = BernoulliMixture.maximum_likelihood(
        digits, num_components=5, iterations=500, tolerance=0.0, smoothing=a
    )
    with torch.no_grad():
        r = mixture.responsibilities(digits)
        counts = r.sum(0)
        mu = (r.T @ digits.flatten(1) + a) / (counts[:, None] + 2 * a)
        pi = (counts + a) / (len(digits) + 5 * a)
        torch.testing.assert_close(mixture.model.pixel_logits.sigmoid(), mu, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(mixture.model.logits.softmax(-1), pi, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_known_mixture_is_found_again(seed: int) -> None:
    pyro.set_rng_seed(seed)
    true = BernoulliMixture((12,), num_components=2).double()
    with torch.no_grad():
        true.model.logits.copy_(torch.tensor([0.7, 0.3]).log())
        true.model.pixel_logits.copy_(torch.tensor([1.5, -1.5])[:, None].expand(2, 12))
        x = true.model(n=6000)
    mixture = BernoulliMixture.maximum_likelihood(x, num_components=2, seed=seed, smoothing=1e-3)
    with torch.no_grad():
        order = mixture.model.logits.argsort(descending=True)
        pi = mixture.model.logits.softmax(-1)[order]
        mu = mixture.model.pixel_logits.sigmoid()[order]
    p = 1 / (1 + math.exp(-1.5))
    assert float(pi[0]) == pytest.approx(0.7, abs=4.5 * math.sqrt(0.21 / 6000) + 0.01)
    error = 5 * math.sqrt(p * (1 - p) / (0.3 * 6000))
    torch.testing.assert_close(
        mu, torch.tensor([[p], [1 - p]]).double().expand(2, 12), rtol=0, atol=error
    )


def test_chunks_and_float32_give_the_same_mixture(digits: Tensor) -> None:
    whole = BernoulliMixture.maximum_likelihood(digits, num_components=4, iterations=5)
    parts = BernoulliMixture.maximum_likelihood(digits, num_components=4, iterations=5, chunk=100)
    single = BernoulliMixture.maximum_likelihood(digits.float(), num_components=4, iterations=5)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(
            single.state_dict()[name].to(value.dtype), value, rtol=1e-2, atol=1e-2
        )


def test_under_svi_it_learns_what_em_does(digits: Tensor) -> None:
    """From one start, by gradients: as good on the data, within a few tenths of a nat."""
    digits = digits[:400]
    em = BernoulliMixture.maximum_likelihood(digits, num_components=5, smoothing=1e-2)
    pair = BernoulliMixture(digits.shape[1:], num_components=5).double()
    assert not pair.started
    assert pair.start_from(digits) == "random data points"
    assert pair.started
    svi = pyro.infer.SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 0.1}), pair.elbo())
    for _ in range(150):
        svi.step(digits)
    with torch.no_grad():
        gap = em.exact_log_prob(digits).mean() - pair.exact_log_prob(digits).mean()
    assert abs(float(gap)) < 0.5


@pytest.mark.parametrize(
    ("x", "options", "line"),
    [
        (torch.full((10, 4), 0.5), {}, "pixels that are 0 or 1"),
        (torch.ones(3, 4), {"num_components": 4}, "4 components need at least as many data; got 3"),
        (torch.ones(5, 4), {"num_components": 0}, "at least one component; got 0"),
        (torch.ones(5, 4), {"smoothing": 0.0}, "smoothing > 0"),
        (torch.ones(5, 4), {"iterations": 0}, "iterations ≥ 1"),
    ],
    ids=["grey", "few", "none", "smoothing", "iterations"],
)
def test_what_cannot_be_learned_is_one_line(x: Tensor, options: dict, line: str) -> None:
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        BernoulliMixture.maximum_likelihood(x, **{"num_components": 2, **options})
