"""Scaling with partitions: what a record costs to send, and to poll, with 1 to 1,000 of them.

The partitions hold the same number of bytes together however many they are, so that it is their number that is
compared and not the memory that they go through. All rings are full before anything is timed. One process sends, one
after the other to each partition, then polls what is retained, from the beginning of each.
"""

import itertools
import time
from collections.abc import Iterator
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from bench.children import Children
from bench.peers.shmq_topic import ShmqMemory, create_topic
from bench.plan import Outcome, Plan, Step
from bench.roles.transfer import CLOSE
from bench.scratch import Scratch, open_broker
from bench.values import WrongValueError, make_pool

SIZE_BYTES = 100
COUNTS = (1, 10, 100, 1000)
TOTAL_BYTES = 256 << 20  # of all rings together
SEGMENT_BYTES = 128 << 10
RECORDS = 1_000_000  # timed
MOST_SECONDS = 180.0


def measure(count: int, records: int) -> Outcome:
    """Return nanoseconds per record: of `send`, of `poll`.

    Raises:
        ChildError: the process failed or hung, or what was polled is not what was sent.
    """
    with open_broker() as broker, Children() as children:
        ring = {
            "segment_bytes": SEGMENT_BYTES,
            "retention_bytes": TOTAL_BYTES // count // SEGMENT_BYTES * SEGMENT_BYTES,
        }
        create_topic(broker, "t", {"storage": "memory", "max_message_bytes": 1000, **ring}, count)
        child = children.start("client", send_and_poll, broker, count, records)
        costs_ns = children.expect(child, MOST_SECONDS)
        child.tell(CLOSE)
    return Outcome(costs_ns, {"records": float(records)})


def send_and_poll(pipe: Connection, broker: str, count: int, records: int) -> None:
    """Fill the rings, time sends, time polls; answer nanoseconds per record of both."""
    from shmq import Consumer, Producer, TopicPartition

    values = make_pool(SIZE_BYTES).values
    places = [TopicPartition("t", number) for number in range(count)]
    with Producer(bootstrap_servers=broker) as producer:
        for number in range(count):
            for _ in range(TOTAL_BYTES // count // (SIZE_BYTES * len(values)) + 1):
                producer.send_many("t", values, partition=number)
            producer.send_many(
                "t", values[: len(values) * number // count], partition=number
            )  # each rolls at a time of its own
        send_ns = time_sends(producer.send, values, count, records)
    options: dict[str, Any] = {"auto_offset_reset": "earliest", "max_partition_fetch_bytes": 1 << 20}
    with Consumer(bootstrap_servers=broker, **options) as consumer:
        consumer.assign(places)
        ends = consumer.end_offsets(places)
        poll_ns = time_polls(consumer, ends, set(values), records)
    pipe.send([send_ns, poll_ns])
    pipe.recv()


def time_sends(send: Any, values: tuple[bytes, ...], count: int, records: int) -> float:
    """Return nanoseconds per send, to each partition in turn; what was sent before has filled the rings."""
    began_ns = time.perf_counter_ns()
    for value, partition in zip(itertools.cycle(values), itertools.islice(itertools.cycle(range(count)), records)):
        send("t", value, partition=partition)
    return (time.perf_counter_ns() - began_ns) / records


def time_polls(consumer: Any, ends: dict[Any, int], values: set[bytes], records: int) -> float:
    """Return nanoseconds per record polled; each value must be one that was sent, each offset follow the one before."""
    clock, spent_ns, polled = time.perf_counter_ns, 0, 0
    follows: dict[Any, int] = {}
    for place, records_of in consumer.poll(timeout_ms=1000).items():  # opens the partitions
        follows[place] = records_of[-1].offset + 1
    while polled < records:
        began_ns = clock()
        found = consumer.poll(timeout_ms=0)
        spent_ns += clock() - began_ns
        if not found:
            raise WrongValueError(f"nothing came after {polled} records; the partitions end at {sum(ends.values())}")
        for place, batch in found.items():
            offsets = [record.offset for record in batch]
            first = follows.get(place, offsets[0])
            if offsets != list(range(first, first + len(batch))) or not values.issuperset(r.value for r in batch):
                raise WrongValueError(
                    f"{place}: offsets {offsets[0]} to {offsets[-1]} where {first} follows, or a value"
                )
            follows[place] = first + len(batch)
            polled += len(batch)
    return spent_ns / polled


def steps(plan: Plan, _scratch: Scratch) -> Iterator[Step]:
    """1, 10, 100, 1000, 1, 10 ... partitions."""
    records = plan.either(RECORDS, RECORDS // 4)
    for _ in range(plan.fewer_rounds if plan.wants(ShmqMemory.name) else 0):
        for count in plan.either(COUNTS, COUNTS[::3]):
            cases = (f"send {count}", f"poll {count}")
            yield Step("partitions", ShmqMemory.name, cases, "ns", False, partial(measure, count, records))
