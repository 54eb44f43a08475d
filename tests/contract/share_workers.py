"""What tests of share groups have in common: filling topics, counting, and workers that can be killed."""

from __future__ import annotations

import os
import select
import signal

from shmq import TopicPartition, errors

LONG_MS = 20_000


def send(broker, count: int, topic: str = "t", first: int = 0) -> None:
    """Numbers from `first` on, to all partitions in turn."""
    producer = broker.producer()
    partitions = len(producer.partitions_for(topic))
    for number in range(first, first + count):
        producer.send(topic, b"%d" % number, partition=number % partitions)


def fill(producer, topic: str = "t") -> int:
    """Send until there is no room, which must come soon; how many had."""
    for count in range(1000):
        try:
            producer.send(topic, b"x" * 10_000)
        except errors.BufferFullError:
            return count
    return 1000


def flat(batches) -> list:
    """All records of a poll."""
    return [record for records in batches.values() for record in records]


def numbers(batches) -> list[int]:
    return [int(record.value) for record in flat(batches)]


def polled(consumer) -> list:
    """All records that there are now, poll by poll; what comes again comes alone. For "implicit" mode."""
    records = []
    while batches := consumer.poll():
        records += flat(batches)
    return records


def counts(broker, group: str = "g") -> dict[str, int]:
    """What the group's windows say, over all partitions together."""
    places = broker.admin.list_share_group_offsets(group)[group].values()
    names = ("ready", "in_flight", "delayed", "accepted", "rejected", "skipped")
    return {name: sum(place[name] for place in places) for name in names}


def some(**given: int) -> dict[str, int]:
    """Counts of which all are 0 but these."""
    return dict.fromkeys(("ready", "in_flight", "delayed", "accepted", "rejected", "skipped"), 0) | given


def start_taker(broker, most: int = 1, **configs):
    """A child that polls once and then does nothing more; returns it when it has its records, and their numbers."""
    read, write = os.pipe()

    def work():
        consumer = broker.share_consumer("t", **configs)
        taken = numbers(consumer.poll(LONG_MS, most))
        os.write(write, b",".join(b"%d" % number for number in taken) + b"\n")
        while True:
            signal.pause()

    child = broker.fork(work)
    os.close(write)
    assert select.select([read], [], [], LONG_MS / 1000)[0], "the child took nothing"
    with os.fdopen(read, "rb") as pipe:
        return child, [int(number) for number in pipe.readline().split(b",")]


def place(partition: int = 0, topic: str = "t") -> TopicPartition:
    return TopicPartition(topic, partition)
