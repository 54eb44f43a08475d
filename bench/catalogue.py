"""The suites, in the order in which they run, and what stands above their tables."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.peers.brokers import BROKERS
from bench.peers.in_place import IN_PLACE
from bench.plan import Plan, Step
from bench.roles.queues import QUEUES
from bench.scratch import Scratch
from bench.suites import (
    arrays,
    bulk,
    executors,
    fanout,
    groups,
    healing,
    partitions,
    perspective,
    pingpong,
    producers,
    queues,
    rolls,
    seek,
    throughput,
)

Steps = Callable[[Plan, Scratch], Iterator[Step]]


@dataclass(frozen=True)
class Suite:
    """One suite. `grouped`: the first word of a case says in which table it stands."""

    title: str
    steps: tuple[Steps, ...]
    grouped: bool = True


SUITES: dict[str, Suite] = {
    "throughput": Suite("One producer process, one consumer process, one call a record", (throughput.steps,), False),
    "bulk": Suite("The same at 100 B, whole lists in one call", (bulk.steps,), False),
    "arrays": Suite("Arrays: in place on both sides; sent, beside the bare copy", (arrays.steps,)),
    "pingpong": Suite("One-way latency at 100 B: half a round trip", (pingpong.steps,)),
    "rolls": Suite("Open loop at half the peak rate, 100 B, latency from when a record was due", (rolls.steps,)),
    "healing": Suite("SIGKILL between claim and commit, until a reader has the next record", (healing.steps,)),
    "scaling": Suite("100 B, all processes together", (producers.steps, fanout.steps)),
    "partitions": Suite("Cost of a record of 100 B by number of partitions", (partitions.steps,)),
    "seek": Suite("Cost of a call, or of a record, by how much is retained", (seek.steps,)),
    "groups": Suite("Groups: until another goes on; what a start and a commit cost", (groups.steps,)),
    "queues": Suite("Queues of objects, producers : consumers, one item a call", (queues.steps,)),
    "executors": Suite("Pools of 2 workers", (executors.steps,), False),
    "perspective": Suite("For perspective: brokers behind a socket, 100 B", (perspective.steps,)),
}

PEERS_OF_SUITES = (*QUEUES, *executors.POOLS, *(peer.name for peer in IN_PLACE), *(peer.name for peer in BROKERS))
"""Those that are compared in one suite alone."""
