"""Learning as its user sees it: bounds rise, seeds hold, nothing else moves."""

from contextlib import nullcontext
from dataclasses import replace

import pyro
import pytest
import torch
from matplotlib.figure import Figure
from pyro.infer import (
    RenyiELBO,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
)
from pyro.poutine.messenger import Messenger

from inference.evaluation import exact_log_prob
from inference.figures import prior_samples
from inference.learning import Run, Snapshots, fit, make_objective
from inference.objectives import JensenShannon
from pyro_models import CVAE, GMM, PPCA, VAE, TwoLayerVAE, UsageError
from pyro_models.data import Split
from pyro_models.seeds import seeded, stream

SHAPE = (1, 8, 8)
CPU = torch.device("cpu")


def vae(seed=0, **options):
    torch.manual_seed(seed)
    return VAE(SHAPE, **{"hidden": [16], "latent_dim": 2, **options})


def cvae():
    return CVAE(SHAPE, num_classes=10, hidden=[16], latent_dim=2, likelihood="cross_entropy")


def gmm(guide="enumerate"):
    return GMM(SHAPE, num_components=3, guide=guide, hidden=[8])


def ppca(guide="exact"):
    return PPCA(SHAPE, latent_dim=2, guide=guide)


def train(pair, data, **options):
    return fit(pair, data, **{"epochs": 3, "batch_size": 64, "progress": False, **options})


def state(pair):
    return {name: tensor.clone() for name, tensor in pair.state_dict().items()}


def same(a, b):
    assert a.keys() == b.keys()
    return all(torch.equal(a[name], b[name]) for name in a)


LEARNING = [
    *(
        (make, objective)
        for make in (vae, cvae)
        for objective in (
            "elbo",
            "trace",
            "mean_field",
            "trace_graph",
            Trace_ELBO(),
            TraceMeanField_ELBO(),
            TraceGraph_ELBO(),
            RenyiELBO(alpha=0.0, num_particles=3, vectorize_particles=True, max_plate_nesting=1),
        )
    ),
    *((lambda: ppca("linear"), name) for name in ("elbo", "trace", "trace_graph")),
    (ppca, "elbo"),
    (gmm, "elbo"),
    (gmm, "trace_enum"),
    (gmm, TraceEnum_ELBO(max_plate_nesting=1)),
    (lambda: gmm("amortised"), "elbo"),
    (lambda: gmm("amortised"), "trace_graph"),
    (lambda: gmm("amortised"), TraceGraph_ELBO(max_plate_nesting=1)),
]


@pytest.mark.parametrize(("make", "objective"), LEARNING)
def test_the_bound_rises_and_the_weights_of_both_parts_move(make, objective, few):
    pair = make()
    data = few if pair.likelihood.measure is None else few.with_preparation("dequantised")
    if hasattr(pair, "start_from"):
        pair.start_from(data.prepared("train").x)
    before = state(pair)

    def bound():
        split = data.prepared("train")
        with seeded(0, CPU):
            return make_objective(pair).value(split.x, y=split.y)

    first = bound()
    train(pair, data, objective=objective, lr=3e-3, epochs=4, curve_size=0)
    assert bound() > first
    for part in ("model", "guide"):
        for name, parameter in getattr(pair, part).named_parameters():
            assert not torch.equal(parameter, before[f"{part}.{name}"]), (part, name)


def test_exact_pairs_learn_towards_the_maximum_of_the_likelihood(few):
    x = few.prepared("train").x.flatten(1)
    data = replace(few, splits={"train": Split(x), "test": Split(x[:5])}, levels=None)
    best = exact_log_prob(PPCA.maximum_likelihood(x, latent_dim=2), x).mean()
    pair = PPCA((64,), latent_dim=2)
    result = train(pair, data, lr=2e-2, epochs=150, batch_size=192, schedule="CosineAnnealingLR")
    assert best - 0.5 < exact_log_prob(pair, x).mean() <= best + 1e-3
    assert result.history.start == "mean and total variance of the data"
    assert result.history.epochs[-1].validation is None


def test_the_same_seed_gives_the_same_parameters_and_another_seed_others(few):
    data = few.with_preparation("dynamic")
    runs = [state(train(vae(likelihood="bernoulli"), data, seed=s).pair) for s in (3, 3, 4)]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


@pytest.mark.parametrize("objective", ["elbo", "trace_graph", RenyiELBO(num_particles=2)])
def test_the_callers_generator_and_parameter_store_do_not_move(objective, few):
    pyro.clear_param_store()
    pair = vae()
    before = torch.get_rng_state()
    train(pair, few, objective=objective)
    assert torch.equal(torch.get_rng_state(), before)
    assert not dict(pyro.get_param_store().items())


def test_training_does_not_depend_on_the_callers_generator(few):
    one, other = vae(), vae()
    torch.manual_seed(1)
    train(one, few)
    torch.manual_seed(2)
    train(other, few)
    assert same(state(one), state(other))


def _draws(moment):
    torch.randn(7)
    moment.pair.model(n=3)


@pytest.mark.parametrize("preparation", ["grey", "dynamic"])
@pytest.mark.parametrize(
    "options", [{"curve_size": 0}, {"curve_size": 50}, {"callbacks": [_draws]}], ids=", ".join
)
def test_curves_and_callbacks_leave_training_as_it_is(options, preparation, few):
    data = few.with_preparation(preparation)
    plain, looked_at = vae(), vae()
    train(plain, data)
    train(looked_at, data, **options)
    assert same(state(plain), state(looked_at))


def test_the_last_curve_is_the_bound_of_the_parameters_as_they_are_now(few):
    pair = vae()
    history = train(pair, few, lr=1e-2, seed=5, beta_warmup=3).history
    for split in ("train", "validation"):
        with seeded(stream(5, "curves"), CPU):
            expected = make_objective(pair).value(few.split(split).x)
        assert getattr(history.epochs[-1], split) == expected
    assert history.epochs[-1].running != history.epochs[-1].train


def test_the_training_curve_is_of_the_first_data_only_if_asked(few):
    pair = vae()
    history = train(pair, few, curve_size=10).history
    with seeded(stream(0, "curves"), CPU):
        assert history.epochs[-1].train == make_objective(pair).value(few.split("train").x[:10])


def test_curves_can_be_left_out_but_stopping_still_sees_validation(few):
    without = train(vae(), few, curve_size=0).history.epochs
    assert all(e.train is None and e.validation is None for e in without)
    stopping = train(vae(), few, curve_size=0, patience=2).history.epochs
    assert all(e.train is None and e.validation is not None for e in stopping)


def test_validation_and_test_data_never_reach_a_parameter(few):
    other = dict(few.splits)
    for name in ("validation", "test"):
        other[name] = Split(1 - few.splits[name].x, few.splits[name].y)
    one, two = vae(), vae()
    train(one, few)
    train(two, replace(few, splits=other))
    assert same(state(one), state(two))


def test_callbacks_see_every_epoch_once_in_evaluation_mode_and_in_order(few, tmp_path):
    seen = []

    def look(moment):
        assert not any(m.training for m in moment.pair.model.modules())
        assert len(moment.history) == moment.epoch
        assert moment.out == tmp_path / "run"
        seen.append((moment.epoch, moment.epochs))

    pair = vae()
    train(pair, few, callbacks=[look], out=tmp_path / "run")
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert all(m.training for m in pair.model.modules())


@pytest.mark.parametrize("at", [0, 2])
def test_a_callback_that_returns_a_string_stops_and_says_why(at, few):
    history = train(
        vae(), few, epochs=5, callbacks=[lambda m: "enough seen" if m.epoch == at else None]
    ).history
    assert len(history.epochs) == at
    assert history.stopped == "enough seen"


def test_no_epochs_leave_the_pair_untouched(few):
    pair = vae()
    before = state(pair)
    history = train(pair, few, epochs=0).history
    assert history.epochs == ()
    assert same(before, state(pair))


def test_snapshots_are_figures_and_files_at_the_named_moments(few, tmp_path):
    snapshots = Snapshots(lambda pair: prior_samples(pair, n=4), at=(1, "start", "half", "end"))
    train(vae(), few, epochs=5, callbacks=[snapshots], out=tmp_path / "run")
    assert sorted(snapshots.figures) == [0, 1, 3, 5]
    names = sorted(path.name for path in (tmp_path / "run" / "figures").iterdir())
    assert names == [f"epoch-{epoch:04d}.png" for epoch in (0, 1, 3, 5)]
    assert all(
        (tmp_path / "run" / "figures" / name).read_bytes().startswith(b"\x89PNG") for name in names
    )


def test_snapshots_go_to_a_folder_of_their_own_or_nowhere(few, tmp_path):
    for folder in (tmp_path / "elsewhere", None):
        snapshots = Snapshots(lambda pair: prior_samples(pair, n=1), at=["end"], folder=folder)
        train(vae(), few, epochs=1, callbacks=[snapshots])
        assert list(snapshots.figures) == [1]
    assert [p.name for p in tmp_path.rglob("*.png")] == ["epoch-0001.png"]


def test_a_snapshot_at_no_known_moment_is_refused():
    with pytest.raises(UsageError, match="middle"):
        Snapshots(prior_samples, at=["middle"])


def test_early_stopping_says_why_and_the_best_parameters_come_back_exactly(few):
    kept = {}

    def keep(moment):
        kept[moment.epoch] = state(moment.pair)

    pair = vae()
    history = train(
        pair,
        few,
        lr=0.2,
        epochs=60,
        patience=3,
        restore_best=True,
        callbacks=[keep],
        batch_size=32,
    ).history
    bounds = {e.epoch: e.validation for e in history.epochs}
    best = max(bounds, key=bounds.get)
    assert history.best_epoch == best
    assert len(bounds) == best + 3 < 60
    assert "had not risen" in history.stopped
    assert f"epoch {best} restored" in history.stopped
    assert same(state(pair), kept[best])
    assert not same(state(pair), kept[max(kept)])


def test_small_improvements_do_not_count_where_more_is_asked_for(few):
    history = train(vae(), few, lr=1e-4, epochs=10, patience=2, min_improvement=50.0).history
    assert len(history.epochs) == 3
    assert "more than 50 nats for 2 epochs" in history.stopped
    bounds = [e.validation for e in history.epochs]
    assert history.best_epoch == 1 + bounds.index(max(bounds))  # the best is the best all the same


def test_a_snapshot_of_the_end_is_drawn_where_training_stops_early(few):
    end = Snapshots(lambda pair: Figure(), at=["end"])
    stop = lambda moment: "enough" if moment.epoch == 2 else None  # noqa: E731
    train(vae(), few, epochs=9, callbacks=[stop, end])
    assert list(end.figures) == [2]
    with pytest.raises(UsageError, match="no epoch 99 to draw a snapshot at: the run has 3"):
        train(vae(), few, callbacks=[Snapshots(lambda pair: Figure(), at=[99])])


@pytest.mark.parametrize("objective", ["trace", "trace_mean_field", "trace_graph", Trace_ELBO()])
def test_an_objective_that_would_collapse_a_mixture_is_refused(few, objective):
    mixture = GMM(few.data_shape, num_components=3)
    with pytest.raises(UsageError, match="does not enumerate: use the objective elbo"):
        train(mixture, few, objective=objective)


@pytest.mark.parametrize("objective", ["trace_mean_field", TraceMeanField_ELBO()])
def test_a_kl_by_sites_is_refused_where_the_guide_goes_the_other_way(few, objective, tmp_path):
    layers = TwoLayerVAE(few.data_shape, latent_dims=[3, 2], hidden=[4], top_hidden=[4])
    binary = few.with_preparation("threshold")
    with pytest.raises(UsageError, match=r"z1, z2 and the model z2, z1.*use the objective"):
        train(layers, binary, objective=objective, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    train(layers, binary, objective="mean_field")  # falls back on sampled terms


def test_bfloat16_leaves_the_densities_of_ppca_in_float32(few):
    x = few.prepared("train").x.double()
    ppca = PPCA.maximum_likelihood(x, latent_dim=20).float()
    exact = float(ppca.exact_log_prob(x.float()).detach().mean())
    with torch.autocast("cpu", dtype=torch.bfloat16), seeded(0, torch.device("cpu")):
        bound = make_objective(ppca).value(x.float())
    assert bound == pytest.approx(exact, abs=1e-3)


def test_without_early_stopping_the_last_parameters_stay(few):
    history = train(vae(), few).history
    assert history.stopped == "all 3 epochs done"
    assert [e.epoch for e in history.epochs] == [1, 2, 3]


def test_beta_rises_linearly_to_one(few):
    history = train(vae(), few, epochs=6, beta_warmup=4).history
    assert [e.beta for e in history.epochs] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_a_warmup_of_one_step_is_none(few):
    whole, warmed = vae(), vae()
    train(whole, few, batch_size=192)
    train(warmed, few, batch_size=192, beta_warmup=1)
    assert same(state(whole), state(warmed))
    longer = vae()
    train(longer, few, batch_size=192, beta_warmup=3)
    assert not same(state(whole), state(longer))


def test_a_pair_in_float64_trains_in_float64(few):
    pair = vae().double()
    history = train(pair, few).history
    assert all(p.dtype == torch.float64 for p in pair.parameters())
    single = train(vae(), few).history
    assert history.epochs[-1].train == pytest.approx(single.epochs[-1].train, rel=1e-3)


def test_autocast_covers_networks_and_log_probabilities_stay_in_float32(few):
    single, half = vae(), vae()
    bound = train(single, few).history.epochs[-1].train
    seen = []

    class Look(Messenger):
        def _pyro_post_sample(self, msg):
            seen.append(msg["fn"].log_prob(msg["value"]).dtype)

    with Look():
        rounded = train(half, few, precision="bfloat16").history.epochs[-1].train
    assert set(seen) == {torch.float32}
    assert rounded == pytest.approx(bound, rel=0.02)
    assert not same(state(single), state(half))
    assert all(p.dtype == torch.float32 for p in half.parameters())


def test_two_fits_in_one_process_do_not_touch_each_other(few):
    first = vae()
    train(first, few)
    kept = state(first)
    second = vae()
    train(second, few)
    assert same(kept, state(first))
    assert same(kept, state(second))


@pytest.mark.parametrize("size", [1, 3])
def test_few_data_and_larger_batches_train(size, few):
    splits = {n: Split(s.x[:size], s.y[:size]) for n, s in few.splits.items()}
    data = replace(few, splits=splits)
    for make in (vae, lambda: ppca("linear"), lambda: GMM(SHAPE, num_components=1)):
        pair = make()
        unbounded = isinstance(pair, PPCA)  # in two dimensions, of at most three data
        with pytest.warns(match="no maximum") if unbounded else nullcontext():
            history = train(pair, data, batch_size=500).history
        assert len(history.epochs) == 3
        assert all(torch.isfinite(p).all() for p in pair.parameters())


def test_the_last_small_batch_counts_by_its_size(few):
    """The running mean is over data; with lr tiny it is the bound itself."""
    pair = GMM(SHAPE, num_components=2)
    splits = {"train": Split(few.splits["train"].x[:65]), "test": few.splits["test"]}
    history = train(pair, replace(few, splits=splits), lr=1e-12, epochs=1, batch_size=64).history
    (epoch,) = history.epochs
    assert epoch.running == pytest.approx(epoch.train, rel=1e-5)


def test_each_epoch_prepares_pixels_anew_and_shuffles(few):
    batches = []
    pair = vae(likelihood="bernoulli")
    pair.guide.register_forward_pre_hook(
        lambda module, given: batches.append(given[0].clone()) if torch.is_grad_enabled() else None
    )
    train(pair, few.with_preparation("dynamic"), epochs=2, batch_size=192)
    one, two = (b.flatten(1) for b in batches)
    assert not torch.equal(one.sort(0).values, two.sort(0).values)
    assert set(one.unique().tolist()) == {0.0, 1.0}


NO_EVIDENCE = "the cross-entropy is an objective: there is no p(x)"


@pytest.mark.parametrize(
    ("objective", "likelihood", "remark"),
    [
        ("js", "continuous_bernoulli", JensenShannon.remark),
        ("js", "cross_entropy", f"{JensenShannon.remark}; {NO_EVIDENCE}"),
        ("iwae", "continuous_bernoulli", ""),
        ("iwae", "cross_entropy", NO_EVIDENCE),
        ("trace", "cross_entropy", NO_EVIDENCE),
    ],
)
def test_an_objective_that_is_no_bound_says_so_in_history_and_record(
    objective, likelihood, remark, few, tmp_path
):
    options = {"epochs": 1, "progress": False, "out": tmp_path / "run"}
    pair = VAE((1, 8, 8), hidden=[4], likelihood=likelihood)
    first = fit(pair, few, objective=objective, **options)
    recorded = Run(first.out).describe()["training"]["remark"]
    assert first.history.remark == recorded == remark
    options["epochs"] = 2
    pair = VAE((1, 8, 8), hidden=[4], likelihood=likelihood)
    again = fit(pair, few, objective=objective, resume=True, **options)
    assert again.history.remark == Run(again.out).describe()["training"]["remark"] == recorded


def test_history_as_csv_has_a_row_per_epoch(few):
    history = train(vae(), few).history
    header, *rows = history.to_csv().splitlines()
    assert header.startswith("epoch,running,train,validation")
    assert [row.split(",")[0] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1].split(",")[2]) == history.epochs[-1].train


@pytest.mark.parametrize("preparation", ["dynamic", "threshold"])
@pytest.mark.parametrize("capture", [False, True])
def test_pixels_of_any_preparation_are_tried_before_the_first_step(few, preparation, capture):
    pair = VAE(few.data_shape, hidden=[8], latent_dim=2, likelihood="bernoulli")
    data = few.with_preparation(preparation)
    options = {"objective": "iwae", "capture": capture, "epochs": 2, "progress": False}
    history = fit(pair, data, objective_options={"num_particles": 2}, **options).history
    assert history.objective == "iwae, K = 2"


def test_a_refused_objective_leaves_no_run_behind(few, tmp_path):
    pair = GMM(few.data_shape, num_components=2)
    with pytest.raises(UsageError, match="js needs a pair"):
        fit(pair, few, objective="js", out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
