"""Scaling with readers: consumers that each read everything, groups of one member, members of one group."""

from collections.abc import Iterator
from functools import partial

from bench.children import ChildError, Children
from bench.peers.shmq_topic import ShmqMemory, create_topic, pick_ring
from bench.plan import Outcome, Plan, Step
from bench.roles.fanout import Stream, read, send
from bench.roles.transfer import CLOSE, GO, Drained, Pace
from bench.scratch import Scratch, open_broker

SIZE_BYTES = 100
COUNTS = (1, 2, 4)
PARTITIONS = 4  # of groups; consumers without a group read one
LONGEST_S = 3.0
START_TIMEOUT_S = 60.0
DRAIN_TIMEOUT_S = 120.0
KINDS = ("consumers", "groups", "members")


def measure(kind: str, count: int, pace: Pace) -> Outcome:
    """Return the rate of all readers together, in records a second.

    Args:
        kind: One of KINDS.
        count: How many processes read.

    Raises:
        ChildError: a process failed or hung, or a reader did not get exactly what was sent.
    """
    partitions = 1 if kind == "consumers" else PARTITIONS
    share = PARTITIONS // count if kind == "members" else partitions
    with open_broker() as broker, Children() as children:
        stream = Stream(broker, "t", partitions, SIZE_BYTES)
        segment_bytes, retention_bytes = pick_ring(SIZE_BYTES)
        ring = {"segment_bytes": segment_bytes, "retention_bytes": retention_bytes, "max_message_bytes": 1000}
        create_topic(broker, "t", {"storage": "memory", "retention": "consumed", **ring}, partitions)
        readers = [children.start(f"reader {n}", read, stream, pace, name_group(kind, n), share) for n in range(count)]
        for reader in readers:
            children.expect(reader, START_TIMEOUT_S)
        sender = children.start("sender", send, stream, pace)
        children.expect(sender, START_TIMEOUT_S)
        sender.tell(GO)
        sent: int = children.expect(sender, pace.warmup_s + pace.seconds + DRAIN_TIMEOUT_S)
        drained: list[Drained] = [children.expect(reader, DRAIN_TIMEOUT_S) for reader in readers]
        for child in (sender, *readers):
            child.tell(CLOSE)
    received = [each.received for each in drained]
    if kind == "members" and sum(received) != sent:
        raise ChildError(f"{sent} records sent, {sum(received)} received by the members together: {received}")
    if kind != "members" and set(received) != {sent}:
        raise ChildError(f"{sent} records sent, received were {received}")
    if not all(each.steady_s for each in drained):
        raise ChildError("a reader had no steady state")
    return Outcome([sum(each.steady_count / each.steady_s for each in drained)], {"sent": float(sent)})


def name_group(kind: str, number: int) -> str | None:
    """Return the group of one reader."""
    return {"consumers": None, "members": "g", "groups": f"g{number}"}[kind]


def steps(plan: Plan, _scratch: Scratch) -> Iterator[Step]:
    """1, 2, 4, 1, 2, 4 ... readers of each kind."""
    pace = plan.shorter(LONGEST_S)
    for kind in KINDS if plan.wants(ShmqMemory.name) else ():
        for _ in range(plan.fewer_rounds):
            for count in plan.either(COUNTS, COUNTS[:2]):
                run = partial(measure, kind, count, pace)
                yield Step("scaling", ShmqMemory.name, (f"{kind} {count}",), "records/s", True, run)
