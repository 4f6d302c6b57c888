"""Every preset builds, takes an ELBO on data as it wants them, and has its course's sizes."""

import importlib
import math
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
import yaml

from pyro_models import UsageError, build, load_preset, preset_names, presets
from pyro_models.data import prepare

SHAPE = (1, 28, 28)
SHAPES = dict.fromkeys(("m2-latents", "m2-latents-start"), (50,))  # vectors; all others images


def gated(channels: int, pixels: int, *, context: int = 0) -> list[tuple[int, ...]]:
    """The bound of each channel, then the network of one coupling."""
    block = [
        (channels, 2 * channels, 3, 3),
        (2 * channels, 2 * channels, 1, 1),
        *[(channels, 1, 1)] * 2,
    ]
    first = (channels, pixels + context, 3, 3)
    return [(pixels, 1, 1), first, *block * 3, (2 * pixels, 2 * channels, 3, 3)]


DENSE_FLOW = [(1, 1, 1), (512, 392), (512, 512), (784, 512)] * 8
GATED = gated(32, 1) * 8
DENSE = {  # rows of the weight matrices, encoder then decoder, as (out, in)
    "copenhagen-dense": (
        [(400, 784), (100, 400), (4, 100)],
        [(100, 2), (400, 100), (784, 400)],
    ),
    "toronto": ([(500, 784), (4, 500)], [(500, 2), (784, 500)]),
    "tsinghua": ([(256, 794), (80, 256)], [(256, 50), (784, 256)]),
    "amsterdam-aae": ([(500, 784), (40, 500)], [(500, 20), (784, 500)]),
    "amsterdam": ([(500, 784), (40, 500)], [(500, 20), (784, 500)]),
    **dict.fromkeys(
        ("m2-100", "m2-3000"),
        (
            [(500, 794), (100, 500), (500, 784), (10, 500)],  # the encoder's, the classifier's
            [(500, 60), (784, 500)],
        ),
    ),
    "toronto-labels-full": ([(500, 794), (4, 500)], [(500, 12), (784, 500)]),
    "toronto-labels-half": (
        [(500, 794), (4, 500), (500, 784), (10, 500)],
        [(500, 12), (784, 500)],
    ),
    "m1": ([(500, 784), (100, 500)], [(500, 50), (784, 500)]),
    **dict.fromkeys(
        ("m2-latents", "m2-latents-start"),
        ([(400, 60), (16, 400), (400, 50), (10, 400)], [(400, 18), (50, 400)]),
    ),
    **dict.fromkeys(
        ("burda-two-layer", "burda-full-two-layer"),
        (
            [(200, 784), (200, 200), (200, 200), (100, 100), (100, 100), (100, 100)],
            [(100, 50), (100, 100), (200, 100), (200, 100), (200, 200), (784, 200)],
        ),
    ),
    **{
        name: (
            [(200, 784), (200, 200), (100, 200)],
            [(200, 50), (200, 200), (784, 200)],
        )
        for name in ("burda", "burda-iwae", "burda-full-vae", "burda-full-iwae")
    },
    "tomczak-vae": (
        [(600, 784), (600, 300), (80, 300)],  # gated layers have two outputs for each feature
        [(600, 40), (600, 300), (784, 300)],
    ),
    "tomczak-vamp": (
        [(600, 784), (600, 300), (80, 300)],
        [(600, 40), (600, 300), (784, 300), (500, 1, 28, 28)],
    ),
    "tomczak-hvae": (
        [(600, 824), (600, 300), (80, 300), (600, 784), (600, 300), (80, 300)],
        [(500, 1, 28, 28), (600, 40), (600, 300), (80, 300), (600, 80), (600, 300), (784, 300)],
    ),
    "amsterdam-4bit": (
        [(32, 1, 3, 3), (64, 32, 3, 3), (40, 64 * 7 * 7)],
        [(64 * 7 * 7, 20), (64, 32, 3, 3), (32, 16, 3, 3)],
    ),
    "amsterdam-flow": ([], DENSE_FLOW),
    "amsterdam-flow-variational": ([(1, 1, 1), (512, 1176), (784, 512)] * 4, DENSE_FLOW),
    "flow-simple": ([], GATED),
    "flow-vardeq": (gated(16, 1, context=1) * 4, GATED),
    "flow-multiscale": (
        gated(16, 1, context=1) * 4,
        gated(32, 1) * 2 + gated(48, 4) * 2 + gated(64, 8) * 4,
    ),
    "copenhagen-conv": (
        [(16, 1, 3, 3), (32, 16, 3, 3), (4, 32 * 7 * 7)],
        [(32 * 7 * 7, 2), (32, 16, 3, 3), (16, 1, 3, 3)],
    ),
    "toronto-beta": ([(500, 784), (4, 500)], [(500, 2), (2 * 784, 500)]),
    "toronto-3d": ([(500, 784), (6, 500)], [(500, 3), (784, 500)]),
    **{
        f"toronto-{change}": ([(500, 784), (4, 500)], [(500, 2), (784, 500)])
        for change in ("iwae-5", "iwae-10", "js", "fashion")
    },
    **{
        f"eindhoven-{likelihood}": (
            [(16, 1, 3, 3), (32, 16, 3, 3), (20, 32 * 7 * 7)],
            [(32 * 7 * 7, 10), (32, 16, 3, 3), (16, outputs, 3, 3)],
        )
        for likelihood, outputs in {
            "gaussian": 2,
            "beta": 2,
            "categorical": 16,
            "cross-entropy": 1,
        }.items()
    },
}
DENSE |= {  # of generators, which have no encoder
    "amsterdam-gan": ([], [(128, 100), (256, 128), (512, 256), (1024, 512), (784, 1024)]),
    "gan-conv": ([], [(64 * 7 * 7, 50), (64, 32, 3, 3), (32, 1, 3, 3)]),
}
WU = {
    10: [(64, 10), (256, 64), (256, 256), (1024, 256), (784, 1024)],
    50: [(1024, 50), (1024, 1024), (1024, 1024), (784, 1024)],
}
DENSE |= {f"wu-gan-{dim}": ([], decoder) for dim, decoder in WU.items()}
DENSE |= {
    "wu-vae-10": ([(1024, 784), (256, 1024), (256, 256), (64, 256), (20, 64)], WU[10]),
    "wu-vae-50": ([(1024, 784), (1024, 1024), (1024, 1024), (100, 1024)], WU[50]),
}


def unet(*channels: int) -> list[tuple[int, ...]]:
    """Time, the way down, the middle, the way up."""
    size = 4 * channels[0]
    steps = list(zip((channels[0], *channels[:-1]), channels, strict=True))

    def block(a: int, b: int) -> list[tuple[int, ...]]:
        own = [(b, a, 3, 3), (b, size), (b, b, 3, 3)]
        return own if a == b else [*own, (b, a, 1, 1)]

    return [
        (size, 32),
        (size, size),
        (channels[0], 1, 3, 3),
        *(shape for a, b in steps for shape in block(a, b)),
        *((b, b, 3, 3) for b in channels[:-1]),
        *block(channels[-1], channels[-1]),
        *(shape for a, b in reversed(steps) for shape in block(2 * b, a)),
        (1, channels[0], 3, 3),
    ]


DENSE |= {"ddpm": ([], unet(64, 128, 128)), "ddpm-digits": ([], unet(32, 64))}
UNTRAINED = {  # nats per datum before any training: about this for every pixel
    "bernoulli": math.log(2),
    "cross_entropy": math.log(2),
    "gaussian": 0.5 * math.log(2 * math.pi * 0.7**2) + (1 / 3) / (2 * 0.7**2),
    "beta": 0.05,  # α = β = ln 2 on uniform pixels: log B(α, β) − 2 (1 − α)
    "categorical": math.log(16),
    # N(logit v; 0, 1) of uniform v, in bins: log 256 + ½ log 2π + π²/6 − 2
    "quantised": math.log(256) + 0.5 * math.log(2 * math.pi) + math.pi**2 / 6 - 2,
}


def weight_shapes(module: torch.nn.Module) -> list[tuple[int, ...]]:
    return [tuple(p.shape) for p in module.parameters() if p.dim() > 1]


@pytest.mark.parametrize("name", preset_names())
def test_preset_builds_and_takes_an_elbo(name: str) -> None:
    settings = load_preset(name)
    shape = SHAPES.get(name, SHAPE)
    pair = build(settings["model"], shape, num_classes=10, **settings["options"]).eval()
    preparation = settings.get("preparation", "grey")
    assert (
        preparation == pair.likelihood.preparation
        # any way of making pixels binary suits a Bernoulli
        or (pair.likelihood.name == "bernoulli" and preparation in ("static", "dynamic"))
        or (pair.likelihood.name == "bernoulli" and preparation == "threshold")
        or (name in SHAPES and preparation == "grey")  # vectors are used as they are
    )
    grey = torch.rand(3, *shape)
    x = prepare(grey, preparation, levels=256, generator=torch.Generator().manual_seed(0))
    pair.likelihood.check(x)
    if settings["model"] == "diffusion":  # of hundreds of steps one is enough
        assert bool(pair.step_bound(x).isfinite().all())
        return
    loss = pair.elbo().loss(pair.model, pair.guide, x, y=torch.tensor([0, 5, 9]))
    expected = math.prod(shape) * UNTRAINED[pair.likelihood.name]
    if isinstance(sigma := getattr(pair.likelihood, "scale", None), float):
        # σ is fixed; a generator is about ½ everywhere, a decoder about 0
        square = (1 / 12 if settings["model"] == "generator" else 1 / 3) / sigma**2
        expected = 0.5 * math.prod(shape) * (math.log(2 * math.pi * sigma**2) + square)
    # the rest is KL and what the weights happen to say
    assert loss / 3 == pytest.approx(expected, rel=0.25, abs=60)
    assert hasattr(torch.optim, settings["optimizer"])
    assert settings["lr"] > 0
    numbered = [at for at in settings.get("snapshots", []) if isinstance(at, int)]
    assert settings["epochs"] >= max(numbered, default=1)


@pytest.mark.parametrize("name", preset_names())
def test_preset_stops_early_only_with_data_to_validate_on(name: str) -> None:
    settings = load_preset(name)
    early = settings.get("patience") is not None
    assert early == name.startswith(("eindhoven", "tomczak"))
    assert settings.get("restore_best", False) == (early or name.startswith("flow-"))
    assert not (early and settings.get("all_training"))


@pytest.mark.parametrize("name", preset_names())
def test_preset_has_the_sizes_of_its_course(name: str) -> None:
    settings = load_preset(name)
    shape = SHAPES.get(name, SHAPE)
    pair = build(settings["model"], shape, num_classes=10, **settings["options"])
    encoder, decoder = DENSE[name]
    assert weight_shapes(pair.guide) == encoder
    assert weight_shapes(pair.model) == decoder


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("toronto-iwae-5", {"objective": "iwae", "objective_options": {"num_particles": 5}}),
        ("toronto-iwae-10", {"objective": "iwae", "objective_options": {"num_particles": 10}}),
        ("toronto-js", {"objective": "js"}),
        ("toronto-fashion", {"data": "fashion-mnist"}),
        ("toronto-3d", {"options": {**load_preset("toronto")["options"], "latent_dim": 3}}),
    ],
)
def test_the_presets_of_the_project_differ_from_torontos_by_one_thing(name, change) -> None:
    """Besides capture, which changes no number."""
    assert load_preset(name) == {**load_preset("toronto"), **change, "capture": True}


@pytest.mark.parametrize(
    ("name", "count"),
    [("burda-full-vae", 1), ("burda-full-iwae", 50), ("burda-full-two-layer", 50)],
)
def test_the_full_protocol_is_burdas(name: str, count: int) -> None:
    """3^i epochs of the 60,000 images, 20 at a time, at the rate 0.001 · 10^(−i/7), i = 0…7."""
    settings = load_preset(name)
    assert settings["objective_options"] == {"num_particles": count}
    assert settings["batch_size"] == 20
    assert settings["epochs"] == sum(3**i for i in range(8))
    optimiser = torch.optim.Adam(
        [torch.zeros(1)], lr=settings["lr"], **settings["optimizer_options"]
    )
    options = dict(settings["schedule_options"])
    options["milestones"] = [step // 1000 for step in options["milestones"]]  # 3 steps an epoch
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, **options)
    rates = []
    for _ in range(3 * settings["epochs"]):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    expected = [1e-3 * 10 ** (-i / 7) for i in range(8) for _ in range(3 * 3**i)]
    assert rates == pytest.approx(expected, rel=1e-9)


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown preset 'nope': choose from amsterdam, ams"):
        load_preset("nope")


def test_presets_of_an_archive_are_read_and_handed_on_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(presets.__file__).parent
    with ZipFile(tmp_path / "copy.zip", "w") as archive:
        for path in (folder / "__init__.py", *folder.glob("*.yaml")):
            archive.write(path, f"archived_presets/{path.name}")
    monkeypatch.syspath_prepend(str(tmp_path / "copy.zip"))
    archived = importlib.import_module("archived_presets")
    assert archived.preset_names() == preset_names()
    assert archived.load_preset("burda") == load_preset("burda")
    assert yaml.safe_load(archived.preset_config("burda")) == load_preset("burda")
    assert Path(presets.preset_config("burda")).is_file()
