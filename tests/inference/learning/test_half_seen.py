"""Learning from half-seen data: the bound is on log p(x_seen), whoever says what is seen."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inference import evaluate, fit
from inference.learning import Run
from inference.learning.capture import Captured
from inference.learning.preparation import for_start
from inference.learning.recorded_data import recall
from inference.objectives import make_objective
from pyro_models import (
    CVAE,
    GMM,
    PPCA,
    VAE,
    BernoulliMixture,
    Observed,
    SemiSupervisedVAE,
    UsageError,
    load_data,
)

SHAPE = (1, 4, 4)
GENERATOR = torch.Generator().manual_seed(0)
X = torch.rand(60, *SHAPE, generator=GENERATOR).double()
SEEN = torch.rand(60, *SHAPE, generator=GENERATOR) < 0.6
BITS = (X > 0.5).float()
Y = torch.arange(60) % 3


@pytest.mark.parametrize("objective", ["elbo", "trace", "iwae", "stl"])
def test_with_an_exact_guide_the_objective_is_log_p_of_what_is_seen(objective: str) -> None:
    ppca = PPCA.maximum_likelihood(X, latent_dim=2)
    made = make_objective(ppca, objective)
    exact = float(ppca.exact_log_prob(X, SEEN).mean().detach())
    junk = X.masked_fill(~SEEN, torch.nan)
    for x in (X, junk):
        assert made.value(x, mask=SEEN) == pytest.approx(exact, rel=1e-9)
        assert made.backward(x, mask=SEEN) == pytest.approx(exact, rel=1e-9)
    assert all(bool(p.grad.isfinite().all()) for p in ppca.parameters() if p.grad is not None)


@pytest.mark.parametrize("kind", ["mixture", "gmm"])
def test_the_gradient_of_an_enumerated_pair_is_that_of_its_exact_log_p(kind: str) -> None:
    torch.manual_seed(0)
    pair: Any = GMM(SHAPE, num_components=2).double()
    x = X
    if kind == "mixture":
        pair, x = BernoulliMixture(SHAPE, num_components=2).double(), BITS.double()
    pair.start_from(x)
    made = make_objective(pair)
    assert made.backward(x, mask=SEEN) == pytest.approx(
        float(pair.exact_log_prob(x, SEEN).mean().detach())
    )
    found = {n: p.grad.clone() for n, p in pair.named_parameters() if p.grad is not None}
    pair.zero_grad()
    (-pair.exact_log_prob(x, SEEN).mean()).backward()
    for name, parameter in pair.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[name], parameter.grad)


def test_a_recorded_step_sees_the_mask_that_it_is_given() -> None:
    torch.manual_seed(0)
    vae = VAE(SHAPE, latent_dim=2, hidden=[4], likelihood="bernoulli")
    made = make_objective(vae, "stl")
    captured = Captured(made)
    for mask in (SEEN, ~SEEN, None, SEEN):
        values = []
        for step in (made, captured):
            torch.manual_seed(1)
            values.append(step.backward(BITS, mask=mask))
        assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_what_is_unseen_is_not_learned_from_and_what_is_seen_is() -> None:
    junk = X.masked_fill(~SEEN, torch.nan)

    def learned(data: Any, **options: Any) -> PPCA:
        torch.manual_seed(0)
        pair = PPCA(SHAPE, latent_dim=2).double()
        fit(pair, data, epochs=3, batch_size=16, lr=0.02, progress=False, **options)
        return pair

    pairs = [
        learned(junk, mask=SEEN),
        learned(X.numpy(), mask=SEEN.numpy()),
        learned(Observed(junk, mask=SEEN)),
        learned(load_data(Observed(X, mask=SEEN))),
    ]
    for pair in pairs[1:]:
        for one, other in zip(pair.parameters(), pairs[0].parameters(), strict=True):
            assert torch.equal(one, other)
    start = learned(junk, mask=SEEN, seed=0, init_from=None)
    start.start_from(for_start(Observed(X, mask=SEEN)))
    better = pairs[0].exact_log_prob(X, SEEN).mean() - start.exact_log_prob(X, SEEN).mean()
    assert float(better.detach()) > 0


@pytest.mark.parametrize("cls", [CVAE, SemiSupervisedVAE, VAE])
def test_pairs_of_every_kind_learn_under_a_mask_by_name(cls: Any) -> None:
    torch.manual_seed(0)
    labels = {} if cls is VAE else {"num_classes": 3}
    pair = cls(SHAPE, latent_dim=2, hidden=[4], likelihood="bernoulli", **labels)
    data = load_data(BITS, labels=Y)
    if cls is SemiSupervisedVAE:
        data = data.with_labels(12)
    found = fit(pair, data, mask="random", fraction=0.3, epochs=2, batch_size=16, progress=False)
    assert all(-16 < epoch.running < 0 for epoch in found.history.epochs)


def test_a_pair_starts_from_values_that_were_seen() -> None:
    start = for_start(Observed(BITS, mask=SEEN))
    assert torch.equal(start[SEEN], BITS[SEEN])
    assert set(start.unique().tolist()) == {0.0, 1.0}
    share, wanted = start.mean(0), (BITS * SEEN).sum(0) / SEEN.sum(0)
    assert float((share - wanted).abs().max()) < 0.1
    assert torch.equal(for_start(Observed(BITS)), BITS)


def test_a_run_says_what_was_seen_and_is_scored_on_whole_data(tmp_path: Path) -> None:
    np.save(tmp_path / "bits.npy", BITS.numpy())
    data = load_data(str(tmp_path / "bits.npy"), test_fraction=0.2)
    options: dict[str, Any] = {"out": tmp_path / "run", "progress": False}

    def vae() -> VAE:
        torch.manual_seed(0)
        return VAE(SHAPE, latent_dim=2, hidden=[4], likelihood="bernoulli")

    fit(vae(), data, mask="left", epochs=1, **options)
    for other in ({"mask": "right"}, {}):
        with pytest.raises(UsageError, match="this run was begun with data seen"):
            fit(vae(), data, epochs=2, resume=True, **other, **options)
    fit(vae(), data, mask="left", epochs=2, resume=True, **options)
    run = Run(tmp_path / "run")
    found = recall(run.describe()["data"], run="run")
    assert found.note == ""
    assert {name: len(split) for name, split in found.data.splits.items()} == {
        "train": 43,
        "validation": 5,
        "test": 12,
    }
    assert evaluate(run.load_pair(), found.data, num_particles=2).scores["elbo"].num_data == 12


def test_masks_that_will_not_do_are_one_line() -> None:
    vae = VAE(SHAPE, latent_dim=2, hidden=[4], likelihood="bernoulli")
    nothing = torch.zeros(60, *SHAPE, dtype=torch.bool)
    for data, mask, says in (
        (BITS, "centre", "unknown mask 'centre'"),
        (BITS, nothing, "sees nothing of datum 0"),
        (BITS, SEEN[:7], "a mask for 7 data does not fit 60"),
        (Observed(BITS, mask=SEEN), "left", "a mask is given twice"),
        (load_data(Observed(BITS, mask=SEEN)), "left", "says itself what is seen"),
    ):
        with pytest.raises(UsageError, match=says) as said:
            fit(vae, data, mask=mask, epochs=1, progress=False)
        assert "\n" not in str(said.value)
