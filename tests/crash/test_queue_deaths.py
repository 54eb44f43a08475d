"""A process is killed at its 1st, 2nd, 3rd ... store that others can see, in a queue's methods; the others go on."""

from __future__ import annotations

import os
import queue as pyqueue
import signal
from collections.abc import Callable
from typing import Any

import pytest

import shmq
from shmq import _native

WAIT_S = 20
MOST_POINTS = 400
LARGE = 300_000
SIZES = {"small": 10, "large": LARGE}


def die_at(nth: int, body: Callable[[], Any]) -> bool:
    """Run `body` in a child that is killed at its nth point; whether it came so far."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _native.fault_arm(None, nth)
            body()
            _native.fault_arm(None, 0)
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert status in (0, signal.SIGKILL), f"point {nth}: {status}"
    return status == signal.SIGKILL


def walk(make: Callable[[], Any], body: Callable[[Any], Any], judge: Callable[[Any], None]) -> None:
    """Die at each point, over a queue of its own each time."""
    for nth in range(1, MOST_POINTS):
        queue = make()
        try:
            died = die_at(nth, lambda queue=queue: body(queue))
            judge(queue)
        except BaseException as error:
            error.add_note(f"point {nth}")
            raise
        finally:
            queue.close()
        if not died:
            assert nth > 3
            return
    raise AssertionError(f"still dying after {MOST_POINTS} points")


def made(kind: Any = shmq.Queue, *, size: int, items: int, **options: Any) -> Callable[[], Any]:
    """Make queues that have so many items: (number, ballast)."""

    def make() -> Any:
        queue = kind(**options)
        queue.put_many([(number, bytes(size)) for number in range(items)])
        return queue

    return make


def rest_of(queue: Any) -> list[int]:
    """Put one more item, numbered 99, and take all there is."""
    queue.put((99, b""))
    numbers = []
    while not numbers or queue.qsize():
        numbers += [number for number, _ in queue.get_many(100, timeout=WAIT_S)]
    with pytest.raises(pyqueue.Empty):
        queue.get_many(1, timeout=0.03)
    return numbers


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("maxsize", [0, 3])
def test_a_put_is_there_or_not(size, maxsize):
    def judge(queue: Any) -> None:
        assert rest_of(queue) in ([0, 99], [0, 1, 99])

    walk(made(size=size, items=1, maxsize=maxsize), lambda queue: queue.put((1, bytes(size))), judge)


def test_many_are_there_or_none():
    def judge(queue: Any) -> None:
        assert rest_of(queue) in ([0, 99], [0, 1, 2, 3, 99])

    walk(made(size=10, items=1), lambda queue: queue.put_many((number, b"") for number in (1, 2, 3)), judge)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_get_takes_one_item_or_none(size):
    def judge(queue: Any) -> None:
        assert rest_of(queue) in ([0, 1, 99], [1, 99])

    walk(made(size=size, items=2), lambda queue: queue.get(timeout=WAIT_S), judge)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_with_redelivery_no_item_is_lost(size):
    def judge(queue: Any) -> None:
        taken = []
        while len(taken) < 3:
            taken.append(queue.get(timeout=WAIT_S)[0])
        assert sorted(taken) == [0, 1, 2]
        queue.task_done()
        assert rest_of(queue) == [99]

    walk(made(size=size, items=3, redeliver=True), lambda queue: queue.get(timeout=WAIT_S), judge)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_an_item_is_done_or_comes_again(size):
    def work(queue: Any) -> None:
        queue.get(timeout=WAIT_S)
        queue.task_done()

    def judge(queue: Any) -> None:
        queue.put((99, b""))
        taken = []
        while 99 not in taken or queue._unfinished() > 1:
            taken += [number for number, _ in queue.get_many(1, timeout=WAIT_S)]
        queue.task_done()
        assert sorted(taken) in ([0, 99], [99])
        queue.join()

    walk(made(shmq.JoinableQueue, size=size, items=1, redeliver=True), work, judge)


def test_a_full_queue_whose_taker_dies_lets_producers_go_on():
    def judge(queue: Any) -> None:
        if queue.full():
            assert queue.get(timeout=WAIT_S)[0] == 0
        queue.put((7, b""), timeout=WAIT_S)
        assert queue.qsize() == 2

    walk(made(size=10, items=2, maxsize=2), lambda queue: queue.get(timeout=WAIT_S), judge)


def test_a_queue_half_made_is_in_nobody_s_way():
    def judge(queue: Any) -> None:
        another = shmq.Queue()
        another.put("good")
        assert another.get(timeout=WAIT_S) == "good"
        another.close()

    walk(made(size=10, items=1), lambda queue: shmq.Queue().put("half"), judge)


def test_shutdown_is_done_or_not():
    def judge(queue: Any) -> None:
        queue.shutdown(immediate=True)
        with pytest.raises(shmq.ShutDown):
            queue.get()
        with pytest.raises(shmq.ShutDown):
            queue.put(1)

    walk(made(size=10, items=2), lambda queue: queue.shutdown(immediate=True), judge)


def test_join_counts_what_is_there_when_a_producer_dies():
    def judge(queue: Any) -> None:
        for _ in rest_of(queue):
            queue.task_done()
        assert queue._unfinished() == 0
        with pytest.raises(ValueError, match="too many times"):
            queue.task_done()

    walk(made(shmq.JoinableQueue, size=10, items=1), lambda queue: queue.put((1, b"")), judge)
