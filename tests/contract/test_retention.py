"""Retention where nobody appends: applied by whoever asks, such as the coordinator."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator

import pytest

from shmq import ConfigResource, TopicPartition, _native
from shmq.errors import OffsetOutOfRangeError
from shmq.store import Topics

SEGMENT_BYTES = 65536
HALF = bytes(20_000)  # two of these fill a small segment: a third does not fit
SMALL = {"segment_bytes": SEGMENT_BYTES, "retention_bytes": 8 * SEGMENT_BYTES}
HOUR_MS = 3_600_000


@contextlib.contextmanager
def opened(broker, topic: str = "t") -> Iterator[_native.Partition]:
    topics = Topics(broker.admin.broker)
    with topics.opened(topics.find(topic)) as [partition]:
        yield partition


def alter(broker, **options: object) -> None:
    broker.admin.alter_configs([ConfigResource("topic", "t", options)])


def now_ms() -> int:
    return int(time.time() * 1000)


@pytest.mark.parametrize("storage", ["disk", "memory"])
def test_records_that_are_too_old_go_though_nobody_appends(broker, wait_until, storage):
    place = broker.create(**SMALL, storage=storage, retention_ms=1)
    producer, consumer = broker.producer(), broker.consumer()
    producer.send_many("t", [HALF, HALF])
    producer.send_many("t", [HALF, HALF])
    producer.send("t", HALF)
    with opened(broker) as partition:
        retired = []

        def all_gone() -> bool:
            retired.append(partition.apply_retention())
            return partition.offsets() == (5, 5)

        wait_until(all_gone)

        assert sum(retired) == 2
        assert partition.stats()["segments"] == 1  # the newest one stays, without its records
        assert partition.verify() is None
        assert partition.apply_retention() == 0
    assert consumer.beginning_offsets([place]) == {place: 5}
    assert producer.send("t", b"next", timestamp_ms=now_ms() + HOUR_MS).get().offset == 5
    assert broker.values() == [b"next"]


def test_a_young_record_keeps_the_newest_segment_wherever_it_stands(broker, wait_until):
    broker.create(**SMALL, retention_ms=1)
    producer = broker.producer()
    with opened(broker) as partition:
        producer.send("t", b"young", timestamp_ms=now_ms() + HOUR_MS)
        producer.send("t", b"old", timestamp_ms=0)
        wait_until(lambda: now_ms() > _created_ms(broker) + 1)

        assert partition.apply_retention() == 0
        assert partition.offsets() == (0, 2)
    assert broker.values() == [b"young", b"old"]


def _created_ms(broker) -> int:
    """When the first segment was made: created_ms stands at byte 56 of its header (layout.h)."""
    topics = Topics(broker.admin.broker)
    directory = topics.find("t").partition_directory(0)
    with open(f"{directory}/{0:020}-{1:010x}.segment", "rb") as file:
        return int.from_bytes(file.read(64)[56:], "little")


def test_a_segment_that_was_made_just_now_keeps_its_records_however_old_they_are(broker):
    broker.create(**SMALL, retention_ms=HOUR_MS)
    broker.producer().send("t", b"from 1970", timestamp_ms=1)

    with opened(broker) as partition:
        assert partition.apply_retention() == 0
    assert broker.values() == [b"from 1970"]


def test_an_older_segment_that_stays_keeps_the_records_behind_it(broker, wait_until):
    broker.create(**SMALL, retention_ms=1)
    producer = broker.producer()
    producer.send_many("t", [HALF, HALF], timestamp_ms=now_ms() + HOUR_MS)
    producer.send_many("t", [HALF, HALF], timestamp_ms=1)
    wait_until(lambda: now_ms() > _created_ms(broker) + 1000)

    with opened(broker) as partition:
        assert partition.apply_retention() == 0
        assert partition.offsets() == (0, 4)


def test_a_dead_producers_claim_does_not_keep_old_records_for_ever(broker, wait_until):
    broker.create(**SMALL, retention_ms=1, claim_timeout_ms=600_000)
    producer = broker.producer()

    def die_over_a_claim() -> None:
        with broker.producer() as victim:
            victim.partitions_for("t")
            _native.fault_arm("journal.claim.after", 1, signal.SIGKILL)
            victim.send("t", b"never")

    producer.send("t", HALF)
    broker.fork(die_over_a_claim).reap()  # in the segment that is sealed later
    producer.send("t", HALF)
    producer.send("t", HALF)
    broker.fork(die_over_a_claim).reap()  # in the newest one
    with opened(broker) as partition:
        assert partition.census()["claimed"] == 2
        wait_until(lambda: partition.apply_retention() >= 0 and partition.offsets() == (5, 5))

        assert partition.stats()["segments"] == 1
        assert partition.verify() is None


def test_a_living_producers_claim_is_left_alone(broker, wait_until):
    broker.create(**SMALL, retention_ms=1, claim_timeout_ms=600_000)
    broker.producer().send("t", b"first")

    def stop_over_a_claim() -> int:
        with broker.producer() as stopped:
            stopped.partitions_for("t")
            _native.fault_arm("journal.claim.after", 1, signal.SIGSTOP)
            return stopped.send("t", b"second", timestamp_ms=now_ms() + HOUR_MS).get().offset

    child = broker.fork(stop_over_a_claim)
    with opened(broker) as partition:
        wait_until(lambda: partition.offsets() == (0, 2) and now_ms() > _created_ms(broker) + 10)

        assert partition.apply_retention() == 0
        assert partition.offsets() == (0, 2)
        child.signal(signal.SIGCONT)
        assert child.result() == 1
    assert broker.values() == [b"first", b"second"]


def test_what_no_longer_fits_retention_bytes_goes_though_nobody_appends(broker):
    broker.create(**SMALL)
    producer = broker.producer()
    for _ in range(6):
        producer.send_many("t", [HALF, HALF])
    with opened(broker) as partition:
        before = partition.apply_retention()
        alter(broker, retention_bytes=4 * SEGMENT_BYTES)

        assert before == 0
        assert partition.apply_retention() == 2
        assert partition.offsets() == (4, 12)
        assert partition.stats()["segments"] == 4

        assert partition.prepare_spare()  # for which another one goes
        alter(broker, retention_bytes=3 * SEGMENT_BYTES)
        assert partition.apply_retention() == 1
        assert partition.offsets() == (8, 12)
        assert partition.stats()["segments"] == 3


def test_a_queue_keeps_everything_that_no_producer_needs_the_room_of(broker):
    broker.create(**SMALL, retention="consumed", retention_ms=1)
    producer, consumer = broker.producer(), broker.consumer("t")
    for _ in range(6):
        producer.send_many("t", [HALF, HALF])
    while consumer.position(TopicPartition("t", 0)) < 12:
        consumer.poll(timeout_ms=1000)

    with opened(broker) as partition:
        assert partition.apply_retention() == 0
        assert partition.offsets() == (0, 12)


def test_a_reader_that_retention_overtook_gets_the_error_or_goes_where_it_was_told_to(broker, wait_until):
    place = broker.create(**SMALL, retention_ms=1)
    producer = broker.producer()
    producer.send("t", b"old")
    strict, lenient = broker.consumer(auto_offset_reset="none"), broker.consumer("t")
    strict.assign([place])
    strict.seek(place, 0)
    with opened(broker) as partition:
        wait_until(lambda: partition.apply_retention() >= 0 and partition.offsets() == (1, 1))

    for _ in range(2):  # the error does not move it
        with pytest.raises(OffsetOutOfRangeError) as error:
            strict.poll(timeout_ms=0)
        assert (error.value.offset, error.value.begin, error.value.end) == (0, 1, 1)
    producer.send("t", b"new", timestamp_ms=now_ms() + HOUR_MS)
    [[record]] = lenient.poll(timeout_ms=1000).values()
    assert (record.offset, record.value) == (1, b"new")


def test_a_log_without_records_has_nothing_to_retire(broker):
    broker.create(**SMALL, retention_ms=1)

    with opened(broker) as partition:
        assert partition.apply_retention() == 0
        assert partition.offsets() == (0, 0)
