"""What is a pair is told by its members, wherever they are kept, on every Python."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gp_bo
import inference
import pyro_models
from inference import (
    Run,
    bracket,
    compare_guides,
    complete,
    condition,
    diagnose,
    evaluate,
    evaluate_completion,
    evidence,
    figures,
    fit,
    generate,
    infer,
    latent_means,
    particles,
    reconstruct,
    sweep,
)
from inference.evaluation import accuracy, exact_log_prob, log_weights
from inference.objectives import make_objective
from inference.posterior import latents_as_data, posterior_sites
from pyro_models import PPCA, VAE, SemiSupervisedVAE, UsageError, load_data
from pyro_models import models as registry
from pyro_models.contract import check_pair, fulfills, missing_members
from pyro_models.pair import (
    Classifies,
    CompletesExactly,
    ConditionsOnPixels,
    Exact,
    Pair,
    StartsFromData,
)

PACKAGES = (pyro_models, inference, gp_bo)
PROTOCOLS = (Pair, StartsFromData, Exact, CompletesExactly, ConditionsOnPixels, Classifies)
DATA = load_data("digits", preparation="threshold")
X = DATA.prepared("test", limit=3).x


class Composed(nn.Module):
    """A pair whose every member is kept where only the instance knows of it."""

    def __init__(self, pair: nn.Module) -> None:
        super().__init__()
        self.model, self.guide = pair.model, pair.guide
        self.likelihood = pair.likelihood  # a submodule
        self.data_shape, self.num_classes = pair.data_shape, pair.num_classes
        self.latent_sites = pair.latent_sites
        self.decode, self.elbo, self.config = pair.decode, pair.elbo, pair.config


class LogProb(nn.Module):
    """A method that is a submodule."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return x.flatten(1).sum(1)


class Slotted:
    """A pair that is no module, with all members in slots."""

    __slots__ = (
        "config",
        "data_shape",
        "decode",
        "elbo",
        "guide",
        "latent_sites",
        "likelihood",
        "model",
        "num_classes",
        "parameters",
        "state_dict",
    )

    def __init__(self, pair: Any, *, without: str = "") -> None:
        for name in set(self.__slots__) - {without}:
            setattr(self, name, getattr(pair, name))


def vae() -> VAE:
    torch.manual_seed(0)
    return VAE(DATA.data_shape, latent_dim=2, hidden=[8], likelihood="bernoulli")


def test_members_may_be_submodules_attributes_or_slots() -> None:
    pair = vae()
    for made in (pair, Composed(pair), Slotted(pair)):
        assert fulfills(made, Pair)
        check_pair(made)
        assert not fulfills(made, Exact)
    composed = Composed(pair)
    assert evaluate(composed, DATA, num_particles=2, limit=3).scores["elbo"].value == pytest.approx(
        evaluate(pair, DATA, num_particles=2, limit=3).scores["elbo"].value
    )
    slotted = evidence(Slotted(pair), X)
    torch.testing.assert_close(slotted.value, evidence(pair, X).value)
    assert len(fit(composed, DATA, epochs=1, progress=False).history.epochs) == 1


def test_a_slot_that_is_not_filled_is_missing() -> None:
    assert missing_members(Slotted(vae(), without="guide"), Pair) == ("guide",)


@pytest.mark.parametrize("as_buffer", [True, False], ids=["buffer", "parameter"])
def test_members_may_be_buffers_and_parameters(as_buffer: bool) -> None:
    pair = SemiSupervisedVAE(DATA.data_shape, num_classes=10, latent_dim=2, hidden=[8])
    weight = pair.classification_weight
    del pair.classification_weight
    assert missing_members(pair, Classifies) == ("classification_weight",)
    if as_buffer:
        pair.register_buffer("classification_weight", torch.tensor(weight))
    else:
        pair.classification_weight = nn.Parameter(torch.tensor(weight), requires_grad=False)
    assert fulfills(pair, Classifies)
    assert "accuracy" in evaluate(pair, DATA, num_particles=2, limit=3).scores
    assert fit(pair, DATA, epochs=1, progress=False).history.epochs


@pytest.mark.parametrize("how", ["submodule", "instance"])
def test_an_exact_evidence_is_used_wherever_it_is_kept(how: str) -> None:
    pair = vae()
    pair.exact_log_prob = LogProb() if how == "submodule" else lambda x, mask=None: x.sum((1, 2, 3))
    assert not fulfills(pair, Exact)
    pair.exact_posterior = lambda x, mask=None: None
    assert fulfills(pair, Exact)
    found = evidence(pair, X)
    assert found.kind == "exact"
    torch.testing.assert_close(found.value, X.sum((1, 2, 3)))


def test_none_in_the_place_of_a_method_says_that_there_is_none() -> None:
    class Inexact(PPCA):
        exact_log_prob = None

    pair = Inexact((5,), latent_dim=2)
    assert fulfills(pair, Pair)
    assert not fulfills(pair, Exact)
    assert evidence(pair, torch.randn(2, 5)).method == "quadrature"


def test_a_property_that_needs_what_is_not_there_is_missing() -> None:
    class Lazy(VAE):
        @property
        def likelihood(self) -> Any:
            return self.made_later

    assert missing_members(Lazy(DATA.data_shape, hidden=[8]), Pair) == ("likelihood",)


class Half(nn.Module):
    """Something like a VAE, without two of its members."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()
        pair = vae()
        self.model, self.guide, self.likelihood = pair.model, pair.guide, pair.likelihood
        self.data_shape, self.num_classes = pair.data_shape, None
        self.latent_sites, self.elbo = pair.latent_sites, pair.elbo


def build_registered(half: Half) -> None:
    registry.PAIRS["half"] = Half
    try:
        registry.build("half", DATA.data_shape)
    finally:
        del registry.PAIRS["half"]


PUBLIC: dict[str, Callable[[Any, Path], object]] = {
    "fit": lambda pair, _: fit(pair, DATA, epochs=1, progress=False),
    "evaluate": lambda pair, _: evaluate(pair, DATA),
    "evaluate_completion": lambda pair, _: evaluate_completion(pair, DATA, "left"),
    "accuracy": lambda pair, _: accuracy(pair, DATA),
    "diagnose": lambda pair, _: diagnose(pair, DATA),
    "evidence": lambda pair, _: evidence(pair, X),
    "bracket": lambda pair, _: bracket(pair),
    "log_weights": lambda pair, _: log_weights(pair, X, num_particles=2),
    "exact_log_prob": lambda pair, _: exact_log_prob(pair, X),
    "compare_guides": lambda pair, _: compare_guides(pair, X),
    "infer": lambda pair, _: infer(pair, X, guide="normal"),
    "condition": lambda pair, _: condition(pair, X),
    "complete": lambda pair, _: complete(pair, X, "left"),
    "generate": lambda pair, _: generate(pair, n=2),
    "reconstruct": lambda pair, _: reconstruct(pair, X),
    "latent_means": lambda pair, _: latent_means(pair, X),
    "posterior_sites": lambda pair, _: posterior_sites(pair, X),
    "latents_as_data": lambda pair, _: latents_as_data(pair, DATA),
    "make_objective": lambda pair, _: make_objective(pair),
    "Run.create": lambda pair, folder: Run(folder / "run").create(pair, {}),
    "Run.save_weights": lambda pair, folder: Run(folder / "run").save_weights(pair),
    "build": lambda pair, _: build_registered(pair),
    "sweep": lambda pair, folder: sweep(
        lambda shape: pair, DATA, grid={"lr": [1e-3]}, seeds=[0], out=folder / "sweep", epochs=1
    ),
    "figures.reconstructions": lambda pair, _: figures.reconstructions(pair, X),
    "figures.prior_samples": lambda pair, _: figures.prior_samples(pair),
    "figures.interpolation": lambda pair, _: figures.interpolation(pair, X, X),
    "figures.latent_scatter": lambda pair, _: figures.latent_scatter(pair, X),
    "figures.latent_grid": lambda pair, _: figures.latent_grid(pair),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_no_pair_is_refused_in_one_line_that_says_what_it_lacks(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"^Half is no pair: it lacks config, decode$") as refused:
        PUBLIC[name](Half(), tmp_path)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.rglob("*.*"))  # nothing was begun


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (VAE, "VAE is a class: make a pair of it"),
        ("vae", "str is no pair: it lacks config, data_shape, decode, elbo, guide"),
        (None, "NoneType is no pair"),
    ],
    ids=["class", "name", "nothing"],
)
def test_a_class_a_name_and_nothing_are_no_pairs(given: object, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        evaluate(given, DATA)


def test_who_gives_the_result_of_a_fit_is_told_where_its_pair_is() -> None:
    fitted = fit(vae(), DATA, epochs=0, progress=False)
    with pytest.raises(UsageError, match=r"give its \.pair$"):
        evaluate(fitted, DATA)


def test_model_and_guide_must_be_modules() -> None:
    pair = Slotted(vae())
    pair.guide = lambda x, **_: None
    with pytest.raises(UsageError, match=r"the guide of Slotted must be a torch\.nn\.Module"):
        evidence(pair, X)


def test_a_pair_that_is_no_module_is_not_trained() -> None:
    with pytest.raises(UsageError, match=r"Slotted is no torch\.nn\.Module"):
        fit(Slotted(vae()), DATA, epochs=1, progress=False)


def test_a_bare_model_with_a_guide_is_no_pair_and_is_weighed() -> None:
    pair = vae()
    torch.manual_seed(0)
    bare = particles(pair.model, pair.guide, X, num_particles=2).log_weight
    torch.manual_seed(0)
    torch.testing.assert_close(bare, particles(pair, None, X, num_particles=2).log_weight)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.__name__)
def test_isinstance_with_a_protocol_raises_on_every_python(protocol: type) -> None:
    with pytest.raises(TypeError, match="runtime_checkable"):
        isinstance(vae(), protocol)


def sources() -> list[Path]:
    root = Path(pyro_models.__file__).parents[1]
    folders = [Path(package.__file__).parent for package in PACKAGES]
    folders += [root / name for name in ("tests", "benchmarks", "notebooks")]
    return [path for folder in folders for path in sorted(folder.rglob("*.py"))]


class _Names(ast.NodeVisitor):
    """Protocols that a source defines, and what it asks ``isinstance`` about."""

    def __init__(self) -> None:
        self.protocols: set[str] = set()
        self.asked: set[str] = set()
        self.runtime_checkable = False

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        bases = {b.id for b in ast.walk(node) if isinstance(b, ast.Name) and b in node.bases}
        if "Protocol" in bases:
            self.protocols.add(node.name)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func
        if isinstance(called, ast.Name) and called.id in ("isinstance", "issubclass"):
            self.asked |= {n.id for n in ast.walk(node.args[1]) if isinstance(n, ast.Name)}
            self.asked |= {n.attr for n in ast.walk(node.args[1]) if isinstance(n, ast.Attribute)}
        self.generic_visit(node)

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        self.asked |= {n.id for n in ast.walk(node.cls) if isinstance(n, ast.Name)}
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        self.runtime_checkable |= node.id == "runtime_checkable"


def test_no_source_asks_isinstance_about_a_protocol() -> None:
    found: dict[Path, _Names] = {}
    for path in sources():
        found[path] = _Names()
        found[path].visit(ast.parse(path.read_text(encoding="utf-8")))
    protocols = {name for names in found.values() for name in names.protocols}
    assert {"Pair", "Exact", "Callback", "Acquisition"} <= protocols
    asking = {
        (path.name, *sorted(names.asked & protocols))
        for path, names in found.items()
        if names.asked & protocols or names.runtime_checkable
    }
    assert asking == set()
