"""Neither memory, nor who computes, nor a kill changes a number: every block has its own draws."""

import sys

import pytest
import torch
from torch import Tensor

from inference import blocks as blocks_of
from inference.chunks import chunk_size
from inference.evaluation import bracket, diagnose, evaluate, evidence, log_weights
from inference.evaluation.quadrature import quadrature
from inference.posterior import chains, complete, infer
from inference.posterior.log_density import condition
from pyro_models import VAE, UsageError

UNIT = 64 * 20  # numbers, as if blocks held no more: of 64 pixels and 5 particles, 4 data
CHAINS = {"num_chains": 2, "num_temperatures": 4, "num_leapfrog": 2}
WORST = {"rtol": 1e-9, "atol": 1e-9}


def vae(latent_dim: int = 3) -> VAE:
    torch.manual_seed(0)
    return VAE((1, 8, 8), latent_dim=latent_dim, hidden=[4], likelihood="bernoulli").double()


@pytest.fixture
def x() -> Tensor:
    return torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(1)).round().double()


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(chunk_size.__kwdefaults__, "max_elements", UNIT)
    monkeypatch.setattr(chains, "BLOCK", 4)


def _evaluated(pair: VAE, x: Tensor, most: int) -> tuple[Tensor, ...]:
    found = evaluate(pair, x, num_particles=5, max_elements=most).per_datum
    return tuple(found[name] for name in ("elbo", "importance_bound", "mse_sampled"))


def _diagnosed(pair: VAE, x: Tensor, most: int) -> tuple[Tensor, ...]:
    found = diagnose(pair, x, num_particles=30, max_elements=most)
    assert found.kl is not None
    return found.effective_sample_size, found.k_hat, found.kl, found.posterior_mean_variance


def _evidence(pair: VAE, x: Tensor, most: int, **options: object) -> tuple[Tensor, ...]:
    found = evidence(pair, x, num_particles=30, max_elements=most, **{**CHAINS, **options})
    return found.value, found.standard_error


def _bracket(pair: VAE, x: Tensor, most: int) -> tuple[Tensor, ...]:
    found = bracket(pair, num_data=len(x), max_elements=most, **CHAINS)
    return found.lower, found.upper


def _posterior(pair: VAE, x: Tensor, most: int) -> tuple[Tensor, ...]:
    found = infer(pair, x, guide="normal", max_steps=2, max_elements=most)
    return found.log_weights(30), found.sample(7)["z"], found.completions(3, pixels="sample")


def _completed(pair: VAE, x: Tensor, most: int) -> tuple[Tensor, ...]:
    steps = {"max_steps": 3}
    found = complete(pair, x, "left", guide="normal", infer_options=steps, max_elements=most)
    return found.mean, found.samples


FUNCTIONS = {
    "evaluate": _evaluated,
    "diagnose": _diagnosed,
    "importance": lambda *a: _evidence(*a, method="importance"),
    "importance, per datum": lambda *a: _evidence(*a, method="importance", guide="prior"),
    "annealing": lambda *a: _evidence(*a, method="annealing"),
    "bracket": _bracket,
    "log_weights": lambda pair, x, most: (
        log_weights(pair, x, num_particles=30, seed=2, max_elements=most).bound,
    ),
    "complete": _completed,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_number_hangs_on_memory(name: str, x: Tensor) -> None:
    whole, parts = (FUNCTIONS[name](vae(), x, most) for most in (2**30, 64 * 3))
    for found, expected in zip(parts, whole, strict=True):
        torch.testing.assert_close(found, expected, **WORST)
    assert not torch.equal(whole[0][:1], whole[0][4:5])


def test_a_posterior_draws_the_same_whatever_memory_it_has(x: Tensor) -> None:
    whole, part = (_posterior(vae(), x, most) for most in (2**22, 64 * 25))
    for found, expected in zip(part, whole, strict=True):
        torch.testing.assert_close(found, expected, **WORST)


def test_a_grid_does_not_hang_on_memory(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["inference.evaluation.quadrature"], "_AT_ONCE", 2)
    target = condition(vae(1), x[:3])
    one, other = (quadrature(target, max_elements=most) for most in (2**22, 64 * 999))
    torch.testing.assert_close(one.log_evidence, other.log_evidence, **WORST)


def test_blocks_differ_in_their_draws(x: Tensor) -> None:
    """Two equal data at the same place of two blocks are not weighed with the same particles."""
    found = log_weights(vae(), x[:1].expand(8, -1, -1, -1), num_particles=5, seed=0).bound
    assert len(found.unique()) == 8


def test_workers_change_no_number(x: Tensor) -> None:
    pair = vae()
    alone = evidence(pair, x, method="annealing", **CHAINS)
    for workers in (1, 2):
        found = evidence(pair, x, method="annealing", workers=workers, **CHAINS)
        assert torch.equal(found.value, alone.value)
        assert torch.equal(found.standard_error, alone.standard_error)
    one, none = (bracket(pair, num_data=9, workers=n, **CHAINS) for n in (1, None))
    assert torch.equal(one.lower, none.lower)
    assert torch.equal(one.upper, none.upper)
    assert evaluate(pair, x, workers=1, num_particles=5) == evaluate(pair, x, num_particles=5)


def test_what_workers_cannot_be_sent_is_one_line(x: Tensor) -> None:
    pair = vae()
    pair.model.lock = __import__("threading").Lock()
    with pytest.raises(UsageError, match="the workers gave up after 0 of 3 blocks") as caught:
        evidence(pair, x, method="annealing", workers=1, **CHAINS)
    assert "\n" not in str(caught.value)


def test_a_killed_evaluation_goes_on_where_it_stopped(x, tmp_path, monkeypatch) -> None:
    pair, folder = vae(), tmp_path / "kept"
    whole = evidence(pair, x, method="annealing", **CHAINS)
    write, written = blocks_of.write_atomically, []

    def dies(path, content):
        written.append(path.name)
        if len(written) == 3:
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(blocks_of, "write_atomically", dies)
        with pytest.raises(KeyboardInterrupt):
            evidence(pair, x, method="annealing", resume=folder, **CHAINS)
    first = folder / "annealing-000000.safetensors"
    before = first.stat().st_mtime_ns
    (folder / "annealing-000001.safetensors").write_bytes(b"damaged")
    assert torch.equal(
        evidence(pair, x, method="annealing", resume=folder, **CHAINS).value, whole.value
    )
    assert first.stat().st_mtime_ns == before
    assert len(list(folder.glob("annealing-*"))) == 3
    found = bracket(pair, num_data=9, resume=tmp_path / "bracket", **CHAINS)
    again = bracket(pair, num_data=9, resume=tmp_path / "bracket", **CHAINS)
    assert torch.equal(found.upper, again.upper)
    bound = evaluate(pair, x, num_particles=5, resume=tmp_path / "evaluate")
    assert evaluate(pair, x, num_particles=5, resume=tmp_path / "evaluate") == bound


def test_blocks_of_another_evaluation_are_refused(x, tmp_path) -> None:
    pair, folder = vae(), tmp_path / "kept"
    options = {"method": "importance", "num_particles": 5, "resume": folder}
    evidence(pair, x, **options)
    other = vae()
    with torch.no_grad():
        next(other.guide.parameters()).add_(1)
    cases = [
        ({"seed": 1}, pair, x, "seed 1, not 0"),
        ({"num_particles": 6}, pair, x, "num_particles 6, not 5"),
        ({}, pair, x[:5], "number of data: 5, not 9"),
        ({}, pair, 1 - x, "other pixels or values"),
        ({"mask": "left"}, pair, x, "mask: some pixels, not everything is seen"),
        ({}, vae(2), x, "other weights of the model"),
        (
            {"precision": "bfloat16"},
            vae().float(),
            x.float(),
            "precision .bfloat16.",
        ),
        ({}, other, x, "guides"),
        ({"guide": lambda x, **_: None}, pair, x, "give a module or a posterior"),
    ]
    for changed, of, data, why in cases:
        with pytest.raises(UsageError, match=why) as caught:
            evidence(of, data, **{**options, **changed})
        assert "\n" not in str(caught.value)
    with (
        pytest.raises(UsageError, match="is at work in"),
        blocks_of.holding_folder(folder),
    ):
        _in_a_thread(lambda: evidence(pair, x, **options))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for place in (tmp_path / "mine", tmp_path / "mine" / "notes.txt"):
        with pytest.raises(UsageError, match="resume"):
            evidence(pair, x, **{**options, "resume": place})
    with pytest.raises(UsageError, match="workers must be at least 1"):
        evidence(pair, x, workers=0)


def _in_a_thread(call):
    """A thread may take its own lock again; another one may not."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()
