"""A share group whose workers are killed and stopped while they work: every item is acknowledged exactly once.

Each worker writes into a file of its own what it was given, what it is about to commit, and what the commit said. The long
storm: `pytest -m long tests/stress/test_share_storm.py --seed 7`.
"""

from __future__ import annotations

import itertools
import os
import random
import select
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shmq import AcknowledgeType, Producer, ShareConsumer, TopicPartition

PARTITIONS, WORKERS = 3, 8
MOST_AT_ONCE = 20
LOCK_MS = 150
KINDS = (AcknowledgeType.ACCEPT, AcknowledgeType.RELEASE, AcknowledgeType.RENEW)
Item = tuple[int, int]
"""Partition and offset."""


def produce(address: str, items: int) -> None:
    with Producer(bootstrap_servers=address) as producer:
        for first in range(0, items, 100):
            for partition in range(PARTITIONS):
                producer.send_many("t", [b"x"] * min(100, items - first), partition=partition)
            select.select([], [], [], 0.001)


def work(address: str, told: Path, end: Path, seed: int) -> None:
    """Take, acknowledge and commit until told to end.

    Tells "t" taken, "b" about to be settled, and how that went: "a" accepted, "r" released, "l" too late, with the longest
    time in ms that it may have been held.
    """
    rng = random.Random(seed)
    descriptor = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    configs = {"share_acknowledgement_mode": "explicit", "acquisition_lock_duration_ms": LOCK_MS}
    limits = {"delivery_count_limit": 100, "max_poll_records": MOST_AT_ONCE}

    def tell(what: str, items: list[tuple[object, ...]]) -> None:
        if items:
            os.write(descriptor, "".join(f"{what} {' '.join(map(str, item))}\n" for item in items).encode())

    late: set[Item] = set()

    def settled(offsets, error) -> None:
        if error is not None:
            late.update((place.partition, offset) for place, some in offsets.items() for offset in some)

    with ShareConsumer("t", group_id="g", bootstrap_servers=address, **configs, **limits) as consumer:
        while not end.exists():
            since = time.monotonic()
            slow_until = since + rng.uniform(0, 0.6) if rng.random() < 0.05 else since  # it holds the window open
            batches = consumer.poll(50, rng.randint(1, MOST_AT_ONCE))
            records = [record for batch in batches.values() for record in batch]
            tell("t", [(record.partition, record.offset, record.delivery_count) for record in records])
            while records:
                select.select([], [], [], rng.uniform(0, 0.004) * len(records))  # the work itself
                before = time.monotonic()
                chances = (0, 0, 1) if before < slow_until else (90, 5, 5)
                kinds = rng.choices(KINDS, chances, k=len(records))
                for record, kind in zip(records, kinds, strict=True):
                    consumer.acknowledge(record, kind, **({"delay_ms": 5} if kind is AcknowledgeType.RELEASE else {}))
                said = [
                    (record.partition, record.offset, kind.name) for record, kind in zip(records, kinds, strict=True)
                ]
                tell("b", said)
                late.clear()
                consumer.commit_async(settled)
                consumer.commit_sync()  # which calls back
                for letter, kind in (("a", "ACCEPT"), ("r", "RELEASE")):
                    tell(letter, [each[:2] for each in said if each[2] == kind and each[:2] not in late])
                held_ms = int(1000 * (time.monotonic() - since))
                tell("l", [(*item, held_ms) for item in sorted(late)])
                renewed = {each[:2] for each in said if each[2] == "RENEW" and each[:2] not in late}
                records = [record for record in records if (record.partition, record.offset) in renewed]
                since = before  # of those that were renewed
    os.close(descriptor)


@dataclass
class Told:
    """What one worker wrote: items by what became of them; `unsaid` is what it was in the middle of settling."""

    taken: list[tuple[Item, int]] = field(default_factory=list)
    accepted: list[Item] = field(default_factory=list)
    released: set[Item] = field(default_factory=set)
    late: set[Item] = field(default_factory=set)
    unsaid: set[Item] = field(default_factory=set)

    @classmethod
    def read(cls, path: Path) -> Told:
        told = cls()
        for letter, partition, offset, *more in map(str.split, path.read_text().splitlines()):
            item = int(partition), int(offset)
            if letter == "t":
                told.taken.append((item, int(more[0])))
            elif letter == "b":
                told.unsaid.add(item)
            else:
                told.unsaid.discard(item)
                if letter == "a":
                    told.accepted.append(item)
                elif letter == "r":
                    told.released.add(item)
                elif int(more[0]) >= LOCK_MS:
                    told.late.add(item)
        return told


class ShareStorm:
    """The workers, and whom it hit."""

    def __init__(self, broker, directory: Path, seed: int) -> None:
        self.broker, self.directory, self.end = broker, directory, directory.with_suffix(".end")
        self.random = random.Random(seed)
        self.workers: dict[str, object] = {}
        self.victims: set[str] = set()
        self.hits: Counter[str] = Counter()
        directory.mkdir()
        for _ in range(WORKERS):
            self.add()

    def add(self) -> None:
        name, seed = f"w{sum(self.hits.values())}-{len(self.workers)}", self.random.random()
        path = self.directory / name
        self.workers[name] = self.broker.fork(lambda: work(self.broker.address, path, self.end, hash(seed)))

    def hit(self) -> None:
        """One blow, and time for it to be felt."""
        what = self.random.choice(["kill", "stop"])
        name = self.random.choice(sorted(self.workers))
        self.hits[what] += 1
        self.victims.add(name)
        if what == "stop":
            self.workers[name].signal(signal.SIGSTOP)
            select.select([], [], [], self.random.uniform(0, 3 * LOCK_MS / 1000))  # some locks expire
            self.workers[name].signal(signal.SIGCONT)
        else:
            self.broker.kill(self.workers.pop(name))
            self.add()
        select.select([], [], [], self.random.uniform(0, 0.05))

    def finish(self) -> None:
        """Let the workers end well."""
        self.end.touch()
        for worker in self.workers.values():
            worker.result(60)


def counted(broker) -> Counter[str]:
    total: Counter[str] = Counter()
    for place in broker.admin.list_share_group_offsets("g")["g"].values():
        total.update({name: place[name] for name in ("lag", "accepted", "rejected", "skipped")})
    return total


def unexplained(deliveries: dict[Item, list[tuple[int, str]]], by: dict[str, Told], victims: set[str]) -> Iterator[str]:
    """Deliveries that came after one whose worker neither died, nor was stopped, nor released it, nor held it too long."""
    for item, delivered in deliveries.items():
        for (count, name), (_, next_name) in itertools.pairwise(sorted(delivered)):
            told = by[name]
            if name not in victims and item not in told.released and item not in told.late:
                yield f"{item}: delivery {count} to {name}, then again to {next_name}"


def blow(broker, directory: Path, seed: int, items: int) -> None:
    broker.create(partitions=PARTITIONS, storage="memory", segment_bytes=1 << 20)
    per_partition = items // PARTITIONS
    broker.admin.alter_share_group_offsets("g", {TopicPartition("t", each): 0 for each in range(PARTITIONS)})
    producer = broker.fork(lambda: produce(broker.address, per_partition))
    storm = ShareStorm(broker, directory / "told", seed)
    producing, deadline = True, time.monotonic() + 60 + items / 200
    while producing or counted(broker)["lag"]:
        storm.hit()
        assert time.monotonic() < deadline, f"seed {seed}: {dict(counted(broker))} after {dict(storm.hits)}"
        producing = producing and counted(broker)["accepted"] < PARTITIONS * per_partition
    producer.result()
    storm.finish()

    by = {path.name: Told.read(path) for path in storm.directory.iterdir()}
    all_items = {(partition, offset) for partition in range(PARTITIONS) for offset in range(per_partition)}
    deliveries: dict[Item, list[tuple[int, str]]] = defaultdict(list)
    for name, told in by.items():
        for item, count in told.taken:
            deliveries[item].append((count, name))
    accepted = Counter(item for told in by.values() for item in told.accepted)
    redelivered = sum(len(each) > 1 for each in deliveries.values())
    print(f"seed {seed}: {dict(storm.hits)}, {len(all_items)} items, {redelivered} of them delivered again")

    assert dict(counted(broker)) == {"lag": 0, "accepted": len(all_items), "rejected": 0, "skipped": 0}
    assert max(accepted.values()) == 1, "acknowledged twice"
    untold = all_items - accepted.keys()
    assert untold <= {item for name in storm.victims for item in by.get(name, Told()).unsaid}, "acknowledged by nobody"
    assert len(untold) <= MOST_AT_ONCE * storm.hits["kill"]
    missing = all_items - deliveries.keys()
    assert not missing, "settled, and delivered to nobody"
    assert all(len({count for count, _ in each}) == len(each) for each in deliveries.values()), (
        "one delivery, two takers"
    )
    assert list(unexplained(deliveries, by, storm.victims)) == []


def test_in_a_storm_every_item_is_acknowledged_once_and_delivered_twice_only_for_a_reason(broker, tmp_path, request):
    blow(broker, tmp_path, request.config.getoption("--seed", 1), 12_000)


@pytest.mark.long
def test_a_long_storm_over_a_share_group(broker, tmp_path, request):
    blow(broker, tmp_path, request.config.getoption("--seed", 1), 100_000)
