"""Brokers behind a socket, run once, on the same job as everybody: 100 B from one process to another.

Not a race: they serve a network, and others at the same time. Each has its own server, started for one measurement.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from bench.peers import Channel, Mode, Peer, why_missing
from bench.peers.brokers import RabbitMq, RedisPipelined, RedisStream
from bench.peers.shmq_topic import ShmqDisk, ShmqMemory
from bench.plan import NotHereError, Outcome, Plan, Step
from bench.roles.transfer import Pace
from bench.scratch import Scratch
from bench.servers import run_rabbitmq, run_redis
from bench.suites import pingpong, throughput

SIZE_BYTES = 100
LONGEST_S = 3.0
Server = Callable[[Path], AbstractContextManager[int]]
SERVERS: dict[type[Peer], Server] = {RedisStream: run_redis, RedisPipelined: run_redis, RabbitMq: run_rabbitmq}


def measure_rate(peer_type: type[Peer], pace: Pace, scratch: Scratch) -> Outcome:
    """Return the rate in records a second; as in `throughput`, with a server where there is one."""
    if peer_type not in SERVERS:
        return throughput.measure(peer_type, SIZE_BYTES, pace, scratch)
    check_installed(peer_type)
    with (
        scratch.directory(scratch.memory) as memory,
        scratch.directory(scratch.disk) as disk,
        SERVERS[peer_type](disk) as port,
    ):
        peer = peer_type(Channel(memory.name, SIZE_BYTES, Mode.THROUGHPUT, memory, disk, port=port))
        return throughput.measure_one(peer, pace)


def measure_latency(peer_type: type[Peer], pace: Pace, scratch: Scratch) -> Outcome:
    """Return the one-way latency in microseconds; as in `pingpong`, with a server where there is one."""
    if peer_type not in SERVERS:
        return pingpong.measure(peer_type, Mode.ASLEEP, pace, scratch)
    check_installed(peer_type)
    with scratch.directory(scratch.disk) as disk, SERVERS[peer_type](disk) as port:
        return pingpong.measure(peer_type, Mode.ASLEEP, pace, scratch, port)


def check_installed(peer: type[Peer]) -> None:
    """Raise NotHereError if the client of a broker is not installed."""
    if reason := why_missing(peer):
        raise NotHereError(reason)


def steps(plan: Plan, scratch: Scratch) -> Iterator[Step]:
    """Each once; in a quick run the rates alone, since servers take long to start."""
    pace = plan.shorter(LONGEST_S)
    peers: tuple[type[Peer], ...] = (ShmqMemory, ShmqDisk, RedisStream, RedisPipelined, RabbitMq)
    wanted = [peer for peer in peers if plan.wants(peer.name)]
    for peer in wanted:
        run = partial(measure_rate, peer, pace, scratch)
        yield Step("perspective", peer.name, (f"rate {SIZE_BYTES} B",), "records/s", True, run)
    cases = tuple(f"{Mode.ASLEEP} {name}" for name in pingpong.PERCENTILES)
    for peer in plan.either(wanted, []):
        if Mode.ASLEEP in peer.modes:
            run = partial(measure_latency, peer, pace, scratch)
            yield Step("perspective", peer.name, cases, "us", False, run)
