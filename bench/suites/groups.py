"""Groups: how soon a killed member is replaced, and a killed coordinator; what a commit costs.

Owns: the measurements.
Must never: measure a way that users do not go: public API, real processes, SIGKILL.
Sits: beside the other suites; it has no peers.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

from bench.children import Children
from bench.peers.shmq_topic import create_topic
from bench.plan import Outcome, Plan, Step, make_curve, percentile
from bench.roles.transfer import CLOSE
from bench.scratch import Scratch, open_broker
from bench.suites.seek import time_calls
from shmq import Admin, Consumer, Producer, TopicPartition, coordination
from shmq.store.coordinator import coordinator_of

DEADLINE_S = 20.0
OURS = "shmq-memory"
TAKEOVERS, COMMITS = 10, 20_000
MOST_SECONDS = 600.0
PERCENTILES = {"p50": 0.5, "p99": 0.99, "max": 1.0}


def _start_ms(broker: str) -> list[float]:
    """Of the first member, with the start of the coordinator."""
    began = time.perf_counter()
    with Consumer("t", bootstrap_servers=broker, group_id="first") as consumer:
        while not consumer.assignment():
            consumer.poll(timeout_ms=100)
        return [(time.perf_counter() - began) * 1000]


def _commit_ns(broker: str) -> list[float]:
    with Consumer(bootstrap_servers=broker, group_id="commits", enable_auto_commit=False) as consumer:
        consumer.assign([TopicPartition("t", 0)])
        return [time_calls(consumer.commit, COMMITS)]


def _failover_ms(broker: str, kills: int) -> list[float]:
    """From the kill to the first record of the victim's partition, while a producer sends to both each millisecond."""
    ended = threading.Event()
    sender = threading.Thread(target=_send, args=(broker, ended))
    sender.start()
    gaps = []
    try:
        with Consumer("t", bootstrap_servers=broker, group_id="g", auto_offset_reset="latest") as survivor:
            for _ in range(kills):
                victim = _fork_member(broker)
                _poll_until(survivor, lambda: len(survivor.assignment()) == 1)
                theirs = TopicPartition("t", 1 - next(iter(survivor.assignment())).partition)
                _poll_until(survivor, functools.partial(_has_committed, survivor, theirs))
                began = time.perf_counter()
                os.kill(victim, signal.SIGKILL)
                _poll_until(survivor, lambda: False, theirs)
                gaps.append((time.perf_counter() - began) * 1000)
                os.waitpid(victim, 0)
    finally:
        ended.set()
        sender.join()
    return gaps


def _has_committed(consumer: Consumer, place: TopicPartition) -> bool:
    return consumer.committed(place) is not None


def _send(broker: str, ended: threading.Event) -> None:
    with Producer(bootstrap_servers=broker) as producer:
        while not ended.wait(0.001):
            for partition in range(2):
                producer.send("t", b"x", partition=partition)


def _fork_member(broker: str) -> int:
    pid = os.fork()
    if pid == 0:
        consumer = Consumer("t", bootstrap_servers=broker, group_id="g", auto_commit_interval_ms=1)
        while os.getppid() != 1:
            consumer.poll(timeout_ms=100)
        os._exit(0)
    return pid


def _poll_until(consumer: Consumer, done: Callable[[], bool], place: TopicPartition | None = None) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        if place in consumer.poll(timeout_ms=20):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {DEADLINE_S} s; assigned: {consumer.assignment()}")


def _takeover_ms(broker: str, kills: int) -> list[float]:
    gaps = []
    directory = broker.removeprefix("shm://")
    with Admin(bootstrap_servers=broker) as admin, Consumer("t", bootstrap_servers=broker, group_id="g") as member:
        for _ in range(kills):
            _poll_until(member, lambda: len(member.assignment()) == 2)
            coordination.request(admin.broker, "ping")
            began = time.perf_counter()
            os.kill(coordinator_of(directory), signal.SIGKILL)
            coordination.request(admin.broker, "ping")
            gaps.append((time.perf_counter() - began) * 1000)
    return gaps


def _in_child(find: Callable[[str], list[float]]) -> list[float]:
    """Run `find(broker)` in a process of its own, with a broker of its own, and return what it found, sorted."""
    with open_broker() as broker, Children() as children:
        create_topic(broker, "t", {"storage": "memory"}, partitions=2)
        child = children.start("client", _answer, find, broker)
        found: list[float] = children.expect(child, MOST_SECONDS)
        child.tell(CLOSE)
    return sorted(found)


def _answer(pipe: Connection, find: Callable[[str], list[float]], broker: str) -> None:
    pipe.send(find(broker))
    pipe.recv()


def measure(name: str, find: Callable[[str], list[float]]) -> Outcome:
    """Return percentiles in milliseconds, and the distribution."""
    gaps_ms = _in_child(find)
    values = [percentile(gaps_ms, share) for share in PERCENTILES.values()]
    return Outcome(values, {"times": float(len(gaps_ms))}, {name: make_curve(gaps_ms)})


def measure_one(find: Callable[[str], list[float]]) -> Outcome:
    """Return what was found once."""
    return Outcome(_in_child(find))


def steps(plan: Plan, _scratch: Scratch) -> Iterator[Step]:
    """Members killed, coordinators killed; first assignments and commits, as many as there are rounds."""
    if not plan.wants(OURS):
        return
    gaps = {
        "member": functools.partial(_failover_ms, kills=plan.kills),
        "coordinator": functools.partial(_takeover_ms, kills=plan.either(TAKEOVERS, TAKEOVERS // 3)),
    }
    for name, find in gaps.items():
        cases = tuple(f"{name} {percentile_name}" for percentile_name in PERCENTILES)
        yield Step("groups", OURS, cases, "ms", False, functools.partial(measure, f"{name} killed", find))
    for _ in range(plan.fewer_rounds):
        yield Step("groups", OURS, ("first assignment",), "ms", False, functools.partial(measure_one, _start_ms))
        yield Step("groups", OURS, ("commit of 1 partition",), "ns", False, functools.partial(measure_one, _commit_ns))
