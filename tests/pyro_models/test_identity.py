"""What data are, by content: what makes two the same, and which words say what differs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from pyro_models import VAE, ImageData, load_data
from pyro_models.data import Identity, Split, checksum, weights_checksum

X = np.random.default_rng(0).random((30, 4, 4))
Y = np.arange(30) % 3


def test_the_same_content_is_the_same_whatever_it_is_called_and_however_it_is_stored(tmp_path):
    np.save(tmp_path / "a.npy", X)
    np.save(tmp_path / "b.npy", np.asfortranarray(X.astype(">f4")))
    one = load_data(tmp_path / "a.npy").identity
    for other in (tmp_path / "b.npy", X, torch.as_tensor(X), X[::-1][::-1]):
        assert load_data(other).identity == one


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (lambda: load_data(X, labels=Y, seed=1), "split seed: 1, not 0"),
        (lambda: load_data(X * 0.5, labels=Y), "other pixels or values of the train split"),
        (lambda: load_data(X[:20], labels=Y[:20]), "number of data of the train split: 16, not 24"),
        (lambda: load_data(X, labels=2 - Y), "other labels of the train split"),
        (lambda: load_data(X), "other labels of the train split"),
        (lambda: load_data(X, labels=Y).with_labels(6), "labels kept: [6, 0], not none"),
        (
            lambda: load_data(X, labels=Y, preparation="threshold"),
            "preparation: threshold, not grey",
        ),
        (
            lambda: load_data(X, labels=Y, all_training=True),
            "splits: train, test, not train, validation, test",
        ),
        (lambda: replace(load_data(X, labels=Y), levels=7), "grey levels: 7, not none"),
    ],
    ids=["seed", "pixels", "fewer", "labels", "none", "kept", "preparation", "splits", "levels"],
)
def test_what_differs_is_named(other, why):
    one = load_data(X, labels=Y).identity
    assert other().identity.differs_from(one) == why
    assert one.differs_from(load_data(X, labels=Y).identity) is None


def test_masks_conditioned_pixels_weights_and_latents_are_told_apart():
    x = torch.rand(3, 4)
    seen = torch.tensor([True, True, False, False])
    one = Identity.of_batch(x, mask=seen, weights="w")
    assert Identity.of_batch(x, mask=torch.ones(4, dtype=torch.bool)) == Identity.of_batch(x)
    assert Identity.of_batch(x, y=torch.full((3,), -1)) == Identity.of_batch(x)
    assert Identity.of_batch(x, mask=~seen, weights="w").differs_from(one) == "mask: other pixels"
    whole = Identity.of_batch(x, weights="w").differs_from(one)
    assert whole == "mask: everything is seen, not some pixels"
    assert replace(one, weights="v").differs_from(one) == "other weights of the model"
    conditioned = [replace(one, conditioned=c) for c in (None, "a", "b")]
    assert "conditioned on: none" in conditioned[0].differs_from(conditioned[1])
    assert conditioned[2].differs_from(conditioned[1]) == "pixels conditioned on: other pixels"
    latents = {"weights": "w", "statistic": "mean of q(z | x)", "data": one.to_dict()}
    first, other = (
        replace(Identity.of_batch(torch.rand(3, 2)), latents={**latents, "weights": w})
        for w in ("w", "v")
    )
    assert first.differs_from(other) == "latents: made by other weights"
    assert first.differs_from(one) == "latents: only one of the two are latents of a pair"


def test_plain_values_come_back_and_nothing_is_an_unknown_identity():
    one = load_data(X, labels=Y).with_labels(6, seed=2).identity
    back = Identity.from_dict(json.loads(json.dumps(one.to_dict())))
    assert back is not None
    assert back.differs_from(one) is None
    assert back.checksum == one.checksum != load_data(X).identity.checksum
    assert Identity.from_dict(None) is None
    assert Identity.from_dict({}) is None


def test_a_tensor_that_was_changed_in_place_has_another_identity():
    x = torch.rand(9, 3)
    data = ImageData("mine", {"train": Split(x), "test": Split(x[:2].clone())})
    before = data.identity
    x[0, 0] = 5.0
    assert data.identity.differs_from(before) == "other pixels or values of the train split"


def test_only_the_data_that_are_scored_count():
    data = load_data(X, labels=Y)
    other = replace(data, splits={**data.splits, "train": data.split("validation")})
    assert data.identity_of("test") == other.identity_of("test")
    assert data.identity_of("test", limit=2) != data.identity_of("test")
    relabelled = load_data(X, labels=2 - Y)
    assert data.identity_of("test").differs_from(relabelled.identity_of("test")) is None
    labelled = [d.identity_of("test", labels=True) for d in (data, relabelled)]
    assert labelled[0].differs_from(labelled[1]) == "other labels of the test split"


def test_a_checksum_is_of_shape_and_values_alone():
    x = torch.tensor([[0.5, -0.0], [1.0, 3.0]])
    assert checksum(x) == checksum(x.double()) == checksum(x.T.contiguous().T)
    assert checksum(x) == checksum(x.bfloat16()) == checksum(x.abs())
    assert len({checksum(x), checksum(x.flatten()), checksum(x + 1), checksum(x.T)}) == 4
    fine = torch.tensor([0.1], dtype=torch.float64)
    assert checksum(fine) != checksum(fine.float())
    assert checksum(torch.tensor([1, 0])) == checksum(torch.tensor([1, 0], dtype=torch.uint8))
    assert checksum(torch.tensor([1, 0])) != checksum(torch.tensor([True, False]))
    assert checksum(torch.zeros(0, 3)) != checksum(torch.zeros(0, 2))


def test_weights_are_of_parameters_and_options():
    torch.manual_seed(0)
    one, other = (VAE((1, 4, 4), latent_dim=2, hidden=[3]) for _ in range(2))
    assert weights_checksum(one) != weights_checksum(other)
    other.load_state_dict(one.state_dict())
    assert weights_checksum(one) == weights_checksum(other)
    assert weights_checksum(one, config={"scale": 1}) != weights_checksum(one, config={"scale": 2})
