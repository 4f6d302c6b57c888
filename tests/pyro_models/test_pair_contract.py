"""What every pair promises, over all registered pairs, their options and all likelihoods.

Every likelihood keeps every promise with the plain VAE, every other pair with some of them: what
is said of a pixel depends on the likelihood alone, once the pair has said its outputs.
"""

import copy
import json
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import pyro
import pytest
import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from inference.particles import particles
from pyro_models import CVAE, UsageError, load_data
from pyro_models.contract import fulfills
from pyro_models.data import Split
from pyro_models.likelihoods import LIKELIHOODS
from pyro_models.models import PAIRS, build, name_of
from pyro_models.pair import ConditionsOnPixels, Pair, pixel_mask
from pyro_models.priors import PRIORS

B = 4
CLASSES = 10


def seed(value: int) -> None:
    """What ``pyro.set_rng_seed`` does to the one generator that pairs draw from, only faster."""
    torch.default_generator.manual_seed(value)


@cache
def digits(preparation: str) -> Split:
    return load_data("digits", preparation=preparation).prepared("test")


@dataclass(frozen=True, eq=False)
class Case:
    """A registered pair with options; vectors are the first pixels of the digits."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    data_shape: tuple[int, ...] = (1, 8, 8)

    def __str__(self) -> str:
        options = {k: v for k, v in self.options.items() if k not in ("hidden", "latent_dim")}
        return "-".join([self.name, *map(str, options.values()), *map(str, self.data_shape[:-2])])

    def pair(self, dtype: torch.dtype = torch.float64) -> Pair:
        """A copy of its own for each test; the generator stands where it always does."""
        pair = copy.deepcopy(self._pristine(dtype))
        seed(1)
        return pair

    @cache  # noqa: B019  (cases live as long as the tests do)
    def _pristine(self, dtype: torch.dtype) -> Pair:
        """The pair, every weight a little away from its start, so that no zero hides a mistake."""
        seed(1)
        pair = build(self.name, self.data_shape, num_classes=CLASSES, **self.options).to(dtype)
        with torch.no_grad():
            for parameter in pair.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, dtype=dtype))
        return pair

    def data(self, dtype: torch.dtype = torch.float64, size: int = B) -> tuple[Tensor, Tensor]:
        """Pixels prepared as the pair's likelihood wants them, and labels."""
        pair = self._pristine(torch.float64)
        split = digits(pair.likelihood.preparation)
        flat = split.x[:size].flatten(1).to(dtype)
        flat = flat.repeat(1, 2)[:, 16 : 16 + torch.Size(self.data_shape).numel()]
        y = split.y[:size].clone()
        if "y" in pair.latent_sites:  # every other label is missing
            y[::2] = -1
        seed(1)
        return flat.unflatten(1, self.data_shape), y


SMALL: dict[str, Any] = {"hidden": [8], "latent_dim": 2}
TWO_LAYERS: dict[str, Any] = {"hidden": [8], "top_hidden": [6], "latent_dims": [3, 2]}
VAMP: dict[str, Any] = {"class_path": "vamp", "init_args": {"num_pseudo_inputs": 3}}
DENSE_FLOW: dict[str, Any] = {
    "class_path": "dense",
    "init_args": {"couplings": 2, "hidden": [8]},
}
CASES = [
    *(Case("vae", {**SMALL, "likelihood": name}) for name in LIKELIHOODS),
    *(Case("cvae", {**SMALL, "likelihood": name}) for name in ("cross_entropy", "beta")),
    *(
        Case("vae", {**SMALL, "likelihood": "gaussian", "likelihood_options": {"scale": scale}})
        for scale in ("pixel", "decoder", 0.2)
    ),
    Case("vae", {**SMALL, "network": "conv", "hidden": [4, 8], "activation": "silu"}),
    Case("vae", {**SMALL, "network": "conv", "likelihood": "gaussian"}, (2, 5, 9)),
    Case("vae", {**SMALL, "likelihood": "gaussian"}, (6,)),
    Case(
        "vae",
        {
            **SMALL,
            "network": "conv",
            "likelihood": "categorical",
            "likelihood_options": {"bins": 5},
        },
        (2, 5, 9),
    ),
    Case("vae", {**SMALL, "likelihood": "beta", "likelihood_options": {"epsilon": 0.0}}, (6,)),
    Case(
        "vae",
        {
            **SMALL,
            "likelihood": "mixed",
            "likelihood_options": {"columns": ["normal", "student_t"] * 3, "scale": "decoder"},
        },
        (6,),
    ),
    Case("cvae", {**SMALL, "network": "conv", "hidden": [4, 8]}),
    Case("cvae", {**SMALL, "learned_prior": True}),
    *(  # labels are summed over in front of whatever dimensions the outputs have
        Case("m2", {**SMALL, "likelihood": name})
        for name in ("bernoulli", "gaussian", "categorical", "logistic_mixture")
    ),
    Case("m2", {**SMALL, "network": "conv", "hidden": [4, 8], "classifier_hidden": [4]}),
    Case("m2", {**SMALL, "likelihood": "gaussian"}, (6,)),
    *(
        Case("two_layer_vae", {**TWO_LAYERS, "likelihood": name})
        for name in ("cross_entropy", "continuous_bernoulli", "gaussian")
    ),
    Case("two_layer_vae", {**TWO_LAYERS, "network": "conv", "hidden": [4, 8]}),
    *(Case("vae", {**SMALL, "prior": name}) for name in PRIORS if name != "standard"),
    *(Case(name, {**SMALL, "prior": VAMP}) for name in ("cvae", "m2")),
    Case("two_layer_vae", {**TWO_LAYERS, "prior": "mixture"}),
    Case("hvae", TWO_LAYERS),
    Case("hvae", {**TWO_LAYERS, "prior": VAMP, "network": "conv", "hidden": [4, 8]}),
    *(Case("ppca", {"guide": guide}) for guide in ("exact", "linear")),
    Case("ppca", {"guide": "linear"}, (6,)),
    *(
        Case("gmm", {"covariance": covariance, "guide": guide, "num_components": 3})
        for covariance in ("diagonal", "spherical", "tied", "full")
        for guide in ("enumerate", "amortised")
    ),
    Case("gmm", {"num_components": 1}),
    Case("gmm", {"covariance": "full", "num_components": 3}, (6,)),
    Case("bernoulli_mixture", {"num_components": 3}),
    Case("bernoulli_mixture", {"num_components": 1}, (6,)),
    Case("completion_cvae", {**SMALL, "likelihood": "categorical"}),
    Case("completion_cvae", {**SMALL, "masks": ["top", "bottom_left", "random"]}),
    Case("completion_cvae", {**SMALL, "network": "conv", "hidden": [4, 8]}),
    Case("completion_cvae", {**SMALL, "masks": ["random"], "likelihood": "gaussian"}, (6,)),
    Case("diffusion", {"num_steps": 3, "denoiser": "dense", "hidden": [8], "levels": 17}),
    Case("diffusion", {"num_steps": 2, "hidden": [4, 8], "noise": "linear"}, (2, 5, 9)),
    *(
        Case("flow", {"levels": 17, "flow": flow, "dequantise": guide})
        for flow, guide in (
            (DENSE_FLOW, "uniform"),
            (DENSE_FLOW, {"class_path": "variational", "init_args": {"flow": DENSE_FLOW}}),
            ({"class_path": "multiscale", "init_args": {"channels": [2, 2, 2]}}, "uniform"),
        )
    ),
    Case("flow", {"flow": DENSE_FLOW, "dequantise": None}),
    Case("flow", {"flow": DENSE_FLOW, "dequantise": None}, (6,)),
    Case("generator", {**SMALL, "sigma": 0.3}),
    Case("generator", {**SMALL, "network": "conv", "hidden": [4, 8]}),
    Case("generator", SMALL, (6,)),
]
every_case = pytest.mark.parametrize("case", CASES, ids=str)


def loss_and_gradients(
    pair: Pair, x: Tensor, y: Tensor, mask: Tensor | None = None
) -> tuple[float, dict[str, Tensor]]:
    seed(2)
    pair.zero_grad()
    with poutine.trace(param_only=True):  # as SVI does: Pyro's ELBOs then go backward
        loss = pair.elbo().loss_and_grads(pair.model, pair.guide, x, y=y, mask=mask)
    gradients = {name: p.grad.clone() for name, p in pair.named_parameters() if p.grad is not None}
    assert set(gradients) == {name for name, _ in pair.named_parameters()}
    return loss, gradients


def log_joint_trace(pair: Pair, x: Tensor | None, **conditions: Any) -> poutine.Trace:
    """Trace of the model at latents of the guide, or of the prior where the guide is silent."""
    guide_trace = poutine.trace(pair.guide).get_trace(x, **conditions)
    return poutine.trace(poutine.replay(pair.model, trace=guide_trace)).get_trace(x, **conditions)


def sample_sites(trace: poutine.Trace) -> dict[str, dict[str, Any]]:
    nodes = {n: s for n, s in trace.nodes.items() if s["type"] == "sample"}
    return {n: s for n, s in nodes.items() if not site_is_subsample(s)}


def random_latents(pair: Pair, batch: tuple[int, ...]) -> dict[str, Tensor]:
    return {
        name: torch.randint(site.num_values, batch + site.event_shape)
        if site.discrete
        else torch.randn(batch + site.event_shape, dtype=torch.float64)
        for name, site in pair.latent_sites.items()
    }


def pixels_given(pair: Pair, x: Tensor) -> dict[str, Tensor]:
    """What ``decode`` is told besides latents and labels."""
    return {"x": x} if fulfills(pair, ConditionsOnPixels) else {}


def random_mask(case: Case) -> Tensor:
    """(B, *data_shape), one value per pixel, the first datum's first pixel seen."""
    spatial = case.data_shape[-2:] if len(case.data_shape) == 3 else case.data_shape
    mask = torch.rand(B, *spatial, generator=torch.Generator().manual_seed(0)) < 0.5
    mask[0].view(-1)[0] = True
    return mask.unsqueeze(1) if len(case.data_shape) == 3 else mask


def masks(case: Case) -> dict[str, Tensor]:
    """Every shape a user may give a mask in."""
    full = random_mask(case)
    if len(case.data_shape) == 1:
        return {"(B, D)": full, "(D,)": full[0]}
    return {"(B, 1, H, W)": full, "(B, H, W)": full[:, 0], "(H, W)": full[0, 0]}


def assert_same(
    first: tuple[float, dict[str, Tensor]],
    second: tuple[float, dict[str, Tensor]],
    **tolerance: float,
) -> None:
    tolerance = {"rtol": 1e-9, "atol": 1e-9, **tolerance}
    assert first[0] == pytest.approx(second[0], rel=tolerance["rtol"], abs=tolerance["atol"])
    for name in first[1]:
        torch.testing.assert_close(first[1][name], second[1][name], **tolerance, msg=name)


def test_every_registered_pair_and_likelihood_has_a_case() -> None:
    assert {case.name for case in CASES} == set(PAIRS)
    assert {case.pair().likelihood.name for case in CASES} >= set(LIKELIHOODS)
    assert all(fulfills(case.pair(), Pair) for case in CASES)


@every_case
def test_sites_lie_inside_the_data_plate_and_bear_the_same_names(case: Case) -> None:
    pair, (x, y) = case.pair(), case.data()
    guide_sites = sample_sites(poutine.trace(pair.guide).get_trace(x, y=y))
    model_sites = sample_sites(log_joint_trace(pair, x, y=y))
    assert set(model_sites) == {*pair.latent_sites, "x"}
    assert set(guide_sites) in ({*pair.latent_sites}, set())
    for site in [*guide_sites.values(), *model_sites.values()]:
        frames = {frame.name: frame.dim for frame in site["cond_indep_stack"]}
        assert frames == {"data": -1}
        assert site["fn"].batch_shape == (B,)
    for name, latent in pair.latent_sites.items():
        for site in (model_sites[name], guide_sites.get(name, model_sites[name])):
            assert site["value"].shape == (B, *latent.event_shape)
            assert site["fn"].has_enumerate_support == latent.discrete
            if latent.discrete:
                assert len(site["fn"].enumerate_support(expand=False)) == latent.num_values
    assert model_sites["x"]["is_observed"]
    assert model_sites["x"]["fn"].event_shape == case.data_shape


@every_case
def test_generation(case: Case) -> None:
    pair = case.pair()
    for n in (1, 5):
        y = torch.arange(n)
        draws = []
        for start in (0, 0, 1):
            seed(start)
            draws.append(pair.model(n=n, y=y))
        assert draws[0].shape == (n, *case.data_shape)
        assert bool(draws[0].isfinite().all())
        pair.likelihood.check(draws[0])
        assert bool((draws[0] == draws[1]).all())
        assert not bool((draws[0] == draws[2]).all())
    for nothing in ({}, {"n": 0, "y": torch.zeros(0).long()}):
        with pytest.raises(UsageError, match=r"^.+\Z"):
            pair.model(**nothing)


@every_case
def test_decode_takes_any_leading_dimensions(case: Case) -> None:
    pair, (x, y) = case.pair(), case.data()
    for batch in ((), (B,), (3, B), (2, 3, B)):
        latents = random_latents(pair, batch)
        p_x = pair.decode(latents, y=y if batch else y[0])
        assert list(p_x) == ["x"]
        assert p_x["x"].batch_shape == batch
        assert p_x["x"].event_shape == case.data_shape
        assert p_x["x"].mean.shape == batch + case.data_shape
        log_prob = p_x["x"].log_prob(x if batch else x[0])
        assert log_prob.shape == batch
        if batch:  # each entry is what that entry alone decodes to
            last = {name: value[(-1,) * len(batch)] for name, value in latents.items()}
            alone = pair.decode(last, y=y[-1])["x"].log_prob(x[-1])
            torch.testing.assert_close(log_prob[(-1,) * len(batch)], alone)


@every_case
def test_decode_is_what_the_model_says(case: Case) -> None:
    pair, (x, y) = case.pair(), case.data()
    latents = random_latents(pair, (B,))
    trace = poutine.trace(poutine.condition(pair.model, data=latents)).get_trace(x, y=y)
    said = trace.nodes["x"]["fn"].log_prob(x)
    assert said.shape == (B,)
    decoded = pair.decode(latents, y=y, **pixels_given(pair, x))["x"]
    torch.testing.assert_close(said, decoded.log_prob(x))


@every_case
def test_config_and_state_rebuild_the_pair(case: Case, tmp_path: Any) -> None:
    pair, (x, y) = case.pair(), case.data()
    if hasattr(pair, "start_from"):
        pair.start_from(torch.cat([x, x + 0.1]))
    config = json.loads(json.dumps(pair.config()))
    torch.save(pair.state_dict(), tmp_path / "state.pt")
    rebuilt = build(name_of(pair), **config).double()
    rebuilt.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert rebuilt.config() == pair.config()
    assert_same(loss_and_gradients(rebuilt, x, y), loss_and_gradients(pair, x, y), rtol=0, atol=0)


@every_case
def test_unseen_pixels_reach_no_value_and_no_gradient(case: Case) -> None:
    pair, (x, y) = case.pair(), case.data()
    junk = x.new_tensor([float("nan"), float("inf"), 1e6, -3.0])
    numbers = torch.arange(x.numel()).view_as(x)
    for i, (shape, mask) in enumerate(masks(case).items()):
        seen = pixel_mask(mask, case.data_shape).expand_as(x)
        reference = loss_and_gradients(pair, x, y, mask)
        assert all(bool(g.isfinite().all()) for g in reference[1].values()), shape
        # each kind of junk in every fourth pixel, beginning with another for each shape
        dirty = torch.where(seen, x, junk[(numbers + i) % len(junk)])
        assert_same(loss_and_gradients(pair, dirty, y, mask), reference, rtol=0, atol=0)
    other = x.clone()
    first = random_mask(case)
    other[0].view(-1)[0] = 1 - other[0].view(-1)[0].round()  # a seen pixel does matter
    clean, changed = (loss_and_gradients(pair, v, y, first)[0] for v in (x, other))
    assert clean != changed


@every_case
def test_mask_shapes_mean_the_same(case: Case) -> None:
    pair, (x, y) = case.pair(), case.data()
    given = masks(case)
    shared = next(reversed(given.values()))
    same = shared.expand(B, *shared.shape)
    reference = loss_and_gradients(pair, x, y, same)
    assert_same(loss_and_gradients(pair, x, y, shared), reference)
    per_datum = [loss_and_gradients(pair, x, y, m) for s, m in given.items() if s.startswith("(B")]
    for result in per_datum[1:]:
        assert_same(result, per_datum[0], rtol=0, atol=0)


@every_case
def test_a_mask_of_seen_pixels_alone_changes_nothing(case: Case) -> None:
    pair, (x, y) = case.pair(), case.data()
    unmasked = loss_and_gradients(pair, x, y)
    for mask in masks(case).values():
        assert_same(loss_and_gradients(pair, x, y, torch.ones_like(mask)), unmasked, rtol=1e-7)


@every_case
def test_an_unseen_datum_has_log_likelihood_zero(case: Case) -> None:
    pair, (x, y) = case.pair(), case.data()
    mask = random_mask(case)
    mask[1] = False
    x = torch.where(mask.expand_as(x), x, x.new_tensor(float("nan")))
    site = log_joint_trace(pair, x, y=y, mask=mask).nodes["x"]
    log_prob = site["fn"].log_prob(site["value"])
    assert log_prob[1] == 0
    if case.name == "flow":  # v decides x: what is seen of it is said by the prior of v
        return
    assert log_prob[0] != 0
    if hasattr(pair, "exact_log_prob"):
        assert pair.exact_log_prob(x, mask)[1].item() == pytest.approx(0, abs=1e-12)


@every_case
def test_a_wrong_mask_is_one_line(case: Case) -> None:
    pair, (x, y) = case.pair(), case.data()
    size = case.data_shape[-1]
    wrong = [
        torch.ones(B + 1, *case.data_shape),  # too many data
        torch.ones(B, *case.data_shape[:-1], size + 1),
        torch.ones(size + 1),
        torch.ones(B, 2, *case.data_shape),
    ]
    calls = [pair.model, partial(pair.elbo().loss, pair.model, pair.guide)]
    if sample_sites(poutine.trace(pair.guide).get_trace(x, y=y)):  # an empty one looks at nothing
        calls.append(pair.guide)
    for call in calls:
        for mask in wrong:
            with pytest.raises(UsageError, match=r"^a mask .+\Z"):
                call(x, y=y, mask=mask)


def test_a_mask_that_may_mean_two_things_is_refused() -> None:
    x = torch.rand(3, 3, 4, 5)
    mask = torch.ones(3, 4, 5)
    with pytest.raises(UsageError, match="per datum or one per channel"):
        pixel_mask(mask, (3, 4, 5), x)
    assert pixel_mask(mask, (3, 4, 5), x[:2]).shape == (1, 3, 4, 5)
    assert pixel_mask(mask, (2, 4, 5), x[:, :2]).shape == (3, 2, 4, 5)
    assert pixel_mask(mask[:, None], (3, 4, 5), x).shape == (3, 3, 4, 5)


@every_case
def test_model_and_guide_share_no_parameter(case: Case) -> None:
    pair = case.pair()
    model, guide = ({id(p) for p in part.parameters()} for part in (pair.model, pair.guide))
    assert not model & guide
    assert {id(p) for p in pair.parameters()} == model | guide
    assert model


@every_case
def test_nothing_enters_the_global_store_outside_svi(case: Case) -> None:
    pyro.clear_param_store()
    pair, (x, y) = case.pair(), case.data()
    pair.elbo().loss_and_grads(pair.model, pair.guide, x, y=y)
    pair.elbo().loss(pair.model, pair.guide, x, y=y)
    particles(pair, None, x, num_particles=2, y=y)
    pair.model(n=2, y=y[:2])
    assert not list(pyro.get_param_store().keys())


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_works_in_the_float_type_of_its_weights(case: Case, dtype: torch.dtype) -> None:
    pair, (x, y) = case.pair(dtype), case.data(dtype)
    _, gradients = loss_and_gradients(pair, x, y, random_mask(case))
    assert {g.dtype for g in gradients.values()} == {dtype}
    assert pair.model(n=B, y=y).dtype == dtype
    assert particles(pair, None, x, num_particles=2, y=y).log_weight.dtype == dtype
    if hasattr(pair, "exact_log_prob"):
        assert pair.exact_log_prob(x).dtype == dtype


@every_case
def test_float32_is_float64_rounded(case: Case) -> None:
    pair, (x, y) = case.pair(), case.data()
    latents = random_latents(pair, (B,))
    exact = pair.decode(latents, y=y)["x"].log_prob(x)
    small = {n: v.float() if v.is_floating_point() else v for n, v in latents.items()}
    rounded = pair.to(torch.float32).decode(small, y=y)["x"].log_prob(x.float())
    torch.testing.assert_close(rounded.double(), exact, rtol=1e-4, atol=1e-4)


@every_case
def test_one_datum(case: Case) -> None:
    pair, (x, y) = case.pair(), case.data(size=1)
    loss, gradients = loss_and_gradients(pair, x, y)
    assert torch.tensor(loss).isfinite()
    assert all(bool(g.isfinite().all()) for g in gradients.values())
    if hasattr(pair, "start_from") and getattr(pair, "num_components", 1) == 1:
        pair.start_from(x)
        assert torch.tensor(loss_and_gradients(pair, x, y)[0]).isfinite()


@every_case
@pytest.mark.parametrize(  # every two of the three settings together
    ("num_particles", "size", "masked"),
    [(1, 1, False), (1, B, True), (3, 1, True), (3, B, False)],
)
def test_particles(case: Case, num_particles: int, size: int, masked: bool) -> None:
    pair, (x, y) = case.pair(), case.data(size=size)
    mask = random_mask(case)[:size] if masked else None
    drawn = particles(pair, None, x, num_particles=num_particles, mask=mask, y=y)
    shape = (num_particles, size)
    for term in (drawn.log_prior, drawn.log_likelihood, drawn.log_q, drawn.log_weight):
        assert term.shape == shape
        assert bool(term.isfinite().all())
    bounds = drawn.elbo(), drawn.importance_bound()
    assert bounds[0].shape == bounds[1].shape == (size,)
    if num_particles == 1:
        torch.testing.assert_close(*bounds)
    else:
        assert bool((bounds[0] <= bounds[1] + 1e-9).all())
    ess = drawn.effective_sample_size()
    assert bool(((ess >= 1 - 1e-9) & (ess <= num_particles + 1e-9)).all())

    if not drawn.latents:  # all summed out: every weight is the evidence
        torch.testing.assert_close(drawn.log_weight, pair.exact_log_prob(x, mask).expand(shape))
        return
    for k in range(num_particles):  # each particle on its own, by plain Pyro
        latents = {name: value[k] for name, value in drawn.latents.items()}
        at_k = poutine.condition(pair.model, data=latents)
        trace = poutine.trace(at_k).get_trace(x, y=y, mask=mask)
        log_joint = sum(site["fn"].log_prob(site["value"]) for site in sample_sites(trace).values())
        at_k = poutine.trace(poutine.condition(pair.guide, data=latents))
        sites = sample_sites(at_k.get_trace(x, y=y, mask=mask))
        log_q = sum(site["fn"].log_prob(latents[name]) for name, site in sites.items())
        torch.testing.assert_close(drawn.log_weight[k], (log_joint - log_q).expand(size))


@pytest.mark.parametrize(
    "y",
    [
        None,
        torch.tensor([0, 1, -1, 2]),
        torch.tensor([0, 1, 2, CLASSES]),
        torch.tensor([0.0, 1.0, 2.0, 3.0]),
        torch.tensor([[0], [1], [2], [3]]),
        torch.tensor([0, 1, 2]),
    ],
    ids=["None", "missing", "out of range", "float", "column", "too few"],
)
def test_labels_a_cvae_cannot_use_are_one_line(y: Tensor | None) -> None:
    pair, (x, _) = Case("cvae", SMALL).pair(), Case("cvae", SMALL).data()
    calls = [
        lambda: pair.model(x, y=y),
        lambda: pair.guide(x, y=y),
        lambda: pair.elbo().loss(pair.model, pair.guide, x, y=y),
        lambda: particles(pair, None, x, num_particles=2, y=y),
    ]
    for call in calls:
        with pytest.raises(UsageError, match=r"^.*label.*\Z"):
            call()


@every_case
def test_labels_matter_to_a_pair_that_has_classes_and_to_no_other(case: Case) -> None:
    pair, (x, _) = case.pair(), case.data()
    y = digits("grey").y[:B]
    latents = random_latents(pair, (B,))
    latents.pop("y", None)  # a label that is a latent may be given as either

    def said(labels: Tensor) -> list[Tensor]:
        """What guide and decoder say, on the same draws."""
        seed(0)
        sites = sample_sites(poutine.trace(pair.guide).get_trace(x, y=labels)).values()
        return [*(s["value"] for s in sites), pair.decode(latents, y=labels)["x"].mean]

    changed = [
        not torch.equal(*both) for both in zip(said(y), said((y + 1) % CLASSES), strict=True)
    ]
    assert changed == [pair.num_classes is not None] * len(changed)


def test_a_learned_prior_is_one_of_its_label() -> None:
    pair = Case("cvae", {**SMALL, "learned_prior": True}).pair()
    y = torch.tensor([0, 0, 1])
    p_z = poutine.trace(pair.model).get_trace(n=3, y=y).nodes["z"]["fn"]
    assert torch.equal(p_z.mean[0], p_z.mean[1])
    assert not torch.equal(p_z.mean[0], p_z.mean[2])
    assert not torch.equal(p_z.variance[0], p_z.variance[2])


def test_one_label_may_be_shared_by_all_that_is_generated() -> None:
    for learned_prior in (False, True):
        pair = CVAE((1, 8, 8), num_classes=3, latent_dim=2, learned_prior=learned_prior)
        assert pair.model(n=5, y=torch.tensor([2])).shape == (5, 1, 8, 8)


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("nope", {}, "unknown model 'nope': choose from vae"),
        ("vae", {"latent": 3}, "no option latent; it has latent_dim"),
        ("vae", {"latent_dim": 2, "hidden": 400, "network": "conv"}, "hidden must be"),
        ("cvae", {}, "needs labels"),
        ("vae", {"likelihood": "nope"}, "unknown likelihood 'nope': choose from"),
        ("vae", {"likelihood_options": {"scale": 1.0}}, "likelihood cross_entropy"),
        ("vae", {"latent_dim": 0}, "at least 1; got 0"),
        ("vae", {"hidden": []}, "at least one positive layer size"),
        ("vae", {"hidden": [0]}, "at least one positive layer size"),
        ("vae", {"activation": "nope"}, "unknown activation 'nope': choose from relu"),
        ("vae", {"network": "nope"}, "unknown network 'nope': choose from dense, conv"),
        ("ppca", {"latent_dim": 64}, "fewer components than the 64 values"),
        ("ppca", {"latent_dim": -3}, "latent dimension must be at least 1; got -3"),
        ("ppca", {"guide": "nope"}, "unknown PPCA guide 'nope'"),
        ("gmm", {"num_components": 0}, "at least one component; got 0"),
        ("gmm", {"covariance": "nope"}, "unknown covariance 'nope'"),
        ("gmm", {"floor": 0.0}, "floor must be positive"),
        ("gmm", {"guide": "nope"}, "unknown GMM guide 'nope'"),
    ],
)
def test_what_cannot_be_built_is_one_line(name: str, options: dict[str, Any], line: str) -> None:
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        build(name, (1, 8, 8), **options)
