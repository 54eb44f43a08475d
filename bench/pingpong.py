"""One-way latency between two processes, for one peer and one way of waiting: half of a round trip."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from bench.children import Children
from bench.peers import Channel, Mode, Peer
from bench.plan import Outcome, Plan, Step
from bench.roles import CLOSE, GO, Pace, echo, ping
from bench.scratch import Scratch

SIZE_BYTES = 100
LONGEST_S = 2.0
START_TIMEOUT_S = 30.0
PERCENTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


def measure(peer_type: type[Peer], mode: Mode, pace: Pace, scratch: Scratch) -> Outcome:
    """Return the one-way latency in microseconds at each percentile.

    Raises:
        ChildError: a process failed or hung, or an echo was not what was sent.
    """
    with scratch.directory(scratch.memory) as memory, scratch.directory(scratch.disk) as disk:
        channel = Channel(f"{memory.name}-there", SIZE_BYTES, mode, memory, disk)
        there = peer_type(channel)
        try:
            back = peer_type(replace(channel, name=f"{memory.name}-back"))
            try:
                trips_ns = exchange(there, back, pace)
            finally:
                back.remove()
        finally:
            there.remove()
    return [percentile(trips_ns, share) / 2000 for share in PERCENTILES.values()], {"trips": float(len(trips_ns))}


def exchange(there: Peer, back: Peer, pace: Pace) -> "array[int]":
    """Run both processes; return the round trips in nanoseconds, sorted."""
    with Children() as children:
        ponger = children.start("ponger", echo, there, back)
        pinger = children.start("pinger", ping, there, back, pace)
        for message in (GO, GO):  # both can receive; both can send
            children.expect(ponger, START_TIMEOUT_S)
            children.expect(pinger, START_TIMEOUT_S)
            ponger.tell(message)
            pinger.tell(message)
        trips_ns: array[int] = children.expect(pinger, pace.warmup_s + pace.seconds + START_TIMEOUT_S)
        if not there.carries_bytes:
            children.kill(ponger)  # no end marker can reach it
        else:
            ponger.tell(CLOSE)
        pinger.tell(CLOSE)
    return trips_ns


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def steps(plan: Plan, scratch: Scratch) -> Iterator[Step]:
    """Every peer, turn by turn, polling and asleep."""
    for mode in (Mode.POLLING, Mode.ASLEEP):
        cases = tuple(f"{mode} {name}" for name in PERCENTILES)
        for _ in range(plan.rounds):
            for peer in plan.peers_for(mode):
                run = partial(measure, peer, mode, plan.shorter(LONGEST_S), scratch)
                yield Step("pingpong", peer.name, cases, "us", False, run)
