"""The same cases on multiprocessing's queues and on ours: what holds there holds here."""

from __future__ import annotations

import logging
import logging.handlers
import multiprocessing
import multiprocessing.connection
import os
import pickle
import queue as pyqueue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
import queue_workers as workers

import shmq

WAIT_S = 20
METHODS = ("fork", "spawn", "forkserver")

pytestmark = pytest.mark.usefixtures("helpers_of_multiprocessing")


@pytest.fixture(params=["multiprocessing", "shmq"])
def module(request: pytest.FixtureRequest) -> Any:
    """Theirs, and ours."""
    return multiprocessing if request.param == "multiprocessing" else shmq


@pytest.fixture
def context(module: Any) -> Any:
    """A context that starts no process in these tests."""
    return module.get_context("fork")


@pytest.fixture(params=METHODS)
def started(module: Any, request: pytest.FixtureRequest) -> Any:
    """A context of each start method."""
    return module.get_context(request.param)


@pytest.fixture
def run(started: Any) -> Any:
    """`run(function, *args)`: in a process that is gone at the end of the test."""
    processes = []

    def run_in_process(function: Callable[..., Any], *args: Any) -> Any:
        process = started.Process(target=function, args=args)
        process.start()
        processes.append(process)
        return process

    yield run_in_process
    for process in processes:
        process.kill()
        process.join()


def settled(queue: Any, size: int, wait_until: Callable[..., Any]) -> None:
    """Wait until so many items are there: theirs are put by a thread."""
    wait_until(lambda: queue.qsize() == size and queue.empty() == (size == 0))


def finish(*queues: Any) -> None:
    for each in queues:
        each.close()
        each.join_thread()


# -- alone ---------------------------------------------------------------------------------------------------------------


def test_items_come_in_the_order_in_which_they_were_put(context):
    queue = context.Queue()
    items = [1, "two", 3.0, None, b"five", ("six", [6]), {"seven": {7}}, object, os.getpid]

    for item in items:
        queue.put(item)

    assert [queue.get(timeout=WAIT_S) for _ in items] == items
    finish(queue)


def test_an_item_is_what_it_was_when_the_put_was_over(context, wait_until):
    queue = context.SimpleQueue()
    item = [1]

    queue.put(item)
    item.append(2)

    assert queue.get() == [1]
    queue.close()


def test_counts_follow_every_put_and_get(context, wait_until):
    queue = context.Queue(2)
    assert (queue.qsize(), queue.empty(), queue.full()) == (0, True, False)

    queue.put("a")
    settled(queue, 1, wait_until)
    assert not queue.full()
    queue.put("b")
    settled(queue, 2, wait_until)
    assert queue.full()

    queue.get()
    assert (queue.qsize(), queue.full()) == (1, False)
    queue.get()
    settled(queue, 0, wait_until)
    finish(queue)


@pytest.mark.parametrize("args", [(False,), (False, 5), (True, 0), (True, 0.05), (True, -1)])
def test_get_from_an_empty_queue_raises_empty_in_time(context, args):
    queue = context.Queue()
    began = time.monotonic()

    with pytest.raises(pyqueue.Empty):
        queue.get(*args)

    assert time.monotonic() - began >= (0.05 if args == (True, 0.05) else 0)
    with pytest.raises(pyqueue.Empty):
        queue.get_nowait()
    finish(queue)


@pytest.mark.parametrize("args", [(False,), (False, 5), (True, 0), (True, 0.05), (True, -1)])
def test_put_into_a_full_queue_raises_full_in_time(context, args):
    queue = context.Queue(1)
    queue.put("first")
    began = time.monotonic()

    with pytest.raises(pyqueue.Full):
        queue.put("second", *args)

    assert time.monotonic() - began >= (0.05 if args == (True, 0.05) else 0)
    with pytest.raises(pyqueue.Full):
        queue.put_nowait("second")
    assert queue.get(timeout=WAIT_S) == "first"
    finish(queue)


@pytest.mark.parametrize("maxsize", [0, -1, -(10**9)])
def test_without_a_maxsize_put_never_blocks(context, maxsize):
    queue = context.Queue(maxsize)

    for number in range(500):
        queue.put(number, False)

    assert not queue.full()
    assert [queue.get(timeout=WAIT_S) for _ in range(500)] == [*range(500)]
    finish(queue)


def test_a_get_that_waits_gets_what_is_put_then(context):
    queue = context.Queue()
    got: list[Any] = []
    getter = threading.Thread(target=lambda: got.append(queue.get(timeout=WAIT_S)))
    getter.start()

    queue.put("late")

    getter.join(WAIT_S)
    assert got == ["late"]
    finish(queue)


def test_a_put_that_waits_puts_when_there_is_room(context):
    queue = context.Queue(1)
    queue.put(1)
    putter = threading.Thread(target=queue.put, args=(2,))
    putter.start()

    assert queue.get(timeout=WAIT_S) == 1

    putter.join(WAIT_S)
    assert queue.get(timeout=WAIT_S) == 2
    finish(queue)


def test_many_threads_take_each_item_once(context):
    queue = context.Queue(50)
    taken: list[Any] = []

    def take() -> None:
        taken.extend(iter(lambda: queue.get(timeout=WAIT_S), None))

    threads = [threading.Thread(target=workers.put_numbered, args=(queue, me, 200)) for me in range(4)]
    takers = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads + takers:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    for _ in takers:
        queue.put(None)
    for thread in takers:
        thread.join(WAIT_S)

    assert sorted(taken) == [(me, number) for me in range(4) for number in range(200)]
    finish(queue)


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue"])
def test_a_closed_queue_says_so(context, kind):
    queue = getattr(context, kind)()
    queue.close()
    queue.close()

    with pytest.raises(ValueError, match="is closed"):
        queue.put("x")
    with pytest.raises(ValueError, match="is closed"):
        queue.get()
    queue.join_thread()
    queue.cancel_join_thread()


def test_join_thread_is_for_closed_queues(context):
    queue = context.Queue()

    with pytest.raises(AssertionError, match="not closed"):
        queue.join_thread()

    finish(queue)


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_a_queue_is_pickled_only_for_a_child(context, kind):
    queue = getattr(context, kind)()

    with pytest.raises(RuntimeError, match="through inheritance"):
        pickle.dumps(queue)

    queue.close()


def test_a_simple_queue_has_four_methods(context):
    queue = context.SimpleQueue()
    assert queue.empty()

    queue.put({"a": 1})
    queue.put(None)

    assert not queue.empty()
    assert (queue.get(), queue.get()) == ({"a": 1}, None)
    assert queue.empty()
    queue.close()
    queue.close()
    assert queue._reader.closed
    assert queue._writer.closed
    with pytest.raises(OSError, match="closed"):
        queue.put(1)
    with pytest.raises(OSError, match="closed"):
        queue.get()


def test_a_simple_queue_whose_writers_are_gone_raises_eof(context):
    queue = context.SimpleQueue()
    queue.put("last")

    queue._writer.close()

    assert queue.get() == "last"
    with pytest.raises(EOFError):
        queue.get()
    queue.close()


def test_tasks_are_counted_and_no_more_than_those(context):
    queue = context.JoinableQueue()
    queue.join()
    queue.put(1)
    queue.put(2)
    for _ in range(2):
        queue.get(timeout=WAIT_S)
        queue.task_done()

    queue.join()

    with pytest.raises(ValueError, match="called too many times"):
        queue.task_done()
    finish(queue)


def test_join_waits_for_the_last_task(context):
    queue = context.JoinableQueue()
    queue.put("task")
    ended = threading.Event()
    joiner = threading.Thread(target=lambda: (queue.join(), ended.set()))
    joiner.start()
    queue.get(timeout=WAIT_S)
    assert not ended.wait(0.05)

    queue.task_done()

    assert ended.wait(WAIT_S)
    joiner.join()
    finish(queue)


def test_the_reader_is_readable_as_long_as_there_is_something(context):
    queue = context.Queue()
    assert multiprocessing.connection.wait([queue._reader], 0) == []

    queue.put(1)
    queue.put(2)

    for number in (1, 2):
        assert multiprocessing.connection.wait([queue._reader], WAIT_S) == [queue._reader]
        assert multiprocessing.connection.wait([queue._reader], WAIT_S) == [queue._reader]
        assert queue.get(timeout=WAIT_S) == number
    assert multiprocessing.connection.wait([queue._reader], 0.05) == []
    finish(queue)


def test_a_wait_for_several_queues_returns_those_with_something(context):
    queues = [context.SimpleQueue() for _ in range(3)]
    readers = [each._reader for each in queues]

    queues[1].put("here")

    assert multiprocessing.connection.wait(readers, WAIT_S) == [readers[1]]
    assert readers[1].poll()
    assert not readers[0].poll(0.01)
    assert readers[1].recv() == "here"
    for each in queues:
        each.close()


def test_a_queue_may_carry_log_records(context):
    queue = context.Queue()
    heard: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = heard.append  # type: ignore[method-assign]
    listener = logging.handlers.QueueListener(queue, handler)
    listener.start()

    workers.log_something(queue)

    listener.stop()
    assert [each.getMessage() for each in heard] == ["from a child"]
    finish(queue)


@pytest.mark.parametrize("timeout", ["soon", [1]])
def test_a_timeout_is_a_number(context, timeout):
    queue = context.Queue()

    with pytest.raises(TypeError):
        queue.get(True, timeout)

    finish(queue)


# -- with processes ------------------------------------------------------------------------------------------------------


def test_children_take_and_put(started, run):
    inbox, outbox = started.Queue(), started.SimpleQueue()
    children = [run(workers.echo, inbox, outbox) for _ in range(2)]
    for number in range(20):
        inbox.put(number)
    got = [outbox.get() for _ in range(20)]
    for _ in children:
        inbox.put(None)
    for child in children:
        child.join(WAIT_S)

    assert sorted(item for _, item in got) == [*range(20)]
    assert {pid for pid, _ in got} <= {child.pid for child in children}
    assert [child.exitcode for child in children] == [0, 0]
    finish(inbox)
    outbox.close()


def test_what_a_child_put_is_there_after_its_end(started, run):
    queue = started.Queue()
    items = [[number] * 10 for number in range(100)]

    child = run(workers.put_all, queue, items)
    child.join(WAIT_S)

    assert child.exitcode == 0
    assert [queue.get(timeout=WAIT_S) for _ in items] == items
    finish(queue)


def test_each_producer_s_items_keep_their_order(started, run):
    queue = started.Queue(10)
    children = [run(workers.put_numbered, queue, me, 100) for me in range(2)]

    got = [queue.get(timeout=WAIT_S) for _ in range(200)]

    for child in children:
        child.join(WAIT_S)
    assert [each for each in got if each[0] == 0] == [(0, number) for number in range(100)]
    assert [each for each in got if each[0] == 1] == [(1, number) for number in range(100)]
    finish(queue)


def test_workers_join(started, run):
    tasks, done = started.JoinableQueue(), started.SimpleQueue()
    children = [run(workers.do_tasks, tasks, done) for _ in range(2)]
    for number in range(20):
        tasks.put(number)

    tasks.join()

    assert sorted(done.get() for _ in range(20)) == [*range(20)]
    for _ in children:
        tasks.put(None)
    for child in children:
        child.join(WAIT_S)
    tasks.join()
    finish(tasks)
    done.close()


def test_a_queue_outlives_the_process_that_passed_it_on(started, run):
    queue, ready = started.Queue(), started.Event()
    child = run(workers.hand_on, started, queue, ready)
    child.join()  # without a limit: its own child has what a join with one waits for

    ready.set()

    assert queue.get(timeout=WAIT_S) != child.pid
    finish(queue)


def test_log_records_come_from_children(started, run):
    queue = started.Queue()

    run(workers.log_something, queue)

    assert queue.get(timeout=WAIT_S).getMessage() == "from a child"
    finish(queue)


def test_a_pool_works(started):
    with started.Pool(2) as pool:
        assert pool.map(workers.square, range(50)) == [number * number for number in range(50)]
        assert sorted(pool.imap_unordered(workers.square, range(5))) == [0, 1, 4, 9, 16]
        with pytest.raises(ZeroDivisionError):
            pool.apply(divmod, (1, 0))
        pool.close()
        pool.join()


def test_a_process_pool_executor_works(started):
    with ProcessPoolExecutor(2, mp_context=started) as executor:
        assert list(executor.map(workers.square, range(50))) == [number * number for number in range(50)]
        with pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 1, 0).result(WAIT_S)
