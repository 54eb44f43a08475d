"""One process sends and one receives; or both do, one record going to and fro."""

import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection

from bench.peers.base import Peer, Send
from bench.values import Pool, WrongValueError, make_pool, pick_check

MARGIN_S = 0.2  # the sender goes on for so long after the steady state, so that the receiver never sees it slow down
MAX_TRIPS = 1_000_000

READY = "ready"
GO = "go"
CLOSE = "close"


@dataclass(frozen=True)
class Pace:
    """How long a measurement runs."""

    warmup_s: float
    seconds: float


@dataclass(frozen=True)
class Drained:
    """What a receiver saw: everything, and the part of it in the steady state."""

    received: int
    steady_count: int
    steady_s: float


def produce(pipe: Connection, peer: Peer, pace: Pace) -> None:
    """Send pools until the time is up, then the end marker; answer how many records were sent."""
    pool = make_pool(peer.channel.size_bytes, peer.channel.list_length)
    send = peer.open_sender()
    pipe.send(READY)
    pipe.recv()

    sent = 0
    end_s = time.perf_counter() + pace.warmup_s + pace.seconds + MARGIN_S
    while time.perf_counter() < end_s:
        peer.send_all(send, pool.values)
        sent += len(pool.values)
    peer.send_all(send, (pool.marker,))

    pipe.send(sent)
    pipe.recv()  # the receiver has everything: only now may this end go away
    peer.close()


def consume(pipe: Connection, peer: Peer, pace: Pace) -> None:
    """Take and check every record up to the end marker; answer what was seen."""
    pool = make_pool(peer.channel.size_bytes, peer.channel.list_length)
    values = peer.open_receiver()
    pipe.send(READY)
    pipe.send(drain(partial(pick_check(pool), values, pool), pace))
    pipe.recv()
    peer.close()


def drain(take: Callable[[], int], pace: Pace) -> Drained:
    """Take until `take` has 0, which is the end marker. The steady state starts after the warm-up."""
    clock = time.perf_counter
    received = steady_from = steady_to = take()
    first_s = steady_from_s = steady_to_s = clock()
    while taken := take():
        received += taken
        now_s = clock()
        if now_s - first_s < pace.warmup_s:
            steady_from, steady_from_s = received, now_s
        elif steady_to_s - steady_from_s < pace.seconds:
            steady_to, steady_to_s = received, now_s
    return Drained(received, steady_to - steady_from, steady_to_s - steady_from_s)


def ping(pipe: Connection, there: Peer, back: Peer, pace: Pace) -> None:
    """Send a value and wait for its echo, over and over; answer the round trips in nanoseconds, sorted."""
    pool = make_pool(there.channel.size_bytes)
    values = back.open_receiver()
    send = meet(pipe, there)

    measure_trips(send, values, pool, there.carries_bytes, pace.warmup_s)
    trips_ns = measure_trips(send, values, pool, there.carries_bytes, pace.seconds)

    pipe.send(array("q", sorted(trips_ns)))
    send(pool.marker)
    pipe.recv()
    there.close()
    back.close()


def measure_trips(send: Send, values: Iterator[bytes], pool: Pool, checked: bool, seconds: float) -> "array[int]":
    """Return the time of each round trip, in nanoseconds. The clock is read on this side only."""
    trips_ns = array("q")
    receive, clock, note = values.__next__, time.perf_counter_ns, trips_ns.append
    end_ns = clock() + int(seconds * 1e9)
    now_ns = 0
    while now_ns < end_ns and len(trips_ns) < MAX_TRIPS:
        for value in pool.values:
            start_ns = clock()
            send(value)
            echo = receive()
            now_ns = clock()
            if checked and echo != value:
                raise WrongValueError(f"sent {value[:8].hex()}, {bytes(echo[:8]).hex()} came back")
            note(now_ns - start_ns)
    return trips_ns


def echo(pipe: Connection, there: Peer, back: Peer) -> None:
    """Send every value back where it came from, up to the end marker."""
    marker = make_pool(there.channel.size_bytes).marker
    values = there.open_receiver()
    send = meet(pipe, back)
    for value in values:
        if value == marker:
            break
        send(value)
    pipe.recv()
    there.close()
    back.close()


def meet(pipe: Connection, peer: Peer) -> Send:
    """Open the sending end once both sides can receive; return when both sides can send."""
    pipe.send(READY)
    pipe.recv()
    send = peer.open_sender()
    pipe.send(READY)
    pipe.recv()
    return send
