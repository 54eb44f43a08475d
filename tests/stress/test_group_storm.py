"""A group whose members are killed, stopped and added, and whose coordinators are killed, while producers run.

Every record is processed; one that is processed twice is one that a victim had not committed. The long storm:
`pytest -m long tests/stress/test_group_storm.py --seed 7`.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from shmq import Consumer, Producer, TopicPartition, errors

PARTITIONS, MEMBERS = 32, 8
OPTIONS = {"session_timeout_ms": 300, "heartbeat_interval_ms": 50, "auto_offset_reset": "earliest"}


def produce(address: str, counted: Path) -> None:
    """Send to all partitions in turn until told to end, and say how many there are in each."""
    with Producer(bootstrap_servers=address) as producer:
        sent = 0
        while not counted.with_suffix(".end").exists():
            for partition in range(PARTITIONS):
                producer.send("t", b"%d" % sent, partition=partition).get(20)
            sent += 1
            select.select([], [], [], 0.002)  # so that the group keeps up
        counted.write_text(str(sent))


def work(address: str, told: Path) -> None:
    """Process and commit for ever: a line for each record that is processed, and one after each commit."""
    with (
        open(told, "w", buffering=1) as lines,
        Consumer("t", bootstrap_servers=address, group_id="g", enable_auto_commit=False, **OPTIONS) as consumer,
    ):
        while True:
            for place, records in consumer.poll(timeout_ms=50).items():
                lines.write("".join(f"r {place.partition} {record.offset}\n" for record in records))
            try:
                consumer.commit()
                lines.write("c\n")
            except errors.CommitFailedError:
                lines.write("f\n")


class GroupStorm:
    """The processes, and whom it hit."""

    def __init__(self, broker, directory: Path, seed: int) -> None:
        self.broker, self.directory = broker, directory
        self.random = random.Random(seed)
        self.members: dict[str, object] = {}
        self.victims: set[str] = set()
        self.hits: Counter[str] = Counter()
        self._names = 0

    def add(self) -> None:
        self._names += 1
        path = self.directory / f"m{self._names}"
        self.members[path.name] = self.broker.fork(lambda: work(self.broker.address, path))

    def hit(self) -> None:
        """One blow, and time for it to be felt."""
        what = self.random.choice(["kill", "kill", "stop", "add", "coordinator"])
        self.hits[what] += 1
        if what == "coordinator":
            self.broker.kill_coordinator()
        elif what == "add" and len(self.members) < MEMBERS + 4:
            self.add()
        elif what in ("kill", "stop"):
            name = self.random.choice(sorted(self.members))
            self.victims.add(name)
            if what == "stop":
                self.members[name].signal(signal.SIGSTOP)
                select.select([], [], [], self.random.uniform(0, 0.6))  # so long is it stopped: some sessions end
                self.members[name].signal(signal.SIGCONT)
            else:
                self.broker.kill(self.members.pop(name))
                self.add()
        select.select([], [], [], self.random.uniform(0, 0.3))


def read_told(path: Path) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """What a member processed, and what of that it committed for sure."""
    processed: set[tuple[int, int]] = set()
    committed: set[tuple[int, int]] = set()
    since: set[tuple[int, int]] = set()
    for line in path.read_text().split("\n")[:-1]:
        if line == "c":
            committed |= since
            since = set()
        elif line == "f":
            since = set()
        else:
            _, partition, offset = line.split()
            since.add((int(partition), int(offset)))
            processed.add((int(partition), int(offset)))
    return processed, committed


def blow(broker, tmp_path, wait_until, seed: int, blows: int) -> None:
    broker.create(partitions=PARTITIONS, storage="memory", segment_bytes=1 << 20)
    counted = tmp_path / "counted"
    producers = [broker.fork(lambda: produce(broker.address, counted))]
    told = tmp_path / "told"
    told.mkdir()
    storm = GroupStorm(broker, told, seed)
    for _ in range(MEMBERS):
        storm.add()
    for _ in range(blows):
        storm.hit()
    counted.with_suffix(".end").touch()
    for producer in producers:
        producer.result()
    sent = int(counted.read_text())

    def is_done() -> bool:
        with contextlib.suppress(errors.GroupIdNotFoundError):
            committed = broker.admin.list_group_offsets("g")["g"]
            return all(committed.get(TopicPartition("t", each), (0,))[0] == sent for each in range(PARTITIONS))
        return False

    began = time.monotonic()
    wait_until(is_done, 60)
    for child in storm.members.values():
        broker.kill(child)
    print(f"seed {seed}: {dict(storm.hits)}, {sent * PARTITIONS} records, {time.monotonic() - began:.1f} s to catch up")

    by_member = {path.name: read_told(path) for path in told.iterdir()}
    processed: dict[tuple[int, int], list[str]] = defaultdict(list)
    for name, (records, _) in by_member.items():
        for record in records:
            processed[record].append(name)
    assert processed.keys() == {(partition, offset) for partition in range(PARTITIONS) for offset in range(sent)}
    for record, names in processed.items():
        sure = [name for name in names if record in by_member[name][1]]
        assert len(sure) <= 1, f"{record} was committed by {sure}"
        others = set(names) - set(sure)
        assert len(names) == 1 or len(others - storm.victims) <= 1 - len(sure), f"{record} was processed by {names}"


@pytest.mark.skipif(os.cpu_count() == 1, reason="eight members on one core are slower than their sessions")
def test_a_group_in_a_storm_processes_everything_and_nothing_twice_that_was_committed(
    broker, tmp_path, wait_until, request
):
    blow(broker, tmp_path, wait_until, request.config.getoption("--seed", 1), 40)


@pytest.mark.long
def test_a_group_in_a_long_storm(broker, tmp_path, wait_until, request):
    blow(broker, tmp_path, wait_until, request.config.getoption("--seed", 1), 1000)
