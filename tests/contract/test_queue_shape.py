"""What our queues have beyond multiprocessing's: errors where they belong, many at once, shutdown, waiting, limits."""

from __future__ import annotations

import math
import multiprocessing.connection
import pickle
import queue as pyqueue
import selectors
import threading
import time
from typing import Any

import numpy as np
import pytest

import shmq
from shmq.errors import QueueMemoryError, ShmqError

WAIT_S = 20
LARGE = 3 << 20


class Unpicklable:
    def __reduce__(self) -> Any:
        raise AttributeError("no, thank you")


def explode(message: str) -> None:
    raise RuntimeError(message)


class Explosive:
    """Fails when it is unpickled."""

    def __reduce__(self) -> Any:
        return explode, ("boom",)


@pytest.fixture(params=["plain", "redeliver"])
def queue(request: pytest.FixtureRequest) -> Any:
    made = shmq.Queue(redeliver=request.param == "redeliver")
    yield made
    made.close()


# -- errors --------------------------------------------------------------------------------------------------------------


def test_put_raises_what_pickling_raises_and_nothing_was_put(queue):
    with pytest.raises(AttributeError, match="no, thank you"):
        queue.put(Unpicklable())
    with pytest.raises((pickle.PicklingError, AttributeError)):
        queue.put(lambda: None)

    assert queue.empty()


def test_an_item_that_cannot_be_unpickled_is_reported_once_and_the_queue_goes_on(queue):
    for item in ("before", Explosive(), "after"):
        queue.put(item)
    assert queue.get() == "before"

    with pytest.raises(RuntimeError, match="boom") as raised:
        queue.get()

    assert "item 1 of <shmq.Queue" in raised.value.__notes__[0]
    assert queue.get() == "after"
    assert queue.empty()


def test_get_many_gives_what_comes_before_such_an_item_then_raises(queue):
    queue.put_many([1, 2, Explosive(), 3])

    assert queue.get_many(10) == [1, 2]
    with pytest.raises(RuntimeError, match="boom"):
        queue.get_many(10)
    assert queue.get_many(10) == [3]
    assert queue.qsize() == 0


@pytest.mark.parametrize("call", ["get", "put"])
def test_a_timeout_that_is_not_a_number_of_seconds_is_refused(call):
    full = shmq.Queue(1)
    full.put(1)
    queue = full if call == "put" else shmq.Queue()

    with pytest.raises(ValueError, match="not a number"):
        getattr(queue, call)(*(["x"] if call == "put" else []), timeout=math.nan)


@pytest.mark.parametrize(
    "options",
    [
        {"maxsize": "three"},
        {"maxsize": 2.5},
        {"max_bytes": "much"},
        {"max_bytes": 1000},
        {"max_deliveries": 0},
        {"max_deliveries": 1.5},
        {"bootstrap_servers": "shm://x"},
        {"name": "../etc"},
        {"name": ""},
    ],
)
def test_an_argument_that_cannot_be_is_refused(options, broker):
    with pytest.raises((TypeError, ValueError)):
        shmq.Queue(**({"bootstrap_servers": broker.address} if "name" in options else {}), **options)


def test_a_huge_maxsize_is_no_limit_that_anybody_meets():
    queue = shmq.Queue(10**30)

    queue.put(1)

    assert not queue.full()
    assert queue.get() == 1
    queue.close()


# -- many at once --------------------------------------------------------------------------------------------------------


def test_many_are_put_and_taken_in_their_order(queue):
    queue.put_many(range(10_000))
    got: list[int] = []

    while len(got) < 10_000:
        got += queue.get_many(777)

    assert got == [*range(10_000)]
    assert queue.empty()


def test_put_many_of_nothing_puts_nothing(queue):
    queue.put_many([])

    assert queue.empty()


def test_put_many_puts_nothing_if_one_cannot_be_pickled(queue):
    with pytest.raises(AttributeError):
        queue.put_many([1, Unpicklable()])

    assert queue.empty()


def test_put_many_waits_for_room_and_says_how_far_it_came():
    queue = shmq.Queue(3)

    with pytest.raises(pyqueue.Full) as raised:
        queue.put_many(range(10), timeout=0.1)

    assert raised.value.__notes__ == ["3 of 10 items were put"]
    assert queue.get_many(10) == [0, 1, 2]
    putter = threading.Thread(target=queue.put_many, args=(range(10),))
    putter.start()
    got: list[int] = []
    while len(got) < 10:
        got += queue.get_many(2, timeout=WAIT_S)
    putter.join(WAIT_S)
    assert got == [*range(10)]
    queue.close()


def test_get_many_waits_for_the_first_only(queue):
    with pytest.raises(pyqueue.Empty):
        queue.get_many(5, timeout=0.05)
    with pytest.raises(pyqueue.Empty):
        queue.get_many(5, False)
    with pytest.raises(ValueError):
        queue.get_many(0)
    queue.put("one")

    assert queue.get_many(5) == ["one"]


# -- large items ---------------------------------------------------------------------------------------------------------


def test_large_items_arrive_whole_and_writable(queue):
    array = np.arange(LARGE // 8)
    for item in (array, b"x" * LARGE, {"a": array, "b": [array[:1000]]}):
        queue.put(item)

    got = queue.get()
    assert np.array_equal(got, array)
    got[0] = 17
    assert queue.get() == b"x" * LARGE
    both = queue.get()
    assert np.array_equal(both["a"], array)
    assert np.array_equal(both["b"][0], array[:1000])
    assert queue.empty()


def test_large_items_need_no_more_memory_than_there_are_of_them_at_once():
    queue = shmq.Queue(max_bytes=4 * LARGE)

    for number in range(50):
        queue.put(bytes([number]) * LARGE)
        queue.put(bytes([number + 100]) * LARGE)
        assert queue.get()[0] == number
        assert queue.get()[0] == number + 100

    queue.close()


# -- limits --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1000, 200_000])
def test_a_queue_without_maxsize_says_when_max_bytes_are_there_and_goes_on_when_they_are_not(size):
    limit = 1 << 20
    queue = shmq.Queue(max_bytes=limit)
    count = 0

    with pytest.raises(QueueMemoryError) as raised:
        while True:
            queue.put(bytes(size))
            count += 1

    assert isinstance(raised.value, pyqueue.Full)
    assert isinstance(raised.value, ShmqError)
    assert f"max_bytes={limit}" in str(raised.value)
    assert limit / 2 < count * size <= limit
    assert queue.qsize() == count
    assert sum(len(queue.get()) for _ in range(count)) == count * size
    queue.put(bytes(size))
    assert queue.qsize() == 1
    queue.close()


# -- shutdown ------------------------------------------------------------------------------------------------------------


def test_after_shutdown_nothing_more_is_put_and_what_is_there_is_taken(queue):
    queue.put(1)
    queue.put(2)

    queue.shutdown()

    with pytest.raises(shmq.ShutDown):
        queue.put(3)
    with pytest.raises(shmq.ShutDown):
        queue.put_many([3])
    assert queue.get() == 1
    assert queue.get_many(5) == [2]
    for args in ((), (False,), (True, 0.1)):
        with pytest.raises(shmq.ShutDown):
            queue.get(*args)


def test_an_immediate_shutdown_leaves_nothing(queue):
    queue.put(1)
    queue.put(bytes(LARGE))

    queue.shutdown(immediate=True)

    with pytest.raises(shmq.ShutDown):
        queue.get()
    assert queue.qsize() == 0


def test_shutdown_tells_those_who_wait():
    queue, full = shmq.Queue(), shmq.Queue(1)
    full.put(1)
    raised: list[type] = []

    def wait(call: Any, *args: Any) -> None:
        try:
            call(*args)
        except shmq.ShutDown as error:
            raised.append(type(error))

    waiting = [threading.Thread(target=wait, args=args) for args in ((queue.get,), (full.put, 2))]
    for thread in waiting:
        thread.start()

    queue.shutdown()
    full.shutdown()

    for thread in waiting:
        thread.join(WAIT_S)
    assert raised == [shmq.ShutDown, shmq.ShutDown]
    queue.close()
    full.close()


def test_an_immediate_shutdown_ends_join():
    queue = shmq.JoinableQueue()
    queue.put_many([1, 2, 3])
    queue.get()
    joiner = threading.Thread(target=queue.join)
    joiner.start()

    queue.shutdown(immediate=True)
    queue.task_done()

    joiner.join(WAIT_S)
    assert not joiner.is_alive()
    queue.close()


def test_shutdown_is_the_standard_library_s_where_it_has_it():
    assert issubclass(shmq.ShutDown, Exception)
    assert shmq.ShutDown is getattr(pyqueue, "ShutDown", shmq.ShutDown)


# -- closing -------------------------------------------------------------------------------------------------------------


def test_close_ends_a_get_of_another_thread():
    queue = shmq.Queue()
    raised: list[str] = []

    def get() -> None:
        try:
            queue.get()
        except ValueError as error:
            raised.append(str(error))

    getter = threading.Thread(target=get)
    getter.start()

    queue.close()

    getter.join(WAIT_S)
    assert "is closed" in raised[0]


# -- waiting -------------------------------------------------------------------------------------------------------------


def test_the_queue_itself_can_be_waited_for(queue):
    others = [shmq.Queue(), shmq.SimpleQueue()]
    assert multiprocessing.connection.wait([queue, *others], 0) == []

    queue.put(1)

    assert multiprocessing.connection.wait([queue, *others], WAIT_S) == [queue]
    assert queue.get() == 1
    assert multiprocessing.connection.wait([queue, *others], 0) == []
    for each in others:
        each.close()


def test_no_thread_is_started_until_somebody_asks_for_a_descriptor(queue):
    before = threading.active_count()
    queue.put(1)
    queue.get()
    assert threading.active_count() == before

    queue.fileno()
    assert threading.active_count() == before + 1

    queue.close()
    assert threading.active_count() == before


def test_a_selector_that_keeps_the_descriptor_hears_of_each_item(queue):
    with selectors.DefaultSelector() as selector:
        selector.register(queue, selectors.EVENT_READ)
        for number in range(3):
            assert selector.select(0) == []
            queue.put(number)
            assert len(selector.select(WAIT_S)) == 1
            assert len(selector.select(WAIT_S)) == 1
            assert queue.get() == number


def test_the_reader_polls_with_a_timeout(queue):
    began = time.monotonic()

    assert not queue._reader.poll(0.05)

    assert time.monotonic() - began >= 0.05
    putter = threading.Thread(target=queue.put, args=(1,))
    putter.start()
    assert queue._reader.poll(WAIT_S)
    assert queue._reader.poll()
    assert queue._reader.recv() == 1
    putter.join()


def test_a_put_that_waits_for_memory_in_a_queue_that_it_alone_reads_sleeps_until_time_is_up():
    queue = shmq.Queue(10**6, max_bytes=1 << 18)
    with pytest.raises(pyqueue.Full):
        while True:
            queue.put(bytes(1000), timeout=0.01)
    queue.get()
    began, worked = time.monotonic(), time.thread_time()

    with pytest.raises(pyqueue.Full):
        queue.put(bytes(1000), timeout=0.5)

    assert time.monotonic() - began >= 0.5
    assert time.thread_time() - worked < 0.25
    queue.close()
