"""Accuracy against counting; what is given to a pair that infers labels, and what is said of it."""

import math

import pytest
import torch

from inference.evaluation import accuracy, compare, evaluate, log_weights
from inference.posterior import latent_means, reconstruct
from pyro_models import CVAE, VAE, ImageData, SemiSupervisedVAE, UsageError
from pyro_models.data import Split


def m2(seed=0):
    torch.manual_seed(seed)
    pair = SemiSupervisedVAE((1, 8, 8), num_classes=10, latent_dim=2, hidden=[8])
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return pair


def binary(few):
    return few.with_preparation("threshold")


def test_accuracy_is_a_count_with_its_binomial_error(few):
    pair, data = m2(), binary(few)
    split = data.prepared("test")
    share = float((pair.classify(split.x).argmax(-1) == split.y).double().mean())
    score = accuracy(pair, data, chunk=7)
    assert score.value == share
    assert score.standard_error == pytest.approx(math.sqrt(share * (1 - share) / 48))
    assert (score.num_data, score.unit, score.split) == (48, "fraction of labels", "test")
    assert accuracy(pair, data, limit=10).num_data == 10


def test_data_without_a_label_are_left_out(few):
    data = binary(few).with_labels(20)
    assert accuracy(m2(), data, split="train").num_data == 20
    with pytest.raises(UsageError, match="the train split of digits has no labels to compare with"):
        accuracy(m2(), binary(few).with_labels(0), split="train")


def test_a_pair_without_a_classifier_has_no_accuracy(few):
    vae = VAE((1, 8, 8), hidden=[8], likelihood="bernoulli")
    with pytest.raises(UsageError, match="VAE has no classifier"):
        accuracy(vae, binary(few))
    assert "accuracy" not in evaluate(vae, binary(few), num_particles=2).scores


def test_labels_are_hidden_from_a_pair_that_infers_them_unless_it_is_given_them(few):
    pair, data = m2(), binary(few)
    hidden = evaluate(pair, data, num_particles=20)
    given = evaluate(pair, data, num_particles=20, with_labels=True)
    assert {s.given for s in hidden.scores.values()} == {None}
    assert {s.given for q, s in given.scores.items() if q != "accuracy"} == {"y"}
    assert hidden.scores["accuracy"] == given.scores["accuracy"]
    split = data.prepared("test")
    alone = log_weights(pair, split.x, num_particles=2000)
    joint = log_weights(pair, split.x, num_particles=2000, y=split.y)
    for evaluation, truth in ((hidden, alone.elbo), (given, joint.elbo + math.log(10))):
        score = evaluation.scores["elbo"]
        assert abs(score.value - float(truth.mean())) < 6 * score.monte_carlo_error
    assert "accuracy 0." in str(hidden)


def test_given_labels_it_stands_beside_a_cvae_and_otherwise_beside_a_vae(few):
    data = binary(few)
    torch.manual_seed(0)
    cvae = CVAE((1, 8, 8), num_classes=10, latent_dim=2, hidden=[8], likelihood="bernoulli")
    vae = VAE((1, 8, 8), hidden=[8], likelihood="bernoulli")
    rows = [
        evaluate(m2(), data, num_particles=2, name="M2"),
        evaluate(m2(), data, num_particles=2, with_labels=True, name="M2 given y"),
        evaluate(cvae, data, num_particles=2),
        evaluate(vae, data, num_particles=2),
    ]
    table = compare(rows, quantities=["log_likelihood", "accuracy"])
    titles = [column.title for column in table.columns]
    assert titles == ["log p(x)", "log p(x | y)", "accuracy"]
    there = [[cell.score is not None for cell in row] for row in table.cells]
    assert there == [
        [True, False, True],
        [False, True, True],
        [False, True, False],
        [True, False, False],
    ]
    assert "fraction of labels, higher is better; threshold pixels" in table.to_text()


@pytest.mark.parametrize("make", [lambda: VAE((1, 8, 8), hidden=[8], likelihood="bernoulli"), m2])
def test_labels_that_cannot_be_given_are_one_line(make, few):
    data = binary(few).with_labels(20)
    with pytest.raises(UsageError, match=r"^with_labels is for a pair that infers labels.+\Z"):
        evaluate(make(), data, split="train", num_particles=2, with_labels=True)


def test_reconstructions_average_over_labels_with_the_z_of_each():
    pair = m2(1)
    x = torch.ones(6, 1, 8, 8).bernoulli()
    q = pair.classify(x)
    each = [pair.guide.encoder(x, torch.eye(10)[c].expand(6, -1)).mean for c in range(10)]
    images = torch.stack(
        [pair.decode({"z": z, "y": torch.full((6,), c)})["x"].mean for c, z in enumerate(each)], 1
    )
    expected = torch.einsum("bk,bkchw->bchw", q, images)
    torch.testing.assert_close(reconstruct(pair, x, latents="mean"), expected)
    means = torch.einsum("bk,bkd->bd", q, torch.stack(each, 1))
    torch.testing.assert_close(latent_means(pair, x), means)
    y = torch.tensor([3, -1, 3, 3, -1, 3])
    known = reconstruct(pair, x, y=y, latents="mean")
    torch.testing.assert_close(known[y >= 0], images[y >= 0, 3])
    torch.testing.assert_close(known[y < 0], expected[y < 0])


def test_a_sampled_reconstruction_has_the_label_its_z_was_drawn_with():
    """Its average is Σ_y q(y | x) E[decode(y, z)] with z ~ q(z | x, y), not with another y's z."""
    pair = m2(2)
    x = torch.ones(1, 1, 8, 8).bernoulli()
    drawn = reconstruct(pair, x.expand(20_000, -1, -1, -1), latents="sample")
    q_y = pair.classify(x)[0]
    parts = []
    for c in range(10):
        q_z = pair.guide.encoder(x, torch.eye(10)[c].unsqueeze(0))
        z = q_z.sample((4000,)).squeeze(1)
        parts.append(pair.decode({"z": z, "y": torch.full((4000,), c)})["x"].mean.mean(0))
    expected = torch.einsum("k,kchw->chw", q_y, torch.stack(parts))
    error = drawn.std(0) / math.sqrt(4000)
    assert bool(((drawn.mean(0) - expected).abs() < 5 * error + 1e-6).all())


def test_one_split_of_vectors_without_labels_is_evaluated_all_the_same():
    x = torch.rand(30, 5).bernoulli()
    data = ImageData("vectors", {"train": Split(x), "test": Split(x)})
    torch.manual_seed(0)
    pair = SemiSupervisedVAE((5,), num_classes=3, latent_dim=2, hidden=[4])
    assert "accuracy" not in evaluate(pair, data, num_particles=2).scores
