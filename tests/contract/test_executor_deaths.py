"""Workers of an executor that are killed at any moment, and a parent that is."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import BrokenExecutor, wait
from pathlib import Path

import numpy as np
import pool_tasks
import psutil
import pytest

import shmq
from shmq.errors import WorkerDiedError

pytestmark = pytest.mark.usefixtures("helpers_of_multiprocessing")
CONTRACT = Path(pool_tasks.__file__).parent
METHODS = ["fork", "spawn", "forkserver"]


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def workers_of(pool: shmq.Executor) -> list[int]:
    return list(pool._processes)


@pytest.mark.parametrize("method", METHODS)
def test_the_task_of_a_killed_worker_fails_alone_and_says_why(method, gate, tmp_path, wait_until):
    said = tmp_path / "said"
    with shmq.Executor(2, shmq.get_context(method)) as pool:
        lost = pool.submit(pool_tasks.say_and_wait, str(said), gate.path)
        others = [pool.submit(pool_tasks.double, number) for number in range(100)]
        wait_until(said.exists)
        worker = int(said.read_text())

        kill(worker)

        assert lost.exception(20) == WorkerDiedError(worker, -signal.SIGKILL, 1)
        assert "was killed by SIGKILL" in str(lost.exception())
        assert [future.result() for future in others] == list(range(0, 200, 2))
        assert pool.submit(pool_tasks.double, 1).result() == 2


def test_a_worker_that_leaves_says_its_exit_code():
    with shmq.Executor(1) as pool:
        error = pool.submit(pool_tasks.leave, 3).exception(20)

        assert isinstance(error, WorkerDiedError)
        assert error.exitcode == 3
        assert pool.submit(pool_tasks.double, 1).result() == 2


def test_a_killed_worker_is_replaced():
    with shmq.Executor(2) as pool:
        before = {pool.submit(os.getpid).result() for _ in range(20)}
        for each in workers_of(pool):
            kill(each)

        after = {pool.submit(os.getpid).result() for _ in range(20)}

        assert not before & after
        assert len(pool._processes) == 2


def test_with_retries_the_task_runs_again(tmp_path):
    with shmq.Executor(2, retries=1) as pool:
        futures = [pool.submit(pool_tasks.die_at_first, str(tmp_path / str(number))) for number in range(10)]

        assert [future.result(20) for future in futures] == ["lives"] * 10


@pytest.mark.parametrize("retries", [0, 3])
def test_a_task_that_kills_every_worker_ends(retries, tmp_path):
    ledger = tmp_path / "ledger"
    with shmq.Executor(2, retries=retries) as pool:
        poison = pool.submit(pool_tasks.note_and_die, str(ledger))
        others = [pool.submit(pool_tasks.double, number) for number in range(200)]

        error = poison.exception(20)

        assert isinstance(error, WorkerDiedError)
        assert error.starts == retries + 1
        assert [future.result() for future in others] == list(range(0, 400, 2))
    victims = list(map(int, ledger.read_text().split()))
    assert len(set(victims)) == len(victims) == retries + 1
    assert victims[-1] == error.pid


@pytest.mark.parametrize("retries", [0, 2])
def test_arguments_that_kill_who_unpickles_them_end_too(retries):
    with shmq.Executor(1, retries=retries) as pool:
        error = pool.submit(pool_tasks.double, pool_tasks.Calls(pool_tasks.die)).exception(20)

        assert isinstance(error, WorkerDiedError)
        assert error.starts == retries + 1
        assert pool.submit(pool_tasks.double, 1).result() == 2


def test_a_result_that_kills_who_pickles_it_ends_too():
    with shmq.Executor(1) as pool:
        error = pool.submit(pool_tasks.make, pool_tasks.DiesWhenPickled).exception(20)

        assert error == WorkerDiedError(error.pid, -signal.SIGKILL, 1)
        assert pool.submit(pool_tasks.double, 1).result() == 2


def test_a_chunk_is_lost_as_one(tmp_path):
    with shmq.Executor(1) as pool:
        results = pool.map(pool_tasks.die_at_first, [str(tmp_path / name) for name in "abab"], chunksize=2)

        with pytest.raises(WorkerDiedError):
            list(results)


def test_all_workers_are_killed_at_once_again_and_again(tmp_path):
    ledger = str(tmp_path / "ledger")
    with shmq.Executor(3, retries=50) as pool:
        for _ in range(10):
            futures = [pool.submit(pool_tasks.note, ledger, number) for number in range(30)]
            for each in workers_of(pool):
                kill(each)
            assert [int(future.result(20)) for future in futures] == list(range(30))


def test_a_worker_that_dies_while_it_starts_is_replaced(tmp_path):
    with shmq.Executor(2, initializer=pool_tasks.die_at_first, initargs=(str(tmp_path / "mark"),)) as pool:
        assert list(pool.map(pool_tasks.double, range(100))) == list(range(0, 200, 2))


@pytest.mark.parametrize("method", METHODS)
def test_workers_that_all_die_while_they_start_break_the_pool(method, wait_until):
    pool = shmq.Executor(2, shmq.get_context(method), initializer=pool_tasks.die)

    with pytest.raises(BrokenExecutor, match=r"6 workers in a row died.*SIGKILL"):
        pool.submit(pool_tasks.nothing).result(60)
    wait_until(lambda: pool._broken)
    with pytest.raises(BrokenExecutor):
        pool.submit(pool_tasks.nothing)
    pool.shutdown()


def test_what_a_worker_has_forked_does_not_hide_its_death(tmp_path, wait_until):
    ended = tmp_path / "ended"
    with shmq.Executor(1) as pool:
        error = pool.submit(pool_tasks.fork_and_die, str(ended)).exception(20)

        assert isinstance(error, WorkerDiedError)
        assert pool.submit(pool_tasks.double, 1).result() == 2
    kill(int(ended.read_text()))


def test_a_worker_killed_in_shutdown_does_not_hold_it_up(gate, wait_until):
    pool = shmq.Executor(2)
    futures = [pool.submit(pool_tasks.wait_for, gate.path) for _ in range(4)]
    wait_until(lambda: sum(future.running() for future in futures) == 2)

    pool.shutdown(wait=False)
    for each in workers_of(pool):
        kill(each)

    assert sum(future.running() for future in futures) <= 2
    gate.open()
    pool.shutdown()
    assert [type(future.exception()) for future in futures].count(WorkerDiedError) == 2


def test_a_large_result_whose_worker_dies_in_the_middle_of_it_fails_alone():
    generator = random.Random(4)
    with shmq.Executor(2) as pool:
        for _ in range(15):
            futures = [pool.submit(pool_tasks.zeros, 2_000_000) for _ in range(4)]
            wait(futures, generator.random() * 0.03)
            for each in workers_of(pool):
                kill(each)
            outcomes = [future.exception(20) or future.result() for future in futures]
            assert all(isinstance(each, WorkerDiedError) or np.count_nonzero(each) == 0 for each in outcomes)


class Killer(threading.Thread):
    """Kills workers of a pool at random moments, so many at most."""

    def __init__(self, pool: shmq.Executor, kills: int, seed: int) -> None:
        super().__init__()
        self.pool, self.left, self.killed = pool, kills, 0
        self.random = random.Random(seed)
        self.ended = threading.Event()

    def run(self) -> None:
        while self.left > 0 and not self.ended.wait(self.random.random() * 0.02):
            victims = workers_of(self.pool)
            for each in self.random.sample(victims, self.random.randint(0, len(victims))):
                kill(each)
                self.left -= 1
                self.killed += 1


@pytest.mark.parametrize("seed", range(4))
def test_a_storm_of_kills_with_retries_loses_nothing(seed, tmp_path):
    ledger = tmp_path / "ledger"
    with shmq.Executor(3, retries=1000) as pool:
        killer = Killer(pool, 60, seed)
        killer.start()
        futures = [pool.submit(pool_tasks.note, str(ledger), number) for number in range(8000)]
        results = [int(future.result(60)) for future in futures]
        killer.ended.set()
        killer.join()

    assert results == list(range(8000))
    started = Counter(map(int, ledger.read_text().split()))
    assert set(started) == set(range(8000))
    assert sum(started.values()) - 8000 <= killer.killed


@pytest.mark.parametrize("seed", range(4))
def test_a_storm_of_kills_without_retries_runs_nothing_twice_and_says_what_is_lost(seed, tmp_path):
    ledger = tmp_path / "ledger"
    with shmq.Executor(3) as pool:
        killer = Killer(pool, 60, seed)
        killer.start()
        futures = [pool.submit(pool_tasks.note, str(ledger), number) for number in range(8000)]
        errors = [future.exception(60) for future in futures]
        killer.ended.set()
        killer.join()

    started = Counter(map(int, ledger.read_text().split()))
    assert max(started.values()) == 1
    assert all(started[number] == 1 for number, error in enumerate(errors) if error is None)
    lost = [error for error in errors if error is not None]
    assert [error for error in lost if error != WorkerDiedError(error.pid, -signal.SIGKILL, 1)] == []
    assert len({error.pid for error in lost}) == len(lost) <= killer.killed


PARENT = f"""
import sys, os; sys.path.insert(0, {str(CONTRACT)!r})
import pool_tasks, shmq
if __name__ == "__main__":
    pool = shmq.Executor(3, shmq.get_context(sys.argv[1]))
    list(pool.map(pool_tasks.double, range(10)))
    if len(sys.argv) > 2:
        future = pool.submit(pool_tasks.wait_for, sys.argv[2])
        while not future.running(): pass
    print(*pool._processes, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("is_busy", [False, True], ids=["idle", "busy"])
def test_workers_end_with_a_parent_that_is_killed(method, is_busy, gate, tmp_path, wait_until):
    program = tmp_path / "program.py"
    program.write_text(PARENT)
    arguments = [method, gate.path] if is_busy else [method]
    parent = subprocess.Popen(
        [sys.executable, str(program), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    workers = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]

    parent.kill()
    parent.communicate()

    assert workers
    wait_until(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in workers))
