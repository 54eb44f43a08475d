"""One process sends to the partitions of a topic, many read: each all of it, or as members of groups."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from bench.roles.transfer import MARGIN_S, READY, Pace, drain
from bench.values import Pool, WrongValueError, make_pool

POLL_TIMEOUT_MS = 100
MAX_BLOCK_MS = 60_000
COMMIT_INTERVAL_MS = 10  # the producer waits for what a group has committed


@dataclass(frozen=True)
class Stream:
    """The topic, and how its records follow each other: value i of the pool goes to partition i % partitions."""

    broker: str
    topic: str
    partitions: int
    size_bytes: int


def send(pipe: Connection, stream: Stream, pace: Pace) -> None:
    """Send until the time is up, then an end marker to each partition; answer how many records were sent."""
    from shmq import Producer

    pool = make_pool(stream.size_bytes)
    producer = Producer(bootstrap_servers=stream.broker, max_block_ms=MAX_BLOCK_MS)
    pipe.send(READY)
    pipe.recv()

    sent = 0
    end_s = time.perf_counter() + pace.warmup_s + pace.seconds + MARGIN_S
    send_to, topic, count = producer.send, stream.topic, stream.partitions
    placed = [(value, number % count) for number, value in enumerate(pool.values)]
    while time.perf_counter() < end_s:
        for value, partition in placed:
            send_to(topic, value, partition=partition)
        sent += len(placed)
    for partition in range(count):
        send_to(topic, pool.marker, partition=partition)

    pipe.send(sent)
    pipe.recv()
    producer.close()


def read(pipe: Connection, stream: Stream, pace: Pace, group: str | None, share: int) -> None:
    """Take and check every record of `share` partitions, all or those that the group assigns; answer Drained."""
    from shmq import Consumer, TopicPartition

    options = {"bootstrap_servers": stream.broker, "auto_offset_reset": "earliest"}
    if group is None:
        consumer = Consumer(**options)
        consumer.assign([TopicPartition(stream.topic, number) for number in range(stream.partitions)])
        consumer.poll(timeout_ms=0)  # registers this reader: from here on the producer waits for it
    else:
        consumer = Consumer(stream.topic, group_id=group, auto_commit_interval_ms=COMMIT_INTERVAL_MS, **options)
    while len(consumer.assignment()) != share:
        consumer.poll(timeout_ms=POLL_TIMEOUT_MS)
    pipe.send(READY)
    pipe.send(drain(make_take(consumer.poll, stream, share), pace))
    pipe.recv()
    consumer.close()


def make_take(poll: Callable[..., dict[Any, list[Any]]], stream: Stream, share: int) -> Callable[[], int]:
    """Return what takes and checks the records of one poll: how many they are, 0 once `share` partitions have ended."""
    pool = make_pool(stream.size_bytes)
    expected = [itertools.cycle(pool.values[number :: stream.partitions]) for number in range(stream.partitions)]
    firsts = {pool.values[number] for number in range(stream.partitions)}
    ended = 0

    def take() -> int:
        nonlocal ended
        taken = 0
        while not taken and ended < share:
            for place, records in poll(timeout_ms=POLL_TIMEOUT_MS).items():
                follow = expected[place.partition].__next__
                for record in records:
                    if record.value != (value := follow()):
                        check_marker(record, value, firsts, pool)
                        ended += 1
                        break  # nothing follows the marker
                    taken += 1
        return taken

    return take


def check_marker(record: Any, value: bytes, firsts: set[bytes], pool: Pool) -> None:
    """Raise WrongValueError unless a record is the end marker in its place: where a pass over the pool would begin."""
    if record.value != pool.marker or value not in firsts:
        raise WrongValueError(
            f"partition {record.partition} offset {record.offset}: expected {value[:8].hex()}, "
            f"got {bytes(record.value[:8]).hex()}"
        )
