"""Groups: how soon a killed member is replaced, and a killed coordinator; what a commit costs.

    python -m bench.groups [--kills 300]

Owns: the measurements, and the lines that it prints.
Must never: measure a way that users do not go: public API, real processes, SIGKILL.
Sits: beside the suites; a command of its own, since it has no peers.
"""

from __future__ import annotations

import functools
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable

import click
from rich.progress import track

from bench.report import make_console
from shmq import Admin, Consumer, Producer, TopicPartition, coordination, temporary_broker
from shmq.store.coordinator import coordinator_of

DEADLINE_S = 20.0


@click.command()
@click.option("--kills", type=click.IntRange(1), default=300, show_default=True, help="Members killed.")
def main(kills: int) -> None:
    """Print what was measured."""
    console = make_console()
    with temporary_broker() as broker:
        with Admin(bootstrap_servers=broker) as admin:
            admin.create_topics({"t": {"num_partitions": 2, "configs": {"storage": "memory"}}})
        starts = [_time(lambda: _join(broker)) for _ in range(3)]
        console.print(f"a first member's first assignment: {starts[0]:.0f} ms with the start of the coordinator")
        console.print(f"commit() of one partition: {_commit_ns(broker):.0f} ns; a bare C call: {_bare_ns():.0f} ns")
        gaps = _failover_ms(broker, kills)
        console.print(f"a member killed, {kills} times: its partition flows again after {_spread(gaps)}")
        console.print(f"a coordinator killed, 10 times: the next one answers after {_spread(_takeover_ms(broker, 10))}")


def _time(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return (time.perf_counter() - began) * 1000


def _join(broker: str) -> None:
    with Consumer("t", bootstrap_servers=broker, group_id="first") as consumer:
        while not consumer.assignment():
            consumer.poll(timeout_ms=100)


def _commit_ns(broker: str) -> float:
    with Consumer(bootstrap_servers=broker, group_id="commits", enable_auto_commit=False) as consumer:
        consumer.assign([TopicPartition("t", 0)])
        return _per_call_ns(consumer.commit, 20_000)


def _bare_ns() -> float:
    return _per_call_ns([].__len__, 200_000)


def _per_call_ns(call: Callable[[], object], count: int) -> float:
    laps = []
    for _ in range(5):
        began = time.perf_counter_ns()
        for _ in range(count):
            call()
        laps.append((time.perf_counter_ns() - began) / count)
    return min(laps)


def _failover_ms(broker: str, kills: int) -> list[float]:
    """From the kill to the first record of the victim's partition, while a producer sends to both each millisecond."""
    ended = threading.Event()
    sender = threading.Thread(target=_send, args=(broker, ended))
    sender.start()
    gaps = []
    try:
        with Consumer("t", bootstrap_servers=broker, group_id="g", auto_offset_reset="latest") as survivor:
            for _ in track(range(kills), "killing members"):
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


def _spread(values: list[float]) -> str:
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"{statistics.median(ordered):.1f} ms (p99 {p99:.1f} ms, longest {ordered[-1]:.1f} ms)"


if __name__ == "__main__":
    main()
