"""One-way latency between two processes, for one peer and one way of waiting: half of a round trip."""

from array import array
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from bench.children import Children
from bench.peers import Channel, Mode, Peer
from bench.plan import Outcome, Plan, Step, make_curve, percentile
from bench.roles.transfer import CLOSE, GO, Pace, echo, ping
from bench.scratch import Scratch

SIZE_BYTES = 100
LONGEST_S = 2.0
START_TIMEOUT_S = 30.0
PERCENTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
ONE_WAY_US = 1 / 2000  # of a round trip in nanoseconds


def measure(peer_type: type[Peer], mode: Mode, pace: Pace, scratch: Scratch, port: int = 0) -> Outcome:
    """Return the one-way latency in microseconds at each percentile, and its distribution.

    Raises:
        ChildError: a process failed or hung, or an echo was not what was sent.
    """
    with scratch.directory(scratch.memory) as memory, scratch.directory(scratch.disk) as disk:
        channel = Channel(f"{memory.name}-there", SIZE_BYTES, mode, memory, disk, port=port)
        there = peer_type(channel)
        try:
            back = peer_type(replace(channel, name=f"{memory.name}-back"))
            try:
                trips_ns = exchange(there, back, pace)
            finally:
                back.remove()
        finally:
            there.remove()
    values = [percentile(trips_ns, share) * ONE_WAY_US for share in PERCENTILES.values()]
    return Outcome(values, {"trips": float(len(trips_ns))}, {str(mode): make_curve(trips_ns, ONE_WAY_US)})


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


def steps(plan: Plan, scratch: Scratch) -> Iterator[Step]:
    """Every peer, turn by turn, polling and asleep."""
    for mode in (Mode.POLLING, Mode.ASLEEP):
        cases = tuple(f"{mode} {name}" for name in PERCENTILES)
        for _ in range(plan.rounds):
            for peer in plan.peers_for(mode):
                run = partial(measure, peer, mode, plan.shorter(LONGEST_S), scratch)
                yield Step("pingpong", peer.name, cases, "us", False, run)
