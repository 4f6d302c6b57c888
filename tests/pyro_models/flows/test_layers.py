"""Every layer is invertible, and its log-determinant is that of autograd's Jacobian, in float64."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pyro_models import UsageError
from pyro_models.flows import (
    FLOWS,
    AffineCoupling,
    Chain,
    DenseBody,
    FlowDistribution,
    GatedBody,
    Logit,
    Split,
    Squeeze,
    Standardize,
    channel_mask,
    checkerboard,
    flow_for,
)

IMAGE, VECTOR = (2, 4, 4), (5,)
SMALL: dict[str, dict[str, Any]] = {
    "dense": {"couplings": 2, "hidden": [6]},
    "conv": {"couplings": 2, "channels": 3, "blocks": 1},
    "multiscale": {"couplings": [1, 2, 2], "channels": [3, 4, 4], "blocks": 1},
    **{name: {} for name in FLOWS if name not in ("dense", "conv", "multiscale")},
}


def gated(shape: tuple[int, ...], mask: Tensor, context: int = 0) -> AffineCoupling:
    return AffineCoupling(GatedBody(shape, 4, blocks=1, context=context), mask)


def dense(shape: tuple[int, ...], mask: Tensor, context: int = 0) -> AffineCoupling:
    return AffineCoupling(DenseBody(mask, [6], context=context, activation="tanh"), mask)


def standardize() -> Standardize:
    layer = Standardize(VECTOR)
    layer.units.set(torch.arange(5.0), torch.arange(1.0, 6.0))
    return layer


LAYERS: dict[str, tuple[Callable[[], Any], tuple[int, ...], tuple[int, ...] | None]] = {
    "logit": (lambda: Logit(IMAGE), IMAGE, None),
    "standardize": (standardize, VECTOR, None),
    "squeeze": (Squeeze, IMAGE, None),
    "split": (lambda: Split(gated((1, 4, 4), checkerboard((1, 4, 4))), IMAGE), IMAGE, None),
    "gated, checkerboard": (lambda: gated(IMAGE, checkerboard(IMAGE)), IMAGE, None),
    "gated, channels": (lambda: gated(IMAGE, channel_mask(IMAGE, inverted=True)), IMAGE, None),
    "gated, context": (lambda: gated(IMAGE, checkerboard(IMAGE), 1), IMAGE, (1, 4, 4)),
    "dense, image": (lambda: dense(IMAGE, checkerboard(IMAGE, inverted=True)), IMAGE, None),
    "dense, vector, context": (lambda: dense(VECTOR, checkerboard(VECTOR), 3), VECTOR, (3,)),
    **{
        name: (
            lambda name=name, to=shape: flow_for(
                {"class_path": name, "init_args": SMALL[name]}, to
            ),
            shape,
            None,
        )
        for name in FLOWS
        for shape in [IMAGE if name in ("conv", "multiscale", "dense") else VECTOR]
    },
}


def test_every_flow_has_a_case() -> None:
    assert set(LAYERS) >= set(FLOWS)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_inverted_and_has_the_determinant_of_its_jacobian(name: str) -> None:
    make, shape, context_shape = LAYERS[name]
    torch.manual_seed(0)
    layer = make().double()
    for parameter in layer.parameters():  # no zero of the start hides a mistake
        size = 0.3 if shape == IMAGE else 0.05
        parameter.data.add_(size * torch.randn(parameter.shape, dtype=torch.float64))
    x = torch.rand(2, *shape, dtype=torch.float64)
    context = None if context_shape is None else torch.randn(2, *context_shape).double()
    z, log_det = layer(x, context)
    assert z.shape == (2, *layer.shape_after(shape))
    for i in range(2):
        own = None if context is None else context[i]
        flat = torch.autograd.functional.jacobian(lambda v, c=own: layer(v, c)[0].flatten(), x[i])
        expected = torch.linalg.slogdet(flat.reshape(x[i].numel(), -1)).logabsdet
        torch.testing.assert_close(log_det[i], expected)
    by_bisection = {"atol": 1e-5, "rtol": 1e-5} if name in ("sospf", "bpf") else {}
    with torch.no_grad():
        torch.testing.assert_close(layer.inverse(z, context), x, **by_bisection)
        more = x.expand(3, 2, *shape)  # particles: the context of a datum is that of each
        again, dets = layer(more, context)
        torch.testing.assert_close(again, z.expand(3, *z.shape))
        torch.testing.assert_close(dets.expand(3, 2), log_det.expand(3, 2))


def test_a_mask_keeps_what_it_shows_and_a_fresh_coupling_changes_nothing() -> None:
    mask = checkerboard(IMAGE)
    layer, x = gated(IMAGE, mask), torch.randn(2, *IMAGE)
    assert torch.equal(layer(x)[0], x)
    torch.nn.init.ones_(layer.network.body[-1].bias)
    moved = layer(x)[0]
    assert torch.equal(moved[:, mask], x[:, mask])
    assert not bool((moved[:, ~mask] == x[:, ~mask]).any())
    torch.nn.init.constant_(layer.network.body[-1].bias, 1e6)
    assert float(layer(x)[1].detach().max()) == pytest.approx(
        int((~mask).sum())
    )  # s is at most f = 1


@torch.no_grad()
def test_draws_have_the_density() -> None:
    torch.manual_seed(0)
    flow = flow_for({"class_path": "dense", "init_args": SMALL["dense"]}, (2,))
    for parameter in flow.parameters():
        parameter.data.add_(0.5 * torch.randn(parameter.shape))
    like = torch.zeros((), dtype=torch.float64)
    density = FlowDistribution(flow.double(), (2,), like=like)
    side = torch.linspace(-12, 12, 400, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    log_p = density.log_prob(grid)
    cell = (side[1] - side[0]) ** 2
    assert float(log_p.exp().sum() * cell) == pytest.approx(1, abs=1e-3)
    x = density.rsample((40_000,))
    weights = log_p.exp() * cell
    for f in (lambda v: v[..., 0], lambda v: v[..., 1].square(), lambda v: v.prod(-1)):
        values = f(x)
        error = 4 * float(values.std()) / math.sqrt(len(x)) + 1e-3
        assert float(values.mean()) == pytest.approx(float((f(grid) * weights).sum()), abs=error)


def test_networks_have_the_sizes_of_the_tutorial() -> None:
    shape, image = (1, 28, 28), {"context_shape": (1, 28, 28)}
    sizes = {name: flow_for(name, shape) for name in ("conv", "multiscale")}
    guide = flow_for(
        {"class_path": "conv", "init_args": {"couplings": 4, "channels": 16}}, shape, **image
    )
    count = {name: sum(p.numel() for p in f.parameters()) for name, f in sizes.items()}
    of_guide = sum(p.numel() for p in guide.parameters())
    assert count["conv"] == 556_312
    assert count["conv"] + of_guide == 628_388
    assert count["multiscale"] + of_guide == 1_711_818


@pytest.mark.parametrize(
    ("flow", "shape", "line"),
    [
        ("nope", IMAGE, "unknown flow 'nope': choose from dense, conv"),
        ("multiscale", (1, 5, 8), r"must be even; got \(1, 5, 8\)"),
        ("multiscale", (1, 6, 8), r"must be even; got \(2, 3, 4\)"),
        ("conv", VECTOR, "is of images"),
        ("dense", (1,), "two values or more"),
        ({"class_path": "conv", "init_args": {"depth": 3}}, IMAGE, "flow conv .*depth"),
        ({"class_path": "conv", "init_args": {"couplings": 0}}, IMAGE, "at least 1"),
        ({"class_path": "nsf", "init_args": {"depth": 3}}, VECTOR, "flow nsf .*depth"),
        ({"class_path": "nsf", "init_args": {"transforms": 0}}, VECTOR, "transforms must be at le"),
        ({"class_path": "dense", "init_args": {"hidden": 8}}, VECTOR, "hidden must be .*got 8"),
        ({"class_path": "dense", "init_args": {"hidden": []}}, VECTOR, "at least one layer size"),
        ({"class_path": "multiscale", "init_args": {"couplings": 2}}, IMAGE, "must be .*got 2"),
        (
            {"class_path": "multiscale", "init_args": {"couplings": [1, -1, 1]}},
            IMAGE,
            "couplings must be at least 0, a whole number; got -1",
        ),
        (
            {"class_path": "multiscale", "init_args": {"channels": [4, 0, 4]}},
            IMAGE,
            "channels must be at least 1, a whole number; got 0",
        ),
        ({"class_path": "multiscale", "init_args": {"blocks": 0}}, IMAGE, "blocks must be at l"),
        (torch.nn.Linear(2, 2), VECTOR, "a flow is a module with forward, inverse"),
        (Chain([Squeeze()]), VECTOR, "images"),
    ],
    ids=str,
)
def test_a_flow_that_cannot_be_is_one_line(flow: Any, shape: tuple[int, ...], line: str) -> None:
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        flow_for(flow, shape)
