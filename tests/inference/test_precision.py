"""The same numbers in float32, with networks in bfloat16, and in float64; the pair is untouched."""

import copy
import json

import pytest
import torch
from pyro.poutine.messenger import Messenger
from torch import nn

from inference import compare, compare_guides, diagnose, evaluate, evidence, fit, infer
from inference.evaluation import Evaluation, bracket, evaluate_completion
from inference.posterior import complete
from inference.precision import in_precision, precision_of
from pyro_models import VAE, CompletionCVAE, UsageError

TRAINING = {"epochs": 0, "capture": False, "curve_size": 0, "progress": False}
QUICK = {"max_steps": 5, "starts": 2}
SAMPLED = {"method": "importance", "num_particles": 5}
CHAINS = {"num_chains": 2, "num_temperatures": 4, "num_leapfrog": 2}


@pytest.fixture(scope="module")
def data(few):
    return few.with_preparation("threshold")


@pytest.fixture(scope="module")
def vae(data):
    """It has two latents, and starts from the data."""
    torch.manual_seed(0)
    pair = VAE(data.data_shape, latent_dim=2, hidden=[16], likelihood="bernoulli")
    return fit(pair, data, **TRAINING).pair


FITTED = {"infer_options": QUICK}
BOTH = {**FITTED, "num_particles": 5, "evidence_options": SAMPLED}


def _bound(posterior):
    return posterior.importance_bound(5).value


# what each function computes, given the pair, data, prepared x, and the precision
COMPUTED = {
    "evaluate": lambda p, data, x, **o: evaluate(p, data, num_particles=5, **o).per_datum["elbo"],
    "evidence": lambda p, data, x, **o: evidence(p, x[:1], **o).value,
    "annealing": lambda p, data, x, **o: (
        evidence(p, x, method="annealing", guide=p.guide, **CHAINS, **o).value
    ),
    "diagnose": lambda p, data, x, **o: diagnose(p, data, num_particles=5, **o).kl,
    "infer": lambda p, data, x, **o: _bound(infer(p, x, guide="full_covariance", **QUICK, **o)),
    "complete": lambda p, data, x, **o: complete(p, x, "left", infer_options=QUICK, **o).mean,
    "evaluate_completion": lambda p, data, x, **o: evaluate_completion(
        p, data, "top", limit=3, complete_options=FITTED, evidence_options=SAMPLED, **o
    ).per_datum["conditional_log_likelihood"],
    "bracket": lambda p, data, x, **o: bracket(p, num_data=2, **CHAINS, **o).upper,
    "compare_guides": lambda p, data, x, **o: (
        compare_guides(p, x, guides=["encoder", "laplace"], **BOTH, **o)["encoder"].gap
    ),
}


@pytest.mark.parametrize("function", COMPUTED)
def test_in_float64_is_as_of_a_pair_converted_by_hand_and_the_pair_stays(vae, data, function):
    x = data.prepared("test", limit=3).x
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    found = COMPUTED[function](vae, data, x, precision="float64")
    by_hand = COMPUTED[function](copy.deepcopy(vae).double(), data, x)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, by_hand, rtol=0, atol=1e-10)
    for name, value in vae.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])
    assert all(p.requires_grad for p in vae.parameters())


def test_bfloat16_is_of_the_networks_alone_and_close(vae, data):
    seen = set()

    class Look(Messenger):
        def _pyro_post_sample(self, msg):
            seen.add(msg["fn"].log_prob(msg["value"]).dtype)

    single = evaluate(vae, data, num_particles=50).per_datum
    with Look():
        rounded = evaluate(vae, data, num_particles=50, precision="bfloat16").per_datum
    assert seen == {torch.float32}
    for name in ("elbo", "importance_bound"):  # the same draws; bfloat16 has three digits
        off = (rounded[name] - single[name]).abs()
        assert 0 < float(off.max()) < 0.5
        assert float(off.mean()) < 0.1
    x = data.prepared("test", limit=1).x
    exact, by_bfloat16 = (evidence(vae, x, precision=p).value for p in ("float64", "bfloat16"))
    torch.testing.assert_close(by_bfloat16.double(), exact, rtol=0, atol=0.1)
    assert not any(module._forward_hooks for module in vae.modules())


def test_a_posterior_stays_in_the_precision_it_was_inferred_in(vae, data):
    x = data.prepared("test", limit=3).x
    rounded = infer(vae, x, guide="encoder", precision="bfloat16")
    assert rounded.precision == "bfloat16"
    assert "bfloat16" in rounded.to_text()
    single = infer(vae, x, guide="encoder")
    assert not torch.equal(single.log_weights(3), rounded.log_weights(3))
    table = compare_guides(vae, x, guides=[rounded, "prior"], **BOTH)
    assert "In bfloat16: encoder." in table.to_text()
    with pytest.raises(UsageError, match="the posterior encoder was not inferred in float64"):
        compare_guides(vae, x, guides=[single], precision="float64")


def test_an_error_leaves_the_pair_as_it_is(vae, data):
    class Broken(nn.Module):
        def forward(self, x, **_):
            raise ZeroDivisionError

    before = {name: value.clone() for name, value in vae.state_dict().items()}
    for precision in ("float64", "bfloat16"):
        with pytest.raises(ZeroDivisionError):
            evidence(vae, data.prepared("test", limit=2).x, method="importance", guide=Broken(),
                     precision=precision)  # fmt: skip
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    assert not torch.is_autocast_enabled("cpu")
    with pytest.raises(UsageError, match="float32 pair"):
        evaluate(copy.deepcopy(vae).double(), data, precision="bfloat16")


def test_scores_of_another_precision_share_a_column_and_say_so(vae, data):
    single, double = (
        evaluate(vae, data, num_particles=5, limit=9, name=p, precision=p)
        for p in ("float32", "float64")
    )
    assert Evaluation.from_json(double.to_json()).scores == double.scores
    assert "; float64)" in double.to_text()
    table = compare([single, double])
    assert all(cell.score for row in table.cells for cell in row)
    assert table.to_markdown().count("(float64)") == len(double.scores)
    before = json.loads(single.to_json())  # a file of a time before there was a precision
    for score in before["scores"].values():
        assert score.pop("precision") is None
    assert Evaluation.from_json(json.dumps(before)).scores == single.scores


def test_training_data_are_known_to_a_copy_and_so_is_the_model(vae, data):
    held_in = data.split("train")
    leaked = type(data)("leaked", {"train": data.split("test"), "test": held_in},
                        preparation="threshold")  # fmt: skip
    for precision in ("float32", "float64"):
        with pytest.warns(UserWarning, match="were trained on"):
            evaluate(vae, leaked, num_particles=2, limit=3, precision=precision)
    x = data.prepared("test", limit=2).x
    identities = [evidence(vae, x, precision=p, **SAMPLED).identity for p in ("float32", "float64")]
    assert identities[0] == identities[1]


def test_a_pair_conditioned_on_one_of_its_sets_of_pixels_stays_in_bfloat16(data):
    pair = CompletionCVAE(data.data_shape, masks=["left", "top"], latent_dim=2, hidden=[8],
                          likelihood="bernoulli")  # fmt: skip
    x = data.prepared("test", limit=2).x
    found, single = (
        complete(pair, x, "left", num_samples=1, num_latents=2, precision=precision)
        for precision in ("bfloat16", "float32")
    )
    assert found.precision == "bfloat16"
    assert not torch.equal(found.mean, single.mean)
    torch.testing.assert_close(found.mean, single.mean, rtol=0, atol=0.02)


def test_a_copy_asked_again_is_itself(vae):
    for precision in ("bfloat16", "float64"):
        made = in_precision(vae, precision)
        assert precision_of(made) == precision
        assert in_precision(made, precision) is made
    assert in_precision(vae, "float32") is vae


@pytest.mark.parametrize("precision", ["float16", "double", torch.float64])
def test_an_unknown_precision_is_one_line(vae, data, precision):
    says = f"unknown precision {precision!r}: choose from float32, bfloat16, float64"
    for computed in (COMPUTED["evaluate"], COMPUTED["infer"]):
        with pytest.raises(UsageError, match=says):
            computed(vae, data, None, precision=precision)
