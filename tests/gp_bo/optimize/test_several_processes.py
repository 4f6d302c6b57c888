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

from gp_bo.optimize import Optimizer, load_state

# one process that has imported everything makes the workers, which is quick; each line of the log
# is written after the call it tells of has returned
SERVER = """
import json, os, signal, sys
from gp_bo.optimize import Optimizer
state, log, rounds = sys.argv[1], os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND), int(sys.argv[3])
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
def said(what, point=()):
    os.write(log, (json.dumps([what, os.getpid(), point]) + chr(10)).encode())
def work():
    optimizer = Optimizer([(0.0, 1.0), (0.0, 1.0)], state=state, initial=10**6, seed=3)
    for _ in range(rounds):
        [point] = optimizer.ask()
        said("given", point)
        optimizer.tell(point, sum(point))
        said("told", point)
    said("done")
for _ in sys.stdin:
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(0)
    print(pid, flush=True)
"""


def start(server):
    server.stdin.write("another\n")
    server.stdin.flush()
    return int(server.stdout.readline())


def check(state, log):
    """Every value that a call acknowledged is there, once; no point was given to two."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    said = {kind: [tuple(p) for what, _, p in lines if what == kind] for kind in ("given", "told")}
    assert len(said["given"]) == len(set(said["given"]))
    final = load_state(state)
    evaluated = [e.point for e in final.evaluations]
    assert len(evaluated) == len(set(evaluated))
    assert set(said["told"]) <= set(evaluated) <= set(said["given"])
    assert not set(evaluated) & set(final.pending)
    assert len(final.pending) == len(set(final.pending))
    assert set(said["given"]) <= set(final.tried)
    assert all(e.value == sum(e.point) for e in final.evaluations)
    return final, Counter(what for what, _, _ in lines)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def work(tmp_path, *, processes, rounds, kills, seed=0):
    state, log = tmp_path / "s.json", tmp_path / "log"
    log.touch()
    moments = random.Random(seed)
    command = [sys.executable, "-W", "ignore", "-c", SERVER, str(state), str(log), str(rounds)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, **pipes) as server:
        workers = [start(server) for _ in range(processes)]
        killed, next_at = 0, moments.randrange(5, 20)
        while workers:
            if state.exists():
                load_state(state)  # a reader never sees a damaged file
            if killed < kills and log.read_text().count("\n") >= next_at:
                victim = moments.choice(workers)
                time.sleep(moments.uniform(0, 0.02))
                if alive(victim):
                    os.kill(victim, signal.SIGKILL)
                    workers.remove(victim)
                    workers.append(start(server))  # another takes its place
                    killed += 1
                    next_at += moments.randrange(5, 20)
            workers = [pid for pid in workers if alive(pid)]
            time.sleep(0.005)
        server.stdin.close()
    final, said = check(state, log)
    assert killed == kills
    assert said["done"] >= processes - 1  # a victim may have been at its last word
    return final, said


def test_processes_that_are_killed_lose_no_value_and_get_no_point_twice(tmp_path):
    final, said = work(tmp_path, processes=4, rounds=8, kills=2)
    assert said["told"] >= 32 - 2
    Optimizer.resume(tmp_path / "s.json").forget()
    assert not load_state(tmp_path / "s.json").pending
    assert load_state(tmp_path / "s.json").evaluations == final.evaluations
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "s.json"]


@pytest.mark.slow
def test_eight_processes_with_fifty_rounds_and_many_kills(tmp_path):
    _, said = work(tmp_path, processes=8, rounds=50, kills=20, seed=1)
    assert said["told"] >= 400 - 20
