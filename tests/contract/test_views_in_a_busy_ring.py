"""Views of a small ring that goes round and round under them, in several processes."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest

from shmq import Consumer, Producer

SEGMENT_BYTES = 65536
ROUNDS = 20_000


@pytest.fixture(params=[(False, 1 << 30), (True, 1 << 30), (False, 4 * SEGMENT_BYTES)], ids=["plain", "crc", "capped"])
def ring(request, broker):
    """A ring of 4 segments in memory, of items that say their own number in each place; and what views may keep."""
    crc, most_bytes = request.param
    broker.create(
        storage="memory",
        segment_bytes=SEGMENT_BYTES,
        retention_bytes=4 * SEGMENT_BYTES,
        dtype="int64",
        shape="256",
        crc=crc,
    )
    yield most_bytes
    from shmq import _native

    _native.set_kept_limit(1 << 30)


def send(address, rounds, way):
    """Send items of which each is one number, 256 times; what is reserved is filled from its end."""
    rng = random.Random(way)
    with Producer(bootstrap_servers=address) as producer:
        for number in range(rounds):
            count = rng.choice([1, 1, 2, 7])
            values = np.repeat(np.arange(count)[:, None] + number * 10, 256, axis=1)
            if way == "send":
                producer.send_array("t", values)
                continue
            with producer.reserve("t", count) as array:
                array[::-1] = values[::-1]


def watch(address, most_bytes, seed, until):
    """Poll, keep views for a while and look at them again and again; how many were kept in place."""
    rng = random.Random(seed)
    kept: list[tuple[np.ndarray, int]] = []
    in_place = 0

    def check(view, total):
        assert (view == view[:, :1]).all(), "a view is torn"
        assert int(view[:, 0].sum()) == total, "a view has changed"

    options = {"auto_offset_reset": "earliest", "max_pinned_bytes": most_bytes, "bootstrap_servers": address}
    with Consumer("t", **options) as consumer:
        while True:
            found = consumer.poll_arrays(50)
            for batch in found.values():
                in_place += batch.in_place
                total = int(batch.items[:, 0].sum())
                check(batch.items, total)
                kept.append((batch.items, total))
            while len(kept) > 20:
                check(*kept.pop(rng.randrange(len(kept))))
            if not found and until():
                break
    for view, total in kept:
        check(view, total)
    return in_place


def test_no_view_changes_while_the_ring_is_used_again_under_it(broker, ring):
    done, finished = os.pipe()
    os.set_blocking(done, False)

    def is_over():
        try:
            return os.read(done, 1) == b""
        except BlockingIOError:
            return False

    def work(function, *arguments):
        def run():
            os.close(finished)
            return function(broker.address, *arguments)

        return broker.fork(run)

    watchers = [work(watch, ring, seed, is_over) for seed in range(2)]
    senders = [work(send, ROUNDS, way) for way in ("send", "reserve")]
    os.close(finished)
    for sender in senders:
        sender.result(120)

    assert all(watcher.result(120) > 0 for watcher in watchers)
    os.close(done)


def test_producers_go_on_when_a_process_with_views_was_killed(broker, ring):
    ready, tell = os.pipe()
    broker.producer().send_array("t", np.zeros((5, 256), np.int64))

    def hold():
        with Consumer("t", auto_offset_reset="earliest", bootstrap_servers=broker.address) as consumer:
            held = list(consumer.poll_arrays(20_000).values())
            os.write(tell, b"x")
            os.read(os.pipe()[0], 1)
            return held

    child = broker.fork(hold)
    os.read(ready, 1)
    child.kill()

    send(broker.address, 300, "send")
    send(broker.address, 300, "reserve")

    [batch] = broker.consumer("t").poll_arrays().values()
    assert (batch.items == batch.items[:, :1]).all()
    os.close(ready)
    os.close(tell)
