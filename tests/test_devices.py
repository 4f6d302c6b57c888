"""Every pair under every function with the pair on a device and the data on the CPU.

No accelerator is needed: the device is simulated (``tests/simulated_device.py``). The table is that
of ``benchmarks/devices.py``, which makes it on a real one.
"""

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pyro
import pytest
import torch
from pyro import poutine
from torch import nn

from inference import fit, generate, infer
from inference.cli import main
from inference.learning import Run
from inference.learning.optimizers import make_optimizer
from pyro_models import PPCA, VAE, UsageError, load_data
from pyro_models.device import check_device, placed
from pyro_models.seeds import generator_states, restore_generators, seeded
from tests.simulated_device import MODULE, simulate

ROOT = Path(__file__).parents[1]


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


devices = _loaded(ROOT / "benchmarks" / "devices.py")
needs_simulation = pytest.mark.skipif(
    not simulate(), reason="this torch lets nobody simulate a device"
)
SIM = "sim:0"


def _cells() -> Iterator[object]:
    """All cells; in every run those that show another mistake than their neighbours."""
    everywhere = {"decode and traces", "SVI step", "fit elbo", "evaluate", "reconstruct", "exact"}
    everywhere |= {"generate", "evidence importance", "complete exact", "posterior sites"}
    with_vae = {"infer nuts", "figures", "infer full_covariance", "infer low_rank"}
    slow = {
        "infer flow",
        "infer amortised_flow",
    }  # minutes: what they add is in the tests of guides
    fitted = {("reconstruct", "generator"), ("posterior sites", "generator")}
    for function in devices.FUNCTIONS:
        for pair in devices.PAIRS:
            often = function in everywhere and (function, pair) not in fitted
            often = often or (pair in ("vae", "m2") and function not in with_vae | slow)
            often = often or (function in with_vae and pair == "vae")
            marks = [] if often else [pytest.mark.slow]
            yield pytest.param(pair, function, marks=marks, id=f"{function}-{pair}")


@needs_simulation
@pytest.mark.parametrize(("pair", "function"), list(_cells()))
def test_every_function_moves_its_data_to_where_the_pair_is(pair: str, function: str) -> None:
    assert devices.check(pair, function, torch.device(SIM)) in ("ok", "–")


@pytest.mark.parametrize("function", ["exact", "infer prior", "accuracy", "complete trained"])
def test_the_table_knows_which_function_is_for_which_pair(function: str) -> None:
    found = {p for p in devices.PAIRS if devices.check(p, function, torch.device("cpu")) == "ok"}
    mixtures, no_latent = {"gmm", "bernoulli_mixture"}, {"gmm", "bernoulli_mixture", "flow"}
    assert (
        found
        == {
            "exact": {"ppca", *mixtures},
            "infer prior": set(devices.PAIRS) - no_latent,
            "accuracy": {"m2"},
            "complete trained": {"completion_cvae"},
        }[function]
    )


@needs_simulation
def test_the_simulated_device_refuses_what_an_accelerator_refuses() -> None:
    there, here = torch.ones(3, device=SIM), torch.ones(3)
    with pytest.raises(RuntimeError, match="same device"):
        there + here
    with pytest.raises(RuntimeError):
        there.numpy()
    weights = nn.Parameter(torch.ones(2, 3, device=SIM))
    weights.grad = torch.ones(3, 2, device=SIM).T
    with pytest.raises(RuntimeError, match="layout"):
        make_optimizer("Adam", [weights], lr=0.1).step()


@needs_simulation
def test_a_seed_gives_the_same_draws_on_a_device_and_leaves_its_generators_alone() -> None:
    torch.manual_seed(0)
    vae = VAE((1, 8, 8), hidden=[8]).to(SIM)
    before = generator_states(torch.device(SIM))
    first, second = (generate(vae, n=4, pixels="sample", seed=3) for _ in range(2))
    after = generator_states(torch.device(SIM))
    assert torch.equal(first.cpu(), second.cpu())
    assert all(torch.equal(before[name], after[name]) for name in before)


@needs_simulation
def test_generators_of_one_device_of_several() -> None:
    second, first = torch.device("sim:1"), torch.device("sim:0")
    untouched = generator_states(first)
    with seeded(5, second):
        drawn = torch.randn(3, device=second)
    with seeded(5, second):
        again = torch.randn(3, device=second)
    assert torch.equal(drawn.cpu(), again.cpu())
    assert torch.equal(generator_states(first)["sim"], untouched["sim"])
    states = generator_states(second)
    torch.randn(3, device=second)
    restore_generators(states, second)
    assert torch.equal(generator_states(second)["sim"], states["sim"])


@needs_simulation
def test_resuming_on_a_device_is_bit_identical_and_the_run_is_read_anywhere(tmp_path: Path) -> None:
    data = load_data("digits", preparation="dynamic")

    def trained(out: Path, *epochs: int) -> dict[str, torch.Tensor]:
        for number, until in enumerate(epochs):
            torch.manual_seed(0)
            pair = VAE(data.data_shape, hidden=[8], likelihood="bernoulli")
            options = {"batch_size": 300, "curve_size": 50, "progress": False, "patience": 9}
            fit(pair, data, epochs=until, device=SIM, out=out, resume=number > 0, **options)
        return Run(out).load_pair().state_dict()

    whole, parts = trained(tmp_path / "whole", 3), trained(tmp_path / "parts", 1, 3)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert all(tensor.device.type == "cpu" for tensor in whole.values())
    there = Run(tmp_path / "whole").load_pair(device=SIM)
    assert {p.device for p in there.parameters()} == {torch.device(SIM)}


@needs_simulation
def test_training_stays_where_the_pair_is_unless_told() -> None:
    data = load_data("digits", preparation="dequantised")
    pair = PPCA(data.data_shape, latent_dim=2).to(SIM)
    short = {"epochs": 1, "batch_size": 500, "progress": False, "curve_size": 0}
    fit(pair, data, **short)
    assert pair.model.W.device == torch.device(SIM)
    fit(pair, data, device="cpu", **short)
    assert pair.model.W.device == torch.device("cpu")


@needs_simulation
def test_inference_on_a_device_is_that_on_the_cpu() -> None:
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ppca = PPCA.maximum_likelihood(x, latent_dim=2)
    exact = ppca.exact_posterior(x[:3]).mean
    found = infer(ppca.to(SIM), x[:3], guide="normal").mean["z"]
    assert (found.cpu() - exact).abs().max() < 0.1


MODEL_OF_THE_CPU = """
import pyro
import pyro.distributions as dist

def mean(y):  # which says nothing of devices
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Normal(mu.sum(-1, keepdim=True), 1.0), obs=y)
"""


@needs_simulation
def test_a_model_of_a_file_is_inferred_on_a_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MODEL_OF_THE_CPU)
    Path("table.csv").write_text("y\n0.5\n1.5\n")
    on = ["--data", "table.csv", "--guide", "laplace", "--device", SIM, "--progress", "false"]
    assert main(["infer", "mine.py:mean", *on]) == 0
    assert "mu[1]" in capsys.readouterr().out
    assert torch.zeros(1).device.type == "cpu"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gpu", "unknown device 'gpu': cpu, cuda, cuda:1 or mps"),
        ("cuda:x", "unknown device 'cuda:x'"),
        ("", "unknown device ''"),
        ("meta", "have no values"),
        ("cpu:3", "one cpu device"),
    ],
)
def test_a_device_that_is_not_there_is_said_in_one_line(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        check_device(name)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has one")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_machine_without_cuda_says_so(name: str) -> None:
    with pytest.raises(UsageError, match="this machine has no cuda device"):
        check_device(name)


@needs_simulation
def test_a_device_of_several_is_named_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "count", 2)
    assert check_device("sim:1") == torch.device("sim:1")
    with pytest.raises(UsageError, match="2 sim devices, sim:0 to sim:1"):
        check_device("sim:2")


def test_placed_moves_and_casts_and_lets_gradients_through() -> None:
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    placed(x, torch.zeros(())).sum().backward()
    assert torch.equal(x.grad, torch.ones(2, dtype=torch.float64))
    assert placed(torch.tensor([1, 2]), torch.zeros(())).dtype == torch.int64
    assert placed(None, torch.zeros(())) is None


NOT_META = {"cvae", "m2", "ppca", "gmm"}  # labels are read; there is no autocast to switch off


@pytest.mark.parametrize("name", sorted(set(devices.PAIRS) - NOT_META))
def test_meta_tensors_pass_through_model_and_guide(name: str) -> None:
    """Shapes alone: no number is asked for, which would make a device wait."""
    cell = devices.make_cell(name, torch.device("cpu"))
    pair, x = cell.pair.to("meta"), cell.x
    with pyro.validation_enabled(False):
        pair.guide(x)
        trace = poutine.trace(pair.model).get_trace(x)
    sites = [s for n, s in trace.nodes.items() if s["type"] == "sample" and n != "data"]
    assert {site["value"].device.type for site in sites} == {"meta"}
    assert sites[-1]["value"].shape == x.shape


FACTORIES = {"zeros", "ones", "full", "empty", "arange", "linspace", "logspace", "eye"}
FACTORIES |= {"rand", "randn", "randint", "randperm", "tensor"}
PLAIN = {  # functions whose tensors are the CPU's on purpose: plans, records and pictures
    "annealing.schedule_of",
    "images.class_grid",
    "interpolation.interpolation",
    "fitted.posterior_of",
    "latent._grid_values",
    "masks._named",
    "of_pyro._block_sums",
    "optimize.optimize",
    "posterior.to_text",
    "interpolation._between_classes",
    "images._of_each_class",
    "images._samples",
    "shared_fit.run",
    "show._interpolation",
    "show._labels",
    "hmc._drawn",
    "from_table.from_table",  # cells of a table, and frames that are shown
    "imputation._numeric",
    "imputation.interval",
    "imputation.log_prob",
    "model_file.__getitem__",
    "model_file._constant",
    "bernoulli_mixture._different_rows",
    "clusters._members",
    "coupling.channel_mask",  # what a module is made of, before it is moved
    "coupling.checkerboard",
    "mixed._groups",
    "noise.cosine",
    "noise.linear",
    "denoising.denoising",
    "epoch_data.chunks",  # rows of a file
    "images.draw",
    "rows.__getitem__",
    "rows.in_memory",
    "rows.joined",
    "rows.sample_of",
}


def _made_without_a_device(path: Path) -> Iterator[str]:
    """Functions of a module, outside constructors, that make a tensor wherever torch likes."""

    def walk(node: ast.AST, function: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            name = child.name if isinstance(child, ast.FunctionDef) else function
            if (
                isinstance(child, ast.Call)
                and isinstance(child.func, ast.Attribute)
                and ast.unparse(child.func.value) == "torch"
                and child.func.attr in FACTORIES
                and not {"device", "generator"} & {k.arg for k in child.keywords}
                and function != "__init__"
            ):
                yield f"{path.stem}.{function}"
            yield from walk(child, name)

    yield from walk(ast.parse(path.read_text()), "")


@pytest.mark.parametrize("package", ["pyro_models", "inference"])
def test_no_function_makes_a_tensor_without_a_device(package: str) -> None:
    """Draws of a generator of one's own are made on the CPU, so that a seed means one thing."""
    found = {
        place for path in (ROOT / package).rglob("*.py") for place in _made_without_a_device(path)
    }
    assert not found - PLAIN


def test_every_benchmark_takes_a_device_and_its_clock_waits_for_it() -> None:
    sources = {path.name: path.read_text() for path in (ROOT / "benchmarks").glob("*.py")}
    del sources["clock.py"]
    for name, source in sources.items():
        assert "add_device(parser)" in source or '"--device"' in source, name
        assert "time.perf_counter" not in source or "synchronize" in source, name
