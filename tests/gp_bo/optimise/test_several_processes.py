"""Several processes on one state file, killed at random: nothing lost, doubled or given twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from gp_bo.optimise import Optimizer, load_state, minimize

# each line of the log is written after the call it tells of has returned
WORKER = """
import json, os, sys
from gp_bo.optimise import Optimizer
state, log, rounds = sys.argv[1], os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND), int(sys.argv[3])
def said(what, point):
    os.write(log, (json.dumps([what, os.getpid(), point]) + "\\n").encode())
optimizer = Optimizer([(0.0, 1.0), (0.0, 1.0)], state=state, initial=10**6, design=sys.argv[4])
os.write(1, b"begun")
for _ in range(rounds):
    [point] = optimizer.ask()
    said("given", point)
    said("telling", point)
    optimizer.tell(point, sum(point))
    said("told", point)
"""


def start(state, log, rounds, design="sobol"):
    command = [sys.executable, "-W", "ignore", "-c", WORKER, state, log, str(rounds), design]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, env=env)


def check(state, log):
    """Every value that a call acknowledged is there, once; no point was given to two."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    said = {kind: [tuple(p) for what, _, p in lines if what == kind] for kind in ("given", "told")}
    telling = {tuple(p) for what, _, p in lines if what == "telling"}
    assert len(said["given"]) == len(set(said["given"]))
    final = load_state(state)
    evaluated = [e.point for e in final.evaluations]
    assert len(evaluated) == len(set(evaluated))
    assert set(said["told"]) <= set(evaluated) <= telling
    assert not set(evaluated) & set(final.pending)
    assert len(final.pending) == len(set(final.pending))
    assert set(said["given"]) <= set(final.tried)
    assert all(e.value == sum(e.point) for e in final.evaluations)
    return final, Counter(what for what, _, _ in lines)


def work(tmp_path, *, processes, rounds, kills, seed=0):
    state, log = tmp_path / "s.json", tmp_path / "log"
    log.touch()
    moments = random.Random(seed)
    workers = [start(state, log, rounds) for _ in range(processes)]
    for worker in workers:
        assert worker.stdout.read(5) == b"begun"
    killed = 0
    while any(worker.poll() is None for worker in workers):
        if state.exists():
            load_state(state)  # a reader never sees a damaged file
        if killed < kills and moments.random() < 0.2:
            at = moments.randrange(processes)
            if workers[at].poll() is None:
                time.sleep(moments.uniform(0, 0.02))
                workers[at].send_signal(signal.SIGKILL)
                workers[at].wait()
                workers[at].stdout.close()
                workers[at] = start(state, log, rounds)  # another takes its place
                killed += 1
        time.sleep(0.005)
    for worker in workers:
        worker.stdout.close()
        assert worker.returncode in (0, -signal.SIGKILL)
    return (*check(state, log), killed)


def test_processes_that_are_killed_lose_no_value_and_get_no_point_twice(tmp_path):
    final, said, killed = work(tmp_path, processes=3, rounds=12, kills=1)
    assert killed == 1
    assert said["told"] >= 36
    Optimizer.resume(tmp_path / "s.json").forget()
    assert not load_state(tmp_path / "s.json").pending
    assert load_state(tmp_path / "s.json").evaluations == final.evaluations
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "s.json"]


@pytest.mark.slow
def test_eight_processes_with_fifty_rounds_and_many_kills(tmp_path):
    _, said, killed = work(tmp_path, processes=8, rounds=50, kills=12, seed=1)
    assert killed == 12
    assert said["told"] >= 400
