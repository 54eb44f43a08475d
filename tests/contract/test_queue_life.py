"""Where queues are and for how long: families, names, deaths of those who have them, and items that come again."""

from __future__ import annotations

import contextlib
import gc
import logging
import multiprocessing
import os
import pickle
import queue as pyqueue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import queue_workers as workers

import shmq
from shmq.errors import InvalidConfigurationError, InvalidTopicError, UnknownTopicOrPartitionError
from shmq.store import collect_all

WAIT_S = 20
SHARED_MEMORY = Path("/dev/shm")
FORK = multiprocessing.get_context("fork")


def families() -> set[Path]:
    return set(SHARED_MEMORY.glob("shmq-family-*")) | set(SHARED_MEMORY.glob(".shmq-family-*"))


@contextlib.contextmanager
def script(code: str) -> Iterator[subprocess.Popen[str]]:
    """A fresh interpreter, which prints a line when it is ready and ends when its input does."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys, os, shmq\n{code}\nprint('ready', flush=True)\nsys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def start() -> Iterator[Callable[..., Any]]:
    """`start(function, *args)`: in a forked child, which is gone at the end of the test."""
    children = []

    def start_child(function: Callable[..., Any], *args: Any) -> Any:
        child = FORK.Process(target=function, args=args)
        child.start()
        children.append(child)
        return child

    yield start_child
    for child in children:
        child.kill()
        child.join()


def kill(child: Any) -> None:
    os.kill(child.pid, signal.SIGKILL)
    child.join(WAIT_S)


# -- families ------------------------------------------------------------------------------------------------------------


def test_a_process_that_ends_leaves_nothing():
    before = families()
    code = "q = shmq.Queue(); q.put(b'x' * 1000000); j = shmq.JoinableQueue(); s = shmq.SimpleQueue()\nprint(q._place.directory)"

    with script(code) as process:
        directory = Path(line_of(process)).parent
        assert line_of(process) == "ready"
        assert directory in families()
        process.communicate("")

    assert process.returncode == 0
    assert families() <= before


def test_what_a_killed_process_left_goes_with_the_next_start_and_no_sooner_than_it_may():
    code = "q = shmq.Queue(); q.put(1); q.get(); q.put(b'x' * 1000000)\nprint(q._place.directory)"
    with script(code) as dead, script(code) as alive:
        gone, kept = Path(line_of(dead)).parent, Path(line_of(alive)).parent
        line_of(dead), line_of(alive)
        os.kill(dead.pid, signal.SIGKILL)
        dead.wait(WAIT_S)
        assert gone.exists()

        with script("q = shmq.Queue()") as process:
            line_of(process)

        assert not gone.exists()
        assert kept.exists()


def test_gc_collects_dead_families_and_touches_no_other_user_s(tmp_path):
    code = "q = shmq.Queue(); q.put(1)\nprint(q._place.directory)"
    with script(code) as dead:
        gone = Path(line_of(dead)).parent
        line_of(dead)
    strange = SHARED_MEMORY / "shmq-family-00000000000000ff"
    strange.mkdir(mode=0o700)
    try:
        if os.geteuid() == 0:
            (strange / "holds").mkdir()
            (strange / "alive").touch()
            os.chown(strange, 54321, 54321)
        report = collect_all()

        assert str(gone) in report.removed
        assert strange.exists()
    finally:
        for each in (strange / "alive", strange / "holds"):
            with contextlib.suppress(FileNotFoundError):
                each.unlink() if each.is_file() else each.rmdir()
        with contextlib.suppress(FileNotFoundError):
            strange.rmdir()


def test_a_queue_goes_with_its_last_reference():
    queue = shmq.Queue()
    keeper = shmq.Queue()  # of the same family
    queue.put(b"x" * 1_000_000)
    topics = Path(queue._place.directory) / "topics"
    name = queue._place.topic
    meta = queue._open().layout
    assert (topics / name).exists()

    del queue
    gc.collect()

    assert not (topics / name).exists()
    assert not Path(meta.meta.directory).exists()
    assert not Path(meta.window_path).exists()
    keeper.close()


def test_a_queue_stays_while_a_child_has_it(start, wait_until):
    queue, ready = shmq.Queue(), FORK.Event()
    topics, name = Path(queue._place.directory) / "topics", queue._place.topic
    keeper = shmq.Queue()
    child = start(workers.put_when_told, queue, ready)

    queue.close()
    assert (topics / name).exists()
    ready.set()
    child.join(WAIT_S)

    assert child.exitcode == 0
    assert not (topics / name).exists()
    keeper.close()


def test_a_queue_whose_last_holder_was_killed_goes_when_there_are_many(start):
    queue, told = shmq.Queue(), shmq.SimpleQueue()
    name, topics = queue._place.topic, Path(queue._place.directory) / "topics"
    queue.put(1)
    child = start(workers.take_and_wait, queue, told)
    told.get()
    queue.close()
    kill(child)
    assert (topics / name).exists()

    made = [shmq.Queue() for _ in range(64)]

    assert not (topics / name).exists()
    for each in made:
        each.close()
    told.close()


def test_many_queues_cost_two_descriptors_each_as_pipes_do():
    first = shmq.Queue()
    before = len(os.listdir("/proc/self/fd"))

    made = [shmq.Queue() for _ in range(20)]

    assert len(os.listdir("/proc/self/fd")) <= before + 2 * 20
    for each in [first, *made]:
        each.close()


# -- names ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def named(broker: Any) -> Iterator[Callable[..., Any]]:
    """`named(**options)`: a queue of this name in the test's broker."""
    made = []

    def make(name: str = "jobs", kind: Any = shmq.Queue, **options: Any) -> Any:
        made.append(kind(name=name, bootstrap_servers=broker.address, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_processes_that_are_not_relatives_meet_by_name(named, broker):
    named().put("from here")

    said = broker.run(
        "import shmq\nq = shmq.Queue(name='jobs', bootstrap_servers=address)\nprint(q.get(timeout=20)); q.put('from there')"
    )

    assert said == "from here\n"
    assert named().get(timeout=WAIT_S) == "from there"


def test_a_named_queue_stays_until_it_is_deleted(named, broker):
    queue = named(maxsize=5)
    queue.put(1)
    queue.close()

    again = named()
    assert again.qsize() == 1
    assert not again.full()
    [listed] = broker.admin.list_queues()
    assert (listed["queue"], listed["ready"], listed["in_flight"]) == ("jobs", 1, 0)
    assert broker.admin.list_groups() == []
    again.delete()

    assert "jobs" not in broker.admin.list_topics()
    with pytest.raises(ValueError, match="is closed"):
        again.get()
    fresh = named()
    assert fresh.qsize() == 0


def test_those_who_use_a_queue_that_is_deleted_hear_of_it(named):
    queue, other = named(), named()
    other.put(1)

    queue.delete()

    with pytest.raises(UnknownTopicOrPartitionError):
        other.put(2)
    with pytest.raises(UnknownTopicOrPartitionError):
        other.get()


def test_a_named_queue_is_pickled_anywhere(named):
    queue = named(redeliver=True)
    queue.put("x")

    copy = pickle.loads(pickle.dumps(queue))

    assert copy.get(timeout=WAIT_S) == "x"
    copy.task_done()
    assert queue.qsize() == 0
    copy.close()


@pytest.mark.parametrize(("made", "asked"), [({"maxsize": 3}, {"maxsize": 4}), ({}, {"redeliver": True})])
def test_a_queue_that_was_made_otherwise_is_refused(named, made, asked):
    named(**made)

    with pytest.raises(InvalidConfigurationError):
        named(**asked)


def test_a_name_that_cannot_be_is_refused(named):
    for name in ("../x", "a/b", ".", "", "x" * 300):
        with pytest.raises(InvalidTopicError):
            named(name)


def test_a_topic_that_is_no_queue_is_refused(named, broker):
    broker.create("plain")

    with pytest.raises(shmq.errors.IllegalStateError, match="take another name"):
        named("plain")


def test_only_queues_with_a_name_are_deleted():
    queue = shmq.Queue()

    with pytest.raises(ValueError, match="last process"):
        queue.delete()

    queue.close()


def test_tasks_are_joined_by_name(named, broker):
    queue = named(kind=shmq.JoinableQueue)
    queue.put_many([1, 2])
    process = broker.start(
        "import shmq\nq = shmq.JoinableQueue(name='jobs', bootstrap_servers=address)\n"
        "for _ in range(2): q.get(); q.task_done()"
    )

    queue.join()

    assert process.wait(WAIT_S) == 0
    process.communicate()
    queue.delete()


# -- items that come again -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("item", ["small", b"large" * 100_000])
def test_an_item_of_a_killed_process_comes_to_another(start, item):
    queue, told = shmq.Queue(redeliver=True), shmq.SimpleQueue()
    queue.put(item)
    child = start(workers.take_and_wait, queue, told)
    assert told.get() == (child.pid, item, 1)
    assert queue.qsize() == 0

    kill(child)

    assert queue.get(timeout=WAIT_S) == item
    assert queue.delivery_count == 2
    queue.task_done()
    assert queue.empty()
    queue.close()
    told.close()


def test_without_redelivery_it_does_not(start):
    queue, told = shmq.Queue(), shmq.SimpleQueue()
    queue.put_many(["lost", "next"])
    child = start(workers.take_and_wait, queue, told)
    assert told.get()[1] == "lost"

    kill(child)

    assert queue.get(timeout=WAIT_S) == "next"
    assert queue.empty()
    queue.close()
    told.close()


def test_taking_the_next_settles_the_last(start):
    queue = shmq.Queue(redeliver=True)
    queue.put_many(["first", "second"])
    child = start(lambda: (queue.get(), queue.get(), os.kill(os.getpid(), signal.SIGKILL)))
    child.join(WAIT_S)

    assert queue.get(timeout=WAIT_S) == "second"
    assert queue.delivery_count == 2
    queue.close()


def test_a_thread_that_ends_gives_back_what_it_did_not_settle():
    queue = shmq.Queue(redeliver=True)
    queue.put_many([1, 2, 3])
    thread = threading.Thread(target=lambda: queue.get_many(2))
    thread.start()
    thread.join()

    assert queue.get_many(2, timeout=WAIT_S) == [1, 2]
    assert queue.delivery_count == 2
    assert queue.get_many(5, timeout=WAIT_S) == [3]
    queue.close()


def test_task_done_settles_one_after_the_other():
    queue = shmq.JoinableQueue(redeliver=True)
    queue.put_many([1, 2])
    assert queue.get_many(2) == [1, 2]
    ended = threading.Event()
    joiner = threading.Thread(target=lambda: (queue.join(), ended.set()))
    joiner.start()
    queue.task_done()
    assert not ended.wait(0.1)

    queue.task_done()

    assert ended.wait(WAIT_S)
    joiner.join()
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()
    queue.close()


def test_an_item_that_kills_whoever_takes_it_is_given_up(start, caplog):
    queue = shmq.Queue(redeliver=True, max_deliveries=3)
    queue.put("poison")
    for _ in range(3):
        child = start(workers.take_and_die, queue)
        child.join(WAIT_S)
        assert child.exitcode == 1
    queue.put("good")

    with caplog.at_level(logging.WARNING):
        assert queue.get(timeout=WAIT_S) == "good"
        with pytest.raises(pyqueue.Empty):
            queue.get(timeout=0.5)

    assert "given up: it was taken 3 times" in caplog.text
    assert queue.given_up == 1
    assert queue.qsize() == 0
    queue.close()


@pytest.mark.parametrize("poison", ["small", b"large" * 100_000])
def test_what_a_queue_with_a_name_gives_up_goes_to_its_dead_letters(named, start, poison):
    queue = named(redeliver=True, max_deliveries=1)
    queue.put(poison)
    start(workers.take_and_die, queue).join(WAIT_S)

    with pytest.raises(pyqueue.Empty):
        queue.get(timeout=0.5)

    assert queue.given_up == 1
    dead = named("jobs.dead")
    assert dead.get(timeout=WAIT_S) == poison
    assert dead.empty()


def test_join_ends_when_a_poison_item_is_given_up(start):
    queue = shmq.JoinableQueue(redeliver=True, max_deliveries=1)
    queue.put("poison")
    start(workers.take_and_die, queue).join(WAIT_S)
    queue.put("good")

    assert queue.get(timeout=WAIT_S) == "good"
    queue.task_done()
    with pytest.raises(pyqueue.Empty):
        queue.get(timeout=0.5)

    queue.join()
    queue.close()


def test_a_waiter_hears_of_an_item_whose_taker_died(start):
    queue, told = shmq.Queue(redeliver=True), shmq.SimpleQueue()
    queue.put("again")
    child = start(workers.take_and_wait, queue, told)
    told.get()
    assert multiprocessing.connection.wait([queue], 0) == []

    kill(child)

    assert multiprocessing.connection.wait([queue], WAIT_S) == [queue]
    assert queue.get(False) == "again"
    queue.close()
    told.close()


# -- pools ---------------------------------------------------------------------------------------------------------------


def test_workers_of_a_pool_end_when_whoever_made_it_is_killed(wait_until):
    code = """
def work(number):
    return os.getpid()
if __name__ == "__main__":
    pool = shmq.get_context("fork").Pool(2)
    pool.map(work, range(10))
    print(*(each.pid for each in pool._pool), flush=True)
"""
    with script(code) as process:
        pids = [int(each) for each in line_of(process).split()]
        line_of(process)
        os.kill(process.pid, signal.SIGKILL)

        wait_until(
            lambda: (
                not any(
                    Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids
                )
            )
        )
