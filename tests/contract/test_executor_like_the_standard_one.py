"""The same cases on concurrent.futures.ProcessPoolExecutor and on shmq.Executor."""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
import weakref
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed, wait
from pathlib import Path

import numpy as np
import pool_tasks
import pytest

import shmq

pytestmark = pytest.mark.usefixtures("helpers_of_multiprocessing")
ROOT = Path(pool_tasks.__file__).parent


@pytest.fixture(params=[ProcessPoolExecutor, shmq.Executor], ids=["standard", "shmq"])
def executor(request):
    return request.param


@pytest.fixture
def pool(executor):
    with executor(2, multiprocessing.get_context("fork")) as pool:
        yield pool


def test_a_result_comes_back(pool):
    assert pool.submit(pool_tasks.double, 21).result() == 42
    assert pool.submit(pool_tasks.keywords, 1, self=2, fn=3).result() == ((1,), {"self": 2, "fn": 3})


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_every_start_method_works(executor, method):
    with executor(2, multiprocessing.get_context(method)) as pool:
        assert list(pool.map(pool_tasks.double, range(100))) == list(range(0, 200, 2))


@pytest.mark.parametrize("chunksize", [1, 7, 100])
def test_map_keeps_the_order_with_any_chunksize(pool, chunksize):
    results = pool.map(divmod, range(50), range(1, 80), chunksize=chunksize)

    assert list(results) == [divmod(each, each + 1) for each in range(50)]


def test_map_raises_what_a_call_raised_in_its_place(pool):
    results = pool.map(divmod, [4, 5, 6], [2, 0, 3])

    assert next(results) == (2, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("chunksize", [0, -1])
def test_map_refuses_a_chunksize_that_cannot_be(pool, chunksize):
    with pytest.raises(ValueError, match="chunksize"):
        pool.map(pool_tasks.double, [1], chunksize=chunksize)


def test_map_times_out(pool, gate, tmp_path, wait_until):
    results = pool.map(pool_tasks.say_and_wait, [str(tmp_path / "said")], [gate.path], timeout=0.01)

    wait_until((tmp_path / "said").exists)
    with pytest.raises(TimeoutError):
        next(results)
    gate.open()


def test_an_exception_comes_with_the_traceback_of_the_worker(pool):
    error = pool.submit(pool_tasks.fail, "the text").exception()

    assert type(error) is LookupError
    assert error.args == ("the text",)
    assert "raise LookupError(text)  # a comment that the traceback shows" in str(error.__cause__)


def test_an_argument_that_cannot_be_pickled_fails_its_own_future(pool):
    bad, good = pool.submit(pool_tasks.double, pool_tasks.Unpicklable()), pool.submit(pool_tasks.double, 1)

    assert isinstance(bad.exception(), ArithmeticError)
    assert good.result() == 2


def test_a_result_that_cannot_be_pickled_fails_its_own_future(pool):
    bad, good = pool.submit(pool_tasks.make, pool_tasks.Unpicklable), pool.submit(pool_tasks.double, 1)

    assert isinstance(bad.exception(), ArithmeticError)
    assert good.result() == 2


@pytest.mark.parametrize("count", [0, 10, 100_000])
def test_arrays_go_there_and_back_and_may_be_written_to(pool, count):
    given = np.arange(count + 1.0)

    assert pool.submit(pool_tasks.total, given).result() == given.sum() + 1
    back = pool.submit(pool_tasks.zeros, count + 1).result()
    back[0] = 1
    assert back.sum() == 1


def test_futures_can_be_waited_for_in_every_way(pool):
    futures = {pool.submit(pool_tasks.double, number): number for number in range(20)}
    called = []
    for future in futures:
        future.add_done_callback(called.append)

    assert wait(futures, 20).not_done == set()
    assert all(future.result() == 2 * futures[future] for future in as_completed(futures))
    pool.shutdown()
    assert set(called) == set(futures)


def test_threads_may_submit_at_once(pool):
    results: list[list[int]] = [[] for _ in range(4)]

    def submit(mine):
        futures = [pool.submit(pool_tasks.double, number) for number in range(300)]
        mine += [future.result() for future in futures]

    threads = [threading.Thread(target=submit, args=(each,)) for each in results]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert results == [[2 * number for number in range(300)]] * 4


def test_a_callback_may_submit(pool):
    second = []
    done = threading.Event()

    def go_on(first):
        second.append(pool.submit(pool_tasks.double, first.result()))
        done.set()

    pool.submit(pool_tasks.double, 1).add_done_callback(go_on)

    assert done.wait(20)
    assert second[0].result() == 4


def test_asyncio_runs_in_it(pool):
    async def main():
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(pool, pool_tasks.double, each) for each in range(10)))

    assert asyncio.run(main()) == list(range(0, 20, 2))


def test_nothing_can_be_submitted_after_shutdown(pool):
    pool.submit(pool_tasks.nothing)
    pool.shutdown()
    pool.shutdown()

    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(pool_tasks.nothing)


def test_a_pool_that_was_never_used_shuts_down(executor):
    executor(2).shutdown()
    with executor(2):
        pass


def test_shutdown_waits_for_everything(pool, gate):
    futures = [
        pool.submit(pool_tasks.wait_for, gate.path),
        *(pool.submit(pool_tasks.double, each) for each in range(20)),
    ]
    opener = threading.Thread(target=gate.open)
    opener.start()

    pool.shutdown()

    assert all(future.done() for future in futures)
    opener.join()


def test_shutdown_may_leave_the_tasks_behind(pool, gate):
    future = pool.submit(pool_tasks.wait_for, gate.path)
    manager = pool._executor_manager_thread

    pool.shutdown(wait=False)

    assert not future.done()
    gate.open()
    assert future.result(20) > 0
    manager.join()


def test_shutdown_may_cancel_what_has_not_begun(pool, gate, wait_until):
    running = [pool.submit(pool_tasks.wait_for, gate.path) for _ in range(2)]
    waiting = [pool.submit(pool_tasks.nothing) for _ in range(50)]
    wait_until(lambda: all(future.running() for future in running))
    manager = pool._executor_manager_thread

    pool.shutdown(wait=False, cancel_futures=True)

    wait_until(lambda: sum(future.cancelled() for future in waiting) >= 47)  # the standard one has sent some ahead
    gate.open()
    manager.join()


def test_the_initializer_runs_in_every_worker(executor):
    with executor(2, initializer=pool_tasks.set_state, initargs=("set",)) as pool:
        assert {pool.submit(pool_tasks.get_state).result() for _ in range(10)} == {"set"}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_initializer_that_raises_breaks_the_pool(executor, method, caplog, wait_until):
    caplog.set_level(logging.CRITICAL + 1)
    with executor(2, multiprocessing.get_context(method), initializer=pool_tasks.fail_to_start) as pool:
        with pytest.raises(BrokenExecutor):
            pool.submit(pool_tasks.nothing).result(20)
        wait_until(lambda: pool._broken)
        with pytest.raises(BrokenExecutor):
            pool.submit(pool_tasks.nothing)


def test_a_worker_may_be_replaced_after_some_tasks(executor):
    with executor(1, max_tasks_per_child=2) as pool:
        assert pool._mp_context.get_start_method() == "spawn"
        workers = [pool.submit(os.getpid).result() for _ in range(5)]

    assert workers[0] == workers[1]
    assert workers[2] == workers[3]
    assert len(set(workers)) == 3


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_workers": 0}, ValueError),
        ({"max_workers": -1}, ValueError),
        ({"initializer": 5}, TypeError),
        ({"max_tasks_per_child": 0}, ValueError),
        ({"max_tasks_per_child": 1.5}, TypeError),
        ({"max_tasks_per_child": 1, "mp_context": multiprocessing.get_context("fork")}, ValueError),
    ],
)
def test_arguments_that_cannot_be_are_refused(executor, options, error):
    with pytest.raises(error):
        executor(**options)


def test_one_that_nobody_holds_finishes_its_tasks_and_ends(executor, gate):
    pool = executor(1)
    future = pool.submit(pool_tasks.wait_for, gate.path)
    manager = pool._executor_manager_thread
    collected = weakref.ref(pool)
    del pool
    gc.collect()

    assert collected() is None
    gate.open()
    assert future.result(20) > 0
    manager.join(20)
    assert not manager.is_alive()


def test_arguments_and_results_are_let_go(pool):
    for made in pool.map(pool_tasks.make, [pool_tasks.Calls] * 10, [pool_tasks.nothing] * 10):
        assert made is None
    arguments = pool_tasks.Calls(pool_tasks.nothing)
    alive = weakref.ref(arguments)
    future = pool.submit(pool_tasks.double, [arguments])
    del arguments

    assert future.result() == [None, None]
    pool.shutdown()
    assert alive() is None


def run_to_its_end(executor, code):
    """Run a program that never shuts its pool down."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nimport pool_tasks\n"
    program += f"from {executor.__module__} import {executor.__name__} as executor\n{code}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_the_interpreter_ends_when_all_tasks_have(executor, tmp_path):
    ledger = tmp_path / "ledger"
    done = run_to_its_end(
        executor, f"p = executor(2)\nfor each in range(20): p.submit(pool_tasks.note, {str(ledger)!r}, each)"
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(map(int, ledger.read_text().split())) == list(range(20))


def test_nothing_can_be_submitted_when_the_interpreter_ends(executor):
    code = "import atexit\np = executor(2)\np.submit(pool_tasks.nothing).result()\n"
    done = run_to_its_end(executor, f"{code}atexit.register(lambda: p.submit(pool_tasks.nothing))")

    assert "RuntimeError: cannot schedule new futures" in done.stderr
