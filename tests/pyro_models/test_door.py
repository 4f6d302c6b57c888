"""What a pair itself is asked about goes through the same door as what `inference` is given."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from inference import compare, evidence, fit, infer, latent_means, particles, reconstruct
from pyro_models import (
    CVAE,
    GMM,
    PPCA,
    VAE,
    BernoulliMixture,
    ImageData,
    SemiSupervisedVAE,
    UsageError,
    load_data,
)
from pyro_models.data import Observed, Split
from pyro_models.data.masks import seen_pixels

SHAPE = (1, 2, 4)
X = torch.rand(30, *SHAPE, generator=torch.Generator().manual_seed(0))
BITS = (X > 0.5).float()
LEFT = torch.tensor([True, True, False, False]).expand(2, 4)


def exact_pair(name: str) -> Any:
    if name == "ppca":
        return PPCA.maximum_likelihood(X, latent_dim=2)
    if name == "bernoulli mixture":
        return BernoulliMixture.maximum_likelihood(BITS, num_components=3)
    torch.manual_seed(0)
    gmm = GMM(SHAPE, num_components=3)
    gmm.start_from(X)
    return gmm


def asked(pair: Any, x: Any, mask: Any = LEFT) -> list[Any]:
    """All that a pair says exactly of data."""
    found = [pair.exact_log_prob(x), pair.exact_log_prob(x, mask), pair.exact_posterior(x, mask)]
    found += [pair.conditional_mean(x, mask), pair.conditional_sample(x, mask, n=2)]
    return found


REFUSED = {
    "one datum": lambda x: x[0],
    "a channel too many": lambda x: torch.cat([x, x], 1),
    "no channel": lambda x: x[:, 0],
    "flat": lambda x: x.flatten(1),
    "none": lambda x: x[:0],
    "0…255": lambda x: (255 * x).long() + 2,
    "NaN": lambda x: x.where(x < x.max(), torch.nan),
    "infinite": lambda x: x.where(x < x.max(), torch.inf),
    "complex": lambda x: x.to(torch.complex64),
    "sparse": lambda x: x.to_sparse(),
    "a list": lambda x: x.tolist(),
    "a word": lambda x: "digits",
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("name", ["ppca", "gmm", "bernoulli mixture"])
def test_exact_answers_are_of_data_that_the_pair_can_have(name: str, kind: str) -> None:
    pair = exact_pair(name)
    x = REFUSED[kind](BITS)
    for question in (
        lambda: pair.exact_log_prob(x),
        lambda: pair.exact_posterior(x),
        lambda: pair.conditional_mean(x, LEFT),
        lambda: pair.conditional_sample(x, LEFT, n=2),
        lambda: particles(pair, None, x, num_particles=2),
    ):
        with pytest.raises(UsageError) as said:
            question()
        assert "\n" not in str(said.value)


def test_grey_pixels_have_no_exact_probability_under_a_mixture_of_bernoullis() -> None:
    mixture = exact_pair("bernoulli mixture")
    for x in (X, 255 * BITS):
        with pytest.raises(UsageError, match="pixels that are 0 or 1"):
            mixture.exact_log_prob(x)


@pytest.mark.parametrize("name", ["ppca", "gmm", "bernoulli mixture"])
def test_exact_answers_do_not_hang_on_the_kind_of_array(name: str) -> None:
    pair = exact_pair(name)
    wanted = asked(pair, BITS)
    for x in (BITS.double(), BITS.half(), BITS.bool(), BITS.to(torch.uint8), BITS.numpy()):
        for mask in (LEFT.float(), LEFT.numpy(), "left"):
            found = asked(pair, x, mask)
            for i in (0, 1, 3):
                torch.testing.assert_close(found[i], wanted[i])
                assert found[i].dtype == torch.float32


@pytest.mark.parametrize("name", ["ppca", "gmm", "bernoulli mixture"])
def test_where_nothing_is_seen_the_exact_answer_is_that_of_nothing(name: str) -> None:
    pair = exact_pair(name)
    nothing = torch.zeros(2, 4, dtype=torch.bool)
    log_prob = pair.exact_log_prob(BITS, nothing)
    torch.testing.assert_close(log_prob, torch.zeros(30), atol=1e-5, rtol=0)


def test_a_gradient_flows_back_to_the_data_of_an_exact_answer() -> None:
    x = X.clone().requires_grad_()
    exact_pair("ppca").exact_log_prob(x).sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().max()) > 0


def test_what_is_unseen_decides_neither_type_nor_range() -> None:
    ppca = exact_pair("ppca")
    wanted = evidence(ppca, BITS, mask=LEFT).value
    for junk in (
        BITS.double().masked_fill(~LEFT, 1e300),
        BITS.long().masked_fill(~LEFT, 255),
        BITS.double().masked_fill(~LEFT, torch.nan),
    ):
        torch.testing.assert_close(evidence(ppca, junk, mask=LEFT).value, wanted)
        torch.testing.assert_close(ppca.exact_log_prob(junk, LEFT), wanted)


def test_whole_numbers_are_not_rounded_on_the_way() -> None:
    stamps = (torch.arange(40) % 7)[:, None] + 1_700_000_000
    stamps = torch.cat([stamps, stamps.flip(0)], 1)
    ppca = PPCA.maximum_likelihood(stamps, latent_dim=1)
    near = stamps - 1_700_000_000
    wanted = PPCA.maximum_likelihood(near.double(), latent_dim=1).exact_log_prob(near.double())
    for x in (stamps, stamps.numpy(), stamps.double()):
        torch.testing.assert_close(ppca.exact_log_prob(x), wanted, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(evidence(ppca, x).value, wanted, rtol=1e-6, atol=1e-6)
    with pytest.raises(UsageError, match="float32 cannot tell"):
        evidence(PPCA((2,), latent_dim=1), stamps)


@pytest.mark.parametrize("as_array", [torch.Tensor.numpy, torch.Tensor.tolist, torch.clone])
def test_a_mask_that_fits_in_two_ways_is_refused_whatever_holds_it(as_array: Any) -> None:
    mask = as_array(torch.ones(3, 2, 4, dtype=torch.bool))
    torch.manual_seed(0)
    ppca = PPCA((3, 2, 4), latent_dim=2)
    with pytest.raises(UsageError, match="one per datum or one per channel"):
        evidence(ppca, torch.rand(3, 3, 2, 4), mask=mask)
    with pytest.raises(UsageError, match="one per datum or one per channel"):
        seen_pixels(mask, (3, 2, 4), num_data=3)
    assert seen_pixels(mask, (3, 2, 4), num_data=2).shape == (1, 1, 2, 4)


@pytest.mark.parametrize("kind", [k for k in REFUSED if k not in ("flat", "one datum")])
def test_pairs_learn_in_closed_form_from_finite_numbers_alone(kind: str) -> None:
    x = REFUSED[kind](BITS)
    starts = [PPCA(SHAPE), GMM(SHAPE, num_components=2), BernoulliMixture(SHAPE, num_components=2)]
    starts.append(VAE(SHAPE, hidden=[4], likelihood="gaussian", output_bias="data"))
    calls: list[Any] = [pair.start_from for pair in starts]
    if kind not in ("a channel too many", "no channel"):
        calls.append(lambda x: PPCA.maximum_likelihood(x, latent_dim=2))
        calls.append(lambda x: BernoulliMixture.maximum_likelihood(x, num_components=2))
    for call in calls:
        with pytest.raises(UsageError) as said:
            call(x)
        assert "\n" not in str(said.value)


def test_pairs_learn_from_arrays_and_whole_numbers() -> None:
    wanted = PPCA.maximum_likelihood(BITS, latent_dim=2).exact_log_prob(BITS)
    for x in (BITS.numpy(), BITS.long(), BITS.bool(), BITS.to(torch.uint8).numpy()):
        found = PPCA.maximum_likelihood(x, latent_dim=2).exact_log_prob(x)
        torch.testing.assert_close(found, wanted)
        mixture = BernoulliMixture.maximum_likelihood(x, num_components=3)
        same = BernoulliMixture.maximum_likelihood(BITS, num_components=3)
        torch.testing.assert_close(mixture.exact_log_prob(x), same.exact_log_prob(BITS))


def test_models_stretch_no_data_and_compute_in_no_whole_numbers() -> None:
    torch.manual_seed(0)
    for pair in (PPCA(SHAPE), GMM(SHAPE), VAE(SHAPE, hidden=[4], likelihood="gaussian")):
        for x in (X[:, 0], torch.cat([X, X], 1), X[0]):
            with pytest.raises(UsageError, match="no data of shape"):
                pair.model(x)
        for whole in ((255 * X).to(torch.uint8), BITS.bool()):
            with pytest.raises(UsageError, match="numbers with a point"):
                pair.model(whole)
        with pytest.raises(UsageError, match="takes tensors"):
            pair.model(X.numpy())


@pytest.mark.parametrize(
    "latents",
    [
        {},
        torch.zeros(3, 2),
        {"z": torch.zeros(3, 5)},
        {"z": torch.zeros(())},
        {"z": "zeros"},
        {"z": torch.zeros(3, 2).to_sparse()},
    ],
)
def test_latents_that_do_not_fit_are_refused(latents: Any) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"latent_dim": 2, "hidden": [4]}
    cvae, m2 = (c(SHAPE, num_classes=3, **options) for c in (CVAE, SemiSupervisedVAE))
    for pair, y in ((PPCA(SHAPE), None), (VAE(SHAPE, **options), None), (cvae, 1), (m2, 1)):
        labels = None if y is None else torch.tensor([y] * 3)
        with pytest.raises(UsageError, match="latents"):
            pair.decode(latents, y=labels)
        assert pair.decode({"z": np.zeros((3, 2))}, y=labels)["x"].mean.shape == (3, *SHAPE)


def test_a_component_that_is_not_there_is_not_taken_for_the_last() -> None:
    gmm = exact_pair("gmm")
    for k in (torch.tensor([-1]), torch.tensor([3]), torch.tensor([1.0]), torch.tensor([True])):
        with pytest.raises(UsageError, match="whole numbers in 0…2"):
            gmm.decode({"k": k})
    assert gmm.decode({"k": [0, 2]})["x"].mean.shape == (2, *SHAPE)


def test_labels_that_are_text_or_of_16_bits() -> None:
    torch.manual_seed(0)
    cvae = CVAE(SHAPE, num_classes=3, latent_dim=2, hidden=[4], likelihood="bernoulli")
    y = np.arange(30) % 3
    wanted = evidence(cvae, BITS, y=y).value
    torch.testing.assert_close(evidence(cvae, BITS, y=y.astype(np.uint16)).value, wanted)
    for text in ("cat", np.array(["a"] * 30), [[0, 1], [2]]):
        with pytest.raises(UsageError, match="labels are integers"):
            evidence(cvae, BITS, y=text)


@pytest.mark.parametrize("x", [X.numpy(), X.tolist(), None, X.to(torch.complex64), X.to_sparse()])
def test_a_split_by_hand_is_of_a_tensor_of_real_numbers(x: Any) -> None:
    with pytest.raises(UsageError, match=r"x of a split|a split is of a tensor"):
        Split(x)


def test_only_grey_pixels_are_prepared() -> None:
    for x in (255 * X, (255 * X).to(torch.uint8), X - 1):
        data = ImageData("mine", {"train": Split(x), "test": Split(x)}, preparation="threshold")
        with pytest.raises(UsageError, match="only grey pixels"):
            data.prepared("train")


def test_splits_by_hand_are_of_one_shape_and_have_training_data() -> None:
    with pytest.raises(UsageError, match="needs a split train"):
        ImageData("mine", {"test": Split(X)})
    with pytest.raises(UsageError, match="do not go together"):
        ImageData("mine", {"train": Split(X), "test": Split(X[..., :3])})
    assert load_data("digits").data_shape == (1, 8, 8)


@pytest.mark.parametrize("low", [-1, -2, 3])
def test_labels_that_the_pair_does_not_have_are_refused_before_anything_is_computed(
    low: int,
) -> None:
    torch.manual_seed(0)
    needs = CVAE(SHAPE, num_classes=3, hidden=[4], likelihood="bernoulli")
    infers = SemiSupervisedVAE(SHAPE, num_classes=3, latent_dim=2, hidden=[4])
    y = torch.tensor([0, low])
    line = rf"\A\w+ (needs every label|takes labels) in 0…2[^;]*; got values from .*{low}.*\Z"
    asked = {
        "evidence": lambda pair: evidence(pair, BITS[:2], y=y, method="importance"),
        "chains": lambda pair: evidence(pair, BITS[:2], y=y, method="annealing", num_chains=2),
        "infer": lambda pair: infer(pair, BITS[:2], y=y, guide="normal", max_steps=2),
        "particles": lambda pair: particles(pair, None, BITS[:2], y=y, num_particles=2),
        "reconstruct": lambda pair: reconstruct(pair, BITS[:2], y=y),
        "latent_means": lambda pair: latent_means(pair, BITS[:2], y=y),
    }
    for pair in (needs,) if low == -1 else (needs, infers):
        for call in asked.values():
            with pytest.raises(UsageError, match=line):
                call(pair)


def test_training_sees_something_of_every_datum_however_the_mask_comes() -> None:
    vae = VAE(SHAPE, hidden=[4], latent_dim=2, likelihood="bernoulli")
    nothing = torch.ones(30, *SHAPE)
    nothing[4] = 0
    for data, mask in ((BITS, nothing), (Observed(BITS, mask=nothing), None)):
        with pytest.raises(UsageError, match=r"^the mask sees nothing of datum 4: .*\Z"):
            fit(vae, data, mask=mask, epochs=1, progress=False)


@pytest.mark.parametrize("source", [None, 3, [[0.0, 1.0]]])
def test_what_has_no_shape_is_not_said_to_have_one(source: Any) -> None:
    with pytest.raises(UsageError, match=r"^x is a tensor or an array, a data frame.*\Z"):
        fit(VAE(SHAPE, hidden=[4]), source, progress=False)


class Failing(Dataset[Any]):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> Any:
        raise KeyError("no such picture")


def test_a_data_set_that_fails_is_one_line() -> None:
    ppca = exact_pair("ppca")
    line = r"^the items of the \w+ cannot be computed \(KeyError: 'no such picture'\)\Z"
    for source in (Failing(), DataLoader(Failing(), batch_size=2)):
        with pytest.raises(UsageError, match=line):
            evidence(ppca, source)


def test_what_was_not_evaluated_is_not_compared() -> None:
    ppca = exact_pair("ppca")
    for evaluations in ([ppca], [X], ppca, "run", None):
        with pytest.raises(UsageError, match=r"^compare takes a list of what evaluate returns"):
            compare(evaluations)  # type: ignore[arg-type]
