"""Records a second where whole lists are sent in one call, against our own one by one."""

from collections.abc import Iterator
from functools import partial

from bench.peers import Mode
from bench.peers.shmq_topic import ShmqMemory
from bench.plan import Plan, Step
from bench.scratch import Scratch
from bench.suites.throughput import measure

SIZE_BYTES = 100
LENGTHS = (101, 1009, 10007)  # primes, as everywhere: see bench.values
ONE_BY_ONE = "one by one"
LONGEST_S = 3.0


def steps(plan: Plan, scratch: Scratch) -> Iterator[Step]:
    """Each round has all of them: ours one by one, then every peer with each length of list."""
    pace = plan.shorter(LONGEST_S)
    for _ in range(plan.rounds):
        if plan.wants(ShmqMemory.name):
            run = partial(measure, ShmqMemory, SIZE_BYTES, pace, scratch)
            yield Step("bulk", ShmqMemory.name, (ONE_BY_ONE,), "records/s", True, run)
        for length in plan.either(LENGTHS, LENGTHS[1:2]):
            for peer in plan.peers_for(Mode.BULK):
                run = partial(measure, peer, SIZE_BYTES, pace, scratch, length)
                yield Step("bulk", peer.name, (f"lists of {length}",), "records/s", True, run)
