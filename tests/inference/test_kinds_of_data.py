"""Whoever asks about data may hand them in as anything that holds them: the answer is the same."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from inference import (
    bracket,
    compare,
    compare_guides,
    complete,
    condition,
    diagnose,
    evaluate,
    evaluate_completion,
    evidence,
    figures,
    fit,
    infer,
    latent_means,
    particles,
    reconstruct,
)
from inference.evaluation.quantities import accuracy
from pyro_models import (
    CVAE,
    PPCA,
    VAE,
    BernoulliMixture,
    Observed,
    SemiSupervisedVAE,
    UsageError,
    load_data,
)
from pyro_models.data import Split
from tests.simulated_device import SIMULATED, simulate

SHAPE = (1, 2, 4)
X = torch.rand(20, *SHAPE, generator=torch.Generator().manual_seed(0)).round()
Y = torch.arange(20) % 3
LEFT = torch.tensor([True, True, False, False]).expand(2, 4)
PAIRS: dict[str, Any] = {}


class Frame:
    """What a data frame of pandas shows of itself."""

    def __init__(self, columns: dict[Any, np.ndarray]) -> None:
        self._columns, self.columns = columns, list(columns)

    def __getitem__(self, name: Any) -> Any:
        values = self._columns[name]
        return SimpleNamespace(to_numpy=lambda: values, dtype=values.dtype)

    def to_numpy(self) -> np.ndarray:
        return np.stack([np.asarray(v, object) for v in self._columns.values()], 1)


class Items(Dataset[Any]):
    """A data set of given items."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        return self.items[i]


class Stream(IterableDataset[Any]):
    """The same, one after the other."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __iter__(self) -> Any:
        return iter(self.items)


KINDS: dict[str, Callable[[torch.Tensor, torch.Tensor], Any]] = {
    "array": lambda x, y: x.numpy(),
    "float64": lambda x, y: x.double(),
    "float16": lambda x, y: x.half(),
    "big-endian array": lambda x, y: x.numpy().astype(">f4"),
    "Dataset of x": lambda x, y: Items(list(x)),
    "Dataset of (x, y)": TensorDataset,
    "Dataset of mappings": lambda x, y: Items(
        [{"x": a.numpy(), "y": int(b)} for a, b in zip(x, y, strict=True)]
    ),
    "IterableDataset": lambda x, y: Stream(list(zip(x, y.tolist(), strict=True))),
    "DataLoader": lambda x, y: DataLoader(TensorDataset(x, y), batch_size=7),
    "DataLoader that shuffles": lambda x, y: DataLoader(
        TensorDataset(x, y), batch_size=3, shuffle=True
    ),
    "split": Split,
    "Observed": lambda x, y: Observed(x.numpy(), y.tolist()),
}


def pair_of(name: str) -> Any:
    if name not in PAIRS:
        torch.manual_seed(0)
        options: dict[str, Any] = {"latent_dim": 2, "hidden": [4], "likelihood": "bernoulli"}
        PAIRS.update(
            ppca=PPCA.maximum_likelihood(X + 0.1 * torch.randn(X.shape), latent_dim=2),
            vae=VAE(SHAPE, **options),
            cvae=CVAE(SHAPE, num_classes=3, **options),
            m2=SemiSupervisedVAE(SHAPE, num_classes=3, **options),
            mixture=BernoulliMixture.maximum_likelihood(X, num_components=2),
        )
    return PAIRS[name]


def numbers(found: Any) -> list[torch.Tensor]:
    """All that an answer says, as tensors."""
    if isinstance(found, torch.Tensor):
        return [found]
    if hasattr(found, "scores"):
        return [torch.tensor(score.value) for score in found.scores.values()]
    names = ("value", "mean", "x", "effective_sample_size", "logits", "log_weight", "z", "rows")
    for name in names:
        value = getattr(found, name, None)
        if isinstance(value, dict):
            return list(value.values())
        if isinstance(value, torch.Tensor):
            return [value]
        if isinstance(value, tuple) and value and hasattr(value[0], "elbo"):
            return [row.elbo for row in value]
    raise AssertionError(type(found))


def drawn(found: Any) -> torch.Tensor:
    canvas = FigureCanvasAgg(found)
    canvas.draw()
    return torch.from_numpy(np.asarray(canvas.buffer_rgba()).copy()).float()


def seeded(call: Callable[[], Any]) -> Any:
    torch.manual_seed(0)
    return call()


FEW = ("float64", "Dataset of (x, y)", "DataLoader that shuffles", "Observed")
SLOW = ("fit", "evidence", "evidence of a CVAE", "compare_guides")
FUNCTIONS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "fit": (
        "vae",
        lambda p, x: torch.tensor(
            [
                epoch.running
                for epoch in fit(
                    seeded(lambda: VAE(SHAPE, hidden=[4], likelihood="bernoulli")),
                    x,
                    epochs=1,
                    progress=False,
                ).history.epochs
            ]
        ),
    ),
    "evaluate": ("vae", lambda p, x: evaluate(p, x, num_particles=5)),
    "diagnose": ("vae", lambda p, x: diagnose(p, x, num_particles=5)),
    "accuracy": ("m2", lambda p, x: torch.tensor(accuracy(p, x).value)),
    "evaluate_completion": ("mixture", lambda p, x: evaluate_completion(p, x, "left")),
    "evidence": ("vae", evidence),
    "evidence of a CVAE": ("cvae", evidence),
    "infer": ("vae", lambda p, x: infer(p, x, mask="left", guide="normal", max_steps=2)),
    "infer with labels": ("cvae", lambda p, x: infer(p, x, guide="normal", max_steps=2)),
    "complete": ("vae", lambda p, x: complete(p, x, "left", infer_options={"max_steps": 2})),
    "complete exactly": ("ppca", lambda p, x: complete(p, x, mask=LEFT)),
    "condition": ("vae", lambda p, x: condition(p, x, mask="left")),
    "reconstruct": ("cvae", lambda p, x: reconstruct(p, x, latents="mean")),
    "latent_means": ("vae", latent_means),
    "particles": ("cvae", lambda p, x: seeded(lambda: particles(p, None, x, num_particles=2))),
    "compare_guides": (
        "vae",
        lambda p, x: compare_guides(
            p, x, guides=["prior"], num_particles=30, log_evidence=torch.zeros(20)
        ),
    ),
    "exact_log_prob": ("ppca", lambda p, x: p.exact_log_prob(x, "left")),
    "exact_posterior": ("mixture", lambda p, x: p.exact_posterior(x)),
    "conditional_mean": ("ppca", lambda p, x: p.conditional_mean(x, "left")),
    "conditional_sample": (
        "mixture",
        lambda p, x: seeded(lambda: p.conditional_sample(x, "left", n=1)),
    ),
    "classify": ("m2", lambda p, x: p.classify(x)),
    "maximum_likelihood": (
        "mixture",
        lambda p, x: BernoulliMixture.maximum_likelihood(x, num_components=2).exact_log_prob(X),
    ),
    "start_from": (
        "ppca",
        lambda p, x: (q := seeded(lambda: PPCA(SHAPE, latent_dim=2))).start_from(x) and q.model.mu,
    ),
    "latent_scatter": ("cvae", lambda p, x: drawn(figures.latent_scatter(p, x))),
    "reconstructions": ("vae", lambda p, x: drawn(figures.reconstructions(p, x))),
    "interpolation": ("cvae", lambda p, x: drawn(figures.interpolation(p, x, x, steps=2))),
    "completions": (
        "ppca",
        lambda p, x: drawn(figures.completions(complete(p, X, "left"), x, rows=2)),
    ),
}
MOVES = ("fit", "particles", "conditional_sample", "maximum_likelihood", "start_from")
WITHOUT_LABELS = ("array", "float64", "float16", "big-endian array", "Dataset of x")
NEED_LABELS = {name for name, (pair, _) in FUNCTIONS.items() if pair == "cvae"} | {"accuracy"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_takes_every_kind_of_data(function: str) -> None:
    name, ask = FUNCTIONS[function]
    pair = pair_of(name)
    wanted = numbers(ask(pair, Split(X, Y)))
    for kind in FEW if function in SLOW else KINDS:
        x = KINDS[kind](X, Y)
        if function in NEED_LABELS and kind in WITHOUT_LABELS:
            continue
        state = torch.get_rng_state()
        found = numbers(ask(pair, x))
        if function not in MOVES:
            assert torch.equal(torch.get_rng_state(), state), kind
        for one, other in zip(found, wanted, strict=True):
            assert torch.allclose(one.float(), other.float(), atol=1e-6, equal_nan=True), kind


def test_bracket_takes_masks_by_name_and_labels_of_any_kind() -> None:
    wanted = bracket(pair_of("cvae"), num_data=4, mask=LEFT, y=Y[:4], num_temperatures=5)
    found = bracket(pair_of("cvae"), num_data=4, mask="left", y=[0, 1, 2, 0], num_temperatures=5)
    torch.testing.assert_close(found.lower, wanted.lower)


def test_vectors_may_be_columns_of_a_frame() -> None:
    x = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    ppca = PPCA.maximum_likelihood(x, latent_dim=1)
    frame = Frame({name: x[:, i].numpy() for i, name in enumerate("abc")})
    assert torch.equal(ppca.exact_log_prob(frame), ppca.exact_log_prob(x))
    assert torch.equal(evidence(ppca, frame).value, evidence(ppca, x).value)
    assert load_data(frame).identity == load_data(x).identity


@pytest.mark.skipif(not simulate(), reason="this torch lets no test make a device")
def test_data_may_be_on_another_device_than_the_pair() -> None:
    device = torch.device(SIMULATED)
    x, y = X.to(device), Y.to(device)
    for kind in (Split(x, y), Observed(x, y), TensorDataset(x, y), DataLoader(TensorDataset(x, y))):
        for name in ("ppca", "cvae"):
            pair = pair_of(name)
            wanted = infer(pair, Split(X, Y), mask="left", guide="encoder").mean["z"]
            found = infer(pair, kind, mask="left", guide="encoder").mean["z"]
            torch.testing.assert_close(found, wanted)
    assert load_data(TensorDataset(x, y)).identity == load_data(X, labels=Y).identity


REFUSED: dict[str, tuple[Any, str]] = {
    "a list of strings": (["a", "b"], "got a list"),
    "a list of tensors": (list(X), "got a list: give torch.stack"),
    "a mapping": ({"x": X}, r"got a dict: give Observed\(x, y, mask\)"),
    "nothing": (None, "got a NoneType"),
    "an iterator": (iter(X), "got a .*iterator"),
    "a generator": ((x for x in X), "got a generator"),
    "an empty data set": (Items([]), "the Items holds no data"),
    "an empty loader": (DataLoader(TensorDataset(X), batch_size=50, drop_last=True), "no data"),
    "a ragged data set": (Items([X[0], X[0, :, :1]]), "of several shapes, such as"),
    "items of text": (Items(["a"]), "item 0 of the Items is a str"),
    "items of three": (Items([(X[0], 1, 2)]), "got 3 parts"),
    "other mappings": (Items([{"image": X[0]}]), r"a mapping with x, .*got \['image'\]"),
    "masks for some": (Items([{"x": X[0], "mask": X[0]}, {"x": X[0]}]), "others have none"),
    "objects": (np.array([object()] * 3), "Python objects"),
    "complex": (X.to(torch.complex64), "complex"),
    "sparse": (X.to_sparse(), "sparse"),
    "a column of text": (
        Frame({"age": np.zeros(3), "name": np.array(["a"] * 3)}),
        "but text in the column 'name'",
    ),
    "several splits": (load_data("digits"), "has the splits train, validation, test: give one"),
    "a name": ("digits", "got a str"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_data_is_one_line(kind: str) -> None:
    source, says = REFUSED[kind]
    asked: list[Callable[[], Any]] = [
        lambda: infer(pair_of("vae"), source),
        lambda: pair_of("ppca").exact_log_prob(source),
    ]
    if kind not in ("several splits", "a name"):
        asked.append(lambda: BernoulliMixture.maximum_likelihood(source, num_components=2))
    for ask in asked:
        with pytest.raises(UsageError, match=says) as said:
            ask()
        assert "\n" not in str(said.value)
    if kind != "several splits":
        for ask in (
            lambda: fit(pair_of("vae"), source, progress=False),
            lambda: evaluate(pair_of("vae"), source),
        ):
            with pytest.raises(UsageError) as said:
                ask()
            assert "\n" not in str(said.value)


def test_a_mask_or_a_label_is_said_once() -> None:
    half = Observed(X, Y, mask="left")
    with pytest.raises(UsageError, match="a mask is given twice"):
        infer(pair_of("vae"), half, mask="left")
    with pytest.raises(UsageError, match="labels are given twice"):
        infer(pair_of("cvae"), half, y=1)
    with pytest.raises(
        UsageError, match=r"some pixels of .* are unseen, and this is of whole data"
    ):
        evaluate_completion(pair_of("vae"), half, "left")
    evaluate(pair_of("vae"), Observed(X, mask="everything"), num_particles=2)
    with pytest.raises(UsageError, match="closed forms are of whole data"):
        BernoulliMixture.maximum_likelihood(half, num_components=2)
    wanted = infer(pair_of("vae"), X, mask="left", guide="encoder").mean["z"]
    items = Items([{"x": x, "mask": LEFT} for x in X])
    for x in (half, items, DataLoader(items, batch_size=6)):
        found = infer(pair_of("vae"), x, guide="encoder").mean["z"]
        torch.testing.assert_close(found, wanted)


def test_a_pair_that_infers_labels_is_given_those_alone_that_are_said() -> None:
    m2 = pair_of("m2")
    alone = evidence(m2, X, method="importance", num_particles=5).value
    with_labels = evidence(m2, X, y=Y, method="importance", num_particles=5).value
    brought = evidence(m2, TensorDataset(X, Y), method="importance", num_particles=5).value
    said = evidence(m2, Observed(X, Y), method="importance", num_particles=5).value
    assert torch.equal(brought, alone)
    assert torch.equal(said, with_labels)
    assert not torch.equal(alone, with_labels)


def test_labels_that_nobody_needs_may_be_anything() -> None:
    values = TensorDataset(X, torch.rand(20))
    assert torch.equal(latent_means(pair_of("vae"), values), latent_means(pair_of("vae"), X))
    assert load_data(X).identity.pixels == fit_identity(values)
    with pytest.raises(UsageError, match="labels are integers"):
        evidence(pair_of("cvae"), values)


def fit_identity(data: Any) -> Any:
    from inference.learning.recorded_data import _LEARNED

    pair = VAE(SHAPE, hidden=[4], likelihood="bernoulli")
    fit(pair, data, epochs=0, progress=False)
    ((train, _),) = _LEARNED[pair]
    return {**load_data(X).identity.pixels, "train": train.checksums()[0]}


def test_torchvisions_images_are_made_grey_as_load_data_does() -> None:
    from PIL import Image

    grey = np.random.default_rng(0).integers(0, 256, (12, 8, 8), np.uint8)
    pictures = Items([(Image.fromarray(image), int(i % 3)) for i, image in enumerate(grey)])
    assert load_data(pictures).identity == load_data(grey, labels=np.arange(12) % 3).identity
    assert "divided by 255" in repr(load_data(pictures))
    vae = VAE((1, 8, 8), hidden=[4], likelihood="cross_entropy")
    wanted = latent_means(vae, torch.from_numpy(grey)[:, None] / 255)
    torch.testing.assert_close(latent_means(vae, pictures), wanted)
    colours = Items([Image.fromarray(np.stack([image] * 3, -1)) for image in grey])
    assert load_data(colours).data_shape == (3, 8, 8)
    with pytest.raises(UsageError, match="picture of mode P: convert it"):
        load_data(Items([Image.fromarray(grey[0]).convert("P")]))


def test_one_set_of_pixels_has_one_identity_however_it_comes() -> None:
    posterior = infer(pair_of("vae"), X, guide="encoder")
    known = evidence(pair_of("vae"), KINDS["DataLoader"](X, Y), method="importance")
    for make in KINDS.values():
        completed = complete(pair_of("ppca"), make(X, Y), "left", num_samples=1)
        assert completed.identity == complete(pair_of("ppca"), X, "left").identity
        assert condition(pair_of("vae"), make(X, Y)).identity == known.identity
    other = X.clone()
    other[0, 0, 0, 0] = 1 - other[0, 0, 0, 0]
    with pytest.raises(UsageError, match="other data"):
        compare_guides(pair_of("vae"), TensorDataset(other), guides=[posterior], num_particles=5)
    scores = [evaluate(pair_of("vae"), make(X, Y), num_particles=2) for make in KINDS.values()]
    names = {s.scores["elbo"].identity.checksum for s in scores}
    assert len(names) == 1


def test_images_that_were_trained_on_are_not_scored_as_unseen() -> None:
    x = torch.rand(60, *SHAPE, generator=torch.Generator().manual_seed(1)).round()
    x += torch.linspace(0, 0.01, 60).reshape(-1, 1, 1, 1) * (1 - 2 * x)
    pair = VAE(SHAPE, hidden=[4], likelihood="cross_entropy")
    fit(pair, load_data(x, seed=1), epochs=1, progress=False)
    with pytest.raises(UsageError, match=r"test data were trained on.*give load_data\(…, seed=1\)"):
        evaluate(pair, load_data(x, seed=0), num_particles=2)
    evaluate(pair, load_data(x, seed=1), num_particles=2)
    evaluate(pair, load_data(x, labels=torch.zeros(60).long(), seed=1), num_particles=2)
    evaluate(pair, load_data(x, seed=0), split="train", num_particles=2)
    with pytest.warns(UserWarning, match="48 of the 60 test data were trained on"):
        evaluate(pair, DataLoader(TensorDataset(x)), num_particles=2)


def test_scores_of_the_same_pixels_share_their_columns() -> None:
    data = load_data(X)
    test = data.split("test").x
    whole, loader, others = (
        evaluate(pair_of("vae"), source, num_particles=2, name=name)
        for name, source in (
            ("set", data),
            ("loader", DataLoader(TensorDataset(test))),
            ("others", 1 - test),
        )
    )
    alike, apart = compare([whole, loader]), compare([whole, others])
    assert all(cell.score for row in alike.cells for cell in row)
    assert any(not cell.score for row in apart.cells for cell in row)
