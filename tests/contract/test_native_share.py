"""Readers that take records through a window: what they say, how they wait, and what they do about each other."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from window_taker import PLACE, WindowTaker

from shmq import Admin, _native
from shmq.errors import BufferFullError, CorruptSegmentError, QueueFullError
from shmq.store import Topics

ACCEPT, RELEASE, REJECT, RENEW = 1, 2, 3, 4
RECORDS, CURSOR = 0, 1
GROUP = 70_001


class Taker(WindowTaker):
    """One who may append, too."""

    def __init__(self, address: str, path: Path, *, bounded: bool = False, value_deserializer: Any = None) -> None:
        with Admin(bootstrap_servers=address) as admin:
            super().__init__(admin, str(path), GROUP, value_deserializer=value_deserializer)
        self.appender = _native.Appender(self.partition)
        if bounded:
            self.appender.bound(self.window)

    def put(self, *values: bytes, max_block_ms: int = 0) -> None:
        for value in values:
            self.appender.append(value, max_block_ms)

    def take_and(self, kind: int, most: int = 64) -> list[int]:
        """Take what there is and settle it so; the offsets."""
        taken = self._take_values(0, most)
        return [offset for _, offset, deliveries in taken if self.reader.settle(offset, deliveries, kind)]

    def end(self) -> None:
        """Let go of everything."""
        del self.appender
        super().end()


@pytest.fixture
def takers(broker) -> Iterator[Callable[..., Taker]]:
    """Make takers of one window over a fresh topic; of the first one's `kind`, `max_items` and topic options."""
    path = broker.directory / "t.window"
    made: list[Taker] = []

    def make(kind: int = RECORDS, max_items: int = 0, value_deserializer: Any = None, **options: Any) -> Taker:
        if not path.exists():
            topic = {"retention": "consumed", "segment_bytes": 65536, "retention_bytes": 4 * 65536}
            broker.create(**{**topic, **options})
            meta = Topics(broker.admin.broker).find("t")
            with Topics(broker.admin.broker).opened(meta) as [partition]:
                partition.hold(GROUP, 0)
            _native.create_window(str(path), meta.topic_id, 0, 0, kind, max_items)
        taker = Taker(broker.address, path, bounded=max_items > 0, value_deserializer=value_deserializer)
        made.append(taker)
        return taker

    yield make
    for taker in made:
        taker.end()


def test_a_value_that_cannot_be_deserialized_was_settled_by_taking_it_where_the_window_is_a_cursor(takers):
    """It has no words: to give a record back reached behind the mapping."""

    def refuse(_topic: str, _headers: object, value: bytes) -> bytes:
        if value == b"bad":
            raise ValueError(value)
        return value

    taker = takers(CURSOR, value_deserializer=refuse)
    taker.put(b"bad", b"good")

    with pytest.raises(ValueError, match="bad"):
        taker.poll(0, 1)

    assert [record.value for record in taker.poll(0)[PLACE]] == [b"good"]
    assert taker.reader.settle(0, 1, RELEASE)


BIG = bytes(8000)  # eight of these fill a segment


def fill(taker: Taker) -> int:
    """Append until the ring is full: how many that were."""
    sent = 0
    with pytest.raises(BufferFullError) as failed:
        while True:
            taker.put(BIG)
            sent += 1
    assert not failed.value.self_wait
    return sent


def test_a_producer_that_takes_too_does_not_wait_for_itself_alone(takers):
    """Whoever was the last to share was thought to be the only one who moves the group's hold."""
    other, mine = takers(), takers()
    fill(mine)

    other.take_and(ACCEPT)

    mine.put(BIG)


@pytest.mark.parametrize(("kind", "point"), [(RECORDS, "window.start.after"), (CURSOR, "window.take.after")])
def test_the_ring_goes_on_when_who_emptied_it_dies_before_the_hold_is_moved(broker, takers, kind, point):
    producer = takers(kind)
    sent = fill(producer)

    def die() -> None:
        victim = takers()
        taken = victim._take_values(0)
        while len(taken) < sent:
            if kind == CURSOR and len(taken) + 8 >= sent:
                _native.fault_arm(point, 1)
            taken += victim._take_values(0, 64)
        _, first, deliveries = taken.pop(0)
        for _, offset, count in taken:
            victim.reader.settle(offset, count, ACCEPT)
        _native.fault_arm(point, 1)
        victim.reader.settle(first, deliveries, ACCEPT)

    broker.fork(die).reap()
    survivor = takers()
    while survivor._take_values(0):
        pass

    assert producer.partition.holds() == {GROUP: survivor.window.start}
    producer.put(BIG)


def test_a_hold_that_was_set_anew_still_goes_with_the_window(takers):
    taker = takers()
    sent = fill(taker)
    taker.partition.hold(GROUP, 0)

    settled: list[int] = []
    while len(settled) < sent:
        settled += taker.take_and(ACCEPT)

    assert taker.partition.holds() == {GROUP: sent}


def test_who_waits_sleeps_though_all_that_was_given_back_is_settled_by_now(takers):
    """It had not looked at what was given back when all was settled, and took that for news for ever."""
    waiting, other = takers(), takers()
    other.put(b"1")
    assert other.take_and(RELEASE) == other.take_and(ACCEPT) == [0]

    cpu = time.process_time()
    assert waiting._take_values(300) == []

    assert waiting._slept > 0
    assert time.process_time() - cpu < 0.1


@pytest.mark.parametrize(("point", "kind"), [("window.returned.before", RELEASE), ("window.given_back.before", ACCEPT)])
def test_what_was_given_back_by_one_who_died_before_he_could_say_so_goes_to_others(broker, takers, point, kind):
    survivor, holder = takers(), takers()
    survivor.put(b"1")
    if kind == ACCEPT:  # of a holder that is too late, whose record the victim takes away

        def die() -> None:
            victim = takers()
            victim._lock_ms = 1
            _native.fault_arm(point, 1)
            while True:
                victim.take_and(ACCEPT)

        holder._lock_ms = 1
        assert len(holder._take_values(0)) == 1
    else:

        def die() -> None:
            victim = takers()
            _native.fault_arm(point, 1)
            victim.take_and(RELEASE)

    broker.fork(die).reap()

    assert survivor._take_values(2000) == [(b"1", 0, 2)]


# ---- Damaged files ----

START, FRESH, RETURNED, WORDS = 64, 128, 320, 4096


def poke(broker, pos: int, *numbers: int) -> None:
    with open(broker.directory / "t.window", "r+b") as file:
        file.seek(pos)
        file.write(struct.pack(f"<{len(numbers)}Q", *numbers))


def test_records_that_a_damaged_window_calls_taken_come_all_the_same(broker, takers):
    taker = takers()
    taker.put(b"0", b"1", b"2")
    poke(broker, FRESH, 1 << 62)

    assert taker.reader.in_flight() == []
    assert taker._take_values(0, 64) == [(b"0", 0, 1), (b"1", 1, 1), (b"2", 2, 1)]


def test_a_window_that_calls_a_claim_taken_is_damaged(broker, takers):
    """It was asked again and again whether another claim may be given up."""
    taker = takers(claim_timeout_ms=60_000)
    taker.put(b"0")

    def stop() -> None:
        victim = takers()
        _native.fault_arm("journal.claim.after", 1, signal.SIGSTOP)
        victim.put(b"1")

    os.waitpid(broker.fork(stop).pid, os.WUNTRACED)
    assert taker.take_and(ACCEPT) == [0]
    poke(broker, FRESH, 2)
    poke(broker, RETURNED, 1)

    with pytest.raises(CorruptSegmentError, match="window"):
        taker._take_values(1000)


@pytest.mark.parametrize("seed", range(12))
def test_a_window_of_any_bytes_gives_records_or_an_error(broker, takers, seed):
    taker = takers()
    taker.put(*(b"%d" % number for number in range(50)))
    rng = random.Random(seed)
    if seed % 3 == 0:
        poke(broker, WORDS, *(rng.getrandbits(64) for _ in range(2 * 16384)))
    elif seed % 3 == 1:  # words that may well be
        poke(broker, WORDS, *(rng.randrange(8) | rng.randrange(3) << 3 | rng.randrange(4) << 10 for _ in range(60)))
        poke(broker, FRESH, rng.choice([0, 10, 50, 60, 200]))
        poke(broker, START, rng.choice([0, 0, 5, 50]))
    else:
        poke(broker, START, *(rng.getrandbits(rng.choice([5, 20, 64])) for _ in range(48)))

    for _ in range(5):
        for act in (lambda: taker.take_and(ACCEPT), taker.reader.counts, taker.reader.in_flight, taker.window.totals):
            with contextlib.suppress(CorruptSegmentError):
                act()


def test_counting_tells_of_a_damaged_journal(broker, takers):
    taker = takers()
    taker.put(b"0", b"1", b"2")
    (segment,) = (broker.directory / "topics" / "t" / "0").glob("*.segment")
    with segment.open("r+b") as file:
        file.seek(4096 + 8)
        file.write(b"\xff" * 8)

    with pytest.raises(CorruptSegmentError, match="journal word") as failed:
        taker.reader.counts()

    assert failed.value.args[0].endswith("/t/0")


# ---- Deleted records ----


def test_records_that_were_deleted_count_neither_as_ready_nor_against_max_items(takers):
    taker = takers(max_items=5)
    taker.put(*(b"%d" % number for number in range(5)))
    with pytest.raises(QueueFullError):
        taker.put(b"5")

    taker.partition.delete_records(3)

    assert taker.reader.counts() | {"start": 3, "ready": 2, "skipped": 3} == taker.reader.counts()
    taker.put(b"5", b"6", b"7")
    with pytest.raises(QueueFullError):
        taker.put(b"8")


def test_producers_go_on_when_what_nobody_has_taken_was_deleted(takers):
    taker = takers(CURSOR, max_items=2)
    taker.put(b"0", b"1")

    taker.partition.delete_records(2)

    taker.put(b"2", b"3")
    assert [value for value, _, _ in taker._take_values(0, 64)] == [b"2", b"3"]
