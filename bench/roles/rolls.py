"""An open loop: one process sends at a given rate and never later for having been held up; one takes and times."""

import itertools
import time
from array import array
from multiprocessing.connection import Connection
from typing import Any

from bench.roles.transfer import READY
from bench.values import WrongValueError, make_pool

SIZE_BYTES = 100
LEAD_NS = 20_000_000  # from the word to the first record
WARM_RECORDS = 5_000
MAX_BLOCK_MS = 60_000
Taken = list[tuple[int, int, int]]  # of each poll: when it returned, in nanoseconds; first offset; how many


def send_openly(pipe: Connection, broker: str, topic: str) -> None:
    """Send `count` records, one each `interval_ns`; answer when the first was due, and when each send returned.

    With interval 0 each is due at once, and a send costs what it costs in the loop that is timed: that is the peak.
    """
    from shmq import Producer

    values = make_pool(SIZE_BYTES).values
    endless = itertools.cycle(values)
    producer = Producer(bootstrap_servers=broker, max_block_ms=MAX_BLOCK_MS)
    for value in itertools.islice(endless, WARM_RECORDS):
        producer.send(topic, value)
    pipe.send(READY)
    count, interval_ns = pipe.recv()

    returned_ns = array("q", bytes(8 * count))
    send, clock = producer.send, time.perf_counter_ns
    first_ns = clock() + LEAD_NS
    while clock() < first_ns:
        pass
    for number, value in zip(range(count), endless, strict=False):
        due_ns = first_ns + number * interval_ns
        while clock() < due_ns:
            pass
        send(topic, value)
        returned_ns[number] = clock()
    send(topic, make_pool(SIZE_BYTES).marker)
    pipe.send((first_ns, returned_ns))
    pipe.recv()
    producer.close()


def take_openly(pipe: Connection, broker: str, topic: str) -> None:
    """Poll without a pause up to the end marker, check every value; answer Taken."""
    from shmq import Consumer, TopicPartition

    pool = make_pool(SIZE_BYTES)
    consumer = Consumer(bootstrap_servers=broker, auto_offset_reset="earliest")
    place = TopicPartition(topic, 0)
    consumer.assign([place])
    consumer.poll(timeout_ms=0)  # registers this reader: from here on the producer waits for it
    pipe.send(READY)
    pipe.send(take_all(consumer.poll, place, itertools.cycle(pool.values), pool.marker))
    pipe.recv()
    consumer.close()


def take_all(poll: Any, place: Any, expected: Any, marker: bytes) -> Taken:
    """Return when the records of each poll came; WrongValueError if one is not what was sent next."""
    taken: Taken = []
    clock, follows = time.perf_counter_ns, 0
    while True:
        found = poll(timeout_ms=0)
        if not found:
            continue
        now_ns, records = clock(), found[place]
        ended = records[-1].value == marker
        if ended:
            records = records[:-1]
        if [record.value for record in records] != list(itertools.islice(expected, len(records))):
            raise WrongValueError(f"the {len(records)} records from offset {follows} on are not what was sent")
        if records:
            taken.append((now_ns, follows, len(records)))
        follows += len(records)
        if ended:
            return taken
