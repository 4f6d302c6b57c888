"""What is written is whole or as it was, and says so where it cannot be written."""

import errno
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from filelock import SoftFileLock

from inference.command_line import exit_code
from pyro_models import UsageError
from pyro_models.files import locks
from pyro_models.files.atomic import WriteError, write_atomically
from pyro_models.files.locks import LOCK, holding, holding_folder
from pyro_models.files.processes import has_ended, this_process


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.open", "pathlib.Path.replace"])
@pytest.mark.parametrize("before", [None, "old"])
def test_a_full_disk_is_one_line_with_the_files_name_and_leaves_no_draft(
    step, before, tmp_path, monkeypatch
):
    path = tmp_path / "scores.json"
    if before:
        path.write_text(before)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(step, full)
        with pytest.raises(WriteError) as refusal:
            write_atomically(path, "new")
    assert str(refusal.value).startswith(f"{path} could not be written (No space left on device)")
    assert "\n" not in str(refusal.value)
    assert ("is whole" in str(refusal.value)) == bool(before)
    assert [p.read_text() for p in tmp_path.iterdir()] == ([before] if before else [])


def test_an_error_that_is_kept_can_be_forgotten(tmp_path, monkeypatch):
    """Python complains of a buffer that it collects while something still looks into it."""
    complaints = []
    with monkeypatch.context() as patched:
        patched.setattr(sys, "unraisablehook", complaints.append)
        with pytest.raises(WriteError) as refusal:
            write_atomically(tmp_path, lambda file: file.write(b"a folder is in the way"))
        refusal.value.kept = refusal.value  # only the collector of cycles frees it
        del refusal
        gc.collect()
    assert [str(c.exc_value) for c in complaints] == []


def test_a_file_that_grows_too_large_is_said_too(tmp_path, capsys):
    """By the operating system: a limit on the size of files is as good as a full disk."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"the version before")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        code = exit_code(
            "it",
            lambda: write_atomically(path, lambda file: torch.save(torch.zeros(10**5), file)),
            interrupted="",
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"{path} could not be written (File too large)" in told
    assert path.read_bytes() == b"the version before"
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_writers_of_one_file_have_drafts_of_their_own(tmp_path):
    path = tmp_path / "file"

    def second(file):  # while the first is about to write
        write_atomically(path, "second")
        file.write(b"first")

    write_atomically(path, second)
    assert path.read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def ended_process():
    machine = this_process().rpartition("-")[0]
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return f"{machine}-{process.pid}"


def test_drafts_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path):
    dead, living = ended_process(), this_process()
    assert has_ended(dead)
    for process in (dead, living, "elsewhere-1"):
        (tmp_path / f".file.{process}-00.part").touch()
    write_atomically(tmp_path / "file", "text")
    names = {f".file.{process}-00.part" for process in (living, "elsewhere-1")}
    assert {p.name for p in tmp_path.iterdir()} == {"file", *names}


HOLD = """
import fcntl, os, sys
lock = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
fcntl.flock(lock, fcntl.LOCK_EX)
os.write(lock, str(os.getpid()).encode())
print("held", flush=True)
sys.stdin.read()
"""


def test_a_folder_is_held_by_one_and_free_again_when_its_holder_is_killed(tmp_path):
    folder = tmp_path / "new" / "folder"
    folder.mkdir(parents=True)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder / LOCK)], **pipes) as process:
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(UsageError, match=rf"busy \(process {process.pid}\)"),
            holding_folder(folder, refusal="busy"),
        ):
            pass
        process.kill()
    assert (folder / LOCK).exists()
    with holding_folder(folder, refusal="busy"), holding_folder(folder, refusal="busy"):
        (folder / "file").touch()
    assert [p.name for p in folder.iterdir()] == ["file"]


def test_a_folder_that_was_made_to_be_held_goes_if_nothing_is_in_it(tmp_path):
    with holding_folder(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK).exists()
    assert not list(tmp_path.iterdir())


def test_a_lock_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="could not be made"), holding(Path(tmp_path, "file", "l")):
        pass


HOLD_WITHOUT_LOCKS = """
import errno, fcntl, sys
from pathlib import Path
def flock(*_):
    raise OSError(int(sys.argv[2]), "no locks here")
fcntl.flock = flock
from pyro_models.files.locks import holding_folder
with holding_folder(Path(sys.argv[1]), refusal="busy"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("why", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_folder_of_a_file_system_without_locks_is_held_by_one_all_the_same(
    why, tmp_path, monkeypatch
):
    fcntl = pytest.importorskip("fcntl")

    def flock(*_):
        raise OSError(why, os.strerror(why))

    monkeypatch.setattr(fcntl, "flock", flock)
    command = [sys.executable, "-c", HOLD_WITHOUT_LOCKS, str(tmp_path), str(why)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == "held\n"
        [lock] = tmp_path.iterdir()
        # a marker that named nobody would be taken over after some seconds
        assert SoftFileLock(lock).pid == process.pid
        with (
            pytest.raises(UsageError, match=rf"busy \(process {process.pid} on "),
            holding_folder(tmp_path, refusal="busy"),
        ):
            pass
        process.kill()
    with holding_folder(tmp_path, refusal="busy"), holding_folder(tmp_path, refusal="busy"):
        (tmp_path / "file").touch()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_whom_a_long_wait_is_for_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(locks, "_PATIENCE", 0.05)
    lock = tmp_path / "lock"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], **pipes) as process:
        assert process.stdout.readline() == "held\n"
        threading.Timer(0.5, process.kill).start()
        with holding(lock):
            pass
    assert f"waiting for process {process.pid}, which holds {lock}" in caplog.text
