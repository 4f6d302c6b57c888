"""What may stand in one column goes by content: data, masks, pixels conditioned on, latents."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.evaluation import (
    Evaluation,
    Evidence,
    compare,
    compare_guides,
    evaluate,
    evaluate_completion,
    evidence,
)
from inference.posterior import complete, infer, latents_as_data
from pyro_models import PPCA, VAE, BernoulliMixture, UsageError, build, load_data

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def bits():
    return load_data("digits", preparation="threshold")


@pytest.fixture(scope="module")
def mixture(bits):
    return BernoulliMixture.maximum_likelihood(bits.prepared("train").x, num_components=3)


def columns(rows, quantity):
    """Columns of a quantity, and why the second row is not in the first."""
    table = compare(rows, quantities=[quantity])
    return len(table.columns), table.cells[1][0].reason


def completed(pair, data, mask, **options):
    return evaluate_completion(pair, data, mask, **{"limit": 20, "log_prob": False, **options})


def test_two_draws_of_a_mask_are_two_columns(mixture, bits):
    rows = [completed(mixture, bits, "random", seed=seed, name=str(seed)) for seed in (0, 1)]
    assert columns(rows, "mse_unseen") == (2, "mask: other pixels")
    assert columns([rows[0], rows[0]], "mse_unseen") == (1, "")


def test_masks_are_compared_by_what_is_seen_and_not_by_name(mixture, bits, tmp_path):
    left = torch.zeros(8, 8)
    left[:, :4] = 1
    for folder, seen in (("a", left), ("b", left.T), ("c", left)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "mask.npy", seen.numpy())
    a, b, c = (completed(mixture, bits, tmp_path / f / "mask.npy") for f in "abc")
    assert columns([a, b], "mse_unseen") == (2, "mask: other pixels")
    assert columns([a, c], "mse_unseen") == (1, "")
    assert columns([a, completed(mixture, bits, "left")], "mse_unseen") == (1, "")


def test_completion_models_of_two_mask_seeds_are_two_columns(bits):
    made = [
        build("completion_cvae", SHAPE, masks=["random"], mask_seed=s, latent_dim=2, hidden=[4])
        for s in (0, 1, 0)
    ]
    rows = [evaluate(pair, bits, limit=10, num_particles=2) for pair in made]
    assert rows[0].scores["elbo"].given == rows[1].scores["elbo"].given == "x_random_0.5"
    found = columns(rows[:2], "elbo")
    assert found == (2, "pixels conditioned on: other pixels")
    assert columns([rows[0], rows[2]], "elbo") == (1, "")


def test_the_latents_of_two_pairs_are_two_columns_and_those_of_one_are_one(few):
    rows = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        latents = latents_as_data(VAE(SHAPE, latent_dim=2, hidden=[4]), few)
        second = PPCA.maximum_likelihood(latents.split("train").x, latent_dim=1)
        rows.append(evaluate(second, latents, num_particles=2))
    assert columns(rows[:2], "log_likelihood") == (2, "latents: made by other weights")
    assert columns([rows[0], rows[2]], "log_likelihood") == (1, "")


def test_the_same_file_under_two_names_is_one_column_and_two_splits_are_two(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 3))
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, x)
    one, same, other = (
        load_data(tmp_path / name, seed=s) for name, s in (("a.npy", 0), ("b.npy", 0), ("a.npy", 1))
    )
    ppca = PPCA.maximum_likelihood(one.split("train").x, latent_dim=1)
    rows = [evaluate(ppca, data, num_particles=2) for data in (one, same, other)]
    assert columns(rows[:2], "log_likelihood") == (1, "")
    assert columns([rows[0], rows[2]], "log_likelihood") == (2, "split seed: 1, not 0")


def test_labels_count_where_they_are_given_or_judged_by_and_nowhere_else(few):
    y = few.split("test").y
    relabelled = {**few.splits, "test": replace(few.split("test"), y=(y + 1) % 10)}
    other = replace(few, splits=relabelled)
    torch.manual_seed(0)
    m2 = build("m2", SHAPE, num_classes=10, latent_dim=2, hidden=[4])
    rows = [
        evaluate(m2, data.with_preparation("threshold"), num_particles=2) for data in (few, other)
    ]
    assert columns(rows, "elbo") == (1, "")
    assert columns(rows, "accuracy") == (2, "other labels of the test split")


def test_scores_keep_their_identity_in_a_file_and_old_ones_go_by_name(mixture, bits):
    row = evaluate(mixture, bits, limit=10, num_particles=2)
    again = Evaluation.from_json(row.to_json())
    assert again.scores["elbo"].identity == row.scores["elbo"].identity
    assert columns([row, again], "elbo") == (1, "")
    old = json.loads(row.to_json())
    for score in old["scores"].values():
        del score["identity"]
    old = Evaluation.from_json(json.dumps(old))
    for rows in ([row, old], [old, row]):
        table = compare(rows, quantities=["elbo"])
        assert len(table.columns) == 1
        assert "The data of 1 of 2 rows are known by name alone." in table.to_text()
    assert "by name alone" not in compare([row, again]).to_text()
    x = bits.split("test").x
    others = replace(bits, splits={**bits.splits, "test": replace(bits.split("test"), x=x.flip(0))})
    other = evaluate(mixture, others, limit=10, num_particles=2)
    for rows in ([old, row, other], [row, other, old]):  # never beside both of two that differ
        table = compare(rows, quantities=["elbo"])
        reasons = [cell.reason for cell in table.cells[rows.index(old)] if cell.score is None]
        assert len(table.columns) == 2
        assert reasons
        assert "digits" in compare(rows).to_csv()


# --- evidence and posteriors ----------------------------------------------------------------------


@pytest.fixture
def ppca():
    x = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    return PPCA.maximum_likelihood(x, latent_dim=2)


@pytest.fixture
def x():
    return torch.randn(4, 5, generator=torch.Generator().manual_seed(1))


def guides(pair, x, known, **given):
    return compare_guides(pair, x, guides=["prior"], log_evidence=known, num_particles=5, **given)


SEEN = torch.tensor([True, True, True, False, False])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda pair, x: {"x": x + 1}, "other pixels or values"),
        (lambda pair, x: {"mask": SEEN}, "mask: everything is seen, not some pixels"),
        (lambda pair, x: {"pair": PPCA((5,), latent_dim=2)}, "other weights of the model"),
    ],
    ids=["data", "mask", "weights"],
)
def test_evidence_of_anything_else_is_refused_though_its_length_agrees(change, why, ppca, x):
    known = evidence(ppca, x)
    asked = {"pair": ppca, "x": x, **change(ppca, x)}
    with pytest.raises(UsageError, match=rf"^log_evidence is not of this pair's .*{why}.*\Z"):
        guides(known=known, **asked)
    again = PPCA((5,), latent_dim=2)
    again.load_state_dict(ppca.state_dict())
    table = guides(again, x.double(), known, mask=torch.ones(5, dtype=torch.bool))
    assert "caller's own" not in table.to_text()


def test_weights_that_have_moved_since_make_evidence_and_posterior_stale(ppca, x):
    known, posterior = evidence(ppca, x), infer(ppca, x, guide="encoder")
    with torch.no_grad():
        for parameter in ppca.parameters():
            parameter.add_(0.1)
    with pytest.raises(UsageError, match="other weights of the model"):
        guides(ppca, x, known)
    with pytest.raises(UsageError, match=r"posterior encoder .*other weights of the model"):
        compare_guides(ppca, x, guides=[posterior], num_particles=5)


def test_evidence_of_other_labels_is_refused():
    torch.manual_seed(0)
    cvae = build("cvae", (1, 2, 2), num_classes=3, latent_dim=1, hidden=[2])
    x, y = torch.rand(2, 1, 2, 2).round(), torch.tensor([0, 1])
    known = evidence(cvae, x, y=y)
    guides(cvae, x, known, y=y)
    with pytest.raises(UsageError, match="other labels"):
        guides(cvae, x, known, y=y.flip(0))


def test_a_tensor_is_taken_at_the_caller_s_word_and_the_table_says_so(ppca, x):
    value = ppca.exact_log_prob(x)
    table = guides(ppca, x, value)
    said = "log p(x) is the caller's own: of which data, mask, labels and weights"
    for text in (table.to_text(), table.to_markdown(), table.to_html()):
        assert said in text.replace("&#x27;", "'")
    torch.testing.assert_close(table["prior"].gap, (value - table["prior"].elbo).double())
    own = Evidence(value.detach(), torch.zeros(4), None, "exact", "exact", None)
    assert said in guides(ppca, x, own).to_text()
    for wrong in (value[:, None], value.long(), [1.0], value + float("nan")):
        with pytest.raises(UsageError, match="log_evidence"):
            guides(ppca, x, wrong)


def test_what_was_inferred_and_completed_says_what_it_is_of(ppca, x):
    posterior = infer(ppca, x, mask=SEEN, guide="encoder")
    found = complete(ppca, x, SEEN)
    assert found.identity == posterior.identity == evidence(ppca, x, mask=SEEN).identity
    assert posterior.select([1]).identity.num_data == {"batch": 1}
    other = torch.where(SEEN, x, 9.0)  # what nobody sees is nothing
    assert infer(ppca, other, mask=SEEN, guide="encoder").identity == posterior.identity


def test_pixels_dequantised_by_other_noise_share_no_column_of_nats():
    x = (torch.rand(60, 4, 4, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    rows = []
    for levels in (2, 256):
        data = load_data(x, levels=levels, preparation="dequantised")
        ppca = PPCA.maximum_likelihood(data.prepared("train").x, latent_dim=2)
        rows.append(evaluate(ppca, data, num_particles=2, name=str(levels)))
    for quantity in ("elbo", "log_likelihood"):
        assert columns(rows, quantity) == (2, "grey levels: 256, not 2")
    assert columns(rows, "mse_mean") == (1, "")  # of the same grey pixels


def test_evidence_of_a_model_holds_for_another_guide_of_it_and_for_no_other_model():
    x = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    exact, linear = (PPCA.maximum_likelihood(x, latent_dim=2, guide=g) for g in ("exact", "linear"))
    known = evidence(exact, x[:6])
    options = {"guides": ["encoder"], "num_particles": 30}
    found = compare_guides(linear, x[:6], log_evidence=known, **options)
    assert float(found["encoder"].gap.abs().max()) < 1e-3
    with torch.no_grad():
        linear.model.mu[0] += 1
    with pytest.raises(UsageError, match="other weights of the model"):
        compare_guides(linear, x[:6], log_evidence=known, **options)
