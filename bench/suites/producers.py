"""Appending only: 1, 2 and 4 producer processes on one partition, nobody reading, the oldest segments going."""

import time
from collections.abc import Iterator
from functools import partial
from multiprocessing.connection import Connection

from bench.children import ChildError, Children
from bench.peers import Channel, Mode, Peer
from bench.peers.shmq_topic import ShmqAppendOnly, ShmqMemory, find_end_offset
from bench.plan import Outcome, Plan, Step
from bench.roles.transfer import CLOSE, READY, Pace
from bench.scratch import Scratch
from bench.values import make_pool

SIZE_BYTES = 100
PRODUCERS = (1, 2, 4)
LONGEST_S = 5.0
START_TIMEOUT_S = 30.0


def measure(producer_count: int, pace: Pace, scratch: Scratch) -> Outcome:
    """Return the rate of all producers together, in records a second.

    Raises:
        ChildError: a process failed or hung, or the log does not hold as many records as were sent.
    """
    with scratch.directory(scratch.memory) as memory, scratch.directory(scratch.disk) as disk:
        peer = ShmqAppendOnly(Channel(memory.name, SIZE_BYTES, Mode.THROUGHPUT, memory, disk))
        try:
            answers = append_together(peer, producer_count, pace)
            end_offset = find_end_offset(peer.broker, peer.topic)
        finally:
            peer.remove()
    sent = sum(count for count, _ in answers)
    if sent != end_offset:
        raise ChildError(f"{sent} records sent, the log ends at {end_offset}")
    return Outcome([sum(rate for _, rate in answers)], {"sent": float(sent)})


def append_together(peer: Peer, producer_count: int, pace: Pace) -> list[tuple[int, float]]:
    """Run the producers over one span of time; return how many records each sent, and at which rate."""
    with Children() as children:
        producers = [children.start(f"producer {number}", append, peer) for number in range(producer_count)]
        for producer in producers:
            children.expect(producer, START_TIMEOUT_S)
        start_ns = time.perf_counter_ns() + int(pace.warmup_s * 1e9)
        for producer in producers:
            producer.tell((start_ns, start_ns + int(pace.seconds * 1e9)))
        answers = [children.expect(producer, pace.seconds + START_TIMEOUT_S) for producer in producers]
        for producer in producers:
            producer.tell(CLOSE)
    return answers


def append(pipe: Connection, peer: Peer) -> None:
    """Send from now to the end of the span; answer the count of all, and the rate within the span."""
    pool = make_pool(SIZE_BYTES)
    send = peer.open_sender()
    peer.send_all(send, pool.values)
    sent = len(pool.values)
    pipe.send(READY)
    start_ns, end_ns = pipe.recv()

    from_ns, from_sent = 0, 0
    while (now_ns := time.perf_counter_ns()) < end_ns:
        if now_ns >= start_ns and not from_ns:
            from_ns, from_sent = now_ns, sent
        peer.send_all(send, pool.values)
        sent += len(pool.values)
    pipe.send((sent, (sent - from_sent) / (now_ns - from_ns) * 1e9))
    pipe.recv()
    peer.close()


def steps(plan: Plan, scratch: Scratch) -> Iterator[Step]:
    """1, 2, 4, 1, 2, 4 ... producers."""
    for _ in range(plan.fewer_rounds if plan.wants(ShmqMemory.name) else 0):
        for count in PRODUCERS:
            run = partial(measure, count, plan.shorter(LONGEST_S), scratch)
            yield Step("scaling", ShmqMemory.name, (f"producers {count}",), "records/s", True, run)
