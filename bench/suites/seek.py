"""What it costs to find a record, and to go on at the end, however much the log retains.

What grows with the log is the number of segments, since each is found by its number and searched by halves. So 100 GB
is simulated by as many segments as 100 GB has at the default `segment_bytes` (16 MiB), each of the least size there
is (64 KiB). "1 MB" is real.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
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
SEGMENT_BYTES = 64 << 10
RETAINED = {"1 MB": 16, "1 GB": 60, "10 GB": 600, "100 GB": 6000}  # segments
OPERATIONS = ("offset", "time", "offset+poll", "send", "poll")
SECOND_MS = 1000
SEEKS, PART, LONGEST_NS = 20_000, 100, 500_000_000
TAIL_RECORDS = 50_000
TAIL_BURST = 100
BARE_CALLS = 200_000
MOST_SECONDS = 180.0


def measure(segments: int) -> Outcome:
    """Return nanoseconds per call or record, of each of OPERATIONS; a bare C call's in the notes.

    Raises:
        ChildError: the process failed or hung, or a seek led to a wrong record.
    """
    with open_broker() as broker, Children() as children:
        ring = {"segment_bytes": SEGMENT_BYTES, "retention_bytes": segments * SEGMENT_BYTES, "retention_ms": -1}
        create_topic(broker, "t", {"storage": "memory", "max_message_bytes": 1000, **ring})
        child = children.start("client", find_and_go_on, broker, segments)
        costs_ns, bare_ns, retained = children.expect(child, MOST_SECONDS)
        child.tell(CLOSE)
    return Outcome(costs_ns, {"bare_ns": bare_ns, "retained": float(retained)})


def measure_bare() -> Outcome:
    """Return nanoseconds of a call into the same C module that loads one word and does nothing else."""
    from shmq import _native

    word = bytearray(8)
    return Outcome([time_calls(partial(_native.cell_load, word, 0), BARE_CALLS)])


def find_and_go_on(pipe: Connection, broker: str, segments: int) -> None:
    """Fill the log so that each 1,000 records have a second of their own; time each operation."""
    from shmq import Consumer, Producer, TopicPartition

    values = make_pool(SIZE_BYTES).values[:1000]
    place = TopicPartition("t", 0)
    began_ms = int(time.time() * 1000) - 100_000 * SECOND_MS
    with (
        Producer(bootstrap_servers=broker) as producer,
        Consumer(bootstrap_servers=broker, auto_offset_reset="none") as consumer,
    ):
        consumer.assign([place])
        sent = 0
        while sent * SIZE_BYTES < 1.2 * segments * SEGMENT_BYTES:
            for _ in range(4):  # far less than a segment in one call
                part = values[sent % 1000 :][:250]
                producer.send_many("t", part, timestamp_ms=began_ms + sent // 1000 * SECOND_MS)
                sent += len(part)
        first = consumer.beginning_offsets([place])[place]
        retained = consumer.end_offsets([place])[place] - first
        picks = random.Random(segments)
        offsets = [first + picks.randrange(retained) for _ in range(SEEKS)]
        check_times(consumer, place, offsets[:100], began_ms, first)
        costs_ns = [
            time_each(partial(consumer.seek, place), offsets),
            time_each(
                consumer.offsets_for_times, [{place: began_ms + offset // 1000 * SECOND_MS} for offset in offsets]
            ),
            time_each(partial(seek_and_poll, consumer, place, values), offsets),
            *time_tail(producer, consumer, place, values, sent),
        ]
    from shmq import _native

    bare_ns = time_calls(partial(_native.cell_load, bytearray(8), 0), BARE_CALLS)
    pipe.send((costs_ns, bare_ns, retained))
    pipe.recv()


def time_calls(call: Callable[[], object], count: int) -> float:
    """Return nanoseconds per call, without the loop's own cost."""
    return time_each(lambda _: call(), range(count)) - time_each(lambda _: None, range(count))


def time_each(call: Callable[[Any], object], arguments: Sequence[Any]) -> float:
    """Return nanoseconds per call with each of the arguments, the loop's own cost included: the median over parts.

    Ends early once it took LONGEST_NS.
    """
    parts: list[float] = []
    clock, first_ns = time.perf_counter_ns, time.perf_counter_ns()
    for start in range(0, len(arguments), PART):
        part = arguments[start : start + PART]
        began_ns = clock()
        for argument in part:
            call(argument)
        ended_ns = clock()
        parts.append((ended_ns - began_ns) / len(part))
        if ended_ns - first_ns > LONGEST_NS:
            break
    return statistics.median(parts)


def seek_and_poll(consumer: Any, place: Any, values: tuple[bytes, ...], offset: int) -> None:
    """Go to a record and take it; raise WrongValueError if it is another."""
    consumer.seek(place, offset)
    record = consumer.poll(timeout_ms=0, max_records=1)[place][0]
    if record.offset != offset or record.value != values[offset % 1000]:
        raise WrongValueError(f"offset {offset} was wanted, {record.offset} came")


def check_times(consumer: Any, place: Any, offsets: list[int], began_ms: int, first: int) -> None:
    """Raise WrongValueError unless each second is found at its first record."""
    for offset in offsets:
        wanted = max(first, offset // 1000 * 1000)
        found = consumer.offsets_for_times({place: began_ms + offset // 1000 * SECOND_MS})[place]
        if found.offset != wanted:
            raise WrongValueError(f"the first record of its second is {wanted}, found was {found.offset}")


def time_tail(producer: Any, consumer: Any, place: Any, values: tuple[bytes, ...], sent: int) -> tuple[float, float]:
    """Return nanoseconds per record sent, and per record polled, at the end of the log, in bursts."""
    clock, send_ns, poll_ns = time.perf_counter_ns, 0, 0
    consumer.seek_to_end(place)
    consumer.poll(timeout_ms=0)
    for start in range(sent, sent + TAIL_RECORDS, TAIL_BURST):
        burst = [values[number % 1000] for number in range(start, start + TAIL_BURST)]
        began_ns = clock()
        for value in burst:
            producer.send("t", value)
        sent_ns = clock()
        records = consumer.poll(timeout_ms=0)[place]
        poll_ns += clock() - sent_ns
        send_ns += sent_ns - began_ns
        if [record.value for record in records] != burst:
            raise WrongValueError(f"{len(records)} records came at the end of the log, {TAIL_BURST} were sent")
    return send_ns / TAIL_RECORDS, poll_ns / TAIL_RECORDS


def steps(plan: Plan, _scratch: Scratch) -> Iterator[Step]:
    """1 MB .. 100 GB, 1 MB .. 100 GB ..."""
    retained = list(RETAINED)
    for _ in range(plan.fewer_rounds if plan.wants(ShmqMemory.name) else 0):
        yield Step("seek", "bare C call", ("bare call",), "ns", False, measure_bare)
        for name in plan.either(retained, [retained[0], retained[-2]]):
            cases = tuple(f"{operation} {name}" for operation in OPERATIONS)
            yield Step("seek", ShmqMemory.name, cases, "ns", False, partial(measure, RETAINED[name]))
