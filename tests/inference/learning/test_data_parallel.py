"""Two processes that train one pair take the steps of one; what one of them meets, all hear of.

The processes are real ones, joined by gloo on the CPU.
"""

import math
import multiprocessing
import os
import signal
import socket
import sys
import time
import traceback
from dataclasses import replace
from itertools import chain

import pytest
import torch
import torch.distributed as dist

from inference.cli import main
from inference.cuda_graph import run_directly
from inference.learning import Run, fit
from inference.learning.data_parallel import Processes, ProcessLostError, processes_on
from inference.learning.first_step import try_a_step
from inference.learning.nonfinite import NonFiniteError
from inference.learning.settings import Settings
from inference.learning.training import Training
from pyro_models import GMM, VAE, ImageData, Observed, SemiSupervisedVAE, UsageError
from pyro_models.data import Split

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)


def _process(work, rank, size, folder, given):
    """One of the processes, in the place of what torchrun starts."""
    torch.set_num_threads(1)
    with (folder / f"words-{rank}").open("wb") as words:
        os.dup2(words.fileno(), 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    try:
        if work is not command:
            store = f"file://{folder}/store"
            dist.init_process_group("gloo", init_method=store, rank=rank, world_size=size)
        torch.save(work(rank, *given), folder / f"found-{rank}")
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        raise


@pytest.fixture(scope="module")
def forked():
    """A server whose processes have imported everything."""
    context = multiprocessing.get_context("forkserver")
    # and what torch imports when a step is recorded
    context.set_forkserver_preload(["inference.cli", "torch._dynamo", "torch._subclasses"])
    return context


@pytest.fixture
def start(forked, tmp_path):
    """Start so many processes that do some work; returns them and their folder."""
    started = []

    def start(work, *given, size=2):
        folder = tmp_path / f"processes-{len(started)}"
        folder.mkdir()
        processes = [
            forked.Process(target=_process, args=(work, rank, size, folder, given))
            for rank in range(size)
        ]
        started.append(processes)
        for each in processes:
            each.start()
        return processes, folder

    yield start
    for each in chain(*started):
        if each.is_alive():
            each.kill()
        each.join()


@pytest.fixture
def together(start):
    """What so many processes return that do some work."""

    def together(work, *given, size=2):
        processes, folder = start(work, *given, size=size)
        for each in processes:
            each.join(60)
        words = "".join((folder / f"words-{rank}").read_text() for rank in range(size))
        assert [each.exitcode for each in processes] == [0] * size, words
        return [torch.load(folder / f"found-{rank}") for rank in range(size)]

    return together


def mixture():
    torch.manual_seed(1)
    return GMM(SHAPE, num_components=3).double()


def vae():
    torch.manual_seed(1)
    return VAE(SHAPE, hidden=[6], latent_dim=2, likelihood="cross_entropy")


def learned(make, data, **options):
    pair = make()
    how = {
        "capture": False,
        "epochs": 2,
        "batch_size": 50,
        "lr": 1e-2,
        "progress": False,
        **options,
    }
    result = fit(pair, data, **how)
    epochs = [vars(replace(epoch, seconds=0.0)) for epoch in result.history.epochs]
    return {"state": pair.state_dict(), "epochs": epochs, "start": result.history.start}


def fitted(rank, make, data, options):
    if rank:
        torch.manual_seed(100)  # weights of its own, which are those of the first from then on
    return learned(make, data, **options)


def same(one, other):
    return all(torch.equal(one["state"][name], other["state"][name]) for name in one["state"])


@pytest.mark.parametrize(
    ("batch_size", "size"), [(50, 2), (37, 3), (191, 2)], ids=["even", "uneven", "none for one"]
)
def test_without_noise_they_learn_what_one_learns(batch_size, size, few, together):
    data = few.with_preparation("dequantised")
    options = {
        "batch_size": batch_size,
        "clip_norm": 0.5,
        "schedule": "ReduceLROnPlateau",
        "patience": 5,
        "noise_multiple": 1.0,
    }
    alone = learned(mixture, data, **options)
    found = together(fitted, mixture, data, options, size=size)
    for each in found:
        assert same(each, found[0])
        assert each["epochs"] == found[0]["epochs"]
        assert each["start"] == alone["start"]
    for name, value in alone["state"].items():
        torch.testing.assert_close(found[0]["state"][name], value, rtol=1e-9, atol=1e-9)
    for one, other in zip(found[0]["epochs"], alone["epochs"], strict=True):
        assert one.pop("measures") == other.pop("measures") == {}
        assert one == pytest.approx(other, rel=1e-9)


def test_alone_in_a_group_is_the_plain_run(few, together):
    (found,) = together(fitted, vae, few.with_preparation("dynamic"), {}, size=1)
    plain = learned(vae, few.with_preparation("dynamic"))
    assert same(found, plain)
    assert found["epochs"] == plain["epochs"]


def test_they_go_on_bit_for_bit_and_only_in_the_same_number(few, together, tmp_path):
    data = few.with_preparation("dynamic")
    whole = together(fitted, vae, data, {"epochs": 3, "out": tmp_path / "whole"})
    together(fitted, vae, data, {"epochs": 1, "out": tmp_path / "torn"})
    checkpoint = Run(tmp_path / "torn").load_checkpoint()
    first, second = (states["cpu"] for states in checkpoint["processes"])
    assert not torch.equal(first, second)
    on = {"epochs": 3, "out": tmp_path / "torn", "resume": True}
    with pytest.raises(UsageError, match=r"begun by 2 processes, not 1: resume it with as many"):
        learned(vae, data, **on)
    torn = together(fitted, vae, data, on)
    assert same(torn[0], whole[0])
    assert same(torn[1], whole[0])
    assert torn[1]["epochs"] == whole[0]["epochs"]
    files = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "torn")]
    assert files[0] == files[1]


def test_the_first_alone_calls_callbacks_and_all_stop(few, together):
    called = together(_stopped, few)
    assert called == [([0, 1], 1), ([], 1)]


def _stopped(rank, data):
    epochs = []

    def callback(state):
        epochs.append(state.epoch)
        return "enough" if state.epoch == 1 else None

    history = fit(vae(), data, epochs=5, progress=False, callbacks=[callback]).history
    assert history.stopped == "enough"
    return epochs, len(history.epochs)


@pytest.mark.parametrize("on_device", [False, True])
def test_what_is_not_finite_in_one_is_said_by_all(on_device, few, together):
    found = together(_struck, few, on_device)
    assert found[0] == found[1]
    assert "step 2 of" in found[0]
    assert "site" in found[0]


def _training(data, *, launcher=None, make=vae, **options):
    processes = Processes(dist.get_rank(), 2, dist.new_group(), dist.new_group())
    training = Training(make(), data, Settings(curve_size=0, **options), None, processes)
    training.launcher = launcher
    training.start_from_data()
    try_a_step(training)
    return training


def _struck(rank, data, on_device):
    make = lambda: VAE(SHAPE, hidden=[6], likelihood="gaussian")  # noqa: E731
    training = _training(
        data, launcher=run_directly if on_device else None, make=make, batch_size=20
    )
    x = training.epoch_data.fixed.x.clone()  # the processes share the memory of what they are given
    training.epoch_data.fixed = Observed.unchecked(x)
    if rank == 1:
        x[training.epoch_data.permutation[35]] = math.inf  # the second batch's second half
    with pytest.raises(NonFiniteError) as caught:
        training.run_epochs([], progress=False)
    return str(caught.value)


@pytest.mark.parametrize("options", [{}, {"clip_norm": 1e-2}, {"batch_size": 191}], ids=str)
def test_steps_on_the_device_are_those_of_the_loop(options, few, together):
    assert together(_both_ways, few, options) == [True, True]


def _both_ways(rank, data, options):
    found = []
    for launcher in (None, run_directly):
        torch.manual_seed(5)
        training = _training(data, launcher=launcher, **{"batch_size": 50, "epochs": 2, **options})
        training.run_epochs([], progress=False)
        assert (training.graphed is not None) == (launcher is not None)
        found.append([p.detach().clone() for p in training.step.parameters])
    return all(map(torch.equal, *found))


def labelled_unevenly():
    """20 data of which the first half has 3 labels, and the second 7."""
    torch.manual_seed(3)
    y = torch.full((20,), -1)
    y[:3], y[10:17] = 1, 2
    return ImageData("few", {"train": Split(torch.rand(20, *SHAPE).round(), y)}, num_classes=10)


def classifier():
    torch.manual_seed(1)
    hidden = {"hidden": [8], "classifier_hidden": [8]}
    return SemiSupervisedVAE(SHAPE, num_classes=10, classification_weight=1e12, **hidden).double()


def _classified(rank, data):
    """The gradient of the classifier, of which the bound is a trillionth."""
    several = dist.is_initialized()
    with processes_on(CPU) as processes:
        settings = Settings(batch_size=20, optimizer="SGD", lr=1e-30)
        training = Training(classifier(), data, settings, None, processes)
        x = training.epoch_data.epoch()
        own, share = processes.part(torch.arange(20), x.y)
        training.step_on(0, x[own], share=share)
    assert (share is not None) == several
    return training.pair.guide.classifier.head.weight.grad.clone()


def test_labels_count_alike_wherever_they_are(together):
    data = labelled_unevenly()
    alone = _classified(0, data)
    for found in together(_classified, data):
        torch.testing.assert_close(found, alone, rtol=1e-8, atol=1e-3)


def test_whoever_leaves_does_not_leave_the_other_waiting(few, together):
    assert together(_left, few) == [True, True]


def _left(rank, data):
    def leave(state):
        raise KeyError("mine")

    with pytest.raises(KeyError if rank == 0 else ProcessLostError):
        fit(vae(), data, epochs=2, progress=False, callbacks=[leave])
    dist.barrier()  # the first is still there
    return True


# The command, as torchrun starts it


def command(rank, port, arguments):
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    raise SystemExit(main(arguments))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def arguments(out, *more):
    of_model = ["--model", "vae", "--options.hidden", "[8]", "--data", "digits"]
    quick = ["--batch_size", "400", "--capture", "false", "--progress", "false"]
    return ["train", *of_model, *quick, "--out", str(out), *more]


def ended(processes, folder):
    """Exit codes, and the lines of all."""
    for each in processes:
        each.join(60)
    lines = [(folder / f"words-{rank}").read_text().splitlines() for rank in (0, 1)]
    return [each.exitcode for each in processes], list(chain(*lines))


def killed(start, out, lost):
    """Of two processes one was killed, once an epoch was on disk: what the other says."""
    processes, folder = start(command, free_port(), arguments(out, "--epochs", "100000"))
    history, until = out / "history.csv", time.monotonic() + 60
    while not (history.is_file() and len(history.read_text().splitlines()) > 2):
        assert all(each.is_alive() for each in processes), ended(processes, folder)
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(processes[lost].pid, signal.SIGKILL)
    codes, lines = ended(processes, folder)
    assert codes[lost] == -signal.SIGKILL
    assert codes[1 - lost] == 2
    assert not any("Traceback" in line for line in lines), lines
    (own,) = (line for line in lines if line.startswith("pyro-models"))  # torch may log beside it
    return own


def test_where_the_first_is_killed_the_other_says_so_in_a_line(start, tmp_path):
    line = killed(start, tmp_path / "out", 0)
    assert line.startswith("pyro-models: error: another process of this training has ended")


def test_where_one_is_killed_the_first_says_so_in_a_line_and_both_go_on(start, tmp_path):
    out = tmp_path / "torn"
    line = killed(start, out, 1)
    assert line.startswith("pyro-models: error: another process of this training has ended")
    epochs = len(Run(out).load_checkpoint()["history"])
    on = arguments(out, "--resume", "--epochs", str(epochs + 2))
    assert ended(*start(command, free_port(), on)) == ([0, 0], [])
    whole = arguments(tmp_path / "whole", "--epochs", str(epochs + 2))
    assert ended(*start(command, free_port(), whole)) == ([0, 0], [])
    files = [(path / "weights.safetensors").read_bytes() for path in (out, tmp_path / "whole")]
    assert files[0] == files[1]


def test_a_mistake_is_one_line_of_all(start, tmp_path):
    given = arguments(tmp_path / "out", "--lr", "1e30")
    codes, lines = ended(*start(command, free_port(), given))
    assert codes == [2, 2]
    assert len(lines) == 1, lines
    assert "training stopped in epoch 1" in lines[0]
    assert f"last good checkpoint: {tmp_path / 'out' / 'checkpoint.pt'}" in lines[0]
    codes, lines = ended(*start(command, free_port(), arguments(tmp_path / "out")))
    assert codes == [2, 2]
    assert len(lines) == 1, lines
    assert "already holds a run" in lines[0]
