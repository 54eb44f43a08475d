"""What shmq.Executor does beyond ProcessPoolExecutor, and its limits."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pool_tasks
import pytest

import shmq
import shmq.executor.pool
from shmq.errors import ForkedError
from shmq.executor.cells import SLOTS

pytestmark = pytest.mark.usefixtures("helpers_of_multiprocessing")


@pytest.fixture
def pool():
    with shmq.Executor(2) as pool:
        yield pool


@pytest.fixture
def busy(pool, gate, wait_until):
    """A pool whose workers wait for the gate, and the futures of what they do."""
    running = [pool.submit(pool_tasks.wait_for, gate.path) for _ in range(2)]
    wait_until(lambda: all(future.running() for future in running))
    return pool


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_it_takes_our_own_contexts(method):
    with shmq.Executor(1, shmq.get_context(method)) as pool:
        assert pool.submit(pool_tasks.double, 4).result() == 8


def test_a_task_can_be_cancelled_until_it_is_started(busy, gate, tmp_path):
    ledger = tmp_path / "ledger"
    waiting = [busy.submit(pool_tasks.note, str(ledger), number) for number in range(10)]

    assert [future.cancel() for future in waiting[::2]] == [True] * 5
    assert all(future.cancel() for future in waiting[::2])
    assert wait(waiting[::2], 20).not_done == set()
    gate.open()
    busy.shutdown()

    assert sorted(ledger.read_text().split()) == ["1", "3", "5", "7", "9"]


def test_a_task_that_was_started_cannot_be_cancelled(pool, gate, wait_until):
    future = pool.submit(pool_tasks.wait_for, gate.path)
    wait_until(future.running)

    assert not future.cancel()
    gate.open()
    assert future.result() > 0
    assert not future.cancel()
    assert not future.running()


def test_cancelling_everything_again_and_again_leaves_no_room_taken(busy, gate):
    for _ in range(3 * SLOTS):
        assert busy.submit(pool_tasks.nothing).cancel()

    gate.open()
    assert list(busy.map(pool_tasks.double, range(2 * SLOTS))) == list(range(0, 4 * SLOTS, 2))


def test_more_tasks_than_the_queue_holds_wait_in_the_parent(busy, gate, tmp_path):
    ledger = str(tmp_path / "ledger")
    futures = [busy.submit(pool_tasks.note, ledger, number) for number in range(3 * SLOTS)]

    assert futures[-1].cancel()
    gate.open()

    assert [int(future.result()) for future in futures[:-1]] == list(range(3 * SLOTS - 1))
    assert sorted(map(int, Path(ledger).read_text().split())) == list(range(3 * SLOTS - 1))


def test_more_bytes_than_the_queue_should_hold_wait_in_the_parent(busy, gate, monkeypatch):
    monkeypatch.setattr(shmq.executor.pool, "MOST_BYTES", 3_000_000)
    arrays = [np.full(125_000, float(number)) for number in range(50)]
    futures = [busy.submit(pool_tasks.total, array) for array in arrays]

    assert sum(future.call is None for future in futures) <= 4
    gate.open()
    assert [future.result() for future in futures] == [array.sum() + 1 for array in arrays]


def test_what_cannot_be_pickled_fails_alone_behind_others_too(busy, gate):
    futures = [busy.submit(pool_tasks.double, 1) for _ in range(SLOTS)]
    bad = busy.submit(pool_tasks.double, pool_tasks.Unpicklable())
    good = busy.submit(pool_tasks.double, 2)
    gate.open()

    assert isinstance(bad.exception(), ArithmeticError)
    assert good.result() == 4
    assert {future.result() for future in futures} == {2}


@pytest.mark.parametrize("error", [LookupError, SystemExit])
def test_what_unpickling_an_argument_raises_fails_its_own_future(pool, error):
    bad = pool.submit(pool_tasks.double, pool_tasks.Calls(pool_tasks.throw, error))

    assert isinstance(bad.exception(), error)
    assert pool.submit(pool_tasks.double, 1).result() == 2


@pytest.mark.parametrize("error", [LookupError, SystemExit])
def test_what_unpickling_a_result_raises_fails_its_own_future(pool, error):
    bad = pool.submit(pool_tasks.make, pool_tasks.Calls, pool_tasks.throw, error)

    assert isinstance(bad.exception(), error)
    assert pool.submit(pool_tasks.double, 1).result() == 2


def test_an_exception_that_cannot_be_unpickled_still_shows_where_it_was_raised(pool):
    error = pool.submit(pool_tasks.fail_awkwardly).exception()

    assert isinstance(error, TypeError)
    assert 'raise Awkward("cats", "dogs")' in str(error.__cause__)


def test_an_exception_that_cannot_be_pickled_still_shows_where_it_was_raised(pool):
    error = pool.submit(pool_tasks.fail_unpicklably).exception()

    assert isinstance(error, ArithmeticError)
    assert "RuntimeError: the real trouble" in str(error.__cause__)
    assert "not to be pickled" in str(error.__cause__)


@pytest.mark.parametrize("value", [None, b"", b"x" * 70_000, "y" * 300_000, [1, "two", 3.0], np.arange(100_000)])
def test_results_of_every_size_and_kind_come_back(pool, value):
    back = pool.submit(pool_tasks.same, value).result()

    assert pickle.dumps(back) == pickle.dumps(value)


def test_many_arrays_in_flight_are_not_mixed_up(pool):
    arrays = [np.full(50_000 + 1000 * number, number) for number in range(60)]

    results = list(pool.map(pool_tasks.same, arrays))

    assert all(np.array_equal(one, other) for one, other in zip(results, arrays, strict=True))


def test_a_pool_in_a_worker_of_a_pool(pool):
    assert list(pool.map(pool_tasks.submit_inside, range(4))) == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("retries", "error"), [(-1, ValueError), (4095, ValueError), (1.0, TypeError), (True, TypeError)]
)
def test_retries_that_cannot_be_are_refused(retries, error):
    with pytest.raises(error, match="retries"):
        shmq.Executor(1, retries=retries)


def test_a_forked_child_is_told_and_disturbs_nobody(pool):
    pool.submit(pool_tasks.nothing).result()

    child = os.fork()
    if child == 0:
        told = False
        with contextlib.suppress(BaseException):
            try:
                pool.submit(pool_tasks.nothing)
            except ForkedError:
                told = True
            pool.shutdown()
        os._exit(told)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert pool.submit(pool_tasks.double, 1).result() == 2


@pytest.fixture
def ctrl_c():
    """Ctrl-C as at a terminal, even where these tests run in the background and are deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_the_task_that_runs_and_no_worker(tmp_path, gate, wait_until):
    said = tmp_path / "said"
    with shmq.Executor(1) as pool:
        worker = pool.submit(os.getpid).result()
        os.kill(worker, signal.SIGINT)
        interrupted = pool.submit(pool_tasks.say_and_wait, str(said), gate.path)
        wait_until(said.exists)
        os.kill(worker, signal.SIGINT)

        assert isinstance(interrupted.exception(20), KeyboardInterrupt)
        assert pool.submit(os.getpid).result() == worker


def test_shutdown_in_a_callback_does_not_wait_for_itself():
    pool = shmq.Executor(1)
    called = threading.Event()

    def shut(_):
        pool.shutdown()
        called.set()

    pool.submit(pool_tasks.nothing).add_done_callback(shut)

    assert called.wait(20)
    pool.shutdown()


def test_a_hung_worker_is_left_alone_and_the_others_go_on(gate, wait_until):
    with shmq.Executor(2) as pool:
        hung = pool.submit(pool_tasks.wait_for, gate.path)
        wait_until(hung.running)

        assert list(pool.map(pool_tasks.double, range(1000))) == list(range(0, 2000, 2))

        assert hung.running()
        gate.open()


def test_threads_cancel_and_submit_at_once(pool):
    def play(_):
        futures = [pool.submit(pool_tasks.double, number) for number in range(500)]
        cancelled = [future.cancel() for future in futures[::3]]
        return sum(cancelled), sum(1 for future in futures if not future.cancelled() and future.result() is not None)

    with ThreadPoolExecutor(4) as threads:
        assert all(cancelled + done == 500 for cancelled, done in threads.map(play, range(4)))


def test_workers_are_started_as_they_are_needed_where_they_can_be():
    with shmq.Executor(3, multiprocessing.get_context("forkserver")) as pool:
        for _ in range(5):
            pool.submit(pool_tasks.nothing).result()
        assert len(pool._processes) == 1
