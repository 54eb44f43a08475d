"""Records a second from one producer process to one consumer process, for one peer and one record size."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from bench.children import ChildError, Children
from bench.peers import Channel, Mode, Peer
from bench.plan import Outcome, Plan, Step
from bench.roles.transfer import CLOSE, GO, Drained, Pace, consume, produce
from bench.scratch import Scratch

START_TIMEOUT_S = 30.0
DRAIN_TIMEOUT_S = 60.0
SHORT = 0.8  # a steady state shorter than this share of what was asked for is an error


def measure(peer_type: type[Peer], size_bytes: int, pace: Pace, scratch: Scratch, list_length: int = 0) -> Outcome:
    """Return the rate in records a second, and what to note beside it.

    Raises:
        ChildError: a process failed or hung, or the counts differ.
    """
    with scratch.directory(scratch.memory) as memory, scratch.directory(scratch.disk) as disk:
        peer = peer_type(Channel(memory.name, size_bytes, Mode.THROUGHPUT, memory, disk, list_length))
        try:
            return measure_one(peer, pace)
        finally:
            peer.remove()


def measure_one(peer: Peer, pace: Pace) -> Outcome:
    """As `measure`, of a peer that is made already."""
    sent, drained = transfer(peer, pace)
    notes = {"received": float(drained.received), "steady_s": drained.steady_s}
    laps = peer.laps(drained.received)
    return Outcome([check_drained(sent, drained, pace)], notes if laps is None else {**notes, "laps": laps})


def check_drained(sent: int, drained: Drained, pace: Pace) -> float:
    """Return the rate of the steady state; ChildError if records are missing, or it was too short."""
    if sent != drained.received:
        raise ChildError(f"{sent} records sent, {drained.received} received")
    if drained.steady_s < SHORT * pace.seconds:
        raise ChildError(f"only {drained.steady_s:.2f} s of steady state, {pace.seconds} s wanted")
    return drained.steady_count / drained.steady_s


def transfer(
    peer: Any, pace: Pace, give: Callable[..., None] = produce, take: Callable[..., None] = consume
) -> tuple[int, Drained]:
    """Run both processes; return how many records were sent and what the receiver saw."""
    with Children() as children:
        consumer = children.start("consumer", take, peer, pace)
        children.expect(consumer, START_TIMEOUT_S)
        producer = children.start("producer", give, peer, pace)
        children.expect(producer, START_TIMEOUT_S)

        producer.tell(GO)
        sent: int = children.expect(producer, pace.warmup_s + pace.seconds + DRAIN_TIMEOUT_S)
        drained: Drained = children.expect(consumer, DRAIN_TIMEOUT_S)

        consumer.tell(CLOSE)
        producer.tell(CLOSE)
    return sent, drained


def steps(plan: Plan, scratch: Scratch) -> Iterator[Step]:
    """Every peer, turn by turn, for each record size."""
    for size_bytes in plan.sizes_bytes:
        for _ in range(plan.rounds):
            for peer in plan.peers_for(Mode.THROUGHPUT):
                run = partial(measure, peer, size_bytes, plan.pace, scratch)
                yield Step("throughput", peer.name, (f"{size_bytes} B",), "records/s", True, run)
