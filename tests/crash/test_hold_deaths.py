"""A process is killed, or stopped, at its 1st, 2nd, 3rd ... step of holding records for a group; others go on."""

from __future__ import annotations

import mmap
import signal
from collections.abc import Callable
from typing import Any

import pytest
from crew import ENDED, KILLED, STOPPED, Victim
from sources import fault_points

from shmq import Admin, TopicPartition, _native
from shmq.store import Topics

GROUP, OTHER = 70_001, 2
ENTRIES, ENTRY_BYTES = 1024, 64  # where the readers' entries lie in a control file: layout.h
HALF = bytes(25_000)
MOST_POINTS = 60

Act = Callable[[Any], object]


def partition_of(admin: Admin) -> Any:
    topics = Topics(admin.broker)
    meta = topics.find("t")
    process = _native.Process(admin.broker.directory, admin.broker.instance)
    return _native.Partition(process, meta.partition_directory(0), "t", 0, meta.topic_id)


def victim_of(broker, act: Act, nth: int, number: int, prepare: Act) -> Victim:
    """A forked child that comes to its nth fault point in `act`."""

    def body() -> None:
        with Admin(bootstrap_servers=broker.address) as admin:
            partition = partition_of(admin)
            prepared = prepare(partition)
            _native.fault_arm(None, nth, number)
            act(prepared)
            _native.fault_arm(None, 0)

    return Victim(body)


def hold_twice(partition, directory) -> None:
    """As two leave it who made the group's hold at once and died before they looked for the other's."""
    partition.hold(GROUP, 5)
    with open(directory / "control", "r+b") as file, mmap.mmap(file.fileno(), 0) as control:
        control[ENTRIES + ENTRY_BYTES : ENTRIES + 2 * ENTRY_BYTES] = control[ENTRIES : ENTRIES + ENTRY_BYTES]


def reader_of(partition) -> Any:
    reader = _native.Reader(partition, TopicPartition("t", 0))
    assert reader.hold(GROUP)
    return reader


def read_for_the_group(partition) -> None:
    reader = reader_of(partition)
    reader.move_hold(5)
    reader.close()


# What it begins with, what the victim does, and what may stand there when it is dead.
KILLS: dict[str, tuple[Callable[[Any, Any], object], Act, list[dict[int, int]]]] = {
    "make": (lambda partition, _: None, lambda partition: partition.hold(GROUP, 3), [{}, {GROUP: 3}]),
    "set anew": (
        lambda partition, _: partition.hold(GROUP, 5),
        lambda partition: partition.hold(GROUP, 2),
        [{GROUP: 5}, {GROUP: 2}],
    ),
    "move": (
        lambda partition, _: partition.hold(GROUP, 2),
        lambda partition: partition.move_hold(GROUP, 5),
        [{GROUP: 2}, {GROUP: 5}],
    ),
    "release": (
        lambda partition, _: partition.hold(GROUP, 5),
        lambda partition: partition.release(GROUP),
        [{GROUP: 5}, {}],
    ),
    "merge": (hold_twice, lambda partition: partition.move_hold(GROUP, 6), [{GROUP: 5}, {GROUP: 6}]),
    "read": (lambda partition, _: partition.hold(GROUP, 0), read_for_the_group, [{GROUP: 0}, {GROUP: 5}]),
}


def test_a_death_over_a_hold_leaves_the_old_or_the_new_one_and_holds_nobody_up(broker):
    broker.create_queue()
    broker.has_deaths = True
    directory = broker.directory / "topics" / "t" / "0"
    partition = partition_of(broker.admin)
    producer = broker.producer(max_block_ms=0)
    reached = set()
    for name, (prepare, act, outcomes) in KILLS.items():
        seen = []
        for nth in range(1, MOST_POINTS):
            prepare(partition, directory)
            victim = victim_of(broker, act, nth, signal.SIGKILL, lambda partition: partition)
            outcome = victim.wait()
            victim.close()
            reached.add(victim.point)
            left = partition.holds()
            assert left in outcomes, f"{name} at {victim.point}: {left}"
            seen.append(left)

            assert partition.verify() is None
            partition.hold(GROUP, 1 << 40)
            for _ in range(6):
                producer.send("t", HALF)
            partition.release(GROUP)
            assert partition.holds() == {}
            if outcome == ENDED:
                break
            assert outcome == KILLED
        assert outcome == ENDED, f"{name}: still dying after {MOST_POINTS} points"
        assert all(each in seen for each in outcomes), f"{name}: only ever {seen}"

    assert {point for point in fault_points() if point.startswith("holds.")} - reached == set()


@pytest.mark.parametrize("act", ["move", "close"])
@pytest.mark.parametrize("newer", [GROUP, OTHER])
def test_a_member_that_was_stopped_cannot_move_a_hold_that_was_set_anew_meanwhile(broker, act, newer):
    broker.create_queue()
    broker.has_deaths = True
    partition = partition_of(broker.admin)
    late: Act = (lambda reader: reader.move_hold(9)) if act == "move" else (lambda reader: reader.close())
    points = 0
    for nth in range(1, MOST_POINTS):
        partition.hold(GROUP, 5)
        victim = victim_of(broker, late, nth, signal.SIGSTOP, reader_of)
        outcome = victim.wait()
        if outcome == STOPPED:
            points += 1
            partition.release(GROUP) if newer == OTHER else None
            partition.hold(newer, 2)
            victim.go_on()
            assert victim.wait() == ENDED
            assert partition.holds() == {newer: 2}, f"at {victim.point}"
        victim.close()
        partition.release(newer)
        partition.release(GROUP)
        if outcome == ENDED:
            break
    assert outcome == ENDED
    assert points >= 2
